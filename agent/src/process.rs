//! Supervises what runs in the space: asks init to start it, reads its output, tells its end, ends it.
//!
//! Receives [`Command`]s and what init tells; sends [`News`]; stops when told to, after which children run on (they are
//! init's). It decides nothing: what is started again and when is the model's.

mod attach;
mod ending;
mod logs;
mod memory;
mod output;
mod probe;

pub use attach::{Attached, KnownChild, Link, attach, end_known, keep, set_policy};
pub use logs::{Logs, Writer};
pub use memory::{MemoryLine, MemoryWatch, Scope};
pub use probe::Probe;

use crate::model::child::{ChildSpec, Exit};
use crate::model::log::LogLine;
use crate::model::now::Now;
use crate::sys::link::{ToAgent, ToInit};
use crate::sys::stop::Stop;
use ending::Ending;
use nix::sys::signal::Signal;
use output::{Output, Source};
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, mpsc};
use tokio::task::{AbortHandle, JoinSet};

/// How long an ended child's output is read on before its end is told: what it wrote is in the pipe already.
const DRAIN: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub struct Config {
    pub link: Link,
    pub init_pid: i32,
    /// Children that an earlier agent of this boot has left, with their output.
    pub known: Vec<KnownChild>,
    pub logs: Logs,
    pub lines: broadcast::Sender<Arc<LogLine>>,
    pub now: fn() -> Now,
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
    End {
        child: String,
        grace: Duration,
    },
    /// The child's end is in the stored state: init may forget it.
    Stored {
        child: String,
    },
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
    /// init was asked by a signal to stop, so many times.
    StopAsked {
        times: u32,
    },
    TreeEnded,
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
    let mut room = Room {
        link: config.link,
        init_pid: config.init_pid,
        output: Output { logs: config.logs.clone(), lines: config.lines, now: config.now },
        children: HashMap::new(),
        probes: HashMap::new(),
        ending: None,
        tasks: JoinSet::new(),
        inner,
        news,
    };
    for known in config.known {
        room.adopt(known).await;
    }
    let ended = room.serve(commands, inside, stop).await;
    room.tasks.shutdown().await;
    ended
}

/// What the room's own tasks tell it.
#[derive(Debug)]
enum Inside {
    /// The child's output is at its end, or has been read for long enough since the child ended.
    Drained {
        child: String,
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
    TreeEnded,
}

struct Child {
    output: output::Tail,
    exit: Option<Exit>,
    stored: bool,
    closed: bool,
}

struct Room {
    link: Link,
    init_pid: i32,
    output: Output,
    children: HashMap<String, Child>,
    /// By child, which need not be told of yet.
    probes: HashMap<String, AbortHandle>,
    ending: Option<Ending>,
    tasks: JoinSet<()>,
    inner: mpsc::Sender<Inside>,
    news: mpsc::Sender<News>,
}

impl Room {
    async fn serve(
        &mut self,
        mut commands: mpsc::Receiver<Command>,
        mut inside: mpsc::Receiver<Inside>,
        mut stop: Stop,
    ) -> io::Result<()> {
        loop {
            // Each arm is cancel-safe: channels and the stop switch lose nothing, and the link is a readiness wait.
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
                Some(command) = commands.recv() => self.obey(command).await?,
                Some(message) = inside.recv() => self.happened(message).await?,
                Some(_) = self.tasks.join_next() => {}
            }
        }
    }

