//! From what an environment is made, as one hash.

use super::interpreter::Interpreter;
use crate::sys::keys;
use space_lifecycle::Python;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// At most this many requirement files, this deep below each other, and of this size together.
const MAX_FILES: usize = 64;
const MAX_BYTES: usize = 4 << 20;

/// What the document and the files that it names say.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Inputs(Vec<String>);

impl Inputs {
    pub(super) fn read(python: &Python, environment: &Path, home: &Path) -> Result<Inputs, String> {
        let mut parts = vec!["python".to_owned(), environment.display().to_string()];
        parts.extend(python.packages.iter().map(|package| format!("package {package}")));
        if let Some(requirements) = &python.requirements {
            let path = home.join(requirements);
            if !path.is_file() {
                return Err(format!(
                    "there is no requirements file {}: create it, or correct `requirements`",
                    path.display()
                ));
            }
            let mut files = Files { seen: BTreeSet::new(), bytes: 0, parts };
            files.read(&path)?;
            parts = files.parts;
        }
        Ok(Inputs(parts))
    }

    pub(super) fn fingerprint(&self, interpreter: &Interpreter) -> String {
        let python = format!("{} {}", interpreter.version, interpreter.file.path.display());
        keys::digest_of(self.0.iter().chain([&python]))
    }
}

/// A requirements file and those that it includes.
struct Files {
    seen: BTreeSet<PathBuf>,
    bytes: usize,
    parts: Vec<String>,
}

impl Files {
    fn read(&mut self, path: &Path) -> Result<(), String> {
        if !self.seen.insert(path.to_owned()) {
            return Ok(());
        }
        // An include that is missing is pip's to complain about.
        let bytes = fs::read(path).unwrap_or_default();
        self.bytes += bytes.len();
        if self.seen.len() > MAX_FILES || self.bytes > MAX_BYTES {
            return Err(format!(
                "the requirements include more than {MAX_FILES} files or {} MB: {} was the last",
                MAX_BYTES >> 20,
                path.display()
            ));
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
        let included: Vec<_> = text.lines().filter_map(include).map(|name| folder.join(name)).collect();
        self.parts.push(format!("file {}", path.display()));
        self.parts.push(text);
        included.iter().try_for_each(|path| self.read(path))
    }
}

/// The file that a line of a requirements file includes, as requirements or as constraints.
fn include(line: &str) -> Option<&str> {
    let line = line.trim();
    let name = ["--requirement", "--constraint", "-r", "-c"].iter().find_map(|option| line.strip_prefix(option))?;
    let name = name.strip_prefix('=').unwrap_or(name);
    let name = name.split(" #").next().unwrap_or(name).trim();
    (!name.is_empty() && !name.contains("://")).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::tests::Folder;

    fn python(packages: &[&str], requirements: Option<&str>) -> Python {
        Python {
            requirements: requirements.map(Into::into),
            packages: packages.iter().map(|&p| p.into()).collect(),
            environment: ".venv".into(),
        }
    }

    fn fingerprint(python: &Python, environment: &str, home: &Path) -> String {
        Inputs::read(python, &home.join(environment), home).unwrap().fingerprint(&Interpreter::sample())
    }

    #[test]
    fn every_input_changes_the_fingerprint() {
        let home = Folder::new("fingerprint");
        let write = |name: &str, text: &str| fs::write(home.path().join(name), text).unwrap();
        write("a.txt", "numpy\n-r b.txt\n");
        write("b.txt", "--constraint=c.txt  # the versions\n");
        write("c.txt", "numpy==1\n");
        let mut seen = BTreeSet::new();
        let mut is_new = |print: String| assert!(seen.insert(print));
        is_new(fingerprint(&python(&["a", "b"], None), ".venv", home.path()));
        is_new(fingerprint(&python(&["ab"], None), ".venv", home.path()));
        is_new(fingerprint(&python(&["b", "a"], None), ".venv", home.path()));
        is_new(fingerprint(&python(&["a", "b"], None), "other", home.path()));
        let both = python(&["a"], Some("a.txt"));
        is_new(fingerprint(&both, ".venv", home.path()));
        assert_eq!(fingerprint(&both, ".venv", home.path()), fingerprint(&both, ".venv", home.path()));
        for (name, text) in [("c.txt", "numpy==2\n"), ("b.txt", "-c c.txt\n"), ("a.txt", "-r b.txt\n")] {
            write(name, text);
            is_new(fingerprint(&both, ".venv", home.path()));
        }
        let inputs = Inputs::read(&both, Path::new("/v"), home.path()).unwrap();
        let other = Interpreter { version: "3.12.0".into(), ..Interpreter::sample() };
        assert_ne!(inputs.fingerprint(&other), inputs.fingerprint(&Interpreter::sample()));
    }

    #[test]
    fn files_that_include_each_other_are_read_once_and_a_missing_one_is_named() {
        let home = Folder::new("includes");
        fs::write(home.path().join("a.txt"), "-r b.txt").unwrap();
        fs::write(home.path().join("b.txt"), "-ra.txt").unwrap();
        fingerprint(&python(&[], Some("a.txt")), ".venv", home.path());
        let why = Inputs::read(&python(&[], Some("no.txt")), Path::new("/v"), home.path()).unwrap_err();
        assert!(why.starts_with("there is no requirements file") && why.contains("no.txt"), "{why}");
    }

    #[test]
    fn includes_are_found_in_all_their_forms() {
        for (line, file) in [
            ("-r base.txt", Some("base.txt")),
            ("-rbase.txt", Some("base.txt")),
            ("  --requirement base.txt # why", Some("base.txt")),
            ("--constraint=c.txt", Some("c.txt")),
            ("-c https://h/c.txt", None),
            ("requests", None),
            ("# -r base.txt", None),
        ] {
            assert_eq!(include(line), file, "{line}");
        }
    }
}
