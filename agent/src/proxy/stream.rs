//! A byte stream to an app: a unix socket or a connection over loopback.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// How much may come before an answer's head is whole: with heads of 64 KiB at most, this is a flood of interim ones.
const BEFORE_ANSWER: usize = 1 << 20;

/// Either kind, with a measure on what comes before an answer.
#[derive(Debug)]
pub(super) struct Stream {
    socket: Socket,
    measure: Measure,
    /// The app takes no more. It may have answered before, and closed with the rest of the request unread.
    deaf: bool,
}

#[derive(Debug)]
pub(super) enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// Shared with whoever waits for the answer.
#[derive(Debug, Clone)]
pub(super) struct Measure(Arc<AtomicUsize>);

impl Measure {
    fn new() -> Measure {
        Measure(Arc::new(AtomicUsize::new(usize::MAX)))
    }

    /// A request goes out.
    pub(super) fn begin(&self) {
        self.0.store(BEFORE_ANSWER, Ordering::Relaxed);
    }

    /// Its answer is here: what follows is a body, of any length.
    pub(super) fn end(&self) {
        self.0.store(usize::MAX, Ordering::Relaxed);
    }

    fn take(&self, bytes: usize) {
        let left = self.0.load(Ordering::Relaxed);
        if left != usize::MAX {
            self.0.store(left.saturating_sub(bytes), Ordering::Relaxed);
        }
    }

    fn is_used_up(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

/// The most that is copied together to be written as one.
const FEW: usize = 2048;

/// A head with a short body behind it, as one piece: the kernel takes one at less cost than several.
pub(super) fn gathered(bufs: &[io::IoSlice<'_>]) -> Option<([u8; FEW], usize)> {
    if bufs.iter().map(|buf| buf.len()).sum::<usize>() > FEW {
        return None;
    }
    let (mut few, mut length) = ([0; FEW], 0);
    for buf in bufs {
        few[length..length + buf.len()].copy_from_slice(buf);
        length += buf.len();
    }
    Some((few, length))
}

impl Stream {
    pub(super) fn new(socket: Socket) -> Stream {
        Stream { socket, measure: Measure::new(), deaf: false }
    }

    pub(super) fn measure(&self) -> Measure {
        self.measure.clone()
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Stream { socket, measure, .. } = self.get_mut();
        if measure.is_used_up() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "no end of heads")));
        }
        let before = buf.filled().len();
        ready!(match socket {
            Socket::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Socket::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
        })?;
        measure.take(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl Stream {
    /// What an app that takes no more would have been told is dropped: with an error here nobody would read the answer
    /// that may have come before. Without one, reading ends in the same error.
    fn told(&mut self, written: io::Result<usize>, length: usize) -> io::Result<usize> {
        use io::ErrorKind::{BrokenPipe, ConnectionReset};
        match written {
            Err(error) if matches!(error.kind(), BrokenPipe | ConnectionReset) => {
                self.deaf = true;
                Ok(length)
            }
            written => written,
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = match &mut this.socket {
            _ if this.deaf => Poll::Ready(Ok(buf.len())),
            Socket::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Socket::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
        };
        polled.map(|written| this.told(written, buf.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let (this, length) = (self.get_mut(), bufs.iter().map(|buf| buf.len()).sum());
        let polled = match &mut this.socket {
            _ if this.deaf => Poll::Ready(Ok(length)),
            Socket::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Socket::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        };
        polled.map(|written| this.told(written, length))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Socket::Tcp(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Socket::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
