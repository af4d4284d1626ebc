//! `stop`: asks when kernels are busy, and waits until nothing is left.

use super::client::Agent;
use super::failure::Failure;
use super::output::Output;
use super::{Surroundings, Target, confirm, find};
use crate::control::api::StopRequest;
use crate::model::status::Status;
use crate::sys::tree::{self, Process};
use clap::Args;
use std::fs;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// A space may take its time (`stop.deadline`, disks); one that takes this long hangs.
const END_DEADLINE: Duration = Duration::from_secs(15 * 60);
const POLL: Duration = Duration::from_millis(50);

/// Stop the space and wait until it has ended
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct StopArgs {
    /// Why, for whoever asks later
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Even when kernels are busy; what they compute is lost
    #[arg(long, short)]
    yes: bool,
    /// Don't wait for the end
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    target: Target,
}

pub(super) async fn stop(args: &StopArgs, surroundings: &Surroundings<'_>, output: &mut Output) -> Result<u8, Failure> {
    let agent = find::agent(&args.target, surroundings).await?;
    let status: Status = agent.get("/v1/status").await?;
    let init = visible_init(status.agent.init_pid);
    let request = StopRequest { reason: args.reason.clone(), force: args.yes };
    let told = agent.tell("/v1/stop", &request).await;
    if confirm::insist(told, "stop", surroundings).await? {
        agent.tell("/v1/stop", &StopRequest { force: true, ..request }).await?;
    }
    if args.no_wait {
        output.write(&format!("{} is stopping\n", status.space))?;
        return Ok(0);
    }
    if output.terminal {
        output.write(&format!("{} is stopping …\n", status.space))?;
    }
    let told = timeout(END_DEADLINE, gone(&agent, init, &status)).await.map_err(|_| {
        let minutes = END_DEADLINE.as_secs() / 60;
        Failure::failed(format!(
            "{} has not ended within {minutes} minutes; space-agent status says what it waits for",
            status.space
        ))
    })?;
    for event in told {
        output.write(&format!("{event}\n"))?;
    }
    output.write(&format!("{} has stopped\n", status.space))?;
    Ok(0)
}

/// Init, if it is a process that we see: a space in another container has pids that mean something else here.
fn visible_init(pid: i32) -> Option<Process> {
    let own = fs::read_to_string("/proc/self/comm").ok()?;
    let its = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    let started = tree::started(pid)?;
    (own == its).then_some(Process { pid, started })
}

/// Until nobody listens and init is gone. Looks every 50 ms: both ends are somebody else's to close. What happened
/// meanwhile is told: what was not committed, and what went wrong.
async fn gone(agent: &Agent, init: Option<Process>, before: &Status) -> Vec<String> {
    let known = before.events.last().map_or(0, |event| event.seq);
    let mut told = Vec::new();
    while agent.listens().await || init.is_some_and(tree::alive) {
        // Towards the end nobody answers any more.
        if let Ok(status) = agent.get::<Status>("/v1/status").await {
            told = status.events.into_iter().filter(|event| event.seq > known).map(|event| event.text).collect();
        }
        sleep(POLL).await;
    }
    // That it stops is what was asked for.
    told.retain(|text: &String| !text.starts_with("the space stops"));
    told
}
