//! Durations as documents, the command line and the control API write them: `90s`, `5m`, `2h`.

use std::time::Duration;

/// Reads `90s`, `5m`, `2h`: a whole number and one unit. The error says what to write, without the text itself.
pub fn parse(text: &str) -> Result<Duration, &'static str> {
    const FORM: &str = "not a duration: write a whole number with its unit, as in 90s, 5m or 2h";
    let unit = text.chars().next_back().ok_or(FORM)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        _ => return Err(FORM),
    };
    let digits = &text[..text.len() - unit.len_utf8()];
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(FORM);
    }
    let number: u64 = digits.parse().map_err(|_| "a duration longer than any space lives")?;
    let total = number.checked_mul(seconds).filter(|total| *total <= u64::from(u32::MAX));
    total.map(Duration::from_secs).ok_or("a duration longer than any space lives")
}

/// What [`parse`] reads, in the largest unit that is exact. Parts of a second are rounded up.
pub fn written(duration: Duration) -> String {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    match seconds {
        0 => "0s".to_owned(),
        s if s.is_multiple_of(3600) => format!("{}h", s / 3600),
        s if s.is_multiple_of(60) => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        for (text, seconds) in [("90s", 90), ("5m", 300), ("2h", 7200), ("0s", 0), ("007m", 420)] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "5",
            "m",
            "-5m",
            "+5m",
            "5 m",
            "1.5h",
            "5d",
            "5M",
            "1h30m",
            "٣m",
            "5é",
            "99999999999999999999h",
            "9999999999h",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_written_reads_as_the_same_duration() {
        for seconds in [0, 1, 59, 60, 61, 3599, 3600, 7200, 86_400] {
            let duration = Duration::from_secs(seconds);
            assert_eq!(parse(&written(duration)), Ok(duration));
        }
    }
}
