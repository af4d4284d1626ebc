//! init alone: the real one, above an agent that the stories tell what to do (tests/src/bin/init-part.rs), and the whole
//! program as the first process of a PID namespace.

use crate::documents::script;
use nix::sys::signal::Signal;
use space_tests::command::{copy_program, put_script, spawn};
use space_tests::places::{agent, figure, full};
use space_tests::processes;
use space_tests::space::{BOOT, SOON, STOP, free_port};
use space_tests::wait::wait_for;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Everything in a PID namespace of its own, init its first process.
const NAMESPACE: &[&str] = &["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];

/// An init with its folder. Dropping it ends it at once.
struct Init {
    folder: PathBuf,
    process: Child,
    namespace: bool,
}

fn new_folder() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("space-tests-init{}-{number:03}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    folder
}

impl Init {
    /// `init-part run` with an agent of this kind.
    fn start(wrapper: &[&str], mode: &[&str]) -> Init {
        let folder = new_folder();
        let program = folder.join("part");
        copy_program(Path::new(env!("CARGO_BIN_EXE_init-part")), &program);
        let mut args = vec!["run".to_owned(), folder.display().to_string()];
        args.extend(mode.iter().map(|word| (*word).to_owned()));
        Init::start_in(&folder, wrapper, &program, &args)
    }

    fn start_in(folder: &Path, wrapper: &[&str], program: &Path, args: &[String]) -> Init {
        let namespace = wrapper.first() == Some(&"unshare");
        // Whoever runs the tests in the background has them ignore SIGINT, which init would respect.
        let mut words = vec!["env", "--default-signal=INT,HUP,QUIT"];
        words.extend(wrapper);
        if namespace && !nix::unistd::geteuid().is_root() {
            words.push("--map-root-user");
        }
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .arg(program)
            .args(args)
            .current_dir(folder)
            .env("SPACE_AGENT_RUN", folder.join("run"));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(File::create(folder.join("stderr")).unwrap());
        Init { folder: folder.to_owned(), process: spawn(&mut command).unwrap(), namespace }
    }

    async fn pid(&self) -> i32 {
        let pid = self.process.id().cast_signed();
        if !self.namespace {
            return pid;
        }
        let first = async || processes::children(pid).first().copied().ok_or("not there");
        wait_for(SOON, "the namespace's first process", first).await.unwrap()
    }

    async fn signal(&self, signal: Signal) {
        processes::signal(self.pid().await, signal);
    }

    fn log(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn stderr(&self) -> String {
        fs::read_to_string(self.folder.join("stderr")).unwrap_or_default()
    }

    /// Waits until the agent has logged so many lines, and returns the last of them.
    async fn line(&self, number: usize) -> String {
        self.line_within(number, SOON).await
    }

    async fn line_within(&self, number: usize, deadline: Duration) -> String {
        let line = async || {
            let log = self.log();
            log.get(number - 1).cloned().ok_or_else(|| format!("the log is {log:?}\n{}", self.stderr()))
        };
        wait_for(deadline, &format!("line {number} of the log"), line).await.unwrap_or_else(|seen| panic!("{seen}"))
    }

    fn enough(&self) {
        fs::write(self.folder.join("enough"), "").unwrap();
    }

    async fn end(&mut self, deadline: Duration) -> ExitStatus {
        let ended = async || self.process.try_wait().unwrap().ok_or("it runs");
        let ended = wait_for(deadline, "init to end", ended).await;
        ended.unwrap_or_else(|seen| panic!("{seen}\n{:?}\n{}", self.log(), self.stderr()))
    }

    async fn exit_code(&mut self, deadline: Duration) -> i32 {
        let status = self.end(deadline).await;
        status.code().unwrap_or_else(|| panic!("init was killed: {status}"))
    }

    #[track_caller]
    fn assert_nothing_running(&self) {
        let left: Vec<_> = processes::marked(&[&self.folder]).into_iter().map(processes::command_line).collect();
        assert_eq!(left, Vec::<String>::new(), "init has left something");
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        // An agent or a child that has forked meanwhile is found by the second look.
        for _ in 0..2 {
            processes::kill_all(processes::marked(&[&self.folder]));
        }
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

#[tokio::test]
async fn the_agents_exit_code_passes_through_init_and_any_other_end_is_a_crash() {
    for code in ["0", "1", "2", "3", "4", "5", "78"] {
        let mut init = Init::start(&[], &["exit", code]);
        assert_eq!(init.exit_code(SOON).await.to_string(), code);
        assert_eq!(init.log(), ["hello starts=1 stops=0"]);
    }
    for mode in [&["exit", "101"][..], &["exit", "139"], &["exit", "75"], &["kill"]] {
        let mut init = Init::start(&[], mode);
        assert_eq!(init.exit_code(SOON).await, 5, "{mode:?} is no crash");
        assert_eq!(init.log(), ["hello starts=1 stops=0", "clean-up starts=2 stops=0"], "{mode:?}");
    }
}

#[tokio::test]
async fn each_signal_arrives_once_as_what_it_means() {
    let mut init = Init::start(NAMESPACE, &["tell"]);
    assert_eq!(init.line(1).await, "hello starts=1 stops=0");
    let child = init.line(2).await;
    // To the first process of a namespace these mean nothing.
    for signal in [Signal::SIGUSR1, Signal::SIGWINCH, Signal::SIGCONT, Signal::SIGALRM, Signal::SIGPIPE] {
        init.signal(signal).await;
    }
    let mut told = vec!["hello starts=1 stops=0".to_owned(), child.clone()];
    for (signal, lines) in [
        (Signal::SIGHUP, vec!["reload".to_owned()]),
        (Signal::SIGUSR2, vec!["replace".to_owned(), format!("hello starts=2 stops=0 {child}")]),
        (Signal::SIGHUP, vec!["reload".to_owned()]),
        (Signal::SIGTERM, vec!["stop 1".to_owned()]),
        (Signal::SIGINT, vec!["stop 2".to_owned()]),
        (Signal::SIGQUIT, vec!["stop 3".to_owned()]),
        // Whoever ends is not replaced.
        (Signal::SIGUSR2, vec![]),
        (Signal::SIGTERM, vec!["stop 4".to_owned()]),
    ] {
        init.signal(signal).await;
        told.extend(lines);
        init.line(told.len()).await;
    }
    init.enough();
    assert_eq!(init.exit_code(SOON).await, 0);
    assert_eq!(init.log(), told);
    init.assert_nothing_running();
}

#[tokio::test]
async fn in_a_terminal_ctrl_c_arrives_once_and_a_hangup_is_a_stop() {
    let folder = new_folder();
    let part = env!("CARGO_BIN_EXE_init-part");
    let command = format!("exec {part} run {} tell", folder.display());
    let args = ["-qec".to_owned(), command, "/dev/null".to_owned()];
    let mut init = Init::start_in(&folder, &[], Path::new("script"), &args);
    let child: i32 = init.line(2).await.strip_prefix("child=").unwrap().parse().unwrap();
    let pid = processes::children(init.pid().await)[0];
    let agent = processes::children(pid).into_iter().find(|process| *process != child).unwrap();
    let group = |pid| nix::unistd::getpgid(Some(nix::unistd::Pid::from_raw(pid))).unwrap().as_raw();
    assert_eq!([pid, agent, child].map(group), [pid, agent, child], "each has a group of its own");

    init.process.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
    assert_eq!(init.line(3).await, "stop 1");
    processes::signal(pid, Signal::SIGHUP);
    assert_eq!(init.line(4).await, "stop 2");
    init.enough();
    assert_eq!(init.exit_code(SOON).await, 0);
    assert_eq!(init.log().len(), 4);
    init.assert_nothing_running();
}

/// Puts what `make` makes at the path of init's program, as an upgrade does: beside it first, then over it at once.
fn put(init: &Init, make: impl FnOnce(&Path)) {
    let new = init.folder.join("part.new");
    make(&new);
    fs::rename(&new, init.folder.join("part")).unwrap();
}

/// Makes a file.
type Make = Box<dyn Fn(&Path)>;

fn copy_of(path: &str) -> impl Fn(&Path) {
    let path = PathBuf::from(path);
    move |new| copy_program(&path, new)
}

#[tokio::test]
async fn an_upgrade_changes_the_agent_and_a_broken_one_changes_nothing() {
    let mut init = Init::start(&[], &["tell"]);
    let child = init.line(2).await;
    let (mut lines, mut starts) = (2, 1);
    for _ in 0..3 {
        put(&init, copy_of(env!("CARGO_BIN_EXE_init-part")));
        init.signal(Signal::SIGUSR2).await;
        (lines, starts) = (lines + 2, starts + 1);
        assert_eq!(init.line(lines).await, format!("hello starts={starts} stops=0 {child}"));
        let agents = processes::children(init.pid().await).into_iter();
        let programs: Vec<_> = agents.filter_map(processes::program).collect();
        assert!(programs.contains(&init.folder.join("part")), "the agent does not run the new binary: {programs:?}");
    }

    let broken: [(&str, Make); 4] = [
        ("permission denied", Box::new(|new| fs::write(new, "").unwrap())),
        ("exec format error", Box::new(|new| put_script(new, "no program"))),
        ("ended with exit code 1", Box::new(copy_of("/bin/false"))),
        ("was killed by signal 11", Box::new(|new| put_script(new, "#!/bin/sh\nkill -SEGV $$\n"))),
    ];
    for (why, make) in broken {
        put(&init, make);
        init.signal(Signal::SIGUSR2).await;
        // It hands over, the broken one is started, and then the one that works.
        (lines, starts) = (lines + 2, starts + 2);
        assert_eq!(init.line(lines).await, format!("hello starts={starts} stops=0 {child}"), "{why}");
        let told = init.stderr();
        let last = told.lines().last().unwrap_or_default();
        assert!(last.contains(why) && last.contains("going on with the agent that init was started as"), "{told}");
    }
    fs::remove_file(init.folder.join("part")).unwrap();
    init.signal(Signal::SIGUSR2).await;
    (lines, starts) = (lines + 2, starts + 2);
    assert_eq!(init.line(lines).await, format!("hello starts={starts} stops=0 {child}"));
    assert!(init.stderr().contains("no such file or directory"), "{}", init.stderr());

    init.enough();
    assert_eq!(init.exit_code(SOON).await, 0);
    init.assert_nothing_running();
}

#[tokio::test]
async fn a_new_agent_is_introduced_to_more_children_than_a_sockets_buffer_holds() {
    let mut init = Init::start(&[], &["crowd", "700"]);
    init.line_within(701, BOOT).await;
    let mut children: Vec<String> = init.log().split_off(1);
    init.signal(Signal::SIGUSR2).await;
    let hello = init.line(703).await;
    let mut known: Vec<&str> = hello.split(' ').skip(3).collect();
    known.sort_unstable();
    children.sort_unstable();
    assert_eq!(known, children);
    init.enough();
    assert_eq!(init.exit_code(SOON).await, 0);
    init.assert_nothing_running();
}

#[tokio::test]
async fn an_agent_of_the_first_release_is_told_only_what_it_knows_and_upgraded_by_its_end() {
    let mut init = Init::start(&[], &["tell", "first"]);
    assert_eq!(init.line(1).await, "hello starts=1 stops=0");
    init.signal(Signal::SIGHUP).await;
    init.signal(Signal::SIGTERM).await;
    assert_eq!(init.line(2).await, "stop 1");
    init.signal(Signal::SIGUSR2).await;
    assert_eq!(init.line(3).await, "hello starts=2 stops=1");
    init.enough();
    assert_eq!(init.exit_code(SOON).await, 0);
    assert_eq!(init.log().len(), 3, "{:?}", init.log());
}

#[tokio::test]
async fn an_agent_that_hangs_when_it_is_asked_to_stop_is_killed_and_followed_by_one_that_knows() {
    let mut init = Init::start(&[], &["deaf"]);
    init.line(1).await;
    let begin = tokio::time::Instant::now();
    init.signal(Signal::SIGTERM).await;
    // The stories' agents allow no crash: the last one cleans up, and knows of the stop.
    assert_eq!(init.line_within(2, STOP).await, "clean-up starts=2 stops=1");
    assert!(begin.elapsed() > Duration::from_secs(9), "it had {:?} to answer", begin.elapsed());
    assert_eq!(init.exit_code(SOON).await, 5);
}

#[tokio::test]
async fn init_ends_by_itself_what_does_not_end_in_the_time_that_the_agent_had_said() {
    let stubborn = "trap '' TERM HUP; (setsid sleep 3600 &); while :; do setsid sleep 3600 & sleep 0.01; done";
    for wrapper in [&[], NAMESPACE] {
        let mut init = Init::start(wrapper, &["promise", "400", "4", stubborn]);
        assert_eq!(init.line(2).await, "promised");
        let begin = tokio::time::Instant::now();
        assert_eq!(init.exit_code(SOON).await, 4);
        let took = begin.elapsed();
        init.assert_nothing_running();
        assert!(took > Duration::from_millis(400) && took < Duration::from_secs(3), "it took {took:?}");
    }
}

#[tokio::test]
async fn many_children_at_once_each_end_with_their_own_exit_code() {
    let (total, alive) = if full() { ("10000", "2000") } else { ("500", "100") };
    let mut init = Init::start(NAMESPACE, &["children", total, alive, alive]);
    init.line(1).await;
    let pid = init.pid().await;
    let open = || fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    let (descriptors, memory) = (open(), processes::resident(pid).unwrap_or(0));
    let begin = tokio::time::Instant::now();
    assert_eq!(init.line_within(2, Duration::from_secs(300)).await, format!("right={total} most={alive}"));
    let took = begin.elapsed().as_secs_f64();
    assert!(open() <= descriptors, "init had {descriptors} descriptors, and now {}", open());
    let more = processes::resident(pid).unwrap_or(0).saturating_sub(memory);
    figure(&format!(
        "{total} children, {alive} at once, in {took:.1} s: {total} right exit codes, init has {more} kB more"
    ));
    init.enough();
    assert_eq!(init.exit_code(SOON).await, 0);
}

#[tokio::test]
async fn children_for_which_there_is_no_room_are_started_when_there_is() {
    if !nix::unistd::geteuid().is_root() {
        println!("not here: only root can become a user who may have just four processes");
        return;
    }
    let user = ["setpriv", "--reuid=61234", "--regid=61234", "--clear-groups", "prlimit", "--nproc=4:4"];
    let folder = new_folder();
    let part = folder.join("part");
    copy_program(Path::new(env!("CARGO_BIN_EXE_init-part")), &part);
    std::os::unix::fs::chown(&folder, Some(61_234), Some(61_234)).unwrap();
    let args = ["run", folder.to_str().unwrap(), "children", "40", "40", "1"].map(str::to_owned);
    let mut init = Init::start_in(&folder, &user, &part, &args);
    assert_eq!(init.line_within(2, Duration::from_secs(60)).await, "right=40 most=1");
    init.enough();
    assert_eq!(init.exit_code(SOON).await, 0);
}

#[tokio::test]
async fn an_agent_for_which_there_is_no_room_is_started_when_there_is() {
    if !nix::unistd::geteuid().is_root() {
        println!("not here: only root can become a user who may have just one process");
        return;
    }
    let user = ["setpriv", "--reuid=61235", "--regid=61235", "--clear-groups", "prlimit", "--nproc=1:50"];
    let folder = new_folder();
    let part = folder.join("part");
    copy_program(Path::new(env!("CARGO_BIN_EXE_init-part")), &part);
    std::os::unix::fs::chown(&folder, Some(61_235), Some(61_235)).unwrap();
    let args = ["run", folder.to_str().unwrap(), "exit", "3"].map(str::to_owned);
    let mut init = Init::start_in(&folder, &user, &part, &args);
    let no_room = async || init.stderr().contains("there is no room to start the agent").then_some(()).ok_or("no word");
    wait_for(SOON, "init to say that there is no room", no_room).await.unwrap();
    let pid = init.pid().await.to_string();
    let mut more = Command::new("setpriv");
    more.args(["--reuid=61235", "--regid=61235", "--clear-groups", "prlimit", "--nproc=50:50", "--pid", &pid]);
    assert_eq!(space_tests::command::run(more, SOON).await.code(), 0);
    assert_eq!(init.exit_code(SOON).await, 3);
    assert_eq!(init.stderr().lines().count(), 1, "{}", init.stderr());
}

#[tokio::test]
async fn fifty_thousand_orphans_leave_no_zombie() {
    let orphans = if full() { 50_000 } else { 2_000 };
    let folder = new_folder();
    fs::create_dir(folder.join("home")).unwrap();
    // Each subshell leaves fifty children behind: all are init's to reap, and nobody waits for them.
    let lines = format!(
        "i=0\nwhile [ $i -lt {orphans} ]; do\n(j=0; while [ $j -lt 50 ]; do : & j=$((j+1)); done)\ni=$((i+50))\n\
         done\ntouch made\nsleep 3600"
    );
    let document = format!(
        "version: 1\nspace: {{ name: orphans }}\nstorage: {{ home: {{ directory: ./home }} }}\n\
         front_door: {{ listen: \"127.0.0.1:{}\" }}\napps: []\nstop: {{ deadline: 3s }}\n{}",
        free_port(),
        script("orphans", &lines)
    );
    fs::write(folder.join("space.yaml"), document).unwrap();
    let mut init = Init::start_in(&folder, NAMESPACE, &agent(), &["run".to_owned(), "space.yaml".to_owned()]);
    let begin = tokio::time::Instant::now();
    let made = async || fs::metadata(folder.join("home/made")).map_err(|_| init.stderr());
    wait_for(BOOT * 3, "the orphans to be made", made).await.unwrap();
    let took = begin.elapsed().as_secs_f64();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let zombies = processes::zombies(init.pid().await);
    assert_eq!(zombies, Vec::<i32>::new(), "zombies one second later");
    figure(&format!("{orphans} orphans in {took:.1} s: no zombie one second later"));
    init.signal(Signal::SIGTERM).await;
    assert_eq!(init.exit_code(STOP).await, 0);
    init.assert_nothing_running();
}
