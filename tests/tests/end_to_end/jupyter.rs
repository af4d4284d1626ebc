//! The real JupyterLab behind the front door: kernels, files, a person's browser.

use crate::documents::{LAB, jupyterlab};
use crate::notebook::run_a_cell;
use space_tests::browser::Browser;
use space_tests::jupyter::Jupyter;
use space_tests::places::{figure, full};
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
    let line = "return document.body && document.body.innerText.includes('file 5 of')";
    browser.until(SOON, "a line of the step's output", line).await;
    // The page stays as it is and its clock runs: what is written on its window is there seconds later.
    browser.ask("window.seenByTheStory = true").await;
    let runs = "return window.seenByTheStory === true && /(^|\\s)([3-9](\\.\\d)?|\\d\\d+) s(\\s|$)/m.test(document.body.innerText)";
    browser.until(SOON, "the running step's clock, on a page that was not loaded again", runs).await;
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
