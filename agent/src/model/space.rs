//! The space's state machine: `handle(event, now)` changes the one state value and says what is to be done.
//!
//! Phases move only along DESIGN's arrows: Booting -> Running, Stopping, Failed; Running <-> Notice; Running, Notice ->
//! Stopping, Failed; Failed -> Stopping; Stopping -> Stopped. The state serializes: it is saved before its effects are
//! carried out, and a restarted agent asks again for whatever init does not know of: every effect can therefore be asked
//! for twice, and none is lost between the saving and the act.

mod apps;
mod asked;
mod boot;
mod detour;
mod ending;
mod idling;

use super::app::{AppFacts, AppRun};
use super::child::{ChildId, Exit, StepOutcome};
use super::events::Events;
use super::idle::{Activity, Verdict};
use super::isolation::Isolation;
use super::lease::{self, Lease};
use super::memory::{self, MemoryNews, Victim};
use super::now::{Monotonic, Now, Timestamp};
use super::reading::Reading;
use super::status::Mode;
use super::step::{self, StepRun};
use serde::{Deserialize, Serialize};
use space_lifecycle::Moment;
use std::net::SocketAddr;
use std::time::Duration;

pub use detour::{Beginning, Turn};
pub use ending::{FAILED_SHOWN, Stage};
pub use idling::NOTHING_HAS_RUN;

/// How long beyond its end the use of a link is remembered, in milliseconds: the front door allows for clocks that
/// differ by less.
const LINK_REMEMBERED: u64 = 60_000;

/// All of the agent's state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Space {
    /// What the space should be, as it was when it booted.
    pub spec: space_lifecycle::Space,
    pub facts: Facts,
    pub(super) app_facts: Vec<AppFacts>,
    pub(super) phase: Phase,
    pub(super) steps: Vec<StepRun>,
    pub(super) apps: Vec<AppRun>,
    pub(super) activity: Activity,
    pub(super) leases: Vec<Lease>,
    pub(super) warnings: Vec<String>,
    used_links: Vec<(String, Timestamp)>,
    /// How often `idle.action`'s command was run; names its processes.
    idle_commands: u32,
    /// The last of them has not ended yet, as far as we were told.
    idle_command_runs: bool,
    /// Why it runs in recovery mode, or parked.
    #[serde(default)]
    why_mode: Option<String>,
    /// 1 for the boot; each start out of recovery or parked mode begins another.
    #[serde(default = "one")]
    round: u32,
    #[serde(default)]
    pub(super) events: Events,
    /// How many commands the console of recovery mode was given; names their processes.
    #[serde(default)]
    rescue_commands: u32,
    /// Whether it is known what the user has not committed or pushed.
    #[serde(default)]
    repositories: Repositories,
}

/// A look at the repositories, once the space stops.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Repositories {
    #[default]
    NotAsked,
    /// The end of the space waits for the answer until then.
    Asked {
        until: Monotonic,
    },
    Told,
}

fn one() -> u32 {
    1
}

/// What was found out about the space before its boot; never changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    pub name: String,
    /// 8 hexadecimal digits, the same at every start of the same space.
    pub id: String,
    /// New at every start of the space.
    pub boot: String,
    pub user: String,
    pub home: String,
    /// The log folder; what an app said is in `apps/NAME.log` below it.
    pub logs: String,
    /// Where the front door listens: the port that it has, also where the document says 0.
    pub listen: SocketAddr,
    /// No recovery mode: what would lead to it ends the space.
    #[serde(default)]
    pub strict: bool,
    /// How far the space's user is kept away from the agent.
    #[serde(default)]
    pub isolation: Isolation,
    /// How the run before this one ended, in one sentence, if that is known.
    #[serde(default)]
    pub last_run: Option<String>,
}

