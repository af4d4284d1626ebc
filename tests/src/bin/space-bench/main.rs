//! Benchmarks: figures of the binary in `SPACE_AGENT_BIN`, compared with DESIGN's budgets. Called by `tests/bench`.
//!
//! Prints a table in Markdown; ends with 1 if a budget is exceeded, with 2 if nothing was measured.

mod footprint;
mod front_door;
mod load;
mod peers;

use std::process::ExitCode;

/// One line of the table.
pub(crate) struct Figure {
    pub(crate) what: String,
    pub(crate) budget: String,
    pub(crate) measured: String,
    pub(crate) kept: bool,
}

impl Figure {
    pub(crate) fn new(what: &str, unit: &str, budget: f64, measured: f64, less: &str) -> Figure {
        let kept = if less == "below" { measured < budget } else { measured <= budget };
        let (budget, measured) = (format!("{less} {budget} {unit}"), format!("{measured:.2} {unit}"));
        Figure { what: what.to_owned(), budget, measured, kept }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let figures = match std::env::args().nth(1).as_deref() {
        Some("footprint") => footprint::measure().await,
        Some("front-door") => front_door::measure().await,
        _ => {
            eprintln!("usage: space-bench footprint|front-door");
            return ExitCode::from(2);
        }
    };
    println!("| what | budget | measured | |\n|---|---|---|---|");
    for Figure { what, budget, measured, kept } in &figures {
        println!("| {what} | {budget} | {measured} | {} |", if *kept { "kept" } else { "EXCEEDED" });
    }
    ExitCode::from(u8::from(figures.iter().any(|figure| !figure.kept)))
}
