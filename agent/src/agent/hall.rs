//! The one loop that owns the state.

use super::effects::Workshop;
use super::good;
use super::leftovers;
use super::place::Place;
use super::record;
use super::reload::Reread;
use super::requests::Wish;
use super::snapshot::Snapshot;
use crate::activity::{Traffic, Watched};
use crate::cli::RunArgs;
use crate::model::app::State;
use crate::model::child::{ChildId, Exit, StepOutcome};
use crate::model::memory::MemoryNews;
use crate::model::news::{Line, news, without_output};
use crate::model::now::{Monotonic, Now};
use crate::model::reading::Reading;
use crate::model::route::{Door, Ports, Route, RouteState};
use crate::model::space::{Effect, Event, Space};
use crate::model::status::{AgentStatus, Mode, PhaseName, Status};
use crate::model::traffic::PORTS;
use crate::process::{Answers, Command, News};
use crate::sys::memory_file::MemoryFile;
use crate::sys::{clock, heap};
use crate::{control, proxy};
use std::collections::VecDeque;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// The longest time between two looks at the activity sources.
const LONGEST_TICK: Duration = Duration::from_secs(15);
/// What a look at the kernels takes, with a margin.
const KERNELS_SEEN: Duration = Duration::from_secs(1);
/// What a look at the repositories takes at most.
const REPOSITORIES: Duration = Duration::from_secs(3);
/// A blocking task that prepares a start or reads a result: longer means that a disk hangs.
pub(super) const BLOCKING: Duration = Duration::from_secs(30);

/// The channels from the rooms.
#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) news: mpsc::Receiver<News>,
    pub(super) readings: mpsc::Receiver<Reading>,
    pub(super) control: mpsc::Receiver<control::Request>,
    pub(super) proxy: mpsc::Receiver<proxy::Request>,
    /// A room that should run has ended.
    pub(super) broken: mpsc::Receiver<String>,
}

/// The channels to the rooms.
#[derive(Debug)]
pub(super) struct Outbox {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) status: watch::Sender<Arc<Status>>,
    pub(super) door: watch::Sender<Arc<Door>>,
    pub(super) watched: watch::Sender<Arc<Vec<Watched>>>,
    pub(super) ticks: watch::Sender<u64>,
}

/// What a task on a blocking thread has come to.
#[derive(Debug)]
pub(super) enum Done {
    Command(Command),
    StepOver {
        child: String,
        outcome: StepOutcome,
    },
    AppOver {
        child: String,
        exit: Exit,
    },
    /// Whoever asked for an end has waited long enough for a look.
    LookedLongEnough,
    /// Somebody has their answer.
    Answered,
    /// What the repositories hold that is not committed or not pushed.
    Repositories(Vec<String>),
    /// The boot record is written.
    Recorded,
    /// The kernels were looked at since.
    Memory(MemoryNews),
    Reread(Reread),
    /// The document with which the space came up is kept as the last good one; or why not.
    Kept(Option<String>),
}

/// Why the loop ended.
#[derive(Debug)]
pub(super) enum End {
    /// The space has ended with this code.
    Space(u8),
    /// Another agent takes this one's place; what runs runs on.
    HandedOver,
    /// init is gone; nobody keeps anything any more.
    InitGone,
}

#[derive(Debug)]
pub(super) struct Hall {
    pub(super) space: Space,
    pub(super) place: Place,
    /// What `run` was called with.
    pub(super) args: RunArgs,
    pub(super) outbox: Outbox,
    pub(super) memory: MemoryFile,
    pub(super) workshop: Arc<Workshop>,
    pub(super) agent: AgentStatus,
    /// What has passed the front door until the last look.
    pub(super) traffic: Traffic,
    pub(super) tasks: JoinSet<Done>,
    /// Commands that the process room has not taken yet: the loop never waits for it, since it waits for the loop. What
    /// the model asks for at once bounds it.
    pub(super) pending: VecDeque<Command>,
    /// Ended children whose end is not stored yet.
    pub(super) unstored: Vec<String>,
    pub(super) end: Option<u8>,
    /// Of the stop that has begun.
    pub(super) deadline: Option<Monotonic>,
    /// The boot record is being written; and has to be once more.
    pub(super) recording: bool,
    pub(super) record_due: bool,
    pub(super) stops: u32,
    /// Wishes that wait for a fresh look.
    pub(super) wishes: Vec<Wish>,
}

