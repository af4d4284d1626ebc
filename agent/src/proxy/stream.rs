//! A byte stream to an app: a unix socket or a connection over loopback.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// Either kind.
#[derive(Debug)]
pub(super) struct Stream {
    socket: Socket,
    /// The app takes no more. It may have answered before, and closed with the rest of the request unread.
    deaf: bool,
}

#[derive(Debug)]
pub(super) enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    pub(super) fn new(socket: Socket) -> Stream {
        Stream { socket, deaf: false }
    }

    /// What was written may have gone nowhere.
    pub(super) fn is_deaf(&self) -> bool {
        self.deaf
    }

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

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Socket::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
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
