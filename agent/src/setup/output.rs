//! The step's log: what the worker says, and what its helpers print, on their way to standard output.

use crate::sys::helper;
use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, PipeReader, Write};
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// How many of a helper's last lines are kept to find out why it failed.
const TAIL_LINES: usize = 200;
/// A line longer than this is handled in pieces.
const LINE_LIMIT: usize = 16 * 1024;
/// How long a helper's output may stay open after its end (it may have left a process behind that holds it).
const OUTPUT_GRACE: Duration = Duration::from_secs(2);

/// A line of the log. Nobody listening is no reason to fail.
pub(super) fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// How a helper ended, with its last lines (credentials in URLs masked).
#[derive(Debug)]
pub(super) struct Ended {
    pub status: ExitStatus,
    pub tail: Vec<String>,
}

/// Runs a helper to its end and shows its output line by line.
pub(super) fn run(mut command: Command) -> io::Result<Ended> {
    let (reader, writer) = io::pipe()?;
    command.stdout(writer.try_clone()?).stderr(writer);
    let mut child = helper::spawn(&mut command)?;
    // The command holds the pipe's other end too, and without this there would be no end of file.
    drop(command);
    let (sender, tail) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let _ = sender.send(show(reader));
    });
    let status = child.wait()?;
    Ok(Ended { status, tail: tail.recv_timeout(OUTPUT_GRACE).unwrap_or_default() })
}

fn show(reader: PipeReader) -> Vec<String> {
    let (mut reader, mut tail, mut progress) = (BufReader::new(reader), VecDeque::new(), String::new());
    while let Ok(Some(line)) = read_line(&mut reader) {
        let (line, rewritten) = (mask(&line.text), line.rewritten);
        if line.trim().is_empty() || (rewritten && !is_news(&line, &mut progress)) {
            continue;
        }
        say(&line);
        if tail.len() == TAIL_LINES {
            tail.pop_front();
        }
        tail.push_back(line);
    }
    tail.into()
}

#[derive(Debug, PartialEq)]
struct Line {
    text: String,
    /// It ended with a carriage return: a progress line, soon written over.
    rewritten: bool,
}

/// The next line; `None` at the end.
fn read_line(reader: &mut impl BufRead) -> io::Result<Option<Line>> {
    let mut bytes = Vec::new();
    loop {
        let available = reader.fill_buf()?;
        if available.is_empty() {
            let line = Line { text: String::from_utf8_lossy(&bytes).into(), rewritten: false };
            return Ok((!bytes.is_empty()).then_some(line));
        }
        let room = available.len().min(LINE_LIMIT - bytes.len());
        let end = available[..room].iter().position(|&b| b == b'\n' || b == b'\r');
        bytes.extend_from_slice(&available[..end.unwrap_or(room)]);
        let rewritten = end.is_some_and(|end| available[end] == b'\r');
        reader.consume(end.map_or(room, |end| end + 1));
        if end.is_some() || bytes.len() >= LINE_LIMIT {
            return Ok(Some(Line { text: String::from_utf8_lossy(&bytes).into(), rewritten }));
        }
    }
}

/// Of the hundreds of lines like `Receiving objects:  37% (3/8)` only each new tenth is shown.
fn is_news(line: &str, last: &mut String) -> bool {
    let Some((what, _)) = line.split_once('%') else { return true };
    let mut tenth = what.chars();
    tenth.next_back();
    let news = tenth.as_str() != last;
    *last = tenth.as_str().to_owned();
    news
}

/// The text with the credentials of every URL in it masked: `https://user:secret@host/` becomes `https://***@host/`.
pub(super) fn mask(text: &str) -> String {
    let (mut masked, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        let authority =
            after.find(|c: char| c == '/' || c.is_whitespace() || "'\"<>`".contains(c)).unwrap_or(after.len());
        masked.push_str(before);
        rest = after;
        if let Some(end) = after[..authority].rfind('@') {
            // The user of an ssh URL is no secret, a password is.
            let shown = if before.ends_with("ssh://") && !after[..end].contains(':') { &after[..end] } else { "***" };
            masked.push_str(shown);
            rest = &after[end..];
        }
    }
    masked + rest
}

/// The path as people call it: relative to the home if it is inside.
pub(super) fn spoken(path: &Path, home: &Path) -> String {
    path.strip_prefix(home).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_urls_are_masked() {
        for (text, masked) in [
            ("https://alice:s3cr3t@git.example/x.git", "https://***@git.example/x.git"),
            ("fatal: 'https://token@h/a' and http://u:p@h", "fatal: 'https://***@h/a' and http://***@h"),
            ("https://a:b@c:d@h/", "https://***@h/"),
            ("ssh://git@host/x.git", "ssh://git@host/x.git"),
            ("ssh://git:pw@host/x.git", "ssh://***@host/x.git"),
            ("https://host/a@b", "https://host/a@b"),
            ("no url, a@b", "no url, a@b"),
        ] {
            assert_eq!(mask(text), masked);
        }
    }

    #[test]
    fn lines_end_at_newlines_and_carriage_returns_and_at_their_limit() {
        let long = "x".repeat(LINE_LIMIT + 5);
        let mut reader = io::Cursor::new(format!("one\n10%\r20%\rdone\n{long}"));
        let mut lines = Vec::new();
        while let Some(line) = read_line(&mut reader).unwrap() {
            lines.push((line.text.len(), line.rewritten));
        }
        assert_eq!(lines, [(3, false), (3, true), (3, true), (4, false), (LINE_LIMIT, false), (5, false)]);
    }

    #[test]
    fn only_each_tenth_of_a_progress_is_news() {
        let mut last = String::new();
        let shown: Vec<_> =
            (0..100).filter(|n| is_news(&format!("Receiving objects: {n:3}% ({n}/100)"), &mut last)).collect();
        assert_eq!(shown, [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]);
    }
}
