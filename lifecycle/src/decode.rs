//! The tree to a [`Space`]: a decoder that doesn't stop at a mistake but collects them all.
//!
//! Each part of a document has a function that takes a node with its field path and returns its value, or `None` after
//! it has recorded a mistake. Whoever gets `None` goes on with a default, so that the rest is looked at too; a space
//! leaves [`read`] only if no mistake was recorded. Checks between values run only on values that were read, so that one
//! slip isn't reported twice.

mod apps;
mod parts;
mod salvage;
mod steps;
mod supervision;
mod values;

use crate::mistake::{Collected, Mistake, Mistakes, Place, Source, key_text, printable, quoted};
use crate::space::Space;
use crate::suggest::{any_of, nearest};
use crate::tree::{self, Entry, Node, Value};
use crate::vocabulary::{ALL, Object};

pub use salvage::{Salvage, salvage};

/// How strict to be with documents of a newer minor version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Every unknown field is a mistake.
    Check,
    /// An unknown field of a document with a newer minor version is dropped with a warning, so that a fleet of older
    /// agents survives a new field; never where a dropped field could open or endanger something.
    Run,
}

/// A document that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    pub space: Space,
    /// What is allowed and probably not meant, or was dropped.
    pub warnings: Vec<Mistake>,
}

/// Reads a document. `name` is what messages call it.
pub fn read(text: &str, name: &str, mode: Mode) -> Result<Read, Mistakes> {
    let sources = [Source::new(name, text)];
    let mut mistakes = Collected::default();
    let Some(root) = tree::parse(text, 0, &sources[0], &mut mistakes) else {
        return Err(mistakes.into_mistakes());
    };
    let root = crate::merge::merge(root);
    let mut decoder = Decoder { mistakes, ..Decoder::new(&sources, mode) };
    let space = decoder.document(&root);
    match space {
        Some(space) if decoder.mistakes.is_empty() => {
            Ok(Read { space, warnings: decoder.warnings.into_mistakes().mistakes })
        }
        _ => Err(decoder.mistakes.into_mistakes()),
    }
}

struct Decoder<'s> {
    sources: &'s [Source<'s>],
    mode: Mode,
    /// The document has a minor version that this decoder doesn't know.
    newer: bool,
    mistakes: Collected,
    warnings: Collected,
}

/// A node and the path of fields that leads to it.
#[derive(Debug, Clone)]
struct At<'n> {
    node: &'n Node,
    field: String,
    /// Where a mistake about the whole value is shown: the value, or its key where there is no value to be seen.
    place: Place,
}

impl<'n> At<'n> {
    fn root(node: &'n Node) -> Self {
        Self { node, field: String::new(), place: node.place }
    }

    fn child(&self, entry: &'n Entry) -> Self {
        let field = self.join(&entry.key);
        let visible = !entry.value.is_null() || !entry.value.raw().is_empty();
        Self { node: &entry.value, field, place: if visible { entry.value.place } else { entry.place } }
    }

    fn item(&self, index: usize, node: &'n Node) -> Self {
        Self { node, field: format!("{}[{index}]", self.field), place: node.place }
    }

    fn join(&self, key: &str) -> String {
        let key = key_text(key);
        if self.field.is_empty() { key } else { format!("{}.{key}", self.field) }
    }
}

/// A mapping whose fields are known to be fields.
struct Fields<'n> {
    at: At<'n>,
    entries: &'n [Entry],
    objects: &'static [&'static Object],
}

impl<'n> Fields<'n> {
    fn get(&self, key: &str) -> Option<At<'n>> {
        self.entry(key).map(|entry| self.at.child(entry))
    }

    fn entry(&self, key: &str) -> Option<&'n Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// Was the field most likely meant by one that isn't known? Then it is wrong already, and not missing too.
    fn misspelt(&self, key: &str) -> bool {
        let known = |entry: &Entry| self.objects.iter().any(|object| object.fields.contains(&entry.key.as_str()));
        self.entries.iter().any(|entry| !known(entry) && meant(&entry.key, self.objects) == Some(key))
    }

    /// The key's place, or that of the mapping where the field isn't written.
    fn key_place(&self, key: &str) -> Place {
        self.entry(key).map_or(self.at.place, |entry| entry.place)
    }
}

impl<'s> Decoder<'s> {
    fn new(sources: &'s [Source<'s>], mode: Mode) -> Self {
        let (mistakes, warnings) = (Collected::default(), Collected::default());
        Self { sources, mode, newer: false, mistakes, warnings }
    }
}

