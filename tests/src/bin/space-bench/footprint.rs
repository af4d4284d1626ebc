//! What the agent needs when nothing happens: memory, wake-ups, size, the time to its first answer.

use crate::Figure;
use nix::sys::signal::Signal;
use space_tests::client::{Client, whole};
use space_tests::command;
use space_tests::places::{agent, full};
use space_tests::space::{Run, SOON, Space};
use space_tests::{processes, wait::wait_for};
use std::process::Command;
use std::time::Duration;
use tokio::time::Instant;

/// Nothing runs in it: what is measured is the agent with its usual timers.
const NO_APP: &str = "apps: []\n";
/// After the boot, until memory and timers have come to rest.
const SETTLE: Duration = Duration::from_secs(5);

pub(crate) async fn measure() -> Vec<Figure> {
    let mut figures = idle().await;
    figures.extend(binary().await);
    figures.push(first_answer().await);
    figures
}

/// Memory and wake-ups of both processes of a space in which nothing runs and nobody asks.
async fn idle() -> Vec<Figure> {
    let mut space = Space::new(NO_APP);
    let mut run = space.start();
    let status = run.ready().await;
    let pids = [status.init_pid(), status.agent_pid()];
    tokio::time::sleep(SETTLE).await;

    let seconds = if full() { 600 } else { 60 };
    let sleeps = || pids.map(processes::sleeps).iter().sum::<u64>() as f64;
    let (before, begin) = (sleeps(), Instant::now());
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let per_second = (sleeps() - before) / begin.elapsed().as_secs_f64();

    let megabytes = |of: fn(i32) -> Option<u64>| {
        let each = pids.map(|pid| of(pid).expect("both processes run") as f64 / 1000.0);
        (each[0] + each[1], format!("init {:.2}, agent {:.2}", each[0], each[1]))
    };
    let (resident, parts) = megabytes(processes::resident);
    let (proportional, _) = megabytes(processes::proportional);
    end(run).await;
    vec![
        Figure::new(
            &format!("resident memory, idle, both processes ({parts}; proportional set size {proportional:.2} MB)"),
            "MB",
            12.0,
            resident,
            "at most",
        ),
        Figure::new(
            &format!("wake-ups a second, idle, both processes, over {seconds} s"),
            "/s",
            1.0,
            per_second,
            "below",
        ),
    ]
}

/// Size and kind of the binary.
async fn binary() -> Vec<Figure> {
    let path = agent();
    let size = std::fs::metadata(&path).expect("the binary is there").len() as f64 / 1e6;
    let dynamic = needs_an_interpreter(&std::fs::read(&path).expect("the binary can be read"));
    let static_binary = Figure {
        what: "statically linked (no ELF interpreter)".to_owned(),
        budget: "yes".to_owned(),
        measured: if dynamic { "no" } else { "yes" }.to_owned(),
        kept: !dynamic,
    };
    let mut help = Command::new(&path);
    help.arg("--help");
    let runs = command::run(help, SOON).await.code() == 0;
    assert!(runs, "{} --help fails", path.display());
    vec![Figure::new("release binary", "MB", 15.0, size, "at most"), static_binary]
}

/// True if a 64-bit little-endian ELF file has a program header of type PT_INTERP.
fn needs_an_interpreter(elf: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    let number = |at: usize, len: usize| {
        let bytes = elf.get(at..at + len).expect("a whole ELF file");
        bytes.iter().rev().fold(0usize, |number, byte| number << 8 | usize::from(*byte))
    };
    assert!(elf.starts_with(b"\x7fELF\x02\x01"), "not a 64-bit little-endian ELF file");
    let (offset, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count).any(|header| number(offset + header * size, 4) == PT_INTERP as usize)
}

/// From exec to the first answer of the front door: the median of new starts of one space.
async fn first_answer() -> Figure {
    let mut space = Space::new(NO_APP);
    let mut times = Vec::new();
    for _ in 0..if full() { 100 } else { 20 } {
        let begin = Instant::now();
        let run = space.start();
        let mut client = Client::new(run.port);
        loop {
            let path = "/_space/livez";
            let answer = client.try_send(hyper::Method::GET, path, &[], whole("")).await;
            if answer.is_ok_and(|answer| answer.status.is_success()) {
                break;
            }
            assert!(begin.elapsed() < SOON, "no answer within {SOON:?}:\n{}", run.told());
            // Not in a tight loop: on a small machine that takes the processor from what is measured.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        times.push(begin.elapsed().as_secs_f64() * 1000.0);
        end(run).await;
    }
    times.sort_by(f64::total_cmp);
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    let what = format!("exec to first answer, median of {} (worst {worst:.1} ms)", times.len());
    Figure::new(&what, "ms", 30.0, median, "at most")
}

/// Ends a run, early in its boot too, where it may not listen to the control API yet.
pub(crate) async fn end(mut run: Run) {
    run.signal(Signal::SIGTERM);
    let gone = wait_for(Duration::from_secs(30), "the space to end", async || run.ended().ok_or("it runs")).await;
    gone.unwrap_or_else(|seen| panic!("{seen}"));
}
