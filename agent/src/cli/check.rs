//! `check`: is the document valid, and what would a boot of it do. Every mistake at once; 0 or 78.

use super::failure::Failure;
use super::output::{Output, printable};
use super::run::one_document;
use crate::sys::document::read_document;
use clap::Args;
use serde::Serialize;
use serde_json::json;
use space_lifecycle::{Mistakes, Mode, Read};
use std::path::PathBuf;

const INVALID: u8 = 78;

/// Check a document: print the boot plan, or every mistake (and end with 78)
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct CheckArgs {
    /// The lifecycle configuration (YAML); without one, the plan of a space without a document
    #[arg(value_name = "DOCUMENT")]
    documents: Vec<PathBuf>,
    /// The result as one JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn check(args: &CheckArgs, output: &mut Output) -> Result<u8, Failure> {
    let Some(path) = one_document(&args.documents).map_err(Failure::wrong_call)? else {
        return valid(
            args,
            "no document",
            &Read { space: space_lifecycle::default_space(), warnings: Vec::new() },
            output,
        );
    };
    let name = printable(&path.display().to_string(), false);
    let text = read_document(path)
        .map_err(|why| Failure { code: INVALID, ..Failure::failed(format!("cannot read {name}: {why}")) });
    match text {
        Err(failure) if args.json => {
            let document = json!({"valid": false, "error": failure.message});
            output.write(&format!("{document:#}\n"))?;
            Ok(INVALID)
        }
        Err(failure) => Err(failure),
        Ok(text) => match space_lifecycle::read(&text, &name, Mode::Check) {
            Ok(read) => valid(args, &name, &read, output),
            Err(mistakes) => invalid(args, &mistakes, output),
        },
    }
}

fn valid(args: &CheckArgs, name: &str, read: &Read, output: &mut Output) -> Result<u8, Failure> {
    let plan = space_lifecycle::plan::boot_plan(&read.space);
    if args.json {
        let document = json!({"valid": true, "warnings": read.warnings, "plan": plan});
        output.write(&format!("{document:#}\n"))?;
        return Ok(0);
    }
    let warnings: String = read.warnings.iter().map(|warning| format!("warning: {warning}\n")).collect();
    let head = if args.documents.is_empty() { String::new() } else { format!("{name} is valid\n\n") };
    output.write(&format!("{warnings}{head}{}\n", plan.to_string().trim_end()))?;
    Ok(0)
}

fn invalid(args: &CheckArgs, mistakes: &Mistakes, output: &mut Output) -> Result<u8, Failure> {
    #[derive(Serialize)]
    struct Invalid<'a> {
        valid: bool,
        #[serde(flatten)]
        mistakes: &'a Mistakes,
    }
    if args.json {
        let document = serde_json::to_string_pretty(&Invalid { valid: false, mistakes });
        let document = document.map_err(|error| Failure::failed(format!("cannot write the mistakes: {error}")))?;
        output.write(&format!("{document}\n"))?;
    } else {
        output.write(&format!("{mistakes}\n"))?;
    }
    Ok(INVALID)
}
