//! A space of a story: its folder, its document, its runs. Whatever happens to the story, nothing of it is left.
//!
//! A space's folder lies in the temporary directory, not in the project: sockets need short paths, and a document is
//! trusted only where nobody but its owner can write. Processes are found by that folder (see [`processes::marked`]).

use crate::client::{Answer, Client, over_unix};
use crate::command::{Done, spawn};
use crate::places;
use crate::processes;
use crate::status::Status;
use crate::wait::wait_for;
use hyper::Method;
use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long a space may take from exec to ready, with the ready-made environment or one of a single small package: a slow
/// machine runs several at a time.
pub const BOOT: Duration = Duration::from_secs(120);
/// How long anything may take that only the agent has to do.
pub const SOON: Duration = Duration::from_secs(10);
/// The default stop deadline with a margin.
pub const STOP: Duration = Duration::from_secs(30);

/// Where a space's home has the ready-made environment, for documents that need a JupyterLab at once.
pub const ENVIRONMENT: &str = "ready-made";

/// A space on disk. Dropping it removes its folder, unless the test failed.
#[derive(Debug)]
pub struct Space {
    pub name: String,
    pub folder: PathBuf,
    pub home: PathBuf,
    /// `$SPACE_AGENT_RUN`.
    pub run: PathBuf,
    pub document: PathBuf,
    pub port: u16,
    /// Of the front door; begins and ends with `/`.
    pub base_path: String,
    /// What is started: the agent under test.
    pub binary: PathBuf,
    /// Beside the test's own environment.
    pub env: Vec<(String, String)>,
    /// A program that is started first and becomes the agent, with its arguments.
    pub before: Vec<String>,
    runs: u32,
}

static SPACES: AtomicU32 = AtomicU32::new(0);

impl Space {
    /// A space whose document has a name, a home and a port of its own, and then `body`. In its home is a link to the
    /// ready-made environment.
    pub fn new(body: &str) -> Space {
        let space = Space::empty();
        fs::create_dir(&space.home).expect("a new folder can be made");
        symlink(places::environment(), space.home.join(ENVIRONMENT)).expect("a link in a new folder");
        space.write(body);
        space
    }

    /// As [`Space::new`], but with nothing in its folder yet, not even a home.
    pub fn empty() -> Space {
        let (pid, number) = (std::process::id(), SPACES.fetch_add(1, Ordering::Relaxed));
        // Of one length, so that no space's folder begins with another's name: processes are found by it.
        let name = format!("t{pid}-{number:03}");
        let folder = std::env::temp_dir().join(format!("space-tests-{name}"));
        fs::create_dir(&folder).unwrap_or_else(|error| panic!("cannot make {}: {error}", folder.display()));
        Space {
            home: folder.join("home"),
            run: folder.join("run"),
            document: folder.join("space.yaml"),
            port: free_port(),
            base_path: "/".to_owned(),
            binary: places::agent(),
            env: Vec::new(),
            before: Vec::new(),
            runs: 0,
            name,
            folder,
        }
    }

    /// As [`Space::new`], with a base path of its front door.
    pub fn below(base_path: &str, body: &str) -> Space {
        let mut space = Space::new("");
        base_path.clone_into(&mut space.base_path);
        space.write(body);
        space
    }

    /// Writes the document anew.
    pub fn write(&self, body: &str) {
        let Space { name, port, base_path, .. } = self;
        let text = format!(
            "version: 1\nspace: {{ name: {name} }}\nstorage: {{ home: {{ directory: ./home }} }}\n\
             front_door: {{ listen: \"127.0.0.1:{port}\", base_path: {base_path} }}\n{body}\n"
        );
        self.write_verbatim(&text);
    }

    /// Writes a document with nothing added.
    pub fn write_verbatim(&self, text: &str) {
        fs::write(&self.document, text).expect("the document can be written");
    }

