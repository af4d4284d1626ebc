//! The memory file in which the agent's state outlives the agent: init keeps it, the agent writes it.
//!
//! Two slots, written in turn; each has a header with a sequence number, a length and a checksum. A SIGKILL in the
//! middle of a write leaves the other slot, which holds the state before: the reader takes the newest slot that is
//! whole.

use super::keys;
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

/// The largest state that fits a slot, in bytes.
const SLOT: u64 = 4 << 20;
/// Sequence number (8), length (8), SHA-256 of the content in hexadecimal (64).
const HEADER: usize = 80;

/// A new, empty memory file; closed on exec.
pub fn create() -> io::Result<OwnedFd> {
    Ok(memfd_create(c"space-agent-state", MFdFlags::MFD_CLOEXEC)?)
}

/// The agent's side of the memory file.
#[derive(Debug)]
pub struct MemoryFile {
    file: File,
    sequence: u64,
}

impl MemoryFile {
    /// Opens the file that init keeps, and returns the newest whole state in it, if there is one.
    pub fn open(fd: impl AsFd) -> io::Result<(MemoryFile, Option<Vec<u8>>)> {
        let file = File::from(fd.as_fd().try_clone_to_owned()?);
        let newest = (0..2).filter_map(|slot| read_slot(&file, slot)).max_by_key(|(sequence, _)| *sequence);
        let sequence = newest.as_ref().map_or(0, |(sequence, _)| *sequence);
        Ok((MemoryFile { file, sequence }, newest.map(|(_, content)| content)))
    }

    /// Replaces the older slot; the state before stays whole until this one is.
    pub fn save(&mut self, content: &[u8]) -> io::Result<()> {
        if content.len() as u64 > SLOT - HEADER as u64 {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the state is larger than its memory file's slot"));
        }
        let sequence = self.sequence + 1;
        let offset = (sequence % 2) * SLOT;
        let mut bytes = Vec::with_capacity(HEADER + content.len());
        bytes.extend_from_slice(&sequence.to_le_bytes());
        bytes.extend_from_slice(&(content.len() as u64).to_le_bytes());
        bytes.extend_from_slice(checksum(sequence, content).as_bytes());
        bytes.extend_from_slice(content);
        self.file.write_all_at(&bytes, offset)?;
        self.sequence = sequence;
        Ok(())
    }
}

fn checksum(sequence: u64, content: &[u8]) -> String {
    let mut bytes = sequence.to_le_bytes().to_vec();
    bytes.extend_from_slice(content);
    keys::fingerprint(&bytes, 64)
}

fn read_slot(file: &File, slot: u64) -> Option<(u64, Vec<u8>)> {
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, slot * SLOT).ok()?;
    let sequence = u64::from_le_bytes(header[..8].try_into().ok()?);
    let length = u64::from_le_bytes(header[8..16].try_into().ok()?);
    if sequence == 0 || length > SLOT {
        return None;
    }
    let mut content = vec![0; usize::try_from(length).ok()?];
    file.read_exact_at(&mut content, slot * SLOT + HEADER as u64).ok()?;
    (checksum(sequence, &content).as_bytes() == &header[16..]).then_some((sequence, content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_saved_state_comes_back_and_a_torn_write_leaves_the_one_before() {
        let fd = create().unwrap();
        let (mut memory, state) = MemoryFile::open(&fd).unwrap();
        assert_eq!(state, None);
        memory.save(b"first").unwrap();
        memory.save(b"second, which is longer").unwrap();
        assert_eq!(MemoryFile::open(&fd).unwrap().1.unwrap(), b"second, which is longer");
        // The third write would go over the first; tear it.
        memory.file.write_all_at(&3u64.to_le_bytes(), SLOT).unwrap();
        assert_eq!(MemoryFile::open(&fd).unwrap().1.unwrap(), b"second, which is longer");
        let (mut memory, _) = MemoryFile::open(&fd).unwrap();
        memory.save(b"third").unwrap();
        assert_eq!(MemoryFile::open(&fd).unwrap().1.unwrap(), b"third");
    }

    #[test]
    fn a_state_that_does_not_fit_is_refused_and_the_one_before_stays() {
        let fd = create().unwrap();
        let (mut memory, _) = MemoryFile::open(&fd).unwrap();
        memory.save(b"good").unwrap();
        assert!(memory.save(&vec![0; SLOT as usize]).is_err());
        assert_eq!(MemoryFile::open(&fd).unwrap().1.unwrap(), b"good");
    }
}
