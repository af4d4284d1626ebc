//! The command line: what was typed becomes a value ([`parse`]); commands that talk to a running agent are carried out
//! here ([`client()`]), one file each. `run` is init's, who passes its arguments on to the agent.
//!
//! Exit codes: 0 done, 1 refused or failed, 2 wrong command line, 69 no agent answers, 77 not permitted; `check` 0 or
//! 78; `doctor` 1 if something is wrong; `keep -- COMMAND` ends as the command does.

mod check;
mod client;
mod confirm;
mod doctor;
mod events;
mod failure;
mod find;
mod keep;
mod logs;
mod output;
mod restart;
mod run;
mod schema;
mod sign_in;
mod start;
mod status;
mod stop;
mod wait;
mod why;

use clap::{Args, Parser, Subcommand};
use failure::Failure;
use output::Output;
use std::ffi::OsString;
use std::path::PathBuf;

pub use run::{AgentArgs, LogFormat, RunArgs};

/// What the program was called for.
#[derive(Debug, Clone, PartialEq)]
pub enum Parsed {
    Run(RunArgs),
    /// By init only.
    Agent(AgentArgs),
    /// By the agent only: carry out the prepared step in this folder.
    Step {
        folder: PathBuf,
    },
    Client(ClientCommand),
}

#[derive(Debug, Parser)]
#[command(name = "space-agent", version, max_term_width = 100)]
#[command(about = "Boots a space, stands in front of it, knows whether it works, and stops it")]
struct Cli {
    #[command(subcommand)]
    command: Call,
}

#[derive(Debug, Subcommand)]
enum Call {
    Run(RunArgs),
    #[command(flatten)]
    Client(ClientCommand),
    #[command(hide = true)]
    Agent(AgentArgs),
    #[command(hide = true)]
    Step {
        folder: PathBuf,
    },
}

/// A command that a running agent answers, or that needs none.
#[derive(Debug, Clone, PartialEq, Subcommand)]
pub enum ClientCommand {
    Check(check::CheckArgs),
    Status(status::StatusArgs),
    Why(why::WhyArgs),
    Events(events::EventsArgs),
    Logs(logs::LogsArgs),
    Keep(keep::KeepArgs),
    Restart(restart::RestartArgs),
    Start(start::StartArgs),
    Stop(stop::StopArgs),
    Doctor(doctor::DoctorArgs),
    SignIn(sign_in::SignInArgs),
    Schema(schema::SchemaArgs),
}

/// Which space is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Target {
    /// The space; not needed while only one runs, or with SPACE_AGENT_SOCKET set to its socket
    #[arg(long, value_name = "NAME", value_parser = run::space_name)]
    space: Option<String>,
}

/// What commands may know of the process they run in: read once, passed on.
struct Surroundings<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    uid: u32,
    /// Somebody sits there and can be asked.
    interactive: bool,
}

/// Reads the command line, the program's name first. The error is a message and the exit code: 0 for `--help` and
/// `--version`, whose text belongs on standard output.
pub fn parse(args: impl Iterator<Item = OsString>) -> Result<Parsed, (String, u8)> {
    let cli = Cli::try_parse_from(args).map_err(|error| {
        let code = u8::try_from(error.exit_code()).unwrap_or(2);
        (error.render().to_string().trim_end().to_owned(), code)
    })?;
    Ok(match cli.command {
        Call::Run(args) => Parsed::Run(args.checked()?),
        Call::Agent(args) => Parsed::Agent(AgentArgs { run: args.run.checked()?, ..args }),
        Call::Step { folder } => Parsed::Step { folder },
        Call::Client(command) => Parsed::Client(command),
    })
}

/// Carries out a command and returns the program's exit code. Makes its own small runtime.
pub fn client(command: ClientCommand) -> u8 {
    let env = |name: &str| std::env::var(name).ok();
    let surroundings =
        Surroundings { env: &env, uid: crate::sys::account::own().0, interactive: output::somebody_is_there() };
    let mut output = Output::stdout(&env);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::failed(format!("cannot start: {error}")).report(),
    };
    let done = runtime.block_on(carry_out(command, &surroundings, &mut output));
    // A thread that still waits for somebody to type must not hold the end.
    runtime.shutdown_background();
    done.unwrap_or_else(|failure| failure.report())
}

async fn carry_out(
    command: ClientCommand,
    surroundings: &Surroundings<'_>,
    output: &mut Output,
) -> Result<u8, Failure> {
    match command {
        ClientCommand::Check(args) => check::check(&args, output),
        ClientCommand::Status(args) => status::status(&args, surroundings, output).await,
        ClientCommand::Why(args) => why::why(&args, surroundings, output).await,
        ClientCommand::Events(args) => events::events(&args, surroundings, output).await,
        ClientCommand::Logs(args) => logs::logs(&args, surroundings, output).await,
        ClientCommand::Keep(args) => keep::keep(&args, surroundings, output).await,
        ClientCommand::Restart(args) => restart::restart(&args, surroundings, output).await,
        ClientCommand::Start(args) => start::start(&args, surroundings, output).await,
        ClientCommand::Stop(args) => stop::stop(&args, surroundings, output).await,
        ClientCommand::Doctor(args) => doctor::doctor(&args, surroundings, output).await,
        ClientCommand::SignIn(args) => sign_in::sign_in(&args, surroundings, output).await,
        ClientCommand::Schema(args) => schema::schema(&args, output),
    }
}

#[cfg(test)]
mod tests;
