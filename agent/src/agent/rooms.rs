//! Opens the rooms, runs the loop, and drains the rooms in reverse order.

use super::doors::Doors;
use super::effects::Workshop;
use super::hall::{End, Hall, Inbox, Outbox, door};
use super::snapshot::Snapshot;
use super::{BOOT_FAILED, CRASHED, Refusal, refusal};
use super::{access, last_word, record};
use crate::cli::{LogFormat, RunArgs};
use crate::control::Counters;
use crate::model::log::LogLine;
use crate::model::news::without_output;
use crate::model::secrets::Secrets;
use crate::model::status::{AgentStatus, Status};
use crate::process::{self, Attached, Discretion, Link, Logs};
use crate::sys::clock;
use crate::sys::errors::chain;
use crate::sys::limits;
use crate::sys::link;
use crate::sys::memory_file::MemoryFile;
use crate::sys::stop::{Stop, StopSwitch, stop};
use crate::{activity, control, proxy};
use space_lifecycle::{SignIn, Space};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;

/// As an exit code of the agent's.
#[expect(clippy::cast_possible_truncation, reason = "an exit code")]
const HANDED_OVER: u8 = link::HANDED_OVER as u8;

/// Longer than a space that is worked in leaves its blocking threads alone.
const A_DAY: Duration = Duration::from_secs(86_400);

/// How long pages and followers of logs get to take in the last word.
const LAST_WORD: Duration = Duration::from_millis(300);
const DRAIN: Duration = Duration::from_secs(2);
/// What the rooms get when another agent waits for its turn: answers in flight end, WebSockets are closed.
const HAND_OVER: Duration = Duration::from_millis(500);
/// What the rooms get even if the stop's deadline is over.
const SHORT: Duration = Duration::from_millis(100);

/// The first link is printed before the boot begins, and should be good when it is over.
const FIRST_LINK: Duration = Duration::from_secs(300);

/// Runs the space to its end. The outer error is one of the machine, the inner one has a message for the person.
pub(super) fn run(
    args: &RunArgs,
    snapshot: Snapshot,
    doors: Doors,
    memory: MemoryFile,
    attached: Attached,
    resumed: bool,
) -> io::Result<Result<u8, Refusal>> {
    let (logs, log_writer) = match Logs::open(&snapshot.place.logs, !resumed) {
        Ok(logs) => logs,
        Err(error) => {
            let folder = snapshot.place.logs.display();
            // What runs already is not ended for want of a log: another agent tries again.
            let code = if resumed { CRASHED } else { BOOT_FAILED };
            return Ok(Err(refusal(code, format!("cannot make the log folder {folder}: {error}"))));
        }
    };
    // A blocking thread that is there stays: where the user has used up all processes, a new one is not to be had.
    let runtime = Builder::new_current_thread().enable_all().thread_keep_alive(A_DAY).build()?;
    let place = snapshot.place.clone();
    let left = runtime.block_on(live(args, snapshot, doors, memory, attached, logs, resumed));
    // A blocking thread that hangs on a disk must not hold the end.
    runtime.shutdown_timeout(Duration::from_millis(100));
    if !log_writer.finish(DRAIN) {
        tracing::warn!(folder = %place.logs.display(), "the disk did not take the last output in time");
    }
    let Left { end, status } = left?;
    match end {
        End::Space(code) => {
            // With the ends of the logs, which are all there now.
            last_word::tell(&format!("{} (exit code {code})\n", without_output(&status.sentence)));
            record::keep(&place, &status, clock::now().wall, Some(code));
            place.clean();
            Ok(Ok(code))
        }
        // Everything stays where it is for the successor.
        End::HandedOver => Ok(Ok(HANDED_OVER)),
        End::InitGone => {
            place.clean();
            Ok(Err(refusal(BOOT_FAILED, "init was killed; the space has ended")))
        }
    }
}

/// How it was left.
struct Left {
    end: End,
    status: Arc<Status>,
}

