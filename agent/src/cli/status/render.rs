//! A status as text for people. Pure: the time comes in; names are the user's, so they are made printable.

use super::super::output::{Paint, Tone, printable};
use crate::model::events::EventStatus;
use crate::model::now::{Timestamp, spoken};
use crate::model::reading::KernelState;
use crate::model::status::{
    AppState, AppStatus, LeaseStatus, Mode, PhaseName, Status, StepState, StepStatus, VerdictName,
};
use std::fmt::Write;
use std::time::Duration;

/// Of what happened, the last ones; `space-agent events` has the others.
const EVENTS: usize = 5;

/// The whole status, each line ended.
pub(super) fn screen(status: &Status, now: Timestamp, paint: Paint) -> String {
    let view = View { now, paint };
    let mut text = view.head(status);
    section(&mut text, "steps", view.table(status.steps.iter().map(|step| view.step(step)).collect()));
    section(&mut text, "apps", view.table(status.apps.iter().map(|app| view.app(app)).collect()));
    section(&mut text, "activity", view.activity(status));
    section(&mut text, "leases", view.table(status.leases.iter().map(|lease| view.lease(lease)).collect()));
    let warnings = status.warnings.iter().map(|warning| paint.text(Tone::Busy, &clean(warning)));
    section(&mut text, "warnings", warnings.collect());
    let first = status.events.len().saturating_sub(EVENTS);
    let events = status.events[first..].iter().map(|event| view.event(event));
    section(&mut text, "events", view.table(events.collect()));
    text
}

fn section(text: &mut String, title: &str, lines: Vec<String>) {
    if lines.is_empty() {
        return;
    }
    // Writing to a String cannot fail.
    let _ = writeln!(text, "\n{title}");
    for line in lines {
        let _ = writeln!(text, "  {}", line.trim_end());
    }
}

#[derive(Clone, Copy)]
struct View {
    now: Timestamp,
    paint: Paint,
}

/// One line of a table: its first cell in a tone, the others plain.
struct Row {
    tone: Tone,
    cells: Vec<String>,
}

impl View {
    fn head(self, status: &Status) -> String {
        let (phase, tone) = phase(status.phase, status.mode);
        let space = self.paint.text(Tone::Strong, &clean(&status.space));
        let phase = self.paint.text(tone, phase);
        let (sentence, since) = (clean(&status.sentence), self.since(status.since));
        let (user, home) = (clean(&status.user), clean(&status.home));
        let url = clean(&status.url());
        let mut head = format!("{space}: {phase} for {since}\n{sentence}\n\n{url}  ({user}, {home})\n");
        // Writing to a String cannot fail.
        let _ = writeln!(head, "isolation: {} — {}", status.isolation, status.isolation.meaning());
        if let Some(last) = &status.last_run {
            let _ = writeln!(head, "last run: {}", clean(last));
        }
        if let Some(first) = what_to_do_first(status) {
            let _ = writeln!(head, "\n{}", self.paint.text(Tone::Busy, first));
        }
        head
    }

    fn step(self, step: &StepStatus) -> Row {
        let (state, tone) = match step.state {
            StepState::Waiting => ("waiting", Tone::Quiet),
            StepState::Running => ("running", Tone::Busy),
            StepState::Done => ("done", Tone::Good),
            StepState::Skipped => ("skipped", Tone::Good),
            StepState::Failed => ("failed", Tone::Bad),
            StepState::Dropped => ("dropped", Tone::Bad),
        };
        let running = step.started.filter(|_| step.state == StepState::Running);
        let took = running.map(|started| self.since(started)).or(step.took_ms.map(took)).unwrap_or_default();
        let why = step.why.as_deref().map(clean).unwrap_or_default();
        Row { tone, cells: vec![state.to_owned(), clean(&step.name), clean(&step.kind), took, why] }
    }

    fn app(self, app: &AppStatus) -> Row {
        let (state, tone) = match app.state {
            AppState::Waiting => ("waiting", Tone::Quiet),
            AppState::Asleep => ("asleep", Tone::Quiet),
            AppState::Starting => ("starting", Tone::Busy),
            AppState::Ready => ("ready", Tone::Good),
            AppState::Restarting => ("restarting", Tone::Busy),
            AppState::Failed => ("failed", Tone::Bad),
            AppState::Stopped => ("stopped", Tone::Quiet),
        };
        let mut facts = Vec::new();
        facts.extend(app.pid.map(|pid| format!("pid {pid}")));
        facts.extend(app.since.map(|since| format!("for {}", self.since(since))));
        match app.restarts {
            0 => {}
            1 => facts.push("restarted once".to_owned()),
            times => facts.push(format!("restarted {times} times")),
        }
        facts.extend(app.why.as_deref().map(clean));
        let cells =
            vec![state.to_owned(), clean(&app.name), clean(&app.label), clean(&app.base_path), facts.join(", ")];
        Row { tone, cells }
    }

