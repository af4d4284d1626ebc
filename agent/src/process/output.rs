//! Reading a child's output: to its log file as it is, and line by line to whoever watches.

use super::logs::Logs;
use crate::model::child::ChildId;
use crate::model::log::LogLine;
use crate::model::now::Now;
use crate::sys::stop::Stop;
use space_lifecycle::printable::is_obeyed;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::broadcast;

/// Bytes of a line that are shown; the log has all.
const LONGEST_LINE: usize = 4096;

/// Numbers the lines of this agent process.
static SEQUENCE: AtomicU64 = AtomicU64::new(0);

#[derive(Debug, Clone)]
pub(super) struct Output {
    pub(super) logs: Logs,
    pub(super) lines: broadcast::Sender<Arc<LogLine>>,
    pub(super) now: fn() -> Now,
    /// The room ends: what was read is still written, the rest stays in the pipe for the next agent.
    pub(super) stop: Stop,
}

/// The last line that says something, for the message when the child ends badly. Locked for a copy only, never over a wait.
#[derive(Debug, Clone, Default)]
pub(super) struct Tail(Arc<Mutex<Option<String>>>);

impl Tail {
    pub(super) fn last_line(&self) -> Option<String> {
        self.0.lock().map(|line| line.clone()).unwrap_or_default()
    }

    fn set(&self, line: &str) {
        if let Ok(mut last) = self.0.lock()
            && !line.trim().is_empty()
        {
            *last = Some(line.chars().take(300).collect());
        }
    }
}

/// Whose output it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    /// The step's or app's name.
    name: String,
    /// Its log's, below the log folder.
    log: String,
}

impl Source {
    /// A child that this version cannot name logs beside the apps.
    pub(super) fn of(child: &str) -> Source {
        match child.parse::<ChildId>() {
            Ok(child) => Source { name: child.name().to_owned(), log: child.log() },
            Err(_) => {
                let name: String = child.chars().filter(char::is_ascii_alphanumeric).collect();
                Source { log: format!("apps/{name}"), name }
            }
        }
    }
}

impl Output {
    /// Until the end of the output: the child and all who inherited its pipe have closed it.
    pub(super) async fn read(&self, source: Source, fd: OwnedFd, tail: Tail) {
        let Ok(mut pipe) = pipe::Receiver::from_owned_fd(fd) else { return };
        let (mut buffer, mut line) = (vec![0; 16 * 1024], Vec::new());
        let mut stop = self.stop.clone();
        loop {
            // Cancel-safe: what was not read is still in the pipe.
            let read = tokio::select! {
                read = pipe.read(&mut buffer) => read,
                () = stop.wanted() => return self.cut(&source, &line),
            };
            let Ok(length @ 1..) = read else { break };
            self.logs.append(&source.log, &buffer[..length]).await;
            for byte in &buffer[..length] {
                match byte {
                    b'\n' => self.line(&source.name, &mut line, &tail),
                    byte if line.len() < LONGEST_LINE => line.push(*byte),
                    _ => {}
                }
            }
        }
        if !line.is_empty() {
            self.line(&source.name, &mut line, &tail);
        }
    }

    /// The rest of this line is for the next agent; whoever watches sees what there is of it.
    fn cut(&self, source: &Source, line: &[u8]) {
        if !line.is_empty() {
            self.line(&source.name, &mut line.to_vec(), &Tail::default());
        }
    }

    fn line(&self, name: &str, line: &mut Vec<u8>, tail: &Tail) {
        let text = readable(line);
        line.clear();
        tail.set(&text);
        let seq = SEQUENCE.fetch_add(1, Ordering::Relaxed);
        // An error means that nobody watches.
        let _ = self.lines.send(Arc::new(LogLine { seq, at: (self.now)().wall, of: name.to_owned(), text }));
    }
}

/// What a terminal would leave of the line: the text after the last carriage return, without escape sequences, other
/// control characters escaped.
fn readable(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let shown = line.rsplit(|byte| *byte == b'\r').next().unwrap_or(line);
    let text = String::from_utf8_lossy(shown);
    let (mut plain, mut chars) = (String::with_capacity(text.len()), text.chars().peekable());
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' if chars.peek() == Some(&'[') => {
                chars.next();
                while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {}
            }
            '\t' => plain.push('\t'),
            c if is_obeyed(c) => plain.extend(c.escape_unicode()),
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_shown_as_a_terminal_would_leave_it_without_its_control_characters() {
        for (line, shown) in [
            (&b"plain"[..], "plain"),
            (b"with a carriage return\r", "with a carriage return"),
            (b" 10%\r 50%\r100%", "100%"),
            (b"\x1b[1;31mred\x1b[0m", "red"),
            (b"a\x07bell", "a\\u{7}bell"),
            (b"\xff\xfe", "\u{fffd}\u{fffd}"),
        ] {
            assert_eq!(readable(line), shown);
        }
    }
}
