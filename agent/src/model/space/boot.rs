//! The boot: which step is started when, what its end means, and when the space is up.

use super::{Effect, Phase, Space};
use crate::model::child::{ChildId, StepOutcome};
use crate::model::now::{Monotonic, Now, spoken};

use crate::model::status::Mode;
use crate::model::step::{self, Next, StepRun};
use space_lifecycle::{Moment, OnFailure, Start};
use std::time::Duration;

/// What a step gets between SIGTERM and SIGKILL when it took too long.
const OVERDUE_GRACE: Duration = Duration::from_secs(5);

impl Space {
    pub(super) fn advance_steps(&mut self, now: Now, effects: &mut Vec<Effect>) {
        for index in 0..self.steps.len() {
            self.end_overdue_step(index, now, effects);
        }
        // In recovery mode and parked nothing of the set-up is run.
        while !matches!(self.mode(), Some(Mode::Recovery | Mode::Parked)) {
            match step::next(&self.spec.steps, &self.steps, Moment::Start) {
                Next::Nothing => return,
                Next::Drop(index, why) => {
                    let reason = format!("the step {} cannot run: {why}", self.spec.steps[index].name);
                    self.steps[index] = StepRun::Dropped { why };
                    self.missed(index, reason, now, effects);
                    if !self.up() {
                        return;
                    }
                }
                Next::Start(index) => self.start_step(index, now, effects),
            }
        }
    }

    pub(super) fn start_step(&mut self, index: usize, now: Now, effects: &mut Vec<Effect>) {
        let child = ChildId::Step { name: self.spec.steps[index].name.clone(), round: self.round }.to_string();
        self.steps[index] = StepRun::Running { child: child.clone(), since: now, timed_out: false };
        effects.push(Effect::StartStep { step: index, child });
    }

    pub(super) fn end_overdue_step(&mut self, index: usize, now: Now, effects: &mut Vec<Effect>) {
        let timeout = self.spec.steps[index].timeout;
        if let StepRun::Running { child, since, timed_out } = &mut self.steps[index]
            && !*timed_out
            && now.monotonic.since(since.monotonic) >= timeout
        {
            *timed_out = true;
            effects.push(Effect::EndChild { child: child.clone(), grace: OVERDUE_GRACE });
        }
    }

    pub(super) fn step_ended(&mut self, child: &str, outcome: StepOutcome, now: Now, effects: &mut Vec<Effect>) {
        let Some(index) = self.step_of_child(child) else { return };
        let StepRun::Running { since, timed_out, .. } = &self.steps[index] else { return };
        let (since, timed_out) = (*since, *timed_out);
        let spec = &self.spec.steps[index];
        let outcome = if timed_out { StepOutcome::Failed { why: too_long(spec.timeout) } } else { outcome };
        let took_ms = now.monotonic.since(since.monotonic).as_millis();
        let failure = match &outcome {
            StepOutcome::Failed { why } => Some(format!("the step {} failed: {why}", spec.name)),
            _ => None,
        };
        let took_ms = u64::try_from(took_ms).unwrap_or(u64::MAX);
        self.steps[index] = StepRun::Ended { outcome, since, took_ms };
        if let Some(reason) = failure {
            self.missed(index, reason, now, effects);
        }
    }

    /// What the lack of a step means. A space that someone already works in does not end because of a step that it did
    /// not wait for.
    fn missed(&mut self, index: usize, reason: String, now: Now, effects: &mut Vec<Effect>) {
        let booting = matches!(self.phase, Phase::Booting { .. });
        match self.spec.steps[index].on_failure {
            OnFailure::Abort if booting => self.fail(reason, 1, now, effects),
            OnFailure::Recovery if booting => self.recover(reason, 1, now, effects),
            // In recovery mode the steps that it ended are no news.
            _ if self.recovers() => {}
            _ => {
                self.events.tell(now, true, reason.clone());
                self.warn(reason);
            }
        }
    }

    /// Booting -> Running: the awaited steps are over and every app is ready, or given up.
    pub(super) fn become_ready(&mut self, now: Now) {
        let Phase::Booting { .. } = self.phase else { return };
        // An app that starts on demand is not what the boot is for, also if somebody has asked for it already.
        let on_demand = |index: usize| self.spec.apps[index].start == Start::OnDemand;
        let settled = self.apps.iter().enumerate().all(|(index, app)| !app.coming() || on_demand(index));
        if settled && step::apps_may_start(&self.spec.steps, &self.steps) {
            self.phase = Phase::Running { since: now, mode: Mode::Normal };
            self.why_mode = None;
            self.activity.ready_since = Some(now.monotonic);
        }
    }

    /// Asks again for what was asked for and init does not know of; takes up what it knows.
    pub(super) fn resume(&mut self, known: &[String], now: Now, effects: &mut Vec<Effect>) {
        let known_to_init = |child: &str| known.iter().any(|id| id == child);
        if self.up() {
            self.resume_steps(known, effects);
            for app in 0..self.apps.len() {
                self.resume_app(app, known_to_init, now, effects);
            }
            self.resume_idle_command(known, effects);
        }
        self.end_strangers(known, effects);
        self.resume_ending(known, effects);
    }

    pub(super) fn resume_steps(&mut self, known: &[String], effects: &mut Vec<Effect>) {
        let ending = self.recovers() || self.stopping().is_some();
        for (index, step) in self.steps.iter_mut().enumerate() {
            let StepRun::Running { child, timed_out, .. } = step else { continue };
            let set_up = self.spec.steps[index].on == Moment::Start;
            match known.contains(child) {
                // It was to be started and then not: the space has turned to something else.
                false if set_up && ending => {
                    *step = StepRun::Dropped { why: "the space turned to something else".into() }
                }
                false => effects.push(Effect::StartStep { step: index, child: child.clone() }),
                true if *timed_out || (set_up && ending) => {
                    effects.push(Effect::EndChild { child: child.clone(), grace: Duration::ZERO });
                }
                true => {}
            }
        }
    }

    /// Children that init has and the state does not name (an end that was stored but not acknowledged is no stranger:
    /// it has ended; ending it again does nothing).
    fn end_strangers(&self, known: &[String], effects: &mut Vec<Effect>) {
        for child in known {
            let ours = self.step_of_child(child).is_some() || self.app_of_child(child).is_some();
            if !ours && !matches!(child.parse(), Ok(ChildId::IdleCommand(_) | ChildId::Rescue(_))) {
                effects.push(Effect::EndChild { child: child.clone(), grace: Duration::ZERO });
            }
        }
    }

    /// When a step will have taken too long.
    pub(super) fn step_moments(&self) -> impl Iterator<Item = Monotonic> {
        self.steps.iter().zip(&self.spec.steps).filter_map(|(run, spec)| match run {
            StepRun::Running { since, timed_out: false, .. } => Some(since.monotonic.plus(spec.timeout)),
            _ => None,
        })
    }
}

fn too_long(timeout: Duration) -> String {
    format!(
        "it did not end within {} and was stopped; give it more time with `timeout`, or see its log",
        spoken(timeout)
    )
}
