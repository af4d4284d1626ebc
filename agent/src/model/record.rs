//! The boot record: what the last runs of a space were like and how they ended, for whoever asks after the end.
//!
//! It is kept in the home, which is the user's: what is read from it is theirs to change, is only shown, and is bounded
//! here, so that the whole file has at most [`LARGEST`] bytes. A field that is missing is empty: older and newer agents
//! read each other's records.

use super::events::EventStatus;
use super::now::Timestamp;
use super::space::NOTHING_HAS_RUN;
use super::status::{Mode, PhaseName, Status, StepState};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use utoipa::ToSchema;

/// How many runs are kept.
pub const KEPT: usize = 3;
/// Bytes of all of them, as JSON.
pub const LARGEST: usize = 1_000_000;
/// Bytes of one log's end that are kept, and of those of one run together, as JSON.
pub const LOG: usize = 64_000;
const LOGS: usize = 300_000;
const EVENTS: usize = 150_000;
/// Steps or apps of one run, and bytes of the reason that each has.
const ENTRIES: usize = 200;
const WHY: usize = 500;
/// What JSON adds to an entry at most: field names, numbers, times.
const FRAME: usize = 200;

/// One run of a space, from its boot to its end.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Record {
    /// Names the boot, as status does.
    pub boot: String,
    #[schema(value_type = String, format = DateTime)]
    pub started: Timestamp,
    /// When the space was last seen running: when this was written.
    #[schema(value_type = String, format = DateTime)]
    pub seen: Timestamp,
    /// Absent while it runs, and for good if nobody was left to write it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
    /// The one in which it ran last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    pub steps: Vec<StepRecord>,
    pub apps: Vec<AppRecord>,
    /// Oldest first.
    pub events: Vec<EventStatus>,
    /// The last lines of `steps/NAME` and `apps/NAME`.
    pub logs: BTreeMap<String, String>,
}

/// How a run ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Ended {
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    pub kind: Kind,
    pub reason: String,
    /// The exit code of `run`.
    pub code: u8,
}

/// What led to the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Nothing had run in it for the idle timeout.
    Idle,
    /// Somebody asked for it, or a signal did.
    Asked,
    /// It could not go on.
    Failed,
    /// Something that another version of the agent knows.
    #[default]
    #[serde(other)]
    Unknown,
}

/// A step, as it was last.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct StepRecord {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<StepState>,
    /// Why it was skipped or failed, or what it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Milliseconds from start to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
}

/// An app, as it was last.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct AppRecord {
    pub name: String,
    pub restarts: u32,
    /// How it last ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Record {
    /// What is to be kept of a run. `code`: the exit code, once it has ended. `logs`: the ends of its logs.
    pub fn of(status: &Status, now: Timestamp, code: Option<u8>, logs: BTreeMap<String, String>) -> Record {
        let steps = status.steps.iter().take(ENTRIES).map(|step| StepRecord {
            name: step.name.clone(),
            state: Some(step.state),
            why: step.why.as_deref().map(|why| head(why, WHY).to_owned()),
            took_ms: step.took_ms,
        });
        let apps = status.apps.iter().take(ENTRIES).map(|app| AppRecord {
            name: app.name.clone(),
            restarts: app.restarts,
            why: app.why.as_deref().map(|why| head(why, WHY).to_owned()),
        });
        Record {
            boot: status.boot.clone(),
            // Later writings of the same boot keep what the first one said.
            started: if status.phase == PhaseName::Booting { status.since.min(now) } else { now },
            seen: now,
            ended: code.map(|code| Ended::of(status.reason.as_deref(), code, now)),
            mode: status.mode,
            steps: steps.collect(),
            apps: apps.collect(),
            events: last(&status.events, EVENTS),
            logs: bounded(logs),
        }
    }

    /// How it ended, in one sentence.
    pub fn ending(&self) -> String {
        let Some(Ended { at, kind, reason, code }) = &self.ended else {
            return format!("it was killed or its machine failed; it was last seen running at {}", minute(self.seen));
        };
        let (at, reason) = (minute(*at), head(reason, 2 * WHY));
        match (kind, reason) {
            (Kind::Failed, reason) => format!("it failed at {at}: {reason} (exit code {code})"),
            (_, "") => format!("it stopped at {at} (exit code {code})"),
            (Kind::Idle, reason) => {
                let for_how_long = reason.strip_prefix(NOTHING_HAS_RUN).unwrap_or_default();
                format!("it stopped at {at} since nothing had run in it{for_how_long}")
            }
            (Kind::Asked | Kind::Unknown, reason) => format!("it stopped at {at} since {reason}"),
        }
    }

    /// Bytes as JSON, at least.
    fn size(&self) -> usize {
        let text = |text: &Option<String>| text.as_deref().map_or(0, written);
        let steps = self.steps.iter().map(|step| FRAME + written(&step.name) + text(&step.why));
        let apps = self.apps.iter().map(|app| FRAME + written(&app.name) + text(&app.why));
        let events = self.events.iter().map(|event| FRAME + written(&event.text));
        let logs = self.logs.iter().map(|(name, log)| FRAME + written(name) + written(log));
        let ended = self.ended.as_ref().map_or(0, |ended| FRAME + written(&ended.reason));
        3 * FRAME + written(&self.boot) + ended + steps.chain(apps).chain(events).chain(logs).sum::<usize>()
    }
}

