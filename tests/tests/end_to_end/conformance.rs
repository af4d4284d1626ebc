//! The table of raw requests (tests/conformance) against three upstreams with different parsers: what each of them
//! parsed is exactly what the front door parsed and passed on, and what can be read in two ways is refused.

use space_tests::client::Client;
pub(crate) use space_tests::conformance::Ground;
use space_tests::conformance::{Heard, Row, answers, check, rows};
use space_tests::places;
use space_tests::record::{Record, Seen};
use space_tests::space::{Run, Space};
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Nothing that the table asks for takes longer: all of it is refused or answered at once.
const PATIENCE: Duration = Duration::from_secs(20);
const TABLES: [&str; 2] = [include_str!("../../conformance/requests.txt"), include_str!("../../conformance/heads.txt")];

/// An upstream that records: its name, and the command that starts it.
pub(crate) fn upstream(name: &str) -> Vec<String> {
    let [bin, parts] = ["tests/.work/venv/bin", "tests/parts"].map(|folder| places::project().join(folder));
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    match name {
        "tornado" => vec![text(bin.join("python")), text(parts.join("recorder.py"))],
        "node" => vec![text(bin.join("node")), text(parts.join("recorder.js"))],
        _ => vec![env!("CARGO_BIN_EXE_space-recorder").to_owned()],
    }
}

/// A space with one recording upstream at `/NAME/`, and its record.
pub(crate) async fn recording(name: &str, sign_in: &str) -> (Space, Run, Record) {
    let mut space = Space::new("");
    let record = space.folder.join("record.jsonl");
    let mut command = upstream(name);
    command.push(record.to_string_lossy().into_owned());
    let Space { name: own, port, .. } = &space;
    space.write_verbatim(&format!(
        "version: 1\nspace: {{ name: {own} }}\nstorage: {{ home: {{ directory: ./home }} }}\n\
         front_door: {{ listen: \"127.0.0.1:{port}\", sign_in: {sign_in} }}\n\
         apps:\n  - kind: command\n    name: {name}\n    command: {command:?}\n    ready: {{ path: /{name}/ready }}\n",
    ));
    let mut run = space.start();
    run.ready().await;
    (space, run, Record::open(&record))
}

/// Sends what a row says, and hears it out.
async fn tell(port: u16, bytes: &[u8], fin: bool, cut: usize) -> Heard {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the front door listens");
    stream.set_nodelay(true).expect("a socket that is open");
    let (mut reads, mut writes) = stream.split();
    let mut heard = Vec::new();
    let write = async {
        for piece in bytes.chunks(cut) {
            // A door that refuses may close while we still write.
            if writes.write_all(piece).await.is_err() {
                return;
            }
        }
        if fin {
            let _ = writes.shutdown().await;
        }
    };
    // A reset is an end as well: what came before it counts.
    let read = async { while matches!(reads.read_buf(&mut heard).await, Ok(1..)) {} };
    let ended = tokio::time::timeout(PATIENCE, async { tokio::join!(write, read) }).await;
    let text = String::from_utf8_lossy(&heard[..heard.len().min(600)]).into_owned();
    Heard { answers: answers(&heard), closed: ended.is_ok(), text }
}

/// A plain request on a connection of its own must get its own answer, whatever came before it.
async fn canary(row: &Row, ground: &Ground, record: &mut Record) -> Result<(), String> {
    let target = format!("{}/canary", row.base);
    let Ground { port, cookie, .. } = ground;
    let request = format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{cookie}Connection: close\r\n\r\n");
    let heard = tell(*port, request.as_bytes(), false, usize::MAX).await;
    let mark = heard.answers.first().and_then(|answer| answer.mark);
    let mark = mark.filter(|_| heard.answers.len() == 1);
    let mark = mark.ok_or_else(|| format!("the request after it was answered: {}", heard.text))?;
    let seen = record.read().iter().find(|seen| seen.mark == mark);
    match seen {
        Some(seen) if seen.target == target && seen.body == Some((0, String::new())) => Ok(()),
        other => Err(format!("the request after it got the answer to {other:?}")),
    }
}

