//! `logs`: the output of steps and apps. Of one it is passed on byte by byte; of several, line by line with their names.

use super::client::{Agent, Lines};
use super::failure::Failure;
use super::output::{Output, Tone};
use super::{Surroundings, Target, find};
use crate::model::record::Record;
use crate::model::status::Status;
use clap::Args;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Print the output of a step or an app, or of all of them
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct LogsArgs {
    /// A step or an app; without it, all of them, each line with its name
    name: Option<String>,
    /// Go on until the step has ended or the space stops
    #[arg(long, short)]
    follow: bool,
    /// Only the last N lines (of each)
    #[arg(long, short = 'n', value_name = "N")]
    tail: Option<u32>,
    /// Of an earlier run, as far as it is kept: -1 is the last one
    #[arg(long, value_name = "N", allow_negative_numbers = true, conflicts_with = "follow")]
    #[arg(value_parser = clap::value_parser!(i32).range(-3..=-1))]
    boot: Option<i32>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Source {
    name: String,
    path: String,
}

pub(super) async fn logs(args: &LogsArgs, surroundings: &Surroundings<'_>, output: &mut Output) -> Result<u8, Failure> {
    let agent = find::agent(&args.target, surroundings).await?;
    let sources = match args.boot {
        Some(back) => earlier_sources(&agent.get::<Vec<Record>>("/v1/boots").await?, back, args)?,
        None => sources(&agent.get("/v1/status").await?, args),
    };
    match &args.name {
        Some(name) => {
            let source = sources.iter().find(|source| source.name == *name).ok_or_else(|| unknown(name, &sources))?;
            one(&agent, source, output).await?;
        }
        None if args.follow => all_as_they_come(&agent, sources, output).await?,
        None => all_in_order(&agent, &sources, output).await?,
    }
    Ok(0)
}

fn sources(status: &Status, args: &LogsArgs) -> Vec<Source> {
    let steps = status.steps.iter().map(|step| source("steps", &step.name, args));
    let apps = status.apps.iter().map(|app| source("apps", &app.name, args));
    steps.chain(apps).collect()
}

/// Of the run that was `back` before this one.
fn earlier_sources(records: &[Record], back: i32, args: &LogsArgs) -> Result<Vec<Source>, Failure> {
    let record = back.checked_add(1).and_then(|back| records.get(usize::try_from(-back).ok()?));
    let record = record.ok_or_else(|| {
        Failure::failed(format!("nothing is known of the run {back} of this space; {} are kept", records.len()))
    })?;
    let steps = record.steps.iter().map(|step| source("steps", &step.name, args));
    let apps = record.apps.iter().map(|app| source("apps", &app.name, args));
    Ok(steps.chain(apps).collect())
}

fn source(kind: &str, name: &str, args: &LogsArgs) -> Source {
    let tail = args.tail.map(|lines| format!("&tail={lines}")).unwrap_or_default();
    let boot = args.boot.map(|back| format!("&boot={back}")).unwrap_or_default();
    let path = format!("/v1/{kind}/{name}/log?follow={}{tail}{boot}", args.follow);
    Source { name: name.to_owned(), path }
}

fn unknown(name: &str, sources: &[Source]) -> Failure {
    let names: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
    let there = if names.is_empty() { "it has none".to_owned() } else { format!("it has {}", names.join(", ")) };
    Failure::failed(format!("this space has no step or app {name}; {there}"))
}

async fn one(agent: &Agent, source: &Source, output: &mut Output) -> Result<(), Failure> {
    let mut stream = agent.stream(&source.path).await?;
    while let Some(bytes) = stream.next().await? {
        output.write_foreign(&bytes)?;
    }
    Ok(())
}

async fn all_in_order(agent: &Agent, sources: &[Source], output: &mut Output) -> Result<(), Failure> {
    let width = width(sources);
    for source in sources {
        let mut lines = Lines::of(agent.stream(&source.path).await?);
        while let Some(line) = lines.next().await? {
            write_line(&source.name, width, line, output)?;
        }
    }
    Ok(())
}

/// One task per source, all into one bounded channel. They end with their streams, or with the last line nobody wants.
async fn all_as_they_come(agent: &Agent, sources: Vec<Source>, output: &mut Output) -> Result<(), Failure> {
    let width = width(&sources);
    let (sender, mut received) = mpsc::channel(64);
    let mut readers = JoinSet::new();
    for source in sources {
        let (agent, sender) = (agent.clone(), sender.clone());
        readers.spawn(async move {
            let mut lines = Lines::of(agent.stream(&source.path).await?);
            while let Some(line) = lines.next().await? {
                if sender.send((source.name.clone(), line)).await.is_err() {
                    break;
                }
            }
            Ok::<(), Failure>(())
        });
    }
    drop(sender);
    while let Some((name, line)) = received.recv().await {
        write_line(&name, width, line, output)?;
    }
    while let Some(ended) = readers.join_next().await {
        ended.map_err(|error| Failure::failed(format!("reading the logs failed: {error}")))??;
    }
    Ok(())
}

fn width(sources: &[Source]) -> usize {
    sources.iter().map(|source| source.name.len()).max().unwrap_or(0)
}

fn write_line(name: &str, width: usize, mut line: Vec<u8>, output: &mut Output) -> Result<(), Failure> {
    line.push(b'\n');
    output.write(&output.paint.text(Tone::Quiet, &format!("{name:width$} | ")))?;
    output.write_foreign(&line)
}