struct Signals {
    term: Signal,
    interrupt: Signal,
}

impl Hall {
    /// Runs until the space has ended, or init is gone.
    pub(super) async fn run(
        &mut self,
        mut inbox: Inbox,
        known: Option<Vec<String>>,
        stops_asked: u32,
    ) -> io::Result<End> {
        let mut signals =
            Signals { term: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? };
        self.happen(known.map_or(Event::Tick, |known| Event::Resumed { known }))?;
        self.stop_asked(stops_asked)?;
        let mut looked = clock::monotonic();
        let commands = self.outbox.commands.clone();
        loop {
            if let Some(code) = self.end {
                return Ok(End::Space(code));
            }
            let (tick, now) = (self.tick(), clock::now());
            let look_in = tick.map(|tick| looked.plus(tick).since(now.monotonic));
            let wake_in = self.space.wakes_at(now).map(|at| at.since(now.monotonic));
            // Every arm is cancel-safe: channels, signals and join sets lose nothing, timers are made anew.
            tokio::select! {
                Some(news) = inbox.news.recv() => if let Some(end) = self.news(news)? { return Ok(end) },
                Some(request) = inbox.control.recv() => self.control(request)?,
                Some(request) = inbox.proxy.recv() => self.proxy(request)?,
                Some(reading) = inbox.readings.recv() => {
                    self.happen(Event::Seen(reading))?;
                    self.decide_wishes()?;
                }
                Some(done) = self.tasks.join_next() => self.done(done.map_err(io::Error::other)?)?,
                Ok(permit) = commands.reserve(), if !self.pending.is_empty() => {
                    permit.send(self.pending.pop_front().expect("it was not empty, and only this loop takes from it"));
                }
                Some(why) = inbox.broken.recv() => return Err(io::Error::other(why)),
                // init's death sends this signal too, and may be seen before its end of the link is.
                _ = signals.term.recv() => {
                    if self.init_is_gone() {
                        return Ok(End::InitGone);
                    }
                    self.happen(by_signal())?;
                }
                _ = signals.interrupt.recv() => self.happen(by_signal())?,
                () = after(look_in) => {
                    looked = clock::monotonic();
                    self.look();
                    self.happen(Event::Tick)?;
                }
                () = after(wake_in) => self.happen(Event::Tick)?,
            }
        }
    }

    pub(super) fn init_is_gone(&self) -> bool {
        i32::try_from(std::os::unix::process::parent_id()) != Ok(self.agent.init_pid)
    }

    /// Time between two looks; `None` while there is nothing to look at, so that an idle agent sleeps.
    fn tick(&self) -> Option<Duration> {
        if !self.space.up() || self.space.mode() == Some(Mode::Parked) {
            return None;
        }
        let tenth = self.space.spec.idle.shutdown.map_or(LONGEST_TICK, |shutdown| shutdown / 10);
        Some(tenth.clamp(Duration::from_secs(1), LONGEST_TICK))
    }

