//! `schema`: the contracts that others build against, as the code has them.

use super::failure::Failure;
use super::output::Output;
use clap::{Args, ValueEnum};

/// Print the JSON Schema of lifecycle configurations, or the OpenAPI document of the control API
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct SchemaArgs {
    #[arg(value_enum)]
    which: Which,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    /// JSON Schema of a document
    Config,
    /// OpenAPI of the control API
    Openapi,
}

pub(super) fn schema(args: &SchemaArgs, output: &mut Output) -> Result<u8, Failure> {
    let text = match args.which {
        Which::Config => serde_json::to_string_pretty(&space_lifecycle::schema()),
        Which::Openapi => serde_json::to_string_pretty(&crate::control::openapi()),
    };
    let text = text.map_err(|error| Failure::failed(format!("cannot write the schema: {error}")))?;
    output.write(&format!("{text}\n"))?;
    Ok(0)
}
