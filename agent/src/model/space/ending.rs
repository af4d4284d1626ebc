//! The way out: failed, stopping in its stages, stopped.
//!
//! A stop has one deadline, which its stages share: the `stop` steps have 20 %, the apps 40 % for their own way of
//! ending; then everything that is left is ended; the rest is for storage and reports. A stage that needs less leaves
//! the time to nobody: the space is gone sooner.

use super::{Effect, Phase, Repositories, Space};
use crate::model::app::State;
use crate::model::now::{Monotonic, Now};
use crate::model::status::Mode;
use crate::model::step::{self, Next, StepRun};
use serde::{Deserialize, Serialize};
use space_lifecycle::Moment;
use std::time::Duration;

/// How long a failed space shows why on its page, before it ends.
pub const FAILED_SHOWN: Duration = Duration::from_secs(3);

/// A second wish to stop leaves this much.
const IMPATIENT: Duration = Duration::from_secs(1);

/// What is left behind by steps and apps gets this long between SIGTERM and SIGKILL, at most.
const ORPHANS: Duration = Duration::from_millis(500);

/// How long the end waits at most for the look at repositories.
const REPOSITORIES: Duration = Duration::from_secs(3);

/// Where a stop stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The `stop` steps run, until then at most.
    Steps { until: Monotonic },
    /// The apps end in their own way, until then at most.
    Apps { until: Monotonic },
    /// Whatever is left is ended. Also what an agent without stages had begun.
    #[default]
    Tree,
    /// Nothing runs any more.
    Over,
}

impl Space {
    pub(super) fn fail(&mut self, reason: String, code: u8, now: Now, effects: &mut Vec<Effect>) {
        if self.up() {
            self.events.tell(now, true, format!("the space failed: {reason}"));
            self.phase = Phase::Failed { since: now, reason, code };
            // Nothing is started any more; what runs is ended with the rest, after the reason was shown.
            self.call_off_starts(effects);
            effects.clear();
        }
    }

    pub(super) fn stop_asked(&mut self, reason: String, now: Now, effects: &mut Vec<Effect>) {
        match &mut self.phase {
            Phase::Booting { .. } | Phase::Running { .. } | Phase::Notice { .. } => self.stop(reason, 0, now, effects),
            Phase::Failed { reason, code, .. } => {
                let (reason, code) = (reason.clone(), *code);
                self.stop(reason, code, now, effects);
            }
            Phase::Stopping { deadline, stage, hurried, .. } => {
                *hurried = true;
                *deadline = (*deadline).min(now.monotonic.plus(IMPATIENT));
                if *stage != Stage::Over {
                    // Whoever asks a third time does not want anybody asked.
                    let asked = *stage == Stage::Tree;
                    *stage = Stage::Tree;
                    let grace = if asked { Duration::ZERO } else { IMPATIENT / 2 };
                    effects.push(Effect::EndTree { grace });
                }
                self.repositories = Repositories::Told;
            }
            Phase::Stopped { .. } => {}
        }
    }

    /// No new work from here on: steps that still set the space up are ended.
    pub(super) fn stop(&mut self, reason: String, code: u8, now: Now, effects: &mut Vec<Effect>) {
        let total = self.spec.stop.deadline;
        let worked_in = self.mode() == Some(Mode::Normal);
        self.events.tell(now, code != 0, format!("the space stops: {reason}"));
        for index in step::running(&self.spec.steps, &self.steps, Moment::Start) {
            if let StepRun::Running { child, .. } = &self.steps[index] {
                effects.push(Effect::EndChild { child: child.clone(), grace: total / 5 });
            }
        }
        // What saves the work of a space is for one that was worked in.
        for index in step::of(&self.spec.steps, Moment::Stop) {
            let not_up = || StepRun::Dropped { why: "the space was not up".into() };
            self.steps[index] = if worked_in { StepRun::Waiting } else { not_up() };
        }
        let stage = Stage::Steps { until: now.monotonic.plus(total / 5) };
        self.phase =
            Phase::Stopping { since: now, deadline: now.monotonic.plus(total), reason, code, stage, hurried: false };
    }

    /// Where a stop stands, and the moment at which it must be over.
    pub fn stopping(&self) -> Option<(Stage, Monotonic, u8)> {
        match &self.phase {
            Phase::Stopping { stage, deadline, code, .. } => Some((*stage, *deadline, *code)),
            _ => None,
        }
    }

    fn set_stage(&mut self, next: Stage) {
        if let Phase::Stopping { stage, .. } = &mut self.phase {
            *stage = next;
        }
    }

    fn advance_stop_steps(&mut self, until: Monotonic, now: Now, effects: &mut Vec<Effect>) {
        let late = until <= now.monotonic;
        if !late {
            self.start_stop_steps(now, effects);
        }
        let stop_steps: Vec<usize> = step::of(&self.spec.steps, Moment::Stop).collect();
        for index in stop_steps {
            self.end_overdue_step(index, now, effects);
            match &mut self.steps[index] {
                StepRun::Running { .. } if !late => return,
                StepRun::Running { child, timed_out, .. } => {
                    *timed_out = true;
                    effects.push(Effect::EndChild { child: child.clone(), grace: Duration::ZERO });
                }
                run @ StepRun::Waiting => {
                    *run = StepRun::Dropped { why: "the time for stop steps (20 % of stop.deadline) was over".into() };
                }
                StepRun::Ended { .. } | StepRun::Dropped { .. } => {}
            }
        }
        // After the steps, which may have committed and pushed.
        let within = REPOSITORIES.min(self.spec.stop.deadline / 5);
        self.repositories = Repositories::Asked { until: now.monotonic.plus(within) };
        effects.push(Effect::LookAtRepositories);
        self.set_stage(Stage::Apps { until: now.monotonic.plus(self.apps_share()) });
        for app in 0..self.apps.len() {
            self.end_app(app, self.apps_share(), effects);
        }
    }