/// Each phase owns its data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Phase {
    Booting {
        since: Now,
    },
    Running {
        since: Now,
        mode: Mode,
    },
    Notice {
        since: Now,
        stops_at: Monotonic,
        mode: Mode,
    },
    Failed {
        since: Now,
        reason: String,
        code: u8,
    },
    Stopping {
        since: Now,
        deadline: Monotonic,
        reason: String,
        code: u8,
        #[serde(default)]
        stage: Stage,
        /// Somebody asked twice.
        #[serde(default)]
        hurried: bool,
    },
    Stopped {
        since: Now,
        reason: String,
        code: u8,
    },
}

impl Phase {
    /// How the space runs; `None` while it doesn't.
    pub fn mode(&self) -> Option<Mode> {
        match self {
            Phase::Running { mode, .. } | Phase::Notice { mode, .. } => Some(*mode),
            _ => None,
        }
    }
}

/// Everything that can happen to a space.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Time has passed.
    Tick,
    /// A restarted agent found these children, running or ended.
    Resumed {
        known: Vec<String>,
    },
    /// init has started a child.
    Started {
        child: String,
        pid: i32,
    },
    StepEnded {
        child: String,
        outcome: StepOutcome,
    },
    /// An app's process ended, or could not be started. `last_line`: of its output.
    AppEnded {
        child: String,
        exit: Exit,
        last_line: Option<String>,
    },
    /// Any other child ended.
    OtherEnded {
        child: String,
        exit: Exit,
    },
    /// The app answers its readiness probe.
    AppReady {
        child: String,
    },
    Seen(Reading),
    /// A person or a client has worked in an app, or on a port, since the last look at what passes the front door.
    Worked {
        /// By its name.
        app: String,
    },
    LeaseTaken(Lease),
    LeaseEnded {
        id: String,
    },
    /// A sign-in link was redeemed, which [`Space::link_is_fresh`] allowed.
    LinkUsed {
        id: String,
        /// When the link would have expired: until then its use is remembered.
        expires: Timestamp,
    },
    StopAsked {
        reason: String,
    },
    /// Somebody wants an app to be ended and started anew.
    RestartAsked {
        app: usize,
        by: String,
    },
    /// Somebody who may use this app, by its place in the document, wants it: if it sleeps, it starts.
    AppWanted {
        app: usize,
    },
    /// Somebody wants the space to leave recovery or parked mode.
    StartAsked {
        by: String,
    },
    /// What the space is to be at its next start, out of recovery or parked mode.
    Replaced {
        spec: Box<space_lifecycle::Space>,
        app_facts: Vec<AppFacts>,
    },
    /// The same steps and apps, under other limits; what that means, in sentences.
    Reloaded {
        spec: Box<space_lifecycle::Space>,
        told: Vec<String>,
    },
    /// Something outside the state machine that may surprise.
    Warned(String),
    /// A command for the console of recovery mode, for the user's shell.
    RescueAsked {
        command: String,
    },
    /// The app has not answered its liveness probe as often in a row as it may.
    AppSilent {
        child: String,
    },
    /// It answers again.
    AppAnswers {
        child: String,
    },
    /// Memory runs short, or the system has ended something for it.
    Memory(MemoryNews),
    /// What is not committed or not pushed, a sentence for each repository.
    RepositoriesSeen(Vec<String>),
    /// Something outside the state machine that belongs into the space's events.
    Noted {
        text: String,
        failure: bool,
    },
    /// Nothing runs in the space any more.
    TreeEnded,
}

