//! `why`: the one sentence.

use super::failure::Failure;
use super::output::{Output, printable};
use super::{Surroundings, Target, find};
use crate::model::status::{PhaseName, Status};
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
    output.write(&format!("{}\n", printable(sentence(&status), false)))?;
    Ok(0)
}

/// While the space boots or ends, that is the reason; what works in it matters only in between.
fn sentence(status: &Status) -> &str {
    match status.phase {
        PhaseName::Running | PhaseName::Notice => &status.activity.sentence,
        PhaseName::Booting | PhaseName::Stopping | PhaseName::Stopped | PhaseName::Failed => &status.sentence,
    }
}
