//! `status`: what the space is doing and why, once or at every change.

mod render;

use super::client::{Agent, Lines};
use super::failure::Failure;
use super::output::{Output, printable};
use super::{Surroundings, Target, find};
use crate::model::status::Status;
use crate::sys::clock;
use clap::Args;
use std::time::Duration;
use tokio::time::interval;

/// How often a watched screen is drawn anew while nothing changes: its durations grow.
const REDRAW: Duration = Duration::from_secs(1);
/// To the upper left corner; the rest of a line; everything below.
const HOME: &str = "\u{1b}[H";
const CLEAR_LINE: &str = "\u{1b}[K\n";
const CLEAR_BELOW: &str = "\u{1b}[J";

/// Say what the space is doing: steps with their times, apps, why it is or isn't idle
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct StatusArgs {
    /// As the control API's JSON document; with --watch, one line for each change
    #[arg(long)]
    json: bool,
    /// Again at each change, until the space stops
    #[arg(long, short)]
    watch: bool,
    #[command(flatten)]
    target: Target,
}

pub(super) async fn status(
    args: &StatusArgs,
    surroundings: &Surroundings<'_>,
    output: &mut Output,
) -> Result<u8, Failure> {
    let agent = find::agent(&args.target, surroundings).await?;
    if args.watch {
        return watch(&agent, args.json, output).await;
    }
    if args.json {
        // As it came, not as this version understands it.
        let document: serde_json::Value = agent.get("/v1/status").await?;
        output.write(&format!("{document:#}\n"))?;
    } else {
        let status: Status = agent.get("/v1/status").await?;
        output.write(&render::screen(&status, clock::now().wall, output.paint))?;
    }
    Ok(0)
}

async fn watch(agent: &Agent, json: bool, output: &mut Output) -> Result<u8, Failure> {
    let mut lines = Lines::of(agent.stream("/v1/status?watch=true").await?);
    let mut ticks = interval(REDRAW);
    let mut last: Option<Status> = None;
    loop {
        // Cancel-safe: the lines keep what they hold, the ticks hold nothing.
        let line = tokio::select! {
            line = lines.next() => line?,
            _ = ticks.tick(), if output.terminal && !json && last.is_some() => Some(Vec::new()),
        };
        let Some(line) = line else { return Ok(0) };
        if json {
            output.write(&format!("{}\n", String::from_utf8_lossy(&line)))?;
            continue;
        }
        let news = if line.is_empty() { None } else { Some(understood(&line)?) };
        if !output.terminal {
            if let Some(news) = &news {
                say_change(last.as_ref(), news, output)?;
            }
        } else if let Some(status) = news.as_ref().or(last.as_ref()) {
            let screen = render::screen(status, clock::now().wall, output.paint).replace('\n', CLEAR_LINE);
            let clear = if last.is_none() { "\u{1b}[2J" } else { "" };
            output.write(&format!("{clear}{HOME}{screen}{CLEAR_BELOW}"))?;
        }
        last = news.or(last);
    }
}

/// Into a file: one line for each new sentence.
fn say_change(last: Option<&Status>, news: &Status, output: &mut Output) -> Result<(), Failure> {
    if last.is_some_and(|last| last.sentence == news.sentence) {
        return Ok(());
    }
    output.write(&format!("{} {}: {}\n", clock::now().wall, news.space, printable(&news.sentence, false)))
}

pub(super) fn understood(line: &[u8]) -> Result<Status, Failure> {
    serde_json::from_slice(line).map_err(|error| {
        Failure::failed(format!(
            "the agent's status is not one that this space-agent understands: {error}; use the space's own version"
        ))
    })
}
