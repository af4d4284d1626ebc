//! Supervises what runs in the space: asks init to start it, reads its output, tells its end, ends it.
//!
//! Receives [`Command`]s and what init tells; sends [`News`]; stops when told to, after which children run on (they are
//! init's). It decides nothing: what is started again and when is the model's.

mod aloud;
mod attach;
mod clean;
mod ending;
mod farewell;
mod logs;
mod memory;
mod output;
mod probe;

pub use attach::{Attached, KnownChild, Link, attach, end_known, keep, promise_end, set_policy};
pub use farewell::Farewell;
pub use logs::{Logs, Writer};
pub use memory::{MemoryWatch, Scope};
pub use output::Discretion;
pub use probe::{Answers, Probe, Watch};

use crate::model::child::{ChildSpec, Exit};
use crate::model::log::LogLine;
use crate::model::memory::MemoryNews;
use crate::model::now::Now;
use crate::sys::link::{ToAgent, ToInit};
use crate::sys::stop::{self, Stop, StopSwitch};
use ending::Ending;
use nix::sys::signal::Signal;
use output::{Output, Source};
use std::collections::HashMap;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::warn;

/// How long an ended child's output is read on before its end is told: what it wrote is in the pipe already.
const DRAIN: Duration = Duration::from_millis(200);
/// A process that begins and eats all memory is held by the memory watch if it lives this long, whatever the tick is. Only
/// while something runs: an empty space sleeps.
const NEWBORN: Duration = Duration::from_secs(1);
const SIGKILL: i32 = Signal::SIGKILL as i32;

#[derive(Debug)]
pub struct Config {
    pub link: Link,
    pub init_pid: i32,
    /// Which messages init knows.
    pub minor: u32,
    /// Children that an earlier agent of this boot has left, with their output.
    pub known: Vec<KnownChild>,
    pub logs: Logs,
    pub lines: broadcast::Sender<Arc<LogLine>>,
    pub discretion: Discretion,
    pub now: fn() -> Now,
    /// The shared tick: each is a look at the space's memory.
    pub ticks: watch::Receiver<u64>,
}

/// What the hall asks for.
#[derive(Debug)]
pub enum Command {
    Spawn {
        child: String,
        spec: Box<ChildSpec>,
    },
    Probe {
        child: String,
        probe: Probe,
    },
    /// Ask a ready app from time to time.
    Watch {
        child: String,
        watch: Watch,
    },
    /// SIGTERM, SIGKILL after the grace; before both the app's own way of ending, if it has one.
    End {
        child: String,
        grace: Duration,
        farewell: Option<Farewell>,
    },
    /// The child's end is in the stored state: init may forget it.
    Stored {
        child: String,
    },
    /// The space ends within this time: init ends by itself, with the code, what is left then.
    Ending {
        within: Duration,
        code: u8,
    },
    /// The document was read again: what holds for the output of children that are started from now on.
    Discretion(Box<Discretion>),
    /// End everything that runs in the space: SIGTERM, SIGKILL to all that is left after the grace.
    EndTree {
        grace: Duration,
    },
}

/// What the hall is told.
#[derive(Debug)]
pub enum News {
    Started {
        child: String,
        pid: i32,
    },
    Ended {
        child: String,
        exit: Exit,
        last_line: Option<String>,
    },
    Ready {
        child: String,
    },
    /// A ready app has gone silent, or answers again.
    Watched {
        child: String,
        answers: Answers,
    },
    /// init wants another agent in this one's place.
    Replace,
    /// init was asked by a signal to have the documents read again.
    Reload,
    /// init was asked by a signal to stop, so many times.
    StopAsked {
        times: u32,
    },
    TreeEnded,
    /// The space's memory runs short, or the system has ended something for it.
    Memory(MemoryNews),
    /// init has died: nobody keeps the children any more.
    InitGone,
}