/// What is to be done. Each can be done twice without harm: children are named, and init refuses a name it knows.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    StartStep {
        step: usize,
        child: String,
    },
    StartApp {
        app: usize,
        child: String,
        /// With a clean home and none of the user's set-up.
        recovery: bool,
    },
    /// Ask the app until it answers, or its process is gone.
    ProbeApp {
        app: usize,
        child: String,
        recovery: bool,
    },
    /// Ask a ready app from time to time whether it still answers, until its process is gone.
    WatchApp {
        app: usize,
        child: String,
        recovery: bool,
    },
    /// Ask the app to end in its own way; SIGTERM to its group where it has none or does not obey, SIGKILL after the grace.
    EndApp {
        app: usize,
        child: String,
        grace: Duration,
        recovery: bool,
    },
    /// SIGTERM to the child's group, SIGKILL after the grace.
    EndChild {
        child: String,
        grace: Duration,
    },
    RunIdleCommand {
        child: String,
        command: Vec<String>,
    },
    /// Run this in the user's shell, in the real home.
    RunRescue {
        child: String,
        command: String,
    },
    /// Look which repositories hold what is not committed or not pushed; then `RepositoriesSeen`.
    LookAtRepositories,
    /// Look at all activity sources now.
    Look,
    /// End everything that runs in the space: SIGTERM, after the grace SIGKILL to the whole tree; then `TreeEnded`.
    EndTree {
        grace: Duration,
    },
    /// The space has ended: leave with this exit code.
    Leave {
        code: u8,
    },
}

impl Space {
    pub fn new(spec: space_lifecycle::Space, facts: Facts, app_facts: Vec<AppFacts>, now: Now) -> Space {
        Space {
            phase: Phase::Booting { since: now },
            steps: step::not_run(&spec.steps),
            apps: spec.apps.iter().map(|app| AppRun::new(app.start)).collect(),
            activity: Activity::default(),
            leases: Vec::new(),
            warnings: Vec::new(),
            used_links: Vec::new(),
            idle_commands: 0,
            idle_command_runs: false,
            why_mode: None,
            round: 1,
            events: Events::default(),
            rescue_commands: 0,
            repositories: Repositories::NotAsked,
            spec,
            facts,
            app_facts,
        }
    }

    /// Takes in one event and returns what is to be done.
    pub fn handle(&mut self, event: Event, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        if matches!(self.phase, Phase::Stopped { .. }) {
            // A restarted agent must still leave; nothing else comes after the end.
            return if matches!(event, Event::Resumed { .. }) { self.leave() } else { effects };
        }
        match event {
            Event::Tick => {}
            Event::Resumed { known } => self.resume(&known, now, &mut effects),
            Event::Started { child, pid } => self.started(&child, pid, &mut effects),
            Event::StepEnded { child, outcome } => self.step_ended(&child, outcome, now, &mut effects),
            Event::AppEnded { child, exit, last_line } => self.app_ended(&child, &exit, last_line, now, &mut effects),
            Event::OtherEnded { child, exit } => self.other_ended(&child, &exit),
            Event::AppReady { child } => self.app_ready(&child, now, &mut effects),
            Event::Seen(reading) => self.seen(reading, now),
            Event::Worked { app } => self.worked(&app, now),
            Event::LeaseTaken(lease) => self.lease_taken(lease),
            Event::LeaseEnded { id } => self.lease_ended(&id, now),
            Event::LinkUsed { id, expires } => self.link_used(id, expires, now),
            Event::StopAsked { reason } => self.stop_asked(reason, now, &mut effects),
            Event::RestartAsked { app, by } => self.restart_asked(app, &by, now, &mut effects),
            Event::AppWanted { app } => self.app_wanted(app, now),
            Event::StartAsked { by } => self.start_asked(&by, now, &mut effects),
            Event::Replaced { spec, app_facts } => self.replaced(*spec, app_facts, &mut effects),
            Event::Reloaded { spec, told } => self.reloaded(*spec, told, now),
            Event::Warned(text) => self.warn(text),
            Event::RescueAsked { command } => self.rescue_asked(command, now, &mut effects),
            Event::AppSilent { child } => self.app_silent(&child, now, &mut effects),
            Event::AppAnswers { child } => self.app_answers(&child),
            Event::Memory(news) => self.memory_news(news, now),
            Event::RepositoriesSeen(found) => self.repositories_seen(found, now),
            Event::Noted { text, failure } => self.events.tell(now, failure, text),
            Event::TreeEnded => self.tree_ended(now),
        }
        self.advance(now, &mut effects);
        effects
    }