impl Decoder<'_> {
    fn fail(&mut self, at: &At<'_>, what: impl Into<String>, remedy: impl Into<String>) {
        self.fail_at(at.place, &at.field, what, remedy);
    }

    fn fail_at(&mut self, place: Place, field: &str, what: impl Into<String>, remedy: impl Into<String>) {
        if self.mistakes.counted() {
            return;
        }
        let mistake = self.sources[place.document].mistake(place, field, what.into(), remedy.into());
        self.mistakes.add(place, mistake);
    }

    fn warn(&mut self, place: Place, field: &str, what: impl Into<String>, remedy: impl Into<String>) {
        if self.warnings.counted() {
            return;
        }
        let warning = self.sources[place.document].mistake(place, field, what.into(), remedy.into());
        self.warnings.add(place, warning);
    }

    /// The node as a mapping with the fields of `objects` (of several, where a kind adds its own).
    fn fields<'n>(&mut self, at: At<'n>, objects: &'static [&'static Object]) -> Option<Fields<'n>> {
        let object = objects[0];
        let Value::Map(entries) = &at.node.value else {
            self.not_a_mapping(&at, object);
            return None;
        };
        for entry in entries {
            let known = objects.iter().any(|object| object.fields.contains(&entry.key.as_str()));
            if !known && !entry.key.starts_with("x-") {
                self.unknown_field(&at, entry, objects);
            }
        }
        Some(Fields { at, entries, objects })
    }

    fn not_a_mapping(&mut self, at: &At<'_>, object: &Object) {
        let remedy = match (object.shorthand, &at.node.value) {
            (Some(field), Value::Scalar { text, .. })
                if !at.node.is_null() && !text.contains('\n') && text.len() < 80 =>
            {
                let value = if field == "command" { format!("[{}]", printable(text)) } else { printable(text) };
                format!("write {}: {{ {field}: {value} }}", at.field.rsplit('.').next().unwrap_or_default())
            }
            _ if at.node.is_null() => format!("give it fields ({}) or delete it", any_of(object.fields)),
            _ => format!("write fields: {}", any_of(object.fields)),
        };
        self.fail(at, format!("{} is a mapping, but here is {}", object.title, at.node.describe()), remedy);
    }

    fn unknown_field(&mut self, at: &At<'_>, entry: &Entry, objects: &[&Object]) {
        let field = at.join(&entry.key);
        if objects.iter().any(|object| object.later.contains(&entry.key.as_str())) {
            let what = format!("`{}` is planned, but this version of the agent does not have it yet", entry.key);
            return self.fail_at(entry.place, &field, what, "delete it, or use a version that has it");
        }
        if self.mode == Mode::Run && self.newer && !objects.iter().any(|object| object.strict) {
            let what = format!("{} is not known to this version of the agent and is ignored", quoted(&entry.key));
            return self.warn(entry.place, &field, what, "update the agent to the document's version");
        }
        if self.mistakes.counted() {
            return;
        }
        let what = format!("{} has no field {}", objects.last().map_or("", |object| object.title), quoted(&entry.key));
        let remedy = remedy_for_field(&entry.key, objects);
        self.fail_at(entry.place, &field, what, remedy);
    }

    /// A field that must be there.
    fn required<'n>(&mut self, fields: &Fields<'n>, key: &str, remedy: &str) -> Option<At<'n>> {
        let found = fields.get(key);
        if found.is_none() && !fields.misspelt(key) {
            let at = &fields.at;
            self.fail_at(at.place, &at.join(key), format!("`{key}` is missing"), remedy);
        }
        found
    }
}

/// The field of `objects` that was most likely meant.
fn meant(written: &str, objects: &[&Object]) -> Option<&'static str> {
    let synonym = objects
        .iter()
        .flat_map(|object| object.synonyms)
        .find(|(word, field)| *word == written && objects.iter().any(|object| object.fields.contains(field)));
    let fields = || objects.iter().flat_map(|object| object.fields.iter().copied());
    synonym.map(|(_, field)| *field).or_else(|| nearest(written, fields()))
}

/// The field that was meant; or where a field of this name belongs; or what fields there are.
fn remedy_for_field(written: &str, objects: &[&Object]) -> String {
    if let Some(word) = meant(written, objects) {
        return format!("did you mean {}?", quoted(word));
    }
    let here = |object: &Object| objects.iter().any(|here| here.title == object.title);
    let mut places = ALL.iter().filter(|object| object.fields.contains(&written) && !here(object));
    match (places.next(), places.next()) {
        (Some(place), None) => format!("{} belongs to {}", quoted(written), place.title),
        // Of an app, the other kind of app is meant.
        (Some(place), Some(_)) if objects.len() > 1 => format!("{} belongs to {}", quoted(written), place.title),
        _ => {
            let fields: Vec<_> = objects.iter().flat_map(|object| object.fields.iter().copied()).collect();
            format!("its fields are {}", fields.join(", "))
        }
    }
}
