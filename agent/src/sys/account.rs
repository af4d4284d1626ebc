//! Accounts without NSS: `/etc/passwd` and `/etc/group` are read directly, since the binary is static.

use crate::model::child::Account;
use std::io;
use std::path::{Path, PathBuf};

/// The uid and gid that this process runs as.
pub fn own() -> (u32, u32) {
    (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw())
}

/// The account with this uid; one without a passwd entry gets its number as its name and `/` as its home.
pub fn by_uid(uid: u32, gid: Option<u32>) -> io::Result<Account> {
    let passwd = std::fs::read_to_string("/etc/passwd")?;
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let entry = entries(&passwd).find(|entry| entry.uid == uid);
    Ok(match entry {
        Some(entry) => entry.account(gid, &groups),
        None => Account {
            name: uid.to_string(),
            uid,
            gid: gid.unwrap_or(uid),
            groups: Vec::new(),
            home: PathBuf::from("/"),
            shell: PathBuf::from("/bin/sh"),
        },
    })
}

/// The account with this name; `None` if `/etc/passwd` doesn't list it.
pub fn by_name(name: &str, gid: Option<u32>) -> io::Result<Option<Account>> {
    let passwd = std::fs::read_to_string("/etc/passwd")?;
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    Ok(entries(&passwd).find(|entry| entry.name == name).map(|entry| entry.account(gid, &groups)))
}

struct Entry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
    shell: &'a str,
}

fn entries(passwd: &str) -> impl Iterator<Item = Entry<'_>> {
    passwd.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, shell] = fields[..] else { return None };
        Some(Entry { name, uid: uid.parse().ok()?, gid: gid.parse().ok()?, home, shell })
    })
}

impl Entry<'_> {
    fn account(&self, gid: Option<u32>, groups: &str) -> Account {
        let shell = if self.shell.is_empty() { "/bin/sh" } else { self.shell };
        Account {
            name: self.name.to_owned(),
            uid: self.uid,
            gid: gid.unwrap_or(self.gid),
            groups: supplementary(groups, self.name),
            home: Path::new(self.home).to_owned(),
            shell: PathBuf::from(shell),
        }
    }
}

fn supplementary(groups: &str, name: &str) -> Vec<u32> {
    groups
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [_, _, gid, members] = fields[..] else { return None };
            members.split(',').any(|member| member == name).then(|| gid.parse().ok())?
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn supplementary_groups_are_those_that_list_the_name() {
        let groups = "root:x:0:\nvideo:x:44:alice,bob\ndocker:x:998:alice\nusers:x:100:\nalicex:x:7:alicex";
        assert_eq!(supplementary(groups, "alice"), [44, 998]);
        assert_eq!(supplementary(groups, "carol"), Vec::<u32>::new());
    }

    #[test]
    fn root_is_found_by_name_and_by_number() {
        assert_eq!(by_name("root", None).unwrap().unwrap(), by_uid(0, None).unwrap());
        assert_eq!(by_name("no-such-account", None).unwrap(), None);
    }
}
