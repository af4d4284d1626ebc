//! Real containers of `image/jupyterlab`, run by podman: their own network, the agent under test mounted into them.
//!
//! A container has no network but its own loopback device, so the image's own document can stand (it listens on
//! 0.0.0.0:8888) and nobody else reaches it. Its front door is reached by a relay on a port of 127.0.0.1, whose
//! connections out are made inside the container's network.

use crate::client::{Client, whole};
use crate::command::{self, Done};
use crate::places;
use crate::space::{BOOT, SOON};
use crate::status::Status;
use crate::wait::wait_for;
use hyper::Method;
use nix::sched::{CloneFlags, setns};
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The image that `tests/run` builds.
const IMAGE: &str = "localhost/space-tests";
/// Where the image's document has the home.
pub const HOME: &str = "/home/sagemaker-user";
/// Where the image's document has the front door.
const PORT: u16 = 8888;
/// A container's JupyterLab is found on no warm disk cache, and several start at a time.
const READY: Duration = BOOT.saturating_mul(2);

/// Says why containers can't be tested here, if they can't. Where CI is set, they must be.
pub fn cannot_run() -> Option<String> {
    let folder = places::containers();
    if folder.join("stamp").is_file() {
        return None;
    }
    let why = fs::read_to_string(folder.join("why-not")).unwrap_or_else(|_| "run tests/run first".to_owned());
    let why = format!("containers cannot be tested here: {}", why.trim());
    assert!(std::env::var_os("CI").is_none(), "{why}");
    eprintln!("not run: {why}");
    Some(why)
}

/// A container that runs. Dropping it removes it.
#[derive(Debug)]
pub struct Container {
    name: String,
    /// What is mounted as its home, on this side.
    pub home: PathBuf,
    /// Init, as this side sees it.
    pub pid: i32,
    /// On this side.
    pub port: u16,
    relay: JoinHandle<()>,
}

/// A new folder to be mounted as a home: it belongs to uid 1000 and to group 0, with the same rights, as platforms
/// prepare a volume.
fn volume(name: &str) -> PathBuf {
    let home = std::env::temp_dir().join(name);
    fs::create_dir(&home).unwrap_or_else(|error| panic!("cannot make {}: {error}", home.display()));
    chown(&home, Some(1000), Some(0)).expect("root gives folders away");
    fs::set_permissions(&home, fs::Permissions::from_mode(0o2775)).expect("it is our folder");
    home
}

