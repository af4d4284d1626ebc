//! The agent is replaced while people work: by a crash or by its next version, nothing of theirs notices.

use crate::crash::{LONGEST_BACKOFF, servers};
use crate::documents::{LAB, jupyterlab};
use crate::supervision::small_app;
use nix::sys::signal::Signal;
use space_tests::client::Client;
use space_tests::jupyter::Jupyter;
use space_tests::places::{figure, full};
use space_tests::prober::{Knock, Prober};
use space_tests::space::{BOOT, Run, SOON, Space};
use space_tests::status::Status;
use space_tests::wait::wait_for;
use std::fs;
use std::time::Duration;
use tokio::time::Instant;

const MAY_CRASH_OFTEN: &str = "agent: { restart: { max: 1000, within: 10m } }\n";

/// What may take a second may take longer while other stories have the processor.
fn a_second() -> Duration {
    Duration::from_secs(if full() { 1 } else { 3 })
}

/// A time in which there was no agent, or one that handed over.
#[derive(Debug)]
struct Change {
    left: Instant,
    /// When there was another agent's process.
    back: Instant,
    killed: bool,
}

/// Kills the agent; init may wait before it starts the next one, which the wish for an upgrade cuts short.
async fn kill(run: &mut Run) -> Change {
    // Before the kill: what breaks by it may be seen before this thread goes on.
    let left = Instant::now();
    let killed = run.kill_agent().await;
    wait_for(LONGEST_BACKOFF + SOON, "another agent", async || {
        let other = run.agent_pid().filter(|pid| *pid != killed);
        if other.is_none() && left.elapsed() > Duration::from_millis(300) {
            run.signal(Signal::SIGUSR2);
        }
        other.ok_or("none yet")
    })
    .await
    .unwrap();
    Change { left, back: Instant::now(), killed: true }
}

/// Asks init for an upgrade and waits for the successor.
async fn upgrade(run: &mut Run) -> Change {
    let (before, left) = (run.agent_pid(), Instant::now());
    run.signal(Signal::SIGUSR2);
    let other = async || run.agent_pid().filter(|pid| Some(*pid) != before).ok_or("the agent is the same");
    wait_for(SOON, "the agent to be replaced", other).await.unwrap();
    Change { left, back: Instant::now(), killed: false }
}

/// How long after the change the status was right again: everything ready, the same app and init.
async fn right_again(run: &mut Run, change: &Change, before: &Status) -> Duration {
    let status = run.ready_never_two(BOOT, servers).await;
    let took = change.back.elapsed();
    assert_eq!((status.app_pid(), status.init_pid()), (before.app_pid(), before.init_pid()), "{change:?}");
    assert!(took < a_second(), "the status was right {took:?} after the return of the agent ({change:?})");
    took
}

/// Whoever connects is answered soon: after an upgrade at once, after a crash once there is an agent again. Only a crash
/// breaks connections. Returns the longest time.
fn all_answered(knocks: &[Knock], changes: &[Change]) -> Duration {
    let during = |knock: &Knock, change: &Change| knock.opened <= change.back && knock.ended >= change.left;
    let mut longest = Duration::ZERO;
    for knock in knocks {
        let mut crashes = changes.iter().filter(|change| change.killed && during(knock, change));
        let begin = crashes.clone().map(|crash| crash.back).max().unwrap_or(knock.opened).max(knock.opened);
        let waited = knock.ended.saturating_duration_since(begin);
        assert!(waited < a_second(), "a connection had no answer for {waited:?}: {knock:?}");
        longest = longest.max(waited);
        match &knock.answer {
            Ok((200, _)) => {}
            Ok(other) => panic!("{other:?} instead of `ok`"),
            Err(_) => {
                assert!(crashes.next().is_some(), "without a crash a connection broke: {knock:?}; {changes:?}")
            }
        }
    }
    longest
}

