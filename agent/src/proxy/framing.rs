//! Where each request of a client begins and ends, read strictly and before hyper does.
//!
//! hyper mends much of what may be read in two ways (both Content-Length and Transfer-Encoding, equal lengths twice, `#`
//! in a target, bare line feeds). Whoever stands before us may have read the same bytes differently, and that
//! difference is how requests are smuggled. So bytes reach hyper only when they are beyond doubt: heads whole, bodies
//! and chunks as they come, and never a byte of the next request before hyper asks for it. What is refused here gets an
//! answer of ours and ends the connection (see `watched`).
//!
//! Pure: bytes in, a count of good ones or a refusal out; nothing is allocated, and every byte is looked at once.

mod chunks;
mod head;

pub(super) use chunks::{Chunks, Piece};

use head::Head;
use hyper::StatusCode;

/// The longest head, and the longest trailers, in bytes.
pub(super) const HEAD_BYTES: usize = 16 * 1024;
/// Lines of a head beside the first, and of trailers.
pub(super) const HEADERS: usize = 100;
/// The longest target.
pub(super) const TARGET: usize = 8 * 1024;
/// All chunk extensions of one body.
const EXTENSIONS: usize = 16 * 1024;

/// Why a request is answered by us, before anybody has seen it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is not what the sentence asks for.
    Bad(&'static str),
    HeadTooLong,
    TooManyHeaders,
    TargetTooLong,
    /// CONNECT.
    NotAllowed,
    Version,
    /// The head did not arrive in time.
    TooSlow,
}

impl Refusal {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Refusal::Bad(_) => StatusCode::BAD_REQUEST,
            Refusal::HeadTooLong | Refusal::TooManyHeaders => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Refusal::TargetTooLong => StatusCode::URI_TOO_LONG,
            Refusal::NotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Refusal::TooSlow => StatusCode::REQUEST_TIMEOUT,
        }
    }

    pub(super) fn sentence(self) -> &'static str {
        match self {
            Refusal::Bad(sentence) => sentence,
            Refusal::HeadTooLong => "the request's headers are longer than 16 KiB: send fewer or shorter ones",
            Refusal::TooManyHeaders => "the request has more than 100 headers: send fewer",
            Refusal::TargetTooLong => "the request's path and query are longer than 8 KiB: send what is long as a body",
            Refusal::NotAllowed => "this is no proxy for other hosts: send a request for a path of this space",
            Refusal::Version => "this door speaks HTTP/1.1 and HTTP/1.0 only",
            Refusal::TooSlow => "the request's headers did not arrive within 10 s",
        }
    }
}

/// How far a connection's requests have been read.
#[derive(Debug)]
pub(super) struct Scan(At);

#[derive(Debug)]
enum At {
    Head(Head),
    /// This many bytes of a body are still to come.
    Body(u64),
    Chunks(Chunks),
}

/// What a head says about the bytes behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behind {
    Nothing,
    Body(u64),
    Chunks,
}

impl Default for Scan {
    fn default() -> Scan {
        Scan(At::Head(Head::default()))
    }
}

impl Scan {
    /// How many of `bytes` may pass on: never more than to the end of the current request. 0: the head that begins with
    /// `bytes` is not whole yet; the next call begins with the same bytes and has more of them.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let mut passed = 0;
        loop {
            match &mut self.0 {
                At::Head(head) => {
                    // A head that is whole passes with what is there of its body.
                    let Some((length, behind)) = head.read(bytes)? else { return Ok(0) };
                    passed = length;
                    self.0 = match behind {
                        Behind::Nothing | Behind::Body(0) => At::Head(Head::default()),
                        Behind::Body(length) => At::Body(length),
                        Behind::Chunks => At::Chunks(Chunks::strict()),
                    };
                    if self.is_between() || passed == bytes.len() {
                        return Ok(passed);
                    }
                }
                At::Body(left) => {
                    let there = (bytes.len() - passed) as u64;
                    if there < *left {
                        *left -= there;
                        return Ok(bytes.len());
                    }
                    // Not more than `bytes` has.
                    passed += *left as usize;
                    self.0 = At::Head(Head::default());
                    return Ok(passed);
                }
                At::Chunks(chunks) => {
                    let (read, ended) = match chunks.read(&bytes[passed..]) {
                        Ok(read) => read,
                        Err(refusal) => {
                            if passed > 0 {
                                // Nobody has seen its head yet, and nobody will.
                                self.0 = At::Head(Head::default());
                            }
                            return Err(refusal);
                        }
                    };
                    if ended {
                        self.0 = At::Head(Head::default());
                    }
                    return Ok(passed + read);
                }
            }
        }
    }

    /// Is what comes next a head?
    pub(super) fn is_at_head(&self) -> bool {
        matches!(self.0, At::Head(_))
    }

    /// As [`is_at_head`](Scan::is_at_head), and none of it has come.
    pub(super) fn is_between(&self) -> bool {
        matches!(&self.0, At::Head(head) if head.is_new())
    }
}

/// A letter of a method or a header's name (RFC 9110, 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// May stand in a header's value: anything but control characters.
fn is_text(byte: u8) -> bool {
    byte >= b' ' && byte != 0x7f || byte == b'\t'
}

#[cfg(test)]
mod tests;
