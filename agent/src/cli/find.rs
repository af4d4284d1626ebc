//! Finding the agent that is meant: `--space`, `SPACE_AGENT_SOCKET`, or the only one that runs.

use super::agent::{Agent, answers};
use super::failure::Failure;
use super::{Surroundings, Target};
use crate::model::folders::{USER_SOCKET, given_run_folder, run_folders};
use crate::model::status::Status;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// More folders than anybody has spaces.
const FOLDERS_MAX: usize = 1000;

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
    let running = running(surroundings).await;
    choose(running, target.space.as_deref()).map(|running| running.agent)
}

fn choose(mut running: Vec<Running>, wanted: Option<&str>) -> Result<Running, Failure> {
    let names = || running.iter().map(|running| running.space.as_str()).collect::<Vec<_>>().join(", ");
    match wanted {
        Some(wanted) => match running.iter().position(|running| running.space == wanted) {
            Some(index) => Ok(running.swap_remove(index)),
            None if running.is_empty() => {
                Err(Failure::no_agent(format!("space {wanted} is not running, and no other is")))
            }
            None => Err(Failure::no_agent(format!("space {wanted} is not running; these are: {}", names()))),
        },
        None if running.is_empty() => Err(Failure::no_agent(
            "no space is running here; start one with space-agent run, or set SPACE_AGENT_SOCKET to a space's socket",
        )),
        None if running.len() == 1 => Ok(running.swap_remove(0)),
        None => {
            Err(Failure::wrong_call(format!("several spaces are running: {}; say which with --space NAME", names())))
        }
    }
}

/// Every space whose agent answers, by name.
async fn running(surroundings: &Surroundings<'_>) -> Vec<Running> {
    let mut found: Vec<Running> = Vec::new();
    if let Some(folder) = given_run_folder(surroundings.env) {
        // The folder has no name that tells the space's.
        let agent = Agent { socket: folder.join(USER_SOCKET) };
        if let Ok(status) = agent.get::<Status>("/v1/status").await {
            found.push(Running { space: status.space, agent });
        }
    }
    for parent in run_folders(surroundings.env, surroundings.uid) {
        if !is_trusted(&parent, surroundings.uid) {
            continue;
        }
        for (space, socket) in sockets_below(&parent) {
            let known = found.iter().any(|running| running.space == space);
            if !known && answers(&socket).await {
                found.push(Running { space, agent: Agent { socket } });
            }
        }
    }
    found
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

    fn spaces(names: &[&str]) -> Vec<Running> {
        let running = |name: &&str| Running {
            space: (*name).to_owned(),
            agent: Agent { socket: PathBuf::from(format!("/run/{name}/user.sock")) },
        };
        names.iter().map(running).collect()
    }

    #[test]
    fn the_space_that_is_meant_is_found_or_the_others_are_listed() {
        for (running, wanted, expected) in [
            (&["lab"][..], None, Ok("lab")),
            (&["lab", "other"], Some("other"), Ok("other")),
            (&["lab", "other"], None, Err((2, "several spaces are running: lab, other; say which with --space NAME"))),
            (&["lab"], Some("x"), Err((69, "space x is not running; these are: lab"))),
            (&[], Some("x"), Err((69, "space x is not running, and no other is"))),
        ] {
            let chosen = choose(spaces(running), wanted);
            let chosen = chosen.as_ref().map(|running| running.space.as_str());
            assert_eq!(chosen.map_err(|failure| (failure.code, failure.message.as_str())), expected);
        }
        assert_eq!(choose(Vec::new(), None).unwrap_err().code, 69);
    }
}