#[tokio::test]
async fn an_agent_that_is_killed_and_upgraded_in_turn_is_not_missed_by_a_cell() {
    let rounds = if full() { 50 } else { 3 };
    let mut space = Space::new(&(jupyterlab() + MAY_CRASH_OFTEN));
    let mut run = space.start();
    let before = run.ready().await;
    let mut jupyter = Jupyter::new(run.signed_in().await, LAB).await;
    let mut kernel = jupyter.session("count.ipynb").await;
    let code = "import os, time\nwith open('count', 'w') as f:\n  n = 0\n  while not os.path.exists('enough'):\n    \
                print(n, os.getpid(), time.monotonic(), file=f, flush=True)\n    n += 1\n    time.sleep(0.05)";
    kernel.begin(code).await;
    let count = space.home.join("count");
    let counts =
        async || fs::read_to_string(&count).is_ok_and(|text| text.lines().count() > 5).then_some(()).ok_or("not yet");
    wait_for(BOOT, "the cell to count", counts).await.unwrap();
    let prober = Prober::start(&Client::new(run.port), "/_space/livez");
    let (mut changes, mut slowest) = (Vec::new(), Duration::ZERO);
    for _ in 0..rounds {
        for killed in [true, false] {
            let change = if killed { kill(&mut run).await } else { upgrade(&mut run).await };
            slowest = slowest.max(right_again(&mut run, &change, &before).await);
            // The session holds, and the kernel is the same.
            assert_eq!(jupyter.kernels().await, [kernel.id.clone()]);
            changes.push(change);
        }
    }
    let knocks = prober.end();
    fs::write(space.home.join("enough"), "").unwrap();
    let lines = uninterrupted(&fs::read_to_string(&count).unwrap());
    let longest = all_answered(&knocks, &changes);
    figure(&format!(
        "the agent was killed {rounds} times and upgraded {rounds} times in turn: a cell counted on to {lines} without \
         a gap, one JupyterLab, status right {} ms after the agent's return at the latest; {} connections meanwhile, \
         each answered after {} ms at the latest",
        slowest.as_millis(),
        knocks.len(),
        longest.as_millis()
    ));
    drop(kernel);
    assert_eq!(run.stop().await, 0);
    space.assert_nothing_left();
}

/// Each line is number, pid and time: the numbers rise by one, in one process, and never stand still.
pub(crate) fn uninterrupted(text: &str) -> usize {
    let longest = if full() { 0.2 } else { 1.0 };
    let lines: Vec<Vec<f64>> =
        text.lines().map(|line| line.split(' ').map(|field| field.parse().unwrap()).collect()).collect();
    for pair in lines.windows(2) {
        let stood = pair[1][2] - pair[0][2];
        assert_eq!((pair[1][0], pair[1][1]), (pair[0][0] + 1.0, pair[0][1]), "the count has a gap or another kernel");
        assert!(stood < longest, "the cell stood still for {stood} s at {}", pair[0][0]);
    }
    lines.len()
}

/// The numbers that the log of the app has.
fn ticks(space: &Space) -> Vec<u64> {
    let log = fs::read_to_string(space.run.join("log/apps/app.log")).unwrap();
    log.lines().filter_map(|line| line.rsplit_once("tick ")?.1.parse().ok()).collect()
}

/// Waits until the app has printed further lines that have arrived.
async fn more_ticks(space: &Space) {
    let begin = ticks(space).len();
    let more = async || (ticks(space).len() > begin + 5).then_some(()).ok_or("no further line");
    wait_for(SOON, "the app's output", more).await.unwrap();
}

#[tokio::test]
async fn what_an_app_prints_has_no_gap_over_upgrades() {
    let upgrades = if full() { 50 } else { 5 };
    let mut space = Space::new(&small_app("ticks", ""));
    let mut run = space.start();
    let before = run.ready().await;
    for _ in 0..upgrades {
        more_ticks(&space).await;
        let change = upgrade(&mut run).await;
        right_again(&mut run, &change, &before).await;
    }
    more_ticks(&space).await;
    let seen = ticks(&space);
    let expected: Vec<u64> = (0..).take(seen.len()).collect();
    assert!(seen == expected, "{} lines, the last is {:?}", seen.len(), seen.last());
    figure(&format!("{upgrades} upgrades while an app prints every 10 ms: {} lines, none is missing", seen.len()));
    assert_eq!(run.stop().await, 0);
    space.assert_nothing_left();
}

#[tokio::test]
async fn what_an_app_prints_is_written_once_and_in_order_over_crashes() {
    let kills = if full() { 10 } else { 3 };
    let mut space = Space::new(&(small_app("ticks", "") + MAY_CRASH_OFTEN));
    let mut run = space.start();
    let before = run.ready().await;
    for _ in 0..kills {
        more_ticks(&space).await;
        let killed = run.kill_agent().await;
        let other = |status: &Status| match status.agent_pid() {
            pid if pid == killed => Err("the agent is the same".to_owned()),
            _ => status.ready().map(|()| status.app_pid()),
        };
        let app = run.until(LONGEST_BACKOFF + SOON, "another agent", other).await;
        assert_eq!(app, before.app_pid());
    }
    more_ticks(&space).await;
    let seen = ticks(&space);
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "a line was written twice, or out of order");
    let missing = seen.last().unwrap() + 1 - u64::try_from(seen.len()).unwrap();
    figure(&format!("{kills} crashes while an app prints every 10 ms: {} lines, {missing} are missing", seen.len()));
    // What an agent had read and not yet written when it was killed is lost: a few lines at most.
    assert!(missing <= 5 * kills, "{missing} lines are missing after {kills} crashes");
    assert_eq!(run.stop().await, 0);
    space.assert_nothing_left();
}
