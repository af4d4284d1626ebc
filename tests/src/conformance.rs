//! The conformance table (tests/conformance/*.txt, where the notation is explained): its rows, and what is wrong with
//! what has become of one.

use crate::record::Seen;
use std::fmt;

/// A raw request and what must become of it, for one door and one app.
#[derive(Debug, Clone)]
pub struct Row {
    pub name: String,
    pub bytes: Vec<u8>,
    /// The client says that it will say no more.
    pub fin: bool,
    pub expected: Vec<Item>,
    /// The part of the path that is this row's alone.
    pub base: String,
}

/// One thing that comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// An answer of the door itself with one of these codes. `last`: nothing comes after it.
    Own {
        codes: Vec<u16>,
        last: bool,
        maybe: bool,
    },
    App {
        method: String,
        target: String,
        body: Vec<u8>,
        how: How,
    },
}

/// How sure it is that the app sees a request and answers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "they are the flags of the notation, in any combination")]
pub struct How {
    /// `?`: the app's parser may refuse it.
    app_may_refuse: bool,
    /// `%`: the door may refuse it.
    door_may_refuse: bool,
    /// `*`: the connection may be closed before.
    may_be_lost: bool,
    /// `~`: the app may answer before it has read the body.
    early: bool,
    /// `!`: the app sees at most its beginning.
    broken: bool,
}

/// Whom the rows are for.
#[derive(Debug, Clone)]
pub struct Ground {
    pub port: u16,
    /// The app's base path, with its last slash.
    pub base: String,
    /// `Cookie: …` with its line's end, or nothing.
    pub cookie: String,
}

/// What has come back over a row's connection.
#[derive(Debug, Default)]
pub struct Heard {
    pub answers: Vec<Heading>,
    pub closed: bool,
    /// As it came, for messages.
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heading {
    pub code: u16,
    /// The number that the app has given to the request; `None`: it is not the app's answer.
    pub mark: Option<u64>,
}

/// The rows of a table's text, the first with the number `first`.
pub fn rows(text: &str, first: usize, ground: &Ground) -> Vec<Row> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.enumerate().map(|(at, line)| row(line, first + at, ground)).collect()
}

fn row(line: &str, number: usize, ground: &Ground) -> Row {
    let mut columns = line.splitn(3, " | ");
    let (Some(name), Some(expected), Some(bytes)) = (columns.next(), columns.next(), columns.next()) else {
        panic!("a row has three columns: {line}");
    };
    let base = format!("{}r{number:03}", ground.base);
    let (bytes, fin) = bytes.strip_suffix("{fin}").map_or((bytes, false), |bytes| (bytes, true));
    let mut bytes = written(bytes, ground, &base);
    let expected: Vec<Item> = expected.split("; ").map(|text| item(text, ground, &base)).collect();
    if let (Some(Item::Own { last: true, .. }), false) = (expected.last(), fin) {
        bytes.extend(written("GET {app}/smuggled HTTP/1.1¶{a}{c}¶", ground, &base));
    }
    Row { name: name.to_owned(), bytes, fin, expected, base }
}

fn item(text: &str, ground: &Ground, base: &str) -> Item {
    let own = text.trim_start_matches(['x', '*']);
    if own.starts_with(|c: char| c.is_ascii_digit()) {
        let codes = own.split('/').map(|code| code.parse().unwrap_or_else(|_| panic!("no code: {text}"))).collect();
        return Item::Own { codes, last: text.contains('x'), maybe: text.starts_with('*') };
    }
    let mut how = How::default();
    let mut rest = text;
    while let Some((flag, after)) = rest.chars().next().map(|flag| (flag, &rest[flag.len_utf8()..])) {
        match flag {
            '?' => how.app_may_refuse = true,
            '%' => how.door_may_refuse = true,
            '*' => how.may_be_lost = true,
            '~' => how.early = true,
            '!' if !after.starts_with('#') => how.broken = true,
            _ => break,
        }
        rest = after;
    }
    let (method, rest) = rest.split_once(' ').unwrap_or_else(|| panic!("no method and target: {text}"));
    let (target, body) = rest.split_once(" =").unwrap_or((rest, ""));
    let latin = |text: &str| written(text, ground, base).into_iter().map(char::from).collect();
    Item::App { method: latin(method), target: latin(target), body: written(body, ground, base), how }
}

