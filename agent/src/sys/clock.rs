//! The only place that asks for the time.

use crate::model::now::{Monotonic, Now, Timestamp};
use nix::time::{ClockId, clock_gettime};
use std::sync::OnceLock;
use std::time::Duration;

/// The time on both clocks. CLOCK_MONOTONIC stands still while the machine is suspended, so that a suspended machine
/// does not wake up idle for hours.
pub fn now() -> Now {
    Now { monotonic: monotonic(), wall: Timestamp(millis(ClockId::CLOCK_REALTIME)), boot_id: boot_id() }
}

/// Now, on the clock of the runtime's timers: for waits that begin here and end at a timer.
pub fn instant() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// Milliseconds on the machine's monotonic clock.
pub fn monotonic() -> Monotonic {
    Monotonic(millis(ClockId::CLOCK_MONOTONIC))
}

fn millis(clock: ClockId) -> u64 {
    let time = clock_gettime(clock).expect("both clocks exist on every Linux");
    u64::try_from(Duration::from(time).as_millis()).unwrap_or(u64::MAX)
}

/// Of the machine's boot, read once. 0 if the kernel does not tell: then only this process's life counts as one boot.
fn boot_id() -> u64 {
    static BOOT_ID: OnceLock<u64> = OnceLock::new();
    *BOOT_ID.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let digits: String = text.chars().filter(char::is_ascii_hexdigit).take(16).collect();
        u64::from_str_radix(&digits, 16).unwrap_or(0)
    })
}
