//! Apps: when each is started, what its end means, and what follows when somebody asks for a new start.

use super::{Effect, Phase, Space};
use crate::model::app::{AppRun, State};
use crate::model::child::{ChildId, Exit};
use crate::model::news::LAST_LINE;
use crate::model::now::{Monotonic, Now, spoken};
use crate::model::restart::Decision;
use crate::model::status::Mode;
use crate::model::step;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// What an app gets between SIGTERM and SIGKILL when it took too long, or has gone silent.
const OVERDUE_GRACE: Duration = Duration::from_secs(5);

/// What an app gets for its own way of ending when somebody asked for a new start.
const RESTART_GRACE: Duration = Duration::from_secs(10);

impl Space {
    pub(super) fn advance_apps(&mut self, now: Now, effects: &mut Vec<Effect>) {
        for index in 0..self.apps.len() {
            let may_start = self.may_start(index);
            let deadline = self.spec.apps[index].ready_deadline;
            let asleep = self.apps[index].asleep;
            match &mut self.apps[index].state {
                State::Waiting if may_start && !asleep => self.start_app(index, now, effects),
                State::Backoff { until } if *until <= now.monotonic => self.start_app(index, now, effects),
                State::Starting { child, since, too_slow, .. }
                    if !*too_slow && now.monotonic.since(since.monotonic) >= deadline =>
                {
                    *too_slow = true;
                    effects.push(Effect::EndChild { child: child.clone(), grace: OVERDUE_GRACE });
                }
                _ => {}
            }
        }
    }

    /// In recovery mode the first app alone, at once; parked none; else all, after the steps that they wait for.
    fn may_start(&self, index: usize) -> bool {
        match self.mode() {
            Some(Mode::Parked) => false,
            Some(Mode::Recovery) => index == 0,
            Some(Mode::Normal) | None => step::apps_may_start(&self.spec.steps, &self.steps),
        }
    }

    /// In recovery mode the other apps are not to be had, and parked none is: they are not asleep there.
    pub(super) fn app_wanted(&mut self, index: usize, now: Now) {
        if self.up() && self.apps.get(index).is_some_and(AppRun::sleeps) {
            self.apps[index].asleep = false;
            self.events.tell(
                now,
                false,
                format!("somebody opened {}, which starts on demand", self.app_facts[index].label),
            );
        }
    }

    fn start_app(&mut self, index: usize, now: Now, effects: &mut Vec<Effect>) {
        let recovery = self.recovers();
        let app = &mut self.apps[index];
        app.attempts += 1;
        let child = ChildId::App { name: self.spec.apps[index].name.clone(), attempt: app.attempts }.to_string();
        app.state = State::Starting { child: child.clone(), pid: None, since: now, too_slow: false };
        effects.push(Effect::StartApp { app: index, child, recovery });
    }

    pub(super) fn started(&mut self, child: &str, started: i32, effects: &mut Vec<Effect>) {
        let recovery = self.recovers();
        for (index, app) in self.apps.iter_mut().enumerate() {
            match &mut app.state {
                State::Starting { child: own, pid, .. } if own == child => {
                    *pid = Some(started);
                    effects.push(Effect::ProbeApp { app: index, child: child.to_owned(), recovery });
                }
                // init tells a new agent of every child.
                State::Ready { child: own, pid, .. } if own == child => {
                    *pid = Some(started);
                    // The watch over it ended with the agent before, and the new one finds out by itself.
                    if std::mem::take(&mut app.silent) {
                        app.why = None;
                    }
                    effects.push(Effect::WatchApp { app: index, child: child.to_owned(), recovery });
                }
                _ => {}
            }
        }
    }

    pub(super) fn app_ready(&mut self, child: &str, now: Now, effects: &mut Vec<Effect>) {
        let Some(index) = self.app_of_child(child) else { return };
        let recovery = self.recovers();
        let app = &mut self.apps[index];
        if let State::Starting { child, pid, .. } = &app.state {
            effects.push(Effect::WatchApp { app: index, child: child.clone(), recovery });
            app.state = State::Ready { child: child.clone(), pid: *pid, since: now };
            app.history.ever_ready = true;
            app.silent = false;
            app.why = None;
        }
    }