    /// Until the deadline of the stop that led to the end.
    pub(super) fn time_left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.since(clock::monotonic()))
    }

    pub(super) fn look(&self) {
        self.outbox.ticks.send_modify(|tick| *tick += 1);
    }

    /// Of a kernel that was started after the last look nobody knows the notebook yet; Jupyter starts it again under the
    /// same id, so one more look tells.
    fn memory(&mut self, news: MemoryNews) -> io::Result<()> {
        if self.space.knows_kernels_of(&news) {
            return self.happen(Event::Memory(news));
        }
        self.look();
        self.tasks.spawn(async move {
            tokio::time::sleep(KERNELS_SEEN).await;
            Done::Memory(news)
        });
        Ok(())
    }

    /// Why the loop is to end, if it is.
    fn news(&mut self, news: News) -> io::Result<Option<End>> {
        match news {
            News::Started { child, pid } => self.happen(Event::Started { child, pid })?,
            News::Ready { child } => self.happen(Event::AppReady { child })?,
            News::Watched { child, answers: Answers::NotAnyMore } => self.happen(Event::AppSilent { child })?,
            News::Watched { child, answers: Answers::Again } => self.happen(Event::AppAnswers { child })?,
            News::StopAsked { times } => self.stop_asked(times)?,
            News::TreeEnded => self.happen(Event::TreeEnded)?,
            News::Memory(news) => self.memory(news)?,
            News::Replace => return Ok(Some(End::HandedOver)),
            News::Reload => self.reload_wished(),
            News::InitGone => return Ok(Some(End::InitGone)),
            News::Ended { child, exit, last_line } => self.ended(child, exit, last_line)?,
        }
        Ok(None)
    }

    /// init counts: an agent that follows a crashed one is told again what that one had heard.
    fn stop_asked(&mut self, times: u32) -> io::Result<()> {
        while self.stops < times {
            self.stops += 1;
            self.happen(by_signal())?;
        }
        Ok(())
    }

    fn ended(&mut self, child: String, exit: Exit, last_line: Option<String>) -> io::Result<()> {
        if let Some(step) = self.space.step_of_child(&child) {
            let (workshop, id) = (Arc::clone(&self.workshop), child.clone());
            self.block(child, move || workshop.step_outcome(step, id, &exit));
            return Ok(());
        }
        self.unstored.push(child.clone());
        self.happen(match child.parse() {
            Ok(ChildId::App { .. }) => Event::AppEnded { child, exit, last_line },
            // Its end was stored before; an agent that crashed since is told once more.
            Ok(ChildId::Step { .. }) => Event::Tick,
            Ok(ChildId::IdleCommand(_) | ChildId::Rescue(_)) | Err(_) => Event::OtherEnded { child, exit },
        })
    }

    fn done(&mut self, done: Done) -> io::Result<()> {
        match done {
            Done::Command(command) => self.prepared(command),
            Done::StepOver { child, outcome } => {
                self.unstored.push(child.clone());
                self.happen(Event::StepEnded { child, outcome })
            }
            Done::LookedLongEnough => self.decide_wishes(),
            Done::Answered => Ok(()),
            Done::Repositories(found) => self.happen(Event::RepositoriesSeen(found)),
            Done::Recorded => {
                self.recording = false;
                if std::mem::take(&mut self.record_due) {
                    self.record();
                }
                Ok(())
            }
            Done::Memory(news) => self.happen(Event::Memory(news)),
            Done::Reread(reread) => self.reread(reread),
            Done::Kept(None) => Ok(()),
            Done::Kept(Some(why)) => {
                tracing::warn!("the document is not kept as the last good one: {why}");
                Ok(())
            }
            Done::AppOver { child, exit } => self.happen(Event::AppEnded { child, exit, last_line: None }),
        }
    }

    /// What the space does not want any more, since it has turned to something else meanwhile, is not started.
    fn prepared(&mut self, command: Command) -> io::Result<()> {
        let Command::Spawn { child, .. } = &command else {
            self.pending.push_back(command);
            return Ok(());
        };
        let not_any_more = "the space does not want it any more".to_owned();
        match (child.parse(), self.space.wants(child)) {
            (_, true) => self.pending.push_back(command),
            (Ok(ChildId::Step { .. }), false) => {
                let (child, outcome) = (child.clone(), StepOutcome::Failed { why: not_any_more });
                self.happen(Event::StepEnded { child, outcome })?;
            }
            (Ok(ChildId::App { .. }), false) => {
                let (child, exit) = (child.clone(), Exit::NotStarted(not_any_more));
                self.happen(Event::AppEnded { child, exit, last_line: None })?;
            }
            (Ok(ChildId::IdleCommand(_) | ChildId::Rescue(_)) | Err(_), false) => {}
        }
        Ok(())
    }

    /// On a blocking thread that is given up if it takes too long.
    fn block(&mut self, child: String, work: impl FnOnce() -> Done + Send + 'static) {
        let thread = tokio::task::spawn_blocking(work);
        self.tasks.spawn(async move {
            match tokio::time::timeout(BLOCKING, thread).await {
                Ok(Ok(done)) => done,
                late => {
                    let why = match late {
                        Err(_) => format!("it could not be prepared within {} s: a disk hangs", BLOCKING.as_secs()),
                        Ok(_) => "it could not be prepared: the agent has a bug; please report its log".to_owned(),
                    };
                    if matches!(child.parse(), Ok(ChildId::Step { .. })) {
                        Done::StepOver { child, outcome: StepOutcome::Failed { why } }
                    } else {
                        Done::AppOver { child, exit: Exit::NotStarted(why) }
                    }
                }
            }
        });
    }

    /// The one way in which the state changes: decide, store, publish, act.
    pub(super) fn happen(&mut self, event: Event) -> io::Result<()> {
        let now = clock::now();
        let before = Arc::clone(&self.outbox.status.borrow());
        let mut effects = Vec::new();
        // First, so that whatever is decided now knows of it.
        for app in self.traffic.worked(&self.workshop.meters) {
            effects.extend(self.space.handle(Event::Worked { app }, now));
        }
        effects.extend(self.space.handle(event, now));
        self.promise_end(now);
        self.save()?;
        self.publish(now);
        self.announce(&before);
        self.record_turns(&before);
        self.keep_document(&before);
        for effect in effects {
            self.act(effect);
        }
        for child in std::mem::take(&mut self.unstored) {
            self.pending.push_back(Command::Stored { child });
        }
        Ok(())
    }

    fn look_at_repositories(&mut self) {
        let (place, folders) = (self.place.clone(), self.workshop.repositories());
        let within = REPOSITORIES.min(self.space.spec.stop.deadline / 5);
        let look = tokio::task::spawn_blocking(move || record::look(&place, &folders, within));
        self.tasks.spawn(async move { Done::Repositories(look.await.unwrap_or_default()) });
    }

    /// What is known of this run is kept in the home whenever it has turned to something else: a run that is killed has
    /// its record too. The last one is written when all is over.
    fn record_turns(&mut self, before: &Status) {
        let status = self.outbox.status.borrow().clone();
        let turned = (before.phase, before.mode) != (status.phase, status.mode);
        if turned && self.space.up() {
            heap::trim();
            heap::forget_code();
            self.record();
        }
    }

    /// One at a time.
    pub(super) fn record(&mut self) {
        if std::mem::replace(&mut self.recording, true) {
            self.record_due = true;
            return;
        }
        let (place, status, now) = (self.place.clone(), self.outbox.status.borrow().clone(), clock::now().wall);
        let written = tokio::task::spawn_blocking(move || record::keep(&place, &status, now, None));
        self.tasks.spawn(async move {
            // Whatever has become of it was told.
            let _ = written.await;
            Done::Recorded
        });
    }

    /// init ends what is left at the deadline, should this agent hang until then.
    fn promise_end(&mut self, now: Now) {
        let Some((_, deadline, code)) = self.space.stopping() else { return };
        if self.deadline != Some(deadline) {
            self.deadline = Some(deadline);
            self.pending.push_back(Command::Ending { within: deadline.since(now.monotonic), code });
        }
    }

    /// A space that has come up as its document says shows that the document is a good one.
    fn keep_document(&mut self, before: &Status) {
        let up = before.phase == PhaseName::Booting && self.space.mode() == Some(Mode::Normal);
        if up && self.outbox.status.borrow().ready() {
            let (place, name) = (self.place.clone(), self.space.facts.name.clone());
            let kept = tokio::task::spawn_blocking(move || good::keep(&place, &name));
            self.tasks.spawn(async move {
                let kept = kept.await.unwrap_or_else(|error| Err(io::Error::other(error)));
                Done::Kept(kept.err().map(|error| error.to_string()))
            });
        }
    }

    fn save(&mut self) -> io::Result<()> {
        let bytes = Snapshot::new(self.space.clone(), self.place.clone(), self.stops).bytes()?;
        self.memory.save(&bytes)
    }

    fn act(&mut self, effect: Effect) {
        let workshop = Arc::clone(&self.workshop);
        match effect {
            Effect::StartStep { step, child } => self.block(child.clone(), move || workshop.start_step(step, child)),
            Effect::StartApp { app, child, recovery } => {
                let turn = self.space.turn().filter(|_| recovery);
                self.block(child.clone(), move || workshop.start_app(app, child, turn));
            }
            Effect::ProbeApp { app, child, recovery } => {
                self.pending.push_back(Command::Probe { child, probe: workshop.probe(app, recovery) });
            }
            Effect::RunRescue { child, command } => {
                self.block(child.clone(), move || workshop.rescue_command(child, command));
            }
            Effect::WatchApp { app, child, recovery } => {
                self.pending.push_back(Command::Watch { child, watch: workshop.watch(app, recovery) });
            }
            Effect::EndApp { app, child, grace, recovery } => {
                let farewell = workshop.farewell(app, recovery);
                self.pending.push_back(Command::End { child, grace, farewell });
            }
            Effect::LookAtRepositories => self.look_at_repositories(),
            Effect::EndChild { child, grace } => {
                self.pending.push_back(Command::End { child, grace, farewell: None });
            }
            Effect::EndTree { grace } => self.pending.push_back(Command::EndTree { grace }),
            Effect::RunIdleCommand { child, command } => {
                let done = workshop.idle_command(child, &command);
                self.tasks.spawn(async move { done });
            }
            Effect::Look => self.look(),
            Effect::Leave { code } => self.end = Some(code),
        }
    }

    /// Swaps the values that the rooms read.
    pub(super) fn publish(&self, now: Now) {
        self.outbox.status.send_replace(Arc::new(self.space.status(now, self.agent.clone())));
        let door = self.door();
        self.outbox.door.send_if_modified(|known| {
            let changed = **known != door;
            if changed {
                *known = Arc::new(door);
            }
            changed
        });
        let watched = self.watched();
        self.outbox.watched.send_if_modified(|known| {
            let changed = **known != watched;
            if changed {
                *known = Arc::new(watched);
            }
            changed
        });
    }

    pub(super) fn door(&self) -> Door {
        door(&self.space, &self.workshop)
    }

    fn watched(&self) -> Vec<Watched> {
        let watched = self.space.watched().map(|app| {
            let definition = self.workshop.definition(app, self.space.mode() == Some(Mode::Recovery));
            Watched {
                app: self.space.spec.apps[app].name.clone(),
                socket: definition.upstream.clone(),
                base_path: definition.base_path.clone(),
                uid: definition.account.uid,
            }
        });
        watched.collect()
    }

    /// What the person at the terminal is told.
    fn announce(&self, before: &Status) {
        for Line { line, failure } in news(before, &self.outbox.status.borrow(), self.space.ended_badly()) {
            // Whoever sits at the terminal may read it; what collects the log may not.
            let told = self.space.spec.agent.log_apps || std::io::stderr().is_terminal();
            let line = if told { line } else { without_output(&line) };
            if failure {
                tracing::error!("{line}");
            } else {
                tracing::info!("{line}");
            }
        }
    }

    /// Everything that this boot started, when init cannot end it any more.
    pub(super) fn end_own(&self) {
        leftovers::end_own(&self.place, &self.space.facts.boot);
    }
}

