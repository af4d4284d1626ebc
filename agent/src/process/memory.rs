//! Watches the space's memory: warns before it runs short, and tells whom the system has ended when it did.
//!
//! A thread of its own does all of the looking, since a look can wait for a process that hangs; the room talks to it over
//! [`MemoryWatch`], which never waits for it. While there is no pressure the thread sleeps until the room asks for a look,
//! a process that it holds ends, or the system says that memory is short. Who was ended is never asked of the system's
//! log: the thread holds every process of the space by pidfd, and when the system's count of ended processes has risen, it
//! is those that ended then by SIGKILL.

mod held;
mod inquest;
mod scope;
mod watch;

pub use scope::Scope;

use crate::model::memory::{MemoryNews, Victim};
use crate::sys::errors::chain;
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use watch::Watch;

/// How long the room waits for an answer: the thread may hang.
const PATIENCE: Duration = Duration::from_millis(500);
/// What the room may ask before the thread gets to it. More is asked only of a thread that hangs.
const QUEUE: usize = 256;

/// The room's side of the watch. Dropping it ends the thread too, without waiting for that.
#[derive(Debug)]
pub struct MemoryWatch {
    line: MemoryLine,
    /// Closed when the thread has ended.
    ended: oneshot::Receiver<()>,
    /// Whether the platform ends all of the space at once when its memory is used up, the agent too.
    pub ends_as_one: bool,
}

/// The way to the thread; cheap to clone, so that a task of the room's can wait for an answer.
#[derive(Debug, Clone)]
pub struct MemoryLine {
    commands: SyncSender<Command>,
    wake: Arc<EventFd>,
}

#[derive(Debug)]
enum Command {
    /// A child of the space has been started.
    Started {
        child: String,
        pid: i32,
    },
    Look,
    /// Was this child, which has ended by SIGKILL, ended for memory?
    Killed {
        child: String,
        pid: i32,
        answer: oneshot::Sender<Option<Victim>>,
    },
    End,
}

impl MemoryWatch {
    /// Watches the descendants of `init_pid`, without this process. News that nobody takes are dropped.
    pub fn start(init_pid: i32, scope: Scope, news: mpsc::Sender<MemoryNews>) -> io::Result<MemoryWatch> {
        let (commands, receiver) = sync_channel(QUEUE);
        let wake = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        let (alive, ended) = oneshot::channel();
        let ends_as_one = scope.ends_as_one();
        let inbox = Inbox { commands: receiver, wake: wake.clone() };
        std::thread::Builder::new().name("memory".into()).spawn(move || {
            let _alive: oneshot::Sender<()> = alive;
            if let Err(error) = Watch::new(init_pid, scope, inbox, news).run() {
                tracing::warn!("the space's memory is not watched any more: {}", chain(&error));
            }
        })?;
        Ok(MemoryWatch { line: MemoryLine { commands, wake }, ended, ends_as_one })
    }

    pub fn line(&self) -> &MemoryLine {
        &self.line
    }

    /// Ends the thread and waits for that, at most so long: one that hangs is left behind.
    pub async fn end(mut self, deadline: Duration) {
        self.line.send(Command::End);
        // Either its end or the deadline's is fine.
        let _ = tokio::time::timeout(deadline, &mut self.ended).await;
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        self.line.send(Command::End);
    }
}

impl MemoryLine {
    /// A child of the space was started, or was there already: what descends from it is told by its name.
    pub fn started(&self, child: &str, pid: i32) {
        self.send(Command::Started { child: child.to_owned(), pid });
    }

    /// Asks for a look: something was started, or it is time for one.
    pub fn look(&self) {
        self.send(Command::Look);
    }

    /// Of a child that has ended by SIGKILL: who it was, if the system has ended it for memory. `None` also if that can't
    /// be told.
    pub async fn killed(&self, child: &str, pid: i32) -> Option<Victim> {
        let (answer, told) = oneshot::channel();
        self.send(Command::Killed { child: child.to_owned(), pid, answer });
        tokio::time::timeout(PATIENCE, told).await.ok()?.ok()?
    }

    fn send(&self, command: Command) {
        // A full queue is that of a thread that hangs: a look more or less is nothing to it, and a question to it is
        // answered by nobody.
        if self.commands.try_send(command).is_ok() {
            // Fails only when the counter is full, and then the thread is awake.
            let _ = self.wake.write(1);
        }
    }
}

/// The thread's side.
#[derive(Debug)]
struct Inbox {
    commands: Receiver<Command>,
    wake: Arc<EventFd>,
}

#[cfg(test)]
mod tests;
