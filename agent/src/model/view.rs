//! The state as others see it: one status value, with the sentence that says it all.

use super::app::{AppRun, State};
use super::child::StepOutcome;
use super::idle::{Verdict, clock};
use super::now::{Now, spoken};
use super::space::{Phase, Space};
use super::status::{
    self, ActivityStatus, AgentStatus, AppState, AppStatus, KernelStatus, Mode, PhaseName, Status, StepState,
    StepStatus, VerdictName,
};
use super::step::{AT_THE_STOP, StepRun};
use space_lifecycle::{Action, awaited};

impl Space {
    /// The state at `now`.
    pub fn status(&self, now: Now, agent: AgentStatus) -> Status {
        let (phase, since, reason) = self.phase_status();
        Status {
            space: self.facts.name.clone(),
            boot: self.facts.boot.clone(),
            phase,
            mode: self.phase.mode(),
            since: since.wall,
            sentence: self.sentence(&now),
            reason,
            steps: self.step_statuses(),
            apps: (0..self.apps.len()).map(|index| self.app_status(index)).collect(),
            activity: self.activity_status(&now),
            leases: self.leases.iter().map(|lease| lease.status(&now)).collect(),
            warnings: self.warnings.clone(),
            events: self.events.list().cloned().collect(),
            isolation: self.facts.isolation,
            last_run: self.facts.last_run.clone(),
            user: self.facts.user.clone(),
            home: self.facts.home.clone(),
            listen: self.facts.listen,
            tls: self.spec.front_door.tls.is_some(),
            path: self.path().to_owned(),
            agent,
        }
    }

    /// Where a browser on this machine goes first.
    pub fn url(&self) -> String {
        status::url(self.facts.listen, self.spec.front_door.tls.is_some(), self.path())
    }

    /// The first app's path, or the front door's own.
    fn path(&self) -> &str {
        self.app_facts.first().map_or(&self.spec.front_door.base_path, |app| &app.base_path)
    }

    fn phase_status(&self) -> (PhaseName, Now, Option<String>) {
        match &self.phase {
            Phase::Booting { since } => (PhaseName::Booting, *since, None),
            Phase::Running { since, .. } => (PhaseName::Running, *since, self.why_mode().map(str::to_owned)),
            Phase::Notice { since, .. } => (PhaseName::Notice, *since, self.why_mode().map(str::to_owned)),
            Phase::Failed { since, reason, .. } => (PhaseName::Failed, *since, Some(reason.clone())),
            Phase::Stopping { since, reason, .. } => (PhaseName::Stopping, *since, Some(reason.clone())),
            Phase::Stopped { since, reason, .. } => (PhaseName::Stopped, *since, Some(reason.clone())),
        }
    }

    /// What the space is doing and why, in one plain sentence.
    fn sentence(&self, now: &Now) -> String {
        match &self.phase {
            Phase::Booting { .. } => self.booting_sentence(),
            Phase::Running { mode: Mode::Parked, .. } => {
                format!("The space is parked, and nothing runs in it: {}.", self.why_mode().unwrap_or("it was stopped"))
            }
            Phase::Running { mode: Mode::Recovery, .. } => self.recovery_sentence(),
            Phase::Running { .. } => match self.apps.iter().position(|app| app.coming()) {
                Some(index) if self.apps[index].attempts <= 1 => {
                    format!("{} is starting.", self.app_facts[index].label)
                }
                Some(index) => format!("{} is being started again.", self.app_facts[index].label),
                None => self.ready_sentence(now),
            },
            Phase::Notice { stops_at, .. } => {
                format!(
                    "Nothing is running in the space; it stops at {} unless something does.",
                    clock(now.wall_of(*stops_at))
                )
            }
            Phase::Failed { reason, .. } => format!("The space failed: {reason}."),
            Phase::Stopping { reason, .. } => format!("The space is stopping: {reason}."),
            Phase::Stopped { reason, .. } => format!("The space has stopped: {reason}."),
        }
    }

