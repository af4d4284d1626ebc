//! How far the space's user is kept away from the agent: what the surroundings allow, said as it really is.
//!
//! README's table of promises, `status` and `doctor` all take their words from here.

use serde::{Deserialize, Serialize};
use space_lifecycle::Sudo;
use std::fmt;
use utoipa::ToSchema;

const ROOT: u32 = 0;

/// Which promises hold (README has the table).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// The apps run in another container.
    Container,
    /// The agent is root, and the user neither is nor can become it.
    Uid,
    /// The user runs as the agent does, or may become root.
    #[default]
    None,
}

/// What may be promised, or not, in a mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promise {
    /// As a question about the space's user.
    pub question: &'static str,
    pub container: &'static str,
    pub uid: &'static str,
    pub none: &'static str,
}

/// The table of promises, in README's order.
pub const PROMISES: [Promise; 3] = [
    Promise { question: "can the user stop or trace the agent?", container: "no", uid: "no", none: "yes" },
    Promise {
        question: "can the user read the agent's keys?",
        container: "no",
        uid: "no",
        none: "yes, so it holds none that outlive the boot",
    },
    Promise { question: "can the user forge activity, or exceed a lease?", container: "no", uid: "no", none: "yes" },
];

impl Promise {
    pub fn answer(&self, isolation: Isolation) -> &'static str {
        match isolation {
            Isolation::Container => self.container,
            Isolation::Uid => self.uid,
            Isolation::None => self.none,
        }
    }
}

impl Isolation {
    /// Where the apps run in the agent's own container. Another uid than root's keeps nobody away: only root becomes
    /// somebody else. The user must not gain rights either: with `Sudo::Never` no program that it starts can
    /// (`no_new_privs`).
    pub fn of(agent_uid: u32, user_uid: u32, sudo: Sudo) -> Isolation {
        match (agent_uid, user_uid, sudo) {
            (ROOT, user, Sudo::Never) if user != ROOT => Isolation::Uid,
            _ => Isolation::None,
        }
    }

    /// What follows from it, in one sentence without its full stop.
    pub fn meaning(self) -> &'static str {
        match self {
            Isolation::Container => {
                "the apps run in another container: their user can neither stop or trace the agent, nor read its keys, \
                 nor forge activity"
            }
            Isolation::Uid => {
                "the agent is root and the user cannot become it: they can neither stop or trace it, nor read its keys, \
                 nor forge activity"
            }
            Isolation::None => {
                "the user runs as the agent does, or may become root: they can stop and trace it, read its keys of this \
                 boot, and forge activity"
            }
        }
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Isolation::Container => "container",
            Isolation::Uid => "uid",
            Isolation::None => "none",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_root_agent_is_kept_from_a_user_who_cannot_become_root() {
        for (agent, user, sudo, expected) in [
            (0, 1000, Sudo::Never, Isolation::Uid),
            (0, 1000, Sudo::Image, Isolation::None),
            (0, 0, Sudo::Never, Isolation::None),
            (1000, 1000, Sudo::Never, Isolation::None),
            (990, 1000, Sudo::Never, Isolation::None),
        ] {
            assert_eq!(Isolation::of(agent, user, sudo), expected, "agent {agent}, user {user}, {sudo:?}");
        }
    }

    #[test]
    fn the_sentence_of_a_mode_promises_what_the_table_does() {
        for isolation in [Isolation::Container, Isolation::Uid, Isolation::None] {
            let kept = isolation.meaning().contains("neither");
            for promise in PROMISES {
                assert_eq!(promise.answer(isolation) == "no", kept, "{isolation}: {}", promise.question);
            }
        }
    }
}
