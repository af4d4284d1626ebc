//! How a room is told to stop: one `watch` channel, sent once.

use tokio::sync::watch;

/// Held by whoever drains the rooms.
#[derive(Debug)]
pub struct StopSwitch(watch::Sender<bool>);

/// Held by a room; cheap to clone.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<bool>);

pub fn stop() -> (StopSwitch, Stop) {
    let (sender, receiver) = watch::channel(false);
    (StopSwitch(sender), Stop(receiver))
}

impl StopSwitch {
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Stop {
    /// Returns once the room is to stop, or whoever could tell it is gone. Cancel-safe.
    pub async fn wanted(&mut self) {
        // An error means that the switch was dropped: nobody is left to serve.
        let _ = self.0.wait_for(|stop| *stop).await;
    }

    pub fn is_wanted(&self) -> bool {
        *self.0.borrow()
    }
}
