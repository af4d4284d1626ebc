//! What is known of a run after its end: the boot record, what was not committed, the platform's last word.

use crate::documents::echo;
use serde_json::{Value, json};
use space_tests::command::{self, Done};
use space_tests::processes;
use space_tests::space::{BOOT, SOON, Space};
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

/// Hands one run's record to `space-agent record HOME`, as the agent does.
fn keep(space: &Space, record: &Value) {
    let path = space.folder.join("record.json");
    fs::write(&path, record.to_string()).unwrap();
    let home = space.home.to_str().unwrap();
    let done = space.command(&["record", "--", home]).stdin(File::open(&path).unwrap()).output().unwrap();
    assert!(done.status.success() && done.stdout.is_empty(), "{done:?}");
}

fn record(boot: &str, ended: Value) -> Value {
    let [began, ended_at] = ["2026-11-20T08:00:00.000Z", "2026-11-20T10:00:00.000Z"];
    let mut record = json!({ "boot": boot, "started": began, "seen": ended_at, "events": [
        { "seq": 1, "at": ended_at, "failure": false, "text": "handbook has 3 uncommitted files" },
    ]});
    if ended.is_object() {
        record["ended"] = ended;
    }
    record
}

async fn last(space: &Space, args: &[&str]) -> Done {
    let call = ["status", "--last"].iter().chain(args);
    command::run(space.command(&call.copied().collect::<Vec<_>>()), SOON).await
}

#[tokio::test]
async fn how_the_last_run_ended_is_told_from_its_home_when_no_agent_runs() {
    let space = Space::new("");
    let none = last(&space, &[]).await;
    assert_eq!(none.code(), 1);
    assert_eq!(none.stderr, "space-agent: nothing is known of an earlier run of a space in home\n");

    let reason = "nothing has run in it for 60 min";
    let at = "2026-11-20T10:00:00.000Z";
    keep(&space, &record("a", json!({ "at": at, "kind": "idle", "reason": reason, "code": 0 })));
    let told = last(&space, &[]).await;
    let expected = "The last run began at 2026-11-20 08:00 UTC; it stopped at 2026-11-20 10:00 UTC since nothing had run \
                    in it for 60 min.\nIts exit code was 0.\n\nevents\n  2026-11-20T10:00:00.000Z handbook has 3 \
                    uncommitted files\n";
    assert_eq!((told.code(), told.stdout.as_str()), (0, expected), "{told:?}");
    assert_eq!(last(&space, &["--home", space.home.to_str().unwrap()]).await.stdout, expected);

    for boot in ["b", "c", "d", "d"] {
        keep(&space, &record(boot, Value::Null));
    }
    let killed = last(&space, &[]).await.stdout;
    assert!(killed.contains("it was killed or its machine failed; it was last seen running at 2026-11-20 10:00 UTC."));
    let stored: Value = serde_json::from_slice(&fs::read(space.home.join(".space-agent/boots.json")).unwrap()).unwrap();
    let boots: Vec<&Value> = stored["boots"].as_array().unwrap().iter().map(|record| &record["boot"]).collect();
    assert_eq!(boots, ["b", "c", "d"]);
    space.assert_nothing_left();

    fs::write(space.home.join(".space-agent/boots.json"), "{").unwrap();
    assert_eq!(last(&space, &[]).await.code(), 1, "a broken record counts as none");
}

/// In `folder`, as nobody in particular.
fn git(folder: &Path, args: &[&str]) {
    let mut git = Command::new("git");
    git.args(["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main"]).arg("-C").arg(folder);
    let done = git.args(args).env("GIT_CONFIG_GLOBAL", "/dev/null").output().unwrap();
    assert!(done.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&done.stderr));
}

fn write(folder: &Path, files: &[&str]) {
    for file in files {
        fs::write(folder.join(file), "something").unwrap();
    }
}

/// A repository with one pushed commit.
fn clone(remote: &Path, into: &Path) {
    fs::create_dir_all(into.parent().unwrap()).unwrap();
    git(into.parent().unwrap(), &["clone", "-q", remote.to_str().unwrap(), into.to_str().unwrap()]);
}

