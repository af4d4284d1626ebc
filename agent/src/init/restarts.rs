//! When a crashed agent is started again, and when no more: at once, then after 1 s doubling to 60 s.

use crate::model::now::Monotonic;
use std::collections::VecDeque;
use std::time::Duration;

const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// An agent that lived this long was healthy: the backoff begins anew.
pub(super) const HEALTHY: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Restarts {
    crashes: VecDeque<Monotonic>,
    backoff: Duration,
    max: usize,
    within: Duration,
}

impl Default for Restarts {
    fn default() -> Restarts {
        Restarts { crashes: VecDeque::new(), backoff: Duration::ZERO, max: 5, within: Duration::from_secs(600) }
    }
}

impl Restarts {
    pub(super) fn set_policy(&mut self, max: u32, within: Duration) {
        self.max = max as usize;
        self.within = within;
    }

    /// How long to wait after this crash of an agent that had `lived` so long; an error says that it was one too many.
    /// `random` spreads the starts of many spaces that crash for one reason: the wait is up to a quarter longer.
    pub(super) fn crashed(&mut self, lived: Duration, now: Monotonic, random: u64) -> Result<Duration, String> {
        if lived >= HEALTHY {
            self.backoff = Duration::ZERO;
        }
        self.crashes.push_back(now);
        while self.crashes.front().is_some_and(|crash| now.since(*crash) > self.within) {
            self.crashes.pop_front();
        }
        if self.crashes.len() > self.max {
            let (times, within, max) = (self.crashes.len(), self.within.as_secs(), self.max);
            return Err(format!("the agent crashed {times} times within {within} s (agent.restart allows {max})"));
        }
        let wait = self.backoff + jitter(self.backoff, random);
        self.backoff = (self.backoff * 2).clamp(Duration::from_secs(1), LONGEST_BACKOFF);
        Ok(wait)
    }
}

fn jitter(wait: Duration, random: u64) -> Duration {
    let share = u32::try_from(random % 1001).unwrap_or(0);
    wait / 4 * share / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_secs(1);

    #[test]
    fn a_crashed_agent_comes_back_at_once_then_after_a_doubling_wait_until_it_is_too_often() {
        let mut restarts = Restarts::default();
        let waits: Vec<_> = (0..5).map(|_| restarts.crashed(SHORT, Monotonic(2000), 0).unwrap().as_secs()).collect();
        assert_eq!(waits, [0, 1, 2, 4, 8]);
        let told = restarts.crashed(SHORT, Monotonic(2000), 0).unwrap_err();
        assert_eq!(told, "the agent crashed 6 times within 600 s (agent.restart allows 5)");
    }

    #[test]
    fn the_wait_is_up_to_a_quarter_longer_and_ends_at_a_minute() {
        let mut restarts = Restarts::default();
        restarts.set_policy(100, Duration::from_secs(600));
        assert_eq!(restarts.crashed(SHORT, Monotonic(0), 1000), Ok(Duration::ZERO));
        assert_eq!(restarts.crashed(SHORT, Monotonic(0), 1000), Ok(Duration::from_millis(1250)));
        assert_eq!(restarts.crashed(SHORT, Monotonic(0), 500), Ok(Duration::from_millis(2250)));
        let last = (0..10).map(|_| restarts.crashed(SHORT, Monotonic(0), 0)).last();
        assert_eq!(last, Some(Ok(LONGEST_BACKOFF)));
    }

    #[test]
    fn old_crashes_are_forgotten_and_health_resets_the_backoff() {
        let mut restarts = Restarts::default();
        for minute in 1..20 {
            let wait = restarts.crashed(Duration::from_secs(200), Monotonic(minute * 200_000), 1000);
            assert_eq!(wait, Ok(Duration::ZERO));
        }
    }
}