/// Runs until it is told to stop, or init is gone.
pub async fn run(
    config: Config,
    commands: mpsc::Receiver<Command>,
    news: mpsc::Sender<News>,
    stop: Stop,
) -> io::Result<()> {
    let (inner, inside) = mpsc::channel(64);
    let (reading, until) = stop::stop();
    let (memory_news, told) = mpsc::channel(16);
    let memory = MemoryWatch::start(config.init_pid, Scope::of(config.init_pid), memory_news);
    let memory = memory.inspect_err(|error| warn!(%error, "the space's memory is not watched")).ok();
    let mut room = Room {
        link: config.link,
        init_pid: config.init_pid,
        minor: config.minor,
        output: Output {
            logs: config.logs,
            lines: config.lines,
            now: config.now,
            discretion: Arc::new(config.discretion),
            stop: until,
        },
        readers: JoinSet::new(),
        reading,
        children: HashMap::new(),
        probes: HashMap::new(),
        ending: None,
        memory,
        tasks: JoinSet::new(),
        inner,
        news,
    };
    for known in config.known {
        room.adopt(known).await;
    }
    let ended = room.serve(Inbox { commands, inside, memory: told, ticks: config.ticks }, stop).await;
    if let Some(memory) = room.memory.take() {
        memory.end(DRAIN).await;
    }
    room.tasks.shutdown().await;
    room.finish_reading().await;
    ended
}

/// What the room hears, but for init.
struct Inbox {
    commands: mpsc::Receiver<Command>,
    inside: mpsc::Receiver<Inside>,
    memory: mpsc::Receiver<MemoryNews>,
    ticks: watch::Receiver<u64>,
}

/// What the room's own tasks tell it.
#[derive(Debug)]
enum Inside {
    /// The child's output is at its end, or has been read for long enough since the child ended.
    Drained {
        child: String,
        /// As it is told: init does not know of memory.
        exit: Exit,
    },
    /// Its output is at its end: nothing is left that init must keep.
    Closed {
        child: String,
    },
    Signal {
        child: String,
        signal: Signal,
    },
    Ready {
        child: String,
    },
    Watched {
        child: String,
        answers: Answers,
    },
    TreeEnded,
}

struct Child {
    pid: i32,
    output: output::Tail,
    ended: bool,
    stored: bool,
    closed: bool,
}

struct Room {
    link: Link,
    init_pid: i32,
    minor: u32,
    output: Output,
    /// Readers of output, which end what they have begun when they are told to.
    readers: JoinSet<()>,
    reading: StopSwitch,
    children: HashMap<String, Child>,
    /// By child, which need not be told of yet.
    probes: HashMap<String, AbortHandle>,
    ending: Option<Ending>,
    /// `None` if it could not be begun: then nobody is warned, and what was killed for memory is told as killed.
    memory: Option<MemoryWatch>,
    tasks: JoinSet<()>,
    inner: mpsc::Sender<Inside>,
    news: mpsc::Sender<News>,
}

impl Room {
    async fn serve(&mut self, mut inbox: Inbox, mut stop: Stop) -> io::Result<()> {
        let mut newborn = pin!(sleep(NEWBORN));
        loop {
            // Each arm is cancel-safe: channels and switches lose nothing, and the link is a readiness wait.
            tokio::select! {
                () = stop.wanted() => return Ok(()),
                message = self.link.receive() => match message? {
                    Some((message, fd)) => self.told(message, fd).await,
                    None => {
                        self.say(News::InitGone).await;
                        stop.wanted().await;
                        return Ok(());
                    }
                },
                Some(command) = inbox.commands.recv() => self.obey(command).await?,
                Some(message) = inbox.inside.recv() => self.happened(message).await?,
                Some(news) = inbox.memory.recv() => self.say(News::Memory(news)).await,
                Ok(()) = inbox.ticks.changed() => self.look_at_memory(),
                () = newborn.as_mut(), if self.runs_something() => {
                    newborn.set(sleep(NEWBORN));
                    self.look_at_memory();
                }
                Some(_) = self.tasks.join_next() => {}
                Some(_) = self.readers.join_next() => {}
            }
        }
    }

    async fn told(&mut self, message: ToAgent, fd: Option<std::os::fd::OwnedFd>) {
        match message {
            ToAgent::Spawned { id, pid } => self.adopt(KnownChild { id, pid, exit: None, output: fd }).await,
            ToAgent::Ended { id, exit } => self.ended(id, exit),
            ToAgent::StopAsked { times } => self.say(News::StopAsked { times }).await,
            ToAgent::Replace => self.say(News::Replace).await,
            ToAgent::Reload => self.say(News::Reload).await,
            // These belong to the introduction, which is over.
            ToAgent::Welcome { .. } | ToAgent::Kept { .. } | ToAgent::Child { .. } | ToAgent::Complete => {}
        }
    }

