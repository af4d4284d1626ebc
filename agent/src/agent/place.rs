//! Where things are: the run folder, the logs, the home, and as whom the space's processes run.

use crate::model::child::Account;
use crate::model::folders;
use crate::sys::keys::Key;
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Place {
    /// `$RUN`: sockets and what lives as long as the space runs.
    pub(super) run: PathBuf,
    pub(super) logs: PathBuf,
    pub(super) home: PathBuf,
    pub(super) account: Account,
    pub(super) may_gain_privileges: bool,
    /// Signs this boot's links and sessions.
    pub(super) key: Key,
    /// This binary, for the steps' workers.
    pub(super) binary: PathBuf,
}

impl Place {
    pub(super) fn user_socket(&self) -> PathBuf {
        self.run.join(folders::USER_SOCKET)
    }

    pub(super) fn admin_socket(&self) -> PathBuf {
        self.run.join(folders::ADMIN_SOCKET)
    }

    /// The user's: sockets of apps, work folders of steps.
    pub(super) fn apps(&self) -> PathBuf {
        self.run.join("apps")
    }

    pub(super) fn steps(&self) -> PathBuf {
        self.run.join("steps")
    }

    pub(super) fn jupyter_config(&self) -> PathBuf {
        self.run.join("jupyter")
    }

    /// What is the volume's: steps done, identity.
    pub(super) fn state(&self) -> PathBuf {
        self.home.join(".space-agent")
    }

    /// Removes what a stopped space leaves in its run folder, all but the logs.
    pub(super) fn clean(&self) {
        for file in [self.user_socket(), self.admin_socket()] {
            remove(fs::remove_file(&file), &file);
        }
        for folder in [self.apps(), self.steps(), self.jupyter_config(), self.run.join("admin")] {
            remove(fs::remove_dir_all(&folder), &folder);
        }
        leave(&self.run);
    }
}

/// Gives the run folder up: the lock last, since another start waits for it.
pub(super) fn leave(run: &Path) {
    let lock = run.join("lock");
    remove(fs::remove_file(&lock), &lock);
    // Only if nothing is left in it, that is, if the logs are elsewhere.
    let _ = fs::remove_dir(run);
}

fn remove(result: io::Result<()>, what: &Path) {
    if let Err(error) = result
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %what.display(), %error, "cannot remove");
    }
}

/// Makes the run folder in the first of its possible places where that works. It must be ours: in a place that others
/// can write to, somebody may have been there before us.
pub(super) fn make_run_folder(candidates: &[PathBuf], uid: u32) -> Result<PathBuf, String> {
    let mut refused = Vec::new();
    for folder in candidates {
        match owned_folder(folder, 0o755, uid) {
            Ok(()) => return Ok(folder.clone()),
            Err(error) => refused.push(format!("{} ({error})", folder.display())),
        }
    }
    let refused = refused.join(", ");
    Err(format!("cannot make a run folder: tried {refused}; set SPACE_AGENT_RUN to a folder that this user can make"))
}

fn owned_folder(folder: &Path, mode: u32, uid: u32) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(folder)?;
    let metadata = fs::symlink_metadata(folder)?;
    if !metadata.is_dir() || metadata.uid() != uid || metadata.mode() & 0o022 != 0 {
        return Err(io::Error::other("it is not this user's own folder, or others may write to it"));
    }
    // Its parent under the temporary directory is ours too, or someone could exchange the folder.
    let parent = folder.parent().map(fs::symlink_metadata).transpose()?;
    let safe = parent.is_none_or(|parent| {
        [0, uid].contains(&parent.uid()) && (parent.mode() & 0o022 == 0 || parent.mode() & 0o1000 != 0)
    });
    if safe { Ok(()) } else { Err(io::Error::other("others may exchange it")) }
}

/// An empty folder of the account's own, reachable by it (and root) only.
pub(super) fn fresh_folder(folder: &Path, account: &Account, own_uid: u32) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    DirBuilder::new().mode(0o700).create(folder)?;
    if account.uid != own_uid {
        chown(folder, Some(account.uid), Some(account.gid))?;
    }
    Ok(())
}

/// Makes the home if it is not there; a home that is there stays as it is.
pub(super) fn make_home(home: &Path, account: &Account, own_uid: u32) -> io::Result<()> {
    if fs::metadata(home).is_ok_and(|metadata| metadata.is_dir()) {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o755).create(home)?;
    if account.uid != own_uid {
        chown(home, Some(account.uid), Some(account.gid))?;
    }
    Ok(())
}

/// Where logs go: never to the volume.
pub(super) fn log_folder(run: &Path, name: &str, uid: u32) -> PathBuf {
    let system = Path::new("/var/log/space-agent").join(name);
    if uid == 0
        && std::env::var_os("SPACE_AGENT_RUN").is_none()
        && DirBuilder::new().recursive(true).mode(0o750).create(&system).is_ok()
    {
        return system;
    }
    run.join("log")
}

/// A listening unix socket; whatever an earlier run left at its place is removed (the lock says that nobody listens).
pub(super) fn bind(path: &Path, mode: u32) -> io::Result<std::os::unix::net::UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

pub(super) fn admin_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}
