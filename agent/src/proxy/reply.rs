//! An app's answer as it comes: its head, and where its body ends. Pure: bytes in, parts of an answer out.
//!
//! `httparse` reads the lines, as it does for hyper; what they say about the body is decided here, by RFC 9112, 6.3.
//! More than one reading of that is none.

use super::framing::{Chunks, Piece};
use super::headers::tokens;
use bytes::{Bytes, BytesMut};
use httparse::{ParserConfig, Status};
use hyper::StatusCode;
use hyper::body::Frame;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, GetAll, HeaderMap, HeaderName, HeaderValue, TRAILER, TRANSFER_ENCODING,
};
use memchr::memchr_iter;
use std::mem::{MaybeUninit, take};

/// The longest head, in bytes.
const HEAD_BYTES: usize = 64 * 1024;
const HEADERS: usize = 100;
/// How much may come before an answer: with heads of 64 KiB at most, this is a flood of interim ones.
const BEFORE_ANSWER: usize = 1 << 20;
/// A length that no sum of lengths overflows.
const LENGTH: u64 = i64::MAX as u64;

/// What is wrong with an answer, as a part of a sentence.
pub(super) type Wrong = &'static str;

const NOT_HTTP: Wrong = "its answer's head can not be read";
const TOO_LONG: Wrong = "its answer's head is longer than 64 KiB";
const NO_END: Wrong = "it sends interim answers without end";
const TWO_WAYS: Wrong = "the length of its answer can be read in two ways";
const BAD_CHUNKS: Wrong = "the chunks of its answer are not well formed";
const BAD_TRAILERS: Wrong = "the trailers of its answer can not be read";

/// The head of an answer.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) extent: Extent,
    /// Another request may follow over the same connection.
    pub(super) goes_on: bool,
}

/// How far an answer's body goes from here.
#[derive(Debug)]
pub(super) enum Extent {
    /// So many bytes.
    Length(u64),
    /// And the trailers so far.
    Chunks(Chunks, Vec<u8>),
    UntilEnd,
}

/// How far the heads before an answer's body have been read.
#[derive(Debug, Default)]
pub(super) struct Heads {
    /// Up to where the current one's end was looked for.
    searched: usize,
    /// Bytes of interim answers.
    interim: usize,
}

impl Heads {
    /// Takes the answer's head from the beginning of `bytes`; `None`: it is not whole yet. `is_head`: the request was a
    /// HEAD. `room`: an empty map, whose memory is used.
    pub(super) fn read(
        &mut self,
        bytes: &mut BytesMut,
        is_head: bool,
        room: &mut HeaderMap,
    ) -> Result<Option<Head>, Wrong> {
        loop {
            // What is no HTTP at all shows at the first look.
            if self.searched > 0 && !has_end(bytes, self.searched) {
                self.searched = bytes.len();
                return if bytes.len() < HEAD_BYTES { Ok(None) } else { Err(TOO_LONG) };
            }
            self.searched = bytes.len();
            let before = bytes.len();
            let Some((status, is_old)) = lines(bytes, room)? else {
                return if bytes.len() < HEAD_BYTES { Ok(None) } else { Err(TOO_LONG) };
            };
            self.searched = 0;
            // 101 is final: what follows is another protocol.
            if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
                room.clear();
                self.interim += before - bytes.len();
                match self.interim {
                    BEFORE_ANSWER.. => return Err(NO_END),
                    _ if bytes.is_empty() => return Ok(None),
                    _ => continue,
                }
            }
            let extent = extent(status, room, is_old, is_head)?;
            let says = |word: &str| tokens(room, &CONNECTION).any(|token| token.eq_ignore_ascii_case(word));
            // Whoever says both closes (RFC 9112, 9.3).
            let stays = !says("close") && (!is_old || says("keep-alive"));
            let goes_on = stays && status != StatusCode::SWITCHING_PROTOCOLS && !matches!(extent, Extent::UntilEnd);
            return Ok(Some(Head { status, headers: take(room), extent, goes_on }));
        }
    }
}

/// Is there an empty line, of which the last byte is at `from` or later?
fn has_end(bytes: &[u8], from: usize) -> bool {
    let from = from.saturating_sub(2);
    memchr_iter(b'\n', &bytes[from..]).any(|at| {
        let before = &bytes[..from + at];
        before.ends_with(b"\n") || before.ends_with(b"\n\r")
    })
}

