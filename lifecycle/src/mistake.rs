//! A mistake in a document: what is wrong, where exactly, and how to mend it.
//!
//! Documents come from people, so a mistake is written for people: the place as editors and terminals link it, the
//! line itself with a caret, and a remedy that can be typed. Whatever a document says is made safe to print first: no
//! control character reaches a terminal or a page.

use crate::printable::is_obeyed;
use serde::Serialize;
use std::fmt;

/// The most mistakes that are kept; the rest are counted.
const KEPT: usize = 100;
/// The longest part of a source line that is shown, in characters.
const EXCERPT: usize = 110;

/// One mistake, complete in itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// The document's name as it was given.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    /// `lifecycle.steps[1].git.url`; empty where the document isn't YAML or not a mapping.
    pub field: String,
    /// What is wrong: lower case, no full stop.
    pub what: String,
    /// How to mend it.
    pub remedy: String,
    /// The line of the document, made printable and shortened around the place.
    pub excerpt: String,
    /// Where the place begins in `excerpt`, in characters from 0, and how many characters it covers.
    pub caret: (usize, usize),
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        let gutter = self.line.to_string().len();
        writeln!(f, "{}", self.what)?;
        writeln!(f, "{:gutter$} | {}", self.line, self.excerpt)?;
        writeln!(f, "{:gutter$} | {:start$}{}", "", "", "^".repeat(self.caret.1), start = self.caret.0)?;
        write!(f, "{:gutter$} = {}", "", self.remedy)
    }
}

/// Every mistake of a document, sorted by place. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mistakes {
    pub mistakes: Vec<Mistake>,
    /// How many further ones aren't listed.
    pub more: usize,
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mistake in &self.mistakes {
            write!(f, "{mistake}\n\n")?;
        }
        let count = self.mistakes.len() + self.more;
        let noun = if count == 1 { "mistake" } else { "mistakes" };
        let file = self.mistakes.first().map_or("the document", |mistake| mistake.file.as_str());
        write!(f, "{count} {noun} in {file}")?;
        if self.more > 0 {
            write!(f, " ({} are shown)", self.mistakes.len())?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// A place in a document. Lines and columns count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Which document (layer) it is in: an index into the sources.
    pub(crate) document: usize,
    pub(crate) line: usize,
    pub(crate) column: usize,
    /// In characters, on this line; at least 1.
    pub(crate) width: usize,
}

/// A document's text, kept for excerpts.
#[derive(Debug)]
pub(crate) struct Source<'t> {
    pub(crate) name: &'t str,
    lines: Vec<&'t str>,
}

impl<'t> Source<'t> {
    pub(crate) fn new(name: &'t str, text: &'t str) -> Self {
        Self { name, lines: text.lines().collect() }
    }

    /// A line's text, from 1; empty beyond the end.
    pub(crate) fn line(&self, line: usize) -> &'t str {
        self.lines.get(line - 1).copied().unwrap_or_default()
    }

    /// The mistake at `place`, with its excerpt.
    pub(crate) fn mistake(&self, place: Place, field: &str, what: String, remedy: String) -> Mistake {
        let (excerpt, caret) = excerpt(self.line(place.line), place.column - 1, place.width);
        Mistake {
            file: printable(self.name),
            line: place.line,
            column: place.column,
            field: shortened(field, 200),
            what: shortened(&what, 400),
            remedy: shortened(&remedy, 400),
            excerpt,
            caret,
        }
    }
}

/// The part of a line around the place that fits, and where the place lies in it.
fn excerpt(line: &str, start: usize, width: usize) -> (String, (usize, usize)) {
    let length = line.chars().count();
    let start = start.min(length);
    let from = if length <= EXCERPT || start < EXCERPT * 2 / 3 { 0 } else { start - EXCERPT / 3 };
    let to = length.min(from + EXCERPT);
    // Credentials are looked for from well before the part that is shown: it may begin inside of some.
    let around = from.saturating_sub(2000);
    let part: String = line.chars().skip(around).take(to - around + 2000).collect();
    let part = without_credentials(&part);
    let mut shown: String = part.chars().skip(from - around).take(to - from).map(printable_char).collect();
    shown.truncate(shown.trim_end().len());
    let mut caret = start - from;
    if from > 0 {
        shown.insert(0, '…');
        caret += 1;
    }
    if to < length {
        shown.push('…');
    }
    let left = shown.chars().count().saturating_sub(caret).max(1);
    (shown, (caret, width.clamp(1, left)))
}

