//! A client's connection as hyper gets it: read strictly, waited for with patience that ends, closed politely.
//!
//! What comes is held back until [`Scan`] has passed it, so hyper sees whole and unambiguous heads only, one request at
//! a time. A request that is refused looks like the end of the stream to hyper, which answers what came before it and
//! shuts the connection down; then the refusal goes out. This is also where a client runs out of time: see the
//! constants. There is no limit on how long a request or its answer takes in all.

use super::client::Client;
use super::framing::{Refusal, Scan};
use crate::sys::clock;
use bytes::{Buf, Bytes, BytesMut};
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// From the first byte of a request's head to its last, and from the beginning of a connection to its first byte.
const HEAD: Duration = Duration::from_secs(10);
/// From the beginning of a connection to the first byte of a request, when the door closes meanwhile. Less than an upgrade
/// leaves, so that there is time for the answer.
const FIRST: Duration = Duration::from_millis(300);
/// From the wish to close to the next request of any client: one who asks all the time has sent it already, or does so at
/// once, and hears with its answer that the connection ends.
const NEXT: Duration = Duration::from_millis(50);
/// An open connection between two requests.
const IDLE: Duration = Duration::from_secs(75);
/// A body of which nothing comes while somebody wants it.
const BODY: Duration = Duration::from_secs(5 * 60);
/// A client that takes nothing of what is sent to it.
const STUCK: Duration = Duration::from_secs(10 * 60);
/// One who has proven no session: it is owed a page at most, and what it doesn't take fills the kernel's memory.
const STUCK_STRANGER: Duration = Duration::from_secs(30);
/// A client that has said its last gets an answer that is on its way, as long as the answer moves. Most such clients
/// have left altogether, which looks the same; whoever reads a stream without an end certainly has.
const HALF_CLOSED: Duration = Duration::from_secs(30);
/// After the last answer, what still comes is read and dropped for so long and so far: a socket that is closed with
/// something unread takes the answer with it.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 32 << 20;
const PIECE: usize = 4 * 1024;
/// What is read of coming requests while an answer is on its way; a client's end can't be seen behind more.
const AHEAD: usize = 4 * PIECE;

/// What the rest of the door and a connection tell each other.
#[derive(Debug)]
pub(super) struct Busy {
    request: AtomicBool,
    endless: AtomicBool,
    viewer: AtomicBool,
    heard: AtomicBool,
    begun: AtomicBool,
}

impl Default for Busy {
    /// Busy until it has been heard.
    fn default() -> Busy {
        let no = || AtomicBool::new(false);
        Busy { request: AtomicBool::new(true), endless: no(), viewer: no(), heard: no(), begun: no() }
    }
}

impl Busy {
    /// Is a request on its way, or a WebSocket open? If not, this connection can make room for another.
    pub(super) fn is(&self) -> bool {
        self.request.load(Ordering::Relaxed)
    }

    /// Has a request over this connection proven a session?
    pub(super) fn is_viewer(&self) -> bool {
        self.viewer.load(Ordering::Relaxed)
    }

    pub(super) fn proven(&self) {
        self.viewer.store(true, Ordering::Relaxed);
    }

    /// The current answer is a stream that ends only when somebody leaves.
    pub(super) fn answers_without_end(&self) {
        self.endless.store(true, Ordering::Relaxed);
    }

