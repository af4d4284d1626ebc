//! What a process may have: open descriptors, processes, and how readily the kernel kills it when memory runs out.
//!
//! init and the agent raise their own limit of descriptors. Steps, apps and all they start begin with what init was
//! started with ([`Start`]), whatever init has raised for itself: programs that close every possible descriptor, or use
//! `select`, misbehave with a high limit, and nobody's program inherits init's protection.

use crate::model::child::ChildLimits;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::Mode;
use std::fs;

/// What is assumed when the kernel does not tell: the usual soft limit.
const USUAL: u64 = 1024;

/// init's and the agent's: whatever else there is goes first.
const PROTECTED: i32 = -900;

/// The soft limit: how many descriptors this process can have open.
pub fn descriptors() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(USUAL, |(soft, _)| soft)
}

/// Raises the soft limit to the hard one, which needs no rights; returns the limit that holds then. Call it where
/// children go back to a limit of their own.
pub fn raise_descriptors() -> u64 {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        // If it fails, the old limit holds, and that is returned.
        && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok()
    {
        return hard;
    }
    descriptors()
}

/// Makes this process the last that the kernel kills for memory, where that is allowed: else all are equal. Before
/// [`forbid_inspection`](super::signals::forbid_inspection), after which only root may.
pub fn protect() {
    let _ = fs::write(SCORE, PROTECTED.to_string());
}

/// What init was started with: its children begin with it.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    descriptors: u64,
    /// `None` if the kernel does not tell.
    score: Option<i32>,
}

impl Start {
    /// What this process has now.
    pub fn read() -> Start {
        let score = fs::read_to_string(SCORE).ok().and_then(|text| text.trim().parse().ok());
        Start { descriptors: descriptors(), score }
    }

    /// The agent's: as protected as init, with the usual descriptors.
    pub fn agent(&self) -> Allowance {
        Allowance { descriptors: self.descriptors, limits: ChildLimits::default(), scores: Vec::new() }
    }

    pub fn child(&self, limits: ChildLimits, score: Option<i32>) -> Allowance {
        let scores = [Some(score.unwrap_or(0)), self.score].into_iter().flatten().map(|score| score.to_string());
        Allowance { descriptors: self.descriptors, limits, scores: scores.collect() }
    }
}

/// What a new process changes of what it has from init.
#[derive(Debug)]
pub struct Allowance {
    descriptors: u64,
    limits: ChildLimits,
    /// The first that is allowed.
    scores: Vec<String>,
}

impl Allowance {
    /// Takes it on, in the new process. A score that may not be written is none; a limit must hold.
    pub fn take_on(&self) -> Result<(), Errno> {
        if let Ok(file) = open(SCORE, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty()) {
            let _ = self.scores.iter().find(|score| nix::unistd::write(&file, score.as_bytes()).is_ok());
        }
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, self.descriptors.min(hard), hard)?;
        for (resource, most) in
            [(Resource::RLIMIT_NOFILE, self.limits.open_files), (Resource::RLIMIT_NPROC, self.limits.processes)]
        {
            most.map_or(Ok(()), |most| limit(resource, most))?;
        }
        Ok(())
    }
}

const SCORE: &str = "/proc/self/oom_score_adj";

/// Soft and hard; what may not be raised so far is raised as far as it may.
fn limit(resource: Resource, most: u64) -> Result<(), Errno> {
    let (_, hard) = getrlimit(resource)?;
    setrlimit(resource, most, most).or_else(|_| setrlimit(resource, most.min(hard), most.min(hard)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(raise_descriptors(), hard);
        assert_eq!(descriptors(), hard);
    }
}
