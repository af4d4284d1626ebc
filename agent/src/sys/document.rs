//! Reading a document that somebody named: bounded, and told in words that help whoever wrote it.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

/// A lifecycle configuration is written by hand.
const LARGEST: u64 = 1 << 20;

/// The text of the document at `path`, of at most 1 MiB. The error is what went wrong, for `cannot read NAME: …`.
pub fn read_document(path: &Path) -> Result<String, String> {
    let file = File::open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => "there is no such file".to_owned(),
        _ => error.to_string(),
    })?;
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| match error.kind() {
        ErrorKind::IsADirectory => "it is a folder; name a file in it".to_owned(),
        _ => error.to_string(),
    })?;
    if bytes.len() as u64 > LARGEST {
        return Err("it is larger than 1 MiB, which no lifecycle configuration is".to_owned());
    }
    String::from_utf8(bytes)
        .map_err(|error| format!("byte {} is not UTF-8; save it as UTF-8", error.utf8_error().valid_up_to()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_document_is_text_of_at_most_one_mebibyte() {
        let folder = std::env::temp_dir().join(format!("space-agent-document-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("space.yaml");
        let read = |bytes: &[u8]| {
            fs::write(&file, bytes).unwrap();
            read_document(&file)
        };
        assert_eq!(read("version: 1 # é\n".as_bytes()), Ok("version: 1 # é\n".to_owned()));
        assert!(read(&vec![b'#'; 1 << 20]).is_ok());
        assert!(read(&vec![b'#'; (1 << 20) + 1]).unwrap_err().contains("larger than 1 MiB"));
        assert_eq!(read(b"a: \xff"), Err("byte 3 is not UTF-8; save it as UTF-8".to_owned()));
        assert!(read_document(&folder).unwrap_err().contains("it is a folder"));
        assert_eq!(read_document(&folder.join("other")), Err("there is no such file".to_owned()));
        assert!(read_document(Path::new("/dev/zero")).unwrap_err().contains("larger than 1 MiB"));
        fs::remove_dir_all(&folder).unwrap();
    }
}
