//! Apps are kept running: each end is told as what it was, and nothing grows however often it happens.

use hyper::{Method, StatusCode};
use nix::sys::signal::Signal;
use space_tests::client::{Client, whole};
use space_tests::places::{figure, full};
use space_tests::prober::{Knock, Prober};
use space_tests::processes;
use space_tests::space::{Run, SOON, Space};
use space_tests::status::Status;
use space_tests::wait::wait_for;
use std::time::Duration;

/// Where the small app is.
const APP: &str = "/app/";

/// The small app of `tests/src/bin/space-app.rs`, with further fields of an app.
pub(crate) fn small_app(argument: &str, fields: &str) -> String {
    let program = env!("CARGO_BIN_EXE_space-app");
    format!("apps:\n  - kind: command\n    name: app\n    command: [\"{program}\", \"{argument}\"]\n{fields}")
}

const AT_ONCE: &str = "    restart: { max: 100000, within: 1h, backoff: 10ms..10ms }\n";

/// Ends that are told before memory and descriptors are looked at: what is there once is not growth.
const WARM_UP: u32 = 20;

/// While an app comes and goes, nothing that the space's own processes have may grow.
struct Footprint {
    /// Of init and agent.
    pids: [i32; 2],
    /// In kB.
    resident: [u64; 2],
    descriptors: usize,
}

impl Footprint {
    fn of(status: &Status) -> Footprint {
        let pids = [status.init_pid(), status.agent_pid()];
        let resident = pids.map(|pid| processes::resident(pid).expect("it runs"));
        let descriptors = pids.iter().map(|pid| processes::descriptors(*pid).expect("it runs")).sum();
        Footprint { pids, resident, descriptors }
    }

    /// Waits until there are no more descriptors than then: those of the story's own requests take their moment to close.
    async fn no_more_descriptors(&self) {
        let no_more = async || {
            let now: usize = self.pids.iter().filter_map(|pid| processes::descriptors(*pid)).sum();
            if now <= self.descriptors { Ok(()) } else { Err(format!("{now}, and there were {}", self.descriptors)) }
        };
        wait_for(SOON, "the descriptors of init and agent", no_more).await.unwrap();
    }
}

/// The status once the app has been started again so often and is ready.
async fn ready_again(run: &mut Run, restarts: u64) -> Status {
    let again = |status: &Status| match status.apps()[0]["restarts"].as_u64() {
        Some(seen) if seen == restarts => status.ready().map(|()| status.clone()),
        seen => Err(format!("{seen:?} of {restarts} restarts; {}", status.0["apps"])),
    };
    run.until(SOON, "the app to be ready again", again).await
}

/// The app's ends that were told since `seq`; moves it on.
fn ends(status: &Status, seq: &mut u64) -> Vec<String> {
    let events = status.events_after(*seq);
    *seq = events.last().map_or(*seq, |(seq, _)| *seq);
    events.into_iter().map(|(_, text)| text).filter(|text| text.starts_with("app ")).collect()
}

#[tokio::test]
async fn an_app_that_is_killed_again_and_again_always_comes_back_and_costs_nothing() {
    let kills: u32 = if full() { 1000 } else { 30 };
    // The fast run shares its processors with other stories, whatever they are.
    let patience = Duration::from_millis(if full() { 50 } else { 3000 });
    let mut space = Space::new(&small_app("", AT_ONCE));
    let mut run = space.start();
    let mut status = run.ready().await;
    let client = run.signed_in().await;
    let prober = Prober::start(&client, APP);
    let (mut before, mut seq, mut killed) = (None, 0, Vec::new());
    ends(&status, &mut seq);
    for number in 0..WARM_UP + kills {
        if number == WARM_UP {
            before = Some(Footprint::of(&status));
        }
        let pid = status.app_pid().unwrap();
        processes::signal(pid, Signal::SIGKILL);
        killed.push(pid);
        status = ready_again(&mut run, u64::from(number) + 1).await;
        assert_ne!(status.app_pid(), Some(pid));
        let told = ends(&status, &mut seq);
        assert!(told.len() == 1 && told[0].contains("was killed by signal 9 (SIGKILL)"), "kill {number}: {told:?}");
    }
    let knocks = prober.end();
    let before = before.expect("there were kills after the warm-up");
    let resident = Footprint::of(&status).resident;
    let away = answers_while_away(&knocks);
    let slowest = away.iter().map(|knock| knock.took()).max().unwrap_or_default();
    let grown = [0, 1].map(|which| resident[which].saturating_sub(before.resident[which]));
    figure(&format!(
        "an app was killed {} times: as many restarts with their cause; memory of init and agent grew by {} and {} kB; \
         {} requests meanwhile, {} of them answered with 503 after at most {:.1} ms (half of them within {:.1} ms)",
        killed.len(),
        grown[0],
        grown[1],
        knocks.len(),
        away.len(),
        slowest.as_secs_f64() * 1e3,
        middle(&away).as_secs_f64() * 1e3
    ));
    assert!(!away.is_empty(), "nobody asked while the app was away");
    assert!(slowest < patience, "a 503 took {slowest:?}");
    assert!(grown.iter().sum::<u64>() < 1000, "memory grew from {:?} kB to {resident:?} kB", before.resident);
    before.no_more_descriptors().await;
    assert_eq!(run.stop().await, 0);
    space.assert_nothing_left();
}