    /// Adds a variable to the environment in which the agent is started.
    pub fn with_env(mut self, name: &str, value: impl Into<String>) -> Space {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// A command of the agent's command line, with this space's surroundings.
    pub fn command(&self, args: &[&str]) -> Command {
        // Whoever runs the tests in the background has them ignore SIGINT, which init would respect. `env` becomes the agent.
        let mut command = Command::new("env");
        command.arg("--default-signal=INT,HUP,QUIT").args(&self.before).arg(&self.binary);
        command.args(args).current_dir(&self.folder);
        command.env("SPACE_AGENT_STATE", self.folder.join("state"));
        command.env("SPACE_AGENT_RUN", &self.run).env("SPACE_AGENT_SOCKET", self.socket());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts the space: `space-agent run DOCUMENT --print-link`.
    pub fn start(&mut self) -> Run {
        let document = self.document.to_string_lossy().into_owned();
        self.start_with(&[&document])
    }

    /// Starts the space with other arguments: `space-agent run --print-link ARGS…`.
    pub fn start_with(&mut self, args: &[&str]) -> Run {
        let mut command = self.command(&["run", "--print-link"]);
        command.args(args);
        // As for a foreground program of a terminal, so that a story can press Ctrl-C.
        command.env_remove("SPACE_AGENT_SOCKET").process_group(0).stdin(Stdio::null());
        self.runs += 1;
        let [stdout, stderr] = ["stdout", "stderr"].map(|name| self.folder.join(format!("{name}-{}", self.runs)));
        command.stdout(File::create(&stdout).expect("a file in the space's folder"));
        command.stderr(File::create(&stderr).expect("a file in the space's folder"));
        let child = spawn(&mut command).unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Run {
            child,
            ended: None,
            seen: BTreeSet::new(),
            stdout,
            stderr,
            socket: self.socket(),
            folder: self.folder.clone(),
            port: self.port,
        }
    }

    /// Starts the space where it cannot come up, and is to end rather than to turn to recovery mode: returns how `run`
    /// ended.
    pub async fn start_and_fail(&mut self) -> Done {
        let document = self.document.to_string_lossy().into_owned();
        let mut run = self.start_with(&["--strict", &document]);
        let begin = tokio::time::Instant::now();
        let status = run.end(BOOT).await;
        let [stdout, stderr] = [&run.stdout, &run.stderr].map(|path| fs::read_to_string(path).unwrap_or_default());
        Done { status, stdout, stderr, took: begin.elapsed() }
    }

    pub fn socket(&self) -> PathBuf {
        self.run.join("user.sock")
    }

    /// What a space that has ended must not leave: processes, sockets, temporary files. Logs stay.
    pub fn leftovers(&self) -> Vec<String> {
        let processes = processes::marked(&[&self.folder]).into_iter();
        let mut left: Vec<String> =
            processes.map(|pid| format!("process {pid}: {}", processes::command_line(pid))).collect();
        let mut files = Vec::new();
        files_below(&self.run, &mut files);
        files.retain(|path| !path.starts_with(self.run.join("log")));
        let mut in_home = Vec::new();
        files_below(&self.home.join(".space-agent"), &mut in_home);
        files.extend(in_home.into_iter().filter(|path| is_temporary(path)));
        left.extend(files.iter().map(|path| format!("file {}", path.display())));
        left
    }

    /// Fails the test if a process is left.
    #[track_caller]
    pub fn assert_nothing_running(&self) {
        let left: Vec<String> = self.leftovers().into_iter().filter(|left| left.starts_with("process")).collect();
        assert_eq!(left, Vec::<String>::new(), "the space has left something");
    }

    /// Fails the test if anything is left.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        assert_eq!(self.leftovers(), Vec::<String>::new(), "the space has left something");
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        processes::kill_all(processes::marked(&[&self.folder]));
        if std::thread::panicking() {
            eprintln!("the space's folder stays for a look: {}", self.folder.display());
        } else {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files_below(&entry.path(), found),
            _ => found.push(entry.path()),
        }
    }
}

/// Files that a program writes before it renames them.
fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    [".tmp", ".new", ".part", "~"].iter().any(|end| name.ends_with(end)) || name.starts_with(".tmp")
}