/// Takes a whole head; the values share its memory. True: it is of HTTP/1.0.
fn lines(bytes: &mut BytesMut, headers: &mut HeaderMap) -> Result<Option<(StatusCode, bool)>, Wrong> {
    let mut room = [const { MaybeUninit::uninit() }; HEADERS];
    let mut parsed = httparse::Response::new(&mut []);
    let read = ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, bytes, &mut room);
    let Status::Complete(length) = read.map_err(|_| NOT_HTTP)? else { return Ok(None) };
    if length > HEAD_BYTES {
        return Err(TOO_LONG);
    }
    let (Some(code), Some(version)) = (parsed.code, parsed.version) else { return Err(NOT_HTTP) };
    let status = StatusCode::from_u16(code).map_err(|_| NOT_HTTP)?;
    // Where names and values begin and end.
    let (begin, mut spans) = (bytes.as_ptr() as usize, [[0; 4]; HEADERS]);
    let span = |part: &[u8]| (part.as_ptr() as usize - begin, part.as_ptr() as usize - begin + part.len());
    let count = parsed.headers.len();
    for (found, line) in spans.iter_mut().zip(parsed.headers.iter()) {
        let (name, value) = (span(line.name.as_bytes()), span(line.value));
        *found = [name.0, name.1, value.0, value.1];
    }
    let head = bytes.split_to(length).freeze();
    headers.reserve(count);
    for [name, name_end, value, value_end] in &spans[..count] {
        let name = HeaderName::from_bytes(&head[*name..*name_end]).map_err(|_| NOT_HTTP)?;
        let value = HeaderValue::from_maybe_shared(head.slice(*value..*value_end)).map_err(|_| NOT_HTTP)?;
        headers.append(name, value);
    }
    Ok(Some((status, version == 0)))
}

fn extent(status: StatusCode, headers: &HeaderMap, is_old: bool, is_head: bool) -> Result<Extent, Wrong> {
    let is_bare = matches!(status, StatusCode::SWITCHING_PROTOCOLS | StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if is_head || is_bare {
        return Ok(Extent::Length(0));
    }
    if headers.contains_key(TRANSFER_ENCODING) {
        let is_text = headers.get_all(TRANSFER_ENCODING).iter().all(|codings| codings.to_str().is_ok());
        let is_last = |coding: &str| coding.eq_ignore_ascii_case("chunked");
        return match tokens(headers, &TRANSFER_ENCODING).last().is_some_and(is_last) {
            // HTTP/1.0 knows of no chunks, and a coding that is no text may be the last or none.
            _ if is_old || !is_text => Err(TWO_WAYS),
            true => Ok(Extent::Chunks(Chunks::padded(), Vec::new())),
            false => Ok(Extent::UntilEnd),
        };
    }
    let lengths = headers.get_all(CONTENT_LENGTH);
    match lengths.iter().next() {
        None => Ok(Extent::UntilEnd),
        Some(_) => length(&lengths).map(Extent::Length).ok_or(TWO_WAYS),
    }
}

/// The same digits in all of them.
fn length(values: &GetAll<'_, HeaderValue>) -> Option<u64> {
    let mut all = values.iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let first = digits(all.next()?)?;
    all.all(|other| digits(other) == Some(first)).then_some(first)
}

fn digits(text: &[u8]) -> Option<u64> {
    let is_plain = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| is_plain)?.parse().ok().filter(|length| *length <= LENGTH)
}

impl Extent {
    /// Nothing of the body is missing.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Extent::Length(0))
    }

    /// Takes what comes next of the body from the beginning of `bytes`; `None`: more bytes are needed, or none are left
    /// to come.
    pub(super) fn read(&mut self, bytes: &mut BytesMut) -> Result<Option<Frame<Bytes>>, Wrong> {
        while !bytes.is_empty() {
            match self {
                Extent::Length(0) => break,
                Extent::Length(left) => {
                    // Not more than `bytes` has.
                    let there = (*left).min(bytes.len() as u64) as usize;
                    *left -= there as u64;
                    return Ok(Some(Frame::data(bytes.split_to(there).freeze())));
                }
                Extent::UntilEnd => return Ok(Some(Frame::data(bytes.split().freeze()))),
                Extent::Chunks(chunks, trailers) => match chunks.next(bytes).map_err(|_| BAD_CHUNKS)? {
                    Piece::Data(length) => return Ok(Some(Frame::data(bytes.split_to(length).freeze()))),
                    Piece::Frame(length) => drop(bytes.split_to(length)),
                    Piece::Trailer(length) => trailers.extend_from_slice(&bytes.split_to(length)),
                    Piece::End(length) => {
                        trailers.extend_from_slice(&bytes.split_to(length));
                        let fields = fields(trailers)?;
                        *self = Extent::Length(0);
                        return Ok((!fields.is_empty()).then(|| Frame::trailers(fields)));
                    }
                },
            }
        }
        Ok(None)
    }

    /// The app has ended the connection: is that the end of its answer, too?
    pub(super) fn ends(&mut self) -> bool {
        if matches!(self, Extent::UntilEnd) {
            *self = Extent::Length(0);
        }
        self.is_over()
    }
}