/// The front door's table as the state has it.
pub(super) fn door(space: &Space, workshop: &Workshop) -> Door {
    let front = &space.spec.front_door;
    let lower = |values: &[String]| values.iter().map(|value| value.to_lowercase()).collect();
    let routes = space.apps().iter().enumerate().map(|(index, app)| {
        let definition = workshop.definition(index, space.mode() == Some(Mode::Recovery));
        Route {
            app: space.spec.apps[index].name.clone(),
            label: definition.label.clone(),
            base_path: definition.base_path.clone(),
            strip_base_path: definition.strip_base_path,
            upstream: definition.upstream.clone(),
            uid: definition.account.uid,
            confined: !definition.kernels,
            rules: definition.rules,
            traffic: workshop.meters.of(&definition.name),
            opens: definition.opens,
            port: None,
            state: match app.state {
                State::Ready { .. } if app.ready() && space.up() => RouteState::Ready,
                State::GivenUp | State::Stopped => RouteState::Gone,
                _ if space.up() && app.sleeps() => RouteState::Asleep,
                _ if space.up() => RouteState::NotYet,
                _ => RouteState::Gone,
            },
        }
    });
    Door {
        space_id: space.facts.id.clone(),
        space: space.facts.name.clone(),
        base_path: front.base_path.clone(),
        tls: front.tls.is_some(),
        sign_in: front.sign_in,
        hosts: lower(&front.hosts),
        origins: lower(&front.origins),
        routes: routes.collect(),
        ports: Ports {
            uid: workshop.place.account.uid,
            traffic: workshop.meters.of(PORTS),
            state: if space.up() { RouteState::Ready } else { RouteState::NotYet },
        },
    }
}

fn by_signal() -> Event {
    Event::StopAsked { reason: "it was asked to by a signal".into() }
}

async fn after(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}
