//! An older agent goes on where a newer one was, and the other way round. Only where there is an older one:
//! `SPACE_TESTS_OLD_AGENT`, which tests/soak builds. (That its state is readable, a unit test of the snapshot shows.)

use crate::crash::{LONGEST_BACKOFF, servers};
use crate::documents::{LAB, jupyterlab};
use crate::upgrade::uninterrupted;
use nix::sys::signal::Signal;
use space_tests::command::copy_program;
use space_tests::jupyter::Jupyter;
use space_tests::places::{agent, figure};
use space_tests::processes;
use space_tests::space::{BOOT, Run, SOON, Space};
use space_tests::status::Status;
use space_tests::wait::wait_for;
use std::fs;
use std::path::{Path, PathBuf};

/// How the agent that runs comes to its end.
#[derive(Debug, Clone, Copy)]
enum By {
    Crash,
    Upgrade,
}

/// The older binary, if there is one.
fn older() -> Option<PathBuf> {
    let older = std::env::var_os("SPACE_TESTS_OLD_AGENT").map(PathBuf::from);
    if older.is_none() {
        println!("not told: SPACE_TESTS_OLD_AGENT names no older agent");
    }
    older
}

/// Puts a copy of `binary` at the path, as a package manager does: whoever runs the old file goes on with it.
fn install(binary: &Path, path: &Path) {
    let new = path.with_extension("new");
    copy_program(binary, &new);
    fs::rename(&new, path).unwrap();
}

/// The agent that follows is another one, and all else is as it was.
async fn replaced(run: &mut Run, by: By, before: &Status) -> Status {
    let old = before.agent_pid();
    match by {
        By::Crash => processes::signal(old, Signal::SIGKILL),
        By::Upgrade => run.signal(Signal::SIGUSR2),
    }
    let other = |status: &Status| match status.agent_pid() {
        pid if pid == old => Err("the agent is the same".to_owned()),
        _ => status.ready().map(|()| status.clone()),
    };
    let after = run.until(LONGEST_BACKOFF + SOON, "the agent's successor", other).await;
    assert_eq!((after.app_pid(), after.init_pid()), (before.app_pid(), before.init_pid()), "JupyterLab is another");
    assert_eq!(servers(run), [before.app_pid().unwrap()]);
    after
}

/// Begins with one release, goes on with the other, and comes back, while a cell counts.
async fn there_and_back(first: &Path, second: &Path, changes: [By; 2]) {
    let mut space = Space::empty();
    fs::create_dir(&space.home).unwrap();
    let environment = space.home.join(space_tests::space::ENVIRONMENT);
    std::os::unix::fs::symlink(space_tests::places::environment(), environment).unwrap();
    space.write(&jupyterlab());
    let binary = space.folder.join("space-agent");
    install(first, &binary);
    space.binary = binary.clone();
    let mut run = space.start();
    let mut status = run.ready().await;
    let mut jupyter = Jupyter::new(run.signed_in().await, LAB).await;
    let mut kernel = jupyter.session("count.ipynb").await;
    let code = "import os, time\nwith open('count', 'w') as f:\n  n = 0\n  while not os.path.exists('enough'):\n    \
                print(n, os.getpid(), time.monotonic(), file=f, flush=True)\n    n += 1\n    time.sleep(0.05)";
    kernel.begin(code).await;
    let count = space.home.join("count");
    wait_for(BOOT, "the cell to count", async || fs::metadata(&count)).await.unwrap();
    for (binary_now, by) in [second, first].into_iter().zip(changes) {
        install(binary_now, &binary);
        status = replaced(&mut run, by, &status).await;
        let runs = fs::read(format!("/proc/{}/exe", status.agent_pid())).unwrap();
        assert!(runs == fs::read(binary_now).unwrap(), "the agent runs another binary than {}", binary_now.display());
        // The session holds, and a new link signs in.
        assert_eq!(jupyter.kernels().await, [kernel.id.clone()]);
        run.signed_in_again().await.get(&format!("{LAB}api")).await.good("the second session");
    }
    fs::write(space.home.join("enough"), "").unwrap();
    let lines = uninterrupted(&fs::read_to_string(&count).unwrap());
    figure(&format!("{} to {} and back ({changes:?}): a cell counted on to {lines}", name(first), name(second)));
    drop(kernel);
    assert_eq!(run.stop().await, 0);
    space.assert_nothing_left();
}

fn name(binary: &Path) -> &'static str {
    if binary == agent() { "this release" } else { "the older release" }
}

#[tokio::test]
async fn a_space_of_the_older_release_goes_on_with_this_one_and_back() {
    let Some(older) = older() else { return };
    // The older init knows no upgrade.
    there_and_back(&older, &agent(), [By::Crash, By::Crash]).await;
}

#[tokio::test]
async fn a_space_of_this_release_goes_on_with_the_older_one_and_back() {
    let Some(older) = older() else { return };
    there_and_back(&agent(), &older, [By::Crash, By::Crash]).await;
}

#[tokio::test]
async fn a_space_of_this_release_is_downgraded_and_upgraded_by_a_signal() {
    let Some(older) = older() else { return };
    there_and_back(&agent(), &older, [By::Upgrade, By::Upgrade]).await;
}
