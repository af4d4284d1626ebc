//! Recovery mode: what is broken in a space can be repaired in it, by whoever works in it.

use crate::documents::{ECHO, LAB, echo, echo_with};
use hyper::Method;
use nix::sys::signal::Signal;
use serde_json::json;
use space_tests::browser::Browser;
use space_tests::client::Client;
use space_tests::command::put_script;
use space_tests::jupyter::Jupyter;
use space_tests::places;
use space_tests::processes;
use space_tests::space::{BOOT, Run, SOON, Space};
use space_tests::status::Status;
use space_tests::wait::wait_for;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const SHORT: &str = "    restart: { max: 2, backoff: 100ms..200ms }\n";
/// From the damage to a page that helps.
const WITHIN: Duration = Duration::from_secs(60);

/// A small virtual environment in which a real JupyterLab runs: its packages are those of the ready-made one, but its own
/// folder of packages comes first, so that it can be damaged without harm to others.
fn environment(folder: &Path) -> PathBuf {
    let made = std::process::Command::new(places::environment().join("bin/python"))
        .args(["-m", "venv", "--without-pip"])
        .arg(folder)
        .status();
    assert!(made.is_ok_and(|status| status.success()), "no venv in {}", folder.display());
    let packages = packages(folder);
    fs::write(packages.join("ready-made.pth"), format!("{}\n", self::packages(&places::environment()).display()))
        .unwrap();
    let program = folder.join("bin/jupyter-lab");
    let python = folder.join("bin/python");
    put_script(&program, &format!("#!{}\nfrom jupyterlab.labapp import main\nmain()\n", python.display()));
    packages
}

fn packages(environment: &Path) -> PathBuf {
    let lib = fs::read_dir(environment.join("lib")).unwrap();
    let versions = lib.map(|entry| entry.unwrap().path());
    versions.map(|path| path.join("site-packages")).find(|path| path.is_dir()).expect("a venv has packages")
}

async fn recovers(run: &mut Run) -> Status {
    let in_recovery = |status: &Status| match status.0["mode"].as_str() {
        Some("recovery") => Ok(status.clone()),
        other => Err(format!("mode {other:?}: {}", status.sentence())),
    };
    run.until(WITHIN, "recovery mode", in_recovery).await
}

async fn app_is(run: &mut Run, state: &str) -> Status {
    let is = |status: &Status| match status.0["apps"][0]["state"] == state && status.0["mode"] == "recovery" {
        true => Ok(status.clone()),
        false => Err(format!("{:#}", status.0["apps"])),
    };
    run.until(WITHIN, "the app's state", is).await
}

/// What the console of the page prints for a command.
async fn rescue(client: &mut Client, run: &Run, log: &Path, command: &str) -> String {
    let before = fs::read_to_string(log).unwrap_or_default().len();
    client.send_json(Method::POST, "/_space/rescue", &json!({ "command": command })).await.good("the console");
    let ended = wait_for(SOON, "the end of a command of the console", async || {
        let said = fs::read_to_string(log).unwrap_or_default().split_off(before);
        if said.contains("(exit code ") { Ok(said) } else { Err(format!("it has said {said:?}; {}", run.told())) }
    });
    ended.await.unwrap_or_else(|seen| panic!("{seen}"))
}

