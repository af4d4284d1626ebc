//! Recovery and parked mode: how a space gets into them, and out again by a start.
//!
//! In recovery mode the first app runs with a clean home and none of the user's set-up, so that what is broken can be
//! repaired; if it cannot run either, the agent's own page is what is left. Parked, nothing runs at all.

use super::{Effect, Phase, Space};
use crate::model::app::{AppFacts, AppRun, State};
use crate::model::child::ChildId;
use crate::model::now::Now;
use crate::model::status::Mode;
use crate::model::step::{self, StepRun};
use space_lifecycle::{Space as Spec, Start};
use std::time::Duration;

/// What a step or an app gets to end in when the space turns to recovery mode.
const TURN: Duration = Duration::from_secs(5);

/// How a space begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beginning {
    Boot,
    /// With the reason.
    Recovery(String),
    /// With the reason.
    Parked(String),
}

/// A turn to recovery mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// No two turns of a space's run have the same.
    pub round: u32,
    pub why: String,
    /// The warnings that there are.
    pub details: Vec<String>,
}

impl Space {
    /// While it is in recovery mode: how it got there.
    pub fn turn(&self) -> Option<Turn> {
        let why = self.why_mode.clone().filter(|_| self.recovers())?;
        Some(Turn { round: self.round, why, details: self.warnings.clone() })
    }

    /// How it runs; `None` while it boots or ends.
    pub fn mode(&self) -> Option<Mode> {
        self.phase.mode()
    }

    /// Why it runs in recovery mode or parked.
    pub fn why_mode(&self) -> Option<&str> {
        self.why_mode.as_deref()
    }

    pub(super) fn recovers(&self) -> bool {
        self.mode() == Some(Mode::Recovery)
    }

    /// Before anything has happened: a boot is what a new space does.
    pub fn begin(&mut self, beginning: Beginning, now: Now) {
        let (mode, why) = match beginning {
            Beginning::Boot => return,
            Beginning::Recovery(why) => (Mode::Recovery, why),
            Beginning::Parked(why) => (Mode::Parked, why),
        };
        self.turn_to(mode, why, now);
        for (index, app) in self.apps.iter_mut().enumerate() {
            if mode == Mode::Parked || index > 0 {
                app.state = State::Stopped;
            }
            app.asleep = false;
        }
    }

    fn turn_to(&mut self, mode: Mode, why: String, now: Now) {
        let what = match mode {
            Mode::Normal => "it runs",
            Mode::Recovery => "recovery mode",
            Mode::Parked => "parked",
        };
        self.events.tell(now, mode == Mode::Recovery, format!("{what}: {why}"));
        self.phase = Phase::Running { since: now, mode };
        self.why_mode = Some(why);
        self.activity.ready_since = Some(now.monotonic);
    }

    /// Something without which the space is not what it should be: recovery mode, or with `--strict` the end.
    pub(super) fn recover(&mut self, reason: String, code: u8, now: Now, effects: &mut Vec<Effect>) {
        if self.facts.strict {
            return self.fail(reason, code, now, effects);
        }
        self.call_off_starts(effects);
        self.end_running_steps(TURN, effects);
        for index in 0..self.apps.len() {
            self.end_app(index, TURN, effects);
        }
        self.turn_to(Mode::Recovery, reason, now);
        for (index, app) in self.apps.iter_mut().enumerate() {
            app.history = Default::default();
            app.asleep = false;
            if app.child().is_none() {
                app.state = if index == 0 { State::Waiting } else { State::Stopped };
            }
        }
        self.advance_apps(now, effects);
    }

    /// Nothing of the normal boot is started any more: what was about to be never was.
    pub(super) fn call_off_starts(&mut self, effects: &mut Vec<Effect>) {
        effects.retain(|effect| match effect {
            Effect::StartStep { step, .. } => {
                self.steps[*step] = StepRun::Dropped { why: "the space turned to recovery mode".into() };
                false
            }
            Effect::StartApp { app, .. } => {
                self.apps[*app].state = State::Stopped;
                false
            }
            _ => true,
        });
    }

    fn end_running_steps(&mut self, grace: Duration, effects: &mut Vec<Effect>) {
        for step in &mut self.steps {
            if let StepRun::Running { child, timed_out: false, .. } = step {
                effects.push(Effect::EndChild { child: child.clone(), grace });
            }
        }
    }

    /// Out of recovery or parked mode: the boot begins anew, with all its steps.
    pub(super) fn start_asked(&mut self, by: &str, now: Now, effects: &mut Vec<Effect>) {
        if !matches!(self.mode(), Some(Mode::Recovery | Mode::Parked)) {
            return;
        }
        self.events.tell(now, false, format!("{by} asked for a start"));
        self.end_running_steps(TURN, effects);
        for index in 0..self.apps.len() {
            self.end_app(index, TURN, effects);
            let app = &mut self.apps[index];
            app.history = Default::default();
            app.asleep = self.spec.apps[index].start == Start::OnDemand;
            if app.child().is_none() {
                *app = AppRun { attempts: app.attempts, ..AppRun::new(self.spec.apps[index].start) };
            }
        }
        self.round += 1;
        self.steps = step::not_run(&self.spec.steps);
        self.warnings.clear();
        self.why_mode = None;
        self.activity.ready_since = None;
        self.phase = Phase::Booting { since: now };
    }

    /// The document was repaired. What runs by the old one is ended, or goes on under its name until the start.
    pub(super) fn replaced(&mut self, spec: Spec, app_facts: Vec<AppFacts>, effects: &mut Vec<Effect>) {
        if !matches!(self.mode(), Some(Mode::Recovery | Mode::Parked)) {
            return;
        }
        self.end_running_steps(TURN, effects);
        let attempts = self.apps.iter().map(|app| app.attempts).max().unwrap_or(0);
        let names: Vec<String> = self.spec.apps.iter().map(|app| app.name.clone()).collect();
        let mut old: Vec<_> = names.into_iter().zip(std::mem::take(&mut self.apps)).collect();
        self.apps = spec
            .apps
            .iter()
            .map(|app| match old.iter().position(|(name, _)| *name == app.name) {
                Some(index) => old.remove(index).1,
                // No name of a process comes twice.
                None => AppRun { state: State::Stopped, attempts, ..AppRun::new(Start::Boot) },
            })
            .collect();
        let gone = old.iter().filter_map(|(_, run)| run.child());
        effects.extend(gone.map(|child| Effect::EndChild { child: child.to_owned(), grace: TURN }));
        self.steps = vec![StepRun::Waiting; spec.steps.len()];
        (self.spec, self.app_facts) = (spec, app_facts);
    }

    /// Only what leaves steps and apps as they are.
    pub(super) fn reloaded(&mut self, spec: Spec, told: Vec<String>, now: Now) {
        if spec.steps == self.spec.steps && spec.apps == self.spec.apps {
            self.spec = spec;
        }
        for text in told {
            self.events.tell(now, false, text);
        }
    }

    /// The console of recovery mode: only there, since a normal space has its app for that.
    pub(super) fn rescue_asked(&mut self, command: String, now: Now, effects: &mut Vec<Effect>) {
        if self.recovers() {
            self.activity.note(now.monotonic, "somebody used the console of recovery mode");
            self.rescue_commands += 1;
            let child = ChildId::Rescue(self.rescue_commands).to_string();
            effects.push(Effect::RunRescue { child, command });
        }
    }
}
