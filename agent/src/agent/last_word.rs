//! The last word: why the space has ended, where a platform looks for it: Kubernetes' `/dev/termination-log`, whose
//! content becomes the message of the ended container.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What Kubernetes reads of it.
const MOST: usize = 4096;

/// Leaves the text, in the place of an earlier one, if there is such a file. Only a platform makes it.
pub(super) fn tell(text: &str) {
    let named = std::env::var_os("SPACE_AGENT_TERMINATION_LOG").filter(|path| !path.is_empty());
    let path = named.map_or_else(|| PathBuf::from("/dev/termination-log"), PathBuf::from);
    match write(&path, text) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "cannot leave the last word for the platform");
        }
        _ => {}
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    file.set_len(0)?;
    file.write_all(&text.as_bytes()[..text.floor_char_boundary(MOST)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_last_word_is_short_takes_the_place_of_an_earlier_one_and_makes_no_file() {
        let path = std::env::temp_dir().join(format!("space-agent-last-word-{}", std::process::id()));
        assert_eq!(write(&path, "x").unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::write(&path, "an earlier one that is longer").unwrap();
        write(&path, "the end").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "the end");
        write(&path, &format!("x{}", "\u{e4}".repeat(5000))).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("x{}", "\u{e4}".repeat(2047)));
        fs::remove_file(&path).unwrap();
        assert!(write(&std::env::temp_dir(), "x").is_err());
    }
}