    fn recovery_sentence(&self) -> String {
        let why = self.why_mode().unwrap_or("somebody asked for it");
        let what = match (self.app_facts.first(), self.apps.first()) {
            (Some(facts), Some(app)) if app.ready() => format!("; {} runs with a clean home", facts.label),
            (Some(facts), Some(app)) if app.coming() => format!("; {} is starting with a clean home", facts.label),
            (Some(facts), Some(_)) => format!("; {} cannot run with a clean home either", facts.label),
            _ => String::new(),
        };
        format!("The space runs in recovery mode: {why}{what}. After the repair: space-agent start.")
    }

    fn booting_sentence(&self) -> String {
        let running = self.steps.iter().position(|step| matches!(step, StepRun::Running { .. }));
        let starting = self.apps.iter().position(|app| !matches!(app.state, State::Waiting) && app.coming());
        match (running, starting) {
            (Some(index), None) => {
                let over = self.steps.iter().filter(|step| step.over()).count();
                let total = self.steps.len();
                format!("The space is being set up: step {} ({} of {total}).", self.spec.steps[index].name, over + 1)
            }
            (_, Some(index)) => match &self.apps[index].why {
                Some(why) => format!("{} is being started again: {why}.", self.app_facts[index].label),
                None => format!("{} is starting.", self.app_facts[index].label),
            },
            (None, None) => "The space is starting.".into(),
        }
    }

    fn ready_sentence(&self, now: &Now) -> String {
        let asleep = self.apps.first().is_some_and(AppRun::sleeps);
        let what = match self.app_facts.first() {
            Some(app) if asleep => format!("{} starts at its first request", app.label),
            Some(app) => format!("{} is ready", app.label),
            None => "The space is ready".into(),
        };
        match self.verdict(now) {
            Verdict::Active { because } => format!("{what}, and active: {because}."),
            Verdict::Unknown { because, .. } => format!("{what}; whether it works is unknown: {because}."),
            Verdict::Idle { .. } => format!("{what}; nothing is running in it."),
        }
    }

    fn step_statuses(&self) -> Vec<StepStatus> {
        let awaited = awaited(&self.spec.steps);
        awaited.into_iter().enumerate().map(|(index, awaited)| self.step_status(index, awaited)).collect()
    }

    fn step_status(&self, index: usize, blocks_app: bool) -> StepStatus {
        let spec = &self.spec.steps[index];
        let (state, why, started, took_ms) = match &self.steps[index] {
            StepRun::Waiting => (StepState::Waiting, None, None, None),
            StepRun::Running { since, .. } => (StepState::Running, None, Some(since.wall), None),
            StepRun::Dropped { why } if why == AT_THE_STOP => (StepState::Waiting, Some(why.clone()), None, None),
            StepRun::Dropped { why } => (StepState::Dropped, Some(why.clone()), None, None),
            StepRun::Ended { outcome, since, took_ms } => {
                let (state, why) = match outcome {
                    StepOutcome::Done { why } => (StepState::Done, why.clone()),
                    StepOutcome::Skipped { why } => (StepState::Skipped, Some(why.clone())),
                    StepOutcome::Failed { why } => (StepState::Failed, Some(why.clone())),
                };
                (state, why, Some(since.wall), Some(*took_ms))
            }
        };
        let (name, kind) = (spec.name.clone(), spec.kind.name().to_owned());
        StepStatus { name, kind, blocks_app, state, why, started, took_ms }
    }

    fn app_status(&self, index: usize) -> AppStatus {
        let (spec, facts, run) = (&self.spec.apps[index], &self.app_facts[index], &self.apps[index]);
        let (state, pid, since) = app_state(run, self.up());
        AppStatus {
            name: spec.name.clone(),
            kind: spec.kind_name().to_owned(),
            label: facts.label.clone(),
            base_path: facts.base_path.clone(),
            state,
            pid,
            restarts: run.history.restarts,
            // What was before is no reason for what was asked for.
            why: run.why.clone().filter(|_| !run.asked || !self.up()),
            since: since.map(|since| since.wall),
        }
    }

