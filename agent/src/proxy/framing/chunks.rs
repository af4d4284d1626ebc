//! A chunked body: sizes, extensions and trailers byte by byte, data by the chunk. A client's is read strictly; an app's
//! may have blanks behind its sizes, as old servers write them.

use super::{EXTENSIONS, HEAD_BYTES, HEADERS, Refusal, is_text, is_token};

const BAD: Refusal = Refusal::Bad("the request's chunks are not well formed");
const TOO_MUCH: Refusal = Refusal::Bad("the chunk extensions of the request are longer than 16 KiB in all");
/// Digits of a chunk's size: more of them, zeros or not, are nobody's honest work. Fits a u64.
const DIGITS: u8 = 15;

/// How far a body has been read.
#[derive(Debug)]
pub(in crate::proxy) struct Chunks {
    at: At,
    /// Bytes of extensions so far.
    extensions: usize,
    /// Bytes and lines of trailers so far.
    trailers: usize,
    lines: usize,
    /// Blanks may follow a size.
    padded: bool,
}

/// What the next bytes of a body are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum Piece {
    /// Sizes, extensions and line ends.
    Frame(usize),
    Data(usize),
    /// Lines behind the last chunk.
    Trailer(usize),
    /// As [`Trailer`](Piece::Trailer), up to the end of the body.
    End(usize),
}

#[derive(Debug, Clone, Copy)]
enum At {
    Size {
        digits: u8,
        size: u64,
    },
    Padding {
        size: u64,
    },
    Extension {
        size: u64,
    },
    SizeEnd {
        size: u64,
    },
    Data(u64),
    DataCr,
    DataLf,
    /// At the beginning of a trailer, or of the last line end.
    Line,
    Name,
    Value,
    LineEnd,
    End,
}

impl Chunks {
    /// Of a request.
    pub(super) fn strict() -> Chunks {
        Chunks { at: At::Size { digits: 0, size: 0 }, extensions: 0, trailers: 0, lines: 0, padded: false }
    }

    /// Of an app's answer.
    pub(in crate::proxy) fn padded() -> Chunks {
        Chunks { padded: true, ..Chunks::strict() }
    }

    /// How many of `bytes` belong to the body, and whether it ends with them.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<(usize, bool), Refusal> {
        let mut read = 0;
        while read < bytes.len() {
            match self.next(&bytes[read..])? {
                Piece::Frame(length) | Piece::Data(length) | Piece::Trailer(length) => read += length,
                Piece::End(length) => return Ok((read + length, true)),
            }
        }
        Ok((read, false))
    }

    /// What `bytes`, of which there is one at least, begins with.
    pub(in crate::proxy) fn next(&mut self, bytes: &[u8]) -> Result<Piece, Refusal> {
        if let At::Data(left) = &mut self.at {
            // Not more than `bytes` has.
            let there = (*left).min(bytes.len() as u64) as usize;
            *left -= there as u64;
            if *left == 0 {
                self.at = At::DataCr;
            }
            return Ok(Piece::Data(there));
        }
        let in_trailer = matches!(self.at, At::Line | At::Name | At::Value | At::LineEnd | At::End);
        for (before, byte) in bytes.iter().enumerate() {
            match self.step(*byte)? {
                Some(at) => self.at = at,
                None => return Ok(Piece::End(before + 1)),
            }
            if matches!(self.at, At::Data(_)) || !in_trailer && matches!(self.at, At::Line) {
                return Ok(Piece::Frame(before + 1));
            }
        }
        Ok(if in_trailer { Piece::Trailer(bytes.len()) } else { Piece::Frame(bytes.len()) })
    }

    /// Takes a byte that isn't data. `None`: it was the last.
    fn step(&mut self, byte: u8) -> Result<Option<At>, Refusal> {
        Ok(Some(match (self.at, byte) {
            (At::Size { digits, size }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if digits < DIGITS => {
                let digit = char::from(byte).to_digit(16).unwrap_or(0);
                At::Size { digits: digits + 1, size: size << 4 | u64::from(digit) }
            }
            (At::Size { digits: 1.., size } | At::Padding { size }, b' ' | b'\t') if self.padded => {
                At::Padding { size }
            }
            (At::Size { digits: 1.., size } | At::Padding { size }, b';') => At::Extension { size },
            (At::Size { digits: 1.., size } | At::Padding { size } | At::Extension { size }, b'\r') => {
                At::SizeEnd { size }
            }
            (At::Extension { size }, byte) if is_text(byte) => {
                self.extensions += 1;
                if self.extensions > EXTENSIONS {
                    return Err(TOO_MUCH);
                }
                At::Extension { size }
            }
            (At::SizeEnd { size: 0 }, b'\n') => At::Line,
            (At::SizeEnd { size }, b'\n') => At::Data(size),
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::Size { digits: 0, size: 0 },
            (At::Line, b'\r') => At::End,
            (At::End, b'\n') => return Ok(None),
            (At::Line | At::Name | At::Value | At::LineEnd, byte) => self.trailer(byte)?,
            _ => return Err(BAD),
        }))
    }

    fn trailer(&mut self, byte: u8) -> Result<At, Refusal> {
        self.trailers += 1;
        if self.trailers > HEAD_BYTES {
            return Err(Refusal::HeadTooLong);
        }
        Ok(match (self.at, byte) {
            (At::Line, byte) if is_token(byte) => {
                self.lines += 1;
                if self.lines > HEADERS {
                    return Err(Refusal::TooManyHeaders);
                }
                At::Name
            }
            (At::Name, b':') => At::Value,
            (At::Name, byte) if is_token(byte) => At::Name,
            (At::Value, b'\r') => At::LineEnd,
            (At::Value, byte) if is_text(byte) => At::Value,
            (At::LineEnd, b'\n') => At::Line,
            _ => return Err(BAD),
        })
    }
}
