//! Someone who knocks at the front door all the time, on a thread of its own, so that nothing that a story does delays
//! what is measured.

use crate::client::{Client, whole};
use hyper::Method;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Between two knocks.
const EVERY: Duration = Duration::from_millis(20);

/// One connection with one request.
#[derive(Debug, Clone)]
pub struct Knock {
    pub opened: Instant,
    pub ended: Instant,
    /// What came back: the status and `Retry-After`, or how the connection failed.
    pub answer: Result<(u16, Option<String>), String>,
}

impl Knock {
    pub fn took(&self) -> Duration {
        self.ended - self.opened
    }
}

/// Knocks until it is dropped or asked what it has seen.
#[derive(Debug)]
pub struct Prober {
    thread: JoinHandle<()>,
    stop: oneshot::Sender<()>,
    knocks: Receiver<Knock>,
}

impl Prober {
    /// Asks for `path` in the name of `client`, whether or not the answers before are there.
    pub fn start(client: &Client, path: &str) -> Prober {
        let (client, path) = (client.clone(), path.to_owned());
        let (stop, stopped) = oneshot::channel();
        let (told, knocks) = channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let knocking = async move {
                let mut open = JoinSet::new();
                let mut every = tokio::time::interval(EVERY);
                every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                tokio::pin!(stopped);
                loop {
                    tokio::select! {
                        _ = every.tick() => {
                            open.spawn(knock(client.clone(), path.clone()));
                        }
                        Some(Ok(knock)) = open.join_next() => {
                            let _ = told.send(knock);
                        }
                        _ = &mut stopped => break,
                    }
                }
                // What is open counts too.
                while let Some(Ok(knock)) = open.join_next().await {
                    let _ = told.send(knock);
                }
            };
            runtime.expect("a runtime can be made").block_on(knocking);
        });
        Prober { thread, stop, knocks }
    }

    /// What it has seen since it was last asked.
    pub fn seen(&self) -> Vec<Knock> {
        self.knocks.try_iter().collect()
    }

    /// Ends it and returns the rest of what it has seen.
    pub fn end(self) -> Vec<Knock> {
        let _ = self.stop.send(());
        self.thread.join().expect("the prober has not failed");
        self.knocks.try_iter().collect()
    }
}

async fn knock(mut client: Client, path: String) -> Knock {
    let opened = Instant::now();
    let answer = client.try_send(Method::GET, &path, &[], whole("")).await;
    let answer = answer.map(|answer| (answer.status.as_u16(), answer.header("retry-after").map(str::to_owned)));
    Knock { opened, ended: Instant::now(), answer }
}
