//! Two upgraded connections joined: bytes pass both ways unchanged, and their frames are followed.
//!
//! An idle tunnel costs two sockets and a task: bytes are read into one scratch buffer of the thread, and only what the
//! other side can't take at once is kept, for one direction at most one buffer's worth. There is no timer: the pulse
//! says when a client was silent for long, and when it is over.

use super::client::Client;
use super::flow::{self, Broken, Flow, ROOM};
use super::frames::{self, Frames, GOING_AWAY, Sign};
use super::observer::Observer;
use super::pulse::{Presence, Word};
use super::stream::Stream;
use super::turn::rest;
use super::watched::Watched;
use crate::model::traffic::{NO_CLOSE, Side, Speech, Way};
use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::timeout;
use tracing::debug;

/// What one tunnel may copy in one direction before others have their turn.
const TURN: usize = 4 * flow::SCRATCH;
/// How long the client's connection has to come out of hyper's hands.
const HAND_OVER: Duration = Duration::from_secs(5);
/// What a client gets to take in the last frame.
const LAST_FRAME: Duration = Duration::from_millis(300);
/// Times that a client may leave us without a sign of life before it is gone.
const PATIENCE: u8 = 3;

/// A WebSocket that both sides have agreed to, before its connections are free.
#[derive(Debug)]
pub(super) struct Agreed {
    pub(super) client: OnUpgrade,
    /// And what it has said already.
    pub(super) app: (Stream, Bytes),
    pub(super) presence: Presence,
    /// How the client's messages are told apart.
    pub(super) speech: Option<Speech>,
}

/// Both ends, free of HTTP, each with what was read too much of it.
#[derive(Debug)]
struct Tunnel {
    client: Client,
    app: Stream,
    to_app: ToApp,
    to_client: ToClient,
    presence: Presence,
    /// Times that the client was asked or waited for in vain.
    missed: u8,
    /// The client has taken bytes since it was missed last.
    took: bool,
}

/// From the client to the app.
#[derive(Debug)]
struct ToApp {
    flow: Flow,
    observer: Observer,
}

/// From the app to the client.
#[derive(Debug)]
struct ToClient {
    flow: Flow,
    frames: Frames,
    /// A frame of our own, for the next gap between two of the app's.
    own: Option<Own>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Own {
    Ping,
    /// The last that the client gets.
    Close(u16),
}

impl Agreed {
    /// Joins the two until they end; the presence counts it.
    pub(super) async fn join(self) {
        // Boxed, so that a tunnel that lives for days doesn't keep the room that the handing over needed.
        let Some(mut tunnel) = Box::pin(self.open()).await else { return };
        if poll_fn(|cx| tunnel.poll(cx)).await {
            // Whoever is slow or gone has an end too.
            let _ = timeout(LAST_FRAME, poll_fn(|cx| tunnel.poll_last(cx))).await;
        }
    }

    /// Waits until hyper lets go of the client. `None`: it has ended instead.
    async fn open(self) -> Option<Tunnel> {
        let Agreed { client, app: (app, from_app), mut presence, speech } = self;
        let client = timeout(HAND_OVER, client).await.ok()?.ok()?;
        // hyper has read nothing beyond the handshake: what there is was held back from it.
        let client = client.downcast::<TokioIo<Watched>>().ok()?.io;
        let (client, from_client) = client.into_inner().into_inner();
        presence.opened();
        let mut observer = Observer::new(speech);
        let mut early = [&[0; ROOM], &*from_client].concat();
        // Before the first ping all of it goes on.
        observer.pass(&mut early, |class| presence.traffic().message(class));
        let mut frames = Frames::of_app();
        frames.passed(&from_app);
        Some(Tunnel {
            client,
            app,
            to_app: ToApp { flow: Flow::new(from_client), observer },
            to_client: ToClient { flow: Flow::new(from_app), frames, own: None },
            presence,
            missed: 0,
            took: false,
        })
    }
}

impl Tunnel {
    /// Copies until both sides are done (false) or it is to be ended (true).
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        match self.presence.listen(cx.waker()) {
            None => {}
            Some(Word::End(code)) => {
                self.end(code);
                return Poll::Ready(true);
            }
            Some(Word::Silence) if self.is_gone() => {
                self.presence.ends(Side::Client, NO_CLOSE);
                return Poll::Ready(false);
            }
            Some(Word::Silence) => {}
        }
        self.poll_both(cx).map(|()| false)
    }

