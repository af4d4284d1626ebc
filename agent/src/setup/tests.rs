//! Steps as the agent sees them: prepared, run as a process of their own, and read. Real git, real Python, no network.

use super::*;
use space_lifecycle::{Blocks, OnFailure, StepKind};
use std::fs;
use std::io::BufRead;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

/// A temporary folder that goes with the test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("space-agent-test-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A space with one folder for everything.
struct Ground {
    folder: Folder,
    context: Context,
    /// What this one was copied from stays as long as somebody may copy it.
    _model: Option<Arc<Ground>>,
}

impl Ground {
    fn new(name: &str) -> Ground {
        let folder = Folder::new(name);
        let (home, about) = (folder.path().join("home"), fs::metadata(folder.path()).unwrap());
        fs::create_dir(&home).unwrap();
        let (uid, gid) = (about.uid(), about.gid());
        let shell = "/bin/bash".into();
        let context = Context {
            account: Account { name: "alice".into(), uid, gid, groups: vec![], home: home.clone(), shell },
            state: home.join(".space-agent"),
            steps_folder: folder.path().join("steps"),
            binary: std::env::current_exe().unwrap(),
            env: BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into()), ("HOME".into(), home.display().to_string())]),
            home,
        };
        Ground { folder, context, _model: None }
    }

    fn home(&self, path: &str) -> PathBuf {
        self.context.home.join(path)
    }

    fn start(&self, step: &Step) -> Worker {
        Worker::start(prepare(step, &self.context).unwrap())
    }

    fn run(&self, step: &Step) -> (StepOutcome, String) {
        let (exit, log) = self.start(step).end();
        (outcome(step, &self.context, &exit), log)
    }

    fn expect_done(&self, step: &Step) -> String {
        match self.run(step) {
            (StepOutcome::Done { .. }, log) => log,
            other => panic!("not done: {other:#?}"),
        }
    }

    fn expect_skipped(&self, step: &Step) -> String {
        match self.run(step) {
            (StepOutcome::Skipped { why }, _) => why,
            other => panic!("not skipped: {other:#?}"),
        }
    }

    fn expect_failed(&self, step: &Step) -> String {
        match self.run(step) {
            (StepOutcome::Failed { why }, _) => why,
            other => panic!("not failed: {other:#?}"),
        }
    }
}

/// The process of a step: this test program again, in the part of `space-agent step FOLDER`.
struct Worker {
    child: std::process::Child,
    lines: mpsc::Receiver<String>,
    log: String,
}

/// Long enough for a slow machine, and the end of a test that hangs.
const PATIENCE: Duration = Duration::from_secs(120);

impl Worker {
    #[allow(clippy::disallowed_methods, reason = "the test is init here, and waits for its child itself")]
    fn start(spec: ChildSpec) -> Worker {
        let mut command = std::process::Command::new(spec.program);
        command.args(["--exact", "setup::tests::worker", "--ignored", "--nocapture", "--test-threads=1"]);
        if fs::metadata("/proc/self").unwrap().uid() != spec.account.uid {
            command.uid(spec.account.uid).gid(spec.account.gid);
        }
        command.env_clear().envs(&spec.env).env("TEST_WORKER_FOLDER", &spec.args[1]).current_dir(spec.folder);
        let (reader, writer) = io::pipe().unwrap();
        command.stdin(std::process::Stdio::null()).stdout(writer.try_clone().unwrap()).stderr(writer);
        let child = command.spawn().unwrap();
        drop(command);
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            io::BufReader::new(reader).lines().map_while(Result::ok).try_for_each(|l| sender.send(l))
        });
        Worker { child, lines, log: String::new() }
    }

    /// Waits for a line that contains `mark`, or the end, or for `at_most`.
    fn wait_for(&mut self, mark: &str, at_most: Duration) {
        while let Ok(line) = self.lines.recv_timeout(at_most) {
            self.log += &format!("{line}\n");
            if line.contains(mark) {
                return;
            }
        }
    }

    /// How it ended. Its output ends only when every process that it started has ended too.
    fn end(mut self) -> (Exit, String) {
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.log += &format!("{line}\n");
        }
        let status = self.child.wait().unwrap();
        let exit = status.code().map_or_else(|| Exit::Signal(status.signal().unwrap()), Exit::Code);
        (exit, self.log)
    }

    /// Kills the worker alone, not its group: its helpers must follow it by themselves.
    fn kill(mut self) {
        self.child.kill().unwrap();
        let before = self.log.clone();
        let mut open = true;
        while open {
            match self.lines.recv_timeout(Duration::from_secs(10)) {
                Ok(_) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => open = false,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("a helper outlived its worker\n{before}"),
            }
        }
        self.child.wait().unwrap();
    }
}

