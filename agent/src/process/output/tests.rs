//! Output through real pipes into real files.

use super::*;
use crate::process::logs::Writer;
use crate::sys::clock;
use crate::sys::stop::{StopSwitch, stop};
use std::collections::BTreeMap;
use std::io::{Write, pipe};
use std::path::PathBuf;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const LONG: Duration = Duration::from_secs(60);

struct Space {
    folder: PathBuf,
    output: Output,
    writer: Writer,
    switch: StopSwitch,
    lines: broadcast::Receiver<Arc<LogLine>>,
}

impl Space {
    /// An agent's; with what an agent before has written.
    fn new(test: &str) -> Space {
        let folder = std::env::temp_dir().join(format!("space-agent-output-{test}-{}", std::process::id()));
        let (logs, writer) = Logs::open(&folder, false).unwrap();
        let (switch, stop) = stop();
        let (sender, lines) = broadcast::channel(64);
        let env = BTreeMap::from([("A_TOKEN".to_owned(), "s3cret-word".to_owned())]);
        let secrets = Arc::new(Secrets::of(&space_lifecycle::default_space(), &env));
        let discretion = Arc::new(Discretion { secrets, ..Discretion::default() });
        let output = Output { logs, lines: sender, now: clock::now, discretion, stop };
        Space { folder, output, writer, switch, lines }
    }

    fn read(&self, fd: OwnedFd) -> (JoinHandle<()>, Tail) {
        let (output, tail) = (self.output.clone(), Tail::default());
        let filled = tail.clone();
        let reading = tokio::spawn(async move { output.read(Source::of("app/x#1"), fd, filled).await });
        (reading, tail)
    }

    async fn line(&mut self) -> String {
        timeout(LONG, self.lines.recv()).await.expect("a line").unwrap().text.clone()
    }

    /// The log, once everything is in it; the agent is gone.
    fn end(self) -> String {
        drop(self.output);
        assert!(self.writer.finish(LONG));
        std::fs::read_to_string(self.folder.join("apps/x.log")).unwrap_or_default()
    }
}

fn remove(test: &str) {
    let folder = std::env::temp_dir().join(format!("space-agent-output-{test}-{}", std::process::id()));
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn output_is_clean_and_masked_in_the_log_in_its_lines_and_as_the_last_line() {
    let mut space = Space::new("clean");
    let (from, mut to) = pipe().unwrap();
    let (reading, tail) = space.read(from.into());
    to.write_all(b"\x1b[31mred\x1b[0m\n10%\r100%\r\nbell\x07 s3cret-").unwrap();
    assert_eq!([space.line().await, space.line().await], ["red", "100%"]);
    assert_eq!(space.line().await, "bell\\u{7} ");
    to.write_all(b"word").unwrap();
    drop(to);
    reading.await.unwrap();
    assert_eq!(space.line().await, "***");
    assert_eq!(tail.last_line().as_deref(), Some("bell\\u{7} ***"));
    assert_eq!(space.end(), "red\n100%\nbell\\u{7} ***\n");
    remove("clean");
}

#[tokio::test]
async fn a_prompt_appears_while_its_program_waits() {
    let mut space = Space::new("prompt");
    let (from, mut to) = pipe().unwrap();
    let (reading, tail) = space.read(from.into());
    to.write_all(b"Continue? ").unwrap();
    assert_eq!(space.line().await, "Continue? ");
    to.write_all(b"yes\nover\n").unwrap();
    assert_eq!([space.line().await, space.line().await], ["yes", "over"]);
    drop(to);
    reading.await.unwrap();
    assert_eq!(tail.last_line().as_deref(), Some("over"));
    assert_eq!(space.end(), "Continue? yes\nover\n");
    remove("prompt");
}

#[tokio::test]
async fn what_was_read_when_the_agent_ends_is_written_once_and_the_next_one_begins_a_new_line() {
    let mut space = Space::new("stop");
    let (from, mut to) = pipe().unwrap();
    let (reading, _) = space.read(from.try_clone().unwrap().into());
    to.write_all(b"one\ntwo").unwrap();
    assert_eq!(space.line().await, "one");
    space.switch.stop();
    reading.await.unwrap();
    assert_eq!(space.line().await, "two");
    assert_eq!(space.end(), "one\ntwo\n");

    to.write_all(b" and three\nfour\n").unwrap();
    drop(to);
    let next = Space::new("stop");
    let (reading, _) = next.read(from.into());
    reading.await.unwrap();
    assert_eq!(next.end(), "one\ntwo\n and three\nfour\n");
    remove("stop");
}

#[tokio::test]
async fn a_bar_that_never_rests_is_shown_from_time_to_time_and_its_last_state_in_the_end() {
    let space = Space::new("bar");
    let (from, mut to) = pipe().unwrap();
    let (reading, _) = space.read(from.into());
    for percent in 0..=100 {
        to.write_all(format!("\r{percent}%").as_bytes()).unwrap();
    }
    drop(to);
    reading.await.unwrap();
    let log = space.end();
    assert!(log.ends_with("100%\n") && log.lines().count() < 10, "{log}");
    remove("bar");
}
