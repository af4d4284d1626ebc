//! `doctor`: what is wrong and what to do, with or without a running space.
//!
//! Three parts: [`look`] finds out what there is and judges nothing; [`checks`] is the table of checks, each a pure function
//! of what was found; here both are put together and printed. No secret is read, so none can be printed.

mod checks;
mod look;

use super::failure::Failure;
use super::output::{Output, Tone, printable};
use super::{Surroundings, Target};
use clap::Args;
use serde::Serialize;
use serde_json::json;
use std::path::PathBuf;

/// Say what is wrong, or may become so, and what to do about it; end with 1 if something is wrong
///
/// With a running space and without one. A document is checked too.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct DoctorArgs {
    /// The lifecycle configuration (YAML) that is to be used
    #[arg(value_name = "DOCUMENT")]
    document: Option<PathBuf>,
    /// The result as one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// How a thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Standing {
    Ok,
    /// It works, and may surprise.
    Warning,
    Wrong,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Check {
    name: &'static str,
    standing: Standing,
    /// How it is, in one sentence without its full stop.
    sentence: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

pub(super) async fn doctor(
    args: &DoctorArgs,
    surroundings: &Surroundings<'_>,
    output: &mut Output,
) -> Result<u8, Failure> {
    let found = look::look(args, surroundings).await;
    let checks = checks::judge(&found);
    let wrong = checks.iter().any(|check| check.standing == Standing::Wrong);
    if args.json {
        let document = json!({"ok": !wrong, "checks": checks});
        output.write(&format!("{document:#}\n"))?;
    } else {
        checks.iter().try_for_each(|check| output.write(&told(check, output)))?;
    }
    Ok(u8::from(wrong))
}

fn told(check: &Check, output: &Output) -> String {
    let (mark, tone) = match check.standing {
        Standing::Ok => ("ok", Tone::Good),
        Standing::Warning => ("warning", Tone::Busy),
        Standing::Wrong => ("wrong", Tone::Bad),
    };
    let mark = output.paint.text(tone, &format!("{mark:7}"));
    let name = output.paint.text(Tone::Strong, check.name);
    let remedy = check.remedy.as_deref().map(|remedy| format!("         {}\n", printable(remedy, false)));
    format!("{mark}  {name}: {}\n{}", printable(&check.sentence, false), remedy.unwrap_or_default())
}
