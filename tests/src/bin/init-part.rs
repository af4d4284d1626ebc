//! The real init with an agent of the tests' own, which speaks init's protocol and does what the story needs.
//!
//! `init-part run FOLDER MODE…` becomes init; its agent is this program again: `init-part agent FOLDER MODE…`. The agent
//! writes what it is told into `FOLDER/log`, a line each, and leaves with 0 once there is a file `FOLDER/enough`.

use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, raise};
use nix::sys::stat::Mode;
use space_agent::init::{self, AgentCommand};
use space_agent::model::child::{Account, ChildLimits, ChildSpec, Exit};
use space_agent::process::{self, Attached};
use space_agent::sys::link::{self, HANDED_OVER, ToAgent, ToInit};
use space_agent::sys::program;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let ended = match &words[..] {
        ["run", rest @ ..] => become_init(rest),
        ["agent", "--clean-up", folder, ..] => Agent::attach(folder, "clean-up").map(|_| 0),
        ["agent", folder, mode @ ..] => play(folder, mode),
        _ => Err(io::Error::other("usage: init-part run|agent FOLDER MODE…")),
    };
    ExitCode::from(ended.unwrap_or_else(|error| {
        eprintln!("init-part: {error}");
        // No code of the space's: a crash.
        99
    }))
}

fn become_init(args: &[&str]) -> io::Result<u8> {
    let args = ["agent"].iter().chain(args).map(OsString::from).collect();
    init::run(&AgentCommand { binary: program::path()?, args })
}

fn play(folder: &str, mode: &[&str]) -> io::Result<u8> {
    let number = |text: &str| text.parse().map_err(io::Error::other);
    if mode == ["tell", "first"] {
        return tell_as_the_first_release(folder);
    }
    let agent = Agent::attach(folder, "hello")?;
    match mode {
        ["exit", code] => number(code).map(|code: u64| u8::try_from(code).unwrap_or(u8::MAX)),
        ["kill"] => raise(Signal::SIGKILL).map(|()| 0).map_err(Into::into),
        ["tell"] => agent.tell(),
        ["deaf"] if agent.attached.starts > 1 => Ok(0),
        ["deaf"] => sleep_forever(),
        ["promise", within, code, script] => agent.promise(number(within)?, number(code)?, script),
        ["children", total, window, alive] => agent.children(number(total)?, number(window)?, number(alive)?),
        _ => Err(io::Error::other("no such mode")),
    }
}

fn sleep_forever() -> io::Result<u8> {
    loop {
        poll(&mut [], PollTimeout::NONE)?;
    }
}

struct Agent {
    folder: PathBuf,
    attached: Attached,
}

impl Agent {
    /// Greets, and allows no crash at all.
    fn attach(folder: &str, word: &str) -> io::Result<Agent> {
        let attached = process::attach(link::inherited(3)?)?;
        let agent = Agent { folder: folder.into(), attached };
        process::set_policy(&agent.attached.socket, 0, Duration::from_secs(600))?;
        let Attached { starts, stops_asked, children, .. } = &agent.attached;
        let children: Vec<String> = children.iter().map(|child| format!(" {}={}", child.id, child.pid)).collect();
        agent.log(&format!("{word} starts={starts} stops={stops_asked}{}", children.concat()))?;
        Ok(agent)
    }

    fn log(&self, line: &str) -> io::Result<()> {
        log(&self.folder, line)
    }

    fn send(&self, message: &ToInit) -> io::Result<()> {
        link::send_patiently(&self.attached.socket, message, None)
    }

    fn next(&self) -> io::Result<Option<ToAgent>> {
        next(&self.attached.socket, &self.folder)
    }

    fn spawn(&self, id: &str, script: &str) -> io::Result<()> {
        let id = id.to_owned();
        self.send(&ToInit::Spawn { id, spec: Box::new(shell(&self.folder, script)) })
    }

    /// Logs what it is told; has one child, which lives on when the agent is replaced.
    fn tell(&self) -> io::Result<u8> {
        if self.attached.children.is_empty() {
            self.spawn("child", "exec sleep 3600")?;
        }
        while let Some(message) = self.next()? {
            match message {
                ToAgent::Spawned { id, pid } => self.log(&format!("{id}={pid}"))?,
                ToAgent::StopAsked { times } => {
                    self.send(&ToInit::Ending { within_ms: 60_000, code: 0 })?;
                    self.log(&format!("stop {times}"))?;
                }
                ToAgent::Reload => self.log("reload")?,
                ToAgent::Replace => {
                    self.log("replace")?;
                    return Ok(u8::try_from(HANDED_OVER).unwrap_or(u8::MAX));
                }
                other => self.log(&format!("{other:?}"))?,
            }
        }
        Ok(0)
    }

