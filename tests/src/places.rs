//! Where things are: the project, the agent's binary, the ready-made environment, the artefacts.

use std::path::{Path, PathBuf};

/// The project's root folder.
pub fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests crate lies in the project's root").to_path_buf()
}

/// The agent under test: `SPACE_AGENT_BIN`, else the one beside this test binary (`target/…/debug`).
pub fn agent() -> PathBuf {
    if let Some(path) = std::env::var_os("SPACE_AGENT_BIN") {
        return PathBuf::from(path);
    }
    let this = std::env::current_exe().expect("a process knows its own program");
    let found = this.ancestors().skip(1).map(|folder| folder.join("space-agent")).find(|path| path.is_file());
    found.expect("no space-agent beside the tests: run tests/run, or `cargo build`, or set SPACE_AGENT_BIN")
}

/// The virtual environment with JupyterLab that `tests/run` makes.
pub fn environment() -> PathBuf {
    let path = project().join("tests/.work/venv");
    assert!(path.join("stamp").is_file(), "{} is not there yet: run tests/run", path.display());
    path
}

/// VS Code for browsers and a development server, which `tests/run` installs: `bin` has the programs. If they can't be had
/// here, says why; where CI is set, they must be.
pub fn editor() -> Option<PathBuf> {
    let folder = project().join("tests/.work/editor");
    if folder.join("stamp").is_file() {
        return Some(folder);
    }
    let why = std::fs::read_to_string(folder.join("why-not")).unwrap_or_else(|_| "run tests/run first".to_owned());
    assert!(std::env::var_os("CI").is_none(), "{why}");
    eprintln!("not run: {}", why.trim());
    None
}

/// What the stories about containers need, made by `tests/run`: podman's settings and storage with the image.
pub fn containers() -> PathBuf {
    project().join("tests/.work/containers")
}

/// What a person may want to look at after the tests: `tests/artefacts/NAME`.
pub fn artefact(name: &str) -> PathBuf {
    let folder = project().join("tests/artefacts");
    std::fs::create_dir_all(&folder).expect("tests/artefacts can be made");
    folder.join(name)
}

/// Full counts (`tests/soak`) or the fast part of them (`tests/run`).
pub fn full() -> bool {
    std::env::var_os("SPACE_TESTS_FULL").is_some()
}

/// A measured figure: printed, and written where `tests/soak` collects them.
pub fn figure(text: &str) {
    use std::io::Write;
    println!("figure: {text}");
    if let Some(path) = std::env::var_os("SPACE_TESTS_FIGURES") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        let written = file.and_then(|mut file| writeln!(file, "{text}"));
        written.expect("the file of figures can be written");
    }
}
