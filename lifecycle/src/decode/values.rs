//! Single values, lists and choices: what every part of a document is made of.

use super::{At, Decoder};
use crate::duration::text as duration_text;
use crate::form::{self, Wrong};
use crate::mistake::quoted;
use crate::suggest::{any_of, nearest};
use crate::tree::{Meaning, Value};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The most items of a list.
pub(super) const ITEMS: usize = 1000;

impl<'s> Decoder<'s> {
    /// Text. A number or truth value must be quoted, so that every reader of the document sees the same.
    pub(super) fn text<'n>(&mut self, at: &At<'n>) -> Option<&'n str> {
        match at.node.meaning() {
            Some(Meaning::Text(text)) if text.contains('\0') => {
                self.fail(at, "the text contains a NUL character", "delete the character");
                None
            }
            Some(Meaning::Text(text)) => Some(text),
            Some(Meaning::Null) => {
                self.fail(at, "the value is missing", "write a value, or delete the field");
                None
            }
            Some(_) => {
                let what = format!("this must be text, but here is {}", at.node.describe());
                self.fail(at, what, format!("put it in quotes: {}", quoted(at.node.raw())));
                None
            }
            None => {
                self.fail(at, format!("this must be text, but here is {}", at.node.describe()), "write a single value");
                None
            }
        }
    }

    /// Text of a certain form.
    pub(super) fn formed<'n>(&mut self, at: &At<'n>, form: impl Fn(&str) -> Result<(), Wrong>) -> Option<&'n str> {
        let text = self.text(at)?;
        match form(text) {
            Ok(()) => Some(text),
            Err((what, remedy)) => {
                self.fail(at, what, remedy);
                None
            }
        }
    }

    pub(super) fn boolean(&mut self, at: &At<'_>) -> Option<bool> {
        if let Some(Meaning::Bool(value)) = at.node.meaning() {
            return Some(value);
        }
        let remedy = match at.node.raw().to_lowercase().as_str() {
            "yes" | "on" | "y" | "1" | "true" => "write true",
            "no" | "off" | "n" | "0" | "false" => "write false",
            _ => "write true or false",
        };
        self.fail(at, format!("this must be true or false, but here is {}", at.node.describe()), remedy);
        None
    }

    pub(super) fn integer(&mut self, at: &At<'_>, range: RangeInclusive<i64>) -> Option<i64> {
        let number = match at.node.meaning() {
            Some(Meaning::Integer(number)) => number,
            Some(Meaning::Text(text)) if text.parse::<i64>().is_ok() => {
                self.fail(at, format!("this must be a number, but {} is text", quoted(text)), format!("write {text}"));
                return None;
            }
            _ => {
                let remedy = format!("write a number from {} to {}", range.start(), range.end());
                self.fail(at, format!("this must be a whole number, but here is {}", at.node.describe()), remedy);
                return None;
            }
        };
        if range.contains(&number) {
            return Some(number);
        }
        self.fail(
            at,
            format!("{number} is out of range"),
            format!("write a number from {} to {}", range.start(), range.end()),
        );
        None
    }

    /// A duration in a range.
    pub(super) fn duration(&mut self, at: &At<'_>, range: RangeInclusive<Duration>) -> Option<Duration> {
        let raw = at.node.raw();
        if let Some(Meaning::Integer(_) | Meaning::Float(_)) = at.node.meaning() {
            let whole = raw.bytes().all(|b| b.is_ascii_digit());
            let remedy = if whole { format!("write {raw}s, {raw}m or {raw}h") } else { "write 90s, 5m or 2h".into() };
            self.fail(at, format!("the duration {raw} has no unit"), remedy);
            return None;
        }
        let text = self.text(at)?;
        self.duration_of(at, text, range)
    }

    /// The duration that a text, or a part of it, says.
    fn duration_of(&mut self, at: &At<'_>, text: &str, range: RangeInclusive<Duration>) -> Option<Duration> {
        match form::duration(text) {
            Ok(duration) if range.contains(&duration) => Some(duration),
            Ok(duration) => {
                let (edge, limit) =
                    if duration < *range.start() { ("shorter", range.start()) } else { ("longer", range.end()) };
                let what = format!("{text} is {edge} than {}", duration_text(*limit));
                let remedy = match edge {
                    "shorter" => format!("write {} or more", duration_text(*limit)),
                    _ => format!("write {} or less", duration_text(*limit)),
                };
                self.fail(at, what, remedy);
                None
            }
            Err((what, remedy)) => {
                self.fail(at, what, remedy);
                None
            }
        }
    }

    /// Two durations in a range, the shorter one first: `1s..60s`; or one that stands for both.
    pub(super) fn durations(&mut self, at: &At<'_>, range: RangeInclusive<Duration>) -> Option<(Duration, Duration)> {
        let raw = at.node.raw();
        let Some((first, last)) = raw.split_once("..") else {
            let meant = ["-", "–", "…", "to", ","].iter().find_map(|between| raw.split_once(between));
            let meant = meant.map(|(first, last)| (first.trim(), last.trim()));
            if let Some((first, last)) = meant.filter(|(a, b)| form::duration(a).is_ok() && form::duration(b).is_ok()) {
                let what = format!("{} is not a range of durations", quoted(raw));
                self.fail(at, what, format!("write {first}..{last}"));
                return None;
            }
            return self.duration(at, range).map(|both| (both, both));
        };
        self.text(at)?;
        let (shortest, longest) = (self.duration_of(at, first, range.clone()), self.duration_of(at, last, range));
        let (shortest, longest) = (shortest?, longest?);
        if shortest > longest {
            let what = format!("the range begins with {first}, which is longer than {last}");
            self.fail(at, what, format!("write {last}..{first}"));
            return None;
        }
        Some((shortest, longest))
    }

    /// A duration, or `never` (`Some(None)`).
    pub(super) fn duration_or_never(
        &mut self,
        at: &At<'_>,
        range: RangeInclusive<Duration>,
    ) -> Option<Option<Duration>> {
        match at.node.meaning() {
            Some(Meaning::Text("never")) => Some(None),
            Some(Meaning::Text(text)) if nearest(text, ["never", "off", "none", "infinite"]).is_some() => {
                self.fail(at, format!("{} is not a duration", quoted(text)), "write never");
                None
            }
            Some(Meaning::Bool(_) | Meaning::Integer(0)) => {
                self.fail(at, format!("{} is not a duration", at.node.raw()), "write never, or a duration: 60m");
                None
            }
            _ => self.duration(at, range).map(Some),
        }
    }

    /// One of several words; `later` are known words that this version can't do.
    pub(super) fn choice<T: Copy>(&mut self, at: &At<'_>, words: &[(&str, T)], later: &[&str]) -> Option<T> {
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let Some(Meaning::Text(text)) = at.node.meaning() else {
            let what = format!("this must be {}, but here is {}", any_of(&names), at.node.describe());
            self.fail(at, what, format!("write {}", any_of(&names)));
            return None;
        };
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        if later.contains(&text) {
            let what = format!("{} is planned, but this version of the agent does not have it yet", quoted(text));
            self.fail(at, what, format!("write {} for now", any_of(&names)));
            return None;
        }
        let remedy = match nearest(text, names.iter().copied()) {
            Some(word) => format!("did you mean {}?", quoted(word)),
            None => format!("write {}", any_of(&names)),
        };
        let key = at.field.rsplit('.').next().unwrap_or_default();
        self.fail(at, format!("{} is not a value of `{key}`", quoted(text)), remedy);
        None
    }

    /// The items of a list; `None` where it isn't one.
    pub(super) fn items<'n>(&mut self, at: &At<'n>, most: usize) -> Option<Vec<At<'n>>> {
        match &at.node.value {
            Value::List(items) if items.len() <= most => {
                Some(items.iter().enumerate().map(|(index, node)| at.item(index, node)).collect())
            }
            Value::List(items) => {
                self.fail(
                    at,
                    format!("the list has {} items", items.len()),
                    format!("{most} are the most that is read"),
                );
                None
            }
            Value::Map(_) => {
                self.fail(at, "this must be a list, but here is a mapping", "begin each item with `- `");
                None
            }
            Value::Scalar { .. } if at.node.is_null() => {
                self.fail(
                    at,
                    "this must be a list, but here is nothing",
                    "write the items, [] for none, or delete the field",
                );
                None
            }
            Value::Scalar { .. } => {
                let what = format!("this must be a list, but here is {}", at.node.describe());
                self.fail(at, what, format!("write {}", as_list(at.node.raw())));
                None
            }
        }
    }

    /// A list of texts of a certain form.
    pub(super) fn texts(&mut self, at: &At<'_>, form: impl Fn(&str) -> Result<(), Wrong>) -> Option<Vec<String>> {
        let items = self.items(at, ITEMS)?;
        let texts: Vec<_> = items.iter().map(|item| self.formed(item, &form).map(str::to_owned)).collect();
        texts.into_iter().collect()
    }

    /// Program and arguments.
    pub(super) fn command(&mut self, at: &At<'_>) -> Option<Vec<String>> {
        let words = self.texts(at, |_| Ok(()))?;
        match words.first() {
            Some(program) if !program.is_empty() => Some(words),
            _ => {
                self.fail(at, "the command names no program", "write program and arguments: [python, app.py]");
                None
            }
        }
    }

    /// `env:`: names and texts.
    pub(super) fn env(&mut self, at: &At<'_>) -> BTreeMap<String, String> {
        let mut env = BTreeMap::new();
        let Value::Map(entries) = &at.node.value else {
            let remedy = match &at.node.value {
                Value::List(_) => "write `NAME: value` instead of `- NAME=value`",
                _ => "write `NAME: value` in lines of their own, or delete the field",
            };
            self.fail(at, format!("`env` is a mapping, but here is {}", at.node.describe()), remedy);
            return env;
        };
        for entry in entries {
            if let Err((what, remedy)) = form::variable(&entry.key) {
                self.fail_at(entry.place, &at.join(&entry.key), what, remedy);
            } else if let Some(value) = self.text(&at.child(entry)) {
                env.insert(entry.key.clone(), value.to_owned());
            }
        }
        env
    }
}

/// A text as the list that was probably meant: its words, quoted where YAML would not see text.
pub(super) fn as_list(text: &str) -> String {
    let word = |word: &str| {
        let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "._/-+=<>".contains(c));
        let text = word.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '.' | '/' | '-'));
        if plain && text && word != "-" { word.to_owned() } else { quoted(word) }
    };
    let words: Vec<String> = text.split_whitespace().map(|part| word(part.trim_end_matches(','))).take(12).collect();
    format!("[{}]", words.join(", "))
}