    /// The door closes: returns once no request is on its way in over this connection, whose watcher is to be asked
    /// first each time that the task wakes. A client may have sent one that isn't here yet: whoever hangs up on it takes
    /// its answer away, and it can't know whether it was heard.
    pub(super) async fn has_no_request_coming(&self, came: Instant) {
        let next = clock::instant() + NEXT;
        let late = if self.is_heard() { next } else { next.max(came + FIRST) };
        let mut late = pin!(sleep_until(late));
        poll_fn(|cx| {
            ready!(late.as_mut().poll(cx));
            // The rest of its head wakes the task.
            if self.begun.load(Ordering::Relaxed) { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }

    /// Has a whole head come over this connection?
    fn is_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    fn store(&self, busy: bool) {
        self.request.store(busy, Ordering::Relaxed);
    }
}

/// A client's connection, watched.
#[derive(Debug)]
pub(super) struct Watched {
    client: Client,
    scan: Scan,
    /// Read and not yet given to hyper.
    held: BytesMut,
    /// How much of `held` may be given.
    passed: usize,
    /// And whether it is a HEAD, whose answer has no body.
    refused: Option<(Refusal, bool)>,
    /// Since when hyper waits for bytes; in a head, since its first byte.
    reading: Option<Instant>,
    /// Since when the client takes nothing.
    writing: Option<Instant>,
    end: End,
    alarm: Alarm,
    busy: Arc<Busy>,
}

/// How far this connection is from its end.
#[derive(Debug)]
enum End {
    Open,
    /// The client has said its last; since then, or since what it took last.
    HalfClosed(Instant),
    /// Our last words, and until when all the rest may take.
    Saying(Bytes, Instant),
    Shutting(Instant),
    /// So many bytes are still taken.
    Lingering(usize, Instant),
    Done,
}

/// What came of reading once.
enum Read {
    /// The client's last.
    End,
    /// Bytes for hyper.
    Given,
    /// Bytes of a head that is not whole.
    Held,
}

/// One timer for everything that this connection waits for: it rings at the earliest time that was asked for, or
/// sooner.
#[derive(Debug, Default)]
struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Is it later than `deadline`? If not, the task wakes then.
    fn is_over(&mut self, cx: &mut Context<'_>, deadline: Instant) -> bool {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        // Ready: that time has come, or it was set for one that no longer matters.
        while sleep.as_mut().poll(cx).is_ready() {
            if sleep.deadline() >= deadline {
                return true;
            }
            sleep.as_mut().reset(deadline);
        }
        false
    }
}

impl Watched {
    pub(super) fn new(client: Client, busy: Arc<Busy>) -> Watched {
        Watched {
            client,
            scan: Scan::default(),
            held: BytesMut::new(),
            passed: 0,
            refused: None,
            reading: None,
            writing: None,
            end: End::Open,
            alarm: Alarm::default(),
            busy,
        }
    }

    /// The connection, and what was read beyond the last request.
    pub(super) fn into_inner(self) -> (Client, Bytes) {
        (self.client, self.held.freeze())
    }

    /// Reads on in what is held; true if hyper gets bytes, or the end.
    fn look(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<bool> {
        if self.passed == 0 && !self.held.is_empty() && self.refused.is_none() {
            match self.scan.pass(&self.held) {
                Ok(passed) => self.passed = passed,
                Err(refusal) => {
                    let is_head = asks_for_head(&self.held);
                    self.refuse(refusal, is_head)?;
                }
            }
        }
        if self.passed == 0 {
            return Ok(self.refused.is_some());
        }
        let given = self.passed.min(buf.remaining());
        buf.put_slice(&self.held[..given]);
        self.held.advance(given);
        self.passed -= given;
        if self.held.is_empty() {
            // An idle connection keeps no buffer.
            self.held = BytesMut::new();
        }
        Ok(true)
    }

    /// A head is refused by us, a body by whoever reads it.
    fn refuse(&mut self, refusal: Refusal, is_head: bool) -> io::Result<()> {
        if !self.scan.is_at_head() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, refusal.sentence()));
        }
        self.refused = Some((refusal, is_head));
        Ok(())
    }

