//! Pieces of documents that several stories use.

use space_tests::places;

/// A command app that answers each request with what it got, on the agent's own socket, at `/echo/`.
pub(crate) fn echo() -> String {
    format!("apps:\n  - kind: command\n    name: echo\n    command: [{}]\n", echo_command())
}

/// The echo's program and argument, to be written into a flow sequence.
pub(crate) fn echo_command() -> String {
    format!("/usr/bin/python3, \"{}\"", places::project().join("tests/parts/echo.py").display())
}

/// JupyterLab of the ready-made environment, at `/jupyterlab/default/`.
pub(crate) fn jupyterlab() -> String {
    format!("apps:\n  - kind: jupyterlab\n    environment: \"{}\"\n", places::environment().display())
}

/// Where JupyterLab is.
pub(crate) const LAB: &str = "/jupyterlab/default/";
