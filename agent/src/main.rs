//! The door of the program: `run` becomes init, which starts this binary again as the agent; everything else is the
//! command line.

use space_agent::cli::{self, Parsed};
use space_agent::init::{self, AgentCommand};
use space_agent::sys::program;
use space_agent::{agent, setup};
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(match cli::parse(std::env::args_os()) {
        Ok(Parsed::Run(args)) => run(&args),
        Ok(Parsed::Agent(args)) => agent::run(&args),
        Ok(Parsed::Step { folder }) => setup::worker::main(&folder),
        Ok(Parsed::Client(command)) => cli::client(command),
        // Whoever asked may have closed its ear already: `… | head`.
        Err((message, 0)) => {
            let _ = writeln!(io::stdout(), "{message}");
            0
        }
        Err((message, code)) => {
            let _ = writeln!(io::stderr(), "{message}");
            code
        }
    })
}

fn run(args: &cli::RunArgs) -> u8 {
    let ended = program::path().and_then(|binary| init::run(&AgentCommand { binary, args: agent_args(args) }));
    ended.unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "space-agent: cannot start: {error}");
        1
    })
}

/// The link to init is the agent's descriptor 3.
fn agent_args(args: &cli::RunArgs) -> Vec<OsString> {
    let fixed = ["agent", "--init-fd", "3"].iter().map(OsString::from);
    fixed.chain(args.to_args()).collect()
}
