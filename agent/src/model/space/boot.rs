//! Steps and apps: what is started when, and what their ends mean.

use super::{Effect, Phase, Space};
use crate::model::app::{START_DEADLINE, State};
use crate::model::child::{ChildId, Exit, StepOutcome};
use crate::model::now::{Monotonic, Now, spoken};
use crate::model::restart::Decision;
use crate::model::status::Mode;
use crate::model::step::{self, Next, StepRun};
use space_lifecycle::OnFailure;
use std::time::Duration;

/// What a step or an app gets between SIGTERM and SIGKILL when it took too long.
const OVERDUE_GRACE: Duration = Duration::from_secs(5);

impl Space {
    pub(super) fn advance_steps(&mut self, now: Now, effects: &mut Vec<Effect>) {
        for index in 0..self.steps.len() {
            self.end_overdue_step(index, now, effects);
        }
        loop {
            match step::next(&self.spec.steps, &self.steps) {
                Next::Nothing => return,
                Next::Drop(index, why) => {
                    let reason = format!("the step {} cannot run: {why}", self.spec.steps[index].name);
                    self.steps[index] = StepRun::Dropped { why };
                    self.missed(index, reason, now, effects);
                    if !self.up() {
                        return;
                    }
                }
                Next::Start(index) => {
                    let child = ChildId::Step(self.spec.steps[index].name.clone()).to_string();
                    self.steps[index] = StepRun::Running { child: child.clone(), since: now, timed_out: false };
                    effects.push(Effect::StartStep { step: index, child });
                }
            }
        }
    }

    fn end_overdue_step(&mut self, index: usize, now: Now, effects: &mut Vec<Effect>) {
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
        let fatal = self.spec.steps[index].on_failure != OnFailure::Continue;
        if fatal && matches!(self.phase, Phase::Booting { .. }) {
            self.fail(reason, 1, now, effects);
        } else {
            self.warn(reason);
        }
    }

    pub(super) fn advance_apps(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let may_start = step::apps_may_start(&self.spec.steps, &self.steps);
        for index in 0..self.apps.len() {
            match &mut self.apps[index].state {
                State::Waiting if may_start => self.start_app(index, now, effects),
                State::Backoff { until } if *until <= now.monotonic => self.start_app(index, now, effects),
                State::Starting { child, since, too_slow, .. }
                    if !*too_slow && now.monotonic.since(since.monotonic) >= START_DEADLINE =>
                {
                    *too_slow = true;
                    effects.push(Effect::EndChild { child: child.clone(), grace: OVERDUE_GRACE });
                }
                _ => {}
            }
        }
        self.fail_for_first_app(now, effects);
    }

    fn start_app(&mut self, index: usize, now: Now, effects: &mut Vec<Effect>) {
        let app = &mut self.apps[index];
        app.attempts += 1;
        let child = ChildId::App { name: self.spec.apps[index].name.clone(), attempt: app.attempts }.to_string();
        app.state = State::Starting { child: child.clone(), pid: None, since: now, too_slow: false };
        effects.push(Effect::StartApp { app: index, child });
    }

    pub(super) fn app_ready(&mut self, child: &str, now: Now) {
        let Some(index) = self.app_of_child(child) else { return };
        let app = &mut self.apps[index];
        if let State::Starting { child, pid, .. } = &app.state {
            app.state = State::Ready { child: child.clone(), pid: *pid, since: now };
            app.history.ever_ready = true;
            app.why = None;
        }
    }

    pub(super) fn app_ended(&mut self, child: &str, exit: &Exit, last_line: Option<String>, now: Now) {
        let Some(index) = self.app_of_child(child) else { return };
        self.activity.forget(&self.spec.apps[index].name);
        let label = self.app_facts[index].label.clone();
        let up = self.up();
        let app = &mut self.apps[index];
        let too_slow = matches!(app.state, State::Starting { too_slow: true, .. });
        let why = match exit {
            Exit::NotStarted(why) => format!("{label} cannot be started: {why}"),
            _ if too_slow => format!("{label} did not answer within {} of its start", spoken(START_DEADLINE)),
            exit => match last_line {
                Some(line) => format!("{label} {exit}; its last line was: {line}"),
                None => format!("{label} {exit} without any output"),
            },
        };
        app.why = Some(why);
        if !up {
            app.state = State::Stopped;
            return;
        }
        app.state = match exit {
            // What is not there will not be there a second later.
            Exit::NotStarted(_) => State::GivenUp,
            _ => match app.history.ended(now.monotonic) {
                Decision::StartAgainAt(until) => State::Backoff { until },
                Decision::GiveUp => State::GivenUp,
            },
        };
    }

