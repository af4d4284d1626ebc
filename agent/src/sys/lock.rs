//! An advisory lock on a file: held as long as any copy of its descriptor is open.

use nix::fcntl::{Flock, FlockArg};
use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

/// Takes the lock, waiting for at most `wait`; `None` if somebody else holds it. Blocking.
pub fn take(path: &Path, wait: Duration) -> io::Result<Option<OwnedFd>> {
    const PAUSE: Duration = Duration::from_millis(50);
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    // A descriptor of the same open file that outlives the guard below keeps the lock.
    let kept = OwnedFd::from(file.try_clone()?);
    let (mut file, mut waited) = (file, Duration::ZERO);
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(guard) => {
                // The guard would unlock on drop, also for `kept`: let it live as long as the process.
                std::mem::forget(guard);
                return Ok(Some(kept));
            }
            Err((_, errno)) if errno != nix::errno::Errno::EWOULDBLOCK => return Err(errno.into()),
            Err(_) if waited >= wait => return Ok(None),
            Err((back, _)) => file = back,
        }
        super::pause(PAUSE);
        waited += PAUSE;
    }
}