impl Ended {
    fn of(reason: Option<&str>, code: u8, at: Timestamp) -> Ended {
        let reason = head(reason.unwrap_or_default(), 2 * WHY).to_owned();
        let kind = match code {
            // Whatever the code: its platform may start it again unasked.
            _ if reason.starts_with(NOTHING_HAS_RUN) => Kind::Idle,
            0 => Kind::Asked,
            _ => Kind::Failed,
        };
        Ended { at, kind, reason, code }
    }
}

/// The last runs, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Boots(Vec<Record>);

impl Boots {
    /// With what is known now of a run: in the place of what was known of it before, or as the newest.
    pub fn with(mut self, mut record: Record) -> Boots {
        if let Some(at) = self.0.iter().position(|known| known.boot == record.boot) {
            let known = self.0.remove(at);
            // Written before the end, and later than it.
            if known.ended.is_some() && record.ended.is_none() {
                record = known.clone();
            }
            record.started = record.started.min(known.started);
            record.mode = record.mode.or(known.mode);
        }
        self.0.push(record);
        self.0.drain(..self.0.len().saturating_sub(KEPT));
        while self.0.iter().map(Record::size).sum::<usize>() > LARGEST - FRAME {
            let older = self.0.len().saturating_sub(1);
            match self.0[..older].iter_mut().find(|record| !record.logs.is_empty()) {
                Some(oldest) => oldest.logs.clear(),
                None if older > 0 => drop(self.0.remove(0)),
                // Not one that `Record::of` has made: somebody else's.
                None => self.0.clear(),
            }
        }
        self
    }

    /// The run before the one that is named.
    pub fn last_before(&self, boot: &str) -> Option<&Record> {
        self.before(boot).next()
    }

    /// Those before the one that is named, the newest first.
    pub fn before(&self, boot: &str) -> impl Iterator<Item = &Record> {
        self.0.iter().rev().filter(move |record| record.boot != boot)
    }

    /// The newest.
    pub fn last(&self) -> Option<&Record> {
        self.0.last()
    }
}

/// Each log's end, and of all of them the same share if they are more than may be kept.
fn bounded(logs: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let share = LOG.min(LOGS / logs.len().max(1));
    logs.into_iter().map(|(name, log)| (name, tail(&log, share).to_owned())).collect()
}

/// The last events that have room.
fn last(events: &[EventStatus], room: usize) -> Vec<EventStatus> {
    let mut left = room;
    let mut kept = VecDeque::new();
    for event in events.iter().rev() {
        let Some(rest) = left.checked_sub(FRAME + written(&event.text)) else { break };
        left = rest;
        kept.push_front(event.clone());
    }
    kept.into()
}

/// The end of a text, beginning with a line, that takes at most `room` bytes as JSON. A single line that takes more is cut.
pub fn tail(text: &str, room: usize) -> &str {
    let mut left = room;
    let mut start = text.len();
    for (at, c) in text.char_indices().rev() {
        let Some(rest) = left.checked_sub(escaped(c)) else { break };
        (left, start) = (rest, at);
    }
    let end = &text[start..];
    if start == 0 || text[..start].ends_with('\n') {
        return end;
    }
    match end.split_once('\n') {
        Some((_, lines)) if !lines.is_empty() => lines,
        _ => end,
    }
}

/// The beginning of a text that takes at most `room` bytes as JSON.
fn head(text: &str, room: usize) -> &str {
    let mut left = room;
    let end = text.char_indices().find(|(_, c)| match left.checked_sub(escaped(*c)) {
        Some(rest) => {
            left = rest;
            false
        }
        None => true,
    });
    &text[..end.map_or(text.len(), |(at, _)| at)]
}

/// Bytes that a text takes as a JSON string, its quotes left out.
fn written(text: &str) -> usize {
    text.chars().map(escaped).sum()
}

fn escaped(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' => 2,
        c if c < ' ' => 6,
        c => c.len_utf8(),
    }
}

/// `2026-11-20 10:00 UTC`.
pub fn minute(at: Timestamp) -> String {
    let text = at.to_string();
    // A year of more than four digits is nobody's.
    let (day, time) = (text.get(..10).unwrap_or_default(), text.get(11..16).unwrap_or_default());
    format!("{day} {time} UTC")
}

#[cfg(test)]
mod tests;
