//! `events`: what happened in the space, oldest first; with `--follow` also what happens next.

use super::client::{Agent, Lines};
use super::failure::Failure;
use super::output::{Output, Tone, printable};
use super::{Surroundings, Target, find, status};
use crate::model::events::EventStatus;
use crate::model::status::Status;
use clap::Args;

/// Say what happened: crashes, restarts, changes of mode, what ran out; the last hundred
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct EventsArgs {
    /// Also what happens next, until the space stops
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    target: Target,
}

pub(super) async fn events(
    args: &EventsArgs,
    surroundings: &Surroundings<'_>,
    output: &mut Output,
) -> Result<u8, Failure> {
    let agent = find::agent(&args.target, surroundings).await?;
    if args.follow {
        return follow(&agent, output).await;
    }
    let status: Status = agent.get("/v1/status").await?;
    status.events.iter().try_for_each(|event| tell(event, output))?;
    Ok(0)
}

/// A status holds the last hundred, and comes at each change: none is missed.
async fn follow(agent: &Agent, output: &mut Output) -> Result<u8, Failure> {
    let mut lines = Lines::of(agent.stream("/v1/status?watch=true").await?);
    let mut told = 0;
    while let Some(line) = lines.next().await? {
        let status = status::understood(&line)?;
        let news = status.events.iter().filter(|event| event.seq > told);
        news.into_iter().try_for_each(|event| tell(event, output))?;
        told = status.events.last().map_or(told, |event| event.seq);
    }
    Ok(0)
}

fn tell(event: &EventStatus, output: &mut Output) -> Result<(), Failure> {
    let text = printable(&event.text, false);
    let text = if event.failure { output.paint.text(Tone::Bad, &text) } else { text };
    output.write(&format!("{} {text}\n", output.paint.text(Tone::Quiet, &event.at.to_string())))
}
