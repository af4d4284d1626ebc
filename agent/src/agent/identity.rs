//! Who the space's user is, what the space is called. Decided from what the document says and what is there.

use crate::model::child::Account;
use crate::sys::{account, keys};
use space_lifecycle::User;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// As given; else, for an agent that isn't root, itself; else the owner of the home if that isn't root; else uid 1000 if
/// the home is under `/home`; else root, while the front door is on loopback only. With a warning, if there is one.
pub(super) fn user(written: Option<&User>, home: &Path, loopback: bool) -> Result<(Account, Option<String>), String> {
    let (own_uid, own_gid) = account::own();
    let found = match written {
        Some(user) => given(user)?,
        None if own_uid != 0 => lookup(own_uid, Some(own_gid))?,
        None => match std::fs::metadata(home).map(|home| home.uid()) {
            Ok(uid) if uid != 0 => lookup(uid, None)?,
            _ if home.starts_with("/home") => lookup(1000, None)?,
            _ if loopback => return Ok((with_home(lookup(0, None)?, home), Some(root_warning()))),
            _ => {
                return Err("as root, with a front door that others reach, the space's user must be written: \
                             user: { name: … }, or user: { name: root } if you mean it"
                    .into());
            }
        },
    };
    if own_uid != 0 && found.uid != own_uid {
        let (name, uid) = (&found.name, found.uid);
        return Err(format!(
            "cannot run as the user {name} (uid {uid}): the agent runs as uid {own_uid} and only root can \
                            become somebody else; remove `user`, or run the agent as root"
        ));
    }
    let home = written.and_then(|user| user.home.clone()).unwrap_or_else(|| home.to_owned());
    Ok((with_home(found, &home), None))
}

fn root_warning() -> String {
    "the space's apps run as root, since the agent does and its home is root's; write `user` to change that".into()
}

fn with_home(mut account: Account, home: &Path) -> Account {
    account.home = home.to_owned();
    account
}

fn given(user: &User) -> Result<Account, String> {
    let by_name = match &user.name {
        Some(name) => account::by_name(name, user.gid).map_err(|error| format!("cannot read /etc/passwd: {error}"))?,
        None => None,
    };
    match (by_name, user.uid, &user.name) {
        (Some(account), Some(uid), Some(name)) if account.uid != uid => {
            Err(format!("the user {name} has uid {} in /etc/passwd, not {uid}; write one of the two", account.uid))
        }
        (Some(account), _, _) => Ok(account),
        (None, Some(uid), name) => {
            let mut account = lookup(uid, user.gid)?;
            if let Some(name) = name {
                account.name = name.clone();
            }
            Ok(account)
        }
        (None, None, name) => {
            let name = name.as_deref().unwrap_or_default();
            Err(format!(
                "there is no user {name} in /etc/passwd; make the account, or give its number: user: {{ uid: 1000 }}"
            ))
        }
    }
}

fn lookup(uid: u32, gid: Option<u32>) -> Result<Account, String> {
    account::by_uid(uid, gid).map_err(|error| format!("cannot read /etc/passwd: {error}"))
}

/// The space's name if none is written: after its home, told apart from other homes of the same name.
pub(super) fn space_name(home: &Path) -> String {
    let part = |path: Option<&Path>| path.and_then(Path::file_name).map(|name| name.to_string_lossy().to_lowercase());
    let own = part(Some(home)).unwrap_or_default();
    let base = if own == "home" { part(home.parent()).unwrap_or(own) } else { own };
    let kept: String = base.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(40).collect();
    let kept = kept.trim_matches('-');
    let suffix = keys::fingerprint(home.as_os_str().as_encoded_bytes(), 4);
    if kept.is_empty() { format!("space-{suffix}") } else { format!("{kept}-{suffix}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_space_is_named_after_its_home_or_the_folder_around_it() {
        assert!(space_name(Path::new("/srv/My Project/home")).starts_with("my-project-"));
        assert!(space_name(Path::new("/home/alice")).starts_with("alice-"));
        assert!(space_name(Path::new("/")).starts_with("space-"));
        assert_ne!(space_name(Path::new("/a/home")), space_name(Path::new("/b/a/home")));
    }

    #[test]
    fn an_account_that_is_not_there_is_named_with_its_remedy() {
        let user = User {
            name: Some("nobody-here".into()),
            uid: None,
            gid: None,
            home: None,
            sudo: space_lifecycle::Sudo::Never,
        };
        let error = super::user(Some(&user), Path::new("/tmp"), true).unwrap_err();
        assert!(error.contains("nobody-here") && error.contains("uid: 1000"), "{error}");
    }
}