    fn start_stop_steps(&mut self, now: Now, effects: &mut Vec<Effect>) {
        loop {
            match step::next(&self.spec.steps, &self.steps, Moment::Stop) {
                Next::Nothing => return,
                Next::Drop(index, why) => self.steps[index] = StepRun::Dropped { why },
                Next::Start(index) => self.start_step(index, now, effects),
            }
        }
    }

    fn apps_share(&self) -> Duration {
        self.spec.stop.deadline * 2 / 5
    }

    fn advance_apps_end(&mut self, until: Monotonic, now: Now, effects: &mut Vec<Effect>) {
        let all_ended = self.apps.iter().all(|app| app.child().is_none());
        if all_ended || until <= now.monotonic {
            self.set_stage(Stage::Tree);
            effects.push(self.end_tree());
        }
    }

    fn end_tree(&self) -> Effect {
        Effect::EndTree { grace: ORPHANS.min(self.spec.stop.deadline / 10) }
    }

    /// Nothing runs any more. What the repositories hold is told before the end, if that is known soon.
    pub(super) fn tree_ended(&mut self, now: Now) {
        if self.stopping().is_none() {
            return;
        }
        self.set_stage(Stage::Over);
        for app in &mut self.apps {
            app.state = State::Stopped;
        }
        self.end_if_over(now);
    }

    pub(super) fn repositories_seen(&mut self, found: Vec<String>, now: Now) {
        if matches!(self.repositories, Repositories::Asked { .. }) {
            self.repositories = Repositories::Told;
            for repository in found {
                self.events.tell(now, false, repository);
            }
        }
    }

    fn end_if_over(&mut self, now: Now) {
        let Phase::Stopping { reason, code, stage, deadline, .. } = &self.phase else { return };
        let told = match self.repositories {
            Repositories::Asked { until } => until <= now.monotonic,
            Repositories::NotAsked | Repositories::Told => true,
        };
        // What follows, the record and the last word, has a share of the deadline too.
        if (*stage == Stage::Over && told) || self.latest(*deadline) <= now.monotonic {
            self.phase = Phase::Stopped { since: now, reason: reason.clone(), code: *code };
        }
    }

    /// When whatever is left is left behind. Reports have 10 % of the deadline; a second wish to stop leaves nothing to
    /// share.
    fn latest(&self, deadline: Monotonic) -> Monotonic {
        match self.phase {
            Phase::Stopping { hurried: false, .. } => {
                let reports = u64::try_from(self.spec.stop.deadline.as_millis() / 10).unwrap_or(0);
                Monotonic(deadline.0.saturating_sub(reports))
            }
            _ => deadline,
        }
    }

    pub(super) fn advance_ending(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if let Phase::Failed { since, reason, code } = &self.phase
            && now.monotonic.since(since.monotonic) >= FAILED_SHOWN
        {
            let (reason, code) = (reason.clone(), *code);
            self.stop(reason, code, now, effects);
        }
        if let Some((Stage::Steps { until }, ..)) = self.stopping() {
            self.advance_stop_steps(until, now, effects);
        }
        if let Some((Stage::Apps { until }, ..)) = self.stopping() {
            self.advance_apps_end(until, now, effects);
        }
        self.end_if_over(now);
        if matches!(self.phase, Phase::Stopped { .. }) {
            effects.extend(self.leave());
        }
    }

    pub(super) fn leave(&self) -> Vec<Effect> {
        match &self.phase {
            Phase::Stopped { code, .. } => vec![Effect::Leave { code: *code }],
            _ => Vec::new(),
        }
    }

    /// A new agent asks again for what the one before had asked for.
    pub(super) fn resume_ending(&mut self, known: &[String], effects: &mut Vec<Effect>) {
        let Some((stage, ..)) = self.stopping() else { return };
        if matches!(self.repositories, Repositories::Asked { .. }) {
            effects.push(Effect::LookAtRepositories);
        }
        match stage {
            Stage::Steps { .. } => self.resume_steps(known, effects),
            Stage::Apps { .. } => {
                for app in 0..self.apps.len() {
                    self.end_app(app, self.apps_share(), effects);
                }
            }
            Stage::Tree => effects.push(self.end_tree()),
            Stage::Over => {}
        }
    }

    pub(super) fn ending_moments(&self) -> Vec<Monotonic> {
        match &self.phase {
            Phase::Failed { since, .. } => vec![since.monotonic.plus(FAILED_SHOWN)],
            Phase::Stopping { deadline, stage, .. } => {
                let mut moments = vec![self.latest(*deadline)];
                match (*stage, self.repositories) {
                    (Stage::Steps { until } | Stage::Apps { until }, _) => moments.push(until),
                    (Stage::Over, Repositories::Asked { until }) => moments.push(until),
                    _ => {}
                }
                moments.extend(self.step_moments());
                moments
            }
            _ => Vec::new(),
        }
    }
}
