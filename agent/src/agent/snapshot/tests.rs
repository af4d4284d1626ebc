//! The state of the first release, as its init kept it (`ground.json`, with a key that signs nothing): this release reads
//! it, and what it writes in its place has all that the first release looks for.

use super::Snapshot;
use crate::model::now::{Monotonic, Now, Timestamp};
use crate::model::space::{Event, Phase};
use crate::model::status::{AgentStatus, AppState, StepState};
use serde_json::Value;

const GROUND: &str = include_str!("ground.json");

/// A moment in the boot in which the state was stored, shortly after.
fn soon() -> Now {
    Now { monotonic: Monotonic(4_700_000), wall: Timestamp(1_795_257_100_000), boot_id: 0 }
}

#[test]
fn the_state_of_the_first_release_is_read_and_the_space_goes_on_from_it() {
    let mut snapshot = Snapshot::read(GROUND.as_bytes()).expect("the first release's state is readable");
    assert!(matches!(snapshot.space.phase(), Phase::Running { .. }), "{:?}", snapshot.space.phase());
    let known = ["app/default#1", "app/echo#2", "step/long"].map(str::to_owned).to_vec();
    let effects = snapshot.space.handle(Event::Resumed { known }, soon());
    assert_eq!(effects, [], "everything runs: nothing is to be started or ended");
    let agent = AgentStatus { version: "0".into(), pid: 2, init_pid: 1, starts: 2 };
    let status = snapshot.space.status(soon(), agent);
    let apps: Vec<_> = status.apps.iter().map(|app| (app.name.as_str(), app.state, app.restarts)).collect();
    assert_eq!(apps, [("default", AppState::Ready, 0), ("echo", AppState::Ready, 1)]);
    let steps: Vec<_> = status.steps.iter().map(|step| (step.name.as_str(), step.state)).collect();
    use StepState::{Done, Dropped, Failed, Running};
    let expected = [
        ("greeting", Done),
        ("broken", Failed),
        ("dependent", Dropped),
        ("deps", Dropped),
        ("handbook", Dropped),
        ("long", Running),
    ];
    assert_eq!(steps, expected);
    assert_eq!(status.leases.len(), 1);
    assert!(!snapshot.space.link_is_fresh(used_link()), "a used link works again");
}

fn used_link() -> &'static str {
    let (_, rest) = GROUND.split_once("\"used_links\"").expect("the state has used links");
    rest.split('"').nth(1).expect("one link was used")
}

#[test]
fn what_is_written_has_all_that_the_first_release_looks_for() {
    let ground: Value = serde_json::from_str(GROUND).unwrap();
    let snapshot = Snapshot::read(GROUND.as_bytes()).unwrap();
    let written: Value = serde_json::from_slice(&snapshot.bytes().unwrap()).unwrap();
    let mut missing = Vec::new();
    compare("", &ground, &written, &mut missing);
    assert_eq!(missing, Vec::<String>::new(), "the first release would not read what is written now");
}

/// Fields may have been added; what was there is there, as it was.
fn compare(path: &str, before: &Value, after: &Value, missing: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (name, value) in before {
                compare(&format!("{path}.{name}"), value, after.get(name).unwrap_or(&Value::Null), missing);
            }
        }
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            for (index, (before, after)) in before.iter().zip(after).enumerate() {
                compare(&format!("{path}[{index}]"), before, after, missing);
            }
        }
        _ if before == after => {}
        _ => missing.push(format!("{path} was {before} and is {after}")),
    }
}
