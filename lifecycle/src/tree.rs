//! Text to a tree of nodes, each with its place: everything that is true of any YAML, nothing that is ours.
//!
//! What YAML allows and a configuration doesn't need is refused here, with a remedy: tags, merge keys, keys that are
//! not text, several documents in a file. Size, depth and what aliases may copy are bounded, so that a hostile document
//! costs no more than its text.

use crate::mistake::{Collected, Mistakes, Place, Source, key_text, quoted};
use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};

mod syntax;

/// The largest document, in bytes.
const SIZE: usize = 1 << 20;
/// The deepest nesting of lists and mappings.
const DEPTH: usize = 64;
/// How many nodes, and how many bytes of text, all aliases of a document may copy together.
const COPIES: usize = 10_000;
const COPIED_TEXT: usize = 1 << 20;

/// A value and where it is written.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) place: Place,
    /// A mistake of YAML was found in it, so something that is written here may be missing from the tree.
    flawed: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Scalar { text: String, plain: bool },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key and its value. No two entries of a mapping have the same key.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) place: Place,
    pub(crate) value: Node,
}

/// What a scalar means by YAML 1.2's core schema.
#[derive(Debug, PartialEq)]
pub(crate) enum Meaning<'n> {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(&'n str),
}

impl Node {
    /// `None` for lists and mappings.
    pub(crate) fn meaning(&self) -> Option<Meaning<'_>> {
        match &self.value {
            Value::Scalar { text, plain: true } => Some(plain_meaning(text)),
            Value::Scalar { text, plain: false } => Some(Meaning::Text(text)),
            Value::List(_) | Value::Map(_) => None,
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        self.meaning() == Some(Meaning::Null)
    }

    /// In words, for messages: what is written here.
    pub(crate) fn describe(&self) -> String {
        match self.meaning() {
            None if matches!(self.value, Value::List(_)) => "a list".to_owned(),
            None => "a mapping".to_owned(),
            Some(Meaning::Null) => "nothing".to_owned(),
            Some(Meaning::Bool(value)) => format!("the truth value {value}"),
            Some(Meaning::Integer(_) | Meaning::Float(_)) => format!("the number {}", self.raw()),
            Some(Meaning::Text(text)) => quoted(text),
        }
    }

    /// A scalar's text as it is written, whatever it means; empty for lists and mappings.
    pub(crate) fn raw(&self) -> &str {
        match &self.value {
            Value::Scalar { text, .. } => text,
            _ => "",
        }
    }

    /// Is everything here that is written here, also where an alias repeats it?
    pub(crate) fn is_sound(&self) -> bool {
        !self.flawed
            && match &self.value {
                Value::Scalar { .. } => true,
                Value::List(items) => items.iter().all(Node::is_sound),
                Value::Map(entries) => entries.iter().all(|entry| entry.value.is_sound()),
            }
    }

    fn size(&self) -> (usize, usize) {
        let sum = |(nodes, bytes): (usize, usize), (n, b): (usize, usize)| (nodes + n, bytes + b);
        match &self.value {
            Value::Scalar { text, .. } => (1, text.len()),
            Value::List(items) => items.iter().map(Node::size).fold((1, 0), sum),
            Value::Map(entries) => {
                entries.iter().map(|entry| sum(entry.value.size(), (1, entry.key.len()))).fold((1, 0), sum)
            }
        }
    }

    fn json(&self) -> serde_json::Value {
        match &self.value {
            Value::List(items) => items.iter().map(Node::json).collect(),
            Value::Map(entries) => entries.iter().map(|entry| (entry.key.clone(), entry.value.json())).collect(),
            Value::Scalar { text, .. } => match self.meaning() {
                Some(Meaning::Bool(value)) => value.into(),
                Some(Meaning::Integer(value)) => value.into(),
                Some(Meaning::Float(value)) => value.into(),
                Some(Meaning::Text(text)) => text.into(),
                Some(Meaning::Null) => serde_json::Value::Null,
                None => text.clone().into(),
            },
        }
    }
}

