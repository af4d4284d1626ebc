//! When the system itself says that memory is short (pressure stall information), and how full the machine is.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The machine's own file.
pub const MACHINE: &str = "/proc/pressure/memory";

/// Something waited for memory for 0.3 s of the last 2 s. Whoever lacks CAP_SYS_RESOURCE can only have such windows.
const TRIGGER: &[u8] = b"some 300000 2000000\0";

/// A descriptor that has POLLPRI each time memory is short, at most once in 2 s, and POLLERR once the file is gone.
/// `None` where the system has no such file or refuses.
pub fn trigger(file: &Path) -> Option<File> {
    let flags = nix::libc::O_NONBLOCK;
    let mut file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(file).ok()?;
    file.write_all(TRIGGER).ok()?;
    Some(file)
}

/// The machine's memory in bytes: in use, without what the system can drop; in all.
pub fn machine() -> Option<(u64, u64)> {
    let text = read("/proc/meminfo", 16 << 10)?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':').split_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
    };
    let total = field("MemTotal")?;
    Some((total.saturating_sub(field("MemAvailable")?), total))
}

/// How many processes the system has ended for memory since it was booted.
pub fn kills() -> Option<u64> {
    read("/proc/vmstat", 64 << 10)?.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

fn read(path: &str, limit: u64) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(limit).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;

    #[test]
    fn the_machine_tells_how_full_it_is_and_how_many_it_has_ended() {
        let (used, total) = machine().unwrap();
        assert!(0 < used && used < total, "{used} of {total}");
        assert!(kills().is_some());
    }

    #[test]
    fn a_trigger_waits_until_memory_is_short() {
        let Some(trigger) = trigger(Path::new(MACHINE)) else {
            println!("skipped: the system has no pressure to be told of, or refuses");
            return;
        };
        let mut asked = [PollFd::new(trigger.as_fd(), PollFlags::POLLPRI)];
        assert_eq!(poll(&mut asked, PollTimeout::ZERO), Ok(0), "{asked:?}");
    }

    #[test]
    fn a_refused_trigger_is_none() {
        assert!(trigger(Path::new("/no/such/file")).is_none());
        assert!(trigger(Path::new("/proc/version")).is_none());
    }
}
