//! `why`: the one sentence.

use super::failure::Failure;
use super::output::{Output, printable};
use super::{Surroundings, Target, find};
use crate::model::status::Status;
use clap::Args;

/// Say in one sentence why the space is or isn't idle
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct WhyArgs {
    #[command(flatten)]
    target: Target,
}

pub(super) async fn why(args: &WhyArgs, surroundings: &Surroundings<'_>, output: &mut Output) -> Result<u8, Failure> {
    let agent = find::agent(&args.target, surroundings).await?;
    let status: Status = agent.get("/v1/status").await?;
    output.write(&format!("{}\n", printable(status.why(), false)))?;
    Ok(0)
}