    async fn told(&mut self, message: ToAgent, fd: Option<std::os::fd::OwnedFd>) {
        match message {
            ToAgent::Spawned { id, pid } => self.adopt(KnownChild { id, pid, exit: None, output: fd }).await,
            ToAgent::Ended { id, exit } => self.ended(id, exit),
            ToAgent::StopAsked { times } => self.say(News::StopAsked { times }).await,
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
        self.children.insert(known.id.clone(), Child { output: tail, exit: None, stored: false, closed });
        self.say(News::Started { child: known.id.clone(), pid: known.pid }).await;
        if let Some(exit) = known.exit {
            self.ended(known.id, exit);
        }
    }

    fn read_output(&mut self, child: &str, fd: std::os::fd::OwnedFd) -> output::Tail {
        let tail = output::Tail::default();
        let (output, inner, filled, child) = (self.output.clone(), self.inner.clone(), tail.clone(), child.to_owned());
        self.tasks.spawn(async move {
            output.read(Source::of(&child), fd, filled).await;
            // The room is gone only when everything ends.
            let _ = inner.send(Inside::Closed { child }).await;
        });
        tail
    }

    /// Its end is told once its output was read; a background job that holds the pipe delays that by [`DRAIN`] at most.
    fn ended(&mut self, id: String, exit: Exit) {
        let Some(child) = self.children.get_mut(&id) else { return };
        child.exit = Some(exit);
        if let Some(probe) = self.probes.remove(&id) {
            probe.abort();
        }
        let (inner, wait) = (self.inner.clone(), if child.closed { Duration::ZERO } else { DRAIN });
        self.tasks.spawn(async move {
            tokio::time::sleep(wait).await;
            let _ = inner.send(Inside::Drained { child: id }).await;
        });
    }

    async fn obey(&mut self, command: Command) -> io::Result<()> {
        match command {
            Command::Spawn { child, spec } => self.spawn(child, spec).await,
            Command::Probe { child, probe } => {
                self.probe(child, probe);
                Ok(())
            }
            Command::End { child, grace } => self.end(child, grace),
            Command::Stored { child } => {
                if let Some(known) = self.children.get_mut(&child) {
                    known.stored = true;
                }
                self.forget(&child)
            }
            Command::EndTree { grace } => self.end_tree(grace),
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
        let (inner, name) = (self.inner.clone(), child.clone());
        let handle = self.tasks.spawn(async move {
            probe.until_ready().await;
            let _ = inner.send(Inside::Ready { child: name }).await;
        });
        self.probes.insert(child, handle);
    }

    fn end(&mut self, child: String, grace: Duration) -> io::Result<()> {
        self.signal(&child, Signal::SIGTERM)?;
        let inner = self.inner.clone();
        self.tasks.spawn(async move {
            tokio::time::sleep(grace).await;
            let _ = inner.send(Inside::Signal { child, signal: Signal::SIGKILL }).await;
        });
        Ok(())
    }

    fn signal(&self, child: &str, signal: Signal) -> io::Result<()> {
        self.link.send(&ToInit::Signal { id: child.to_owned(), signal: signal as i32 })
    }

    /// A second call ends the grace of the first.
    fn end_tree(&mut self, grace: Duration) -> io::Result<()> {
        for (id, child) in &self.children {
            if child.exit.is_none() {
                self.signal(id, Signal::SIGTERM)?;
            }
        }
        match &self.ending {
            Some(ending) => ending.hurry(),
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
        self.tell_ending();
        Ok(())
    }

    /// The ending waits, for its grace at most, for the children; then for nobody.
    fn tell_ending(&self) {
        if let Some(ending) = &self.ending
            && self.children.values().all(|child| child.exit.is_some())
        {
            ending.children_ended();
        }
    }

    async fn happened(&mut self, message: Inside) -> io::Result<()> {
        match message {
            Inside::Drained { child } => self.tell_end(&child).await,
            Inside::Closed { child } => {
                if let Some(child) = self.children.get_mut(&child) {
                    child.closed = true;
                }
                self.forget(&child)?;
            }
            Inside::Signal { child, signal } => self.signal(&child, signal)?,
            Inside::Ready { child } => self.say(News::Ready { child }).await,
            Inside::TreeEnded => self.say(News::TreeEnded).await,
        }
        Ok(())
    }

    async fn tell_end(&mut self, id: &str) {
        let Some(child) = self.children.get(id) else { return };
        let Some(exit) = child.exit.clone() else { return };
        let last_line = child.output.last_line();
        self.say(News::Ended { child: id.to_owned(), exit, last_line }).await;
        self.tell_ending();
    }

    /// init forgets a child once its end is stored and its output at its end; until then a new agent is told of both.
    fn forget(&mut self, id: &str) -> io::Result<()> {
        if self.children.get(id).is_some_and(|child| child.stored && child.closed) {
            self.children.remove(id);
            self.link.send(&ToInit::Acknowledge { id: id.to_owned() })?;
        }
        Ok(())
    }

    async fn say(&self, news: News) {
        // The hall is gone only when everything ends.
        let _ = self.news.send(news).await;
    }
}
