//! What outlives an agent, in init's memory file: the state and where things are. One JSON value.

use super::place::Place;
use crate::model::space::Space;
use serde::{Deserialize, Serialize};

const VERSION: u32 = 1;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Snapshot {
    version: u32,
    pub(super) space: Space,
    pub(super) place: Place,
    /// How many of the signals that ask to stop, as init counts them, the state has taken in.
    pub(super) stops: u32,
}

impl Snapshot {
    pub(super) fn new(space: Space, place: Place, stops: u32) -> Snapshot {
        Snapshot { version: VERSION, space, place, stops }
    }

    /// `None` if it is of another form: then the agent begins anew, and ends what init has that nobody knows.
    pub(super) fn read(bytes: &[u8]) -> Option<Snapshot> {
        let snapshot: Snapshot = serde_json::from_slice(bytes).ok()?;
        (snapshot.version == VERSION).then_some(snapshot)
    }

    pub(super) fn bytes(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(self)
    }
}

#[cfg(test)]
mod tests;
