//! What the agent knows stays with it: nothing of it is in the processes of the user, and they cannot get at it.

use crate::documents::{LAB, jupyterlab};
use crate::supervision::small_app;
use nix::unistd::{Gid, Uid, chown};
use serde_json::Value;
use space_tests::command::copy_program;
use space_tests::jupyter::Jupyter;
use space_tests::places::project;
use space_tests::processes;
use space_tests::space::{Run, SOON, Space};
use space_tests::wait::wait_for;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Nobody's on a usual machine.
const USER: u32 = 51_234;

const OWN_USER: &str = "user: { uid: 51234, gid: 51234 }\n";

/// What only the agent is told. `SPACE_AGENT_RUN` and others of its settings are paths, no secrets.
const CANARIES: [(&str, &str); 5] = [
    ("SPACE_AGENT_SOMETHING", "canary-of-the-agent"),
    ("SPACE_AGENT_TOKEN", "canary-of-its-token"),
    ("JUPYTERHUB_API_TOKEN", "canary-of-the-hub"),
    ("DATABASE_PASSWORD", "canary-of-a-database"),
    ("KUBERNETES_SERVICE_HOST", "canary-of-the-platform"),
];

/// Only root can give a space a user of its own.
fn as_root() -> bool {
    let root = Uid::effective().is_root();
    if !root {
        println!("not told: only root can start a space whose user is another");
    }
    root
}

/// Makes the home the user's.
fn give_home(space: &Space) {
    chown(&space.home, Some(Uid::from_raw(USER)), Some(Gid::from_raw(USER))).expect("root may give a folder away");
}

/// The processes of the space that are neither init nor agent.
fn of_the_user(space: &Space, run: &Run) -> BTreeSet<i32> {
    let mut all = processes::marked(&[&space.folder]);
    all.extend(processes::descendants(run.pid()));
    let own = [Some(run.pid()), run.agent_pid()];
    all.retain(|pid| !own.contains(&Some(*pid)));
    all
}

/// All that a process shows of itself to others of its user.
fn shown(pid: i32) -> Vec<u8> {
    ["environ", "cmdline", "comm"].map(|file| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default()).concat()
}

fn holds(shown: &[u8], secret: &[u8]) -> bool {
    shown.windows(secret.len()).any(|part| part == secret)
}

/// The key that signs links and sessions, in the forms in which it might be shown: as it is, in hexadecimal, and as the
/// state in init's memory file has it. Only root finds it.
fn key(run: &Run) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(format!("/proc/{}/fd", run.pid())).unwrap().flatten().map(|entry| entry.path());
    let is_state = |path: &PathBuf| fs::read_link(path).is_ok_and(|to| to.to_string_lossy().contains("agent-state"));
    let state = fs::read(entries.into_iter().find(is_state).expect("init keeps the state")).unwrap();
    let state = String::from_utf8_lossy(&state).into_owned();
    let (_, rest) = state.split_once("\"key\":[").expect("the state has a key");
    let (written, _) = rest.split_once(']').expect("the key is a list");
    let bytes: Vec<u8> = written.split(',').map(|number| number.parse().expect("a byte")).collect();
    assert_eq!(bytes.len(), 32);
    let hexadecimal: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    vec![bytes, hexadecimal.into_bytes(), written.as_bytes().to_vec()]
}

#[tokio::test]
async fn nothing_of_the_agents_secrets_is_in_any_process_of_the_user() {
    let steps = "lifecycle:\n  steps:\n    - name: background\n      run: sleep 3600 &\n    - name: long\n      \
                 blocks: nothing\n      run: exec sleep 3600\n";
    let mut space = Space::new(&(jupyterlab() + steps));
    for (name, value) in CANARIES {
        space = space.with_env(name, value);
    }
    let mut run = space.start();
    run.ready().await;
    let client = run.signed_in().await;
    let cookie = client.cookies.values().next().expect("a session").clone();
    let printed = run.link().await;
    let token = printed.split_once('#').expect("a link has a token").1.to_owned();
    let mut jupyter = Jupyter::new(client, LAB).await;
    let mut kernel = jupyter.session("a.ipynb").await;
    kernel.execute("import subprocess; subprocess.Popen(['sleep', '3600'])", SOON * 3).await;

    let mut secrets = vec![cookie.into_bytes(), token.into_bytes()];
    secrets.extend(CANARIES.map(|(_, value)| value.as_bytes().to_vec()));
    if as_root() {
        secrets.extend(key(&run));
    }
    let users = of_the_user(&space, &run);
    let lines: Vec<String> = users.iter().map(|pid| processes::command_line(*pid)).collect();
    for expected in ["jupyter-lab", "ipykernel", "sleep 3600"] {
        assert!(lines.iter().any(|line| line.contains(expected)), "no {expected} among {lines:#?}");
    }
    for pid in users {
        let (shown, line) = (shown(pid), processes::command_line(pid));
        assert!(holds(&shown, b"SPACE_AGENT_CHILD_OF="), "the environment of {line} is not seen");
        let found: Vec<_> = secrets.iter().filter(|secret| holds(&shown, secret)).collect();
        let found: Vec<_> = found.iter().map(|secret| String::from_utf8_lossy(secret)).collect();
        assert!(found.is_empty(), "{line} shows {found:?}");
    }
    // They would be found: the agent itself was told the canaries.
    if as_root() {
        let agent = shown(run.agent_pid().unwrap());
        assert!(CANARIES.iter().all(|(_, canary)| holds(&agent, canary.as_bytes())), "the agent has no canaries");
    }
    assert_eq!(run.stop().await, 0);
    space.assert_nothing_left();
}

