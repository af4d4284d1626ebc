//! What a YAML scanner's complaint means to the person who wrote the line.
//!
//! A scanner reports where it could not go on and in its own terms. For the slips that people make, the line itself
//! says more: this looks at it and names the slip; the rest gets the scanner's words.

use crate::mistake::{Place, Source, printable};
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
    if let Some(found) = missing_space(info, place, source).or_else(|| inner_colon(info, place, source)) {
        return found;
    }
    if let Some(found) = inner_bracket(info, place, source) {
        return found;
    }
    let line = source.line(place.line);
    let at = line.chars().nth(place.column - 1);
    let word = line.chars().skip(place.column - 1).take_while(|c| !c.is_whitespace() && !",]}".contains(*c)).count();
    let mut place = Place { width: word.max(1), ..place };
    let (what, remedy) = match info {
        _ if info.contains("mapping values are not allowed") => {
            place.width = 1;
            (
                "a `:` is not allowed here",
                "put a value that contains `: ` in quotes, and indent this line like its neighbours",
            )
        }
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

/// `shutdown:60m`: the scanner reads on and complains about the next `:`, here or in the next line.
fn missing_space(info: &str, place: Place, source: &Source<'_>) -> Option<(Place, String, String)> {
    if !info.contains("mapping values are not allowed") && !info.contains("simple key expect") {
        return None;
    }
    let above = (1..place.line).rev().find(|line| !source.line(*line).trim().is_empty());
    [Some(place.line), above].into_iter().flatten().find_map(|number| {
        let line = source.line(number);
        let text = line.trim_start().trim_start_matches("- ");
        let (key, value) = text.split_once(':')?;
        let word = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        let glued = word && !value.is_empty() && !value.starts_with([' ', '/', ':']) && !value.contains(": ");
        let column = line.chars().count() - text.chars().count() + key.chars().count() + 1;
        let place = Place { line: number, column, width: 1, ..place };
        glued.then(|| {
            (place, "a space is missing after this `:`".to_owned(), format!("write {key}: {}", printable(value)))
        })
    })
}

/// `run: echo done: all set`: a second `: ` in one value.
fn inner_colon(info: &str, place: Place, source: &Source<'_>) -> Option<(Place, String, String)> {
    let text = source.line(place.line).trim_start().trim_start_matches("- ");
    let (key, value) = text.split_once(": ")?;
    let before = source.line(place.line).chars().take(place.column - 1).collect::<String>();
    if !info.contains("mapping values are not allowed") || !before.contains(": ") || value.contains(['"', '\'']) {
        return None;
    }
    let value = printable(value.trim());
    let remedy = match key {
        "run" => "write `run: |` and the script in lines of its own below, indented".to_owned(),
        _ => format!("put the value in quotes: {}: \"{value}\"", printable(key)),
    };
    Some((place, "a value with a `: ` in it must be in quotes".to_owned(), remedy))
}

/// `[dask[complete], pandas]`: a bracket inside a value of a list.
fn inner_bracket(info: &str, place: Place, source: &Source<'_>) -> Option<(Place, String, String)> {
    let line: Vec<char> = source.line(place.line).chars().collect();
    let at = place.column - 1;
    let inside = matches!(line.get(at), Some('[' | '{')) && at > 0 && line[at - 1].is_alphanumeric();
    if !info.contains("flow sequence, expected") || !inside {
        return None;
    }
    let apart = |c: &char| c.is_whitespace() || matches!(c, ',' | '[' | '{');
    let start = line[..at].iter().rposition(apart).map_or(0, |index| index + 1);
    let end = line[at..].iter().position(|c| matches!(c, ']' | '}')).map_or(line.len(), |index| at + index + 1);
    let word = printable(&line[start..end].iter().collect::<String>());
    let place = Place { column: start + 1, width: end - start, ..place };
    Some((place, "in a list, a value with brackets must be in quotes".to_owned(), format!("write \"{word}\"")))
}
