//! `sign-in`: a link that works once.

use super::failure::Failure;
use super::output::{Output, printable};
use super::{Surroundings, Target, find};
use crate::control::api::{SignInAnswer, SignInRequest};
use clap::Args;
use space_lifecycle::duration;
use std::time::Duration;

/// Print a link that signs in whoever opens it first
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct SignInArgs {
    /// The page behind the link, as in /jupyterlab/default/lab
    #[arg(long, value_name = "PATH")]
    to: Option<String>,
    /// How long the link can be used: 5s to 5m
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration::parse)]
    expires: Duration,
    #[command(flatten)]
    target: Target,
}

pub(super) async fn sign_in(
    args: &SignInArgs,
    surroundings: &Surroundings<'_>,
    output: &mut Output,
) -> Result<u8, Failure> {
    let agent = find::agent(&args.target, surroundings).await?;
    let request = SignInRequest { to: args.to.clone(), expires: Some(duration::text(args.expires)) };
    let SignInAnswer { link } = agent.post("/v1/sign-in", &request).await?;
    output.write(&format!("{}\n", printable(&link, false)))?;
    Ok(0)
}