#[tokio::test]
async fn a_step_and_an_app_begin_with_three_descriptors() {
    let body = "lifecycle:\n  steps:\n    - name: sleeper\n      blocks: nothing\n      run: exec sleep 3601\n\
                apps:\n  - kind: command\n    name: sleeper\n    command: [sleep, \"3602\"]\n";
    let mut space = Space::new(body);
    let mut run = space.start();
    for line in ["sleep 3601", "sleep 3602"] {
        let found = wait_for(SOON, line, async || {
            let all = processes::descendants(run.pid());
            all.into_iter().find(|pid| processes::command_line(*pid).ends_with(line)).ok_or("it does not run")
        });
        let pid = found.await.unwrap();
        let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        let open: BTreeSet<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        let expected: BTreeSet<String> = ["0", "1", "2"].map(str::to_owned).into();
        let targets: Vec<_> = open.iter().map(|fd| fs::read_link(format!("/proc/{pid}/fd/{fd}"))).collect();
        assert_eq!(open, expected, "{line} has {targets:?}");
        assert_eq!(targets[0].as_ref().unwrap().to_string_lossy(), "/dev/null", "{line}");
    }
    run.remember();
    assert_eq!(run.stop().await, 0);
    space.assert_nothing_left();
}

#[tokio::test]
async fn a_user_of_its_own_can_neither_look_into_the_agent_nor_touch_it() {
    if !as_root() {
        return;
    }
    let mut space = Space::new("");
    // The project's folder may be closed to others than its owner.
    let script = space.folder.join("attack.py");
    fs::copy(project().join("tests/parts/attack.py"), &script).unwrap();
    let step = format!(
        "lifecycle:\n  steps:\n    - name: attack\n      blocks: nothing\n      run: exec /usr/bin/python3 '{}'\n",
        script.display()
    );
    space.write(&format!("{OWN_USER}{step}apps: []\n"));
    give_home(&space);
    let mut run = space.start();
    let status = run.ready().await;
    fs::write(space.home.join("go"), "").unwrap();
    let told = wait_for(Duration::from_secs(20), "the attack to be over", async || {
        fs::read_to_string(space.home.join("attacked.json")).map_err(|error| error.to_string())
    });
    let told: Value = serde_json::from_str(&told.await.unwrap()).unwrap();
    assert_eq!(told["uid"], USER, "the attacker runs as the user");
    for (what, answer) in told["itself"].as_object().unwrap() {
        assert_eq!(answer, "done", "{what} fails anyway, so it proves nothing: {told:#}");
    }
    for victim in ["agent", "init"] {
        let attempts = told[victim].as_object().unwrap();
        assert!(attempts.len() > 10, "{told:#}");
        for (what, answer) in attempts {
            let refused = matches!(answer.as_str(), Some("EPERM" | "EACCES"));
            assert!(refused, "{what} on the {victim}: {answer}");
        }
    }
    let after = run.status().await.unwrap();
    assert_eq!((after.agent_pid(), after.phase()), (status.agent_pid(), "running"));
    assert_eq!(run.stop().await, 0);
    space.assert_nothing_left();
}

#[tokio::test]
async fn apps_run_as_the_user_with_nothing_of_roots() {
    if !as_root() {
        return;
    }
    let mut space = Space::new("");
    let app = space.folder.join("space-app");
    copy_program(Path::new(env!("CARGO_BIN_EXE_space-app")), &app);
    let body = small_app("", "").replace(env!("CARGO_BIN_EXE_space-app"), &app.to_string_lossy());
    space.write(&format!("{OWN_USER}{body}"));
    give_home(&space);
    let mut run = space.start();
    let pid = run.ready().await.app_pid().unwrap();
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}{text}"));
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let user = USER.to_string();
    let four = [user.as_str(); 4].join(" ");
    assert_eq!((line("Uid:"), line("Gid:")), (four.clone(), four));
    assert!(["", user.as_str()].contains(&line("Groups:").as_str()), "groups {}", line("Groups:"));
    assert_eq!(line("NoNewPrivs:"), "1");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(line(set), "0000000000000000", "{set}");
    }
    assert_eq!(fs::metadata(space.run.join("apps/app.sock")).unwrap().uid(), USER);
    let mut client = run.signed_in().await;
    assert_eq!(client.get("/app/").await.good("the app").text(), pid.to_string());
    assert_eq!(run.stop().await, 0);
    space.assert_nothing_left();
}

#[tokio::test]
async fn status_names_the_isolation_as_it_is() {
    if !as_root() {
        return;
    }
    for (user, isolation) in [(OWN_USER, "uid"), ("user: { name: root }\n", "none")] {
        let mut space = Space::new(&format!("{user}apps: []\n"));
        give_home(&space);
        let mut run = space.start();
        assert_eq!(run.ready().await.0["isolation"], isolation, "{user}");
        assert_eq!(run.stop().await, 0);
        space.assert_nothing_left();
    }
}
