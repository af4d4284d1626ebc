//! A step of kind `run`: a shell script, as it is.
//!
//! Scripts come from everywhere: their shebang may follow a comment, their last line may lack its end, their lines may
//! end as on Windows. So the text goes to a file and `bash FILE` runs it; its shebang is only a comment.

use crate::model::child::StepOutcome;
use crate::sys::files;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Becomes the script's shell. Returns only if there is none.
pub(super) fn carry_out(script: &str, folder: &Path) -> Result<StepOutcome, String> {
    let file = folder.join("script");
    fs::write(&file, normalised(script)).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    let bash = find_bash().ok_or("bash is not installed: install it (Debian, Ubuntu: apt-get install bash)")?;
    let error = Command::new(&bash).arg(&file).exec();
    Err(format!("cannot run {}: {error}", bash.display()))
}

fn find_bash() -> Option<PathBuf> {
    let on_path = files::on_path("bash", std::env::var_os("PATH").as_ref());
    on_path.into_iter().chain(["/bin/bash".into(), "/usr/bin/bash".into()]).find(|p| p.is_file())
}

fn normalised(script: &str) -> String {
    let mut text = script.replace("\r\n", "\n");
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn lines_end_as_bash_wants_them() {
        assert_eq!(super::normalised("# late\r\n#!/bin/sh\r\necho ok"), "# late\n#!/bin/sh\necho ok\n");
    }
}
