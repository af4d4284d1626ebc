//! What is kept of a run, how much, and how it is said.

use super::*;
use crate::model::status::tests::status;
use crate::model::status::{AppState, AppStatus};

const TEN: Timestamp = Timestamp(1_795_168_800_123);

fn ended(reason: &str, code: u8) -> Record {
    let mut status = status();
    (status.phase, status.reason) = (PhaseName::Stopped, Some(reason.to_owned()));
    Record::of(&status, TEN, Some(code), BTreeMap::new())
}

fn named(boot: &str) -> Record {
    Record { boot: boot.into(), started: TEN, seen: TEN, ..Record::default() }
}

#[test]
fn how_a_run_ended_is_one_sentence() {
    for (record, kind, sentence) in [
        (
            ended("nothing has run in it for 60 min", 0),
            Some(Kind::Idle),
            "it stopped at 2026-11-20 10:00 UTC since nothing had run in it for 60 min",
        ),
        (ended("nothing has run in it for 2 h", 3), Some(Kind::Idle), "nothing had run in it for 2 h"),
        (
            ended("root asked for it (the end of the day)", 0),
            Some(Kind::Asked),
            "it stopped at 2026-11-20 10:00 UTC since root asked for it (the end of the day)",
        ),
        (
            ended("the step deps failed", 1),
            Some(Kind::Failed),
            "it failed at 2026-11-20 10:00 UTC: the step deps failed (exit code 1)",
        ),
        (ended("", 0), Some(Kind::Asked), "it stopped at 2026-11-20 10:00 UTC (exit code 0)"),
        (
            named("killed"),
            None,
            "it was killed or its machine failed; it was last seen running at 2026-11-20 10:00 UTC",
        ),
    ] {
        assert_eq!(record.ended.as_ref().map(|ended| ended.kind), kind, "{sentence}");
        assert!(record.ending().ends_with(sentence), "{}", record.ending());
    }
}

#[test]
fn a_run_takes_one_place_however_often_it_is_written_and_three_are_kept() {
    let first = Record { mode: Some(Mode::Recovery), started: Timestamp(1000), ..named("a") };
    let again = Record { seen: Timestamp(TEN.0 + 1), ..named("a") };
    let boots = Boots::default().with(first).with(again);
    let kept = boots.last().unwrap();
    assert_eq!((boots.0.len(), kept.started, kept.mode), (1, Timestamp(1000), Some(Mode::Recovery)));
    assert_eq!(kept.seen, Timestamp(TEN.0 + 1));
    let end = Record { ended: Some(Ended::default()), ..named("a") };
    let boots = boots.with(end).with(named("a"));
    assert!(boots.last().unwrap().ended.is_some(), "what has ended does not run again");
    let boots = ["b", "c", "d"].into_iter().fold(boots, |boots, boot| boots.with(named(boot)));
    let before = |boot| boots.before(boot).map(|record| record.boot.as_str()).collect::<Vec<_>>();
    assert_eq!(before("d"), ["c", "b"]);
    assert_eq!(before("not yet written"), ["d", "c", "b"]);
    assert_eq!(boots.last_before("d"), Some(&named("c")));
    assert_eq!(Boots::default().last_before("d"), None);
}

#[test]
fn whatever_a_space_says_the_file_is_small() {
    for what in ["x", "\u{1b}", "\n", "ä", "\"", "\u{7f}"] {
        let mut status = status();
        let long = what.repeat(100_000);
        let app = |n: usize| AppStatus {
            name: format!("app-{n}"),
            kind: String::new(),
            label: String::new(),
            base_path: String::new(),
            state: AppState::Failed,
            pid: None,
            restarts: u32::MAX,
            why: Some(long.clone()),
            since: None,
        };
        status.apps = (0..1000).map(app).collect();
        status.reason = Some(long.clone());
        status.events = (0..100)
            .map(|seq| EventStatus { seq, at: TEN, failure: true, text: long[..long.len().min(2000)].to_owned() })
            .collect();
        let logs = (0..20).map(|n| (format!("apps/app-{n}"), long.clone())).collect();
        let record = Record::of(&status, TEN, Some(1), logs);
        let kept: usize = record.logs.values().map(|log| written(log)).sum();
        assert!((LOGS - 1000..=LOGS).contains(&kept), "{what:?}: {kept}");
        assert_eq!(record.events.last().map(|event| event.seq), Some(99));
        let boots = ["a", "b", "c"]
            .into_iter()
            .fold(Boots::default(), |boots, boot| boots.with(Record { boot: boot.to_owned(), ..record.clone() }));
        let bytes = serde_json::to_vec(&boots).unwrap().len();
        assert!(bytes <= LARGEST, "{what:?}: {bytes}");
        assert!(boots.last().unwrap().logs == record.logs, "{what:?}: the newest has lost its logs");
    }
}

#[test]
fn of_a_log_the_last_whole_lines_are_kept() {
    for (text, room, expected) in [
        ("one\ntwo\nthree\n", 100, "one\ntwo\nthree\n"),
        // A line's end takes two bytes.
        ("one\ntwo\nthree\n", 12, "two\nthree\n"),
        ("one\ntwo\nthree\n", 11, "three\n"),
        ("one\ntwo\nthree\n", 8, "three\n"),
        ("one\ntwo\nthree", 100, "one\ntwo\nthree"),
        ("a line that is long\n", 7, " long\n"),
        ("ääää", 5, "ää"),
        ("", 5, ""),
        ("x", 0, ""),
    ] {
        assert_eq!(tail(text, room), expected, "{text:?} {room}");
    }
}

#[test]
fn records_of_other_versions_are_read_as_far_as_they_are_known() {
    let text = r#"[{"boot": "a", "new": {"x": 1}, "ended": {"kind": "eclipse", "reason": "the moon came"}}, {}]"#;
    let boots: Boots = serde_json::from_str(text).unwrap();
    let ended = boots.0[0].ended.as_ref().unwrap();
    assert_eq!((ended.kind, ended.code), (Kind::Unknown, 0));
    assert_eq!(boots.0[1], Record::default());
}
