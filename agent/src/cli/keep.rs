//! `keep`: a lease for a time, or for as long as a command runs.
//!
//! The command is a helper of this process and no child of the space: it has our standard streams and our group, so a
//! terminal's Ctrl-C reaches it by itself. What is sent to us alone we pass on. If we are killed it goes on, and the
//! lease ends within two minutes.

use super::client::Agent;
use super::failure::Failure;
use super::output::{Output, printable};
use super::{Surroundings, Target, find};
use crate::control::api::LeaseRequest;
use crate::model::now::{Timestamp, spoken};
use crate::model::status::LeaseStatus;
use crate::sys::tree::{self, Process};
use clap::Args;
use space_lifecycle::duration;
use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

const LEASE: Duration = Duration::from_secs(120);
const RENEWAL: Duration = Duration::from_secs(30);
const NO_SUCH_LEASE: u16 = 404;
/// For giving the lease back; if that fails it ends by itself.
const GOODBYE: Duration = Duration::from_secs(2);
/// A shell's: 126 cannot be run, 127 not found, 128 and the signal's number.
const NOT_RUNNABLE: u8 = 126;
const NOT_FOUND: u8 = 127;
const BY_SIGNAL: i32 = 128;

/// Keep the space awake for a time, or while a command runs
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(override_usage = "space-agent keep [OPTIONS] DURATION\n       space-agent keep [OPTIONS] -- COMMAND...")]
pub struct KeepArgs {
    /// 90s, 5m, 2h
    #[arg(value_parser = positive, required_unless_present = "command", conflicts_with = "command")]
    duration: Option<Duration>,
    /// Shown to whoever asks why the space is awake
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Keep the space awake until this command ends, and end as it does
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
    #[command(flatten)]
    target: Target,
}

fn positive(text: &str) -> Result<Duration, String> {
    let duration = duration::parse(text)?;
    if duration.is_zero() { Err("keeps nothing awake".to_owned()) } else { Ok(duration) }
}

pub(super) async fn keep(args: &KeepArgs, surroundings: &Surroundings<'_>, output: &mut Output) -> Result<u8, Failure> {
    let agent = find::agent(&args.target, surroundings).await?;
    match (args.duration, args.command.split_first()) {
        (Some(duration), _) => for_a_time(&agent, duration, args.reason.clone(), output).await,
        (None, Some((program, rest))) => while_it_runs(agent, program, rest, args.reason.clone()).await,
        (None, None) => Err(Failure::wrong_call("say how long, or which command after --")),
    }
}

async fn for_a_time(
    agent: &Agent,
    duration: Duration,
    reason: Option<String>,
    output: &mut Output,
) -> Result<u8, Failure> {
    let request = LeaseRequest { duration: duration::text(duration), reason, id: None };
    let lease: LeaseStatus = agent.post("/v1/leases", &request).await?;
    output.write(&granted(&lease, duration, crate::sys::clock::now().wall))?;
    Ok(0)
}

fn granted(lease: &LeaseStatus, asked: Duration, now: Timestamp) -> String {
    let given = Duration::from_millis(lease.until.0.saturating_sub(now.0));
    // The answer took a moment; a minute less than asked is the agent's doing.
    let cut = if given + Duration::from_secs(60) < asked { ", the longest that this space allows" } else { "" };
    format!("kept awake for {}, until {}{cut} ({})\n", spoken(given), lease.until, printable(&lease.reason, false))
}

async fn while_it_runs(
    agent: Agent,
    program: &OsString,
    rest: &[OsString],
    reason: Option<String>,
) -> Result<u8, Failure> {
    // Arguments may hold secrets; the program's name doesn't.
    let name = Path::new(program).file_name().unwrap_or(program).to_string_lossy();
    let reason = reason.unwrap_or_else(|| format!("{name} is running under space-agent keep"));
    let mut lease = Held { agent, reason, id: None };
    lease.take().await?;
    let mut signals = Signals::listen()?;
    let ended = match spawn(program, rest) {
        Ok(mut child) => {
            // Both arms are dropped only when the command has ended or cannot be waited for.
            tokio::select! {
                ended = wait(&mut child, &mut signals) => ended,
                never = lease.renew_for_ever() => match never {},
            }
        }
        Err(failure) => Err(failure),
    };
    lease.give_back().await;
    ended.map(exit_code)
}

#[expect(clippy::disallowed_methods, reason = "keep runs in the client's own process, where no other reaper is")]
fn spawn(program: &OsString, rest: &[OsString]) -> Result<Child, Failure> {
    Command::new(program).args(rest).spawn().map_err(|error| {
        let code = if error.kind() == ErrorKind::NotFound { NOT_FOUND } else { NOT_RUNNABLE };
        Failure { code, ..Failure::failed(format!("cannot run {}: {error}", program.display())) }
    })
}

