//! What all WebSockets have in common: one beat that looks for silent clients and sessions at their end, and the word
//! that ends them. Without a WebSocket there is no timer.

use super::frames::{GOING_AWAY, POLICY, Sign};
use crate::model::now::{Now, Timestamp};
use crate::model::route::{Door, Route, RouteState, Upstream};
use crate::model::traffic::{Close, NO_CLOSE, Side, Traffic};
use crate::sys::keys::new_id;
use futures_util::task::AtomicWaker;
use std::fmt;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::debug;

const BEAT: Duration = Duration::from_secs(10);
/// Beats without a byte from a client after which it is asked whether it is there, again and again.
const SILENT: u32 = 3;
/// So many are woken at a time, and so long apart, that others' messages pass in between.
const CROWD: usize = 64;
const APART: Duration = Duration::from_millis(20);

/// Shared by all WebSockets of a front door.
pub(super) struct Pulse {
    tunnels: Mutex<Tunnels>,
    opened: Notify,
    /// Beats since the start.
    beat: AtomicU32,
    now: fn() -> Now,
    /// What our pings carry.
    pub(super) sign: Sign,
}

#[derive(Default)]
struct Tunnels {
    lives: Vec<Arc<Life>>,
    /// Said to whoever comes now.
    ended: bool,
}

/// What is known of a WebSocket outside of its task.
struct Life {
    /// Its place in the list, which is changed under the list's lock.
    nth: AtomicUsize,
    waker: AtomicWaker,
    /// The beat at which the client said something last.
    heard: AtomicU32,
    /// What its task is to be told: [`NOTHING`], [`SILENCE`] or a close code.
    told: AtomicU16,
    /// When the viewer's session ends.
    expires: Option<Timestamp>,
    place: Place,
    traffic: Arc<Traffic>,
}

const NOTHING: u16 = 0;
const SILENCE: u16 = 1;

/// Who is at the other end.
enum Place {
    /// An app of the table. Another one under the same name is another one.
    App { target: Upstream, uid: u32 },
    /// What the user runs on a port.
    Port { uid: u32 },
}

/// What a WebSocket's task is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// Nothing came from the client for a while.
    Silence,
    /// To end, with this code.
    End(u16),
}

/// A WebSocket among all of them. Dropped with it, which counts its end.
pub(super) struct Presence {
    pulse: Arc<Pulse>,
    life: Arc<Life>,
    /// It was open: its end counts.
    open: bool,
    close: Option<Close>,
}

impl Pulse {
    pub(super) fn new(now: fn() -> Now) -> Pulse {
        let mut sign = Sign::default();
        let id = new_id(sign.len());
        sign.iter_mut().zip(id.bytes()).for_each(|(place, byte)| *place = byte);
        let tunnels = Mutex::new(Tunnels::default());
        Pulse { tunnels, opened: Notify::new(), beat: AtomicU32::new(0), now, sign }
    }

    fn tunnels(&self) -> MutexGuard<'_, Tunnels> {
        // A list is whole at every moment, whoever panicked beside it.
        self.tunnels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Beats while there are WebSockets. Never returns.
    pub(super) async fn beats(&self) {
        loop {
            while self.tunnels().lives.is_empty() {
                self.opened.notified().await;
            }
            sleep(BEAT).await;
            let due = self.look();
            for (nth, crowd) in due.chunks(CROWD).enumerate() {
                if nth > 0 {
                    sleep(APART).await;
                }
                crowd.iter().for_each(|life| life.waker.wake());
            }
        }
    }

    /// Tells those that there is something to tell, and returns them.
    fn look(&self) -> Vec<Arc<Life>> {
        let beat = self.beat.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let wall = (self.now)().wall;
        let told = |life: &&Arc<Life>| {
            if life.expires.is_some_and(|end| wall >= end) {
                return life.tell(POLICY);
            }
            let silent = beat.wrapping_sub(life.heard.load(Ordering::Relaxed));
            silent > 0 && silent.is_multiple_of(SILENT) && life.tell(SILENCE)
        };
        self.tunnels().lives.iter().filter(told).cloned().collect()
    }

