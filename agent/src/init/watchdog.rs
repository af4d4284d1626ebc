//! Bounds for an agent that hangs while the space is to end: a stop is answered, and an end that was promised comes.

use crate::model::now::Monotonic;
use std::time::Duration;

/// An agent that was asked to stop says within this how long it takes.
const ANSWER: Duration = Duration::from_secs(10);

/// What the agent gets beyond the time that it said, before init ends everything itself.
const GRACE: Duration = Duration::from_millis(250);

#[derive(Debug, Default)]
pub(super) struct Watchdog {
    /// When the present agent was asked to stop, or began as one that is to do nothing else.
    asked: Option<Monotonic>,
    promised: Option<Promise>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Promise {
    until: Monotonic,
    code: u8,
}

impl Watchdog {
    /// The clock runs from the first of several stops.
    pub(super) fn stop_asked(&mut self, now: Monotonic) {
        self.asked.get_or_insert(now);
    }

    /// A new agent has its own time to answer.
    pub(super) fn agent_started(&mut self, must_stop: bool, now: Monotonic) {
        self.asked = must_stop.then_some(now);
    }

    /// The agent's word, which also binds the agents after it.
    pub(super) fn promise(&mut self, within: Duration, code: u8, now: Monotonic) {
        self.promised = Some(Promise { until: now.plus(within).plus(GRACE), code });
    }

    pub(super) fn ending(&self) -> bool {
        self.promised.is_some()
    }

    /// The code with which init ends everything now.
    pub(super) fn overdue(&self, now: Monotonic) -> Option<u8> {
        self.promised.filter(|promise| promise.until <= now).map(|promise| promise.code)
    }

    /// When an agent that has not answered is killed; `None` if it has nothing to answer.
    pub(super) fn answer_until(&self) -> Option<Monotonic> {
        self.asked.filter(|_| self.promised.is_none()).map(|asked| asked.plus(ANSWER))
    }

    pub(super) fn ends_at(&self) -> Option<Monotonic> {
        self.promised.map(|promise| promise.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promised_end_comes_with_its_code_and_a_later_promise_counts() {
        let mut watchdog = Watchdog::default();
        watchdog.promise(Duration::from_secs(20), 0, Monotonic(0));
        watchdog.promise(Duration::from_secs(1), 4, Monotonic(500));
        assert_eq!(watchdog.overdue(Monotonic(1749)), None);
        assert_eq!(watchdog.overdue(Monotonic(1750)), Some(4));
    }

    #[test]
    fn an_answer_is_due_ten_seconds_after_the_first_stop_and_anew_for_each_agent() {
        let mut watchdog = Watchdog::default();
        assert_eq!(watchdog.answer_until(), None);
        watchdog.stop_asked(Monotonic(1000));
        watchdog.stop_asked(Monotonic(5000));
        assert_eq!(watchdog.answer_until(), Some(Monotonic(11_000)));
        watchdog.agent_started(true, Monotonic(11_000));
        assert_eq!(watchdog.answer_until(), Some(Monotonic(21_000)));
        watchdog.promise(Duration::from_secs(60), 0, Monotonic(12_000));
        assert_eq!(watchdog.answer_until(), None);
    }

    #[test]
    fn a_promise_without_end_never_comes_due() {
        let mut watchdog = Watchdog::default();
        watchdog.promise(Duration::from_millis(u64::MAX), 0, Monotonic(5));
        assert_eq!(watchdog.overdue(Monotonic(u64::MAX - 1)), None);
    }
}