    fn poll_both(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let there = self.poll_to_app(cx);
        match self.poll_to_client(cx) {
            // Without the client there is nothing to be done for anyone.
            Poll::Ready(Err(error)) => {
                debug!(%error, "a client's WebSocket broke off");
                self.presence.ends(Side::Client, NO_CLOSE);
                Poll::Ready(())
            }
            Poll::Ready(Ok(())) => there,
            Poll::Pending => Poll::Pending,
        }
    }

    /// Copies on until the client has its last frame.
    fn poll_last(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let _ = self.poll_to_app(cx);
        self.poll_to_client(cx).map(|_| ())
    }

    fn poll_to_app(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match ready!(self.copy_to_app(cx)) {
            Ok(()) => {}
            // The app takes no more; what it has said already is still on its way to the client.
            Err(Broken::Writer(error)) => debug!(%error, "an app does not take what its WebSocket says"),
            Err(Broken::Reader(error)) => {
                debug!(%error, "a client's WebSocket broke off");
                self.presence.ends(Side::Client, NO_CLOSE);
                self.to_client.flow.abandon();
            }
        }
        self.to_app.flow.abandon();
        Poll::Ready(())
    }

    fn copy_to_app(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let Tunnel { client, app, to_app: ToApp { flow, observer }, presence, missed, .. } = self;
        let mut turn = TURN;
        loop {
            if ready!(flow.poll_write(cx, app)).map_err(Broken::Writer)? {
                return Poll::Ready(Ok(()));
            }
            if turn == 0 {
                return rest(cx);
            }
            let follow = |buffer: &mut [u8]| observer.pass(buffer, |class| presence.traffic().message(class));
            let read = ready!(flow.poll_pass(cx, client, app, follow))?;
            if read == 0 {
                presence.ends(Side::Client, NO_CLOSE);
                flow.last(observer.last());
                continue;
            }
            *missed = 0;
            presence.heard();
            presence.traffic().passed(Way::ToApp, read as u64);
            if let Some(code) = observer.frames.closed() {
                presence.ends(Side::Client, code);
            }
            turn = turn.saturating_sub(read);
        }
    }

    fn poll_to_client(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut turn = TURN;
        loop {
            let before = self.to_client.flow.held();
            let written = self.to_client.flow.poll_write(cx, &mut self.client);
            self.took |= self.to_client.flow.held() < before;
            if ready!(written)? {
                return Poll::Ready(Ok(()));
            }
            if self.to_client.put_own(&mut self.to_app.observer, self.presence.sign()) {
                continue;
            }
            if turn == 0 {
                return rest(cx);
            }
            let read = match ready!(self.copy_to_client(cx)) {
                Ok(read) => read,
                Err(Broken::Writer(error)) => return Poll::Ready(Err(error)),
                // As if it had ended: the client is told all the same.
                Err(Broken::Reader(error)) => {
                    debug!(%error, "an app's WebSocket broke off");
                    0
                }
            };
            if read == 0 {
                self.presence.ends(Side::App, NO_CLOSE);
                self.to_client.app_ended(self.to_app.observer.frames.closed().is_some());
                continue;
            }
            self.took |= self.to_client.flow.held() < read;
            self.presence.traffic().passed(Way::ToClient, read as u64);
            if let Some(code) = self.to_client.frames.closed() {
                self.presence.ends(Side::App, code);
            }
            turn = turn.saturating_sub(read);
        }
    }