#[tokio::test]
async fn a_jupyterlab_damaged_from_inside_is_repaired_in_a_recovery_jupyterlab() {
    let body = format!("apps:\n  - kind: jupyterlab\n    environment: .venv\n{SHORT}");
    let image = tempfolder("image");
    environment(&image);
    let path = format!("{}:{}", image.join("bin").display(), std::env::var("PATH").unwrap());
    let mut space = Space::new(&body).with_env("PATH", path);
    let own = environment(&space.home.join(".venv"));
    // The user's own settings are the user's set-up: one that breaks every server.
    let mut run = space.start();
    let ready = run.ready().await;
    let mut jupyter = Jupyter::new(run.signed_in().await, LAB).await;
    let mut kernel = jupyter.session("damage.ipynb").await;
    let damage = format!(
        "import os\nos.mkdir(r'{0}/jupyter_server')\nopen(r'{0}/jupyter_server/__init__.py', 'w').write('raise ImportError(\"half installed\")')\nos.makedirs('.jupyter')\nopen('.jupyter/jupyter_server_config.py', 'w').write('raise SystemExit(3)')",
        own.display()
    );
    kernel.execute(&damage, SOON).await;
    drop(kernel);
    processes::signal(ready.app_pid().unwrap(), Signal::SIGKILL);

    recovers(&mut run).await;
    let status = app_is(&mut run, "ready").await;
    let reason = status.0["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("half installed") && reason.contains("default.log"), "{reason}");
    let program = processes::command_line(status.app_pid().unwrap());
    assert!(program.contains(&*image.to_string_lossy()), "the image's comes first: {program}");

    let mut jupyter = Jupyter::new(jupyter.client, LAB).await;
    let mut kernel = jupyter.session("repair.ipynb").await;
    let seen = kernel
        .execute("import os; print(sorted(os.listdir()), os.environ['HOME'], os.path.realpath('home'))", BOOT)
        .await;
    assert!(seen.contains("RECOVERY.md") && seen.contains("recovery/home"), "{seen}");
    assert!(seen.trim().ends_with(&*space.home.to_string_lossy()), "{seen}");
    let note = kernel.execute("print(open('RECOVERY.md').read())", SOON).await;
    assert!(note.contains("half installed") && note.contains("space-agent start"), "{note}");
    let page = jupyter.client.visit("/_space/").await;
    assert!(page.text().contains("half installed"), "the page says why, beside the app: {}", page.text());
    let browser = Browser::start("recovery").await;
    let link = run.control(Method::POST, "/v1/sign-in", Some(json!({}))).await.unwrap().json();
    browser.go(link["link"].as_str().unwrap()).await;
    let shown = "return document.body.innerText.includes('This space runs in recovery mode')";
    browser.until(BOOT, "the note as JupyterLab shows it", shown).await;
    browser.screenshot("recovery-jupyterlab").await;
    browser.go(&format!("http://127.0.0.1:{}/_space/", space.port)).await;
    browser.until(SOON, "the page", "return document.body.innerText.includes('with a clean home')").await;
    let lately = "return document.getElementById('events').innerText.includes('it is started again')";
    browser.until(SOON, "what went wrong before, on the page", lately).await;
    browser.screenshot("recovery-page").await;
    drop(browser);
    let mend = format!(
        "import shutil; shutil.rmtree(r'{}/jupyter_server'); os.remove('home/.jupyter/jupyter_server_config.py')",
        own.display()
    );
    kernel.execute(&mend, SOON).await;
    drop(kernel);

    jupyter.client.post_form("/_space/start", "").await.good("the start");
    let status = run.ready().await;
    assert_eq!(status.0["mode"], "normal");
    let program = processes::command_line(status.app_pid().unwrap());
    assert!(program.contains(&*space.home.to_string_lossy()), "the space's own again: {program}");
    assert!(!space.run.join("recovery").exists(), "the clean home is gone");
    assert_eq!(run.stop().await, 0);
    space.assert_nothing_left();
    let _ = fs::remove_dir_all(&image);
}

#[tokio::test]
async fn without_any_other_jupyterlab_the_page_s_console_repairs() {
    let body = format!("apps:\n  - kind: jupyterlab\n    environment: .venv\n{SHORT}");
    let mut space = Space::new(&body);
    let own = environment(&space.home.join(".venv"));
    let mut run = space.start();
    let ready = run.ready().await;
    fs::rename(space.home.join(".venv/bin/jupyter-lab"), space.home.join("moved")).unwrap();
    processes::signal(ready.app_pid().unwrap(), Signal::SIGKILL);
    recovers(&mut run).await;
    app_is(&mut run, "failed").await;

    let browser = Browser::start("console").await;
    browser.go(&run.link().await).await;
    let page = "return document.body.dataset.mode === 'recovery' && document.body.innerText.includes('jupyter-lab')";
    browser.until(SOON, "the page with the reason", page).await;
    browser.type_into("#command", "pwd; ls -A; echo of $USER >&2; false\u{E007}").await;
    let said = "return document.getElementById('said').innerText.includes('(exit code 1)')";
    browser.until(SOON, "the command's output and its end", said).await;
    let said = browser.ask("return document.getElementById('said').innerText").await;
    let said = said.as_str().unwrap_or_default().to_owned();
    for part in [&*space.home.to_string_lossy(), "moved", "$ pwd; ls -A"] {
        assert!(said.contains(part), "no {part}: {said}");
    }
    browser.screenshot("recovery-console").await;
    let mut client = run.signed_in_again().await;
    let log = space.run.join("log/apps/rescue.log");
    let said = rescue(&mut client, &run, &log, "mv moved .venv/bin/jupyter-lab && echo mended").await;
    assert!(said.contains("mended") && said.contains("(exit code 0)"), "{said}");
    // By the button, as a person does; the page becomes the app.
    browser.ask("document.getElementById('go').click()").await;
    let status = run.ready().await;
    assert_eq!(status.0["mode"], "normal");
    drop(browser);
    let refused = client.send_json(Method::POST, "/_space/rescue", &json!({ "command": "true" })).await;
    assert_eq!(refused.status, 409, "only in recovery mode");
    assert!(own.is_dir());
    assert_eq!(run.stop().await, 0);
    space.assert_nothing_left();
}

#[tokio::test]
async fn an_invalid_document_is_mended_and_the_space_started_with_it() {
    let mut space = Space::new("apps:\n  - kind: jupyterlab\n    enviroment: .venv\nidle: { shutdown: soon }\n");
    let mut run = space.start();
    let status = recovers(&mut run).await;
    let told = status.0.to_string();
    for part in ["enviroment", "idle.shutdown", "space.yaml"] {
        assert!(told.contains(part), "no {part}: {told}");
    }
    let mut client = run.signed_in().await;
    let refused = client.post_form("/_space/start", "").await;
    assert!(refused.status == 409 && refused.text().contains("enviroment"), "{}", refused.text());
    space.write(&echo());
    client.post_form("/_space/start", "").await.good("the start");
    let status = run.ready().await;
    assert_eq!(status.0["apps"][0]["name"], "echo", "{status:?}");
    client.get(&format!("{ECHO}x")).await.good("the echo");
    assert_eq!(run.stop().await, 0);
    space.assert_nothing_left();
}

#[tokio::test]
async fn a_document_that_was_broken_later_gives_way_to_the_last_good_one() {
    let mut space = Space::new(&echo());
    let mut run = space.start();
    run.ready().await;
    let kept = space.folder.join("state").join(&space.name).join("document.yaml");
    let is_kept = wait_for(SOON, "the document to be kept", async || fs::metadata(&kept));
    is_kept.await.unwrap();
    assert_eq!(run.stop().await, 0);
    space.write("apps: 5\n");
    let mut run = space.start();
    let status = run.ready().await;
    assert_eq!((&status.0["apps"][0]["name"], &status.0["mode"]), (&json!("echo"), &json!("normal")));
    let warnings = status.0["warnings"].to_string();
    assert!(warnings.contains("last good document") && warnings.contains("apps"), "{warnings}");
    assert_eq!(run.stop().await, 0);
    space.assert_nothing_left();
}

#[tokio::test]
async fn recovery_mode_can_be_asked_for_and_an_app_that_dies_there_too_leaves_the_page() {
    let body = echo_with("dies") + SHORT;
    let mut space = Space::new(&body).with_env("SAGEMAKER_RECOVERY_MODE", "true");
    let mut run = space.start();
    let status = app_is(&mut run, "failed").await;
    assert!(status.0["reason"].as_str().is_some_and(|reason| reason.contains("SAGEMAKER_RECOVERY_MODE")), "{status:?}");
    let mut client = run.signed_in().await;
    let page = client.visit(ECHO).await.good("a browser's page");
    assert!(page.text().contains("data-mode=\"recovery\""));
    assert_eq!(client.get(ECHO).await.status, 503, "a program's");
    assert_eq!(run.stop().await, 0);
    space.assert_nothing_left();
}

/// A folder of this test process; sockets and programs need short paths.
fn tempfolder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("space-tests-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    folder
}