/// The lines behind the last chunk, up to the empty one.
fn fields(bytes: &[u8]) -> Result<HeaderMap, Wrong> {
    let mut room = [httparse::EMPTY_HEADER; HEADERS];
    let Ok(Status::Complete((_, lines))) = httparse::parse_headers(bytes, &mut room) else { return Err(BAD_TRAILERS) };
    let field = |line: &httparse::Header<'_>| {
        Some((HeaderName::from_bytes(line.name.as_bytes()).ok()?, HeaderValue::from_bytes(line.value).ok()?))
    };
    lines.iter().map(|line| field(line).ok_or(BAD_TRAILERS)).collect()
}

/// The trailers that a message announces.
pub(super) fn announced(headers: &HeaderMap) -> Vec<HeaderName> {
    tokens(headers, &TRAILER).filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads an answer that comes in pieces of `cut` bytes and then ends: its status, body, trailers, whether the
    /// connection may go on, and how many bytes were left over.
    fn read(text: &[u8], is_head: bool, cut: usize) -> Result<String, Wrong> {
        let (mut heads, mut bytes, mut room, mut pieces) =
            (Heads::default(), BytesMut::new(), HeaderMap::new(), text.chunks(cut));
        let head = loop {
            let Some(piece) = pieces.next() else { return Err("it ends before its head does") };
            bytes.extend_from_slice(piece);
            if let Some(head) = heads.read(&mut bytes, is_head, &mut room)? {
                break head;
            }
        };
        let (mut extent, mut body, mut trailers) = (head.extent, Vec::new(), Vec::new());
        loop {
            while let Some(frame) = extent.read(&mut bytes)? {
                match frame.into_data() {
                    Ok(data) => body.extend_from_slice(&data),
                    Err(frame) => trailers = frame.into_trailers().unwrap().keys().map(ToString::to_string).collect(),
                }
            }
            if extent.is_over() {
                break;
            }
            match pieces.next() {
                Some(piece) => bytes.extend_from_slice(piece),
                None if extent.ends() => break,
                None => return Err("it ends before its body does"),
            }
        }
        let left = bytes.len() + pieces.map(<[u8]>::len).sum::<usize>();
        let goes_on = if head.goes_on { "goes on" } else { "ends" };
        let (status, body) = (head.status.as_u16(), String::from_utf8(body).unwrap());
        Ok(format!("{status} {body:?} {} {goes_on} {left}", trailers.join(",")))
    }

    fn check(text: &str, expected: Result<&str, Wrong>) {
        check_for(false, text, expected);
    }

    fn check_for(is_head: bool, text: &str, expected: Result<&str, Wrong>) {
        for cut in [1, 2, 3, 7, text.len().max(1)] {
            let found = read(text.as_bytes(), is_head, cut);
            assert_eq!(found.as_deref(), expected.as_ref().map(|text| *text), "{text:?} in pieces of {cut}");
        }
    }

    #[test]
    fn the_end_of_a_body_is_where_the_head_says() {
        check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP", Ok("200 \"abc\"  goes on 4"));
        check("HTTP/1.1 200\r\ncontent-length:3, 3\r\ncontent-length: 3\r\n\r\nabc", Ok("200 \"abc\"  goes on 0"));
        check("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nx", Ok("200 \"\"  goes on 1"));
        check("HTTP/1.1 200 OK\r\n\r\nabc", Ok("200 \"abc\"  ends 0"));
        check("HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\nabc", Ok("204 \"\"  goes on 3"));
        check("HTTP/1.1 304 No\r\nTransfer-Encoding: chunked\r\n\r\n", Ok("304 \"\"  goes on 0"));
        check_for(true, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", Ok("200 \"\"  goes on 0"));
        check_for(true, "HTTP/1.1 200 OK\r\n\r\n", Ok("200 \"\"  goes on 0"));
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n2 \t\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\nx",
            Ok("200 \"abc\"  goes on 1"),
        );
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n0\r\nX-A: 1\r\nX-B: 2\r\n\r\n",
            Ok("200 \"\" x-a,x-b goes on 0"),
        );
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\nabc", Ok("200 \"abc\"  ends 0"));
    }

    #[test]
    fn what_can_be_read_in_two_ways_or_breaks_off_is_no_answer() {
        let early = "it ends before its body does";
        check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", Err(TWO_WAYS));
        for length in ["+3", "3 4", "-1", "", "0x3", "9223372036854775808", "99999999999999999999"] {
            check(&format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nabc"), Err(TWO_WAYS));
        }
        check("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Err(TWO_WAYS));
        check("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc", Err(early));
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", Err(early));
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", Err(early));
        for chunks in ["x\r\n", "3\r\nabcd", "-3\r\nabc\r\n", "3\nabc\r\n0\r\n\r\n", "1000000000000000\r\n", " 3\r\n"] {
            check(&format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"), Err(BAD_CHUNKS));
        }
        check("HTTP/1.1 200 OK\r\nContent-Le", Err("it ends before its head does"));
        for head in [
            "HTTP/1.1 200 OK\r\nX\r\n\r\n",
            "HTTP/1.1 200 OK\r\n X: y\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "\r\n\x16\r\n\r\n",
        ] {
            check(head, Err(NOT_HTTP));
        }
    }

    #[test]
    fn a_connection_goes_on_where_both_sides_know_so() {
        let answer = |version: &str, connection: &str| {
            format!("HTTP/{version} 200 OK\r\n{connection}Content-Length: 1\r\n\r\na")
        };
        for (version, connection, goes_on) in [
            ("1.1", "", true),
            ("1.1", "Connection: keep-alive\r\n", true),
            ("1.1", "Connection: x, CLOSE\r\n", false),
            ("1.1", "Connection: keep-alive\r\nConnection: close\r\n", false),
            ("1.0", "", false),
            ("1.0", "Connection: Keep-Alive\r\n", true),
            ("1.0", "Connection: keep-alive, close\r\n", false),
        ] {
            let expected = format!("200 \"a\"  {} 0", if goes_on { "goes on" } else { "ends" });
            check(&answer(version, connection), Ok(&expected));
        }
    }

    #[test]
    fn interim_answers_are_skipped_and_another_protocol_is_not_read() {
        let hints = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
        check(
            &format!("{hints}HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"),
            Ok("200 \"a\"  goes on 0"),
        );
        check("HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n\u{81}", Ok("101 \"\"  ends 2"));
        let flood = hints.repeat(BEFORE_ANSWER / hints.len() + 1);
        assert_eq!(read(flood.as_bytes(), false, 1 << 16), Err(NO_END));
    }

    #[test]
    fn a_head_has_an_end() {
        let long = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(HEAD_BYTES));
        for cut in [1000, long.len()] {
            assert_eq!(read(long.as_bytes(), false, cut), Err(TOO_LONG));
            assert_eq!(read(format!("{long}\r\n\r\n").as_bytes(), false, cut), Err(TOO_LONG));
        }
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(HEADERS + 1));
        assert_eq!(read(many.as_bytes(), false, many.len()), Err(NOT_HTTP));
    }

    #[test]
    fn the_last_coding_says_how_far_a_body_goes() {
        for (codings, expected) in [
            (&["chunked"][..], Ok(true)),
            (&["gzip", ", Chunked ,"], Ok(true)),
            (&["chunked", ""], Ok(true)),
            (&["chunked, gzip"], Ok(false)),
            (&["chunked;a=b"], Ok(false)),
            (&[""], Ok(false)),
            (&["chunked", "\u{e9}"], Err(TWO_WAYS)),
            (&["\u{e9}, chunked"], Err(TWO_WAYS)),
        ] {
            let lines: String = codings.iter().map(|coding| format!("Transfer-Encoding: {coding}\r\n")).collect();
            let mut answer = BytesMut::from(&*format!("HTTP/1.1 200 OK\r\n{lines}\r\n"));
            let head = Heads::default().read(&mut answer, false, &mut HeaderMap::new());
            let is_chunked = head.map(|head| matches!(head.unwrap().extent, Extent::Chunks(..)));
            assert_eq!(is_chunked, expected, "{codings:?}");
        }
    }
}
