//! What everything that init starts stands on: what init itself was started with, and the pipe for failures.

use crate::model::child::ChildSpec;
use crate::sys::account;
use crate::sys::limits::Start;
use crate::sys::spawn::{self, Identity, Prepared, Reports};
use nix::sys::signal::Signal;
use std::ffi::{CString, NulError, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

#[derive(Debug)]
pub(super) struct Ground {
    pub(super) start: Start,
    pub(super) reports: Reports,
}

impl Ground {
    /// An app or a step: another user, a session of its own, nothing of init's but what the specification says.
    pub(super) fn child(&self, spec: &ChildSpec) -> io::Result<Prepared> {
        let account = &spec.account;
        let identity = Identity { uid: account.uid, gid: account.gid, groups: account.groups.clone() };
        Ok(Prepared {
            program: path(&spec.program)?,
            argv: argv(&spec.program, spec.args.iter().map(OsStr::new))?,
            envp: envp(spec.env.iter().map(|(name, value)| (OsStr::new(name), OsStr::new(value))))?,
            folder: Some(path(&spec.folder)?),
            allowance: self.start.child(spec.limits, spec.oom_score_adj),
            // Only root can change who it is, and need not when it stays root.
            identity: (account::own().0 == 0 && account.uid != 0).then_some(identity),
            new_session: true,
            no_new_privs: !spec.may_gain_privileges,
            parent_death: Signal::SIGKILL,
        })
    }

    /// The agent: init's user and environment, a process group of its own, so that a terminal's signals reach init alone.
    pub(super) fn agent<'a>(
        &self,
        program: &'a Path,
        args: impl Iterator<Item = &'a OsStr>,
        env: impl Iterator<Item = (&'a OsStr, &'a OsStr)>,
    ) -> io::Result<Prepared> {
        Ok(Prepared {
            program: path(program)?,
            argv: argv(program, args)?,
            envp: envp(env)?,
            folder: None,
            allowance: self.start.agent(),
            identity: None,
            new_session: false,
            no_new_privs: false,
            parent_death: Signal::SIGTERM,
        })
    }
}

fn argv<'a>(program: &'a Path, args: impl Iterator<Item = &'a OsStr>) -> io::Result<Vec<CString>> {
    [program.as_os_str()].into_iter().chain(args).map(|arg| spawn::c_string(arg.as_bytes()).map_err(nul)).collect()
}

fn envp<'a>(variables: impl Iterator<Item = (&'a OsStr, &'a OsStr)>) -> io::Result<Vec<CString>> {
    let entries = variables.map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat());
    entries.map(|entry| spawn::c_string(entry).map_err(nul)).collect()
}

fn path(path: &Path) -> io::Result<CString> {
    spawn::c_path(path).map_err(nul)
}

fn nul(_: NulError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "a path, argument or variable holds a zero byte")
}