    /// What follows from the state and the time alone.
    fn advance(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.up() {
            self.end_leases(now);
            self.advance_steps(now, effects);
            self.advance_up(now, effects);
        }
        self.advance_ending(now, effects);
    }

    /// The rest, unless a step that could not run has ended it.
    fn advance_up(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.up() {
            self.advance_apps(now, effects);
            self.give_up_apps(now, effects);
        }
        if self.up() {
            self.become_ready(now);
            self.advance_idle(now, effects);
        }
    }

    /// When time alone will change something next; `None`: never.
    pub fn wakes_at(&self, now: Now) -> Option<Monotonic> {
        let mut moments = self.ending_moments();
        if self.up() {
            moments.extend(self.step_moments());
            moments.extend(self.app_moments());
            moments.extend(self.leases.iter().map(|lease| lease.until));
            moments.extend(self.idle_moments(now));
        }
        moments.into_iter().min()
    }

    /// Booting, running or in notice: neither failed nor ending.
    pub fn up(&self) -> bool {
        matches!(self.phase, Phase::Booting { .. } | Phase::Running { .. } | Phase::Notice { .. })
    }

    /// It ends, or has ended, because something failed.
    pub fn ended_badly(&self) -> bool {
        matches!(&self.phase, Phase::Stopping { code, .. } | Phase::Stopped { code, .. } if *code != 0)
    }

    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    pub fn verdict(&self, now: &Now) -> Verdict {
        if let Some(index) = self.apps.iter().position(AppRun::coming) {
            let waits = self.apps[index].state == super::app::State::Waiting;
            let because = if waits {
                "the space is being set up".into()
            } else {
                format!("{} is starting", self.app_facts[index].label)
            };
            return Verdict::Active { because };
        }
        self.activity.decide(&self.spec.idle, &self.leases, now)
    }

    /// Names of notebooks whose kernels are busy, for whoever wants to stop the space.
    pub fn busy(&self) -> Vec<String> {
        self.activity.busy().map(str::to_owned).collect()
    }

    /// Whether every activity source was looked at since `moment`.
    pub fn looked_since(&self, moment: Monotonic) -> bool {
        self.activity.looked_since(self.watched().map(|index| self.spec.apps[index].name.as_str()), moment)
    }

    /// The apps that are ready and whose kernels are to be watched, by index.
    pub fn watched(&self) -> impl Iterator<Item = usize> {
        (0..self.apps.len()).filter(|index| self.apps[*index].ready() && self.app_facts[*index].kernels)
    }

    pub fn apps(&self) -> &[AppRun] {
        &self.apps
    }

    /// Where an app's name is its place in the document.
    pub fn app_of_child(&self, child: &str) -> Option<usize> {
        self.apps.iter().position(|app| app.child() == Some(child))
    }

    pub fn step_of_child(&self, child: &str) -> Option<usize> {
        self.steps.iter().position(|step| matches!(step, StepRun::Running { child: own, .. } if own == child))
    }

    /// Whether a child that was to be started still is: the space may have turned to something else since.
    pub fn wants(&self, child: &str) -> bool {
        if let Some(app) = self.app_of_child(child) {
            let too_slow = matches!(self.apps[app].state, super::app::State::Starting { too_slow: true, .. });
            return self.up() && !self.apps[app].asked && !too_slow;
        }
        match self.step_of_child(child) {
            Some(step) if matches!(self.steps[step], StepRun::Running { timed_out: true, .. }) => false,
            Some(step) if self.spec.steps[step].on == Moment::Stop => {
                matches!(self.stopping(), Some((Stage::Steps { .. }, ..)))
            }
            Some(_) => matches!(self.mode(), None | Some(Mode::Normal)) && self.up(),
            // Of a round that is over, or of an app that the document has no more.
            None => self.up() && matches!(child.parse(), Ok(ChildId::IdleCommand(_) | ChildId::Rescue(_))),
        }
    }

