//! The way out: failed, stopping, stopped.

use super::{Effect, Phase, Space};
use crate::model::now::{Monotonic, Now};
use std::time::Duration;

/// How long a failed space shows why on its page, before it ends.
pub const FAILED_SHOWN: Duration = Duration::from_secs(3);

/// A second wish to stop leaves this much.
const IMPATIENT: Duration = Duration::from_secs(1);

impl Space {
    pub(super) fn fail(&mut self, reason: String, code: u8, now: Now, effects: &mut Vec<Effect>) {
        if self.up() {
            self.phase = Phase::Failed { since: now, reason, code };
            // Nothing is started any more; what runs is ended with the rest, after the reason was shown.
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
            Phase::Stopping { deadline, .. } => {
                *deadline = (*deadline).min(now.monotonic.plus(IMPATIENT));
                effects.push(Effect::EndTree { grace: Duration::ZERO });
            }
            Phase::Stopped { .. } => {}
        }
    }

    pub(super) fn stop(&mut self, reason: String, code: u8, now: Now, effects: &mut Vec<Effect>) {
        let deadline = now.monotonic.plus(self.spec.stop.deadline);
        self.phase = Phase::Stopping { since: now, deadline, reason, code };
        effects.push(Effect::EndTree { grace: self.grace() });
    }

    /// The apps' share of the deadline: 40 %.
    fn grace(&self) -> Duration {
        self.spec.stop.deadline * 2 / 5
    }

    pub(super) fn tree_ended(&mut self, now: Now) {
        if let Phase::Stopping { reason, code, .. } = &self.phase {
            self.phase = Phase::Stopped { since: now, reason: reason.clone(), code: *code };
        }
    }

    pub(super) fn advance_ending(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if let Phase::Failed { since, reason, code } = &self.phase
            && now.monotonic.since(since.monotonic) >= FAILED_SHOWN
        {
            let (reason, code) = (reason.clone(), *code);
            self.stop(reason, code, now, effects);
        }
        if let Phase::Stopping { deadline, .. } = &self.phase
            && *deadline <= now.monotonic
        {
            self.tree_ended(now);
        }
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

    pub(super) fn resume_ending(&self, effects: &mut Vec<Effect>) {
        if matches!(self.phase, Phase::Stopping { .. }) {
            effects.push(Effect::EndTree { grace: self.grace() });
        }
    }

    pub(super) fn ending_moments(&self) -> Vec<Monotonic> {
        match &self.phase {
            Phase::Failed { since, .. } => vec![since.monotonic.plus(FAILED_SHOWN)],
            Phase::Stopping { deadline, .. } => vec![*deadline],
            _ => Vec::new(),
        }
    }
}
