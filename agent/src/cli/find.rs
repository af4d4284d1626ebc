//! Finding the agent that is meant: `--space`, `SPACE_AGENT_SOCKET`, or the only one that runs.

use super::client::Agent;
use super::failure::Failure;
use super::{Surroundings, Target};
use crate::model::folders::{USER_SOCKET, given_run_folder, run_folders};
use crate::model::status::Status;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// More folders than anybody has spaces.
const FOLDERS_MAX: usize = 1000;
const FORBIDDEN: u16 = 403;

/// Agents that were reached.
#[derive(Debug, Default)]
struct Found {
    running: Vec<Running>,
    /// Names of spaces that are somebody else's.
    closed: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Running {
    space: String,
    agent: Agent,
}

/// The agent that `target` means.
pub(super) async fn agent(target: &Target, surroundings: &Surroundings<'_>) -> Result<Agent, Failure> {
    let given = (surroundings.env)("SPACE_AGENT_SOCKET").filter(|path| !path.is_empty());
    if let (Some(socket), None) = (given, &target.space) {
        return Ok(Agent { socket: PathBuf::from(socket) });
    }
    choose(found(surroundings).await, target.space.as_deref())
}

fn choose(found: Found, wanted: Option<&str>) -> Result<Agent, Failure> {
    let Found { mut running, closed } = found;
    let names = || running.iter().map(|running| running.space.as_str()).collect::<Vec<_>>().join(", ");
    if let Some(wanted) = wanted {
        return match running.iter().position(|running| running.space == wanted) {
            Some(index) => Ok(running.swap_remove(index).agent),
            None if closed.iter().any(|space| space == wanted) => Err(not_yours(wanted)),
            None if running.is_empty() => {
                Err(Failure::no_agent(format!("space {wanted} is not running, and no other is")))
            }
            None => Err(Failure::no_agent(format!("space {wanted} is not running; these are: {}", names()))),
        };
    }
    match (running.len(), closed.first()) {
        (0, Some(space)) => Err(not_yours(space)),
        (0, None) => Err(Failure::no_agent(
            "no space is running here; start one with space-agent run, or set SPACE_AGENT_SOCKET to a space's socket",
        )),
        (1, _) => Ok(running.swap_remove(0).agent),
        _ => Err(Failure::wrong_call(format!("several spaces are running: {}; say which with --space NAME", names()))),
    }
}

fn not_yours(space: &str) -> Failure {
    Failure::not_permitted(format!(
        "you may not talk to space {space}; its user, the agent's user and root may: call as one of them"
    ))
}

/// Every space whose agent answers.
async fn found(surroundings: &Surroundings<'_>) -> Found {
    let mut found = Found::default();
    if let Some(folder) = given_run_folder(surroundings.env) {
        let agent = Agent { socket: folder.join(USER_SOCKET) };
        let folder_name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        found.add(folder_name, agent).await;
    }
    for parent in run_folders(surroundings.env, surroundings.uid) {
        if !is_trusted(&parent, surroundings.uid) {
            continue;
        }
        for (space, socket) in sockets_below(&parent) {
            let agent = Agent { socket };
            if !found.running.iter().any(|running| running.agent == agent || running.space == space) {
                found.add(space, agent).await;
            }
        }
    }
    found
}

impl Found {
    /// Nobody who listens is no agent; one that hangs is one, and its command will say so.
    async fn add(&mut self, folder_name: String, agent: Agent) {
        match agent.knock().await {
            Err(ErrorKind::PermissionDenied) => return self.closed.push(folder_name),
            Err(ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::ConnectionRefused) => return,
            Err(_) | Ok(()) => {}
        }
        match agent.get::<Status>("/v1/status").await {
            Ok(status) => self.running.push(Running { space: status.space, agent }),
            Err(failure) if failure.answered == Some(FORBIDDEN) => self.closed.push(folder_name),
            Err(_) => self.running.push(Running { space: folder_name, agent }),
        }
    }
}

/// A folder in the temporary directory could be anybody's: only root's and one's own are looked into.
fn is_trusted(parent: &Path, uid: u32) -> bool {
    fs::symlink_metadata(parent).is_ok_and(|folder| folder.is_dir() && (folder.uid() == 0 || folder.uid() == uid))
}

fn sockets_below(parent: &Path) -> Vec<(String, PathBuf)> {
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    let mut sockets: Vec<(String, PathBuf)> = entries
        .flatten()
        .take(FOLDERS_MAX)
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path().join(USER_SOCKET))))
        .collect();
    sockets.sort();
    sockets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(running: &[&str], closed: &[&str]) -> Found {
        let running = running.iter().map(|name| Running {
            space: (*name).to_owned(),
            agent: Agent { socket: PathBuf::from(format!("/run/{name}/user.sock")) },
        });
        Found { running: running.collect(), closed: closed.iter().map(|name| (*name).to_owned()).collect() }
    }

    #[test]
    fn the_space_that_is_meant_is_found_or_the_others_are_listed() {
        let several = "several spaces are running: lab, other; say which with --space NAME";
        let not_yours = "you may not talk to space bobs; its user, the agent's user and root may: call as one of them";
        for (running, closed, wanted, expected) in [
            (&["lab"][..], &[][..], None, Ok("/run/lab/user.sock")),
            (&["lab"], &["bobs"], None, Ok("/run/lab/user.sock")),
            (&["lab", "other"], &[], Some("other"), Ok("/run/other/user.sock")),
            (&["lab", "other"], &[], None, Err((2, several))),
            (&["lab"], &[], Some("x"), Err((69, "space x is not running; these are: lab"))),
            (&[], &[], Some("x"), Err((69, "space x is not running, and no other is"))),
            (&[], &["bobs"], None, Err((77, not_yours))),
            (&["lab"], &["bobs"], Some("bobs"), Err((77, not_yours))),
        ] {
            let chosen = choose(found(running, closed), wanted).map(|agent| agent.socket.display().to_string());
            let chosen = chosen.as_deref().map_err(|failure| (failure.code, failure.message.as_str()));
            assert_eq!(chosen, expected);
        }
        assert_eq!(choose(Found::default(), None).unwrap_err().code, 69);
    }
}