    /// Takes in a WebSocket to the app of `route`. `door` is the table as it is now.
    pub(super) fn presence(self: &Arc<Pulse>, door: &Door, route: &Route, expires: Option<Timestamp>) -> Presence {
        let life = Arc::new(Life {
            nth: AtomicUsize::new(0),
            waker: AtomicWaker::new(),
            heard: AtomicU32::new(self.beat.load(Ordering::Relaxed)),
            told: AtomicU16::new(NOTHING),
            expires,
            place: match route.port {
                Some(_) => Place::Port { uid: route.uid },
                None => Place::App { target: route.upstream.clone(), uid: route.uid },
            },
            traffic: route.traffic.clone(),
        });
        let mut tunnels = self.tunnels();
        // The table may have changed while the app was asked.
        if tunnels.ended || !life.place.is_ready(door) {
            life.tell(GOING_AWAY);
        }
        life.nth.store(tunnels.lives.len(), Ordering::Relaxed);
        tunnels.lives.push(life.clone());
        self.opened.notify_one();
        Presence { pulse: self.clone(), life, open: false, close: None }
    }

    /// Ends the WebSockets to apps that are no longer behind this door, or not ready.
    pub(super) fn keep_only(&self, door: &Door) {
        let gone: Vec<_> = {
            let tunnels = self.tunnels();
            tunnels.lives.iter().filter(|life| !life.place.is_ready(door)).cloned().collect()
        };
        gone.iter().filter(|life| life.tell(GOING_AWAY)).for_each(|life| life.waker.wake());
    }

    /// Ends all of them, also those that are about to be opened.
    pub(super) fn end(&self) {
        let lives = {
            let mut tunnels = self.tunnels();
            tunnels.ended = true;
            tunnels.lives.clone()
        };
        lives.iter().filter(|life| life.tell(GOING_AWAY)).for_each(|life| life.waker.wake());
    }
}

impl Tunnels {
    fn leave(&mut self, nth: usize) {
        self.lives.swap_remove(nth);
        if let Some(moved) = self.lives.get(nth) {
            moved.nth.store(nth, Ordering::Relaxed);
        }
        if self.lives.is_empty() {
            self.lives = Vec::new();
        }
    }
}

impl Life {
    /// An end is never taken back. True: there is something new.
    fn tell(&self, word: u16) -> bool {
        self.told.fetch_update(Ordering::AcqRel, Ordering::Acquire, |told| (told < word).then_some(word)).is_ok()
    }
}

impl Place {
    fn is_ready(&self, door: &Door) -> bool {
        let is_ready = |state| state == RouteState::Ready;
        match self {
            Place::App { target, uid } => {
                let is_this = |route: &Route| route.upstream == *target && route.uid == *uid;
                door.routes.iter().any(|route| is_this(route) && is_ready(route.state))
            }
            Place::Port { uid } => door.ports.uid == *uid && is_ready(door.ports.state),
        }
    }
}

impl Presence {
    /// The WebSocket is open: from now on its end is counted.
    pub(super) fn opened(&mut self) {
        self.life.traffic.tunnel_opened();
        self.open = true;
    }

    /// One side ends it. The first word counts: what follows is the answer.
    pub(super) fn ends(&mut self, by: Side, code: u16) {
        if self.close.is_none() {
            debug!(side = by.name(), code, "a WebSocket ends");
            self.close = Some(Close { by, code });
        }
    }

    pub(super) fn traffic(&self) -> &Traffic {
        &self.life.traffic
    }

    pub(super) fn sign(&self) -> &Sign {
        &self.pulse.sign
    }

    /// The client has said something.
    pub(super) fn heard(&self) {
        self.life.heard.store(self.pulse.beat.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// What there is to hear. `waker` is woken at the next word.
    pub(super) fn listen(&self, waker: &Waker) -> Option<Word> {
        self.life.waker.register(waker);
        let told = &self.life.told;
        match told.load(Ordering::Acquire) {
            NOTHING => None,
            SILENCE => {
                // An end that was said in between stays.
                let heard = told.compare_exchange(SILENCE, NOTHING, Ordering::AcqRel, Ordering::Acquire);
                Some(heard.map_or_else(Word::End, |_| Word::Silence))
            }
            code => Some(Word::End(code)),
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.pulse.tunnels().leave(self.life.nth.load(Ordering::Relaxed));
        if self.open {
            // Cut before anyone said a word: the door closes.
            let close = self.close.unwrap_or(Close { by: Side::Agent, code: NO_CLOSE });
            self.life.traffic.tunnel_closed(close);
        }
    }
}

impl fmt::Debug for Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pulse").field("tunnels", &self.tunnels().lives.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presence").field("close", &self.close).finish_non_exhaustive()
    }
}