/// The answers that did not come from the app; each must be a 503 that says when to come again.
fn answers_while_away(knocks: &[Knock]) -> Vec<&Knock> {
    let away: Vec<&Knock> = knocks.iter().filter(|knock| !matches!(knock.answer, Ok((200, _)))).collect();
    let wrong: Vec<&&Knock> = away.iter().filter(|knock| !matches!(&knock.answer, Ok((503, Some(_))))).collect();
    assert!(wrong.is_empty(), "{} of {} answers while the app was away: {:?}", wrong.len(), away.len(), wrong[0]);
    away
}

fn middle(knocks: &[&Knock]) -> Duration {
    let mut all: Vec<Duration> = knocks.iter().map(|knock| knock.took()).collect();
    all.sort();
    all.get(all.len() / 2).copied().unwrap_or_default()
}

#[tokio::test]
async fn each_end_of_an_app_is_told_as_what_it_was() {
    let mut space = Space::new(&small_app("", AT_ONCE));
    let mut run = space.start();
    let mut seq = 0;
    ends(&run.ready().await, &mut seq);
    let mut client = run.signed_in().await;
    let causes = [
        ("exit/7", "app ended with exit code 7; its last line was: space-app: started; it is started again"),
        ("exit/0", "app ended with exit code 0; its last line was: space-app: started; it is started again"),
        (
            "signal/11",
            "app was killed by signal 11 (SIGSEGV); its last line was: space-app: started; it is started again",
        ),
        (
            "signal/15",
            "app was killed by signal 15 (SIGTERM); its last line was: space-app: started; it is started again",
        ),
    ];
    for (number, (path, cause)) in (1..).zip(causes) {
        // Its answer may be lost with it.
        let _ = client.try_send(Method::GET, &format!("{APP}{path}"), &[], whole("")).await;
        let status = ready_again(&mut run, number).await;
        assert_eq!(ends(&status, &mut seq), [cause]);
    }
    assert_eq!(run.stop().await, 0);
    space.assert_nothing_left();
}

#[tokio::test]
async fn an_app_that_hangs_is_started_again_if_its_document_asks_for_looks() {
    let live = "    live: { every: 1s, failures: 2 }\n";
    let mut space = Space::new(&small_app("", &format!("{AT_ONCE}{live}")));
    let mut run = space.start();
    let status = run.ready().await;
    let (mut seq, pid) = (0, status.app_pid().unwrap());
    ends(&status, &mut seq);
    processes::signal(pid, Signal::SIGSTOP);
    let again = |status: &Status| match status.app_pid() {
        Some(other) if other != pid => status.ready().map(|()| status.clone()),
        _ => Err(format!("{:#}", status.0["apps"])),
    };
    // Two looks that are not answered, and five seconds in which it may end by itself.
    let status = run.until(SOON * 4, "the app to be replaced", again).await;
    let told = ends(&status, &mut seq);
    let [silent, ended] = &told[..] else { panic!("{told:?}") };
    assert_eq!(silent, "app does not answer any more and is ended");
    assert_eq!(ended, "app did not answer any more and was ended; it is started again");
    assert_eq!(run.stop().await, 0);
    space.assert_nothing_left();
}

#[tokio::test]
async fn an_app_gets_the_limits_of_its_document() {
    let mut space = Space::new(&small_app("", "    limits: { open_files: 256 }\n"));
    let mut run = space.start();
    run.ready().await;
    let mut client: Client = run.signed_in().await;
    let answer = client.get(&format!("{APP}limits")).await;
    assert_eq!(answer.status, StatusCode::OK);
    let text = answer.text();
    let line = text.lines().find(|line| line.starts_with("Max open files")).expect("/proc/self/limits has it");
    assert_eq!(line.split_whitespace().collect::<Vec<_>>()[3..5], ["256", "256"], "{line}");
    assert_eq!(run.stop().await, 0);
    space.assert_nothing_left();
}