    fn copy_to_client(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Broken>> {
        let Tunnel { client, app, to_app, to_client, presence, .. } = self;
        let ToClient { flow, frames, own } = to_client;
        if own.is_none() {
            return flow.poll_pass(cx, app, client, |buffer| {
                frames.passed(&buffer[ROOM..]);
                ROOM..buffer.len()
            });
        }
        // In the middle of a frame, whose end may be in what comes next: there ours goes between.
        let mut ends = false;
        let read = ready!(flow.poll_hold(cx, app, |read| {
            let Some(gap) = frames.pass_to_gap(read) else { return read.to_vec() };
            let (before, behind) = read.split_at(gap);
            let mut bytes = before.to_vec();
            bytes.extend(put(frames, own, &mut to_app.observer, presence.sign(), &mut ends));
            if !ends {
                frames.passed(behind);
                bytes.extend(behind);
            }
            bytes
        }));
        if ends {
            flow.last(&[]);
        }
        Poll::Ready(read)
    }

    /// The client said nothing for a while: asks it, and says whether it was asked too often already.
    fn is_gone(&mut self) -> bool {
        let Tunnel { to_app, to_client, missed, took, .. } = self;
        let flows = to_app.flow.is_open() && to_client.flow.is_open();
        let life = if flows && to_app.observer.frames.is_open() && to_client.frames.is_open() {
            // A ping that still waits for the end of a long frame, of which the client takes more and more.
            let waits = to_client.own.replace(Own::Ping).is_some();
            waits && *took
        } else if flows && to_app.observer.frames.closed().or(to_client.frames.closed()).is_none() {
            // Nobody knows where a ping could go.
            *took || to_client.flow.held() == 0
        } else {
            // One side has said its last; the other one doesn't take for ever.
            *took
        };
        *took = false;
        *missed = if life { 0 } else { *missed + 1 };
        *missed > PATIENCE
    }

    /// Says the last to both, where frames end.
    fn end(&mut self, code: u16) {
        self.presence.ends(Side::Agent, code);
        let Tunnel { to_app, to_client, .. } = self;
        to_client.own = Some(Own::Close(code));
        let between = to_app.observer.is_between() && to_app.observer.frames.is_open();
        let last = between.then(|| frames::close_masked(code));
        to_app.flow.last(last.as_ref().map_or(&[], |last| last));
    }
}

impl ToClient {
    /// Puts a frame of our own behind what was read, if there is one and it may go there. True: something has changed.
    fn put_own(&mut self, observer: &mut Observer, sign: &Sign) -> bool {
        let ToClient { flow, frames, own } = self;
        if own.is_none() || !flow.is_open() || !frames.is_between() {
            return false;
        }
        let mut ends = false;
        flow.append(&put(frames, own, observer, sign, &mut ends));
        if ends {
            flow.last(&[]);
        }
        true
    }

    /// An app that is gone without a word has its last one said for it, unless the client has `closed` itself.
    fn app_ended(&mut self, closed: bool) {
        let between = !closed && self.frames.is_between() && self.frames.is_open();
        let last = between.then(|| frames::close(GOING_AWAY));
        self.flow.last(last.as_ref().map_or(&[], |last| last));
    }
}

/// The frame of our own that goes into a gap; none where the app has closed already. `ends`: it is the last.
fn put(frames: &Frames, own: &mut Option<Own>, observer: &mut Observer, sign: &Sign, ends: &mut bool) -> Vec<u8> {
    let own = own.take();
    *ends = matches!(own, Some(Own::Close(_)));
    match own.filter(|_| frames.is_open()) {
        None => Vec::new(),
        Some(Own::Ping) => {
            observer.expect(sign);
            frames::ping(sign).to_vec()
        }
        Some(Own::Close(code)) => frames::close(code).to_vec(),
    }
}
