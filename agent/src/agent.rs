//! The hall: opens the rooms, runs the one loop that owns the state, drains the rooms in reverse order.
//!
//! To read it: `prepare` makes a space out of the command line, `rooms` opens the rooms, `hall` is the loop, `effects` and
//! `requests` are its two hands. Every event goes through [`Space::handle`](crate::model::space::Space::handle); the state is saved before the effects
//! are carried out, so that an agent that is killed at any moment is followed by one that resumes: it finds in init's
//! hands whatever it had started, and asks again for what init does not know.

mod access;
mod beginning;
mod document;
mod doors;
mod effects;
mod good;
mod hall;
mod identity;
mod last_word;
mod leftovers;
mod place;
mod prepare;
mod record;
mod reload;
mod requests;
mod rooms;
mod snapshot;

use crate::cli::{AgentArgs, LogFormat, RunArgs};
use crate::process;
use crate::sys::memory_file::MemoryFile;
use crate::sys::patient::Patient;
use crate::sys::{heap, limits, link, signals};
use serde_json::json;
use snapshot::Snapshot;
use std::fmt;
use std::io::{IsTerminal, Write};
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::time::Duration;

/// Exit codes of `run` that a start can end with.
const BOOT_FAILED: u8 = 1;
const INVALID: u8 = 78;
/// init's, when agents have crashed too often.
const CRASHED_TOO_OFTEN: u8 = 5;
/// What cleaning up after them may take.
const CLEANING: Duration = Duration::from_secs(8);
/// Not one of the space's own: init starts the agent again.
const CRASHED: u8 = 101;

/// Why the space could not even begin to boot: one message for the person who started it.
#[derive(Debug)]
pub struct Refusal {
    pub code: u8,
    pub message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

fn refusal(code: u8, message: impl Into<String>) -> Refusal {
    Refusal { code, message: message.into() }
}

/// The agent process, started by init. Returns its exit code.
pub fn run(args: &AgentArgs) -> u8 {
    heap::share();
    log(args.run.log);
    let init = link::inherited(args.init_fd)
        .map_err(|error| refusal(BOOT_FAILED, format!("only init starts the agent: {error}")));
    let own = signals::ignore_terminal_stop().and_then(|()| signals::forbid_inspection());
    if let Err(error) = own {
        tracing::warn!(%error, "cannot protect the agent from its terminal or its neighbours");
    }
    // The agent's own: init forks everything else, and keeps the limit that it was started with.
    limits::raise_descriptors();
    let run = |init| if args.clean_up { clean_up(init) } else { start(&args.run, init) };
    init.and_then(run).unwrap_or_else(|refusal| {
        // Nobody may read it any more.
        let _ = writeln!(std::io::stderr(), "space-agent: {refusal}");
        // Another agent, if one follows, has a later word.
        last_word::tell(&refusal.message);
        refusal.code
    })
}

/// After too many crashes: what the state names is ended and removed, whatever made the agent crash.
fn clean_up(init: OwnedFd) -> Result<u8, Refusal> {
    let failed = |error: std::io::Error| refusal(CRASHED, format!("cannot clean up: {error}"));
    let attached = process::attach(init).map_err(failed)?;
    if let Some(promise) = process::promise_end(attached.minor, CLEANING, CRASHED_TOO_OFTEN) {
        link::send_patiently(&attached.socket, &promise, None).map_err(failed)?;
    }
    let (_, state) = MemoryFile::open(&attached.state).map_err(failed)?;
    if let Some(snapshot) = state.and_then(|state| Snapshot::read(&state)) {
        leftovers::end_own(&snapshot.place, &snapshot.space.facts.boot);
        snapshot.place.clean();
    }
    Ok(0)
}

/// To standard error: lines for people, or one JSON object each.
fn log(format: LogFormat) {
    let level = tracing_subscriber::EnvFilter::try_from_env("SPACE_AGENT_LOG").unwrap_or_else(|_| "info".into());
    let to = Mutex::new(Patient::new(std::io::stderr(), lost_lines(format)));
    let log = tracing_subscriber::fmt().with_env_filter(level).with_writer(to).with_target(false);
    // A log that nobody reads any more must not end the agent.
    let log = log.log_internal_errors(false);
    // An error means that a log is there already, which only a test can bring about.
    let _ = match format {
        LogFormat::Text => {
            let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            log.with_ansi(std::io::stderr().is_terminal() && !plain).try_init()
        }
        LogFormat::Json => log.json().try_init(),
    };
}

/// What stands in the log for lines that found no reader.
fn lost_lines(format: LogFormat) -> fn(u64) -> String {
    match format {
        LogFormat::Text => |lines| format!("space-agent: {lines} lines of this log found no reader and are lost\n"),
        LogFormat::Json => |lines| {
            let fields = json!({ "message": "lines of this log found no reader and are lost", "lines": lines });
            format!("{}\n", json!({ "level": "WARN", "fields": fields }))
        },
    }
}

fn start(args: &RunArgs, init: OwnedFd) -> Result<u8, Refusal> {
    let crashed = |what: &str, error: &dyn fmt::Display| refusal(CRASHED, format!("{what}: {error}"));
    let mut attached = process::attach(init).map_err(|error| crashed("cannot speak with init", &error))?;
    let (memory, state) =
        MemoryFile::open(&attached.state).map_err(|error| crashed("cannot read the state", &error))?;
    let snapshot = state.and_then(|state| Snapshot::read(&state));
    let resumed = snapshot.is_some();
    let (snapshot, doors) = match snapshot {
        Some(snapshot) => prepare::resume(snapshot, &mut attached)?,
        None => prepare::begin(args, &mut attached)?,
    };
    rooms::run(args, snapshot, doors, memory, attached, resumed)
        .unwrap_or_else(|error| Err(crashed("the agent cannot go on", &error)))
}