    fn activity(self, status: &Status) -> Vec<String> {
        let activity = &status.activity;
        let tone = match activity.verdict {
            VerdictName::Active => Tone::Good,
            VerdictName::Idle => Tone::Quiet,
            VerdictName::Unknown => Tone::Busy,
        };
        // Before and after, the head has said it all.
        let sentence = status.up().then(|| self.paint.text(tone, &clean(&activity.sentence)));
        let mut lines: Vec<String> = sentence.into_iter().collect();
        lines.extend(activity.kernels.iter().map(|kernel| {
            let state = kernel_state(kernel.state);
            format!("kernel of {} ({}): {state}", clean(&kernel.name), clean(&kernel.app))
        }));
        let blind = |blind: &String| self.paint.text(Tone::Busy, &format!("cannot be read: {}", clean(blind)));
        lines.extend(activity.blind.iter().map(blind));
        lines
    }

    fn event(self, event: &EventStatus) -> Row {
        let tone = if event.failure { Tone::Bad } else { Tone::Quiet };
        Row { tone, cells: vec![format!("{} ago", self.since(event.at)), clean(&event.text)] }
    }

    fn lease(self, lease: &LeaseStatus) -> Row {
        let left = spoken(Duration::from_millis(lease.until.0.saturating_sub(self.now.0)));
        Row {
            tone: Tone::Good,
            cells: vec![format!("{left} left"), clean(&lease.reason), format!("id {}", clean(&lease.id))],
        }
    }

    fn since(self, moment: Timestamp) -> String {
        spoken(Duration::from_millis(self.now.0.saturating_sub(moment.0)))
    }

    /// Columns as wide as their widest cell. Widths are counted before colours come in.
    fn table(self, rows: Vec<Row>) -> Vec<String> {
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.cells.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let columns = rows.iter().map(|row| row.cells.len()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &Row| {
            let mut line = String::new();
            for (index, (cell, width)) in row.cells.iter().zip(&widths).enumerate() {
                let padded = format!("{cell:width$}");
                line += &if index == 0 { self.paint.text(row.tone, &padded) } else { padded };
                line += "  ";
            }
            line
        };
        rows.iter().map(line).collect()
    }
}

/// For whoever finds the space in another mode than they expect.
fn what_to_do_first(status: &Status) -> Option<&'static str> {
    match status.mode? {
        Mode::Normal => None,
        Mode::Recovery => Some(
            "first: space-agent logs and space-agent events say what failed; your files are in the home as they were; \
             repair it, then space-agent start",
        ),
        Mode::Parked => Some("first: space-agent start starts its apps again; until then it uses nothing"),
    }
}

fn phase(phase: PhaseName, mode: Option<Mode>) -> (&'static str, Tone) {
    match mode {
        Some(Mode::Recovery) => return ("recovery mode", Tone::Bad),
        Some(Mode::Parked) => return ("parked", Tone::Busy),
        Some(Mode::Normal) | None => {}
    }
    match phase {
        PhaseName::Booting => ("booting", Tone::Busy),
        PhaseName::Running => ("running", Tone::Good),
        PhaseName::Notice => ("about to stop", Tone::Busy),
        PhaseName::Stopping => ("stopping", Tone::Busy),
        PhaseName::Stopped => ("stopped", Tone::Quiet),
        PhaseName::Failed => ("failed", Tone::Bad),
    }
}

fn kernel_state(state: KernelState) -> &'static str {
    match state {
        KernelState::Starting => "starting",
        KernelState::Idle => "idle",
        KernelState::Busy => "busy",
        KernelState::Dead => "dead",
        KernelState::Other => "in a state that Jupyter doesn't name; counts as busy",
    }
}

/// `120 ms`, `12.3 s`, then as people say it.
fn took(ms: u64) -> String {
    match ms {
        0..=999 => format!("{ms} ms"),
        1000..=59_999 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => spoken(Duration::from_millis(ms)),
    }
}

fn clean(text: &str) -> String {
    printable(text, false)
}

#[cfg(test)]
mod tests;