impl Container {
    /// Runs the image as it is, with further arguments for `podman run`.
    pub async fn start(arguments: &[&str]) -> Container {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("space-tests-c{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let home = volume(&name);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("a listening socket has an address").port();
        let [agent, mounted] = [places::agent(), home.clone()].map(|path| path.display().to_string());
        let agent = format!("{agent}:/usr/local/bin/space-agent:ro");
        let mounted = format!("{mounted}:{HOME}");
        let mut all = vec!["run", "--detach", "--name", &name, "--network=none", "-v", &agent, "-v", &mounted];
        all.extend(arguments);
        all.push(IMAGE);
        // Made before it runs: what is half started is removed too.
        let mut container = Container { home, pid: 0, port, relay: tokio::spawn(async {}), name: name.clone() };
        podman(&all, BOOT).await;
        let pid = podman(&["inspect", "--format", "{{.State.Pid}}", &name], SOON).await;
        container.pid = pid.trim().parse().unwrap_or_else(|_| panic!("it has ended:\n{}", container.logs()));
        container.relay = tokio::spawn(relay(listener, container.pid));
        container
    }

    /// Runs a command in the container, as its user.
    pub async fn exec(&self, words: &[&str]) -> Done {
        let mut all = vec!["exec", &self.name];
        all.extend(words);
        command::run(command(&all), BOOT).await
    }

    pub async fn status(&self) -> Result<Status, String> {
        let done = self.exec(&["space-agent", "status", "--json"]).await;
        let status = serde_json::from_str(&done.stdout);
        status.map(Status).map_err(|error| format!("no status ({error}): {}{}", done.stdout, done.stderr))
    }

    /// Waits until all apps are ready: asks the front door, since each look by `exec` costs three processes.
    pub async fn ready(&self) -> Status {
        let found = wait_for(READY, "the space to be ready", async || {
            let mut client = Client::new(self.port);
            let answer = client.try_send(Method::GET, "/_space/readyz", &[], whole("")).await?;
            if answer.status.is_success() { Ok(()) } else { Err(answer.text()) }
        });
        let ready = async { found.await.map(|()| self.status())?.await };
        ready.await.unwrap_or_else(|seen| panic!("{seen}\n{}", self.logs()))
    }

    /// Someone who has signed in with a link that was asked for inside.
    pub async fn signed_in(&self) -> Client {
        let link = self.exec(&["space-agent", "sign-in"]).await;
        assert_eq!(link.code(), 0, "{}", link.stderr);
        let mut client = Client::new(self.port);
        // The link names the front door as it is inside.
        let link = link.stdout.trim().replace(&format!("http://127.0.0.1:{PORT}"), &client.origin());
        client.sign_in(&link).await;
        assert!(!client.cookies.is_empty(), "the link set no cookie");
        client
    }

    /// Stops it as a platform does, with this grace before SIGKILL. Returns init's exit code and how long it took.
    pub async fn stop(&self, grace: Duration) -> (i32, Duration) {
        let begin = tokio::time::Instant::now();
        podman(&["stop", "--time", &grace.as_secs().to_string(), &self.name], grace + SOON).await;
        let took = begin.elapsed();
        let code = podman(&["inspect", "--format", "{{.State.ExitCode}}", &self.name], SOON).await;
        (code.trim().parse().expect("an exit code"), took)
    }

    /// Files that it has added to its image and left there, home and logs aside.
    pub async fn leftovers(&self) -> Vec<String> {
        let diff = podman(&["diff", &self.name], SOON).await;
        let added = diff.lines().filter_map(|line| line.strip_prefix("A "));
        // podman's own mount points, and the folders that the logs are in.
        let files = added.filter(|path| path.starts_with("/tmp/") && !path.contains("/log"));
        files.filter(|path| path.matches('/').count() > 3).map(str::to_owned).collect()
    }

    /// What it has logged, for messages.
    pub fn logs(&self) -> String {
        let output = command(&["logs", "--tail", "40", &self.name]).output();
        output
            .map(|output| {
                [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat()
            })
            .unwrap_or_else(|error| error.to_string())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.relay.abort();
        if std::thread::panicking() {
            eprintln!("--- the container's log\n{}\n---", self.logs());
        }
        let _ = command(&["rm", "--force", "--time", "0", &self.name]).output();
        let _ = fs::remove_dir_all(&self.home);
    }
}

/// podman with the storage and the settings of the tests.
fn command(words: &[&str]) -> Command {
    let folder = places::containers();
    let mut command = Command::new("podman");
    command.env("CONTAINERS_CONF", folder.join("containers.conf"));
    command.env("CONTAINERS_STORAGE_CONF", folder.join("storage.conf"));
    // When memory runs out, podman's monitor leaves a file `oom` where it was started.
    command.args(words).current_dir(folder);
    command
}

/// Runs podman to a good end and returns what it printed.
async fn podman(words: &[&str], deadline: Duration) -> String {
    let done = command::run(command(words), deadline).await;
    assert!(done.status.success(), "podman {words:?}: {}\n{}", done.status, done.stderr);
    done.stdout
}

/// Passes every connection on to the front door inside, until it is aborted.
async fn relay(listener: TcpListener, pid: i32) {
    while let Ok((mut outside, _)) = listener.accept().await {
        tokio::spawn(async move {
            if let Ok(mut inside) = connect_inside(pid).await {
                let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
            }
        });
    }
}

/// A connection belongs to the network in which it was made. A thread that went into another one never comes back.
async fn connect_inside(pid: i32) -> std::io::Result<TcpStream> {
    let connect = move || {
        setns(File::open(Path::new("/proc").join(pid.to_string()).join("ns/net"))?, CloneFlags::CLONE_NEWNET)?;
        std::net::TcpStream::connect(("127.0.0.1", PORT))
    };
    let thread = std::thread::spawn(connect);
    let joined = tokio::task::spawn_blocking(move || thread.join()).await.expect("joining does not panic");
    let stream = joined.expect("connecting does not panic")?;
    stream.set_nonblocking(true)?;
    TcpStream::from_std(stream)
}
