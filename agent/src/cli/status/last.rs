//! `status --last`: how the run before ended, from the running agent, or from the home if none runs.

use super::super::client::Agent;
use super::super::failure::Failure;
use super::super::output::{Output, Paint, Tone, printable};
use super::super::{Surroundings, find};
use super::StatusArgs;
use crate::errand;
use crate::model::record::{Record, minute};
use crate::model::status::{Mode, Status, StepState};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Of what happened, the last ones.
const EVENTS: usize = 20;

pub(super) async fn last(
    args: &StatusArgs,
    surroundings: &Surroundings<'_>,
    output: &mut Output,
) -> Result<u8, Failure> {
    let running = match (find(args, surroundings).await, &args.home) {
        (Ok((agent, status)), Some(home)) => is_home(&status, home).then_some(agent),
        (Ok((agent, _)), None) => Some(agent),
        (Err(failure), None) if !failure.nobody() => return Err(failure),
        (Err(_), _) => None,
    };
    let (record, of) = match running {
        Some(agent) => {
            let records: Vec<Record> = agent.get("/v1/boots").await?;
            (records.into_iter().next(), "this space".to_owned())
        }
        None => {
            let home = args.home.clone().unwrap_or_else(|| PathBuf::from("home"));
            // With the rights of whoever calls.
            (errand::read(&home).last().cloned(), format!("a space in {}", home.display()))
        }
    };
    let record = record.ok_or_else(|| Failure::failed(format!("nothing is known of an earlier run of {of}")))?;
    let text = if args.json { json(record)? } else { told(&record, output.paint) };
    output.write(&text).map(|()| 0)
}

async fn find(args: &StatusArgs, surroundings: &Surroundings<'_>) -> Result<(Agent, Status), Failure> {
    let agent = find::agent(&args.target, surroundings).await?;
    let status = agent.get("/v1/status").await?;
    Ok((agent, status))
}

fn is_home(status: &Status, home: &Path) -> bool {
    home.canonicalize().is_ok_and(|home| home == Path::new(&status.home))
}

fn json(mut record: Record) -> Result<String, Failure> {
    record.logs.clear();
    let text = serde_json::to_string_pretty(&record);
    text.map(|text| text + "\n").map_err(|error| Failure::failed(format!("cannot write the record: {error}")))
}

/// A short paragraph, and what happened.
fn told(record: &Record, paint: Paint) -> String {
    let clean = |text: &str| printable(text, false);
    let mode = match record.mode {
        Some(Mode::Recovery) => " in recovery mode",
        Some(Mode::Parked) => " parked",
        Some(Mode::Normal) | None => "",
    };
    let mut text = format!("The last run began at {}{mode}; {}.\n", minute(record.started), clean(&record.ending()));
    // Writing to a String cannot fail.
    if let Some(ended) = &record.ended {
        let _ = writeln!(text, "Its exit code was {}.", ended.code);
    }
    let failed = record.steps.iter().filter(|step| matches!(step.state, Some(StepState::Failed | StepState::Dropped)));
    for step in failed {
        let why = step.why.as_deref().map(|why| format!(": {}", clean(why))).unwrap_or_default();
        let _ = writeln!(text, "The step {} had failed{why}.", clean(&step.name));
    }
    for app in record.apps.iter().filter(|app| app.restarts > 0) {
        let times = if app.restarts == 1 { "once".to_owned() } else { format!("{} times", app.restarts) };
        let why = app.why.as_deref().map(|why| format!("; {}", clean(why))).unwrap_or_default();
        let _ = writeln!(text, "{} was restarted {times}{why}.", clean(&app.name));
    }
    let events = &record.events[record.events.len().saturating_sub(EVENTS)..];
    if !events.is_empty() {
        text.push_str("\nevents\n");
    }
    for event in events {
        let what = clean(&event.text);
        let what = if event.failure { paint.text(Tone::Bad, &what) } else { what };
        let _ = writeln!(text, "  {} {what}", paint.text(Tone::Quiet, &event.at.to_string()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::events::EventStatus;
    use crate::model::now::Timestamp;
    use crate::model::record::{AppRecord, Ended, Kind, StepRecord};

    #[test]
    fn the_last_run_is_told_in_a_paragraph_and_commands_no_terminal() {
        let at = Timestamp(1_795_168_800_123);
        let step =
            StepRecord { name: "deps".into(), state: Some(StepState::Failed), why: Some("pip".into()), took_ms: None };
        let app = AppRecord { name: "default".into(), restarts: 2, why: Some("it ended with code 1".into()) };
        let event = EventStatus { seq: 1, at, failure: true, text: "work has 1 untracked file\u{1b}[2J".into() };
        let reason = "root asked for it".into();
        let record = Record {
            boot: "a".into(),
            started: at,
            seen: at,
            ended: Some(Ended { at: Timestamp(at.0 + 60_000), kind: Kind::Asked, reason, code: 0 }),
            mode: Some(Mode::Recovery),
            steps: vec![step],
            apps: vec![app],
            events: vec![event],
            logs: [("steps/deps".to_owned(), "long".to_owned())].into(),
        };
        let expected = "The last run began at 2026-11-20 10:00 UTC in recovery mode; it stopped at 2026-11-20 10:01 UTC \
                        since root asked for it.\nIts exit code was 0.\nThe step deps had failed: pip.\n\
                        default was restarted 2 times; it ended with code 1.\n\nevents\n  \
                        2026-11-20T10:00:00.123Z work has 1 untracked file\\u{1b}[2J\n";
        assert_eq!(told(&record, Paint { colour: false }), expected);
        assert!(!json(record).unwrap().contains("long"));
    }
}
