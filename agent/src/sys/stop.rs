//! How a room is told to stop, and by when: one `watch` channel, sent once.

use tokio::sync::watch;
use tokio::time::Instant;

#[derive(Debug, Clone, Copy)]
enum Wish {
    GoOn,
    /// By then, if it is said, nobody waits for the room any more.
    Stop(Option<Instant>),
}

/// Held by whoever drains the rooms.
#[derive(Debug)]
pub struct StopSwitch(watch::Sender<Wish>);

/// Held by a room; cheap to clone.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<Wish>);

pub fn stop() -> (StopSwitch, Stop) {
    let (sender, receiver) = watch::channel(Wish::GoOn);
    (StopSwitch(sender), Stop(receiver))
}

impl StopSwitch {
    pub fn stop(&self) {
        self.0.send_replace(Wish::Stop(None));
    }

    pub fn stop_by(&self, until: Instant) {
        self.0.send_replace(Wish::Stop(Some(until)));
    }
}

impl Stop {
    /// Returns once the room is to stop, or whoever could tell it is gone. Cancel-safe.
    pub async fn wanted(&mut self) {
        // An error means that the switch was dropped: nobody is left to serve.
        let _ = self.0.wait_for(|wish| matches!(wish, Wish::Stop(_))).await;
    }

    pub fn is_wanted(&self) -> bool {
        matches!(*self.0.borrow(), Wish::Stop(_))
    }

    /// By when the room is to have ended, once it is to stop and if there is such a time.
    pub fn until(&self) -> Option<Instant> {
        match *self.0.borrow() {
            Wish::Stop(until) => until,
            Wish::GoOn => None,
        }
    }
}
