//! The real JupyterLab behind the front door: kernels, files, a person's browser, and the second start.

use crate::documents::{LAB, jupyterlab};
use crate::notebook::run_a_cell;
use space_tests::browser::Browser;
use space_tests::command;
use space_tests::jupyter::Jupyter;
use space_tests::places::{figure, full, project};
use space_tests::processes;
use space_tests::space::{SOON, Space};
use std::time::Duration;

/// A piece of an upload: whole groups of 3 bytes, so that base64 pieces can be joined.
const PIECE: usize = 3 * 350_000;

#[tokio::test]
async fn a_program_signs_in_runs_code_and_moves_a_big_file() {
    let mut space = Space::new(&jupyterlab());
    let mut run = space.start();
    let status = run.ready().await;
    let mut jupyter = Jupyter::new(run.signed_in().await, LAB).await;
    let mut kernel = jupyter.session("program.ipynb").await;
    assert_eq!(kernel.execute("print(6 * 7)", Duration::from_secs(30)).await, "42\n");

    // The kernel lives in the space: its working folder is the home.
    let folder = kernel.execute("import os; print(os.getcwd())", SOON).await;
    assert_eq!(folder.trim(), space.home.to_string_lossy());

    let megabytes = if full() { 200 } else { 20 };
    let pieces = megabytes * 1_000_000usize / PIECE + 1;
    let pid = status.agent_pid();
    // Once through first: buffers and pages that are there once are not growth.
    jupyter.upload("warm.bin", 4, content).await;
    jupyter.download("warm.bin", |_| {}).await;
    processes::forget_peak(pid);
    let before = processes::resident(pid).expect("the agent runs");
    jupyter.upload("big.bin", pieces, content).await;
    let (mut number, mut wrong) = (0, 0);
    let bytes = jupyter
        .download("big.bin", |piece| {
            wrong += piece.iter().enumerate().filter(|(at, byte)| **byte != byte_at(number + at)).count();
            number += piece.len();
        })
        .await;
    assert_eq!((bytes, wrong), ((pieces * PIECE) as u64, 0), "bytes that came back, wrong ones among them");
    let peak = processes::resident_peak(pid).expect("the agent runs");
    let grown = peak.saturating_sub(before);
    figure(&format!(
        "a file of {} MB up and down: the agent's memory grew by {grown} kB at its peak",
        bytes / 1_000_000
    ));
    assert!(grown < 8_000, "the agent's memory grew from {before} kB to {peak} kB");
    assert_eq!(run.stop().await, 0);
    space.assert_nothing_left();
}

fn content(piece: usize) -> Vec<u8> {
    (piece * PIECE..(piece + 1) * PIECE).map(byte_at).collect()
}

/// The file's content: no two neighbouring pieces are alike.
fn byte_at(at: usize) -> u8 {
    (at.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]
}

#[tokio::test]
async fn a_person_sees_the_boot_become_jupyterlab_and_runs_a_cell() {
    let mut space = Space::new(&slow_boot());
    let mut run = space.start();
    let browser = Browser::start("person").await;
    browser.go(&run.link().await).await;
    let text = "return document.body && document.body.innerText.includes('unpacking-data') ? 1 : 0";
    browser.until(SOON, "the start page with its step", &format!("return !!(function() {{ {text} }})()")).await;
    let line = "return document.body && document.body.innerText.includes('file 2 of')";
    browser.until(SOON, "a line of the step's output", line).await;
    browser.screenshot("start-page").await;
    std::fs::write(space.home.join("go"), "").unwrap();
    // Nobody clicks: the page moves on by itself.
    run_a_cell(&browser).await;
    browser.screenshot("jupyterlab").await;
    let address = browser.ask("return location.pathname").await;
    assert!(address.as_str().is_some_and(|path| path.starts_with(LAB)), "{address}");
    drop(browser);
    assert_eq!(run.stop().await, 0);
    space.assert_nothing_left();
}

/// A boot that waits for the story in its second step.
fn slow_boot() -> String {
    let steps = "lifecycle:\n  steps:\n    - name: unpacking-data\n      run: |\n        \
                 for i in 1 2 3 4 5; do echo file $i of 5; sleep 0.1; done\n        \
                 until [ -e go ]; do sleep 0.1; done\n    \
                 - name: greeting\n      run: echo welcome\n";
    jupyterlab() + steps
}

/// The document that README names, installed for real from an empty home: the slowest of the fast stories.
#[tokio::test]
async fn the_ready_document_installs_jupyterlab_once_and_starts_again_at_once() {
    let mut space = Space::empty();
    let ready_made = std::fs::read_to_string(project().join("lifecycle/configs/jupyterlab.yaml")).unwrap();
    space.write_verbatim(&format!(
        "{ready_made}\nspace: {{ name: {} }}\nstorage: {{ home: {{ directory: ./home }} }}\n\
         front_door: {{ listen: \"127.0.0.1:{}\" }}\n",
        space.name, space.port
    ));
    let mut run = space.start();
    let patience = Duration::from_secs(300);
    let status = run.until(patience, "the first boot", |status| status.ready().map(|()| status.clone())).await;
    let first = status.step("jupyterlab").clone();
    assert_eq!(first["state"], "done", "{first:#}");
    let mut jupyter = Jupyter::new(run.signed_in().await, LAB).await;
    let mut kernel = jupyter.session("first.ipynb").await;
    assert_eq!(kernel.execute("print(1)", Duration::from_secs(30)).await, "1\n");
    let prefix = kernel.execute("import sys; print(sys.prefix)", SOON).await;
    assert_eq!(prefix.trim(), space.home.join(".venv").to_string_lossy());
    assert_eq!(run.stop().await, 0);
    space.assert_nothing_left();
    assert!(space.home.join(".space-agent").is_dir(), "what was done is remembered in the home");

    // Other stories run at the same time: the best of a few starts is what the machine can do.
    let mut all = Vec::new();
    let (mut run, why) = loop {
        let mut run = space.start();
        let status = run.ready().await;
        let second = status.step("jupyterlab");
        assert_eq!(second["state"], "skipped", "{second:#}");
        let why = second["why"].as_str().unwrap_or_default().to_owned();
        assert!(why.contains("not changed"), "status doesn't say why it was skipped: {second:#}");
        let took: u64 = status.steps().iter().filter_map(|step| step["took_ms"].as_u64()).sum();
        all.push(took);
        if took < 200 {
            break (run, why);
        }
        assert!(all.len() < 5, "later starts' steps took {all:?} ms");
        assert_eq!(run.stop().await, 0);
    };
    let first = &first["took_ms"];
    figure(&format!("set-up steps took {first} ms at the first start; skipped at later ones in {all:?} ms"));
    let shown = command::run(space.command(&["status"]), SOON).await;
    assert!(shown.stdout.contains("skipped") && shown.stdout.contains(&why), "{}", shown.stdout);
    assert_eq!(run.stop().await, 0);
    space.assert_nothing_left();
}
