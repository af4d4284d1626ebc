//! The end of the agent's own log: whoever holds its other end and does not read stops nobody.
//!
//! A write to a full pipe waits for its reader, and with it the whole agent would. So nothing is written before there is
//! room; lines that find none are lost, and how many is told with the first one that finds room again.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, Write};
use std::os::fd::AsFd;

/// What a pipe that has room at all takes without a wait (PIPE_BUF).
const AT_ONCE: usize = 4096;
/// For the reader of a burst, in ms.
const PATIENCE: u16 = 20;

/// Each `write` is one line, as a log's formatter writes it.
#[derive(Debug)]
pub struct Patient<W> {
    to: W,
    lost: u64,
    /// The line that tells how many were lost, with its end.
    note: fn(u64) -> String,
}

impl<W: Write + AsFd> Patient<W> {
    pub fn new(to: W, note: fn(u64) -> String) -> Patient<W> {
        Patient { to, lost: 0, note }
    }

    fn has_room(&self) -> bool {
        let wait = if self.lost == 0 { PollTimeout::from(PATIENCE) } else { PollTimeout::ZERO };
        let mut asked = [PollFd::new(self.to.as_fd(), PollFlags::POLLOUT)];
        // An error, a hang-up for one, is the write's to tell.
        poll(&mut asked, wait).is_ok_and(|ready| ready > 0)
    }
}

impl<W: Write + AsFd> Write for Patient<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.lost > 0 && self.has_room() {
            self.to.write_all((self.note)(self.lost).as_bytes())?;
            self.lost = 0;
        }
        for part in line.chunks(AT_ONCE) {
            if !self.has_room() {
                self.lost += 1;
                break;
            }
            self.to.write_all(part)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, pipe};

    #[test]
    fn a_log_that_nobody_reads_stops_nobody_and_tells_what_was_lost() {
        let (mut reader, writer) = pipe().unwrap();
        let mut log = Patient::new(writer, |lost| format!("{lost} lost\n"));
        let line = format!("{}\n", "x".repeat(99));
        for _ in 0..2000 {
            log.write_all(line.as_bytes()).unwrap();
        }
        // More than the pipe can hold.
        let mut held = vec![0; 1 << 20];
        let length = reader.read(&mut held).unwrap();
        assert!(length > 0 && length % 100 == 0 && length < 200_000, "{length}");
        log.write_all(b"read again\n").unwrap();
        drop(log);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, format!("{} lost\nread again\n", 2000 - length / 100));
    }
}
