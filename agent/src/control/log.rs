//! A step's or an app's output as a stream of bytes: all of it or the last lines, and further output as it comes.
//!
//! The log folder is the agent's own, and names were checked before they come here. Still nothing but a plain file is
//! opened, and never through a link. All reading happens on blocking threads, eight at most, so that a disk that hangs
//! costs only those who read logs.

mod cursor;

use super::problem::Problem;
use crate::model::status::{AppState, PhaseName, Status, StepState};
use crate::sys::stop::Stop;
use axum::body::{Body, Bytes};
use cursor::Cursor;
use futures_util::stream;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

const READS_AT_ONCE: usize = 8;
const READ_DEADLINE: Duration = Duration::from_secs(5);
/// How often a followed file is looked at. Only while somebody follows.
const POLL: Duration = Duration::from_millis(250);

/// The log folder, with the threads that may read it at once.
#[derive(Debug, Clone)]
pub(super) struct Logs {
    folder: PathBuf,
    permits: Arc<Semaphore>,
}

/// Whose output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Of {
    Step(String),
    App(String),
}

/// How long a follower stays.
#[derive(Debug)]
pub(super) struct Follow {
    pub(super) status: watch::Receiver<Arc<Status>>,
    pub(super) stop: Stop,
}

impl Logs {
    pub(super) fn new(folder: PathBuf) -> Logs {
        Logs { folder, permits: Arc::new(Semaphore::new(READS_AT_ONCE)) }
    }

    /// The body of an answer. Output that doesn't exist yet is empty output.
    pub(super) async fn body(&self, of: Of, tail: Option<u32>, follow: Option<Follow>) -> Result<Body, Problem> {
        let path = self.folder.join(of.file());
        let following = follow.is_some();
        let opened = blocking(&self.permits, move || Cursor::open(&path, tail, following)).await;
        let cursor = opened.map_err(|error| unreadable(&self.folder.join(of.file()), &error))?;
        let reader = Reader { cursor, of, permits: self.permits.clone(), follow, last_look: false };
        Ok(Body::from_stream(stream::try_unfold(reader, Reader::next)))
    }
}

impl fmt::Display for Of {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Of::Step(name) => write!(f, "step {name}"),
            Of::App(name) => write!(f, "app {name}"),
        }
    }
}

impl Of {
    pub(super) fn name(&self) -> &str {
        match self {
            Of::Step(name) | Of::App(name) => name,
        }
    }

    /// In the boot record.
    pub(super) fn key(&self) -> String {
        match self {
            Of::Step(name) => format!("steps/{name}"),
            Of::App(name) => format!("apps/{name}"),
        }
    }

    /// Within the log folder. A step and an app may have the same name.
    fn file(&self) -> PathBuf {
        PathBuf::from(format!("{}.log", self.key()))
    }

    /// True when no more output can come.
    fn has_ended(&self, status: &Status) -> bool {
        if matches!(status.phase, PhaseName::Stopped | PhaseName::Failed) {
            return true;
        }
        match self {
            Of::Step(name) => status.steps.iter().any(|step| step.name == *name && step_is_over(step.state)),
            Of::App(name) => status.apps.iter().any(|app| app.name == *name && app.state == AppState::Stopped),
        }
    }
}

fn step_is_over(state: StepState) -> bool {
    match state {
        StepState::Waiting | StepState::Running => false,
        StepState::Done | StepState::Skipped | StepState::Failed | StepState::Dropped => true,
    }
}

struct Reader {
    cursor: Cursor,
    of: Of,
    permits: Arc<Semaphore>,
    follow: Option<Follow>,
    /// The end is known; what is there now is the last of it.
    last_look: bool,
}

impl Reader {
    /// The next bytes; `None` at the end.
    async fn next(mut self) -> io::Result<Option<(Bytes, Reader)>> {
        loop {
            let permits = self.permits.clone();
            let mut cursor = self.cursor;
            let (read, cursor) = blocking(&permits, move || {
                let read = cursor.read()?;
                Ok((read, cursor))
            })
            .await
            .inspect_err(
                |error| tracing::warn!(log = %self.of.file().display(), %error, "cannot read a log any further"),
            )?;
            self.cursor = cursor;
            if !read.is_empty() {
                return Ok(Some((Bytes::from(read), self)));
            }
            let Some(follow) = self.follow.as_mut().filter(|_| !self.last_look) else { return Ok(None) };
            self.last_look = follow.stop.is_wanted() || self.of.has_ended(&follow.status.borrow());
            // Cancel-safe: neither arm holds anything. The pause before the last look lets the last lines be written.
            tokio::select! {
                () = sleep(POLL) => {}
                () = follow.stop.wanted() => self.last_look = true,
            }
        }
    }
}

/// Runs `read` on a blocking thread. The permit stays with the thread, so that stuck reads are counted too.
pub(super) async fn blocking<T: Send + 'static>(
    permits: &Arc<Semaphore>,
    read: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let done = async {
        let permit = permits.clone().acquire_owned().await.map_err(io::Error::other)?;
        let task = tokio::task::spawn_blocking(move || {
            let result = read();
            drop(permit);
            result
        });
        task.await.map_err(io::Error::other)?
    };
    let late = || io::Error::new(io::ErrorKind::TimedOut, "the disk did not answer within 5 s");
    timeout(READ_DEADLINE, done).await.unwrap_or_else(|_| Err(late()))
}

fn unreadable(path: &Path, error: &io::Error) -> Problem {
    Problem::unavailable(format!("cannot read {}: {error}", path.display()))
}