fn plain_meaning(text: &str) -> Meaning<'_> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Meaning::Null,
        "true" | "True" | "TRUE" => return Meaning::Bool(true),
        "false" | "False" | "FALSE" => return Meaning::Bool(false),
        _ => {}
    }
    let digits = text.trim_start_matches(['+', '-']);
    if text.len() - digits.len() > 1 || !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Meaning::Text(text);
    }
    let integer = match digits.get(..2) {
        Some("0x") if digits == text => i64::from_str_radix(&digits[2..], 16).ok(),
        Some("0o") if digits == text => i64::from_str_radix(&digits[2..], 8).ok(),
        _ => text.parse().ok(),
    };
    match (integer, text.parse::<f64>()) {
        (Some(integer), _) => Meaning::Integer(integer),
        (None, Ok(float)) => Meaning::Float(float),
        (None, Err(_)) => Meaning::Text(text),
    }
}

/// The document as JSON, as the schema sees it. Mistakes: whatever is no tree of ours.
pub fn to_json(text: &str, name: &str) -> Result<serde_json::Value, Mistakes> {
    let source = Source::new(name, text);
    let mut mistakes = Collected::default();
    match parse(text, 0, &source, &mut mistakes) {
        Some(node) if mistakes.is_empty() => Ok(node.json()),
        _ => Err(mistakes.into_mistakes()),
    }
}

/// The tree of one document; `None` where there is none, and then at least one mistake says why.
pub(crate) fn parse(text: &str, document: usize, source: &Source<'_>, mistakes: &mut Collected) -> Option<Node> {
    let mut builder = Builder {
        parser: Parser::new_from_str(text),
        document,
        source,
        mistakes,
        anchors: Vec::new(),
        copied: (0, 0),
        path: Vec::new(),
    };
    let start = Place { document, line: 1, column: 1, width: 1 };
    if text.len() > SIZE {
        let what = format!("the document has {} bytes; {SIZE} are the most that is read", text.len());
        builder.mistake(start, what, "keep long scripts in files of their own and call them from a `run` step");
        return None;
    }
    if let Some(line) = syntax::shell_script(text) {
        let place = Place { line, width: 2, ..start };
        builder.mistake(
            place,
            "this is a shell script, not a document; this version does not read bare scripts yet",
            "put it into a document: `version: 1`, and the script's lines under `lifecycle.steps` as `run: |`",
        );
        return None;
    }
    builder.document()
}

/// The parser stopped, or the document is beyond a bound: the mistake is recorded, nothing more can be read.
struct Broken;

struct Builder<'b, 't> {
    parser: Parser<'t, StrInput<'t>>,
    document: usize,
    source: &'b Source<'t>,
    mistakes: &'b mut Collected,
    /// By the parser's number of the anchor; `None` while its node is still being read.
    anchors: Vec<Option<Node>>,
    copied: (usize, usize),
    /// Where in the tree the builder is: `.lifecycle`, `.steps`, `[0]`.
    path: Vec<String>,
}