async fn live(
    args: &RunArgs,
    snapshot: Snapshot,
    doors: Doors,
    memory: MemoryFile,
    attached: Attached,
    logs: Logs,
    resumed: bool,
) -> io::Result<Left> {
    let now = clock::now();
    let Snapshot { space, place, stops, .. } = snapshot;
    let workshop = Workshop::new(space.spec.clone(), place.clone(), &space.facts.boot, Arc::default());
    let agent = about_itself(&attached);
    let (status, status_receiver) = watch::channel(Arc::new(space.status(now, agent.clone())));
    let (door_sender, door_receiver) = watch::channel(Arc::new(door(&space, &workshop)));
    let (watched, watched_receiver) = watch::channel(Arc::default());
    let (ticks, ticks_receiver) = watch::channel(0);
    let (lines, _) = broadcast::channel::<Arc<LogLine>>(1024);
    let (command_sender, command_receiver) = mpsc::channel(64);
    let (news_sender, news) = mpsc::channel(64);
    let (reading_sender, readings) = mpsc::channel(16);
    let (control_sender, control_receiver) = mpsc::channel(16);
    let (proxy_sender, proxy_receiver) = mpsc::channel(64);
    let (broken_sender, broken) = mpsc::channel(4);
    let known: Option<Vec<String>> = resumed.then(|| attached.children.iter().map(|child| child.id.clone()).collect());

    let mut rooms = Rooms::new(broken_sender);
    let access = rooms.open_access_log(&space.spec, &logs, args.log == LogFormat::Json)?;
    let connections = Arc::default();
    let front_door = proxy::Config {
        listener: doors.front,
        door: door_receiver,
        status: status_receiver.clone(),
        lines: lines.clone(),
        keys: place.key.into(),
        now: clock::now,
        tls: access::pair(&space.spec, &place.account),
        access,
        connections: Arc::clone(&connections),
        descriptors: limits::descriptors(),
    };
    rooms.open_front_door(front_door, proxy_sender)?;
    let process = process::Config {
        link: Link::new(attached.socket)?,
        init_pid: attached.init_pid,
        minor: attached.minor,
        known: attached.children,
        logs,
        lines,
        discretion: discretion(&space.spec),
        now: clock::now,
        ticks: ticks_receiver.clone(),
    };
    rooms.open("process", |stop| process::run(process, command_receiver, news_sender, stop));
    let control = control::Config {
        user_socket: doors.user,
        admin_socket: doors.admin,
        user_uid: place.account.uid,
        agent_uid: crate::sys::account::own().0,
        status: status_receiver.clone(),
        log_folder: place.logs.clone(),
        errands: record::errands(&place),
        counters: Counters { meters: workshop.meters.clone(), connections },
    };
    rooms.open("control", |stop| control::run(control, control_sender, stop));
    let activity = activity::Config { apps: watched_receiver, ticks: ticks_receiver };
    rooms.open("activity", |stop| activity::run(activity, reading_sender, stop));

    let mut hall = Hall {
        space,
        place,
        args: args.clone(),
        outbox: Outbox { commands: command_sender, status, door: door_sender, watched, ticks },
        memory,
        workshop,
        agent,
        traffic: activity::Traffic::default(),
        tasks: JoinSet::new(),
        pending: VecDeque::new(),
        stops,
        wishes: Vec::new(),
        unstored: Vec::new(),
        end: None,
        deadline: None,
        recording: false,
        record_due: false,
    };
    match &known {
        Some(known) => tracing::warn!(
            starts = attached.starts,
            "the agent was started again and goes on; it took up {} processes",
            known.len()
        ),
        None => {
            greet(args, &hall);
            hall.record();
        }
    }
    let inbox = Inbox { news, readings, control: control_receiver, proxy: proxy_receiver, broken };
    let end = hall.run(inbox, known, attached.stops_asked).await;
    leave(end, hall, rooms).await
}

fn about_itself(attached: &Attached) -> AgentStatus {
    AgentStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: i32::try_from(std::process::id()).unwrap_or(0),
        init_pid: attached.init_pid,
        starts: attached.starts,
    }
}

/// Lets pages and followers of logs take in the last word, ends what init cannot, and drains the rooms.
async fn leave(end: io::Result<End>, mut hall: Hall, rooms: Rooms) -> io::Result<Left> {
    let end = match end {
        // Whatever was noticed first, this is the reason.
        Err(_) if hall.init_is_gone() => End::InitGone,
        end => end?,
    };
    let drain = match end {
        End::Space(_) => {
            let left = hall.time_left().unwrap_or(LAST_WORD + DRAIN);
            tokio::time::sleep(LAST_WORD.min(left / 4)).await;
            DRAIN.min(left / 2).max(SHORT)
        }
        End::HandedOver => HAND_OVER,
        End::InitGone => {
            hall.end_own();
            DRAIN
        }
    };
    hall.tasks.shutdown().await;
    rooms.drain(drain).await;
    let status = hall.outbox.status.borrow().clone();
    Ok(Left { end, status })
}

