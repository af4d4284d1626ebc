//! Durations as documents, the command line and the control API write them: `90s`, `5m`, `2h`, `250ms`.

use crate::form::Wrong;
use std::time::Duration;

/// The longest duration that means anything, in milliseconds: beyond it, someone wants `never`.
const YEAR: u64 = 366 * 86_400_000;
/// The units and their milliseconds, the longest first.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Reads `90s`, `5m`, `2h`, `250ms`: a whole number and one unit, a year at most. The error says what is wrong and what to write,
/// without the text itself.
pub fn parse(text: &str) -> Result<Duration, String> {
    read(text).map_err(|(what, remedy)| format!("{what}: {remedy}"))
}

/// What [`parse`] reads, in the longest unit that says it exactly. Parts of a millisecond are rounded up.
pub fn text(duration: Duration) -> String {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    let unit = UNITS.iter().find(|(_, size)| millis.is_multiple_of(u128::from(*size))).filter(|_| millis > 0);
    unit.map_or_else(|| "0s".to_owned(), |(unit, size)| format!("{}{unit}", millis / u128::from(*size)))
}

/// As [`parse`]; what the text is, and the remedy.
pub(crate) fn read(written: &str) -> Result<Duration, Wrong> {
    let Some(millis) = exact_millis(written) else {
        let remedy = match lenient_millis(written) {
            Some(millis) => format!("write {}", text(Duration::from_millis(millis))),
            None => "write a whole number with its unit, as in 90s, 5m or 2h".to_owned(),
        };
        return Err(("not a duration".to_owned(), remedy));
    };
    if millis > YEAR {
        return Err(("longer than a year".to_owned(), "write a shorter duration".to_owned()));
    }
    Ok(Duration::from_millis(millis))
}

fn exact_millis(text: &str) -> Option<u64> {
    // From the shortest: `5ms` ends with `s` too.
    let (unit, size) = UNITS.iter().rev().find(|(unit, _)| text.ends_with(unit))?;
    let digits = &text[..text.len() - unit.len()];
    let plain = digits == "0" || !digits.starts_with('0');
    let whole = !digits.is_empty() && digits.len() <= 8 && digits.bytes().all(|b| b.is_ascii_digit());
    if plain && whole { digits.parse::<u64>().ok()?.checked_mul(*size) } else { None }
}

/// What someone means who writes `1h30m`, `90 min`, `1.5h`, `1d`.
fn lenient_millis(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    let mut sum = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = rest[digits..].trim_start();
        let word = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
        sum += number * 1000.0 * unit_seconds(&rest[..word].to_lowercase())?;
        rest = rest[word..].trim_start();
    }
    let millis = sum.round();
    (millis >= 1.0 && millis <= YEAR as f64).then_some(millis as u64)
}

fn unit_seconds(word: &str) -> Option<f64> {
    match word {
        "ms" | "msec" | "millis" | "milliseconds" => Some(0.001),
        "s" | "sec" | "secs" | "second" | "seconds" => Some(1.0),
        "m" | "min" | "mins" | "minute" | "minutes" => Some(60.0),
        "h" | "hr" | "hrs" | "hour" | "hours" => Some(3600.0),
        "d" | "day" | "days" => Some(86_400.0),
        "w" | "week" | "weeks" => Some(604_800.0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        for (text, seconds) in [("90s", 90), ("5m", 300), ("2h", 7200), ("0s", 0), ("8784h", YEAR / 1000)] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        let odd = "m ms -5m +5m ٣m 5é 99999999999999999999h 100000000s";
        for text in ["", " ", "5"].into_iter().chain(odd.split(' ')) {
            let why = "not a duration: write a whole number with its unit, as in 90s, 5m or 2h";
            assert_eq!(parse(text), Err(why.to_owned()), "{text}");
        }
        for (text, meant) in [
            ("007m", "7m"),
            ("5M", "5m"),
            ("1h30m", "90m"),
            ("1.5h", "90m"),
            ("0.5s", "500ms"),
            ("5 m", "5m"),
            ("1d", "24h"),
        ] {
            assert_eq!(parse(text), Err(format!("not a duration: write {meant}")), "{text}");
        }
        assert_eq!(parse("8785h"), Err("longer than a year: write a shorter duration".to_owned()));
    }

    #[test]
    fn what_is_written_reads_as_the_same_duration() {
        for millis in [0, 1, 999, 1000, 59_001, 60_000, 61_000, 3_599_000, 3_600_000, 86_400_000, YEAR] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse(&text(duration)), Ok(duration));
        }
        assert_eq!(text(Duration::from_micros(59_999_001)), "1m");
    }
}
