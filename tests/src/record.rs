//! What a recording upstream saw (tests/parts/recorder.py, recorder.js, src/bin/space-recorder.rs): one line of JSON for
//! each head that it parsed, one more when all of the body was there. Each answer of it names the request in `X-Mark`.

use serde_json::Value;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// One request, as the upstream's parser understood it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The upstream's number for it, which its answer names.
    pub mark: u64,
    pub method: String,
    /// As it came; a byte beyond ASCII is the character of that number.
    pub target: String,
    /// Names in small letters.
    pub headers: Vec<(String, String)>,
    /// Once it has ended: its length, and its first 4096 bytes as characters.
    pub body: Option<(u64, String)>,
    pub trailers: Vec<(String, String)>,
}

impl Seen {
    /// All values of a header.
    pub fn values<'a>(&'a self, name: &str) -> Vec<&'a str> {
        self.headers.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str()).collect()
    }
}

/// The record of one upstream, read on from where it was left.
#[derive(Debug)]
pub struct Record {
    file: File,
    /// The beginning of a line whose end is not there yet.
    rest: String,
    pub seen: Vec<Seen>,
}

impl Record {
    /// The file need not be there yet.
    pub fn open(path: &Path) -> Record {
        let file = File::options().read(true).append(true).create(true).open(path);
        let mut file = file.unwrap_or_else(|error| panic!("cannot open {}: {error}", path.display()));
        file.seek(SeekFrom::Start(0)).expect("a file has a beginning");
        Record { file, rest: String::new(), seen: Vec::new() }
    }

    /// Reads what was written since.
    pub fn read(&mut self) -> &[Seen] {
        self.file.read_to_string(&mut self.rest).expect("the record is text");
        let end = self.rest.rfind('\n').map_or(0, |end| end + 1);
        let lines: String = self.rest.drain(..end).collect();
        for line in lines.lines() {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("not JSON ({error}): {line}"));
            self.take(&line);
        }
        &self.seen
    }

    fn take(&mut self, line: &Value) {
        let mark = line["id"].as_u64().expect("a line has a number");
        let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        if line["event"] == "head" {
            let headers = pairs(&line["headers"]);
            self.seen.push(Seen {
                mark,
                method: text("method"),
                target: text("target"),
                headers,
                body: None,
                trailers: Vec::new(),
            });
        } else {
            let length = line["length"].as_u64().expect("an end has a length");
            let seen = self.seen.iter_mut().find(|seen| seen.mark == mark).expect("an end has a beginning");
            seen.body = Some((length, text("body")));
            seen.trailers = pairs(&line["trailers"]);
        }
    }
}

fn pairs(value: &Value) -> Vec<(String, String)> {
    let pair = |pair: &Value| (string(&pair[0]).to_ascii_lowercase(), string(&pair[1]));
    value.as_array().into_iter().flatten().map(pair).collect()
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
