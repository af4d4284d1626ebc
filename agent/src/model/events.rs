//! What has happened in the space that a person may want to know later: a short list, kept with the state.
//!
//! Not the log, and not every turn: a crash, a memory limit, a change of mode, what was left uncommitted. Names of
//! notebooks appear in it: it is for the space's own user and its operator.

use super::now::{Now, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use utoipa::ToSchema;

/// The most that are kept.
const KEPT: usize = 100;
/// The longest text in bytes.
const LONGEST: usize = 2000;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EventStatus {
    /// Rising by one with each; also over crashes of the agent.
    pub seq: u64,
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Something went wrong.
    pub failure: bool,
    /// One plain sentence.
    pub text: String,
}

/// The last of them, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Events {
    next: u64,
    list: VecDeque<EventStatus>,
}

impl Events {
    pub fn tell(&mut self, now: Now, failure: bool, text: impl Into<String>) {
        let mut text = text.into();
        if text.len() > LONGEST {
            let end = (0..=LONGEST).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
            text.truncate(end);
        }
        self.next += 1;
        self.list.push_back(EventStatus { seq: self.next, at: now.wall, failure, text });
        if self.list.len() > KEPT {
            self.list.pop_front();
        }
    }

    pub fn list(&self) -> impl Iterator<Item = &EventStatus> {
        self.list.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::now::Monotonic;

    #[test]
    fn the_last_hundred_are_kept_and_their_numbers_rise_on() {
        let now = Now { monotonic: Monotonic(0), wall: Timestamp(0), boot_id: 0 };
        let mut events = Events::default();
        for number in 0..250 {
            events.tell(now, false, format!("number {number}"));
        }
        let all: Vec<_> = events.list().collect();
        assert_eq!((all.len(), all[0].seq, all[99].seq), (100, 151, 250));
        events.tell(now, true, "ä".repeat(5000));
        assert_eq!(events.list().last().map(|event| event.text.len()), Some(2000));
    }
}
