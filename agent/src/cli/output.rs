//! Standard output: colours only for a terminal, and no control characters that came from elsewhere.

use super::failure::Failure;
use space_lifecycle::printable::is_obeyed;
use std::io::{self, ErrorKind, IsTerminal, Write};

/// Where a command's output goes.
pub(super) struct Output {
    to: Box<dyn Write>,
    pub(super) paint: Paint,
    /// Somebody watches: the screen may be redrawn.
    pub(super) terminal: bool,
}

/// Colours, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Paint {
    pub(super) colour: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Tone {
    Strong,
    Quiet,
    Good,
    Busy,
    Bad,
}

impl Output {
    pub(super) fn stdout(env: &dyn Fn(&str) -> Option<String>) -> Output {
        let terminal = io::stdout().is_terminal();
        let plain = env("NO_COLOR").is_some_and(|value| !value.is_empty()) || env("TERM").is_some_and(|t| t == "dumb");
        Output { to: Box::new(io::stdout()), paint: Paint { colour: terminal && !plain }, terminal }
    }

    #[cfg(test)]
    pub(super) fn into(to: impl Write + 'static) -> Output {
        Output { to: Box::new(to), paint: Paint { colour: false }, terminal: false }
    }

    /// Writes at once what is ours, or was made printable.
    pub(super) fn write(&mut self, text: &str) -> Result<(), Failure> {
        self.to.write_all(text.as_bytes()).and_then(|()| self.to.flush()).map_err(unwritten)
    }

    /// Writes a program's output: as it is into a file or a pipe, made printable for a terminal.
    pub(super) fn write_foreign(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if self.terminal {
            return self.write(&printable(&String::from_utf8_lossy(bytes), true));
        }
        self.to.write_all(bytes).and_then(|()| self.to.flush()).map_err(unwritten)
    }
}

fn unwritten(error: io::Error) -> Failure {
    match error.kind() {
        ErrorKind::BrokenPipe => Failure::not_read(),
        _ => Failure::failed(format!("cannot write to standard output: {error}")),
    }
}

impl Paint {
    pub(super) fn text(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            _ if !self.colour => return text.to_owned(),
            Tone::Strong => "1",
            Tone::Quiet => "2",
            Tone::Good => "32",
            Tone::Busy => "33",
            Tone::Bad => "31",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// True if there is a person to ask: both ends are a terminal.
pub(super) fn somebody_is_there() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// The text without what a terminal would obey: control characters and those that turn the direction of writing.
pub(super) fn printable(text: &str, lines: bool) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' if lines => safe.push(c),
            c if is_obeyed(c) => safe.extend(c.escape_default()),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_foreign_commands_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\r\u{202e}c\u{200f}\né", false), "a\\u{1b}[2Jb\\r\\u{202e}c\\u{200f}\\né");
        assert_eq!(printable("a\tb\nc\u{9b}", true), "a\tb\nc\\u{9b}");
    }
}
