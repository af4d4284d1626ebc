//! What a YAML scanner's complaint means to the person who wrote the line.
//!
//! A scanner reports where it could not go on and in its own terms. For the slips that people make, the line itself
//! says more: this looks at it and names the slip; the rest gets the scanner's words.

use crate::mistake::{Place, Source};
use saphyr_parser::Tag;

/// The line (from 1) of an early `#!`, if the text is a script rather than a document with a script in it.
pub(super) fn shell_script(text: &str) -> Option<usize> {
    if text.lines().any(|line| line.starts_with("version:")) {
        return None;
    }
    text.lines().take(10).position(|line| line.trim_start_matches('\u{feff}').starts_with("#!")).map(|index| index + 1)
}

pub(super) fn tag_text(tag: &Tag) -> String {
    if tag.is_yaml_core_schema() { format!("!!{}", tag.suffix) } else { tag.to_string() }
}

/// The place, what is wrong there, and the remedy.
pub(super) fn explain(info: &str, place: Place, source: &Source<'_>) -> (Place, String, String) {
    if let Some(found) = tab(place, source) {
        return found;
    }
    let line = source.line(place.line);
    let at = line.chars().nth(place.column - 1);
    let (what, remedy) = match info {
        _ if info.contains("mapping values are not allowed") => (
            "a `:` is not allowed here",
            "put a value that contains `: ` in quotes, and check that this line is indented like its neighbours",
        ),
        _ if info.contains("flow mapping, did not find") => {
            ("this `{ … }` goes on without a `,` or is not closed", "close it with `}`; put commas between its fields")
        }
        _ if info.contains("flow sequence, expected") || info.contains("invalid indentation in flow construct") => (
            "this `[ … ]` goes on without a `,` or is not closed",
            "close it with `]`; put values that contain [ ] { } or , in quotes",
        ),
        _ if info.contains("misplaced bracket") => {
            ("a closing bracket that was never opened", "delete it, or put the value in quotes")
        }
        _ if info.contains("found unexpected end of stream") || info.contains("unexpected document indicator") => (
            "a quote is opened and never closed",
            "close it; a value that contains a quote can stand in the other kind",
        ),
        _ if info.contains("trailing content after") => {
            ("text goes on after the closing quote", "put the whole value in one pair of quotes")
        }
        _ if info.contains("unknown escape character") => (
            "this escape is not known in double quotes",
            "write `\\\\` for a backslash, or put the value in single quotes",
        ),
        _ if info.contains("unknown anchor") => (
            "this alias names no anchor",
            "define it before with `&name`, or put a value that begins with `*` in quotes",
        ),
        _ if info.contains("unexpected character") || info.contains("cannot start any token") => {
            ("a value can't begin with this character", "put the value in quotes")
        }
        _ if info.contains("simple key expect") => {
            ("a `field: value` was expected in this line", "write a `:` and a space after the field's name")
        }
        _ if info.contains("block mapping, did not find expected key")
            || info.contains("block collection, did not find")
            || info.contains("did not find expected <document start>")
            || info.contains("sequence entries are not allowed")
            || info.contains("invalid indentation") =>
        {
            ("this line doesn't fit what stands above it", "indent it like the fields that it belongs to, with spaces")
        }
        _ if info.contains("recursion limit") => ("nested too deeply", "no field needs that: write it flatter"),
        _ if at == Some('%') => ("a value can't begin with this character", "put the value in quotes"),
        other => {
            return (
                place,
                format!("this is not YAML: {other}"),
                "put the value in quotes if it is meant as text".into(),
            );
        }
    };
    (place, what.to_owned(), remedy.to_owned())
}

/// A tab among the spaces that indent the line is what everyone overlooks.
fn tab(place: Place, source: &Source<'_>) -> Option<(Place, String, String)> {
    let line = source.line(place.line);
    let indent = line.len() - line.trim_start().len();
    let tab = line[..indent].find('\t')?;
    let place = Place { column: tab + 1, width: 1, ..place };
    Some((place, "a tab indents this line".to_owned(), "YAML is indented with spaces only".to_owned()))
}