/// Says where the space is, at once: the page shows the boot.
fn greet(args: &RunArgs, hall: &Hall) {
    let facts = &hall.space.facts;
    tracing::info!(space = %facts.name, home = %facts.home, user = %facts.user, "the front door is open on {}", facts.listen);
    for warning in &hall.outbox.status.borrow().warnings {
        tracing::warn!("{warning}");
    }
    let signed = hall.space.spec.front_door.sign_in == SignIn::Token;
    let link = if signed { hall.link(None, FIRST_LINK) } else { hall.space.url() };
    match (args.print_link, io::stdout().is_terminal()) {
        (true, _) => say(&link),
        (false, true) => say(&format!("\n    Open {link}\n")),
        (false, false) if signed => tracing::info!("for a sign-in link: space-agent sign-in --space {}", facts.name),
        (false, false) => tracing::info!("open {link}"),
    }
}

/// A person at a terminal has the short news; what collects the agent's log has the steps' lines too.
pub(super) fn discretion(spec: &Space) -> Discretion {
    let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    let own = std::env::vars_os().filter_map(text).collect();
    Discretion {
        secrets: Arc::new(Secrets::of(spec, &own)),
        steps_aloud: !io::stdout().is_terminal() && !io::stderr().is_terminal(),
        apps_aloud: spec.agent.log_apps,
    }
}

/// To standard output, if somebody reads it.
fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// The open rooms, each with its own switch, in the order in which they were opened.
struct Rooms {
    tasks: JoinSet<()>,
    switches: Vec<StopSwitch>,
    front_door: Option<JoinHandle<()>>,
    /// Ends after the front door.
    access_log: Option<JoinHandle<()>>,
    broken: mpsc::Sender<String>,
}

impl Rooms {
    fn new(broken: mpsc::Sender<String>) -> Rooms {
        Rooms { tasks: JoinSet::new(), switches: Vec::new(), front_door: None, access_log: None, broken }
    }

    fn open<R, E>(&mut self, name: &'static str, room: impl FnOnce(Stop) -> R)
    where
        R: Future<Output = Result<(), E>> + Send + 'static,
        E: std::error::Error,
    {
        let (watch, stop) = self.watch(name);
        let room = room(stop);
        self.tasks.spawn(async move { watch.over(room.await) });
    }

    /// `None`: the document wants none. Whoever writes it ends after the front door.
    fn open_access_log(&mut self, spec: &Space, logs: &Logs, json: bool) -> io::Result<Option<proxy::AccessLog>> {
        let (log, writes) = access::log(spec, logs, json)?.unzip();
        self.access_log = writes;
        Ok(log)
    }

    /// The front door has a thread and a runtime of its own.
    fn open_front_door(&mut self, config: proxy::Config, requests: mpsc::Sender<proxy::Request>) -> io::Result<()> {
        let (watch, stop) = self.watch("front door");
        let thread = std::thread::Builder::new().name("front-door".into()).spawn(move || {
            let runtime = match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return watch.over(Err(error)),
            };
            let ended = runtime.block_on(proxy::run(config, requests, stop));
            runtime.shutdown_timeout(Duration::from_millis(100));
            watch.over(ended);
        })?;
        self.front_door = Some(thread);
        Ok(())
    }

    fn watch(&mut self, name: &'static str) -> (Watch, Stop) {
        let (switch, stop) = stop();
        self.switches.push(switch);
        let why = "it panicked".to_owned();
        (Watch { name, why, stop: stop.clone(), broken: self.broken.clone() }, stop)
    }

    /// The last opened is told first; all of them together have `time`, and the front door's log a moment more: it ends
    /// after the front door.
    async fn drain(mut self, time: Duration) {
        let until = clock::instant() + time;
        for switch in self.switches.iter().rev() {
            switch.stop_by(until);
        }
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout_at(until, all).await.is_err() {
            tracing::warn!("a room did not end in time");
        }
        let threads = [self.front_door.take(), self.access_log.take()].into_iter().flatten();
        let joined = tokio::task::spawn_blocking(|| threads.for_each(|thread| drop(thread.join())));
        if tokio::time::timeout_at(until + SHORT, joined).await.is_err() {
            tracing::warn!("the front door, or its log, did not close in time");
        }
    }
}

/// Tells the hall when a room has ended that nobody asked to: by an error, by mistake, or by a panic.
struct Watch {
    name: &'static str,
    why: String,
    stop: Stop,
    broken: mpsc::Sender<String>,
}

impl Watch {
    fn over<E: std::error::Error>(mut self, ended: Result<(), E>) {
        self.why = ended.err().map_or_else(|| "it ended by itself".to_owned(), |error| chain(&error));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.stop.is_wanted() {
            // A full channel tells of another broken room, and one is enough.
            let _ = self.broken.try_send(format!("the room {}: {}", self.name, self.why));
        }
    }
}
