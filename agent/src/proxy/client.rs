//! A client's connection: a plain socket, or one with TLS that ends here.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

#[derive(Debug)]
pub(super) enum Client {
    Plain(TcpStream),
    /// Boxed: it is large, and rare beside the plain one.
    Tls(Box<TlsStream<TcpStream>>),
}

/// The most that is copied together to be written as one.
const FEW: usize = 2048;

/// A head with a short body behind it, as one piece: the kernel takes one at less cost than several.
fn gathered(bufs: &[io::IoSlice<'_>]) -> Option<([u8; FEW], usize)> {
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

impl AsyncRead for Client {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Client::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Client::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Client {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Client::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Client::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some((few, length)) = gathered(bufs) {
            return self.poll_write(cx, &few[..length]);
        }
        match self.get_mut() {
            Client::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Client::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Client::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Client::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Client::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Client::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
