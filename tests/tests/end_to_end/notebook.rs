//! A person in JupyterLab: opens a notebook, runs a cell, sees what it says.

use space_tests::browser::{Browser, SHIFT_ENTER};
use space_tests::space::{BOOT, SOON};
use std::time::Duration;

/// Makes a notebook by JupyterLab's own commands, types a cell, presses Shift+Enter, waits for the output.
pub(crate) async fn run_a_cell(browser: &Browser) {
    browser.until(BOOT, "JupyterLab's launcher", "return !!document.querySelector('.jp-LauncherCard')").await;
    // As a click on the launcher's card for a Python notebook.
    let click = "const card = document.querySelector('.jp-LauncherCard[data-category=\"Notebook\"]'); \
                 if (card) card.click(); return !!card";
    browser.until(BOOT, "the card for a notebook", click).await;
    let idle = "return !!document.querySelector('.jp-Notebook .cm-content') && \
                document.querySelector('#jp-main-statusbar').innerText.includes('| Idle')";
    browser.until(BOOT, "the notebook with its kernel", idle).await;
    // Real keys, and only then Shift+Enter: an editor that is just being made may lose the first ones.
    browser.type_into(".jp-Notebook .cm-content", "print('six times seven is', 6 * 7)").await;
    let typed = "return document.querySelector('.jp-Notebook .cm-content').innerText.includes('6 * 7)')";
    browser.until(SOON, "the typed cell", typed).await;
    // JupyterLab drops a cell that is run before its kernel is connected (seen at its WebSocket: no execute_request is ever
    // sent) and shows no sign of that: press again then.
    let output = "return [...document.querySelectorAll('.jp-OutputArea-output')]\
                  .some(e => e.innerText.includes('six times seven is 42'))";
    for _ in 0..5 {
        browser.type_into(".jp-Notebook .cm-content", SHIFT_ENTER).await;
        if browser.would(Duration::from_secs(5), output).await {
            return;
        }
    }
    browser.until(SOON, "the cell's output", output).await;
}
