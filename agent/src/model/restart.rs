//! When an app that ended is started again, and when it is given up. Pure.

use super::now::Monotonic;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// An app may end this often within [`WITHIN`] before it is given up.
const MAX: usize = 5;
const WITHIN: Duration = Duration::from_secs(300);
/// An app that has never been ready in this boot is given up sooner: it will hardly come by itself.
const MAX_BEFORE_READY: usize = 3;
const LONGEST: Duration = Duration::from_secs(60);

/// The moments at which an app ended by itself, and whether it ever was ready.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    ends: Vec<Monotonic>,
    pub ever_ready: bool,
    /// All restarts since the boot.
    pub restarts: u32,
}

/// What becomes of an app that has ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Not before this moment: the backoff.
    StartAgainAt(Monotonic),
    /// It ended too often: it won't come by itself any more.
    GiveUp,
}

impl History {
    /// Notes an end at `now` and decides: again after 1 s doubling to 60 s, or not any more.
    pub fn ended(&mut self, now: Monotonic) -> Decision {
        self.ends.push(now);
        self.ends.retain(|end| now.since(*end) <= WITHIN);
        let ends = self.ends.len();
        if ends >= if self.ever_ready { MAX } else { MAX_BEFORE_READY } {
            return Decision::GiveUp;
        }
        self.restarts += 1;
        let wait = Duration::from_secs(1 << (ends - 1).min(6)).min(LONGEST);
        Decision::StartAgainAt(now.plus(wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_that_never_was_ready_is_given_up_after_three_ends() {
        let mut history = History::default();
        assert_eq!(history.ended(Monotonic(0)), Decision::StartAgainAt(Monotonic(1000)));
        assert_eq!(history.ended(Monotonic(2000)), Decision::StartAgainAt(Monotonic(4000)));
        assert_eq!(history.ended(Monotonic(5000)), Decision::GiveUp);
    }

    #[test]
    fn an_app_that_was_ready_gets_five_tries_in_five_minutes_and_old_ends_are_forgotten() {
        let mut history = History { ever_ready: true, ..History::default() };
        for i in 0..4 {
            assert!(matches!(history.ended(Monotonic(i * 1000)), Decision::StartAgainAt(_)));
        }
        assert_eq!(history.ended(Monotonic(5000)), Decision::GiveUp);
        assert_eq!(history.ended(Monotonic(400_000)), Decision::StartAgainAt(Monotonic(401_000)));
    }
}