/// The bytes that a column stands for.
fn written(text: &str, ground: &Ground, base: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text);
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '¶' => bytes.extend(b"\r\n"),
            '\\' => rest = escaped(rest, &mut bytes),
            '{' => {
                let (inside, after) = rest.split_once('}').unwrap_or_else(|| panic!("no end of {{{rest}"));
                rest = after;
                bytes.extend(named(inside, ground, base));
            }
            c => bytes.extend(c.to_string().as_bytes()),
        }
    }
    bytes
}

/// Takes what stands behind a backslash; returns what is behind that.
fn escaped<'a>(rest: &'a str, bytes: &mut Vec<u8>) -> &'a str {
    let (byte, length) = match rest.as_bytes().first() {
        Some(b'r') => (b'\r', 1),
        Some(b'n') => (b'\n', 1),
        Some(b't') => (b'\t', 1),
        Some(b'0') => (0, 1),
        Some(b'\\') => (b'\\', 1),
        Some(b'x') => (u8::from_str_radix(&rest[1..3], 16).expect("two hexadecimal digits"), 3),
        _ => panic!("no such escape: \\{rest}"),
    };
    bytes.push(byte);
    &rest[length..]
}

fn named(name: &str, ground: &Ground, base: &str) -> Vec<u8> {
    let at = format!("127.0.0.1:{}", ground.port);
    if let Some((count, text)) = name.split_once('*') {
        return written(text, ground, base).repeat(count.parse().expect("a number of times"));
    }
    let (origin, cookie) = (format!("Origin: http://{at}\r\n"), &ground.cookie);
    let text = match name {
        "app" => base.to_owned(),
        "at" => at,
        "a" => format!("Host: {at}\r\n{origin}{cookie}"),
        "o" => origin + cookie,
        "k" => cookie.clone(),
        "c" => "Connection: close\r\n".to_owned(),
        _ => panic!("nothing is called {{{name}}}"),
    };
    text.into_bytes()
}

/// The answers in what came back. No body of our upstreams or of the door looks like a status line.
pub fn answers(bytes: &[u8]) -> Vec<Heading> {
    let text = String::from_utf8_lossy(bytes);
    let is_line = |at: &usize| {
        let line = text[*at..].as_bytes();
        line.len() > 12 && line[8] == b' ' && line[9..12].iter().all(u8::is_ascii_digit)
    };
    let starts: Vec<usize> = text.match_indices("HTTP/1.").map(|(at, _)| at).filter(is_line).collect();
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    let headings = starts.iter().zip(ends).map(|(begin, end)| heading(&text[*begin..end]));
    headings.filter(|heading| heading.code >= 200 || heading.code == 101).collect()
}

fn heading(answer: &str) -> Heading {
    let code = answer.split(' ').nth(1).and_then(|code| code.get(..3)?.parse().ok()).unwrap_or(0);
    let head = answer.split("\r\n\r\n").next().unwrap_or_default().to_ascii_lowercase();
    let mark = head.lines().find_map(|line| line.strip_prefix("x-mark: ")?.parse().ok());
    Heading { code, mark }
}