/// A port that nobody listens on, below those that the kernel gives to outgoing connections.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id() * 64;
    let candidates = (0..10_000).map(|_| {
        let offset = (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        20_000 + u16::try_from(offset).expect("an offset below 10000")
    });
    let mut free = candidates.filter(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok());
    free.next().expect("one of 10000 ports is free")
}

/// A space that was started: init's process and what it said. Dropping it ends everything at once.
#[derive(Debug)]
pub struct Run {
    child: Child,
    ended: Option<std::process::ExitStatus>,
    /// Processes that were seen in this run.
    seen: BTreeSet<i32>,
    pub stdout: PathBuf,
    pub stderr: PathBuf,
    socket: PathBuf,
    folder: PathBuf,
    pub port: u16,
}

impl Run {
    /// The process that the story started: init.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// What `run` printed.
    pub fn stdout(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap_or_default()
    }

    /// What `run` logged.
    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// One request to the control API over the user socket.
    pub async fn control(&self, method: Method, path: &str, body: Option<serde_json::Value>) -> Result<Answer, String> {
        over_unix(&self.socket, method, path, body.as_ref()).await
    }

    pub async fn status(&self) -> Result<Status, String> {
        let answer = self.control(Method::GET, "/v1/status", None).await?;
        match answer.status.is_success() {
            true => Ok(Status(answer.json())),
            false => Err(format!("{} {}", answer.status, answer.text())),
        }
    }

    /// Waits until `condition` gives a value for the space's status; the test fails when the space ends or time is over.
    pub async fn until<T>(
        &mut self,
        deadline: Duration,
        what: &str,
        condition: impl Fn(&Status) -> Result<T, String>,
    ) -> T {
        let found = wait_for(deadline, what, async || {
            if let Some(status) = self.ended() {
                return Ok(Err(format!("waited for {what}, but run has ended ({status})")));
            }
            Ok::<_, String>(Ok(condition(&self.status().await?)?))
        });
        let found = found.await.unwrap_or_else(Err);
        self.remember();
        found.unwrap_or_else(|seen: String| panic!("{seen}"))
    }

    /// Waits until all apps are ready.
    pub async fn ready(&mut self) -> Status {
        self.until(BOOT, "all apps to be ready", |status| status.ready().map(|()| status.clone())).await
    }

    /// The sign-in link, which `run` prints at once.
    pub async fn link(&mut self) -> String {
        let stdout = self.stdout.clone();
        let link = wait_for(SOON, "the sign-in link on stdout", async || {
            let text = fs::read_to_string(&stdout).unwrap_or_default();
            let mut words = text.split_whitespace();
            let link = words.find(|word| word.starts_with("http://") && word.contains("_space/sign-in#"));
            link.map(str::to_owned).ok_or_else(|| format!("stdout is {text:?}"))
        });
        link.await.unwrap_or_else(|seen| panic!("{seen}"))
    }

    /// Waits until all apps are ready, and fails the test if `servers` ever finds two.
    pub async fn ready_never_two(&mut self, deadline: Duration, servers: impl Fn(&Run) -> Vec<i32>) -> Status {
        let found = wait_for(deadline, "all apps to be ready again", async || {
            let two = servers(self);
            if two.len() > 1 {
                return Ok(Err(format!("there are two servers: {two:?}")));
            }
            if let Some(status) = self.ended() {
                return Ok(Err(format!("run has ended ({status})")));
            }
            let status = self.status().await?;
            status.ready().map(|()| Ok(status))
        });
        found.await.unwrap_or_else(Err).unwrap_or_else(|seen: String| panic!("{seen}"))
    }

