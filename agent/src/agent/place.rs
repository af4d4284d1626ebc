//! Where things are: the run folder, the logs, the home, and as whom the space's processes run.

use crate::apps::{self, recovery};
use crate::model::child::Account;
use crate::model::folders;
use crate::sys::keys::Key;
use crate::sys::{files, helper};
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
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

    /// The user's, the only such folder here: sockets of apps.
    pub(super) fn apps(&self) -> PathBuf {
        self.run.join("apps")
    }

    /// The agent's; each step's folder in it is the user's.
    pub(super) fn steps(&self) -> PathBuf {
        self.run.join("steps")
    }

    /// The agent's; the user reads it.
    pub(super) fn jupyter_config(&self) -> PathBuf {
        self.run.join("jupyter")
    }

    /// The agent's: what recovery mode needs, with the clean home in it, which is the user's.
    pub(super) fn recovery(&self) -> PathBuf {
        self.run.join("recovery")
    }

    /// The document with which the space has begun, until it is known to be a good one.
    pub(super) fn document(&self) -> PathBuf {
        self.run.join("document.yaml")
    }

    /// What is the volume's: steps done, identity.
    pub(super) fn state(&self) -> PathBuf {
        self.home.join(".space-agent")
    }

    /// Removes what a stopped space leaves in its run folder, all but the logs.
    pub(super) fn clean(&self) {
        for file in [self.user_socket(), self.admin_socket(), self.document()] {
            remove(fs::remove_file(&file), &file);
        }
        for folder in [self.apps(), self.steps(), self.jupyter_config(), self.recovery(), self.run.join("admin")] {
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

/// An empty folder of the agent's own in the run folder.
pub(super) fn own_folder(folder: &Path, mode: u32) -> io::Result<()> {
    files::remove_folder(folder)?;
    files::own_folder(folder, mode)
}

/// An empty folder of the account's own in the run folder, reachable by it (and root) only. What it places in there, a
/// root agent never follows: the agent connects to sockets in it, and looks who answers.
pub(super) fn fresh_folder(folder: &Path, account: &Account) -> io::Result<()> {
    own_folder(folder, 0o700)?;
    files::hand_over_folder(folder, account.uid, account.gid)
}

/// For JupyterLab: softer defaults, which the user's own configuration overrides. The account reads them.
pub(super) fn write_jupyter_config(place: &Place) -> io::Result<()> {
    let folder = place.jupyter_config();
    own_folder(&folder, 0o755)?;
    write_files(&folder, apps::config_files())
}

/// Files for the account to read. A name may have one folder in front, and several may have the same.
fn write_files(folder: &Path, all: &[(&str, impl AsRef<[u8]>)]) -> io::Result<()> {
    for (name, text) in all {
        let file = folder.join(name);
        files::own_folder(file.parent().unwrap_or(folder), 0o755)?;
        files::write_new(&file, text.as_ref(), 0o644)?;
    }
    Ok(())
}

/// What a turn to recovery mode is for, as the person reads it in the clean home.
pub(super) struct Note<'n> {
    pub(super) why: &'n str,
    pub(super) details: &'n [String],
}

/// Makes the clean home of recovery mode, fresh for each turn; a further start of the app in the same turn finds it as it
/// is. `turn` names the turn within the space's run.
pub(super) fn make_clean_home(place: &Place, turn: u32, note: &Note<'_>) -> io::Result<()> {
    let (folder, turn) = (place.recovery(), turn.to_string());
    let mark = folder.join("turn");
    if fs::read_to_string(&mark).is_ok_and(|known| known == turn) {
        return Ok(());
    }
    own_folder(&folder, 0o711)?;
    let config = recovery::config_folder(&folder);
    files::own_folder(&config, 0o755)?;
    write_files(&config, &recovery::config_files(&place.home))?;
    let home = recovery::clean_home(&folder);
    files::own_folder(&home, 0o700)?;
    let text = recovery::note(note.why, note.details, &place.home);
    let written = files::write_new(&home.join(recovery::NOTE), text.as_bytes(), 0o644)?;
    files::hand_over(&written, place.account.uid, place.account.gid)?;
    std::os::unix::fs::symlink(&place.home, home.join(recovery::HOME))?;
    files::hand_over_folder(&home, place.account.uid, place.account.gid)?;
    // Last: what was only half made is made anew.
    files::write_new(&mark, turn.as_bytes(), 0o644).map(drop)
}

/// Puts the document by with which the space begins.
pub(super) fn write_document(place: &Place, text: Option<&str>) -> io::Result<()> {
    let file = place.document();
    match fs::remove_file(&file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    text.map_or(Ok(()), |text| files::write_new(&file, text.as_bytes(), 0o600).map(drop))
}

/// Removes the clean home, once the space has left recovery mode.
pub(super) fn leave_recovery(place: &Place) {
    let folder = place.recovery();
    remove(files::remove_folder(&folder), &folder);
}

/// Makes the home if it is not there; a home that is there stays as it is. Where somebody else than root could exchange a
/// folder on the way, a root agent makes nothing itself: the account does, with its own rights.
pub(super) fn make_home(home: &Path, account: &Account) -> io::Result<()> {
    if fs::metadata(home).is_ok_and(|metadata| metadata.is_dir()) {
        return Ok(());
    }
    if crate::sys::account::own().0 == 0 && account.uid != 0 && !roots_alone(home) {
        return make_as(home, account);
    }
    if let Some(parent) = home.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    }
    // Not recursive: what somebody has put there meanwhile is not ours to give away.
    DirBuilder::new().mode(0o755).create(home)?;
    files::hand_over_folder(home, account.uid, account.gid)
}

/// Only root can exchange a folder on the way: each is root's, and either nobody else may write to it, or it is sticky and
/// what the way takes in it is there and root's.
fn roots_alone(home: &Path) -> bool {
    let way: Vec<&Path> = home.ancestors().collect();
    way.windows(2).all(|pair| match fs::symlink_metadata(pair[1]) {
        Err(error) => error.kind() == io::ErrorKind::NotFound,
        Ok(folder) if folder.uid() != 0 => false,
        Ok(folder) if folder.is_symlink() || folder.mode() & 0o022 == 0 => true,
        Ok(folder) => folder.mode() & 0o1000 != 0 && fs::symlink_metadata(pair[0]).is_ok_and(|next| next.uid() == 0),
    })
}

fn make_as(home: &Path, account: &Account) -> io::Result<()> {
    let made = helper::command("mkdir").arg("-p").arg("--").arg(home).uid(account.uid).gid(account.gid).output()?;
    let said = String::from_utf8_lossy(&made.stderr).trim().to_owned();
    if made.status.success() { Ok(()) } else { Err(io::Error::other(format!("as the user {}: {said}", account.name))) }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{chown, symlink};

    /// A run folder, and the account of somebody else than who runs the tests; only root can have that.
    fn ground(name: &str) -> Option<(PathBuf, Account)> {
        let run = std::env::temp_dir().join(format!("space-agent-test-place-{name}-{}", std::process::id()));
        files::remove_folder(&run).unwrap();
        fs::create_dir(&run).unwrap();
        let account = crate::sys::account::by_uid(64_321, Some(64_322)).unwrap();
        if fs::metadata(&run).unwrap().uid() == 0 {
            return Some((run, account));
        }
        eprintln!("not run: only root can give folders away");
        files::remove_folder(&run).unwrap();
        None
    }

    fn about(path: &Path) -> (u32, u32) {
        let metadata = fs::symlink_metadata(path).unwrap();
        (metadata.uid(), metadata.mode() & 0o7777)
    }

    #[test]
    fn only_the_folder_of_the_sockets_is_the_user_s() {
        let Some((run, account)) = ground("owners") else { return };
        let place = Place {
            logs: run.join("log"),
            home: run.join("home"),
            may_gain_privileges: false,
            key: [0; 32],
            binary: PathBuf::new(),
            account,
            run: run.clone(),
        };
        let precious = run.join("precious");
        fs::create_dir(&precious).unwrap();
        // As an earlier boot of an earlier version may have left them: the user's, with links in them or in their place.
        fs::create_dir(place.apps()).unwrap();
        symlink(&precious, place.apps().join("default.sock")).unwrap();
        symlink(&precious, place.steps()).unwrap();
        fs::create_dir(place.jupyter_config()).unwrap();
        let config = place.jupyter_config().join(apps::config_files()[0].0);
        symlink(precious.join("config"), &config).unwrap();
        chown(place.jupyter_config(), Some(place.account.uid), None).unwrap();
        fresh_folder(&place.apps(), &place.account).unwrap();
        own_folder(&place.steps(), 0o711).unwrap();
        write_jupyter_config(&place).unwrap();
        assert_eq!(about(&place.apps()), (64_321, 0o700));
        assert_eq!(about(&place.steps()), (0, 0o711));
        assert_eq!(about(&place.jupyter_config()), (0, 0o755));
        assert_eq!(about(&config), (0, 0o644));
        assert_eq!(about(&place.jupyter_config().join("labconfig")), (0, 0o755));
        assert_eq!((about(&precious).0, fs::read_dir(&precious).unwrap().count()), (0, 0));
        files::remove_folder(&run).unwrap();
    }

    #[test]
    fn a_home_is_made_and_given_away_but_never_through_a_link() {
        let Some((run, account)) = ground("home") else { return };
        let (home, target) = (run.join("homes/alice"), run.join("target"));
        make_home(&home, &account).unwrap();
        assert_eq!((about(&home), about(&run.join("homes")).0), ((64_321, 0o755), 0));
        // In a folder of the user's it is the user who makes it: a link to a place of root's leads nowhere.
        make_home(&home.join("work/deep"), &account).unwrap();
        assert_eq!(about(&home.join("work/deep")).0, 64_321);
        fs::create_dir(&target).unwrap();
        symlink(&target, home.join("away")).unwrap();
        assert!(make_home(&home.join("away/home"), &account).unwrap_err().to_string().contains("as the user"));
        assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
        fs::remove_dir(&target).unwrap();
        fs::remove_dir_all(&home).unwrap();
        symlink(&target, &home).unwrap();
        assert_eq!(make_home(&home, &account).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(!target.exists());
        fs::create_dir(&target).unwrap();
        assert!(files::hand_over_folder(&home, account.uid, account.gid).is_err());
        make_home(&home, &account).unwrap();
        assert_eq!(about(&target).0, 0, "a home that is there stays as it is");
        files::remove_folder(&run).unwrap();
    }
}