/// What is wrong with what has become of a row; `seen` are the requests of this row that the app has parsed.
pub fn check(row: &Row, heard: &Heard, seen: &[Seen]) -> Result<(), String> {
    let (mut answers, mut unanswered) = (heard.answers.iter(), seen.to_vec());
    for (at, item) in row.expected.iter().enumerate() {
        let end = answers.len() == 0;
        match item {
            Item::Own { maybe: true, .. } if end => {}
            Item::App { how, .. } if end && (how.may_be_lost || how.broken) => {}
            Item::Own { codes, .. } => {
                let found = answers.next().ok_or_else(|| format!("no answer {codes:?}"))?;
                if found.mark.is_some() || !codes.contains(&found.code) {
                    return Err(format!("answer {} is {found:?}, not the door's {codes:?}", at + 1));
                }
            }
            Item::App { method, target, how, .. } => {
                let found = answers.next().ok_or_else(|| format!("no answer to {method} {target}"))?;
                match found.mark {
                    Some(mark) => answered(item, mark, &mut unanswered)?,
                    None if may_be_refused(*how, found.code) => {}
                    None => return Err(format!("answer {} to {method} {target} is {found:?}", at + 1)),
                }
            }
        }
    }
    if let Some(more) = answers.next() {
        return Err(format!("one answer too many: {more:?}"));
    }
    if let Some(more) = unanswered.iter().find(|seen| !row.expected.iter().any(|item| may_begin(item, seen))) {
        return Err(format!("the app has seen {} {} with the body {:?}", more.method, more.target, more.body));
    }
    if unanswered.len() > 1 {
        return Err(format!("the app has seen one request {} times", unanswered.len()));
    }
    if !heard.closed {
        return Err("the connection stays open".to_owned());
    }
    seen.iter().try_for_each(clean)
}

fn answered(item: &Item, mark: u64, unanswered: &mut Vec<Seen>) -> Result<(), String> {
    let Item::App { method, target, body, how } = item else { return Ok(()) };
    let at = unanswered.iter().position(|seen| seen.mark == mark);
    let seen = unanswered.remove(at.ok_or_else(|| format!("the answer to {method} {target} is that to another"))?);
    if how.broken {
        return Err(format!("the app has answered {method} {target}, which never ended"));
    }
    if seen.method != *method || seen.target != *target {
        return Err(format!("the app has seen {} {:.200}", seen.method, seen.target));
    }
    let text: String = body.iter().copied().map(char::from).collect();
    match seen.body {
        _ if how.early => Ok(()),
        Some((length, found)) if length == body.len() as u64 && found == text => Ok(()),
        found => Err(format!("the app has seen the body {found:.200?}")),
    }
}

fn may_be_refused(how: How, code: u16) -> bool {
    let door = (how.door_may_refuse || how.broken) && matches!(code, 400 | 408 | 413 | 414 | 431 | 501 | 502);
    door || how.app_may_refuse && matches!(code, 400 | 403 | 404 | 405 | 431 | 501)
}

/// May the app have seen the beginning of this request without having answered it?
fn may_begin(item: &Item, seen: &Seen) -> bool {
    matches!(item, Item::App { method, target, how, .. }
        if (how.broken || how.app_may_refuse) && seen.method == *method && seen.target == *target && seen.body.is_none())
}

