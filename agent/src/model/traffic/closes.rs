//! How WebSockets end: who ended one and with which code (RFC 6455, section 7.4), in a fixed set of counters.

use std::sync::atomic::{AtomicU64, Ordering};

/// Who ended a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Client,
    App,
    /// The front door: the space or its app ends, the viewer's session is over, or the client is gone.
    Agent,
}

/// The end of a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Close {
    pub by: Side,
    /// [`NO_CODE`] and [`NO_CLOSE`] stand for what was not said.
    pub code: u16,
}

/// The close frame had no code in it.
pub const NO_CODE: u16 = 1005;
/// There was no close frame: the connection ended.
pub const NO_CLOSE: u16 = 1006;

/// Codes that are counted by themselves.
const CODES: [u16; 12] = [1000, 1001, 1002, 1003, NO_CODE, NO_CLOSE, 1007, 1008, 1009, 1010, 1011, 1012];
/// What they, a code of the app's own (3000 to 4999) and any other are called in metrics.
const LABELS: [&str; CODES.len() + 2] = [
    "1000",
    "1001",
    "1002",
    "1003",
    "1005",
    "1006",
    "1007",
    "1008",
    "1009",
    "1010",
    "1011",
    "1012",
    "3000-4999",
    "other",
];
const SIDES: [Side; 3] = [Side::Client, Side::App, Side::Agent];

impl Side {
    /// As metrics and sentences name it.
    pub fn name(self) -> &'static str {
        match self {
            Side::Client => "client",
            Side::App => "app",
            Side::Agent => "agent",
        }
    }
}

/// Counters of ends, by side and code.
#[derive(Debug, Default)]
pub(super) struct Closes {
    counts: [[AtomicU64; LABELS.len()]; SIDES.len()],
}

/// One look at [`Closes`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ends {
    counts: [[u64; LABELS.len()]; SIDES.len()],
}

impl Closes {
    pub(super) fn count(&self, close: Close) {
        let slot = CODES.iter().position(|code| *code == close.code).unwrap_or(match close.code {
            3000..=4999 => CODES.len(),
            _ => CODES.len() + 1,
        });
        self.counts[close.by as usize][slot].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn sample(&self) -> Ends {
        Ends {
            counts: self.counts.each_ref().map(|codes| codes.each_ref().map(|counter| counter.load(Ordering::Relaxed))),
        }
    }
}

impl Ends {
    /// Every side and code that there was, with how often.
    pub fn counts(&self) -> impl Iterator<Item = (Side, &'static str, u64)> {
        let sides = SIDES.into_iter().zip(self.counts);
        let all = sides.flat_map(|(side, counts)| LABELS.into_iter().zip(counts).map(move |(code, n)| (side, code, n)));
        all.filter(|(_, _, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_counted_by_side_and_code() {
        let closes = Closes::default();
        assert_eq!(closes.sample(), Ends::default());
        for (by, code) in [(Side::Client, 1001), (Side::App, 4000), (Side::App, 3999), (Side::Agent, 77)] {
            closes.count(Close { by, code });
        }
        closes.count(Close { by: Side::App, code: NO_CLOSE });
        let sample = closes.sample();
        let counts: Vec<_> = sample.counts().collect();
        assert_eq!(
            counts,
            [(Side::Client, "1001", 1), (Side::App, "1006", 1), (Side::App, "3000-4999", 2), (Side::Agent, "other", 1)]
        );
    }
}
