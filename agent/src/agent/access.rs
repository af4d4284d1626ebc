//! What the front door has besides its table: the certificate's files, and somebody who writes the access log.
//!
//! The log is written on a thread of its own, so that neither a slow disk nor a standard output that nobody reads holds
//! a request or the hall; what it can't keep up with is lost and counted.

use crate::model::child::Account;
use crate::process::Logs;
use crate::proxy::{AccessLog, Pair};
use crate::sys::account;
use space_lifecycle::{AccessLog as Wanted, Space as Spec};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};
use tokio::sync::mpsc;

/// Lines that may wait.
const WAITING: usize = 1024;
/// Bytes that are written at once.
const BATCH: usize = 32 * 1024;
/// In the log folder.
const NAME: &str = "front-door/access";

/// A root agent's key is not for the space's user. Where both are one, nothing can be kept apart.
pub(super) fn pair(spec: &Spec, account: &Account) -> Option<Pair> {
    let tls = spec.front_door.tls.as_ref()?;
    let apart = account::own().0 != account.uid;
    Some(Pair { cert: tls.cert.clone(), key: tls.key.clone(), not_for: apart.then(|| account.clone()) })
}

/// `None`: the document wants none. The thread ends when the last handle of the log is dropped.
pub(super) fn log(spec: &Spec, logs: &Logs, json: bool) -> io::Result<Option<(AccessLog, JoinHandle<()>)>> {
    let (lines, waiting) = mpsc::channel(WAITING);
    let log = AccessLog { lines, lost: Arc::new(AtomicU64::new(0)), json };
    let (lost, logs) = (log.lost.clone(), logs.clone());
    let write: Box<dyn FnMut(&str) + Send> = match spec.front_door.access_log {
        Wanted::Off => return Ok(None),
        Wanted::File => Box::new(move |lines| logs.append_blocking(NAME, lines.as_bytes())),
        // Nobody may be left to read it.
        Wanted::Stdout => Box::new(|lines| drop(io::stdout().lock().write_all(lines.as_bytes()))),
    };
    let thread = Builder::new().name("access-log".into()).spawn(move || keep(waiting, &lost, write))?;
    Ok(Some((log, thread)))
}

fn keep(mut waiting: mpsc::Receiver<String>, lost: &AtomicU64, mut write: Box<dyn FnMut(&str) + Send>) {
    while let Some(mut lines) = waiting.blocking_recv() {
        while lines.len() < BATCH {
            match waiting.try_recv() {
                Ok(line) => lines.push_str(&line),
                Err(_) => break,
            }
        }
        write(&lines);
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            tracing::warn!(lost, "the access log could not keep up; this many lines of it are lost");
        }
    }
}