    pub(super) fn app_ended(
        &mut self,
        child: &str,
        exit: &Exit,
        last_line: Option<String>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let Some(index) = self.app_of_child(child) else { return };
        self.activity.forget(&self.spec.apps[index].name);
        if !self.up() {
            self.apps[index].state = State::Stopped;
            return;
        }
        if std::mem::take(&mut self.apps[index].asked) {
            return self.start_anew(index, now, effects);
        }
        let why = self.why_ended(index, exit, last_line);
        let chance = chance(&self.facts.boot, self.apps[index].attempts);
        let policy = &self.spec.apps[index].restart;
        let app = &mut self.apps[index];
        app.state = match exit {
            // What is not there will not be there a second later.
            Exit::NotStarted(_) => State::GivenUp,
            _ => match app.history.ended(now.monotonic, policy, chance) {
                Decision::StartAgainAt(until) => State::Backoff { until },
                Decision::GiveUp => State::GivenUp,
            },
        };
        app.silent = false;
        app.why = Some(why.clone());
        if app.state != State::GivenUp {
            self.events.tell(now, true, format!("{why}; it is started again"));
        }
    }

    fn why_ended(&self, index: usize, exit: &Exit, last_line: Option<String>) -> String {
        let (app, label) = (&self.apps[index], &self.app_facts[index].label);
        let too_slow = matches!(app.state, State::Starting { too_slow: true, .. });
        match exit {
            Exit::NotStarted(why) => format!("{label} cannot be started: {why}"),
            _ if too_slow => {
                let deadline = spoken(self.spec.apps[index].ready_deadline);
                format!("{label} did not answer within {deadline} of its start")
            }
            _ if app.silent => format!("{label} did not answer any more and was ended"),
            exit => match last_line {
                Some(line) => format!("{label} {exit}{LAST_LINE}{line}"),
                None => format!("{label} {exit} without any output"),
            },
        }
    }

    /// After an end that was asked for: at once, or in its turn if the space boots again.
    fn start_anew(&mut self, index: usize, now: Now, effects: &mut Vec<Effect>) {
        (self.apps[index].silent, self.apps[index].why) = (false, None);
        match self.phase {
            Phase::Booting { .. } => self.apps[index].state = State::Waiting,
            _ if self.may_start(index) => self.start_app(index, now, effects),
            _ => self.apps[index].state = State::Stopped,
        }
    }

    /// An app that was given up gets all its tries again.
    pub(super) fn restart_asked(&mut self, index: usize, by: &str, now: Now, effects: &mut Vec<Effect>) {
        if !self.up() || index >= self.apps.len() || !self.may_start(index) || self.apps[index].asked {
            return;
        }
        self.events.tell(now, false, format!("{by} asked for a restart of {}", self.app_facts[index].label));
        self.apps[index].history = Default::default();
        self.apps[index].asleep = false;
        match self.apps[index].child() {
            Some(_) => self.end_app(index, RESTART_GRACE, effects),
            None if self.apps[index].state == State::Waiting => {}
            None => self.start_app(index, now, effects),
        }
    }

    /// Asks for the end of an app that runs; it is no failure of its own.
    pub(super) fn end_app(&mut self, app: usize, grace: Duration, effects: &mut Vec<Effect>) {
        if let Some(child) = self.apps[app].child().map(str::to_owned) {
            self.apps[app].asked = true;
            effects.push(Effect::EndApp { app, child, grace, recovery: self.recovers() });
        }
    }

