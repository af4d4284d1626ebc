//! Pieces of documents that several stories use.

use space_tests::places;
use space_tests::space::ENVIRONMENT;

/// Where JupyterLab is.
pub(crate) const LAB: &str = "/jupyterlab/default/";
/// Where the echo is.
pub(crate) const ECHO: &str = "/echo/";

/// A command app that answers each request with what it got, on the agent's own socket, at `/echo/`.
pub(crate) fn echo() -> String {
    echo_with("")
}

/// The echo with an argument (see tests/parts/echo.py).
pub(crate) fn echo_with(argument: &str) -> String {
    let script = places::project().join("tests/parts/echo.py");
    let command = format!("[/usr/bin/python3, \"{}\", \"{argument}\"]", script.display());
    format!("apps:\n  - kind: command\n    name: echo\n    command: {command}\n")
}

/// JupyterLab of the ready-made environment, at `/jupyterlab/default/`.
pub(crate) fn jupyterlab() -> String {
    format!("apps:\n  - kind: jupyterlab\n    environment: {ENVIRONMENT}\n")
}

/// A script step that the app waits for.
pub(crate) fn script(name: &str, lines: &str) -> String {
    let indented = lines.lines().map(|line| format!("        {line}\n")).collect::<String>();
    format!("lifecycle:\n  steps:\n    - name: {name}\n      run: |\n{indented}")
}