    /// A child that has just been started, or that an earlier agent had started.
    async fn adopt(&mut self, known: KnownChild) {
        let (tail, closed) = match known.output {
            Some(fd) => (self.read_output(&known.id, fd), false),
            None => (output::Tail::default(), true),
        };
        let child = Child { pid: known.pid, output: tail, ended: false, stored: false, closed };
        self.children.insert(known.id.clone(), child);
        if let Some(memory) = &self.memory {
            memory.line().started(&known.id, known.pid);
        }
        self.say(News::Started { child: known.id.clone(), pid: known.pid }).await;
        if let Some(exit) = known.exit {
            self.ended(known.id, exit);
        }
    }

    fn read_output(&mut self, child: &str, fd: std::os::fd::OwnedFd) -> output::Tail {
        let tail = output::Tail::default();
        let (output, inner, filled, child) = (self.output.clone(), self.inner.clone(), tail.clone(), child.to_owned());
        self.readers.spawn(async move {
            output.read(Source::of(&child), fd, filled).await;
            // The room is gone only when everything ends.
            let _ = inner.send(Inside::Closed { child }).await;
        });
        tail
    }

    /// Its end is told once its output was read; a background job that holds the pipe delays that by [`DRAIN`] at most.
    fn ended(&mut self, id: String, exit: Exit) {
        let Some(child) = self.children.get_mut(&id) else { return };
        child.ended = true;
        let pid = child.pid;
        if let Some(probe) = self.probes.remove(&id) {
            probe.abort();
        }
        let (inner, wait) = (self.inner.clone(), if child.closed { Duration::ZERO } else { DRAIN });
        let line = self.memory.as_ref().map(|memory| memory.line().clone()).filter(|_| exit == Exit::Signal(SIGKILL));
        self.tasks.spawn(async move {
            tokio::time::sleep(wait).await;
            let exit = match line {
                Some(line) if line.killed(&id, pid).await.is_some() => Exit::OutOfMemory { limit: None },
                _ => exit,
            };
            let _ = inner.send(Inside::Drained { child: id, exit }).await;
        });
    }

    fn runs_something(&self) -> bool {
        self.memory.is_some() && self.children.values().any(|child| !child.ended)
    }

    fn look_at_memory(&self) {
        if let Some(memory) = &self.memory {
            memory.line().look();
        }
    }

    async fn obey(&mut self, command: Command) -> io::Result<()> {
        match command {
            Command::Spawn { child, spec } => self.spawn(child, spec).await,
            Command::Probe { child, probe } => {
                self.probe(child, probe);
                Ok(())
            }
            Command::Watch { child, watch } => {
                self.watch(child, watch);
                Ok(())
            }
            Command::End { child, grace, farewell } => self.end(child, grace, farewell),
            Command::Stored { child } => {
                if let Some(known) = self.children.get_mut(&child) {
                    known.stored = true;
                }
                self.forget(&child)
            }
            Command::Ending { within, code } => match promise_end(self.minor, within, code) {
                Some(message) => self.link.send(&message),
                None => Ok(()),
            },
            Command::Discretion(discretion) => {
                self.output.discretion = Arc::new(*discretion);
                Ok(())
            }
            Command::EndTree { grace } => {
                self.end_tree(grace);
                Ok(())
            }
        }
    }

