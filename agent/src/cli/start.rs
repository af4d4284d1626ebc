//! `start`: out of recovery or parked mode, and waits for what comes of it.

use super::failure::Failure;
use super::output::{Output, printable};
use super::wait::{self, For};
use super::{Surroundings, Target, find};
use crate::control::api::StartRequest;
use crate::model::status::{Mode, Status};
use clap::Args;

/// Leave recovery or parked mode: boot the space anew, and wait until it is ready
///
/// A space that is not running at all is started with space-agent run.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct StartArgs {
    /// Don't wait until it is ready
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    target: Target,
}

pub(super) async fn start(
    args: &StartArgs,
    surroundings: &Surroundings<'_>,
    output: &mut Output,
) -> Result<u8, Failure> {
    let agent = find::agent(&args.target, surroundings).await?;
    let before: Status = agent.get("/v1/status").await?;
    agent.tell("/v1/start", &StartRequest {}).await?;
    let space = printable(&before.space, false);
    if before.mode == Some(Mode::Normal) {
        output.write(&format!("{space} runs already: {}\n", printable(&before.sentence, false)))?;
        return Ok(0);
    }
    if args.no_wait {
        output.write(&format!("{space} is starting\n"))?;
        return Ok(0);
    }
    if output.terminal {
        output.write(&format!("{space} is starting …\n"))?;
    }
    let status = wait::until(&agent, &For::Space).await?;
    output.write(&format!("{space} has started: {}\n", printable(&status.sentence, false)))?;
    Ok(0)
}
