//! Crashes: the agent is killed at any moment and the space lives on; init is killed and nothing is left behind.

use crate::documents::{ECHO, LAB, echo_with, jupyterlab, script};
use nix::sys::signal::Signal;
use space_tests::jupyter::Jupyter;
use space_tests::places::{figure, full};
use space_tests::processes;
use space_tests::space::{BOOT, Run, SOON, Space};
use space_tests::wait::wait_for;
use std::fs;
use std::time::Duration;

const MAY_CRASH_OFTEN: &str = "agent: { restart: { max: 50, within: 10m } }\n";

/// Init starts an agent that crashes again and again after 0, 1, 2, 4 … 60 s, and up to a quarter more.
pub(crate) const LONGEST_BACKOFF: Duration = Duration::from_secs(75);

/// The JupyterLab servers that run in a space: not their kernels, nor a child that a server is just forking.
pub(crate) fn servers(run: &Run) -> Vec<i32> {
    let is_server = |pid: &i32| {
        let line = processes::command_line(*pid);
        line.contains("jupyter-lab") || line.contains("-m jupyterlab")
    };
    let parents = processes::parents();
    let all: Vec<i32> = processes::descendants(run.pid()).into_iter().filter(is_server).collect();
    all.iter().copied().filter(|pid| parents.get(pid).is_some_and(|parent| !all.contains(parent))).collect()
}

#[tokio::test]
async fn an_agent_that_is_killed_during_the_boot_is_followed_by_one_that_goes_on() {
    // A boot takes about a second for the step and two to four for JupyterLab.
    let moments: Vec<u64> = if full() { (0..10).map(|n| 20 + n * 450).collect() } else { vec![400, 1800] };
    let mut recovered = 0;
    for &moment in &moments {
        let step = script("prepare", "echo begin >> prepared\nsleep 1\necho end >> prepared");
        let mut space = Space::new(&(step + &jupyterlab() + MAY_CRASH_OFTEN));
        let mut run = space.start();
        tokio::time::sleep(Duration::from_millis(moment)).await;
        let killed = wait_for(SOON, "an agent to kill", async || run.agent_pid().ok_or("none yet")).await.unwrap();
        processes::signal(killed, Signal::SIGKILL);
        let status = run.ready_never_two(BOOT, servers).await;
        assert_ne!(status.agent_pid(), killed, "killed {moment} ms after the start");
        assert_eq!(status.agent_starts(), 2, "killed {moment} ms after the start");
        let prepared = fs::read_to_string(space.home.join("prepared")).unwrap();
        assert_eq!(prepared, "begin\nend\n", "the step ran not once, killed {moment} ms after the start");
        assert_eq!(servers(&run), [status.app_pid().unwrap()], "killed {moment} ms after the start");
        assert_eq!(run.stop().await, 0);
        space.assert_nothing_left();
        recovered += 1;
    }
    figure(&format!("the agent was killed at {} moments of the boot: {recovered} were ready again", moments.len()));
}

