//! A chunked body: sizes, extensions and trailers byte by byte, data by the chunk.

use super::{EXTENSIONS, HEAD_BYTES, HEADERS, Refusal, is_text, is_token};

const BAD: Refusal = Refusal::Bad("the request's chunks are not well formed");
const TOO_MUCH: Refusal = Refusal::Bad("the chunk extensions of the request are longer than 16 KiB in all");
/// Digits of a chunk's size: more of them, zeros or not, are nobody's honest work. Fits a u64.
const DIGITS: u8 = 15;

/// How far a body has been read.
#[derive(Debug)]
pub(super) struct Chunks {
    at: At,
    /// Bytes of extensions so far.
    extensions: usize,
    /// Bytes and lines of trailers so far.
    trailers: usize,
    lines: usize,
}

#[derive(Debug, Clone, Copy)]
enum At {
    Size {
        digits: u8,
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

impl Default for Chunks {
    fn default() -> Chunks {
        Chunks { at: At::Size { digits: 0, size: 0 }, extensions: 0, trailers: 0, lines: 0 }
    }
}

impl Chunks {
    /// How many of `bytes` belong to the body, and whether it ends with them.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<(usize, bool), Refusal> {
        let mut read = 0;
        while let Some(byte) = bytes.get(read) {
            if let At::Data(left) = &mut self.at {
                let there = (bytes.len() - read) as u64;
                if there < *left {
                    *left -= there;
                    return Ok((bytes.len(), false));
                }
                // Not more than `bytes` has.
                read += *left as usize;
                self.at = At::DataCr;
                continue;
            }
            read += 1;
            match self.step(*byte)? {
                Some(at) => self.at = at,
                None => return Ok((read, true)),
            }
        }
        Ok((read, false))
    }

    /// Takes a byte that isn't data. `None`: it was the last.
    fn step(&mut self, byte: u8) -> Result<Option<At>, Refusal> {
        Ok(Some(match (self.at, byte) {
            (At::Size { digits, size }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if digits < DIGITS => {
                let digit = char::from(byte).to_digit(16).unwrap_or(0);
                At::Size { digits: digits + 1, size: size << 4 | u64::from(digit) }
            }
            (At::Size { digits: 1.., size }, b';') => At::Extension { size },
            (At::Size { digits: 1.., size }, b'\r') | (At::Extension { size }, b'\r') => At::SizeEnd { size },
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