fn of_row(record: &Record, row: &Row) -> Vec<Seen> {
    let own = |seen: &&Seen| seen.target.contains(&row.base) && !seen.target.ends_with("/canary");
    record.seen.iter().filter(own).cloned().collect()
}

fn table(ground: &Ground) -> Vec<Row> {
    let mut all = Vec::new();
    for text in TABLES {
        all.extend(rows(text, all.len(), ground));
    }
    assert!(all.len() >= 150, "the table has {} rows", all.len());
    all
}

/// Those rows of the table that are wanted, one after the other; what is wrong with them, together.
pub(crate) async fn told(ground: &Ground, record: &mut Record, cut: usize, wanted: impl Fn(&Row) -> bool) {
    let all: Vec<Row> = table(ground).into_iter().filter(wanted).collect();
    assert!(!all.is_empty(), "the table has no such row");
    let mut wrong = Vec::new();
    for row in &all {
        let heard = tell(ground.port, &row.bytes, row.fin, cut).await;
        let after = canary(row, ground, record).await;
        record.read();
        if let Err(why) = check(row, &heard, &of_row(record, row)).and(after) {
            wrong.push(format!("- {row}\n    {why}\n    heard: {:?}", heard.text));
        }
    }
    // Whatever reached the app late, or as something that no row names, is found here.
    record.read();
    let known = |seen: &&Seen| !["/ready", "/canary"].iter().any(|end| seen.target.ends_with(end));
    for seen in record.seen.iter().filter(known) {
        if !all.iter().any(|row| seen.target.contains(&row.base)) {
            wrong.push(format!("- the app has seen a request of no row: {} {}", seen.method, seen.target));
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), all.len(), wrong.join("\n"));
}

async fn conforms(name: &str) {
    let (_space, mut run, mut record) = recording(name, "open").await;
    let ground = Ground { port: run.port, base: format!("/{name}/"), cookie: String::new() };
    told(&ground, &mut record, usize::MAX, |_| true).await;
    assert!(!run.stderr().contains("panicked"), "{}", run.told());
    assert_eq!(run.stop().await, 0);
}

#[tokio::test]
async fn tornado_sees_exactly_the_requests_that_the_door_has_parsed() {
    conforms("tornado").await;
}

#[tokio::test]
async fn node_sees_exactly_the_requests_that_the_door_has_parsed() {
    conforms("node").await;
}

#[tokio::test]
async fn hyper_sees_exactly_the_requests_that_the_door_has_parsed() {
    conforms("hyper").await;
}

/// The same with a session; and however small the pieces are in which the bytes come.
#[tokio::test]
async fn a_session_and_small_pieces_make_no_difference_to_what_conforms() {
    let (_space, mut run, mut record) = recording("hyper", "token").await;
    let client: Client = run.signed_in().await;
    let cookie = format!("Cookie: {}\r\n", client.cookie_header());
    let ground = Ground { port: run.port, base: "/hyper/".to_owned(), cookie };
    told(&ground, &mut record, if places::full() { 1 } else { 700 }, |_| true).await;
    assert_eq!(run.stop().await, 0);
}

/// Not one byte of the whole table reaches the app of a space that asks who one is.
#[tokio::test]
async fn without_a_session_nothing_of_the_table_reaches_the_app() {
    let (_space, mut run, mut record) = recording("hyper", "token").await;
    let ground = Ground { port: run.port, base: "/hyper/".to_owned(), cookie: String::new() };
    for row in table(&ground) {
        let heard = tell(ground.port, &row.bytes, row.fin, usize::MAX).await;
        assert!(heard.closed || heard.answers.iter().all(|answer| answer.mark.is_none()), "{row}: {}", heard.text);
    }
    let seen: Vec<_> = record.read().iter().filter(|seen| !seen.target.ends_with("/ready")).collect();
    assert_eq!(seen, Vec::<&Seen>::new());
    assert_eq!(run.stop().await, 0);
}