    /// The first app is what the space is for: without it the space fails. Another one is missed, and said to be.
    fn fail_for_first_app(&mut self, now: Now, effects: &mut Vec<Effect>) {
        for index in 0..self.apps.len() {
            let app = &self.apps[index];
            if app.state != State::GivenUp {
                continue;
            }
            let why = app.why.clone().unwrap_or_default();
            let times = if app.attempts > 1 { format!(" ({} starts)", app.attempts) } else { String::new() };
            let name = &self.spec.apps[index].name;
            let reason = format!("{why}{times}; its output is in {}/apps/{name}.log", self.facts.logs);
            if index == 0 {
                return self.fail(reason, 3, now, effects);
            }
            self.warn(reason);
        }
    }

    /// Booting -> Running: the awaited steps are over and every app is ready, or given up.
    pub(super) fn become_ready(&mut self, now: Now) {
        let Phase::Booting { .. } = self.phase else { return };
        let settled = self.apps.iter().all(|app| !app.coming());
        if settled && step::apps_may_start(&self.spec.steps, &self.steps) {
            self.phase = Phase::Running { since: now, mode: Mode::Normal };
            self.activity.ready_since = Some(now.monotonic);
        }
    }

    /// Asks again for what was asked for and init does not know of; takes up what it knows.
    pub(super) fn resume(&mut self, known: &[String], now: Now, effects: &mut Vec<Effect>) {
        let known_to_init = |child: &str| known.iter().any(|id| id == child);
        if self.up() {
            for (index, step) in self.steps.iter().enumerate() {
                if let StepRun::Running { child, timed_out, .. } = step {
                    if !known_to_init(child) {
                        effects.push(Effect::StartStep { step: index, child: child.clone() });
                    } else if *timed_out {
                        effects.push(Effect::EndChild { child: child.clone(), grace: Duration::ZERO });
                    }
                }
            }
            for app in 0..self.apps.len() {
                self.resume_app(app, known_to_init, now, effects);
            }
            self.resume_idle_command(known, effects);
        }
        self.end_strangers(known, effects);
        self.resume_ending(effects);
    }

    fn resume_app(&mut self, app: usize, known: impl Fn(&str) -> bool, now: Now, effects: &mut Vec<Effect>) {
        match self.apps[app].state.clone() {
            // Of a child that it knows init tells the start once more, and the app is probed again.
            State::Starting { child, .. } if !known(&child) => effects.push(Effect::StartApp { app, child }),
            State::Starting { child, too_slow: true, .. } => {
                effects.push(Effect::EndChild { child, grace: Duration::ZERO });
            }
            // Cannot be: init forgets a child only when its end is stored. If it were, the app would be missing.
            State::Ready { child, .. } if !known(&child) => {
                self.app_ended(&child, &Exit::Signal(9), Some("(nobody saw it end)".into()), now);
            }
            _ => {}
        }
    }

    /// Children that init has and the state does not name (an end that was stored but not acknowledged is no stranger:
    /// it has ended; ending it again does nothing).
    fn end_strangers(&self, known: &[String], effects: &mut Vec<Effect>) {
        for child in known {
            let ours = self.step_of_child(child).is_some() || self.app_of_child(child).is_some();
            if !ours && !matches!(child.parse(), Ok(ChildId::IdleCommand(_))) {
                effects.push(Effect::EndChild { child: child.clone(), grace: Duration::ZERO });
            }
        }
    }

    pub(super) fn boot_moments(&self) -> Vec<Monotonic> {
        let steps = self.steps.iter().zip(&self.spec.steps).filter_map(|(run, spec)| match run {
            StepRun::Running { since, timed_out: false, .. } => Some(since.monotonic.plus(spec.timeout)),
            _ => None,
        });
        let apps = self.apps.iter().filter_map(|app| match &app.state {
            State::Starting { since, too_slow: false, .. } => Some(since.monotonic.plus(START_DEADLINE)),
            State::Backoff { until } => Some(*until),
            _ => None,
        });
        steps.chain(apps).collect()
    }
}

fn too_long(timeout: Duration) -> String {
    format!(
        "it did not end within {} and was stopped; give it more time with `timeout`, or see its log",
        spoken(timeout)
    )
}
