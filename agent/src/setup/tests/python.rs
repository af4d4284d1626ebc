//! A real Python and a real pip; the packages are two small wheels made here, and there is no network.

use super::*;
use space_lifecycle::Python;
use std::sync::{Mutex, PoisonError, Weak};

/// A wheel is a zip file with a few texts; `tiny` has a module, many files and a command.
const WHEELS: &str = r#"
import zipfile, sys
for version in ('1.0', '2.0'):
    info = f'tiny-{version}.dist-info'
    files = {'tiny/__init__.py': f'VERSION = "{version}"\ndef main(): print("tiny", VERSION)\n'}
    files |= {f'tiny/part{n}.py': f'X = {n}\n' * 50 for n in range(100)}
    files[f'{info}/METADATA'] = f'Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n'
    files[f'{info}/WHEEL'] = 'Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n'
    files[f'{info}/entry_points.txt'] = '[console_scripts]\ntiny = tiny:main\n'
    files[f'{info}/RECORD'] = ''.join(f'{name},,\n' for name in files) + f'{info}/RECORD,,\n'
    with zipfile.ZipFile(f'{sys.argv[1]}/tiny-{version}-py3-none-any.whl', 'w') as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
"#;

fn ground(name: &str) -> Ground {
    let mut ground = Ground::new(name);
    let wheels = ground.folder.path().join("wheels");
    fs::create_dir(&wheels).unwrap();
    fs::write(ground.folder.path().join("wheels.py"), WHEELS).unwrap();
    sh(ground.folder.path(), "/usr/bin/python3 wheels.py wheels");
    let env = &mut ground.context.env;
    env.insert("PIP_NO_INDEX".into(), "1".into());
    env.insert("PIP_FIND_LINKS".into(), wheels.display().to_string());
    ground
}

/// A ground with the environment that a step has made from `tiny==1.0`, without a record of it. Making one takes
/// seconds, so one is made and copied for all tests that want one, and goes with the last of them.
fn ground_with_environment(name: &str) -> Ground {
    static MODEL: Mutex<Weak<Ground>> = Mutex::new(Weak::new());
    let mut known = MODEL.lock().unwrap_or_else(PoisonError::into_inner);
    let model = known.upgrade().unwrap_or_else(|| {
        let model = ground("python-model");
        model.expect_done(&packages(&["tiny==1.0"]));
        Arc::new(model)
    });
    *known = Arc::downgrade(&model);
    drop(known);
    let mut ground = ground(name);
    // Programs of an environment name its Python in their first line.
    sh(
        &ground.context.home,
        &format!(
            "cp -a {}/.venv . && for file in .venv/bin/*; do
                [ -L $file ] || sed -i \"1s|^#!.*/bin/python|#!$PWD/.venv/bin/python|\" $file
            done",
            model.context.home.display()
        ),
    );
    ground._model = Some(model);
    ground
}

fn packages(packages: &[&str]) -> Step {
    step(StepKind::Python(Python {
        requirements: None,
        packages: packages.iter().map(|&package| package.into()).collect(),
        environment: ".venv".into(),
    }))
}

/// What the environment's own command prints: it is there, and the module that it imports is whole.
fn tiny(ground: &Ground) -> String {
    sh(&ground.context.home, ".venv/bin/tiny && .venv/bin/python -c 'import tiny.part99'").trim().to_owned()
}

fn leftovers(ground: &Ground) -> Vec<String> {
    let entries =
        fs::read_dir(&ground.context.home).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    entries.filter(|name| name.contains("space-agent-")).collect()
}