/// Waits for the end, passing signals on.
async fn wait(child: &mut Child, signals: &mut Signals) -> Result<ExitStatus, Failure> {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    let process = pid.and_then(|pid| tree::started(pid).map(|started| Process { pid, started }));
    loop {
        // Cancel-safe: `wait` can be called again, a signal stays in its channel.
        tokio::select! {
            ended = child.wait() => {
                return ended.map_err(|error| Failure::failed(format!("lost the command's exit code: {error}")));
            }
            Some(number) = signals.received.recv() => {
                if let Some(process) = process {
                    tree::signal(process, number);
                }
            }
        }
    }
}

fn exit_code(ended: ExitStatus) -> u8 {
    let code = ended.code().or_else(|| ended.signal().map(|signal| BY_SIGNAL + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// A lease that is renewed.
struct Held {
    agent: Agent,
    reason: String,
    id: Option<String>,
}

enum Never {}

impl Held {
    /// Takes the lease, or renews it.
    async fn take(&mut self) -> Result<(), Failure> {
        let request =
            LeaseRequest { duration: duration::text(LEASE), reason: Some(self.reason.clone()), id: self.id.clone() };
        let lease: LeaseStatus = self.agent.post("/v1/leases", &request).await?;
        self.id = Some(lease.id);
        Ok(())
    }

    /// Says once that the agent is lost, and once that it is back; the command's run is worth more than the lease.
    async fn renew_for_ever(&mut self) -> Never {
        let mut lost = false;
        let mut ticks = interval(RENEWAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            match self.take_again().await {
                Ok(()) => {
                    if lost {
                        say("the space is kept awake again");
                    }
                    lost = false;
                }
                Err(failure) => {
                    if !lost {
                        say(&format!("the space is not kept awake for now: {}", failure.message));
                    }
                    lost = true;
                }
            }
        }
    }

    /// Renews the lease; if the agent doesn't know it any more, takes a new one.
    async fn take_again(&mut self) -> Result<(), Failure> {
        match self.take().await {
            Err(failure) if failure.answered == Some(NO_SUCH_LEASE) && self.id.take().is_some() => self.take().await,
            taken => taken,
        }
    }

    async fn give_back(self) {
        if let Some(id) = self.id {
            // If this fails the lease ends by itself.
            let _ = timeout(GOODBYE, self.agent.delete(&format!("/v1/leases/{id}"))).await;
        }
    }
}

fn say(message: &str) {
    let _ = writeln!(std::io::stderr(), "space-agent: {message}");
}

/// Signals that are meant for the command.
struct Signals {
    received: mpsc::Receiver<i32>,
    /// Owns the listeners: they end with it.
    _listeners: JoinSet<()>,
}

impl Signals {
    fn listen() -> Result<Signals, Failure> {
        // A terminal sends these to the whole group: the command has them already, and a second one would hurt it.
        let from_terminal = [SignalKind::interrupt(), SignalKind::quit()];
        let kinds =
            [SignalKind::terminate(), SignalKind::hangup(), SignalKind::user_defined1(), SignalKind::user_defined2()];
        let at_a_terminal = std::fs::File::open("/dev/tty").is_ok();
        let (sender, received) = mpsc::channel(16);
        let mut listeners = JoinSet::new();
        for kind in kinds.into_iter().chain(from_terminal) {
            let mut source =
                signal(kind).map_err(|error| Failure::failed(format!("cannot listen for signals: {error}")))?;
            let passed_on = !(at_a_terminal && from_terminal.contains(&kind));
            let sender = sender.clone();
            listeners.spawn(async move {
                while source.recv().await.is_some() {
                    if passed_on {
                        // Full: the command has enough of them to think about.
                        let _ = sender.try_send(kind.as_raw_value());
                    }
                }
            });
        }
        Ok(Signals { received, _listeners: listeners })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::tests::Live;

    #[tokio::test]
    async fn a_lease_that_the_agent_does_not_know_any_more_is_taken_anew() {
        let live = Live::new("renewal");
        let agent = Agent { socket: live.socket() };
        let mut held = Held { agent, reason: "night run".to_owned(), id: Some("ended".to_owned()) };
        held.take_again().await.unwrap();
        assert_eq!(held.id.as_deref(), Some("new"));
        held.take_again().await.unwrap();
        assert_eq!(held.id.as_deref(), Some("new"));
    }
}
