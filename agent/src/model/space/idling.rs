//! Running, notice, and the stop that follows when nothing works.

use super::{Effect, Phase, Space};
use crate::model::app::State;
use crate::model::child::ChildId;
use crate::model::idle::Verdict;
use crate::model::now::{Monotonic, Now, spoken};
use crate::model::reading::Reading;
use crate::model::status::Mode;
use space_lifecycle::Action;
use std::time::Duration;

/// How the reason of a stop for idleness begins, and no other.
pub const NOTHING_HAS_RUN: &str = "nothing has run in it";

/// How long to wait between looks when the space would stop but a source has not been looked at since.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Space {
    pub(super) fn seen(&mut self, reading: Reading, now: Now) {
        // A late answer of an app that has ended since says nothing about the one that runs.
        let ready = self.watched().any(|index| self.spec.apps[index].name == reading.app);
        if ready {
            self.activity.observe(reading, now.monotonic);
        }
    }

    pub(super) fn worked(&mut self, app: &str, now: Now) {
        let index = self.spec.apps.iter().position(|known| known.name == app);
        let label = index.map_or("a server on a port", |index| &self.app_facts[index].label);
        self.activity.worked(now.monotonic, format!("somebody worked in {label}"));
    }

    /// Running to notice when the end is near, and back when something has worked.
    pub(super) fn advance_idle(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let stops_at = self.would_stop_at(&now);
        let noticed = stops_at.filter(|at| at.0.saturating_sub(self.notice_ms()) <= now.monotonic.0);
        match (&self.phase, noticed) {
            (Phase::Running { mode, .. }, Some(stops_at)) => {
                self.phase = Phase::Notice { since: now, stops_at, mode: *mode };
            }
            // Something worked shortly, and the new end is near too: where the notice is as long as the timeout.
            (Phase::Notice { since, mode, .. }, Some(stops_at)) => {
                self.phase = Phase::Notice { since: *since, stops_at, mode: *mode };
            }
            // Something works; or something worked and has ended since, and the clock began anew.
            (Phase::Notice { mode, .. }, None) => self.phase = Phase::Running { since: now, mode: *mode },
            _ => {}
        }
        if matches!(self.phase, Phase::Notice { .. })
            && let Some(stops_at) = stops_at.filter(|at| *at <= now.monotonic)
        {
            self.stop_for_idleness(stops_at, now, effects);
        }
    }

    /// Stops only on fresh evidence: every source was looked at since the moment at which the space was to stop.
    fn stop_for_idleness(&mut self, stops_at: Monotonic, now: Now, effects: &mut Vec<Effect>) {
        if !self.looked_since(stops_at) {
            return effects.push(Effect::Look);
        }
        match &self.spec.idle.action {
            Action::Exit => {
                let for_how_long = spoken(self.spec.idle.shutdown.unwrap_or_default());
                self.stop(format!("{NOTHING_HAS_RUN} for {for_how_long}"), self.idle_code(), now, effects);
            }
            Action::Command(_) => {
                self.idle_commands += 1;
                self.idle_command_runs = true;
                effects.extend(self.idle_command());
                // The command decides what becomes of the space; if it still is there, the clock begins anew.
                self.activity.note(now.monotonic, "idle.action's command was run");
                if let Phase::Notice { mode, .. } = self.phase {
                    self.phase = Phase::Running { since: now, mode };
                }
            }
            Action::Observe | Action::Report => {}
        }
    }

    /// Whoever started the space hears that its app could not run, not even in recovery mode.
    fn idle_code(&self) -> u8 {
        let gone = self.apps.first().is_some_and(|app| app.state == State::GivenUp);
        if self.recovers() && gone { 3 } else { 0 }
    }

    /// The run of `idle.action`'s command that has begun last.
    fn idle_command(&self) -> Option<Effect> {
        let Action::Command(command) = &self.spec.idle.action else { return None };
        let child = ChildId::IdleCommand(self.idle_commands).to_string();
        Some(Effect::RunIdleCommand { child, command: command.clone() })
    }

    /// Asks again for a command that init never heard of.
    pub(super) fn resume_idle_command(&self, known: &[String], effects: &mut Vec<Effect>) {
        let child = ChildId::IdleCommand(self.idle_commands).to_string();
        if self.idle_command_runs && !known.contains(&child) {
            effects.extend(self.idle_command());
        }
    }

    /// When the space stops if nothing happens; `None` while something works, or if it never stops by itself.
    pub(in crate::model) fn would_stop_at(&self, now: &Now) -> Option<Monotonic> {
        // Parked it costs nothing of its own, and its platform would start it again.
        if matches!(self.spec.idle.action, Action::Observe | Action::Report) || self.mode() == Some(Mode::Parked) {
            return None;
        }
        match self.verdict(now) {
            Verdict::Idle { stops_at, .. } => stops_at.map(|at| at.max(self.notice_ends(now))),
            Verdict::Active { .. } | Verdict::Unknown { .. } => None,
        }
    }

    /// Nobody is stopped without the whole notice, however long ago the end would have been: a source that could not be
    /// read may have hidden it, or the agent was away.
    fn notice_ends(&self, now: &Now) -> Monotonic {
        let begins = match self.phase {
            Phase::Notice { since, .. } => since.monotonic,
            _ => now.monotonic,
        };
        begins.plus(self.spec.idle.notice)
    }

    pub(super) fn idle_moments(&self, now: Now) -> Vec<Monotonic> {
        let mut moments = Vec::new();
        if let Verdict::Unknown { until, .. } = self.verdict(&now) {
            moments.push(until);
        }
        match (&self.phase, self.would_stop_at(&now)) {
            (Phase::Running { .. }, Some(stops_at)) => {
                moments.push(Monotonic(stops_at.0.saturating_sub(self.notice_ms())));
            }
            (Phase::Notice { .. }, Some(stops_at)) if stops_at > now.monotonic => moments.push(stops_at),
            (Phase::Notice { .. }, Some(_)) => moments.push(now.monotonic.plus(LOOK_AGAIN)),
            _ => {}
        }
        moments
    }

    fn notice_ms(&self) -> u64 {
        u64::try_from(self.spec.idle.notice.as_millis()).unwrap_or(u64::MAX)
    }
}
