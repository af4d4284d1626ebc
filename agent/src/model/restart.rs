//! When an app that ended is started again, and when it is given up. Pure.

use super::now::Monotonic;
use serde::{Deserialize, Serialize};
use space_lifecycle::AppRestart;
use std::time::Duration;

/// An app that has never been ready in this boot is given up sooner: it will hardly come by itself.
const MAX_BEFORE_READY: u32 = 2;

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
    /// Notes an end at `now` and decides: again after a wait that doubles with each end and has up to a quarter added,
    /// or not any more, if it ended more than `policy.max` times within `policy.within`. `chance` is any number; it
    /// picks what is added, so that many spaces that lost the same thing don't come back in step.
    pub fn ended(&mut self, now: Monotonic, policy: &AppRestart, chance: u64) -> Decision {
        self.ends.push(now);
        self.ends.retain(|end| now.since(*end) <= policy.within);
        let ends = u32::try_from(self.ends.len()).unwrap_or(u32::MAX);
        let max = if self.ever_ready { policy.max } else { policy.max.min(MAX_BEFORE_READY) };
        if ends > max {
            return Decision::GiveUp;
        }
        self.restarts += 1;
        let wait = policy.first_wait.saturating_mul(1 << (ends - 1).min(20)).min(policy.longest_wait);
        Decision::StartAgainAt(now.plus(wait + quarter(wait, chance)))
    }
}

/// Between nothing and a quarter of `wait`.
fn quarter(wait: Duration, chance: u64) -> Duration {
    let share = u32::try_from(chance % 1024).unwrap_or(0);
    wait * share / 4096
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> AppRestart {
        AppRestart::default()
    }

    #[test]
    fn an_app_that_never_was_ready_is_given_up_after_three_ends() {
        let mut history = History::default();
        assert_eq!(history.ended(Monotonic(0), &policy(), 0), Decision::StartAgainAt(Monotonic(1000)));
        assert_eq!(history.ended(Monotonic(2000), &policy(), 0), Decision::StartAgainAt(Monotonic(4000)));
        assert_eq!(history.ended(Monotonic(5000), &policy(), 0), Decision::GiveUp);
    }

    #[test]
    fn an_app_that_was_ready_is_started_again_five_times_in_five_minutes_and_old_ends_are_forgotten() {
        let mut history = History { ever_ready: true, ..History::default() };
        for i in 0..5 {
            assert!(matches!(history.ended(Monotonic(i * 1000), &policy(), i), Decision::StartAgainAt(_)));
        }
        assert_eq!(history.ended(Monotonic(6000), &policy(), 0), Decision::GiveUp);
        assert_eq!(history.ended(Monotonic(400_000), &policy(), 0), Decision::StartAgainAt(Monotonic(401_000)));
        assert_eq!(history.restarts, 6);
    }

    #[test]
    fn the_wait_doubles_up_to_the_longest_and_has_at_most_a_quarter_added() {
        let policy = AppRestart { max: 100, ..policy() };
        for chance in [0, 1, 512, 1023, u64::MAX] {
            let mut history = History { ever_ready: true, ..History::default() };
            for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
                let Decision::StartAgainAt(at) = history.ended(Monotonic(7), &policy, chance) else { panic!() };
                let (wait, least) = (at.0 - 7, expected * 1000);
                assert!((least..least + least / 4).contains(&wait), "{chance}: {wait} for {expected} s");
            }
        }
    }

    #[test]
    fn a_maximum_of_none_means_never_again() {
        let mut history = History { ever_ready: true, ..History::default() };
        assert_eq!(history.ended(Monotonic(0), &AppRestart { max: 0, ..policy() }, 0), Decision::GiveUp);
    }
}
