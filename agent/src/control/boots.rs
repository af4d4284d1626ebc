//! The runs before this one, from the boot record in the home: read anew for each who asks, by errand, on threads of
//! which there are few, so that a home that hangs costs only those who ask for it.

use super::log::{Of, blocking};
use super::problem::Problem;
use crate::errand::Errands;
use crate::model::record::{Record, minute};
use std::sync::Arc;
use tokio::sync::Semaphore;

const READS_AT_ONCE: usize = 2;

#[derive(Debug, Clone)]
pub(super) struct Boots {
    errands: Errands,
    permits: Arc<Semaphore>,
}

impl Boots {
    pub(super) fn new(errands: Errands) -> Boots {
        Boots { errands, permits: Arc::new(Semaphore::new(READS_AT_ONCE)) }
    }

    /// Those before `boot`, the newest first.
    pub(super) async fn before(&self, boot: &str) -> Result<Vec<Record>, Problem> {
        let errands = self.errands.clone();
        let read = blocking(&self.permits, move || errands.boots()).await;
        let boots = read.map_err(|error| Problem::unavailable(format!("cannot read the boot record: {error}")))?;
        Ok(boots.before(boot).cloned().collect())
    }

    /// The end of a log of the run that was `back` before `boot`: -1 is the last one.
    pub(super) async fn log(&self, boot: &str, back: i32, of: &Of, tail: Option<u32>) -> Result<String, Problem> {
        let wrong = || Problem::bad_request("boot: -1 is the run before this one, -2 the one before that");
        let index = back.checked_add(1).and_then(|back| usize::try_from(-back).ok()).ok_or_else(wrong)?;
        let known = self.before(boot).await?;
        let gone = || Problem::not_found(format!("nothing is known of the run {back}; {} are kept", known.len()));
        let record = known.get(index).ok_or_else(gone)?;
        if !has(record, of) {
            let began = minute(record.started);
            return Err(Problem::not_found(format!("the run that began at {began} had no {of}")));
        }
        let log = record.logs.get(&of.key()).map_or("", String::as_str);
        Ok(tail.map_or(log, |lines| last_lines(log, lines)).to_owned())
    }
}

fn has(record: &Record, of: &Of) -> bool {
    match of {
        Of::Step(name) => record.steps.iter().any(|step| step.name == *name),
        Of::App(name) => record.apps.iter().any(|app| app.name == *name),
    }
}

fn last_lines(text: &str, lines: u32) -> &str {
    let Some(before) = lines.checked_sub(1) else { return "" };
    let whole = text.strip_suffix('\n').unwrap_or(text);
    let start = whole.rmatch_indices('\n').nth(before as usize).map_or(0, |(at, _)| at + 1);
    &text[start..]
}

#[cfg(test)]
mod tests {
    use super::last_lines;

    #[test]
    fn the_last_lines_are_counted_as_those_of_a_live_log() {
        for (text, lines, expected) in [
            ("a\nb\nc\n", 2, "b\nc\n"),
            ("a\nb\nc", 2, "b\nc"),
            ("a\nb\nc\n", 3, "a\nb\nc\n"),
            ("a\nb\nc\n", 9, "a\nb\nc\n"),
            ("a\n\n", 1, "\n"),
            ("a\n", 0, ""),
            ("", 5, ""),
        ] {
            assert_eq!(last_lines(text, lines), expected, "{text:?} {lines}");
        }
    }
}