#[test]
#[allow(clippy::disallowed_methods, reason = "the test measures")]
fn packages_are_installed_once_and_again_when_the_inputs_change() {
    let ground = ground("python");
    let log = ground.expect_done(&packages(&["tiny==1.0"]));
    assert!(log.contains("making the environment .venv with Python 3."), "{log}");
    assert!(log.contains("installing tiny==1.0 into .venv"), "{log}");
    assert_eq!(tiny(&ground), "tiny 1.0");
    let started = std::time::Instant::now();
    let why = ground.expect_skipped(&packages(&["tiny==1.0"]));
    eprintln!("skipped in {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    assert!(why.starts_with("its inputs have not changed since 20") && why.ends_with(" UTC"), "{why}");

    ground.expect_done(&packages(&["tiny==2.0"]));
    assert_eq!(tiny(&ground), "tiny 2.0");
    ground.expect_skipped(&packages(&["tiny==2.0"]));

    fs::write(ground.home("requirements.txt"), "-r more.txt\n").unwrap();
    fs::write(ground.home("more.txt"), "tiny==1.0\n").unwrap();
    let requirements =
        Python { requirements: Some("requirements.txt".into()), packages: vec![], environment: ".venv".into() };
    let step = step(StepKind::Python(requirements));
    ground.expect_done(&step);
    assert_eq!(tiny(&ground), "tiny 1.0");
    ground.expect_skipped(&step);
    fs::write(ground.home("more.txt"), "tiny==2.0\n").unwrap();
    ground.expect_done(&step);
    assert_eq!(tiny(&ground), "tiny 2.0");
}

#[test]
fn an_environment_that_disappears_or_loses_its_python_is_made_anew() {
    let ground = ground_with_environment("python-gone");
    let step = packages(&["tiny"]);
    ground.expect_done(&step);
    fs::remove_dir_all(ground.home(".venv")).unwrap();
    ground.expect_done(&step);
    let program = ground.home(".venv/bin/python3");
    fs::remove_file(&program).unwrap();
    std::os::unix::fs::symlink("/nowhere/python3", &program).unwrap();
    let log = ground.expect_done(&step);
    assert!(log.contains("making .venv anew"), "{log}");
    assert_eq!(tiny(&ground), "tiny 2.0");
    assert_eq!(leftovers(&ground), [""; 0]);
}

#[test]
fn an_environment_that_is_not_ours_is_used_and_never_removed() {
    let ground = ground_with_environment("python-foreign");
    sh(&ground.context.home, "rm .venv/.space-agent.json && touch .venv/mine");
    let log = ground.expect_done(&packages(&["tiny==1.0"]));
    assert!(log.contains("which was there already"), "{log}");
    ground.expect_skipped(&packages(&["tiny==1.0"]));
    ground.expect_done(&packages(&["tiny==2.0"]));
    assert_eq!(tiny(&ground), "tiny 2.0");
    sh(&ground.context.home, "rm .venv/bin/python*");
    let why = ground.expect_failed(&packages(&["tiny"]));
    assert!(why.contains("it was there already") && why.ends_with("remove it, or name another"), "{why}");
    assert!(ground.home(".venv/mine").exists());

    let mut other = packages(&["tiny"]);
    let StepKind::Python(python) = &mut other.kind else { unreachable!() };
    for (place, expected) in
        [("data", "it was there already"), (".", "a folder of its own"), ("..", "a folder of its own")]
    {
        fs::create_dir_all(ground.home("data/precious")).unwrap();
        python.environment = place.into();
        let why = ground.expect_failed(&step(StepKind::Python(python.clone())));
        assert!(why.contains(expected), "{why}");
        assert!(ground.home("data/precious").exists());
    }
}

#[test]
fn an_environment_behind_a_link_is_worked_on_where_it_is() {
    let ground = ground_with_environment("python-link");
    sh(&ground.context.home, "mkdir ../scratch && mv .venv ../scratch/venv && ln -s ../scratch/venv .venv");
    ground.expect_done(&packages(&["tiny==1.0"]));
    ground.expect_skipped(&packages(&["tiny==1.0"]));
    sh(&ground.context.home, "rm .venv/bin/python3 .venv/bin/python");
    ground.expect_done(&packages(&["tiny==1.0"]));
    assert_eq!(tiny(&ground), "tiny 1.0");
    assert!(ground.home(".venv").is_symlink());
}

#[test]
fn a_package_that_cannot_be_had_fails_in_one_clear_message_and_breaks_nothing() {
    let mut ground = ground_with_environment("python-fails");
    let step = packages(&["no-such-package"]);
    let why = ground.expect_failed(&step);
    assert!(
        why.starts_with("cannot install packages into .venv: the package index has no package no-such-package"),
        "{why}"
    );
    // Not an option, whatever it looks like.
    let why = ground.expect_failed(&packages(&["--target=/tmp/x"]));
    assert!(why.contains("Invalid requirement"), "{why}");
    ground.context.env.remove("PIP_NO_INDEX");
    ground.context.env.insert("PIP_INDEX_URL".into(), "http://127.0.0.1:9/simple".into());
    let why = ground.expect_failed(&step);
    assert!(
        why.contains("the connection is refused: check the network, a proxy (HTTPS_PROXY) or PIP_INDEX_URL"),
        "{why}"
    );
    ground.expect_done(&packages(&["--", "tiny==1.0"][1..]));
    assert_eq!(tiny(&ground), "tiny 1.0");
}

#[test]
fn a_missing_python_and_a_missing_file_say_what_to_do() {
    let ground = ground("python-missing");
    let python = Python { requirements: Some("no.txt".into()), packages: vec![], environment: ".venv".into() };
    let why = ground.expect_failed(&step(StepKind::Python(python)));
    assert!(why.contains("no.txt: create it, or correct `requirements`"), "{why}");
}

#[test]
fn a_record_that_cannot_be_written_costs_only_the_next_start_s_time() {
    let ground = ground_with_environment("python-state");
    fs::write(&ground.context.state, "in the way").unwrap();
    let log = ground.expect_done(&packages(&["tiny"]));
    assert!(log.contains("cannot remember this in"), "{log}");
    ground.expect_done(&packages(&["tiny"]));
}

/// Kills the step's worker `after` milliseconds after the line with `mark`, then expects a whole environment of the
/// next one. Its log.
fn kill_and_run(ground: &Ground, step: &Step, mark: &str, after: u64) -> String {
    let mut worker = ground.start(step);
    worker.wait_for(mark, PATIENCE);
    worker.wait_for("no such line", Duration::from_millis(after));
    worker.kill();
    let (outcome, log) = ground.run(step);
    assert!(matches!(outcome, StepOutcome::Done { .. } | StepOutcome::Skipped { .. }), "{mark} {after}: {log}");
    assert_eq!(leftovers(ground), [""; 0]);
    log
}

#[test]
fn a_making_that_was_killed_at_any_moment_comes_right_at_the_next_start() {
    let ground = ground("python-killed");
    for round in 0..rounds() {
        // pip prints the third line right before it writes the package's files.
        for (mark, after) in [("making", 400), ("Installing collected", 20)] {
            let log = kill_and_run(&ground, &packages(&["tiny==1.0"]), mark, after + round as u64 * 10);
            assert_eq!(tiny(&ground), "tiny 1.0", "{mark} {after}: {log}");
            fs::remove_dir_all(ground.home(".venv")).unwrap();
        }
    }
}

#[test]
fn a_change_that_was_killed_at_any_moment_comes_right_at_the_next_start() {
    let ground = ground_with_environment("python-killed-update");
    let mut mended = 0;
    for round in 0..2 * rounds() {
        let version = ["2.0", "1.0"][round % 2];
        let step = packages(&[&format!("tiny=={version}")]);
        let log = kill_and_run(&ground, &step, "Uninstalling", round as u64 * 10);
        assert_eq!(tiny(&ground), format!("tiny {version}"), "{round}: {log}");
        ground.expect_skipped(&step);
        mended += u32::from(log.contains("mending it"));
    }
    assert!(mended > 0, "no kill came before the end");
}

#[test]
fn a_half_installed_package_is_installed_again() {
    let ground = ground_with_environment("python-half");
    // What a kill leaves before and after the wheel's own RECORD: pip would be satisfied with either.
    for half in ["rm", "sed -i /INSTALLER/d"] {
        let script = format!(
            "sed -i s/ready/updating/ .venv/.space-agent.json
            rm .venv/bin/tiny
            {half} .venv/lib/*/site-packages/tiny-1.0.dist-info/RECORD"
        );
        sh(&ground.context.home, &script);
        let log = ground.expect_done(&packages(&["tiny==1.0"]));
        assert!(log.contains("removing the half-installed"), "{log}");
        assert_eq!(tiny(&ground), "tiny 1.0", "{half}: {log}");
    }
}