#[tokio::test]
async fn what_is_not_committed_or_pushed_is_found_and_nothing_of_the_repository_s_is_run() {
    let space = Space::new("");
    let (home, remote) = (&space.home, space.folder.join("remote.git"));
    let first = space.folder.join("first");
    fs::create_dir(&first).unwrap();
    git(&first, &["init", "-q"]);
    write(&first, &["a", "b", "c"]);
    git(&first, &["add", "."]);
    git(&first, &["commit", "-qm", "x"]);
    git(&space.folder, &["clone", "-q", "--bare", "first", "remote.git"]);

    let [clean, handbook, branch] = ["clean", "work/handbook", "work/branch"].map(|name| home.join(name));
    for repository in [&clean, &handbook, &branch] {
        clone(&remote, repository);
    }
    for commit in ["one", "two"] {
        write(&handbook, &[commit]);
        git(&handbook, &["add", "."]);
        git(&handbook, &["commit", "-qm", commit]);
    }
    for file in ["a", "b", "c"] {
        fs::write(handbook.join(file), "changed").unwrap();
    }
    write(&handbook, &["new"]);
    git(&branch, &["checkout", "-qb", "mine"]);
    // What git would run by itself leaves a mark.
    let mark = space.folder.join("run");
    git(&handbook, &["config", "core.fsmonitor", &format!("touch {}", mark.display())]);
    // Too deep, hidden, and behind a link: not looked at, unless they are named.
    let deep = home.join("1/2/3/deep");
    for out_of_sight in [&deep, &home.join(".cache/x"), &space.folder.join("outside")] {
        clone(&remote, out_of_sight);
        write(out_of_sight, &["new"]);
    }
    std::os::unix::fs::symlink(space.folder.join("outside"), home.join("link")).unwrap();

    let said = async |folders: &[&str]| {
        let call = ["repositories", "--within", "20000", "--", home.to_str().unwrap()];
        let done = command::run(space.command(&[&call, folders].concat()), BOOT).await;
        assert_eq!(done.code(), 0, "{done:?}");
        done.stdout
    };
    let found = "work/branch has no remote branch to push to\n\
                 work/handbook has 3 uncommitted files, 1 untracked file and 2 commits that are not pushed\n";
    assert_eq!(said(&[]).await, found);
    let named = format!("1/2/3/deep has 1 untracked file\n{found}");
    assert_eq!(said(&["1/2/3/deep", "missing", "clean"]).await, named);
    assert!(!mark.exists(), "git has run a program of the repository's");
    assert!(!handbook.join(".git/index.lock").exists());
}

#[tokio::test]
async fn the_platform_finds_the_last_word_of_a_space_that_cannot_start() {
    let mut space = Space::new("apps: { default: { type: unheard-of } }");
    let path = space.folder.join("termination-log");
    fs::write(&path, "an earlier word that is quite a bit longer than it should be").unwrap();
    space.env.push(("SPACE_AGENT_TERMINATION_LOG".to_owned(), path.display().to_string()));
    let done = space.start_and_fail().await;
    let word = fs::read_to_string(&path).unwrap();
    assert!(word.contains("cannot be used") && done.stderr.contains(&word), "{word}\n{done:?}");
}

#[tokio::test]
async fn a_run_that_was_stopped_is_told_by_the_next_one_with_its_logs() {
    let mut space = Space::new(&echo());
    let mut run = space.start();
    run.ready().await;
    assert_eq!(run.stop().await, 0);
    assert!(last(&space, &[]).await.stdout.contains("it stopped at "));
    let mut run = space.start();
    let status = run.ready().await;
    assert!(status.0["last_run"].as_str().unwrap().starts_with("it stopped at "), "{:#}", status.0);
    let told = last(&space, &[]).await;
    assert!(told.code() == 0 && told.stdout.contains("Its exit code was 0.\n"), "{told:?}");
    let logs = command::run(space.command(&["logs", "echo", "--boot", "-1"]), SOON).await;
    assert_eq!(logs.code(), 0, "{logs:?}");
    let gone = command::run(space.command(&["logs", "echo", "--boot", "-2"]), SOON).await;
    assert!(gone.code() == 1 && gone.stderr.contains("nothing is known of the run -2"), "{gone:?}");
    assert_eq!(run.stop().await, 0);
    space.assert_nothing_left();
}

#[tokio::test]
async fn a_run_that_was_killed_is_told_as_one() {
    let mut space = Space::new(&echo());
    let mut run = space.start();
    run.ready().await;
    let path = space.home.join(".space-agent/boots.json");
    let kept = space_tests::wait::wait_for(SOON, "the record of the boot", async || {
        fs::read_to_string(&path).ok().filter(|text| text.contains("\"mode\":\"normal\"")).ok_or("it is not there yet")
    });
    kept.await.unwrap();
    processes::kill_all(run.remember().clone());
    run.end(SOON).await;
    let told = last(&space, &[]).await;
    assert!(told.stdout.contains("it was killed or its machine failed"), "{told:?}");
}
