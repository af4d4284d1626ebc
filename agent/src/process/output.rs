//! Reading a child's output: cleaned, to its log file, to whoever watches, and to the agent's own log where that is wanted.

use super::aloud::Aloud;
use super::clean::{Cleaner, Piece};
use super::logs::Logs;
use crate::model::child::ChildId;
use crate::model::log::LogLine;
use crate::model::now::{Monotonic, Now};
use crate::model::secrets::Secrets;
use crate::sys::stop::Stop;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::broadcast;
use tokio::time::sleep;

/// Bytes of a line that are shown; the log has all.
const LONGEST_LINE: usize = 4096;
/// Characters of the last line, for messages.
const LONGEST_LAST: usize = 300;
/// How long a line may stay unfinished before what there is of it is shown: a prompt, or how far something is.
const QUIET: Duration = Duration::from_millis(200);
/// The same for a line that is overwritten again and again.
const BUSY: Duration = Duration::from_secs(5);

/// Numbers the lines of this agent process.
static SEQUENCE: AtomicU64 = AtomicU64::new(0);

#[derive(Debug, Clone)]
pub(super) struct Output {
    pub(super) logs: Logs,
    pub(super) lines: broadcast::Sender<Arc<LogLine>>,
    pub(super) now: fn() -> Now,
    pub(super) discretion: Arc<Discretion>,
    /// The room ends: what was read is still written, the rest stays in the pipe for the next agent.
    pub(super) stop: Stop,
}

/// What of the output nobody is to see, and what is told in the agent's own log too.
#[derive(Debug, Clone, Default)]
pub struct Discretion {
    pub secrets: Arc<Secrets>,
    /// The steps' lines.
    pub steps_aloud: bool,
    /// The apps' lines: they may hold people's data.
    pub apps_aloud: bool,
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
            *last = Some(line.to_owned());
        }
    }
}

/// Whose output it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    /// The step's or app's name.
    pub(super) name: String,
    /// Its log's, below the log folder.
    log: String,
    pub(super) step: bool,
}

impl Source {
    /// A child that this version cannot name logs beside the apps.
    pub(super) fn of(child: &str) -> Source {
        match child.parse::<ChildId>() {
            Ok(child) => {
                let step = matches!(child, ChildId::Step { .. });
                Source { name: child.name().to_owned(), log: child.log(), step }
            }
            Err(_) => {
                let name: String = child.chars().filter(char::is_ascii_alphanumeric).collect();
                Source { log: format!("apps/{name}"), name, step: false }
            }
        }
    }
}

impl Output {
    /// Until the end of the output: the child and all who inherited its pipe have closed it.
    pub(super) async fn read(&self, source: Source, fd: OwnedFd, tail: Tail) {
        let Ok(mut pipe) = pipe::Receiver::from_owned_fd(fd) else { return };
        let (mut buffer, mut stop) = (vec![0; 16 * 1024], self.stop.clone());
        let mut reader = Reader::new(self, source, tail);
        loop {
            // Cancel-safe: what was not read is still in the pipe, and the pause begins anew with each read.
            tokio::select! {
                read = pipe.read(&mut buffer) => match read {
                    Ok(length @ 1..) => reader.take(&buffer[..length]).await,
                    _ => break,
                },
                () = sleep(QUIET), if reader.unshown => reader.pause().await,
                () = stop.wanted() => break,
            }
        }
        // If another agent reads on, it begins a new line: nothing is lost and nothing is there twice.
        reader.end().await;
    }
}

/// One child's output on its way.
struct Reader<'room> {
    room: &'room Output,
    source: Source,
    tail: Tail,
    cleaner: Cleaner,
    aloud: Option<Aloud>,
    /// The line so far, as far as it may become the last one.
    line: String,
    /// Something came since the last pause.
    unshown: bool,
    /// When something was shown last.
    shown: Monotonic,
}

impl<'room> Reader<'room> {
    fn new(room: &'room Output, source: Source, tail: Tail) -> Reader<'room> {
        let Discretion { secrets, steps_aloud, apps_aloud } = &*room.discretion;
        let aloud = if source.step { *steps_aloud } else { *apps_aloud };
        let cleaner = Cleaner::new(secrets.clone());
        let shown = (room.now)().monotonic;
        let aloud = aloud.then(|| Aloud::new(&source));
        Reader { room, source, tail, cleaner, aloud, line: String::new(), unshown: false, shown }
    }

    async fn take(&mut self, bytes: &[u8]) {
        let mut pieces = self.cleaner.push(bytes);
        if pieces.is_empty() && (self.room.now)().monotonic.since(self.shown) >= BUSY {
            pieces.extend(self.cleaner.flush());
        }
        self.unshown = true;
        self.show(pieces).await;
    }

    async fn pause(&mut self) {
        let pieces = self.cleaner.flush();
        self.unshown = false;
        self.show(pieces.into_iter().collect()).await;
        if let Some(aloud) = &mut self.aloud {
            aloud.pause();
        }
    }

    async fn end(mut self) {
        let pieces = self.cleaner.finish();
        self.show(pieces).await;
        if let Some(aloud) = &mut self.aloud {
            aloud.pause();
        }
    }

    async fn show(&mut self, pieces: Vec<Piece>) {
        if pieces.is_empty() {
            return;
        }
        let now = (self.room.now)();
        self.shown = now.monotonic;
        let mut log = String::new();
        for piece in &pieces {
            log.push_str(&piece.text);
            log.extend(piece.ends.then_some('\n'));
            self.tell(piece, now);
        }
        self.room.logs.append(&self.source.log, log.as_bytes()).await;
    }

    fn tell(&mut self, piece: &Piece, now: Now) {
        if piece.begins {
            self.line.clear();
        }
        let room = LONGEST_LAST.saturating_sub(self.line.chars().count());
        self.line.extend(piece.text.chars().take(room));
        self.tail.set(&self.line);
        // The end alone of a line whose beginning was shown is no line.
        if piece.begins || !piece.text.is_empty() {
            let text = &piece.text[..piece.text.floor_char_boundary(LONGEST_LINE)];
            if let Some(aloud) = &mut self.aloud {
                aloud.say(text, now.monotonic);
            }
            let seq = SEQUENCE.fetch_add(1, Ordering::Relaxed);
            let line = LogLine { seq, at: now.wall, of: self.source.name.clone(), text: text.to_owned() };
            // An error means that nobody watches.
            let _ = self.room.lines.send(Arc::new(line));
        }
    }
}

#[cfg(test)]
mod tests;
