//! What errors say: with their causes, as a person is told it; and whose shortage they are.

use nix::errno::Errno;
use std::error::Error;
use std::io;

/// The error and what brought it about, joined by `: `.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Could a connection not be made because something here has run out (descriptors, memory, local ports), whatever the
/// other side does?
pub fn is_shortage(error: &io::Error) -> bool {
    let shortages = [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM, Errno::ENOBUFS, Errno::EADDRNOTAVAIL];
    error.raw_os_error().is_some_and(|number| shortages.contains(&Errno::from_raw(number)))
}