#[tokio::test]
async fn an_agent_that_is_killed_while_a_cell_counts_is_not_missed_by_the_cell() {
    let kills: u32 = if full() { 10 } else { 2 };
    let mut space = Space::new(&(jupyterlab() + MAY_CRASH_OFTEN));
    let mut run = space.start();
    let status = run.ready().await;
    let (server, init) = (status.app_pid().unwrap(), status.init_pid());
    let client = run.signed_in().await;
    let mut jupyter = Jupyter::new(client, LAB).await;
    let mut kernel = jupyter.session("count.ipynb").await;
    let code = "import os, time\nwith open('count', 'w') as f:\n  n = 0\n  while not os.path.exists('enough'):\n    \
                print(n, os.getpid(), time.monotonic(), file=f, flush=True)\n    print(n)\n    n += 1\n    time.sleep(0.05)";
    let request = kernel.begin(code).await;
    let count = space.home.join("count");
    let counts =
        async || fs::read_to_string(&count).is_ok_and(|text| text.lines().count() > 5).then_some(()).ok_or("not yet");
    wait_for(BOOT, "the cell to count", counts).await.unwrap();

    let mut slowest = Duration::ZERO;
    for number in 1..=kills {
        tokio::time::sleep(Duration::from_millis(u64::from(number * 137 % 400))).await;
        let killed = run.kill_agent().await;
        let begin = tokio::time::Instant::now();
        let status = run.ready_never_two(LONGEST_BACKOFF + BOOT, servers).await;
        slowest = slowest.max(begin.elapsed());
        assert_ne!(status.agent_pid(), killed);
        assert_eq!((status.app_pid(), status.init_pid()), (Some(server), init), "JupyterLab was not adopted");
        assert_eq!(status.agent_starts(), u64::from(number) + 1);
        // The session holds, the kernel is the same, and a new WebSocket gets what it says.
        assert_eq!(jupyter.kernels().await, [kernel.id.clone()]);
    }
    drop(kernel);
    fs::write(space.home.join("enough"), "").unwrap();
    let _ = request;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let lines: Vec<Vec<f64>> = fs::read_to_string(&count)
        .unwrap()
        .lines()
        .map(|line| line.split(' ').map(|field| field.parse().unwrap()).collect())
        .collect();
    for pair in lines.windows(2) {
        assert_eq!((pair[1][0], pair[1][1]), (pair[0][0] + 1.0, pair[0][1]), "the count has a gap or another kernel");
        assert!(pair[1][2] - pair[0][2] < 2.0, "the cell stood still for {} s", pair[1][2] - pair[0][2]);
    }
    let id = jupyter.kernels().await.remove(0);
    let mut kernel = jupyter.connect(&id).await;
    assert_eq!(kernel.execute("print(n > 5)", SOON).await, "True\n");
    figure(&format!(
        "the agent was killed {kills} times while a cell counted to {}: no gap, JupyterLab kept its pid, ready again \
         after at most {} ms (most of that init's growing pause between crashes)",
        lines.len(),
        slowest.as_millis()
    ));
    assert_eq!(run.stop().await, 0);
    space.assert_nothing_left();
}

#[tokio::test]
async fn an_agent_that_crashes_too_often_ends_the_space_with_5() {
    let mut space = Space::new(&(echo_with("") + "agent: { restart: { max: 2, within: 10m } }\n"));
    let mut run = space.start();
    run.ready().await;
    for _ in 0..10 {
        if run.ended().is_some() {
            break;
        }
        if let Some(pid) = run.agent_pid() {
            processes::signal(pid, Signal::SIGKILL);
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(run.exit_code(SOON).await, 5);
    space.assert_nothing_running();
}

#[tokio::test]
async fn when_init_is_killed_its_children_go_and_the_next_start_ends_the_rest() {
    let mut space = Space::new(&echo_with("daemon"));
    let mut run = space.start();
    let status = run.ready().await;
    let (agent, app) = (status.agent_pid(), status.app_pid().unwrap());
    let all = run.remember().clone();
    let daemons: Vec<i32> = all.into_iter().filter(|pid| processes::command_line(*pid) == "sleep 3600").collect();
    assert_eq!(daemons.len(), 1);
    processes::signal(run.pid(), Signal::SIGKILL);
    let gone = async || match [agent, app].into_iter().find(|&pid| processes::alive(pid)) {
        Some(pid) => Err(format!("{pid} lives: {}", processes::command_line(pid))),
        None => Ok(()),
    };
    wait_for(SOON, "agent and app to end after init", gone).await.unwrap();
    run.end(SOON).await;

    // Whatever made its own session may have outlived it all; the next start ends it, and comes up.
    let mut again = space.start();
    let status = again.ready().await;
    assert!(!processes::alive(daemons[0]), "what was left by the last run still runs");
    assert_ne!(status.app_pid(), Some(app));
    let mut client = again.signed_in().await;
    client.get(&format!("{ECHO}x")).await.good("the echo");
    assert_eq!(again.stop().await, 0);
    space.assert_nothing_left();
}

#[tokio::test]
async fn a_boot_that_is_killed_with_everything_leaves_a_space_that_starts() {
    let moments: &[u64] = if full() { &[10, 50, 100, 200, 400, 700, 1000, 1500, 2000, 3000] } else { &[60, 700] };
    let step = script("prepare", "sleep 0.5; touch prepared");
    let mut space = Space::new(&(step + &jupyterlab()));
    for &moment in moments {
        let mut run = space.start();
        tokio::time::sleep(Duration::from_millis(moment)).await;
        // As a machine that loses power does it: nobody gets a chance to clean up.
        let all = run.remember().clone();
        processes::kill_all(all);
        run.end(SOON).await;
    }
    let mut run = space.start();
    run.ready().await;
    assert_eq!(servers(&run).len(), 1);
    assert_eq!(run.stop().await, 0);
    space.assert_nothing_left();
}
