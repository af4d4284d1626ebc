//! Where a space's run folder may be. Pure: the environment comes in as a function, nothing is looked at.
//!
//! A run folder holds the two control sockets. The agent takes the first candidate that it can make; the command line
//! looks into all of them.

use std::path::{Path, PathBuf};

/// Within a run folder: for everybody who may talk to the space, told apart by uid.
pub const USER_SOCKET: &str = "user.sock";
/// Within a run folder: for root and the agent's own user.
pub const ADMIN_SOCKET: &str = "admin/control.sock";

/// The folders whose subfolders are run folders named after their space, the preferred one first.
pub fn run_folders(env: &dyn Fn(&str) -> Option<String>, uid: u32) -> Vec<PathBuf> {
    let mut folders = vec![PathBuf::from("/run/space-agent")];
    folders.extend(absolute(env, "XDG_RUNTIME_DIR").map(|folder| folder.join("space-agent")));
    let temporary = absolute(env, "TMPDIR").unwrap_or_else(|| PathBuf::from("/tmp"));
    folders.push(temporary.join(format!("space-agent-{uid}")));
    folders
}

/// `$SPACE_AGENT_RUN`: itself the run folder of the one space that it was set for.
pub fn given_run_folder(env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    absolute(env, "SPACE_AGENT_RUN")
}

/// The run folders that this space may have, the preferred one first; only the given one if one is given.
pub fn run_folders_of(space: &str, env: &dyn Fn(&str) -> Option<String>, uid: u32) -> Vec<PathBuf> {
    match given_run_folder(env) {
        Some(folder) => vec![folder],
        None => run_folders(env, uid).into_iter().map(|parent| parent.join(space)).collect(),
    }
}

/// A relative path would mean another folder for each process: it counts as not set.
fn absolute(env: &dyn Fn(&str) -> Option<String>, name: &str) -> Option<PathBuf> {
    env(name).map(PathBuf::from).filter(|path: &PathBuf| Path::is_absolute(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<String> {
        move |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn the_candidates_come_in_the_order_of_the_design() {
        let env = environment(&[("XDG_RUNTIME_DIR", "/run/user/1000"), ("TMPDIR", "/var/tmp")]);
        let expected = ["/run/space-agent/lab", "/run/user/1000/space-agent/lab", "/var/tmp/space-agent-1000/lab"]
            .map(PathBuf::from);
        assert_eq!(run_folders_of("lab", &env, 1000), expected);
    }

    #[test]
    fn a_relative_or_empty_variable_counts_as_not_set() {
        let env = environment(&[("XDG_RUNTIME_DIR", "run"), ("TMPDIR", ""), ("SPACE_AGENT_RUN", "x")]);
        let expected = ["/run/space-agent", "/tmp/space-agent-0"].map(PathBuf::from);
        assert_eq!(run_folders(&env, 0), expected);
        assert_eq!(given_run_folder(&env), None);
    }

    #[test]
    fn a_given_run_folder_is_the_only_one() {
        let env = environment(&[("SPACE_AGENT_RUN", "/srv/run")]);
        assert_eq!(run_folders_of("lab", &env, 1000), [PathBuf::from("/srv/run")]);
    }
}
