//! The front door beside the proxies that people use in its place: one core each, in one run, in turn.
//!
//! Load and app share one processor, each proxy has the other for itself while it is measured. What is compared is the
//! proxy's own processor time per request, which a busy machine changes least, and the latency that a client sees.

use crate::Figure;
use crate::load::{chatter, download, paced, quantile, wrk};
use crate::peers::{self, Cores, Peer, cpu, pin};
use space_tests::places::{figure, full};
use space_tests::processes;
use space_tests::space::Run;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::task::JoinSet;

/// What is measured in each round, in the order of the table's columns.
const MEASURES: [&str; 4] = [
    "CPU per small request, µs",
    "CPU per body of 1 MB, µs",
    "CPU per WebSocket message of 1 kB, µs",
    "median latency, µs",
];

type Results = BTreeMap<(&'static str, usize), Vec<f64>>;

pub(crate) async fn measure() -> Vec<Figure> {
    let (rounds, seconds) = if full() { (5, 3) } else { (3, 1) };
    let cores = Cores::find();
    pin(std::process::id().cast_signed(), cores.load);
    let folder = peers::folder();
    let (space, mut run, agent, port, _) = peers::agent(&cores).await;
    let mut all = vec![agent];
    all.extend(peers::others(port, &folder, &cores).await);
    let mut results = Results::new();
    for round in 0..=rounds {
        for peer in &all {
            let measured = round_of(peer, seconds, &cores).await;
            // The first round warms up.
            for (measure, value) in measured.into_iter().enumerate().filter(|_| round > 0) {
                results.entry((peer.name, measure)).or_default().extend(value);
            }
        }
    }
    table(&all, &results);
    let mut figures = ratios(&results);
    figures.extend(tunnels(&all[0], &mut run, port).await);
    figures.extend(beside_a_download(&all[0], &run, &direct(port, all[0].pid)).await);
    figures.push(idle_peers(&all[1..]).await);
    peers::stop(&mut run).await;
    drop(all);
    drop(space);
    let _ = std::fs::remove_dir_all(folder);
    figures
}

/// One round of one proxy; `None` where it can't be measured.
async fn round_of(peer: &Peer, seconds: u32, cores: &Cores) -> [Option<f64>; 4] {
    let per = |path: &str, connections: u32| {
        let before = cpu(peer.pid);
        let requests = wrk(peer, path, connections, seconds, cores.load).requests;
        (cpu(peer.pid) - before) / requests * 1e6
    };
    let (small, mega) = (per("small", 32), per("mega", 4));
    let messages = match peer.sockets {
        true => {
            let before = cpu(peer.pid);
            let count = chatter(peer, 32, 1000, Duration::from_secs(u64::from(seconds))).await;
            Some((cpu(peer.pid) - before) / count * 1e6)
        }
        false => None,
    };
    let latency = wrk(peer, "small", 1, seconds, cores.load).median * 1e6;
    [Some(small), Some(mega), messages, Some(latency)]
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

fn of(results: &Results, peer: &'static str, measure: usize) -> Option<f64> {
    median(results.get(&(peer, measure))?)
}

fn table(all: &[Peer], results: &Results) {
    println!("| proxy | {} |\n|---|---|---|---|---|", MEASURES.join(" | "));
    for peer in all {
        let cell = |measure| match of(results, peer.name, measure) {
            Some(value) if value < 10.0 => format!("{value:.2}"),
            Some(value) => format!("{value:.1}"),
            None => "".to_owned(),
        };
        println!("| {} | {} | {} | {} | {} |", peer.name, cell(0), cell(1), cell(2), cell(3));
    }
    println!();
}

/// The bounds, as ratios to peers of the same run.
fn ratios(results: &Results) -> Vec<Figure> {
    let ours = |measure| of(results, "space-agent", measure).unwrap_or(f64::NAN);
    let theirs = |peer, measure| of(results, peer, measure).unwrap_or(f64::NAN);
    let better = |measure| theirs("nginx", measure).min(theirs("haproxy", measure));
    let bounds = [
        (0, "the better of nginx and haproxy", better(0), 1.1),
        (0, "configurable-http-proxy", theirs("configurable-http-proxy", 0), 0.1),
        (1, "haproxy", theirs("haproxy", 1), 0.75),
        (1, "nginx, proxy_buffering off", theirs("nginx", 1), 0.25),
        (2, "the better of nginx and haproxy", better(2), 1.1),
        (3, "the better of nginx and haproxy", better(3), 1.05),
    ];
    let figure = |(measure, peer, theirs, bound): (usize, &str, f64, f64)| {
        Figure::new(
            &format!("{} to {peer}", MEASURES[measure].trim_end_matches(", µs")),
            "times",
            bound,
            ours(measure) / theirs,
            "at most",
        )
    };
    bounds.into_iter().map(figure).collect()
}

/// Idle WebSockets, and a hundred of them in use.
async fn tunnels(agent: &Peer, run: &mut Run, app: u16) -> Vec<Figure> {
    let count: usize = if full() { 9000 } else { 1000 };
    let direct = direct(app, agent.pid);
    let time = Duration::from_secs(if full() { 10 } else { 3 });
    let mut alone = Vec::new();
    for _ in 0..100 {
        alone.push(direct.socket().await);
    }
    let straight = paced(alone, 100, 1000, time).await;

    // Buffers that the traffic before needed are not the tunnels'.
    let _ = chatter(agent, 4, 1000, Duration::from_millis(200)).await;
    let before = resident(agent.pid);
    let idle = open(agent, count).await;
    settle(run).await;
    let each = (resident(agent.pid) - before) * 1000.0 / count as f64;
    let mut busy = Vec::new();
    let mut rest = idle;
    busy.extend(rest.drain(..100));
    let through = paced(busy, 100, 1000, time).await;
    let added = quantile(&through, 0.99) - quantile(&straight, 0.99);
    figure(&format!(
        "100 of {count} WebSockets at 100 messages a second: p50 {:.2} ms, p99 {:.2} ms; direct {:.2} and {:.2}",
        quantile(&through, 0.5),
        quantile(&through, 0.99),
        quantile(&straight, 0.5),
        quantile(&straight, 0.99)
    ));
    drop(rest);
    vec![
        Figure::new(
            &format!("memory of the agent for each of {count} idle WebSockets"),
            "kB",
            12.0,
            each / 1000.0,
            "at most",
        ),
        Figure::new("added p99 of a message over 100 of them at 100 a second", "ms", 2.0, added, "below"),
    ]
}

/// The app itself, as if it were a proxy.
fn direct(port: u16, pid: i32) -> Peer {
    Peer { name: "direct", port, prefix: String::new(), cookie: String::new(), pid, sockets: true, process: None }
}

async fn open(peer: &Peer, count: usize) -> Vec<tokio::net::TcpStream> {
    let mut streams = Vec::with_capacity(count);
    while streams.len() < count {
        streams.push(peer.socket().await);
    }
    streams
}

/// In kB.
fn resident(pid: i32) -> f64 {
    processes::resident(pid).expect("the proxy runs") as f64
}

/// What was needed to open so many connections is given back within a tick.
async fn settle(run: &mut Run) {
    assert!(run.ended().is_none(), "the space has ended:\n{}", run.told());
    tokio::time::sleep(Duration::from_secs(3)).await;
}

/// Memory for each of a thousand idle WebSockets of the peers, for comparison only.
async fn idle_peers(peers: &[Peer]) -> Figure {
    let mut told = Vec::new();
    for peer in peers.iter().filter(|peer| peer.sockets) {
        let before = resident(peer.pid);
        let streams = open(peer, 1000).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        told.push(format!("{} {:.1} kB", peer.name, (resident(peer.pid) - before) / 1000.0));
        drop(streams);
    }
    Figure {
        what: "memory of the others for each of 1000 idle WebSockets".into(),
        budget: String::new(),
        measured: told.join(", "),
        kept: true,
    }
}

/// A keystroke's way there and back while everything else of the space is downloaded; and its way to the app without the
/// door at the same time, for app, reader and keystroke share a processor.
async fn beside_a_download(agent: &Peer, run: &Run, app: &Peer) -> Vec<Figure> {
    let megabytes: u64 = if full() { 10_000 } else { 1000 };
    let key = |streams, time| paced(streams, 20, 8, time);
    let quiet = key(open(agent, 10).await, Duration::from_secs(if full() { 10 } else { 3 })).await;

    let before = resident(agent.pid);
    processes::forget_peak(agent.pid);
    let (port, cookie) = (agent.port, agent.cookie.clone());
    let mut downloads = JoinSet::new();
    let begin = tokio::time::Instant::now();
    // A thread of its own, so that the keystroke is not measured waiting for this program.
    let download = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let read = runtime.block_on(download(port, &cookie, megabytes));
        (read, begin.elapsed())
    });
    downloads.spawn(download);
    let (mut during, mut straight) = (Vec::new(), Vec::new());
    let (read, took) = loop {
        let window = Duration::from_millis(500);
        let (streams, direct) = (open(agent, 10).await, open(app, 10).await);
        let (through, past) = tokio::join!(key(streams, window), key(direct, window));
        during.extend(through);
        straight.extend(past);
        if let Some(done) = downloads.try_join_next() {
            break done.expect("a task").expect("a thread");
        }
    };
    let read = read.expect("the download does not break off");
    assert!(read >= megabytes * 1_000_000, "the download ended after {read} bytes:\n{}", run.told());
    during.sort();
    straight.sort();
    let peak = processes::resident_peak(agent.pid).expect("the agent runs") as f64;
    let more = quantile(&during, 0.99) - quantile(&quiet, 0.99);
    figure(&format!(
        "download of {megabytes} MB in {:.1} s; a keystroke's echo p50 {:.2} ms, p99 {:.2} ms; meanwhile past the door {:.2} \
         and {:.2} ms; through it without the download {:.2} and {:.2} ms",
        took.as_secs_f64(),
        quantile(&during, 0.5),
        quantile(&during, 0.99),
        quantile(&straight, 0.5),
        quantile(&straight, 0.99),
        quantile(&quiet, 0.5),
        quantile(&quiet, 0.99)
    ));
    vec![
        Figure::new(
            &format!("memory that a download of {megabytes} MB adds"),
            "MB",
            2.0,
            (peak - before) / 1000.0,
            "at most",
        ),
        Figure::new("p99 that it adds to a keystroke's echo", "ms", 5.0, more, "at most"),
    ]
}
