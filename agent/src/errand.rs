//! Errands: what the agent itself has to do in the home, done by this binary as the space's user.
//!
//! The home is the user's, who can put a link in any place of it, and it may lie on a disk that hangs. So an agent that
//! runs as root never opens a file there: it starts `space-agent record HOME` or `space-agent repositories HOME` with the
//! user's rights and no more, waits for a bounded time, and kills what takes longer. What comes back is the user's word:
//! it is shown, and nothing is decided by it that the user may not decide.
//!
//! Everything here blocks. It is used by the hall and the control room, and is no room itself.

mod boots;
mod repositories;

use crate::model::child::Account;
use crate::model::environment::base_environment;
use crate::model::record::{Boots, LARGEST, Record};
use crate::sys::helper::{self, Told};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub use boots::read;

/// For one errand with the boot record.
const RECORD: Duration = Duration::from_secs(2);
/// What the look at repositories keeps of its time, so that it can still say what it has found.
const MARGIN: Duration = Duration::from_millis(200);
/// Sentences about repositories, and characters of one.
const SENTENCES: usize = 20;
const SENTENCE: usize = 300;

/// An errand, as the command line has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Print the boot record of this home.
    ReadRecord { home: PathBuf },
    /// Take the record of one boot from standard input into the one of this home.
    KeepRecord { home: PathBuf },
    /// Say what is not committed or pushed in the repositories of this home, and in these folders.
    Repositories { home: PathBuf, folders: Vec<PathBuf>, within: Duration },
}

/// Does the errand, as whoever calls. The exit code: 0 done, 1 not done, with the reason on standard output.
pub fn main(call: &Call) -> u8 {
    let done = match call {
        Call::ReadRecord { home } => boots::print(home),
        Call::KeepRecord { home } => boots::keep(home),
        Call::Repositories { home, folders, within } => repositories::say(home, folders, *within),
    };
    done.map_or_else(
        |error| {
            // Whoever called may have stopped listening.
            let _ = writeln!(io::stdout(), "{error}");
            1
        },
        |()| 0,
    )
}

/// Who does errands, and where.
#[derive(Debug, Clone)]
pub struct Errands {
    /// This program, at a path that `account` can execute.
    pub binary: PathBuf,
    pub account: Account,
    pub home: PathBuf,
}

impl Errands {
    /// The boot record; an empty one if there is none that can be understood.
    pub fn boots(&self) -> io::Result<Boots> {
        let told = self.send(&["record", "--read"], &[], Vec::new(), LARGEST, RECORD)?;
        serde_json::from_slice(&told.output).map_err(io::Error::from)
    }

    /// Takes what is known of a run into the boot record; on the disk when this returns.
    pub fn keep(&self, record: &Record) -> io::Result<()> {
        self.send(&["record"], &[], serde_json::to_vec(record)?, LARGEST, RECORD).map(drop)
    }

    /// One sentence for each repository that has something which is not committed or not pushed: in the home, and in
    /// `folders`. What was found when the time is over.
    pub fn repositories(&self, folders: &[PathBuf], within: Duration) -> Vec<String> {
        let ms = within.saturating_sub(MARGIN).as_millis().to_string();
        let mut command = self.command(&["repositories", "--within", &ms], folders);
        let told = helper::ask(&mut command, Vec::new(), SENTENCES * 4 * SENTENCE, within);
        let output = told.map(|told| told.output).unwrap_or_default();
        String::from_utf8_lossy(&output).lines().take(SENTENCES).map(clean).collect()
    }

    fn send(
        &self,
        call: &[&str],
        folders: &[PathBuf],
        input: Vec<u8>,
        largest: usize,
        within: Duration,
    ) -> io::Result<Told> {
        let told = helper::ask(&mut self.command(call, folders), input, largest, within)?;
        if told.well() {
            return Ok(told);
        }
        Err(match told.ended {
            Some(_) => io::Error::other(clean(&String::from_utf8_lossy(&told.output))),
            None => {
                let home = self.home.display();
                io::Error::new(io::ErrorKind::TimedOut, format!("{home} did not answer within {} s", within.as_secs()))
            }
        })
    }

    fn command(&self, call: &[&str], folders: &[PathBuf]) -> Command {
        let outer =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let mut command = helper::command(&self.binary);
        command.env_clear().envs(base_environment(&outer.collect(), &self.account));
        command.args(call).arg("--").arg(&self.home).args(folders).current_dir("/");
        helper::as_user(&mut command, self.account.uid, self.account.gid);
        command
    }
}

/// One line that commands no terminal.
fn clean(text: &str) -> String {
    text.trim().chars().take(SENTENCE).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// What is the volume's, below a home.
fn state(home: &Path) -> PathBuf {
    home.join(".space-agent")
}

#[cfg(test)]
pub(crate) mod tests;
