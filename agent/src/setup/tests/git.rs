//! Real git against a bare repository on this disk.

use super::*;

/// A repository with enough in it that a clone takes a moment.
fn repository(ground: &Ground) -> String {
    sh(
        ground.folder.path(),
        "git init -q -b main work && cd work && git config user.email a@b && git config user.name a && mkdir data
        seq 60000 | split -a 3 -l 200 - data/
        echo one > README && git add . && git commit -qm one && git tag v1
        echo two > README && git commit -qam two && cd .. && git clone -q --bare work origin.git",
    );
    format!("file://{}/origin.git", ground.folder.path().display())
}

fn clone(url: &str, reference: Option<&str>) -> Step {
    step(StepKind::Git { url: url.into(), r#ref: reference.map(Into::into), into: "books/handbook".into() })
}

fn readme(ground: &Ground) -> String {
    fs::read_to_string(ground.home("books/handbook/README")).unwrap()
}

fn beside(ground: &Ground) -> Vec<String> {
    let entries = fs::read_dir(ground.home("books")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_repository_is_cloned_once_and_then_left_as_it_is() {
    let ground = Ground::new("clone");
    let step = clone(&repository(&ground), None);
    let log = ground.expect_done(&step);
    assert!(log.contains("cloning file://") && log.contains("into books/handbook"), "{log}");
    assert_eq!(readme(&ground), "two\n");
    fs::write(ground.home("books/handbook/README"), "mine\n").unwrap();
    assert_eq!(ground.expect_skipped(&step), "books/handbook is there already; left as it is");
    assert_eq!(readme(&ground), "mine\n");
    assert_eq!(beside(&ground), ["handbook"]);
}

#[test]
fn a_branch_a_tag_and_a_commit_can_be_named() {
    let ground = Ground::new("ref");
    let url = repository(&ground);
    let commit = sh(ground.folder.path(), "git -C origin.git rev-parse v1").trim().to_owned();
    for (reference, text) in [("main", "two\n"), ("v1", "one\n"), (&commit, "one\n")] {
        ground.expect_done(&clone(&url, Some(reference)));
        assert_eq!(readme(&ground), text, "{reference}");
        fs::remove_dir_all(ground.home("books")).unwrap();
    }
    for absent in ["none", &"0".repeat(40), "--upload-pack=touch pwned"] {
        let why = ground.expect_failed(&clone(&url, Some(absent)));
        assert!(why.ends_with(&format!("it has no branch, tag or commit {absent}: check ref")), "{why}");
        assert!(beside(&ground).is_empty());
    }
}

#[test]
fn a_wrong_url_fails_in_one_clear_message_without_its_credentials() {
    let ground = Ground::new("wrong-url");
    let nowhere = format!("file://{}/none.git", ground.folder.path().display());
    for (url, expected) in [
        (&*nowhere, "there is no git repository: check the URL"),
        (
            "http://alice:s3cr3t@127.0.0.1:9/x.git",
            "cannot clone http://***@127.0.0.1:9/x.git: its host does not answer",
        ),
        ("ext::sh -c id", "the URL must begin with https://"),
        ("/etc", "the URL must begin with https://"),
    ] {
        let (outcome, log) = ground.run(&clone(url, None));
        let StepOutcome::Failed { why } = outcome else { panic!("{url}: {outcome:?}") };
        assert!(why.contains(expected), "{why}");
        assert!(!log.contains("s3cr3t"), "{log}");
    }
}

#[test]
fn what_is_in_the_place_already_is_never_touched() {
    let ground = Ground::new("in-place");
    let step = clone(&repository(&ground), None);
    fs::create_dir_all(ground.home("books/handbook")).unwrap();
    fs::write(ground.home("books/handbook/notes"), "mine").unwrap();
    let why = ground.expect_skipped(&step);
    assert_eq!(why, "books/handbook is there already, though not as a git repository; left as it is");
    fs::remove_file(ground.home("books/handbook/notes")).unwrap();
    ground.expect_done(&step);
    assert_eq!(readme(&ground), "two\n", "an empty folder is as good as none");
}

#[test]
fn a_repository_s_hooks_do_not_run() {
    let ground = Ground::new("hooks");
    let url = repository(&ground);
    let templates = ground.folder.path().join("templates/hooks");
    fs::create_dir_all(&templates).unwrap();
    let hook = format!("touch {}/ran", ground.folder.path().display());
    sh(&templates, &format!("printf '#!/bin/sh\n{hook}\n' > post-checkout && chmod +x post-checkout"));
    let mut step = clone(&url, None);
    step.env.insert("GIT_TEMPLATE_DIR".into(), templates.parent().unwrap().display().to_string());
    ground.expect_done(&step);
    assert!(!ground.folder.path().join("ran").exists());
}

#[test]
fn a_clone_that_was_killed_at_any_moment_is_made_whole_by_the_next_start() {
    let ground = Ground::new("killed-clone");
    let step = clone(&repository(&ground), None);
    let delays = [0, 10, 35, 100, 2, 5, 20, 60];
    for after in delays.into_iter().take(4 * rounds()) {
        let mut worker = ground.start(&step);
        worker.wait_for("cloning", PATIENCE);
        worker.wait_for("no such line", Duration::from_millis(after));
        worker.kill();
        assert!(matches!(ground.run(&step).0, StepOutcome::Done { .. } | StepOutcome::Skipped { .. }));
        assert_eq!(
            sh(&ground.home("books/handbook"), "git fsck --no-progress && git status --porcelain"),
            "",
            "{after}"
        );
        assert_eq!(beside(&ground), ["handbook"], "{after}");
        fs::remove_dir_all(ground.home("books")).unwrap();
    }
}
