//! One direction of a tunnel: bytes from one socket to the other, through a buffer that belongs to the thread.

use bytes::Bytes;
use std::cell::RefCell;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Read at once at most.
pub(super) const SCRATCH: usize = 64 * 1024;
/// In front of what is read, for bytes that go before it.
pub(super) const ROOM: usize = 32;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Where a direction stands. Writes first what it holds, then passes on what it reads.
#[derive(Debug)]
pub(super) struct Flow {
    /// Read and not yet written.
    held: Bytes,
    /// Written and maybe not yet on its way: a stream with TLS keeps what its socket can't take.
    unflushed: bool,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// Nothing more is read; what is held is the last.
    Last,
    Closed,
}

/// Which of the two failed.
#[derive(Debug)]
pub(super) enum Broken {
    Reader(io::Error),
    Writer(io::Error),
}

impl Flow {
    /// `held` has been read already.
    pub(super) fn new(held: Bytes) -> Flow {
        Flow { held, unflushed: false, stage: Stage::Open }
    }

    /// Bytes that the other side hasn't taken.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    pub(super) fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// `bytes` go behind what is held. For few.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.held = [&*self.held, bytes].concat().into();
    }

    /// `bytes` go behind what is held, and then there is an end.
    pub(super) fn last(&mut self, bytes: &[u8]) {
        if self.is_open() {
            self.append(bytes);
            self.stage = Stage::Last;
        }
    }

    /// Nobody is there to write to.
    pub(super) fn abandon(&mut self) {
        self.held = Bytes::new();
        self.stage = Stage::Closed;
    }

    /// Writes what is held. Ready with true once there was an end and the writer has heard it, with false if more is to
    /// be read.
    pub(super) fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut W,
    ) -> Poll<io::Result<bool>> {
        if self.stage == Stage::Closed {
            return Poll::Ready(Ok(true));
        }
        while !self.held.is_empty() {
            let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.held))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held = if written == self.held.len() { Bytes::new() } else { self.held.slice(written..) };
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(&mut *to).poll_flush(cx))?;
            self.unflushed = false;
        }
        if self.stage == Stage::Open {
            return Poll::Ready(Ok(false));
        }
        ready!(Pin::new(to).poll_shutdown(cx))?;
        self.stage = Stage::Closed;
        Poll::Ready(Ok(true))
    }

    /// Reads once, behind [`ROOM`] bytes, and writes at once what `follow` says of it; the rest is held. Returns how
    /// much was read; none is the end.
    pub(super) fn poll_pass<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        follow: impl FnOnce(&mut [u8]) -> Range<usize>,
    ) -> Poll<Result<usize, Broken>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        poll_read(cx, from, |cx, buffer| {
            let pass = follow(buffer);
            let bytes = &buffer[pass];
            if bytes.is_empty() {
                return Ok(());
            }
            let written = match Pin::new(to).poll_write(cx, bytes) {
                Poll::Ready(written) => written.map_err(Broken::Writer)?,
                Poll::Pending => 0,
            };
            self.unflushed = true;
            if written < bytes.len() {
                self.held = Bytes::copy_from_slice(&bytes[written..]);
            }
            Ok(())
        })
    }

    /// As [`Flow::poll_pass`], but holds all that `change` makes of it.
    pub(super) fn poll_hold<R: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        change: impl FnOnce(&[u8]) -> Vec<u8>,
    ) -> Poll<Result<usize, Broken>> {
        poll_read(cx, from, |_, buffer| {
            self.held = change(&buffer[ROOM..]).into();
            Ok(())
        })
    }
}

fn poll_read<R: AsyncRead + Unpin>(
    cx: &mut Context<'_>,
    from: &mut R,
    then: impl FnOnce(&mut Context<'_>, &mut [u8]) -> Result<(), Broken>,
) -> Poll<Result<usize, Broken>> {
    BUFFER.with_borrow_mut(|scratch| {
        scratch.resize(ROOM + SCRATCH, 0);
        let mut buffer = ReadBuf::new(&mut scratch[ROOM..]);
        ready!(Pin::new(from).poll_read(cx, &mut buffer)).map_err(Broken::Reader)?;
        let read = buffer.filled().len();
        if read > 0 {
            then(cx, &mut scratch[..ROOM + read])?;
        }
        Poll::Ready(Ok(read))
    })
}
