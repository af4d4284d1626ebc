//! `restart`: an app is ended and started anew; asks when its kernels are busy, and waits until it is ready again.

use super::client::Agent;
use super::failure::Failure;
use super::output::{Output, printable};
use super::wait::{self, For};
use super::{Surroundings, Target, confirm, find};
use crate::control::api::RestartRequest;
use crate::model::status::{AppState, AppStatus, Status};
use clap::Args;

/// End an app and start it anew, and wait until it is ready again
///
/// In recovery mode: the app that runs with a clean home. Kernels and terminals of the app end with it.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct RestartArgs {
    /// The app's name; without one, the first app
    #[arg(value_name = "APP")]
    app: Option<String>,
    /// Even when its kernels are busy; what they compute is lost
    #[arg(long, short)]
    yes: bool,
    /// Don't wait until it is ready
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    target: Target,
}

pub(super) async fn restart(
    args: &RestartArgs,
    surroundings: &Surroundings<'_>,
    output: &mut Output,
) -> Result<u8, Failure> {
    let agent = find::agent(&args.target, surroundings).await?;
    let before: Status = agent.get("/v1/status").await?;
    let app = meant(args.app.as_deref(), &before)?;
    let told = ask(&agent, app, args.yes).await;
    if confirm::insist(told, "restart", surroundings).await? {
        ask(&agent, app, true).await?;
    }
    let label = printable(&app.label, false);
    // A step that waited for it here would wait for itself.
    if app.state == AppState::Waiting {
        output.write(&format!("{label} is not started yet; it starts when the set-up is done\n"))?;
        return Ok(0);
    }
    let done = if app.state == AppState::Asleep { "started" } else { "restarted" };
    if args.no_wait {
        output.write(&format!("{label} is being {done}\n"))?;
        return Ok(0);
    }
    if output.terminal {
        output.write(&format!("{label} is being {done} …\n"))?;
    }
    wait::until(&agent, &For::app(&before, app)).await?;
    output.write(&format!("{label} was {done} and is ready\n"))?;
    Ok(0)
}

fn meant<'a>(name: Option<&str>, status: &'a Status) -> Result<&'a AppStatus, Failure> {
    let names = || status.apps.iter().map(|app| app.name.as_str()).collect::<Vec<_>>().join(", ");
    let found = match name {
        None => status.apps.first(),
        Some(name) => status.apps.iter().find(|app| app.name == name),
    };
    found.ok_or_else(|| {
        Failure::failed(match name {
            Some(name) if !status.apps.is_empty() => {
                printable(&format!("this space has no app {name}; it has {}", names()), false)
            }
            _ => "this space has no app to restart".to_owned(),
        })
    })
}

async fn ask(agent: &Agent, app: &AppStatus, force: bool) -> Result<(), Failure> {
    agent.tell(&format!("/v1/apps/{}/restart", app.name), &RestartRequest { force }).await
}
