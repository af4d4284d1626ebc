//! How many descriptors this process may have.
//!
//! Only the agent raises its own limit. Steps, apps and all they start are forked by init, which keeps the limit that
//! it was started with, and so do they: programs that close every possible descriptor, or use `select`, misbehave with
//! a high one.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What is assumed when the kernel does not tell: the usual soft limit.
const USUAL: u64 = 1024;

/// The soft limit: how many descriptors this process can have open.
pub fn descriptors() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(USUAL, |(soft, _)| soft)
}

/// Raises the soft limit to the hard one, which needs no rights; returns the limit that holds then. Call it in the agent
/// only, never in init.
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
