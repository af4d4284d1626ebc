//! Who may do what: decided from the peer's uid and the socket it came through, and from nothing else.

use std::fmt;

/// Which of the two sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    User,
    Admin,
}

/// Whose space it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owners {
    /// The space's user.
    pub user_uid: u32,
    pub agent_uid: u32,
}

/// What a peer is to the space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Root, or the uid that the agent itself runs as.
    Operator,
    /// The space's user under an agent of another uid.
    User,
}

/// What a route needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// See status, activity, steps, apps, leases and their output.
    Read,
    /// Take and end leases.
    Keep,
    Stop,
    /// End an app and start it anew.
    Restart,
    /// Leave recovery or parked mode.
    Start,
    /// Get a link that signs its bearer in as the owner.
    SignIn,
}

/// The role of a peer; `None`: it may do nothing, not even read.
///
/// The uid is the peer's effective one at connect, in this agent's user namespace.
pub fn role(door: Door, peer_uid: u32, owners: Owners) -> Option<Role> {
    match door {
        _ if peer_uid == 0 || peer_uid == owners.agent_uid => Some(Role::Operator),
        Door::User if peer_uid == owners.user_uid => Some(Role::User),
        Door::User | Door::Admin => None,
    }
}

impl Role {
    /// No wildcard: whoever adds a right decides here who has it.
    pub fn may(self, right: Right) -> bool {
        match (self, right) {
            (Role::Operator, Right::Read | Right::Keep | Right::SignIn) => true,
            (Role::Operator, Right::Stop | Right::Restart | Right::Start) => true,
            (Role::User, Right::Read | Right::Keep | Right::SignIn) => true,
            (Role::User, Right::Stop | Right::Restart | Right::Start) => true,
        }
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Door::User => "user",
            Door::Admin => "admin",
        })
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Right::Read => "read",
            Right::Keep => "keep",
            Right::Stop => "stop",
            Right::Restart => "restart an app of",
            Right::Start => "start",
            Right::SignIn => "sign in to",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_role_follows_from_the_uid_and_the_socket() {
        const ROOT: u32 = 0;
        const AGENT: u32 = 990;
        const USER: u32 = 1000;
        const OTHER: u32 = 1001;
        let owners = Owners { user_uid: USER, agent_uid: AGENT };
        for (door, uid, expected) in [
            (Door::User, ROOT, Some(Role::Operator)),
            (Door::User, AGENT, Some(Role::Operator)),
            (Door::User, USER, Some(Role::User)),
            (Door::User, OTHER, None),
            (Door::User, u32::MAX, None),
            (Door::Admin, ROOT, Some(Role::Operator)),
            (Door::Admin, AGENT, Some(Role::Operator)),
            (Door::Admin, USER, None),
            (Door::Admin, OTHER, None),
        ] {
            assert_eq!(role(door, uid, owners), expected, "{door} socket, uid {uid}");
        }
    }

    #[test]
    fn the_spaces_user_under_a_root_agent_may_do_all_that_concerns_the_space_alone() {
        for right in [Right::Read, Right::Keep, Right::Stop, Right::Restart, Right::Start, Right::SignIn] {
            assert!(Role::User.may(right) && Role::Operator.may(right), "{right}");
        }
    }

    #[test]
    fn without_a_root_agent_the_user_is_the_operator() {
        let owners = Owners { user_uid: 1000, agent_uid: 1000 };
        assert_eq!(role(Door::User, 1000, owners), Some(Role::Operator));
        assert_eq!(role(Door::Admin, 1000, owners), Some(Role::Operator));
        assert_eq!(role(Door::User, 1001, owners), None);
    }
}
