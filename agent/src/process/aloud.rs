//! A child's lines in the agent's own log, which its platform collects: so many in a second, and how many more there were.

use super::output::Source;
use crate::model::now::Monotonic;
use std::time::Duration;

/// Lines of one child in a [`SPAN`].
const MOST: u32 = 200;
const SPAN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Aloud {
    name: String,
    step: bool,
    share: Share,
}

impl Aloud {
    pub(super) fn new(source: &Source) -> Aloud {
        Aloud { name: source.name.clone(), step: source.step, share: Share::default() }
    }

    /// Empty lines help nobody there.
    pub(super) fn say(&mut self, line: &str, now: Monotonic) {
        if line.trim().is_empty() {
            return;
        }
        let (hidden, shown) = self.share.line(now);
        self.tell_hidden(hidden);
        if shown {
            self.tell(line);
        }
    }

    /// Nothing comes for now.
    pub(super) fn pause(&mut self) {
        let hidden = std::mem::take(&mut self.share.hidden);
        self.tell_hidden(hidden);
    }

    fn tell_hidden(&self, lines: u64) {
        let name = &self.name;
        match lines {
            0 => {}
            1 => self.tell(&format!("1 line is not shown; see space-agent logs {name}")),
            lines => self.tell(&format!("{lines} lines are not shown; see space-agent logs {name}")),
        }
    }

    fn tell(&self, line: &str) {
        if self.step {
            tracing::info!(step = %self.name, "{line}");
        } else {
            tracing::info!(app = %self.name, "{line}");
        }
    }
}

/// What of a flood of lines is shown.
#[derive(Debug, Default)]
struct Share {
    since: Option<Monotonic>,
    shown: u32,
    hidden: u64,
}

impl Share {
    /// How many lines were hidden before, if it is time to say so; and whether this one is shown.
    fn line(&mut self, now: Monotonic) -> (u64, bool) {
        let mut hidden = 0;
        if self.since.is_none_or(|since| now.since(since) >= SPAN) {
            hidden = std::mem::take(&mut self.hidden);
            (self.since, self.shown) = (Some(now), 0);
        }
        let shown = self.shown < MOST;
        if shown {
            self.shown += 1;
        } else {
            self.hidden += 1;
        }
        (hidden, shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_hundred_lines_are_shown_in_a_second_and_then_how_many_were_not() {
        let mut share = Share::default();
        let mut at = |ms: u64| share.line(Monotonic(ms));
        let first: Vec<(u64, bool)> = (0..250).map(|line| at(5000 + line)).collect();
        assert_eq!(first.iter().filter(|(_, shown)| *shown).count(), 200);
        assert!(first.iter().all(|(hidden, _)| *hidden == 0));
        assert_eq!(at(5999), (0, false));
        assert_eq!(at(6000), (51, true));
        assert_eq!(at(6001), (0, true));
    }
}
