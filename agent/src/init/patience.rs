//! When to try again what the machine had no room for: no process, no descriptor, no memory.

use crate::model::now::Monotonic;
use nix::errno::Errno;
use std::io;
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);

/// Waits longer after each failure, until something succeeds.
#[derive(Debug, Default)]
pub(super) struct Patience {
    wait: Duration,
    until: Monotonic,
}

impl Patience {
    pub(super) fn failed(&mut self, now: Monotonic) -> Monotonic {
        self.wait = (self.wait * 2).clamp(FIRST, LONGEST);
        self.until = now.plus(self.wait);
        self.until
    }

    /// Something has ended, which may have made room.
    pub(super) fn try_now(&mut self) {
        self.until = Monotonic(0);
    }

    pub(super) fn succeeded(&mut self) {
        *self = Patience::default();
    }

    /// True from the first failure on until something succeeds.
    pub(super) fn tried(&self) -> bool {
        !self.wait.is_zero()
    }

    pub(super) fn until(&self) -> Monotonic {
        self.until
    }
}

/// Whether there may be room later.
pub(super) fn no_room(error: &io::Error) -> bool {
    let room = [Errno::EAGAIN, Errno::ENOMEM, Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ETOOMANYREFS];
    error.raw_os_error().is_some_and(|number| room.contains(&Errno::from_raw(number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_doubles_the_wait_and_a_success_ends_it() {
        let mut patience = Patience::default();
        let waits: Vec<u64> = (0..8).map(|_| patience.failed(Monotonic(0)).0).collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1600, 2000, 2000]);
        assert!(patience.tried());
        patience.succeeded();
        assert!(!patience.tried());
        assert_eq!(patience.failed(Monotonic(7)), Monotonic(57));
    }
}