impl<'t> Builder<'_, 't> {
    fn document(&mut self) -> Option<Node> {
        let mut root = None;
        loop {
            match self.next() {
                Ok((Event::StreamEnd, _)) => break,
                Ok((Event::StreamStart | Event::DocumentEnd | Event::Nothing, _)) => {}
                Ok((Event::DocumentStart(_), _)) if root.is_none() => {}
                Ok((event, span)) if root.is_none() => root = Some(self.node(event, span, 0).ok()?),
                Ok((_, span)) => {
                    let place = self.place(span);
                    let remedy = "one file holds one document: move what follows `---` to a file of its own";
                    self.mistake(place, "a second document begins here", remedy);
                    return None;
                }
                Err(Broken) => return None,
            }
        }
        if root.as_ref().is_none_or(Node::is_null) {
            let start = Place { document: self.document, line: 1, column: 1, width: 1 };
            self.mistake(
                start,
                "the document is empty",
                "write at least `version: 1` and `apps: [{ kind: jupyterlab }]`",
            );
            return None;
        }
        root
    }

    fn next(&mut self) -> Result<(Event<'t>, Span), Broken> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            None => Ok((Event::StreamEnd, Span::default())),
            Some(Err(error)) => {
                let place = self.place(Span::empty(*error.marker()));
                let (place, what, remedy) = syntax::explain(error.info(), place, self.source);
                self.mistake(place, what, remedy);
                Err(Broken)
            }
        }
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Node, Broken> {
        let mut place = self.place(span);
        let mistakes = self.mistakes.count();
        if depth > DEPTH {
            self.mistake(place, format!("nested deeper than {DEPTH} levels"), "no field needs that: write it flatter");
            return Err(Broken);
        }
        let (value, anchor, tag) = match event {
            Event::Alias(anchor) => return self.alias(anchor, place),
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                (Value::Scalar { text: text.into_owned(), plain }, anchor, tag)
            }
            Event::SequenceStart(anchor, tag) => {
                place.width = 1;
                self.begin(anchor);
                (Value::List(self.items(depth)?), anchor, tag)
            }
            Event::MappingStart(anchor, tag) => {
                place.width = 1;
                self.begin(anchor);
                (Value::Map(self.entries(depth)?), anchor, tag)
            }
            _ => (Value::List(Vec::new()), 0, None),
        };
        if let Some(tag) = tag {
            let what = format!("the tag {} is not understood", quoted(&syntax::tag_text(&tag)));
            self.mistake(place, what, "delete it; put text in quotes if it must stay text");
        }
        let node = Node { value, place, flawed: self.mistakes.count() > mistakes };
        if anchor > 0 {
            self.begin(anchor);
            self.anchors[anchor] = Some(node.clone());
        }
        Ok(node)
    }

    /// Makes room for an anchor whose node follows.
    fn begin(&mut self, anchor: usize) {
        if self.anchors.len() <= anchor {
            self.anchors.resize(anchor + 1, None);
        }
    }

    fn alias(&mut self, anchor: usize, place: Place) -> Result<Node, Broken> {
        let Some(Some(node)) = self.anchors.get(anchor) else {
            self.mistake(place, "this alias stands inside what it names", "write the value out");
            return Err(Broken);
        };
        let (nodes, bytes) = node.size();
        self.copied = (self.copied.0 + nodes, self.copied.1 + bytes);
        if self.copied.0 > COPIES || self.copied.1 > COPIED_TEXT {
            self.mistake(
                place,
                format!("the aliases copy more than {COPIES} values in all"),
                "write values out instead",
            );
            return Err(Broken);
        }
        Ok(node.clone())
    }

    fn items(&mut self, depth: usize) -> Result<Vec<Node>, Broken> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, span) => {
                    self.path.push(format!("[{}]", items.len()));
                    items.push(self.node(event, span, depth + 1)?);
                    self.path.pop();
                }
            }
        }
    }

    fn entries(&mut self, depth: usize) -> Result<Vec<Entry>, Broken> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen = std::collections::HashMap::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(entries);
            }
            let key = self.node(event, span, depth + 1)?;
            let (event, span) = self.next()?;
            self.path.push(format!(".{}", key_text(key.raw())));
            let mut value = self.node(event, span, depth + 1)?;
            value.flawed |= key.flawed;
            self.path.pop();
            let Value::Scalar { text, .. } = key.value else {
                self.mistake(key.place, "a key must be text", "quote the value if it begins with [ or {");
                continue;
            };
            self.path.push(format!(".{}", key_text(&text)));
            if text == "<<" {
                let remedy = "write the fields out, or let an alias be the whole value: `env: *common`";
                self.mistake(key.place, "merge keys (`<<`) are not read", remedy);
            } else if let Some(line) = seen.insert(text.clone(), key.place.line) {
                let what = format!("{} is written twice in this mapping, first in line {line}", quoted(&text));
                self.mistake(key.place, what, "keep one of the two");
                entries.iter_mut().filter(|entry| entry.key == text).for_each(|entry| entry.value.flawed = true);
            } else {
                entries.push(Entry { key: text, place: key.place, value });
            }
            self.path.pop();
        }
    }

    fn place(&self, span: Span) -> Place {
        let line = span.start.line().max(1);
        let width = if span.end.line() == span.start.line() { span.len().max(1) } else { 1 };
        Place { document: self.document, line, column: span.start.col() + 1, width }
    }

    fn mistake(&mut self, place: Place, what: impl Into<String>, remedy: impl Into<String>) {
        if self.mistakes.counted() {
            return;
        }
        // Far down only the depth is of interest.
        let field = self.path[..self.path.len().min(12)].concat();
        let field = field.trim_start_matches('.');
        self.mistakes.add(place, self.source.mistake(place, field, what.into(), remedy.into()));
    }
}
