//! Two upgraded connections joined: bytes pass both ways unchanged.
//!
//! An idle tunnel costs two sockets and a task: bytes are read into one scratch buffer of the thread, and only what the
//! other side can't take at once is kept, for one direction at most one buffer's worth.

use super::client::Client;
use super::frames::{self, Frames};
use super::framing::Watched;
use super::upstream::{Stream, Upstream};
use bytes::Bytes;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

const SCRATCH: usize = 16 * 1024;
/// How long the two connections have to come out of hyper's hands.
const HAND_OVER: Duration = Duration::from_secs(5);
/// What a client gets to take in the last frame.
const LAST_FRAME: Duration = Duration::from_millis(300);

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A WebSocket that both sides have agreed to, before its connections are free.
#[derive(Debug)]
pub(super) struct Agreed {
    pub(super) client: OnUpgrade,
    pub(super) app: OnUpgrade,
    /// Drives the app's connection until it is handed over.
    pub(super) upstream: Upstream,
    /// How long the viewer's session still lasts; `None`: it doesn't end.
    pub(super) lasts: Option<Duration>,
}

/// Both ends, free of HTTP, each with what was read too much of it.
#[derive(Debug)]
pub(super) struct Tunnel {
    client: Client,
    app: Stream,
    to_app: Direction,
    to_client: Direction,
}

impl Agreed {
    /// Waits until hyper lets go of both connections. `None`: one of them ended instead.
    pub(super) async fn open(self) -> Option<Tunnel> {
        let Agreed { client, app, upstream, .. } = self;
        let both = async { tokio::try_join!(client, app) };
        let (client, app) = timeout(HAND_OVER, both).await.ok()?.ok()?;
        drop(upstream);
        let (client, from_client) = free::<TokioIo<Watched>>(client)?;
        let (app, from_app) = free::<TokioIo<Stream>>(app)?;
        Some(Tunnel {
            client: client.into_inner().into_inner(),
            app: app.into_inner(),
            to_app: Direction::new(from_client, false),
            to_client: Direction::new(from_app, true),
        })
    }
}

/// The connection itself, and what hyper had read beyond the handshake.
fn free<T: hyper::rt::Read + hyper::rt::Write + Unpin + 'static>(upgraded: Upgraded) -> Option<(T, Bytes)> {
    let parts = upgraded.downcast::<T>().ok()?;
    // A copy, so that hyper's whole buffer isn't kept for a few bytes.
    Some((parts.io, Bytes::copy_from_slice(&parts.read_buf)))
}

impl Tunnel {
    /// Copies until both sides have said that they are done, or one fails.
    pub(super) async fn run(&mut self) -> io::Result<()> {
        poll_fn(|cx| {
            let Tunnel { client, app, to_app, to_client } = self;
            let there = to_app.poll(cx, client, app)?;
            let back = to_client.poll(cx, app, client)?;
            if there.is_ready() && back.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await
    }

    /// Tells the client that this is the end, if it is not in the middle of a frame; what it can't take in at once is
    /// lost.
    pub(super) async fn close(mut self, code: u16) {
        let Stage::Open { held } = &self.to_client.stage else { return };
        let mut last = held.to_vec();
        if self.to_client.may_close() {
            last.extend(frames::close(code));
        }
        let told = async {
            self.client.write_all(&last).await?;
            self.client.shutdown().await
        };
        // Whoever is slow or gone has an end too.
        let _ = timeout(LAST_FRAME, told).await;
    }
}

/// One direction of a tunnel.
#[derive(Debug)]
struct Direction {
    stage: Stage,
    /// Of what goes to the client: where its frames end.
    frames: Option<Frames>,
}

#[derive(Debug)]
enum Stage {
    /// `held` has been read and not yet written.
    Open {
        held: Bytes,
    },
    /// The reader has said its last; the writer must hear it.
    Closing,
    Closed,
}

impl Direction {
    fn new(held: Bytes, to_client: bool) -> Direction {
        let mut frames = to_client.then(Frames::default);
        if let Some(frames) = &mut frames {
            frames.passed(&held);
        }
        Direction { stage: Stage::Open { held }, frames }
    }

    /// A frame of our own may go to the client behind what was read.
    fn may_close(&self) -> bool {
        self.frames.as_ref().is_some_and(Frames::may_close)
    }

    /// An app that is gone without a word has its last one said for it.
    fn reader_ended(&mut self) -> Stage {
        if !self.may_close() {
            return Stage::Closing;
        }
        let last = frames::close(frames::GOING_AWAY);
        if let Some(frames) = &mut self.frames {
            frames.passed(&last);
        }
        Stage::Open { held: Bytes::copy_from_slice(&last) }
    }

    fn poll<R, W>(&mut self, cx: &mut Context<'_>, from: &mut R, to: &mut W) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            match &mut self.stage {
                Stage::Open { held } if !held.is_empty() => {
                    let written = ready!(Pin::new(&mut *to).poll_write(cx, held))?;
                    if written == 0 {
                        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                    }
                    *held = if written == held.len() { Bytes::new() } else { held.slice(written..) };
                }
                Stage::Open { held } => {
                    if ready!(pass(cx, from, to, held, self.frames.as_mut()))? == 0 {
                        self.stage = self.reader_ended();
                    }
                }
                Stage::Closing => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.stage = Stage::Closed;
                }
                Stage::Closed => return Poll::Ready(Ok(())),
            }
        }
    }
}

/// Reads once and writes it at once as far as possible; the rest goes into `held`. Returns how much was read.
fn pass<R, W>(
    cx: &mut Context<'_>,
    from: &mut R,
    to: &mut W,
    held: &mut Bytes,
    frames: Option<&mut Frames>,
) -> Poll<io::Result<usize>>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    BUFFER.with_borrow_mut(|scratch| {
        scratch.resize(SCRATCH, 0);
        let mut buffer = ReadBuf::new(scratch);
        ready!(Pin::new(from).poll_read(cx, &mut buffer))?;
        let read = buffer.filled();
        if read.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if let Some(frames) = frames {
            frames.passed(read);
        }
        let written = match Pin::new(to).poll_write(cx, read) {
            Poll::Ready(written) => written?,
            Poll::Pending => 0,
        };
        *held = Bytes::copy_from_slice(&read[written..]);
        Poll::Ready(Ok(read.len()))
    })
}