    /// What init can't be told is not started, and that is the child's end.
    async fn spawn(&mut self, child: String, spec: Box<ChildSpec>) -> io::Result<()> {
        match self.link.send(&ToInit::Spawn { id: child.clone(), spec }) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                let exit = Exit::NotStarted(format!("its arguments and environment are too large: {error}"));
                self.say(News::Ended { child, exit, last_line: None }).await;
                Ok(())
            }
            sent => sent,
        }
    }

    fn probe(&mut self, child: String, probe: Probe) {
        if !self.runs(&child) {
            return;
        }
        let (inner, name) = (self.inner.clone(), child.clone());
        let handle = self.tasks.spawn(async move {
            probe.until_ready().await;
            let _ = inner.send(Inside::Ready { child: name }).await;
        });
        self.replace_probe(child, handle);
    }

    fn watch(&mut self, child: String, watch: Watch) {
        if !self.runs(&child) {
            return;
        }
        let (inner, name) = (self.inner.clone(), child.clone());
        let handle = self.tasks.spawn(async move {
            let mut answers = Answers::Again;
            loop {
                answers = watch.change(answers).await;
                let _ = inner.send(Inside::Watched { child: name.clone(), answers }).await;
            }
        });
        self.replace_probe(child, handle);
    }

    /// What has ended meanwhile is not looked at any more.
    fn runs(&self, child: &str) -> bool {
        self.children.get(child).is_some_and(|child| !child.ended)
    }

    fn replace_probe(&mut self, child: String, handle: AbortHandle) {
        if let Some(before) = self.probes.insert(child, handle) {
            before.abort();
        }
    }

    /// What ends before its grace is over is not looked for any more: init signals children that it knows only.
    fn end(&mut self, child: String, grace: Duration, farewell: Option<Farewell>) -> io::Result<()> {
        if farewell.is_none() {
            self.signal(&child, Signal::SIGTERM)?;
        }
        let inner = self.inner.clone();
        self.tasks.spawn(async move {
            let mut kill = pin!(sleep(grace));
            if let Some(farewell) = farewell {
                farewell.said(grace * 3 / 5).await;
                let _ = inner.send(Inside::Signal { child: child.clone(), signal: Signal::SIGTERM }).await;
            }
            kill.as_mut().await;
            let _ = inner.send(Inside::Signal { child, signal: Signal::SIGKILL }).await;
        });
        Ok(())
    }

    fn signal(&self, child: &str, signal: Signal) -> io::Result<()> {
        self.link.send(&ToInit::Signal { id: child.to_owned(), signal: signal as i32 })
    }

    /// A second call, without a grace, ends that of the first.
    fn end_tree(&mut self, grace: Duration) {
        match &self.ending {
            Some(ending) if grace.is_zero() => ending.hurry(),
            Some(_) => {}
            None => {
                let (ending, work) = Ending::new(self.init_pid, grace);
                let inner = self.inner.clone();
                self.tasks.spawn(async move {
                    work.run().await;
                    let _ = inner.send(Inside::TreeEnded).await;
                });
                self.ending = Some(ending);
            }
        }
    }

    async fn happened(&mut self, message: Inside) -> io::Result<()> {
        match message {
            Inside::Drained { child, exit } => self.tell_end(&child, exit).await,
            Inside::Closed { child } => {
                if let Some(child) = self.children.get_mut(&child) {
                    child.closed = true;
                }
                self.forget(&child)?;
            }
            Inside::Signal { child, signal } => self.signal(&child, signal)?,
            Inside::Ready { child } => self.say(News::Ready { child }).await,
            Inside::Watched { child, answers } => self.say(News::Watched { child, answers }).await,
            Inside::TreeEnded => self.say(News::TreeEnded).await,
        }
        Ok(())
    }

    async fn tell_end(&mut self, id: &str, exit: Exit) {
        let Some(child) = self.children.get(id) else { return };
        let last_line = child.output.last_line();
        self.say(News::Ended { child: id.to_owned(), exit, last_line }).await;
    }

    /// init forgets a child once its end is stored and its output at its end; until then a new agent is told of both.
    fn forget(&mut self, id: &str) -> io::Result<()> {
        if self.children.get(id).is_some_and(|child| child.stored && child.closed) {
            self.children.remove(id);
            self.link.send(&ToInit::Acknowledge { id: id.to_owned() })?;
        }
        Ok(())
    }

    /// What was read is written before the agent ends: another one reads on from there.
    async fn finish_reading(&mut self) {
        self.reading.stop();
        let all = async { while self.readers.join_next().await.is_some() {} };
        if timeout(DRAIN, all).await.is_err() {
            warn!("the disk does not take the last output");
        }
    }

    async fn say(&self, news: News) {
        // The hall is gone only when everything ends.
        let _ = self.news.send(news).await;
    }
}