/// Not a test: the worker's process, see [`Worker::start`].
#[test]
#[ignore = "the process of a worker, started by the tests"]
#[allow(clippy::disallowed_methods, reason = "a process that stands for `space-agent step` ends with its exit code")]
fn worker() {
    if let Some(folder) = std::env::var_os("TEST_WORKER_FOLDER") {
        std::process::exit(worker::main(Path::new(&folder)).into());
    }
}

fn step(kind: StepKind) -> Step {
    Step {
        on: space_lifecycle::Moment::Start,
        name: "deps".into(),
        kind,
        needs: vec![],
        blocks: Blocks::App,
        timeout: PATIENCE,
        on_failure: OnFailure::Abort,
        env: BTreeMap::new(),
    }
}

/// How many rounds of killing: few here, more with SPACE_TEST_ROUNDS.
fn rounds() -> usize {
    std::env::var("SPACE_TEST_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// A command that a test needs; its output.
fn sh(folder: &Path, script: &str) -> String {
    let output = std::process::Command::new("bash").args(["-euc", script]).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_step_s_folder_is_new_and_its_user_s_alone() {
    let ground = Ground::new("folder");
    let step = step(StepKind::Run("true".into()));
    let folder = ground.context.steps_folder.join("deps");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("result.json"), r#"{"done":{"why":null}}"#).unwrap();
    let spec = prepare(&step, &ground.context).unwrap();
    assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "only the order");
    assert_eq!(spec.args, ["step".to_owned(), folder.display().to_string()]);
    assert_eq!(spec.folder, ground.context.home);
}

#[test]
fn a_link_in_the_place_of_the_step_s_folder_is_removed_and_not_followed() {
    let ground = Ground::new("link");
    let precious = ground.folder.path().join("precious");
    fs::create_dir_all(precious.join("data")).unwrap();
    fs::create_dir_all(&ground.context.steps_folder).unwrap();
    symlink(&precious, ground.context.steps_folder.join("deps")).unwrap();
    prepare(&step(StepKind::Run("true".into())), &ground.context).unwrap();
    assert!(precious.join("data").is_dir() && !precious.join("step.json").exists());
}

#[test]
fn a_result_that_the_user_made_up_cannot_mislead() {
    let ground = Ground::new("result");
    let step = step(StepKind::Run("true".into()));
    prepare(&step, &ground.context).unwrap();
    let file = ground.context.steps_folder.join("deps/result.json");
    let outcome_of = |code| outcome(&step, &ground.context, &Exit::Code(code));
    let failed = |why: &str| StepOutcome::Failed { why: why.into() };
    fs::write(&file, r#"{"done":{"why":null}}"#).unwrap();
    assert_eq!(outcome_of(1), failed("the run step deps ended with exit code 1"));
    fs::write(&file, r#"{"failed":{"why":"no\u001b[31m luck"}}"#).unwrap();
    assert_eq!(outcome_of(0), StepOutcome::Done { why: None });
    assert_eq!(outcome_of(1), failed("no [31m luck"));
    fs::write(&file, vec![b'x'; 1 << 20]).unwrap();
    assert_eq!(outcome_of(0), StepOutcome::Done { why: None });
    fs::remove_file(&file).unwrap();
    symlink("/etc/passwd", &file).unwrap();
    assert_eq!(outcome_of(1), failed("the run step deps ended with exit code 1"));
    fs::remove_file(&file).unwrap();
    sh(file.parent().unwrap(), "mkfifo result.json");
    assert_eq!(outcome_of(0), StepOutcome::Done { why: None });
    let killed = outcome(&step, &ground.context, &Exit::Signal(9));
    assert_eq!(killed, failed("the run step deps was killed by signal 9 (SIGKILL)"));
}

const USER: (u32, u32) = (64_321, 64_322);

/// A ground whose user is not who runs the tests; only root can have that.
fn ground_of_another_user(name: &str) -> Option<Ground> {
    let mut ground = Ground::new(name);
    if ground.context.account.uid != 0 {
        eprintln!("not run: only root can become somebody else");
        return None;
    }
    ground.context.binary = ground.folder.path().join("program");
    // By another process: what this one has open for writing cannot be run while a test beside starts something.
    sh(ground.folder.path(), &format!("cp '{}' program", std::env::current_exe().unwrap().display()));
    (ground.context.account.uid, ground.context.account.gid) = USER;
    chown(&ground.context.home, Some(USER.0), Some(USER.1)).unwrap();
    Some(ground)
}

#[test]
fn a_root_agent_hands_the_step_over_to_its_user() {
    let Some(ground) = ground_of_another_user("hand-over") else { return };
    let script = "id -u; touch mine; ls \"$(dirname \"$0\")\"";
    let (outcome, log) = ground.run(&step(StepKind::Run(script.into())));
    assert_eq!(outcome, StepOutcome::Done { why: None }, "{log}");
    assert!(log.contains("64321\n") && log.contains("step.json\n"), "{log}");
    assert_eq!(fs::metadata(ground.home("mine")).unwrap().uid(), USER.0);
    let git = StepKind::Git { url: "file:///nowhere".into(), r#ref: None, into: "x".into() };
    assert!(ground.expect_failed(&step(git)).contains("there is no git repository"));
}

/// The user's step puts links wherever it may in the place of what the agent removes, makes, writes and gives away at
/// the next start. What they lead to stays as it is, and root's.
#[test]
fn a_root_agent_follows_no_link_that_the_user_has_placed() {
    let Some(ground) = ground_of_another_user("placed-link") else { return };
    let precious = ground.folder.path().join("precious");
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("step.json"), "root's").unwrap();
    fs::set_permissions(&precious, fs::Permissions::from_mode(0o700)).unwrap();
    let script = format!(
        "own=$(dirname \"$0\") precious={}
        for name in step.json result.json script; do ln -sf $precious/step.json \"$own/$name\" && echo placed; done
        ln -s $precious \"$own/folder\"
        mv \"$own\" \"$own.old\" || echo not moved
        ln -s $precious \"$(dirname \"$own\")/next\" || echo not beside",
        precious.display()
    );
    let first = step(StepKind::Run(script));
    let (outcome, log) = ground.run(&first);
    assert_eq!(outcome, StepOutcome::Done { why: None }, "{log}");
    assert_eq!(log.matches("placed\n").count(), 3, "{log}");
    assert!(log.contains("not moved\n") && log.contains("not beside\n"), "{log}");
    let next = Step { name: "next".into(), ..first.clone() };
    for again in [&first, &next, &first] {
        assert_eq!(ground.run(again).0, StepOutcome::Done { why: None });
    }
    for path in [&precious, &precious.join("step.json")] {
        assert_eq!(fs::symlink_metadata(path).unwrap().uid(), 0, "{}", path.display());
    }
    assert_eq!(fs::read_dir(&precious).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(precious.join("step.json")).unwrap(), "root's");
    let steps = fs::metadata(&ground.context.steps_folder).unwrap();
    assert_eq!((steps.uid(), steps.mode() & 0o777), (0, 0o711));
}

#[test]
fn a_steps_folder_of_somebody_else_or_behind_a_link_is_refused() {
    let ground = Ground::new("steps-folder");
    let step = step(StepKind::Run("true".into()));
    let (steps, elsewhere) = (&ground.context.steps_folder, ground.folder.path().join("elsewhere"));
    fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, steps).unwrap();
    let why = crate::sys::errors::chain(&prepare(&step, &ground.context).unwrap_err());
    assert_eq!(why, format!("cannot create {}: Not a directory (os error 20)", steps.display()));
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    if ground.context.account.uid == 0 {
        fs::remove_file(steps).unwrap();
        fs::create_dir(steps).unwrap();
        chown(steps, Some(USER.0), None).unwrap();
        prepare(&step, &ground.context).unwrap_err();
    }
}

#[test]
fn a_script_runs_in_the_home_with_its_environment_and_no_input() {
    let ground = Ground::new("run");
    let script = "# a comment first\r\n#!/bin/false\r\nset -eu\r\necho \"$PWD $GREETING\"\r\ncat\r\nexit 7";
    let mut step = step(StepKind::Run(script.into()));
    step.env.insert("GREETING".into(), "hello".into());
    let (outcome, log) = ground.run(&step);
    assert_eq!(outcome, StepOutcome::Failed { why: "the run step deps ended with exit code 7".into() });
    assert!(log.contains(&format!("{} hello\n", ground.context.home.display())), "{log}");
    step.kind = StepKind::Run("true".into());
    assert_eq!(ground.run(&step).0, StepOutcome::Done { why: None });
}

mod git;
mod python;
