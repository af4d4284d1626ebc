//! The activity room: looks at every ready app at each tick and tells what it saw.
//!
//! It receives the apps to watch and the ticks over `watch` channels, sends one [`Reading`] per app and look, and stops
//! when told. It decides nothing: what a reading means for the space is the model's to say. A look that takes long
//! delays no other app's; an app whose last look has not ended is not looked at again. Its own requests never count as
//! activity.

mod kernels;
mod traffic;

pub use traffic::Traffic;

use crate::model::reading::Reading;
use crate::model::route::Upstream;
use crate::sys::stop::Stop;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};

/// An app with a kernels interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    pub app: String,
    pub socket: Upstream,
    /// The app's base path, as the app sees it; ends with `/`. Jupyter's interface is below `api/`.
    pub base_path: String,
    /// The uid under which the app runs: whoever answers on a unix socket must have it.
    pub uid: u32,
}

#[derive(Debug)]
pub struct Config {
    /// The ready apps that have a kernels interface.
    pub apps: watch::Receiver<Arc<Vec<Watched>>>,
    /// Each change is a look.
    pub ticks: watch::Receiver<u64>,
}

/// The room ended before it was told to.
#[derive(Debug)]
pub enum Error {
    /// Nobody gives ticks any more.
    NoTicks,
    /// Nobody takes readings any more.
    NoListener,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::NoTicks => "activity is watched no longer: the tick has ended",
            Error::NoListener => "activity is watched no longer: nobody takes the readings",
        })
    }
}

impl std::error::Error for Error {}

/// Runs until told to stop. Needs a runtime with time and net.
pub async fn run(mut config: Config, readings: mpsc::Sender<Reading>, mut stop: Stop) -> Result<(), Error> {
    let mut looks = Looks::default();
    loop {
        tokio::select! {
            // Cancel-safe: it waits for a state, not for a message.
            () = stop.wanted() => break,
            // Cancel-safe: a tick that is not taken is seen again.
            tick = config.ticks.changed() => {
                tick.map_err(|_| Error::NoTicks)?;
                looks.begin(&config.apps.borrow_and_update());
            }
            // Cancel-safe: a look that has ended stays in the set until it is taken.
            Some(reading) = looks.ended() => tokio::select! {
                () = stop.wanted() => break,
                // Not cancelled but by the end of the room.
                sent = readings.send(reading) => sent.map_err(|_| Error::NoListener)?,
            },
        }
    }
    looks.tasks.shutdown().await;
    Ok(())
}

/// The looks that are under way, one per app at most.
#[derive(Debug, Default)]
struct Looks {
    tasks: JoinSet<Reading>,
    apps: BTreeMap<Id, String>,
}

impl Looks {
    fn begin(&mut self, apps: &[Watched]) {
        for watched in apps {
            if !self.apps.values().any(|app| *app == watched.app) {
                let task = self.tasks.spawn(look(watched.clone()));
                self.apps.insert(task.id(), watched.app.clone());
            }
        }
    }

    /// The next reading; `None` while no look is under way.
    async fn ended(&mut self) -> Option<Reading> {
        let ended = self.tasks.join_next_with_id().await?;
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let app = self.apps.remove(&id).unwrap_or_default();
        // A look that panics is a source that can't be read, not the end of the room.
        Some(ended.map_or_else(
            |_| Reading { seen: Err(format!("looking at {app} failed: a mistake in the agent")), app: app.clone() },
            |(_, reading)| reading,
        ))
    }
}

async fn look(watched: Watched) -> Reading {
    Reading { seen: kernels::look(&watched).await, app: watched.app }
}

#[cfg(test)]
mod tests;
