//! `run`: its arguments. Init carries it out and hands the same arguments to the agent.

use clap::{Args, ValueEnum};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Boot a space, keep it, and stop it when it is asked to, or when nothing works in it any more
///
/// Without a document: JupyterLab with ./home as its home, on 127.0.0.1:8888.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct RunArgs {
    /// The lifecycle configuration (YAML)
    #[arg(value_name = "DOCUMENT")]
    pub documents: Vec<PathBuf>,
    /// Start in recovery mode: the first app with a clean home and none of the set-up, to repair what is broken
    #[arg(long, conflicts_with = "strict")]
    pub recovery: bool,
    /// End instead of recovery mode: with 1 when a step fails that matters, with 3 when the first app cannot be kept
    /// running, with 78 when the document has a mistake
    #[arg(long)]
    pub strict: bool,
    /// Print the sign-in link even when standard output is no terminal
    #[arg(long)]
    pub print_link: bool,
    /// How the log is written
    #[arg(long, value_enum, value_name = "FORM", default_value_t)]
    pub log: LogFormat,
    /// What the space is called, if the document doesn't say it
    #[arg(long, value_name = "NAME", value_parser = space_name)]
    pub space: Option<String>,
    /// Any command that serves HTTP on $SPACE_AGENT_APP_SOCKET: it is the space's first app
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people
    #[default]
    Text,
    /// One JSON object per line
    Json,
}

/// What init calls the agent with.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct AgentArgs {
    /// The agent's end of the socket pair
    #[arg(long, value_name = "N")]
    pub init_fd: i32,
    /// End what runs and clean up: the agents before have crashed too often
    #[arg(long)]
    pub clean_up: bool,
    #[command(flatten)]
    pub run: RunArgs,
}

impl RunArgs {
    /// The arguments as they can be typed behind `run` or `agent --init-fd N`.
    pub fn to_args(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = Vec::new();
        if self.recovery {
            args.push("--recovery".into());
        }
        if self.strict {
            args.push("--strict".into());
        }
        if self.print_link {
            args.push("--print-link".into());
        }
        if self.log == LogFormat::Json {
            args.extend(["--log".into(), "json".into()]);
        }
        if let Some(space) = &self.space {
            args.extend(["--space".into(), space.into()]);
        }
        args.extend(self.documents.iter().map(|document| unlike_an_option(document)));
        if !self.command.is_empty() {
            args.push("--".into());
            args.extend(self.command.iter().cloned());
        }
        args
    }

    pub(super) fn checked(self) -> Result<RunArgs, (String, u8)> {
        one_document(&self.documents).map_err(|message| (message, 2))?;
        Ok(self)
    }
}

/// What stands behind `--` is the command, so a document that is named like an option is named by its folder.
fn unlike_an_option(document: &Path) -> OsString {
    match document.as_os_str().as_encoded_bytes() {
        // `-` alone is no option.
        [b'-', _, ..] => Path::new(".").join(document).into(),
        _ => document.into(),
    }
}

/// Layers come later, into the same argument.
pub(super) fn one_document(documents: &[PathBuf]) -> Result<Option<&PathBuf>, String> {
    match documents {
        [] => Ok(None),
        [document] => Ok(Some(document)),
        [_, second, ..] => Err(format!(
            "error: one document for now, and {} is a second one: layers, where each document refines the ones before \
             it, come later; put both into one file",
            second.display()
        )),
    }
}

/// `[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`: also a folder's name, so never a path.
pub(super) fn space_name(name: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    let ends = bytes.first().zip(bytes.last()).is_some_and(|(first, last)| plain(*first) && plain(*last));
    if ends && bytes.len() <= 63 && bytes.iter().all(|byte| plain(*byte) || *byte == b'-') {
        return Ok(name.to_owned());
    }
    Err("a space's name is 1 to 63 of a-z, 0-9 and -, and neither begins nor ends with -".to_owned())
}
