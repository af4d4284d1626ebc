//! Makes a program's output fit to be kept and shown, whatever the program writes: lines without anything that a terminal
//! would obey, without the secrets that the agent knows.
//!
//! Bytes go in as they come from the pipe; pieces of lines come out. Where the bytes were cut on their way makes no
//! difference. What a terminal would have overwritten after a carriage return is dropped, unless it was shown already.

use crate::model::secrets::Secrets;
use space_lifecycle::printable::is_obeyed;
use std::sync::Arc;

/// Bytes of a line; a longer one becomes several.
const LONGEST: usize = 64 << 10;
const ESC: char = '\u{1b}';
const BELL: char = '\u{7}';
const STRING_END: char = '\u{9c}';

/// A part of a line, clean and masked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) text: String,
    /// It is its line's first.
    pub(super) begins: bool,
    /// It is its line's last.
    pub(super) ends: bool,
}

#[derive(Debug)]
pub(super) struct Cleaner {
    secrets: Arc<Secrets>,
    /// The beginning of a character.
    bytes: Vec<u8>,
    escape: Escape,
    /// What is to be shown of the line; without control characters, with its secrets.
    line: String,
    /// A piece of the line is out.
    begun: bool,
    /// A carriage return came: what comes next overwrites the line.
    returned: bool,
}

/// Where in an escape sequence (ECMA-48) the output stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escape {
    Outside,
    /// Behind ESC.
    Begun,
    /// Behind ESC and intermediate bytes.
    Short,
    /// In a control sequence: ESC [.
    Control,
    /// In a string for the terminal: its title, a link.
    Text,
    /// Behind ESC in such a string.
    TextEnds,
}

impl Cleaner {
    pub(super) fn new(secrets: Arc<Secrets>) -> Cleaner {
        let (bytes, line) = (Vec::new(), String::new());
        Cleaner { secrets, bytes, escape: Escape::Outside, line, begun: false, returned: false }
    }

    /// The pieces that are whole with these bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<Piece> {
        let mut bytes = [&std::mem::take(&mut self.bytes), bytes].concat();
        let (mut pieces, mut rest) = (Vec::new(), bytes.as_slice());
        loop {
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    text.chars().for_each(|c| self.take(c, &mut pieces));
                    return pieces;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    String::from_utf8_lossy(valid).chars().for_each(|c| self.take(c, &mut pieces));
                    let Some(wrong) = error.error_len() else {
                        self.bytes = bytes.split_off(bytes.len() - after.len());
                        return pieces;
                    };
                    self.take(char::REPLACEMENT_CHARACTER, &mut pieces);
                    rest = &after[wrong..];
                }
            }
        }
    }

    /// What there is of a line that does not go on for now; without what may be the beginning of a secret.
    pub(super) fn flush(&mut self) -> Option<Piece> {
        let rest = self.line.split_off(self.secrets.whole(&self.line));
        let shown = std::mem::replace(&mut self.line, rest);
        (!shown.is_empty()).then(|| {
            let begins = !std::mem::replace(&mut self.begun, true);
            Piece { text: self.secrets.mask(&shown).into_owned(), begins, ends: false }
        })
    }

    /// The end of a line that does not go on at all.
    pub(super) fn finish(&mut self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        if !std::mem::take(&mut self.bytes).is_empty() {
            self.take(char::REPLACEMENT_CHARACTER, &mut pieces);
        }
        if !self.line.is_empty() || self.begun {
            let text = self.secrets.mask_last(&std::mem::take(&mut self.line));
            pieces.push(self.last(text));
        }
        pieces
    }

    fn take(&mut self, c: char, pieces: &mut Vec<Piece>) {
        use Escape::{Begun, Control, Outside, Short, Text, TextEnds};
        self.escape = match (self.escape, c) {
            (Outside, ESC) => Begun,
            (Begun, '[') => Control,
            (Begun, ']' | 'P' | 'X' | '^' | '_') => Text,
            (Begun | Short, ' '..='/') => Short,
            (Control, ' '..='?') => Control,
            (Text, ESC) => TextEnds,
            (Begun | Short, '0'..='~') | (Control, '@'..='~') | (Text, BELL | STRING_END) | (TextEnds, '\\') => Outside,
            (Text, c) if c != '\n' && c != '\r' => Text,
            // What follows belongs to no sequence, or begins another one.
            (TextEnds, c) => {
                self.escape = Begun;
                return self.take(c, pieces);
            }
            (Begun, c) => {
                self.show(ESC, pieces);
                self.escape = Outside;
                return self.take(c, pieces);
            }
            (Short | Control | Text, c) => {
                self.escape = Outside;
                return self.take(c, pieces);
            }
            (Outside, c) => {
                self.show(c, pieces);
                Outside
            }
        };
    }

    fn show(&mut self, c: char, pieces: &mut Vec<Piece>) {
        match c {
            '\n' => {
                self.returned = false;
                pieces.push(self.end());
            }
            '\r' => self.returned = true,
            c => {
                if std::mem::take(&mut self.returned) {
                    self.line.clear();
                    pieces.extend(self.begun.then(|| self.end()));
                }
                match c {
                    c if is_obeyed(c) && c != '\t' => self.line.extend(c.escape_unicode()),
                    c => self.line.push(c),
                }
                if self.line.len() >= LONGEST {
                    self.cut(pieces);
                }
            }
        }
    }

    /// The line so far becomes one of its own, but for what may be the beginning of a secret.
    fn cut(&mut self, pieces: &mut Vec<Piece>) {
        let whole = self.secrets.whole(&self.line);
        if whole > 0 {
            let rest = self.line.split_off(whole);
            pieces.push(self.end());
            self.line = rest;
        }
    }

    fn end(&mut self) -> Piece {
        let text = self.secrets.mask(&std::mem::take(&mut self.line)).into_owned();
        self.last(text)
    }

    fn last(&mut self, text: String) -> Piece {
        Piece { text, begins: !std::mem::replace(&mut self.begun, false), ends: true }
    }
}

#[cfg(test)]
mod tests;
