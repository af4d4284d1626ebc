//! Time as a value. Only `sys` asks for it; everybody else is told, stores it and compares it.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// A moment on both clocks. Decisions use `monotonic`; people and other programs read `wall`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Now {
    /// Since an arbitrary moment of this boot of the machine; does not run while the machine is suspended.
    pub monotonic: Monotonic,
    pub wall: Timestamp,
    /// Which boot of the machine `monotonic` counts in (a hash of the kernel's boot id).
    pub boot_id: u64,
}

/// Milliseconds on the machine's monotonic clock. Only comparable within one boot of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Monotonic(pub u64);

impl Monotonic {
    /// The time from `earlier` to here; zero if `earlier` is later.
    pub fn since(self, earlier: Monotonic) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    pub fn plus(self, duration: Duration) -> Monotonic {
        Monotonic(self.0.saturating_add(millis(duration)))
    }
}

impl Now {
    /// The wall-clock time of a moment on the monotonic clock, as the clocks stand now.
    pub fn wall_of(&self, moment: Monotonic) -> Timestamp {
        let wall = self.wall.0 as i128 + moment.0 as i128 - self.monotonic.0 as i128;
        Timestamp(u64::try_from(wall).unwrap_or(0))
    }
}

/// Milliseconds since 1970-01-01T00:00:00Z. Printed and serialized as RFC 3339 with milliseconds and `Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Timestamp(pub u64);

impl fmt::Display for Timestamp {
    /// Days to a civil date by the usual era arithmetic (proleptic Gregorian, years from March).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, ms) = (self.0 / 86_400_000, self.0 % 86_400_000);
        let z = days + 719_468;
        let (era, doe) = (z / 146_097, z % 146_097);
        let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let day = doy - (153 * mp + 2) / 5 + 1;
        let month = if mp < 10 { mp + 3 } else { mp - 9 };
        let year = yoe + era * 400 + u64::from(month <= 2);
        let (s, ms) = (ms / 1000, ms % 1000);
        write!(f, "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{ms:03}Z", s / 3600, s / 60 % 60, s % 60)
    }
}

impl std::str::FromStr for Timestamp {
    type Err = &'static str;

    /// Reads what `Display` writes, and no other form of RFC 3339.
    fn from_str(text: &str) -> Result<Timestamp, Self::Err> {
        const FORM: &str = "not a time of the form 2026-11-20T10:00:00.123Z";
        let number = |range: std::ops::Range<usize>| -> Result<u64, &'static str> {
            let digits = text.get(range).filter(|d| d.bytes().all(|b| b.is_ascii_digit())).ok_or(FORM)?;
            digits.parse().map_err(|_| FORM)
        };
        let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (23, b'Z')];
        if text.len() != 24 || marks.iter().any(|&(at, mark)| text.as_bytes()[at] != mark) {
            return Err(FORM);
        }
        let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
        let shifted = if month <= 2 { year.checked_sub(1).ok_or(FORM)? } else { year };
        let (era, yoe) = (shifted / 400, shifted % 400);
        let doy = (153 * ((month + 9) % 12) + 2) / 5 + day.checked_sub(1).ok_or(FORM)?;
        let days = (era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy).checked_sub(719_468).ok_or(FORM)?;
        let seconds = number(11..13)? * 3600 + number(14..16)? * 60 + number(17..19)?;
        Ok(Timestamp(days * 86_400_000 + seconds * 1000 + number(20..23)?))
    }
}

/// What people and programs read: RFC 3339.
impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A duration as people say it: `45 s`, `5 min`, `2 h 10 min`.
pub fn spoken(duration: Duration) -> String {
    let s = (duration.as_millis() + 500) / 1000;
    match s {
        0..=119 => format!("{s} s"),
        120..=7199 if s.is_multiple_of(60) || s >= 600 => format!("{} min", (s + 30) / 60),
        120..=7199 => format!("{} min {} s", s / 60, s % 60),
        _ if s % 3600 < 60 => format!("{} h", s / 3600),
        _ => format!("{} h {} min", s / 3600, s % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_prints_as_rfc_3339_with_milliseconds() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_795_168_800_123, "2026-11-20T10:00:00.123Z"),
            (4_102_444_799_999, "2099-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Timestamp(ms).to_string(), text);
            assert_eq!(text.parse(), Ok(Timestamp(ms)));
        }
    }

    #[test]
    fn a_duration_is_said_as_people_say_it() {
        for (s, text) in [
            (0, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (150, "2 min 30 s"),
            (3600, "60 min"),
            (7200, "2 h"),
            (7800, "2 h 10 min"),
        ] {
            assert_eq!(spoken(Duration::from_secs(s)), text);
        }
    }
}
