//! A person in JupyterLab: opens a notebook, runs a cell, sees what it says.

use space_tests::browser::Browser;
use space_tests::space::BOOT;

/// Makes a notebook by JupyterLab's own commands, types a cell, presses Shift+Enter, waits for the output.
pub(crate) async fn run_a_cell(browser: &Browser) {
    browser.until(BOOT, "JupyterLab's launcher", "return !!document.querySelector('.jp-LauncherCard')").await;
    // As a click on the launcher's card for a Python notebook.
    let click = "const card = document.querySelector('.jp-LauncherCard[data-category=\"Notebook\"]'); \
                 if (card) card.click(); return !!card";
    browser.until(BOOT, "the card for a notebook", click).await;
    let idle = "return !!document.querySelector('.jp-Notebook .jp-Cell') && \
                !!document.querySelector('[data-status=\"idle\"], .jp-Notebook-ExecutionIndicator[data-status=\"idle\"]')";
    browser.until(BOOT, "the notebook with its kernel", idle).await;
    let type_it = "const cell = document.querySelector('.jp-Notebook .cm-content'); cell.focus(); \
                   document.execCommand('insertText', false, \"print('six times seven is', 6 * 7)\"); \
                   cell.dispatchEvent(new KeyboardEvent('keydown', \
                   {key: 'Enter', code: 'Enter', keyCode: 13, shiftKey: true, bubbles: true, cancelable: true})); return true";
    browser.until(BOOT, "the cell", type_it).await;
    let output = "return [...document.querySelectorAll('.jp-OutputArea-output')]\
                  .some(e => e.innerText.includes('six times seven is 42'))";
    browser.until(BOOT, "the cell's output", output).await;
}