    /// Reads into hyper's own buffer, for nothing is held.
    fn read_through(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<Read>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.client).poll_read(cx, buf))?;
        let read = &buf.filled()[before..];
        if read.is_empty() {
            return Poll::Ready(Ok(Read::End));
        }
        let passed = match self.scan.pass(read) {
            Ok(passed) => passed,
            Err(refusal) => {
                let is_head = asks_for_head(read);
                buf.set_filled(before);
                self.refuse(refusal, is_head)?;
                return Poll::Ready(Ok(Read::End));
            }
        };
        if passed < read.len() {
            self.held.extend_from_slice(&read[passed..]);
            buf.set_filled(before + passed);
        }
        if passed > 0 {
            return Poll::Ready(Ok(Read::Given));
        }
        self.reading = Some(clock::instant());
        Poll::Ready(Ok(Read::Held))
    }

    /// Reads more of a head that is not whole.
    fn read_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Read>> {
        let mut piece = [0; PIECE];
        let mut buf = ReadBuf::new(&mut piece);
        ready!(Pin::new(&mut self.client).poll_read(cx, &mut buf))?;
        self.held.extend_from_slice(buf.filled());
        Poll::Ready(Ok(if buf.filled().is_empty() { Read::End } else { Read::Held }))
    }

    fn read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.look(buf)? {
                return Poll::Ready(Ok(()));
            }
            let read = match self.held.is_empty() {
                true => self.read_through(cx, buf)?,
                false => self.read_more(cx)?,
            };
            match read {
                Poll::Pending => return self.wait(cx),
                Poll::Ready(Read::End | Read::Given) => return Poll::Ready(Ok(())),
                Poll::Ready(Read::Held) => {}
            }
        }
    }

    /// Nothing comes: how long may that be?
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let in_head = self.scan.is_at_head();
        let patience = match in_head {
            true if !self.busy.is_heard() || !self.held.is_empty() => HEAD,
            true => IDLE,
            false => BODY,
        };
        self.busy.store(!in_head);
        self.busy.begun.store(in_head && !self.held.is_empty(), Ordering::Relaxed);
        let since = *self.reading.get_or_insert_with(clock::instant);
        if !self.alarm.is_over(cx, since + patience) {
            return Poll::Pending;
        }
        if !in_head {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the body does not come")));
        }
        // A client that has sent nothing is owed nothing.
        if !self.held.is_empty() {
            self.refused = Some((Refusal::TooSlow, asks_for_head(&self.held)));
        }
        Poll::Ready(Ok(()))
    }

    /// While an answer is on its way and hyper reads nothing: has the client left?
    fn look_for_end(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if !self.busy.is() || !self.scan.is_between() {
            return Ok(());
        }
        if matches!(self.end, End::Open) && self.read_ahead(cx)?.is_ready() {
            self.end = End::HalfClosed(clock::instant());
        }
        let is_endless = self.busy.endless.load(Ordering::Relaxed);
        match self.end {
            End::HalfClosed(since) if is_endless || self.alarm.is_over(cx, since + HALF_CLOSED) => {
                Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the client has left"))
            }
            _ => Ok(()),
        }
    }

    /// Ready at the client's last. What comes before it is held, for there is no other way to see behind it: a farewell of
    /// TLS lies in the socket like a request.
    fn read_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.held.len() < AHEAD {
            let mut piece = [MaybeUninit::uninit(); PIECE];
            let mut buf = ReadBuf::uninit(&mut piece);
            match ready!(Pin::new(&mut self.client).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => self.held.extend_from_slice(buf.filled()),
                // It ends without a farewell of TLS.
                Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Poll::Ready(Err(error)),
                _ => return Poll::Ready(Ok(())),
            }
        }
        Poll::Pending
    }

    /// After an attempt to write.
    fn written(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_pending() {
            let since = *self.writing.get_or_insert_with(clock::instant);
            let patience = if self.busy.is_viewer() { STUCK } else { STUCK_STRANGER };
            if self.alarm.is_over(cx, since + patience) {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")));
            }
            return written;
        }
        self.writing = None;
        if let End::HalfClosed(since) = &mut self.end {
            *since = clock::instant();
        }
        if !self.scan.is_at_head() {
            // Something moves, though it isn't the body.
            self.reading = None;
        }
        written
    }

    /// One step towards the end; what is late or fails is the end.
    fn leave(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let is_read = self.refused.is_none() && self.scan.is_between() && self.held.is_empty();
        let client = Pin::new(&mut self.client);
        let (next, until) = match &mut self.end {
            End::Open | End::HalfClosed(_) => {
                let until = clock::instant() + LINGER;
                return Poll::Ready(match self.refused {
                    Some((refusal, is_head)) => End::Saying(last_words(refusal, is_head), until),
                    None => End::Shutting(until),
                });
            }
            End::Saying(words, until) => {
                let said = client.poll_write(cx, words);
                let next = said.map(|said| match said {
                    Ok(said) if said == words.len() => End::Shutting(*until),
                    Ok(said @ 1..) => End::Saying(words.split_off(said), *until),
                    Ok(_) | Err(_) => End::Done,
                });
                (next, *until)
            }
            End::Shutting(until) => {
                let next = client.poll_shutdown(cx).map(|shut| match shut {
                    Ok(()) if !is_read => End::Lingering(LINGER_BYTES, *until),
                    Ok(()) | Err(_) => End::Done,
                });
                (next, *until)
            }
            End::Lingering(left, until) => {
                let mut piece = [0; 4 * PIECE];
                let mut buf = ReadBuf::new(&mut piece);
                let next = client.poll_read(cx, &mut buf).map(|read| match (read, buf.filled().len()) {
                    (Ok(()), read) if read > 0 && read < *left => End::Lingering(*left - read, *until),
                    _ => End::Done,
                });
                (next, *until)
            }
            End::Done => return Poll::Ready(End::Done),
        };
        match next {
            Poll::Pending if self.alarm.is_over(cx, until) => Poll::Ready(End::Done),
            next => next,
        }
    }
}

fn asks_for_head(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"HEAD ")
}

/// A refusal as a whole answer.
fn last_words(refusal: Refusal, is_head: bool) -> Bytes {
    let (status, sentence) = (refusal.status(), refusal.sentence());
    let length = sentence.len() + 1;
    let body = if is_head { String::new() } else { format!("{sentence}\n") };
    Bytes::from(format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\nx-content-type-options: nosniff\r\n\
         cache-control: no-store\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    ))
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(self.read(cx, buf))?;
        if buf.filled().len() > before {
            self.reading = None;
            self.busy.endless.store(false, Ordering::Relaxed);
            self.busy.heard.store(true, Ordering::Relaxed);
            self.busy.begun.store(false, Ordering::Relaxed);
            self.busy.store(true);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.client).poll_write(cx, buf);
        self.written(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.client).poll_write_vectored(cx, bufs);
        self.written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.client.is_write_vectored()
    }

    /// hyper flushes each time that it is polled, so also while it waits for an app and reads nothing.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.client).poll_flush(cx))?;
        Poll::Ready(self.look_for_end(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !matches!(self.end, End::Done) {
            self.end = ready!(self.leave(cx));
        }
        Poll::Ready(Ok(()))
    }
}
