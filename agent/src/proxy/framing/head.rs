//! A request's head: line by line, each looked at once, also if it comes in many pieces.

use super::{Behind, HEAD_BYTES, HEADERS, Refusal, TARGET, is_text, is_token};
use memchr::memchr;

const TWO_WAYS: Refusal = Refusal::Bad(
    "the request can be read in two ways (both Content-Length and Transfer-Encoding, more than one of them, or a value \
     that is not plain digits or \"chunked\"): send one of them, once",
);
const LINE_END: Refusal = Refusal::Bad("a line of the request's headers does not end with CR LF");
const NAME: Refusal = Refusal::Bad("a line of the request's headers does not begin with a header's name and a colon");
const VALUE: Refusal = Refusal::Bad("a header of the request has a control character in its value");
const CONNECTION: Refusal = Refusal::Bad("the request's Connection header names what is no header's name");
const FIRST_LINE: Refusal = Refusal::Bad("the request does not begin with a method, a path and a version");
const NO_PATH: Refusal = Refusal::Bad("the request's target is not a path: send one that begins with /");
const NO_TARGET: Refusal =
    Refusal::Bad("the request's path or query has a character that belongs percent-encoded (#, space, < or the like)");
/// The longest method that anybody has registered is half as long.
const METHOD: usize = 32;
/// A length that no sum of lengths overflows.
const LENGTH: u64 = i64::MAX as u64;

/// What is known of a head so far.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// Where the current line begins.
    line: usize,
    /// Up to where its end was looked for.
    searched: usize,
    /// The first line has been read.
    begun: bool,
    is_old: bool,
    headers: usize,
    length: Option<u64>,
    chunked: bool,
}

impl Head {
    pub(super) fn is_new(&self) -> bool {
        self.searched == 0
    }

    /// `bytes` begins where the head does. How long the head is and what follows it; `None`: it is not whole yet.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<Option<(usize, Behind)>, Refusal> {
        while let Some(found) = memchr(b'\n', &bytes[self.searched..]) {
            let end = self.searched + found;
            if end >= HEAD_BYTES {
                return Err(self.too_long(bytes));
            }
            let line = bytes[self.line..end].strip_suffix(b"\r").ok_or(LINE_END)?;
            (self.line, self.searched) = (end + 1, end + 1);
            if !line.is_empty() {
                self.line(line)?;
            } else if self.begun {
                return Ok(Some((end + 1, self.behind()?)));
            }
            // Empty lines before a request are nothing (RFC 9112, 2.2).
        }
        self.searched = bytes.len();
        if bytes.len() >= HEAD_BYTES || !self.begun && bytes.len() - self.line > TARGET + METHOD + 16 {
            return Err(self.too_long(bytes));
        }
        Ok(None)
    }

    fn too_long(&self, bytes: &[u8]) -> Refusal {
        let beginning = &bytes[self.line..bytes.len().min(self.line + METHOD + 1)];
        match !self.begun && beginning.contains(&b' ') {
            true => Refusal::TargetTooLong,
            false => Refusal::HeadTooLong,
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), Refusal> {
        if self.begun {
            return self.header(line);
        }
        self.begun = true;
        self.is_old = first(line)?;
        Ok(())
    }

    fn header(&mut self, line: &[u8]) -> Result<(), Refusal> {
        self.headers += 1;
        if self.headers > HEADERS {
            return Err(Refusal::TooManyHeaders);
        }
        let end = memchr(b':', line).ok_or(NAME)?;
        let (name, value) = (&line[..end], &line[end + 1..]);
        // Whatever begins with a space would be a part of the line before it: nobody may send that any more.
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
            return Err(NAME);
        }
        // Without an early end, so that many are looked at in one step.
        if !value.iter().fold(true, |good, byte| good & is_text(*byte)) {
            return Err(VALUE);
        }
        match name.len() {
            // Whoever stops at a byte that is no part of any name does not see which headers are meant for us alone.
            10 if name.eq_ignore_ascii_case(b"connection") && !value.is_ascii() => Err(CONNECTION),
            14 if name.eq_ignore_ascii_case(b"content-length") => self.length(value),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.coding(value),
            _ => Ok(()),
        }
    }

    fn length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        let digits = trim_spaces(value);
        let plain = (1..=19).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
        let number = digits.iter().fold(0u64, |sum, digit| sum.wrapping_mul(10).wrapping_add(u64::from(*digit & 15)));
        if !plain || number > LENGTH || self.length.replace(number).is_some() {
            return Err(TWO_WAYS);
        }
        Ok(())
    }

    /// Exactly one coding, and that is chunked: others would reach the app undeclared.
    fn coding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.chunked || !trim_spaces(value).eq_ignore_ascii_case(b"chunked") {
            return Err(TWO_WAYS);
        }
        self.chunked = true;
        Ok(())
    }

    fn behind(&self) -> Result<Behind, Refusal> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(TWO_WAYS),
            (true, None) if self.is_old => Err(Refusal::Bad("HTTP/1.0 has no Transfer-Encoding: send HTTP/1.1")),
            (true, None) => Ok(Behind::Chunks),
            (false, Some(length)) => Ok(Behind::Body(length)),
            (false, None) => Ok(Behind::Nothing),
        }
    }
}

/// Reads the first line: true for HTTP/1.0.
fn first(line: &[u8]) -> Result<bool, Refusal> {
    let method_end = memchr(b' ', line).ok_or(FIRST_LINE)?;
    let (method, rest) = (&line[..method_end], &line[method_end + 1..]);
    if method.is_empty() || method.len() > METHOD || !method.iter().all(|byte| is_token(*byte)) {
        return Err(FIRST_LINE);
    }
    let target_end = memchr(b' ', rest).ok_or(FIRST_LINE)?;
    let (target, version) = (&rest[..target_end], &rest[target_end + 1..]);
    let is_old = match version {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            return Err(Refusal::Version);
        }
        _ => return Err(FIRST_LINE),
    };
    if method == b"CONNECT" {
        return Err(Refusal::NotAllowed);
    }
    if target.first() != Some(&b'/') {
        return Err(NO_PATH);
    }
    if target.len() > TARGET {
        return Err(Refusal::TargetTooLong);
    }
    if is_target(target) { Ok(is_old) } else { Err(NO_TARGET) }
}

/// The bytes that hyper takes in a path and in a query: what the WHATWG's URLs leave unescaped, and UTF-8.
fn is_target(target: &[u8]) -> bool {
    let path_end = memchr(b'?', target).unwrap_or(target.len());
    let (path, query) = target.split_at(path_end);
    let in_path = |byte: u8| byte > b' ' && byte != 0x7f && !b"#<>`".contains(&byte);
    let in_query = |byte: u8| byte > b' ' && byte != 0x7f && !b"#<>\"".contains(&byte);
    let good = path.iter().all(|byte| in_path(*byte)) && query.iter().all(|byte| in_query(*byte));
    good && (target.is_ascii() || std::str::from_utf8(target).is_ok())
}

/// Only spaces: a tab is allowed too, but there are servers for which it belongs to the value.
fn trim_spaces(text: &[u8]) -> &[u8] {
    let begin = text.iter().position(|byte| *byte != b' ').unwrap_or(text.len());
    let end = text.iter().rposition(|byte| *byte != b' ').map_or(begin, |last| last + 1);
    &text[begin..end]
}