/// What no app may ever see.
pub fn clean(seen: &Seen) -> Result<(), String> {
    const NEVER: [&str; 11] = [
        "authorization",
        "expect",
        "http2-settings",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "x-hop",
        "x-smuggled",
        "x-space-viewer",
        "content_length",
        "transfer_encoding",
    ];
    if let Some(name) = NEVER.iter().find(|name| !seen.values(name).is_empty()) {
        return Err(format!("the app has seen the header {name}"));
    }
    const NEVER_BEHIND: [&str; 5] = ["authorization", "content-length", "cookie", "host", "transfer-encoding"];
    if let Some((name, _)) = seen.trailers.iter().find(|(name, _)| NEVER_BEHIND.contains(&name.as_str())) {
        return Err(format!("the app has seen the trailer {name}"));
    }
    let is_ours = |value: &&str| value.split(';').any(|pair| pair.trim().starts_with("space-"));
    if let Some(cookie) = seen.values("cookie").into_iter().find(is_ours) {
        return Err(format!("the app has seen the cookie {cookie}"));
    }
    let (length, coding) = (seen.values("content-length"), seen.values("transfer-encoding"));
    if length.len() + coding.len() > 1 {
        return Err(format!("the app has seen the lengths {length:?} and codings {coding:?}"));
    }
    Ok(())
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.bytes[..self.bytes.len().min(300)];
        write!(f, "{} ({})\n    sent: {}", self.name, self.base, shown.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ground() -> Ground {
        Ground { port: 80, base: "/app/".to_owned(), cookie: String::new() }
    }

    fn heard(text: &str) -> Heard {
        Heard { answers: answers(text.as_bytes()), closed: true, text: text.to_owned() }
    }

    fn seen(mark: u64, target: &str) -> Seen {
        let body = Some((0, String::new()));
        Seen {
            mark,
            method: "GET".to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body,
            trailers: Vec::new(),
        }
    }

    const GOOD: &str = "HTTP/1.1 200 OK\r\nX-Mark: 7\r\n\r\nseen 7\n";
    const BAD: &str = "HTTP/1.1 400 Bad Request\r\n\r\nno\n";

    #[test]
    fn a_row_is_the_bytes_that_it_says() {
        let rows = rows("# not this\n\na | GET {app}; 404 | GET {app}\\x00{2*ab} HTTP/1.1¶{a}{c}¶", 4, &ground());
        let text = "GET /app/r004\0abab HTTP/1.1\r\nHost: 127.0.0.1:80\r\nOrigin: http://127.0.0.1:80\r\n\
                    Connection: close\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&rows[0].bytes), text);
        assert_eq!(rows[0].expected.len(), 2);
    }

    #[test]
    fn a_refusal_that_lets_the_next_request_through_is_found() {
        let row = &rows("a | x400 | GET {app}#\\r", 1, &ground())[0];
        assert!(row.bytes.ends_with(b"Connection: close\r\n\r\n"), "a further request is added");
        assert_eq!(check(row, &heard(BAD), &[]), Ok(()));
        assert!(check(row, &heard(&(BAD.to_owned() + GOOD)), &[seen(7, "/app/r001/smuggled")]).is_err());
        assert!(check(row, &heard(BAD), &[seen(7, "/app/r001/smuggled")]).is_err());
        assert!(check(row, &Heard { closed: false, ..heard(BAD) }, &[]).is_err());
    }

    #[test]
    fn what_the_app_saw_must_be_what_was_sent() {
        let row = &rows("a | GET {app} | x", 1, &ground())[0];
        assert_eq!(check(row, &heard(GOOD), &[seen(7, "/app/r001")]), Ok(()));
        assert!(check(row, &heard(GOOD), &[seen(8, "/app/r001")]).is_err(), "another request's answer");
        assert!(check(row, &heard(GOOD), &[seen(7, "/app/r001x")]).is_err(), "another target");
        assert!(check(row, &heard(GOOD), &[seen(7, "/app/r001"), seen(8, "/app/r001")]).is_err(), "asked twice");
        let mut leaked = seen(7, "/app/r001");
        leaked.headers.push(("cookie".to_owned(), "a=b; space-01234567=x".to_owned()));
        assert!(check(row, &heard(GOOD), &[leaked]).is_err(), "a cookie that is not the app's");
    }

    #[test]
    fn a_request_that_breaks_off_may_have_begun_but_not_ended() {
        let row = &rows("a | !GET {app} | x{fin}", 1, &ground())[0];
        let begun = Seen { body: None, ..seen(7, "/app/r001") };
        assert_eq!(check(row, &heard(""), std::slice::from_ref(&begun)), Ok(()));
        assert_eq!(check(row, &heard(BAD), &[begun]), Ok(()));
        assert!(check(row, &heard(""), &[seen(7, "/app/r001")]).is_err());
    }
}
