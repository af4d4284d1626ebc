//! Errands of real processes in a real home: the test program itself is the helper.

use super::*;
use crate::sys::account;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

/// A home, removed at the end.
pub(super) struct Home(pub(super) PathBuf);

impl Home {
    pub(super) fn new(test: &str) -> Home {
        let path = std::env::temp_dir().join(format!("space-agent-errand-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Home(path)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Makes a program of a shell script. A process of its own writes it: what this one holds open for writing, a child that
/// another thread has just forked holds too, and nobody could execute it.
pub(crate) fn program(path: &Path, script: &str) {
    let write = r#"printf '#!/bin/sh\n%s\n' "$1" >"$2" && chmod 755 "$2""#;
    let mut sh = Command::new("/bin/sh");
    assert!(sh.args(["-c", write, "sh", script]).arg(path).status().unwrap().success());
}

/// A program in the home that is called in this binary's place.
fn errands(home: &Home, script: &str) -> Errands {
    let binary = home.0.join("space-agent");
    program(&binary, script);
    let (uid, gid) = account::own();
    Errands { binary, account: account::by_uid(uid, Some(gid)).unwrap(), home: home.0.clone() }
}

#[test]
fn an_errand_is_called_with_a_clean_environment_and_its_word_is_bounded() {
    let home = Home::new("call");
    let errands =
        errands(&home, "echo \"$@\"; env | grep -c ^CARGO; for n in $(seq 100); do printf 'x\\033[2J\\n'; done");
    let said = errands.repositories(&["work/one".into()], Duration::from_secs(60));
    assert_eq!(said[0], format!("repositories --within 59800 -- {} work/one", home.0.display()));
    assert_eq!((said[1].as_str(), said[2].as_str(), said.len()), ("0", "x [2J", SENTENCES));
}

#[test]
fn an_errand_that_fails_says_why_and_one_that_hangs_is_given_up() {
    let home = Home::new("fails");
    let refused = errands(&home, "cat >/dev/null; echo the disk is full; exit 1").keep(&Record::default());
    assert_eq!(refused.unwrap_err().to_string(), "the disk is full");
    assert!(errands(&home, "echo no json").boots().is_err());
    let hangs = errands(&home, "echo handbook has 1 untracked file; exec sleep 600");
    assert_eq!(hangs.boots().unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert_eq!(hangs.repositories(&[], Duration::from_millis(500)), ["handbook has 1 untracked file"]);
}

#[test]
fn an_errand_of_root_s_is_done_with_the_user_s_rights() {
    if account::own().0 != 0 {
        eprintln!("not run: only root can become somebody else");
        return;
    }
    let home = Home::new("rights");
    let secret = home.0.join("secret");
    fs::write(&secret, "root's").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    fs::create_dir(home.0.join("home")).unwrap();
    chown(home.0.join("home"), Some(64_321), Some(64_322)).unwrap();
    symlink(&secret, home.0.join("home/link")).unwrap();
    let mut errands = errands(&home, "cat \"$4/link\" 2>/dev/null || echo not permitted; id -u; echo x >\"$4/made\"");
    errands.account = account::by_uid(64_321, Some(64_322)).unwrap();
    errands.home = home.0.join("home");
    assert_eq!(errands.repositories(&[], Duration::from_secs(60)), ["not permitted", "64321"]);
    let made = fs::metadata(home.0.join("home/made"));
    assert!(made.is_err() || made.unwrap().uid() == 64_321);
}