    pub(super) fn app_silent(&mut self, child: &str, now: Now, effects: &mut Vec<Effect>) {
        let Some(index) = self.app_of_child(child) else { return };
        if !self.up() || self.apps[index].silent || !matches!(self.apps[index].state, State::Ready { .. }) {
            return;
        }
        self.apps[index].silent = true;
        let label = &self.app_facts[index].label;
        match &self.spec.apps[index].live {
            Some(_) => {
                self.events.tell(now, true, format!("{label} does not answer any more and is ended"));
                effects.push(Effect::EndChild { child: child.to_owned(), grace: OVERDUE_GRACE });
            }
            // To end it would end what its kernels compute.
            None => {
                let why = format!("{label} runs but has not answered for a while; space-agent restart ends it");
                self.events.tell(now, true, why.clone());
                self.apps[index].why = Some(why);
            }
        }
    }

    pub(super) fn app_answers(&mut self, child: &str) {
        if let Some(index) = self.app_of_child(child)
            && std::mem::take(&mut self.apps[index].silent)
        {
            self.apps[index].why = None;
        }
    }

    /// The first app is what the space is for: without it there is recovery mode. Another one is missed, and said to be.
    pub(super) fn give_up_apps(&mut self, now: Now, effects: &mut Vec<Effect>) {
        for index in 0..self.apps.len() {
            if !self.up() || self.apps[index].state != State::GivenUp {
                continue;
            }
            let reason = self.why_given_up(index);
            match self.mode() {
                // The agent's own page is what is left, with its console.
                Some(Mode::Recovery) if index == 0 => self.warn(reason),
                Some(Mode::Recovery | Mode::Parked) => {}
                _ if index == 0 => self.recover(reason, 3, now, effects),
                _ => self.warn(reason),
            }
        }
    }

    fn why_given_up(&self, index: usize) -> String {
        let (app, name) = (&self.apps[index], &self.spec.apps[index].name);
        let why = app.why.clone().unwrap_or_default();
        let times = if app.attempts > 1 { format!(" ({} starts)", app.attempts) } else { String::new() };
        format!("{why}{times}; its output is in {}/apps/{name}.log", self.facts.logs)
    }

    pub(super) fn resume_app(&mut self, app: usize, known: impl Fn(&str) -> bool, now: Now, effects: &mut Vec<Effect>) {
        let recovery = self.recovers();
        let asked = self.apps[app].asked;
        match self.apps[app].state.clone() {
            State::Starting { child, .. } | State::Ready { child, .. } if asked && known(&child) => {
                effects.push(Effect::EndApp { app, child, grace: RESTART_GRACE, recovery });
            }
            // It never was: an end was asked for before init had heard of the start.
            State::Starting { child, .. } if asked => {
                self.app_ended(&child, &Exit::NotStarted(String::new()), None, now, effects);
            }
            // Of a child that it knows init tells the start once more, and the app is probed again.
            State::Starting { child, .. } if !known(&child) => {
                effects.push(Effect::StartApp { app, child, recovery });
            }
            State::Starting { child, too_slow: true, .. } => {
                effects.push(Effect::EndChild { child, grace: Duration::ZERO });
            }
            // Cannot be: init forgets a child only when its end is stored. If it were, the app would be missing.
            State::Ready { child, .. } if !known(&child) => {
                let nobody = Some("(nobody saw it end)".into());
                self.app_ended(&child, &Exit::Signal(9), nobody, now, effects);
            }
            _ => {}
        }
    }

    pub(super) fn app_moments(&self) -> impl Iterator<Item = Monotonic> {
        self.apps.iter().zip(&self.spec.apps).filter_map(|(app, spec)| match &app.state {
            State::Starting { since, too_slow: false, .. } => Some(since.monotonic.plus(spec.ready_deadline)),
            State::Backoff { until } => Some(*until),
            _ => None,
        })
    }
}

/// A number that no two apps, starts and boots share: what is added to a wait.
fn chance(boot: &str, attempts: u32) -> u64 {
    let mut hasher = DefaultHasher::new();
    (boot, attempts).hash(&mut hasher);
    hasher.finish()
}