    /// Says when the space ends, and then hangs.
    fn promise(&self, within_ms: u64, code: u64, script: &str) -> io::Result<u8> {
        self.spawn("child", script)?;
        while !matches!(self.next()?, Some(ToAgent::Spawned { .. })) {}
        self.send(&ToInit::Ending { within_ms, code: u8::try_from(code).unwrap_or(u8::MAX) })?;
        self.log("promised")?;
        sleep_forever()
    }

    /// Has `total` children, `window` of them at a time. Each waits at a gate, which lets them go when `alive` are there.
    fn children(&self, total: u64, window: u64, alive: u64) -> io::Result<u8> {
        let gate = self.folder.join("gate");
        nix::unistd::mkfifo(&gate, Mode::from_bits_truncate(0o600))?;
        let gate = open(&gate, OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
        let (mut asked, mut spawned, mut at_gate, mut most, mut ended, mut right) = (0, 0, 0, 0, 0, 0);
        while ended < total {
            while asked < total && asked - ended < window {
                self.spawn(&asked.to_string(), &script(asked))?;
                asked += 1;
            }
            match self.next()? {
                Some(ToAgent::Spawned { .. }) => {
                    (spawned, at_gate) = (spawned + 1, at_gate + 1);
                    most = most.max(at_gate);
                    if at_gate >= alive || spawned == total {
                        nix::unistd::write(&gate, &vec![b'\n'; at_gate as usize])?;
                        at_gate = 0;
                    }
                }
                Some(ToAgent::Ended { id, exit }) => {
                    ended += 1;
                    right += u64::from(id.parse().is_ok_and(|number| exit == expected(number)));
                    self.send(&ToInit::Acknowledge { id })?;
                }
                Some(_) => {}
                None => return Ok(98),
            }
        }
        self.log(&format!("right={right} most={most}"))?;
        while self.next()?.is_some() {}
        Ok(0)
    }
}

/// Every tenth is killed, the others say a code.
fn expected(number: u64) -> Exit {
    match number % 10 {
        9 => Exit::Signal(9),
        _ => Exit::Code(i32::try_from(number % 251).unwrap_or(0)),
    }
}

fn script(number: u64) -> String {
    match expected(number) {
        Exit::Code(code) => format!("read x < gate; exit {code}"),
        _ => "read x < gate; kill -KILL $$".to_owned(),
    }
}

/// A child in the story's folder, as this user.
fn shell(folder: &Path, script: &str) -> ChildSpec {
    let (uid, gid) = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
    let account =
        Account { name: "tester".into(), uid, gid, groups: Vec::new(), home: folder.into(), shell: "/bin/sh".into() };
    ChildSpec {
        program: "/bin/sh".into(),
        args: vec!["-c".into(), script.into()],
        env: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into(),
        folder: folder.into(),
        account,
        may_gain_privileges: false,
        oom_score_adj: None,
        limits: ChildLimits::default(),
    }
}

fn log(folder: &Path, line: &str) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log"))?;
    file.write_all(format!("{line}\n").as_bytes())
}

/// The next message; `None` once the story has had enough, or init is gone.
fn next(socket: &OwnedFd, folder: &Path) -> io::Result<Option<ToAgent>> {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    while poll(&mut fds, PollTimeout::from(50u16))? == 0 {
        if folder.join("enough").exists() {
            return Ok(None);
        }
    }
    Ok(link::receive(socket, &mut Vec::new())?.map(|(message, _)| message))
}

/// As agents were before init's protocol had minor versions: it says none, and a message that it does not know is one
/// that it cannot read.
fn tell_as_the_first_release(folder: &str) -> io::Result<u8> {
    #[derive(serde::Deserialize)]
    enum Known {
        Welcome { starts: u32, stops_asked: u32 },
        Kept {},
        Child {},
        Complete,
        Spawned {},
        Ended {},
        StopAsked { times: u32 },
    }
    let (socket, folder) = (link::inherited(3)?, Path::new(folder));
    link::send(&socket, &serde_json::json!({ "Hello": { "version": 1 } }), None)?;
    loop {
        let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::from(50u16))? == 0 {
            match folder.join("enough").exists() {
                true => return Ok(0),
                false => continue,
            }
        }
        match link::receive::<Known>(&socket, &mut Vec::new()) {
            Ok(Some((Known::Welcome { starts, stops_asked }, _))) => {
                log(folder, &format!("hello starts={starts} stops={stops_asked}"))?;
            }
            Ok(Some((Known::StopAsked { times }, _))) => log(folder, &format!("stop {times}"))?,
            Ok(Some(_)) => {}
            Ok(None) => return Ok(0),
            Err(error) => {
                log(folder, &format!("not understood: {error}"))?;
                return Err(error);
            }
        }
    }
}