    /// A lease as it would be taken now, within the policy; the reason if it can't be.
    pub fn offer_lease(&self, id: String, reason: String, duration: Duration, now: Now) -> Result<Lease, String> {
        if !self.up() {
            return Err("the space is ending; nothing can keep it any more".into());
        }
        lease::offer(&self.leases, id, reason, duration.min(self.spec.idle.lease_max), now)
    }

    pub fn lease(&self, id: &str) -> Option<&Lease> {
        self.leases.iter().find(|lease| lease.id == id)
    }

    /// Whether this sign-in link was not used before. A link counts as used with [`Event::LinkUsed`].
    pub fn link_is_fresh(&self, id: &str) -> bool {
        self.used_links.iter().all(|(used, _)| used != id)
    }

    /// Adds a warning to the status; no event, since nothing follows from it.
    pub fn warn(&mut self, warning: String) {
        if !self.warnings.contains(&warning) && self.warnings.len() < 32 {
            self.warnings.push(warning);
        }
    }

    /// Whether the notebooks of all kernels that these news are about are known.
    pub fn knows_kernels_of(&self, news: &MemoryNews) -> bool {
        let about: Vec<&Victim> = match news {
            MemoryNews::Pressure { largest, .. } => largest.iter().collect(),
            MemoryNews::Killed { victims, .. } => victims.iter().collect(),
        };
        let mut kernels = about.into_iter().filter_map(|victim| victim.role.kernel());
        kernels.all(|id| self.activity.kernel_name(id).is_some())
    }

    fn memory_news(&mut self, news: MemoryNews, now: Now) {
        let notebook = |victim: &Victim| victim.role.kernel().and_then(|id| self.activity.kernel_name(id));
        let told: Vec<String> = match &news {
            MemoryNews::Pressure { used, limit, largest } => {
                let largest = largest.as_ref();
                vec![memory::pressure_sentence(*used, *limit, largest, largest.and_then(notebook))]
            }
            MemoryNews::Killed { victims, count, limit } => {
                let known = victims.iter().map(|victim| memory::killed_sentence(victim, *limit, notebook(victim)));
                let unknown = count.saturating_sub(victims.len() as u64);
                let rest = (unknown > 0).then(|| memory::unknown_sentence(unknown, *limit));
                known.chain(rest).collect()
            }
        };
        for sentence in told {
            self.events.tell(now, true, sentence);
        }
    }

    fn other_ended(&mut self, child: &str, exit: &Exit) {
        if child.parse() == Ok(ChildId::IdleCommand(self.idle_commands)) {
            self.idle_command_runs = false;
        }
        // A command of the console tells its end itself, if it ever ran.
        let told = matches!(child.parse(), Ok(ChildId::Rescue(_))) && !matches!(exit, Exit::NotStarted(_));
        if !exit.success() && !told {
            self.warn(format!("{child} {exit}"));
        }
    }

    fn link_used(&mut self, id: String, expires: Timestamp, now: Now) {
        let forgotten = Timestamp(now.wall.0.saturating_sub(LINK_REMEMBERED));
        self.used_links.retain(|(_, expires)| *expires >= forgotten);
        self.used_links.push((id, expires));
    }

    fn lease_taken(&mut self, lease: Lease) {
        self.leases.retain(|known| known.id != lease.id);
        self.leases.push(lease);
    }

    fn lease_ended(&mut self, id: &str, now: Now) {
        if let Some(index) = self.leases.iter().position(|lease| lease.id == id) {
            let lease = self.leases.remove(index);
            self.activity.note(now.monotonic, format!("a lease ended ({})", lease.reason));
        }
    }

    fn end_leases(&mut self, now: Now) {
        let over: Vec<Lease> = self.leases.iter().filter(|lease| lease.until <= now.monotonic).cloned().collect();
        for lease in over {
            self.leases.retain(|known| known.id != lease.id);
            self.activity.note(lease.until, format!("a lease ended ({})", lease.reason));
        }
    }
}

#[cfg(test)]
mod tests;