    fn activity_status(&self, now: &Now) -> ActivityStatus {
        let verdict =
            if self.up() { self.verdict(now) } else { Verdict::Active { because: "the space is ending".into() } };
        let kernels = self.activity.kernels().map(|(app, kernel)| KernelStatus {
            app: app.to_owned(),
            name: kernel.name.clone(),
            state: kernel.state,
        });
        let (name, last_active) = match &verdict {
            Verdict::Active { .. } => (VerdictName::Active, now.wall),
            Verdict::Unknown { .. } => (VerdictName::Unknown, now.wall),
            Verdict::Idle { since, .. } => (VerdictName::Idle, now.wall_of(*since).min(now.wall)),
        };
        ActivityStatus {
            verdict: name,
            sentence: self.activity_sentence(&verdict, now),
            last_active,
            stops_at: self.would_stop_at(now).filter(|_| self.up()).map(|at| now.wall_of(at)),
            shutdown_s: self.spec.idle.shutdown.map(|shutdown| shutdown.as_secs()),
            action: action_name(&self.spec.idle.action).to_owned(),
            kernels: kernels.collect(),
            blind: self.activity.blind().map(str::to_owned).collect(),
        }
    }

    /// Why the space is or isn't idle, in one sentence.
    fn activity_sentence(&self, verdict: &Verdict, now: &Now) -> String {
        if self.mode() == Some(Mode::Parked) {
            return "Parked: nothing runs in it, and it does not stop by itself.".into();
        }
        let after = self.spec.idle.shutdown.map(spoken);
        match verdict {
            Verdict::Active { because } => match after {
                Some(after) => format!("Active: {because}; it stops {after} after the last activity."),
                None => format!("Active: {because}."),
            },
            Verdict::Unknown { because, until } => {
                format!("Unknown: {because}; it is held as active until {} at most.", clock(now.wall_of(*until)))
            }
            Verdict::Idle { since, last, stops_at } => {
                let since = clock(now.wall_of(*since));
                let then = match (stops_at, &self.spec.idle.action) {
                    (None, _) => "it never stops by itself (idle.shutdown: never)".to_owned(),
                    (Some(_), Action::Observe) => "it does not stop by itself (idle.action: observe)".to_owned(),
                    (Some(_), Action::Report) => "whoever polls api/idle decides (idle.action: report)".to_owned(),
                    (Some(at), Action::Exit) => format!("it stops at {} if nothing happens", clock(now.wall_of(*at))),
                    (Some(at), Action::Command(_)) => {
                        format!("idle.action's command runs at {} if nothing happens", clock(now.wall_of(*at)))
                    }
                };
                format!("Idle since {since}, when {last}; {then}.")
            }
        }
    }
}

/// `up`: what ends is started anew.
fn app_state(run: &AppRun, up: bool) -> (AppState, Option<i32>, Option<Now>) {
    match &run.state {
        State::Starting { pid, .. } | State::Ready { pid, .. } if run.asked && up => (AppState::Restarting, *pid, None),
        State::Waiting if run.sleeps() => (AppState::Asleep, None, None),
        State::Waiting => (AppState::Waiting, None, None),
        State::Starting { pid, since, .. } => (AppState::Starting, *pid, Some(*since)),
        State::Ready { pid, since, .. } => (AppState::Ready, *pid, Some(*since)),
        State::Backoff { .. } => (AppState::Restarting, None, None),
        State::GivenUp => (AppState::Failed, None, None),
        State::Stopped => (AppState::Stopped, None, None),
    }
}

fn action_name(action: &Action) -> &'static str {
    match action {
        Action::Observe => "observe",
        Action::Report => "report",
        Action::Exit => "exit",
        Action::Command(_) => "command",
    }
}
