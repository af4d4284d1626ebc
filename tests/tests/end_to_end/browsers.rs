//! People with a browser, at the base paths that platforms give a space: JupyterLab, Code Editor, and what they run on
//! ports of their own. Full counts tell each story at every base path.

use crate::documents::{echo, jupyterlab};
use crate::notebook::run_a_cell;
use hyper::Method;
use space_tests::browser::Browser;
use space_tests::client::{Client, whole};
use space_tests::command::spawn_quiet;
use space_tests::places::{self, full};
use space_tests::processes;
use space_tests::space::{BOOT, Run, SOON, Space, free_port};
use space_tests::wait::wait_for;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

/// The machine's own, JupyterHub's, Kubeflow's, SageMaker's.
const BASE_PATHS: [&str; 4] = ["/", "/user/alice/", "/notebook/ns/name/", "/jupyterlab/default/"];
const CONTROL: &str = "\u{E009}";
const SHIFT: &str = "\u{E008}";
/// Releases what is held.
const RELEASE: &str = "\u{E000}";
const ENTER: &str = "\u{E007}";

/// Every base path, or in a fast run the one that stands for them.
fn base_paths(fast: &'static str) -> Vec<&'static str> {
    if full() { BASE_PATHS.to_vec() } else { vec![fast] }
}

/// As part of a picture's name.
fn spelt(base_path: &str) -> String {
    match base_path.trim_matches('/') {
        "" => "root".to_owned(),
        path => path.replace('/', "-"),
    }
}

async fn on_disk(browser: &Browser, path: &Path, text: &str) {
    let shown = path.display().to_string();
    let written = wait_for(SOON, &shown, async || {
        let found = fs::read_to_string(path).unwrap_or_else(|error| error.to_string());
        if found.contains(text) { Ok(()) } else { Err(found) }
    });
    if let Err(seen) = written.await {
        browser.screenshot("failed-on-disk").await;
        panic!("{seen}");
    }
}

async fn ends_well(space: &Space, mut run: Run, browser: Browser) {
    drop(browser);
    assert_eq!(run.stop().await, 0);
    space.assert_nothing_left();
}

#[tokio::test]
async fn in_jupyterlab_a_person_runs_a_cell_types_in_a_terminal_and_uploads_a_file() {
    for base_path in base_paths("/user/alice/") {
        let mut space = Space::below(base_path, &jupyterlab());
        let mut run = space.start();
        run.ready().await;
        let browser = Browser::start(&format!("lab-{}", spelt(base_path))).await;
        browser.go(&run.link().await).await;
        run_a_cell(&browser).await;

        browser
            .click("#filebrowser [data-command=\"launcher:create\"], [data-jp-item-name=\"new-launcher\"] jp-button")
            .await;
        let terminal = "const card = [...document.querySelectorAll('.jp-LauncherCard')]\
                        .find(card => card.offsetParent && card.title.includes('terminal')); \
                        if (card) card.click(); return !!card";
        browser.until(SOON, "the card for a terminal", terminal).await;
        // It is drawn on a canvas: that its cursor takes keys says that it is connected.
        let cursor = "const input = document.querySelector('.jp-Terminal .xterm-helper-textarea'); \
                      if (input) input.focus(); return !!input && document.activeElement === input";
        browser.until(SOON, "the terminal", cursor).await;
        browser.press(&format!("echo typed by a person > typed.txt{ENTER}")).await;
        on_disk(&browser, &space.home.join("typed.txt"), "typed by a person").await;

        upload(&browser, &space).await;
        browser.screenshot(&format!("lab-at-{}", spelt(base_path))).await;
        ends_well(&space, run, browser).await;
    }
}

/// Presses the button, and picks a file where the browser would show the machine's own dialog.
async fn upload(browser: &Browser, space: &Space) {
    let file = space.folder.join("picked.txt");
    fs::write(&file, "from the person's own machine").unwrap();
    let instead = "HTMLInputElement.prototype.click = function () { this.id = 'picked'; \
                   this.style = 'position: fixed; top: 0; display: block'; document.body.append(this); }; return 1";
    browser.ask(instead).await;
    browser.click("#filebrowser [data-jp-item-name=\"uploader\"] jp-button").await;
    let input = browser.page.find(fantoccini::Locator::Css("#picked")).await.expect("the dialog's field");
    input.send_keys(&file.to_string_lossy()).await.expect("a file can be picked");
    on_disk(browser, &space.home.join("picked.txt"), "from the person's own machine").await;
    let listed = "return document.querySelector('.jp-DirListing-content').innerText.includes('picked.txt')";
    browser.until(SOON, "the uploaded file in the list", listed).await;
    browser.ask("document.querySelector('#picked').remove(); return 1").await;
}

#[tokio::test]
async fn in_code_editor_a_person_edits_a_file_types_in_a_terminal_and_sees_a_preview() {
    let Some(editor) = places::editor() else { return };
    for base_path in base_paths("/notebook/ns/name/") {
        let mut space =
            Space::below(base_path, "apps:\n  - kind: code-editor\n    environment: editor\n    folder: work\n");
        symlink(&editor, space.home.join("editor")).unwrap();
        let work = space.home.join("work");
        fs::create_dir(&work).unwrap();
        fs::write(work.join("notes.md"), "# A heading of the preview\n").unwrap();
        let mut run = space.start();
        run.ready().await;
        let browser = Browser::start(&format!("editor-{}", spelt(base_path))).await;
        browser.go(&run.link().await).await;

        let listed = "return !!document.querySelector('.explorer-folders-view [aria-label^=\"notes.md\"]')";
        browser.until(BOOT, "the list of files", listed).await;
        let loaded = messages(&run, "quiet").await;
        // An open page talks all the time, and that holds no space up.
        talks_on(&run, loaded + 150).await;
        let untouched = messages(&run, "work").await;
        assert!(untouched <= STRAY, "{untouched} messages of a page in which nobody has done anything");
        browser.click(".explorer-folders-view [aria-label^=\"notes.md\"]").await;
        browser
            .until(SOON, "the editor", "return !!document.querySelector('.editor-instance .view-line span span')")
            .await;
        browser.click(".editor-instance .view-lines").await;
        browser.press("typed in the browser ").await;
        browser.press(&format!("{CONTROL}s{RELEASE}")).await;
        on_disk(&browser, &work.join("notes.md"), "typed in the browser").await;
        assert!(messages(&run, "work").await > STRAY, "what was typed is nobody's work");

        // The preview is an extension's: its page is a frame in a frame, served by a service worker.
        browser.press(&format!("{CONTROL}{SHIFT}v{RELEASE}")).await;
        let heading = "const outer = document.querySelector('iframe.webview'); \
                       const inner = outer && outer.contentDocument.querySelector('iframe#active-frame'); \
                       return !!inner && inner.contentDocument.body.innerText.includes('A heading of the preview')";
        browser.until(BOOT, "the preview", heading).await;

        browser.press(&format!("{CONTROL}`{RELEASE}")).await;
        let prompt = "const rows = document.querySelector('.terminal-wrapper .xterm-screen'); \
                      return !!rows && !!document.activeElement.closest('.xterm')";
        browser.until(BOOT, "the terminal", prompt).await;
        browser.press(&format!("echo from a terminal > terminal.txt{ENTER}")).await;
        on_disk(&browser, &work.join("terminal.txt"), "from a terminal").await;
        browser.screenshot(&format!("editor-at-{}", spelt(base_path))).await;
        restarts_whole(&space, &mut run).await;
        ends_well(&space, run, browser).await;
    }
}

/// What a page of Code Editor that was just opened sends at most of messages that count as somebody's work. Mostly it
/// sends none; on a busy machine one was seen now and then, a while after the list of files. Which one is not known.
const STRAY: u64 = 1;

/// Messages of Code Editor's pages, by their class.
async fn messages(run: &Run, class: &str) -> u64 {
    let answer = run.control(Method::GET, "/metrics", None).await;
    let text = answer.unwrap_or_else(|error| panic!("{error}")).good("the metrics").text();
    let name = format!("space_agent_websocket_messages_total{{app=\"default\",class=\"{class}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name)).unwrap_or("0");
    line.parse().unwrap_or_else(|_| panic!("no number of {class} messages: {line}"))
}

/// Until the page has sent so many messages of nobody's: 50 are the keep-alives of a round and what comes with them.
async fn talks_on(run: &Run, enough: u64) {
    let more = wait_for(BOOT, "an open page's messages", async || match messages(run, "quiet").await {
        now if now >= enough => Ok(()),
        now => Err(format!("{now} messages, not {enough}")),
    });
    more.await.unwrap_or_else(|seen| panic!("{seen}"));
}

/// Its server, extension host and terminals end together, with a page that is still open.
async fn restarts_whole(space: &Space, run: &mut Run) {
    let app = run.status().await.unwrap().app_pid().expect("the app runs");
    let own = |pid: i32| -> BTreeSet<i32> { processes::descendants(pid).into_iter().chain([pid]).collect() };
    let before = own(app);
    assert!(before.len() > 3, "a server, an extension host and a terminal: {before:?}");
    let told = space_tests::command::run(space.command(&["restart", "--yes"]), BOOT).await;
    assert_eq!(told.code(), 0, "{}", told.stderr);
    let gone = wait_for(SOON, "the processes of the first start to be gone", async || {
        let left: Vec<i32> = before.iter().filter(|pid| processes::alive(**pid)).copied().collect();
        let shown: Vec<_> = left.iter().map(|pid| format!("{pid} {}", processes::command_line(*pid))).collect();
        if left.is_empty() { Ok(()) } else { Err(shown.join(", ")) }
    });
    gone.await.unwrap_or_else(|seen| panic!("{seen}"));
}

/// A server of the user's, on a port of its own; ends when it is dropped.
struct Server(Child);

impl Server {
    async fn start(command: &mut Command, port: u16) -> Server {
        let child = spawn_quiet(command).unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let server = Server(child);
        // Vite listens for a moment before it is there, to see that nobody else does: only an answer is a sign.
        let answers = async || Client::new(port).try_send(Method::GET, "/", &[], whole("")).await;
        wait_for(BOOT, "the server to answer", answers).await.unwrap_or_else(|seen| panic!("{seen}"));
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = self.0.id().cast_signed();
        processes::kill_all(processes::descendants(pid).into_iter().chain([pid]));
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn below_proxy_and_a_port_a_person_uses_streamlit_and_a_development_server_that_loads_anew() {
    let editor = places::editor();
    for base_path in base_paths("/jupyterlab/default/") {
        let mut space = Space::below(base_path, &echo());
        let mut run = space.start();
        run.ready().await;
        let browser = Browser::start(&format!("ports-{}", spelt(base_path))).await;
        browser.go(&run.link().await).await;
        let below = format!("http://127.0.0.1:{}{base_path}", space.port);
        streamlit(&browser, &space, &below, base_path).await;
        if let Some(editor) = &editor {
            vite(&browser, &space, editor, &below, base_path).await;
        }
        ends_well(&space, run, browser).await;
    }
}

async fn streamlit(browser: &Browser, space: &Space, below: &str, base_path: &str) {
    let port = free_port();
    let app = space.home.join("app.py");
    fs::write(&app, "import streamlit as st\nst.title('A dashboard')\nif st.button('Count'):\n    st.write(f'six times seven is {6 * 7}')\n")
        .unwrap();
    let mut command = Command::new(places::environment().join("bin/streamlit"));
    command.arg("run").arg(&app).args(["--server.headless=true", "--server.address=127.0.0.1"]);
    command.arg(format!("--server.port={port}")).arg("--browser.gatherUsageStats=false").env("HOME", &space.home);
    let _server = Server::start(&mut command, port).await;
    browser.go(&format!("{below}proxy/{port}/")).await;
    let button = "const button = [...document.querySelectorAll('button')].find(one => one.innerText.trim() === 'Count'); \
                  if (button) button.click(); return !!button";
    browser.until(BOOT, "the button of the dashboard", button).await;
    let counted = "return document.body.innerText.includes('six times seven is 42')";
    browser.until(BOOT, "what the server has counted", counted).await;
    browser.screenshot(&format!("streamlit-at-{}", spelt(base_path))).await;
}

/// Vite writes whole paths, so it is told its own and sees paths as they are: `proxy/absolute/`.
async fn vite(browser: &Browser, space: &Space, editor: &Path, below: &str, base_path: &str) {
    let port = free_port();
    let site = space.home.join("site");
    fs::create_dir(&site).unwrap();
    fs::write(site.join("index.html"), "<h1 id='title'></h1><script type='module' src='./main.js'></script>").unwrap();
    let module = |text: &str| {
        let code = format!(
            "document.getElementById('title').textContent = '{text}';\nif (import.meta.hot) import.meta.hot.accept();\n"
        );
        fs::write(site.join("main.js"), code).unwrap();
    };
    module("the first text");
    let mut command = Command::new(editor.join("bin/vite"));
    let path = format!("{}:{}", editor.join("bin").display(), std::env::var("PATH").unwrap_or_default());
    command.args(["--host=127.0.0.1", "--strictPort", &format!("--port={port}")]);
    command.arg(format!("--base={base_path}proxy/absolute/{port}/")).current_dir(&site).env("PATH", path);
    let _server = Server::start(&mut command, port).await;
    browser.go(&format!("{below}proxy/absolute/{port}/")).await;
    let shows = |text: &str| format!("return document.getElementById('title').textContent === '{text}'");
    browser.until(BOOT, "the page of the development server", &shows("the first text")).await;
    browser.ask("window.seenByTheStory = true; return 1").await;
    // The change arrives over its WebSocket; nobody loads the page again. A change before that is open is told to nobody.
    for _ in 0..5 {
        module("the second text");
        if browser.would(Duration::from_secs(3), &shows("the second text")).await {
            break;
        }
    }
    browser.until(SOON, "the changed text", &shows("the second text")).await;
    assert_eq!(browser.ask("return window.seenByTheStory").await, true, "the page was loaded again");
    browser.screenshot(&format!("vite-at-{}", spelt(base_path))).await;
}