/// `text` in quotes, fit to be printed: control characters escaped, at most 60 characters.
pub(crate) fn quoted(text: &str) -> String {
    let text = without_credentials(text);
    let mut shown: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    if text.chars().nth(60).is_some() {
        shown.push('…');
    }
    format!("\"{}\"", shown.replace("\\'", "'").replace("\\\"", "\""))
}

/// As [`quoted`], without the quotes.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(printable_char).collect()
}

/// A key as a part of a field path.
pub(crate) fn key_text(key: &str) -> String {
    shortened(&printable(key), 60)
}

fn shortened(text: &str, most: usize) -> String {
    if text.chars().nth(most).is_none() { text.to_owned() } else { text.chars().take(most).chain(['…']).collect() }
}

/// What stands before the `@` of http URLs becomes stars, one for one: documents carry passwords, messages must not.
pub(crate) fn without_credentials(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        shown.extend([before, "://"]);
        let end = after.find(|c: char| c.is_whitespace() || "/?#\"'".contains(c)).unwrap_or(after.len());
        let secret = after[..end].rfind('@').filter(|_| before.ends_with("http") || before.ends_with("https"));
        shown.extend(after[..secret.unwrap_or(0)].chars().map(|_| '*'));
        rest = &after[secret.unwrap_or(0)..];
    }
    shown + rest
}

/// Tabs become spaces, so that carets align; what could drive a terminal or turn text around becomes `?`.
fn printable_char(c: char) -> char {
    match c {
        '\t' => ' ',
        c if is_obeyed(c) => '?',
        c => c,
    }
}

/// Mistakes as they come in: bounded, each once, however large and wrong a document is.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    /// The first ones, as many as are kept.
    found: Vec<(Place, Mistake)>,
    more: usize,
}

impl Collected {
    pub(crate) fn add(&mut self, place: Place, mistake: Mistake) {
        // What an alias repeats is wrong once.
        if self.found.iter().any(|(other, known)| *other == place && known.what == mistake.what) {
            return;
        }
        if !self.counted() {
            self.found.push((place, mistake));
        }
    }

    /// As many mistakes as are kept were found already: counts one more instead of having it made.
    pub(crate) fn counted(&mut self) -> bool {
        let full = self.found.len() >= KEPT;
        self.more += usize::from(full);
        full
    }

    /// How many there were, those that aren't kept among them.
    pub(crate) fn count(&self) -> usize {
        self.found.len() + self.more
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(crate) fn into_mistakes(mut self) -> Mistakes {
        self.found.sort_by_key(|(place, _)| *place);
        Mistakes { mistakes: self.found.into_iter().map(|(_, mistake)| mistake).collect(), more: self.more }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_of_a_long_line_keeps_the_place_in_sight() {
        let line = format!("{}HERE{}", "a".repeat(300), "b".repeat(300));
        let (shown, (start, width)) = excerpt(&line, 300, 4);
        assert_eq!(shown.chars().skip(start).take(width).collect::<String>(), "HERE");
        assert!(shown.starts_with('…') && shown.ends_with('…') && shown.chars().count() <= EXCERPT + 2);
    }

    #[test]
    fn a_message_shows_no_password() {
        assert_eq!(without_credentials("url: https://me:pass@host/a, x"), "url: https://*******@host/a, x");
        assert_eq!(without_credentials("git+http://key@a http://b/@c"), "git+http://***@a http://b/@c");
        assert_eq!(without_credentials("ssh://git@host/a"), "ssh://git@host/a");
    }

    #[test]
    fn nothing_in_a_document_can_drive_a_terminal() {
        assert_eq!(printable("a\u{1b}[31m\u{202e}b\tc"), "a?[31m?b c");
        assert_eq!(quoted("a\u{1b}\n"), r#""a\u{1b}\n""#);
    }
}