    /// Someone who has signed in with a new link of the control API: the printed one works once.
    pub async fn signed_in_again(&mut self) -> Client {
        let answer = self.control(Method::POST, "/v1/sign-in", Some(serde_json::json!({}))).await;
        let answer = answer.unwrap_or_else(|error| panic!("{error}")).good("a link").json();
        let mut client = Client::new(self.port);
        client.sign_in(answer["link"].as_str().expect("a link")).await;
        assert!(!client.cookies.is_empty(), "the link set no cookie");
        client
    }

    /// Someone who has signed in with the link.
    pub async fn signed_in(&mut self) -> Client {
        let link = self.link().await;
        let mut client = Client::new(self.port);
        let answer = client.sign_in(&link).await;
        assert!(answer.status.is_success() || answer.status.is_redirection(), "sign-in: {answer:?}");
        assert!(!client.cookies.is_empty(), "sign-in set no cookie: {answer:?}");
        client
    }

    pub fn signal(&self, signal: Signal) {
        processes::signal(self.pid(), signal);
    }

    /// What a terminal does at Ctrl-C: SIGINT to the whole foreground process group.
    pub fn press_ctrl_c(&self) {
        let group = nix::unistd::Pid::from_raw(self.pid());
        let _ = nix::sys::signal::killpg(group, Signal::SIGINT);
    }

    /// Remembers the processes that there are now, so that they can be found when their parents are gone.
    pub fn remember(&mut self) -> &BTreeSet<i32> {
        if self.ended.is_none() {
            self.seen.extend(processes::descendants(self.pid()));
            self.seen.insert(self.pid());
        }
        &self.seen
    }

    /// How `run` has ended, if it has.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("init is our child");
        }
        self.ended
    }

    /// Waits for the end of `run`.
    pub async fn end(&mut self, deadline: Duration) -> std::process::ExitStatus {
        let ended = wait_for(deadline, "run to end", async || self.ended().ok_or("it still runs"));
        ended.await.unwrap_or_else(|seen| panic!("{seen}"))
    }

    /// Waits for the end of `run` by itself and returns its exit code.
    pub async fn exit_code(&mut self, deadline: Duration) -> i32 {
        let status = self.end(deadline).await;
        status.code().unwrap_or_else(|| panic!("run was killed: {status}"))
    }

    /// Stops the space as a user does, and returns run's exit code.
    pub async fn stop(&mut self) -> i32 {
        self.remember();
        self.signal(Signal::SIGTERM);
        self.exit_code(STOP).await
    }

    /// Kills the agent (not init) with SIGKILL.
    pub async fn kill_agent(&mut self) -> i32 {
        let pid = self.agent_pid();
        let pid = pid.unwrap_or_else(|| panic!("init ({}) has no agent to be killed", self.pid()));
        processes::signal(pid, Signal::SIGKILL);
        pid
    }

    /// The agent, found from outside: init's child that runs the same program in the agent's role. None while init
    /// starts it again.
    pub fn agent_pid(&self) -> Option<i32> {
        let program = processes::program(self.pid());
        let is_agent = |pid: &i32| {
            let role = processes::command_line(*pid).split(' ').nth(1).map(str::to_owned);
            processes::program(*pid) == program && role.as_deref() == Some("agent")
        };
        processes::children(self.pid()).into_iter().find(is_agent)
    }

    /// The end of what the space said, for messages.
    pub fn told(&self) -> String {
        let tail = |path: &Path| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(40)..].join("\n")
        };
        format!("--- stdout\n{}\n--- stderr\n{}\n---", tail(&self.stdout), tail(&self.stderr))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.told());
        }
        let mut all = if self.ended().is_none() { processes::descendants(self.pid()) } else { BTreeSet::new() };
        if self.ended.is_none() {
            // Init first, or it would start the agent again.
            processes::kill_all([self.pid()]);
        }
        all.extend(processes::marked(&[&self.folder]));
        processes::kill_all(all);
        if self.ended.is_none() {
            let _ = self.child.wait();
        }
        processes::kill_all(processes::marked(&[&self.folder]));
    }
}
