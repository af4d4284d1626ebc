//! The memory cgroup of the space: how much it may use, how much it does, and whom the system has ended for it.
//!
//! Both versions of cgroups, and machines that have both (version 1 with the memory controller, version 2 without).
//! Everything is read anew, since platforms change limits while a space runs. Reads are short, bounded and blocking.

mod place;

use super::pressure;
use nix::poll::PollFlags;
use nix::sys::eventfd::{EfdFlags, EventFd};
use place::Place;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// No file that is read here is longer.
const LONGEST: u64 = 64 << 10;
/// Version 1 says so, rounded down to pages, where there is no limit.
const UNLIMITED: u64 = (i64::MAX as u64) - (1 << 20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    One,
    Two,
}

/// A memory cgroup that can be read.
#[derive(Debug, Clone)]
pub struct Group {
    version: Version,
    folder: PathBuf,
    /// Where its hierarchy is mounted: groups above are out of sight.
    top: PathBuf,
    /// The group of version 2 in which pressure is told, if it is another.
    pressure: Option<PathBuf>,
}

/// What a group uses of what it may, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// Without what the system drops first (the page cache that nobody has used lately).
    pub used: u64,
    /// `None` if only the machine limits it.
    pub limit: Option<u64>,
}

impl Group {
    /// The group of a process (`self`, or a pid). `None`: it is in none, or in none that can be seen from here.
    pub fn of(process: &str) -> Option<Group> {
        let groups = read(&PathBuf::from(format!("/proc/{process}/cgroup")))?;
        let mut mounts = String::new();
        File::open("/proc/self/mountinfo").ok()?.take(4 << 20).read_to_string(&mut mounts).ok()?;
        let places = place::places(&groups, &mounts);
        let memory = places.iter().find(|place| holds_memory(place) && (place.sure || has_self(&place.folder)))?;
        let pressure = places.iter().find(|place| {
            place.version == Version::Two && place.sure && fs::exists(place.folder.join("cgroup.type")).unwrap_or(false)
        });
        Some(Group {
            pressure: pressure.map(|place| place.folder.clone()),
            ..Group::at(memory.version, &memory.folder, &memory.top)
        })
    }

    /// The group at this folder; `top` is where its hierarchy is mounted.
    pub fn at(version: Version, folder: &Path, top: &Path) -> Group {
        Group { version, folder: folder.to_owned(), top: top.to_owned(), pressure: None }
    }

    /// Of its hierarchy.
    pub fn version(&self) -> Version {
        self.version
    }

    /// How full the group is, or that one of the groups around it that has the tightest limit.
    pub fn usage(&self) -> Option<Use> {
        let (limit, folder) = self.tightest();
        let current = number(&folder.join(self.name("memory.usage_in_bytes", "memory.current")))?;
        let idle = self.stat(folder, self.name("total_inactive_file", "inactive_file")).unwrap_or(0);
        Some(Use { used: current.saturating_sub(idle), limit })
    }

    /// The tightest limit, and the outermost group that has it. What the machine doesn't have is no limit.
    fn tightest(&self) -> (Option<u64>, &Path) {
        let machine = pressure::machine().map_or(u64::MAX, |(_, total)| total);
        let counts = |limit: u64| (limit < UNLIMITED && limit < machine).then_some(limit);
        let mut tightest: (Option<u64>, &Path) = (None, &self.folder);
        for folder in self.folder.ancestors().take_while(|folder| folder.starts_with(&self.top)) {
            let limit = number(&folder.join(self.name("memory.limit_in_bytes", "memory.max"))).and_then(counts);
            if limit.is_some_and(|limit| tightest.0.is_none_or(|tightest| limit <= tightest)) {
                tightest = (limit, folder);
            }
        }
        // Version 1 also tells of groups that are out of sight.
        let hidden = self.stat(&self.folder, "hierarchical_memory_limit").and_then(counts);
        match hidden {
            Some(hidden) if tightest.0.is_none_or(|tightest| hidden < tightest) => (Some(hidden), &self.folder),
            _ => tightest,
        }
    }

    /// How many processes of the group the system has ended for memory; with version 2, of the groups in it as well.
    pub fn kills(&self) -> Option<u64> {
        field(&read(&self.events())?, "oom_kill")
    }

    /// Whether the system ends all of the group at once, the agent too (`memory.oom.group`, which some platforms set).
    pub fn ends_as_one(&self) -> bool {
        let ends = |folder: &Path| number(&folder.join("memory.oom.group")) == Some(1);
        self.folder.ancestors().take_while(|folder| folder.starts_with(&self.top)).any(ends)
    }

    /// Where the group's own pressure is told.
    pub fn pressure(&self) -> Option<PathBuf> {
        match self.version {
            Version::Two => Some(self.tightest().1.join("memory.pressure")),
            Version::One => self.pressure.as_ref().map(|folder| folder.join("memory.pressure")),
        }
    }

    /// A descriptor that wakes when the group gets near its limit or the system ends a process of it; `None` where the
    /// system has none, or refuses it. `thresholds`: uses in bytes at which to wake too, where that is possible.
    pub fn signal(&self, thresholds: &[u64]) -> Option<Signal> {
        match self.version {
            Version::Two => {
                let signal = Signal::Two(File::open(self.events()).ok()?);
                // Only a file that was read tells when it has changed.
                signal.clear().ok().map(|()| signal)
            }
            Version::One => self.register(thresholds).ok(),
        }
    }

    fn register(&self, thresholds: &[u64]) -> io::Result<Signal> {
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let number = wake.as_fd().as_raw_fd();
        let oom = File::open(self.events())?;
        fs::write(self.folder.join("cgroup.event_control"), format!("{number} {}", oom.as_raw_fd()))?;
        let limiting = self.tightest().1;
        let used = File::open(limiting.join("memory.usage_in_bytes"))?;
        for bytes in thresholds {
            // Only a convenience: the descriptor tells of ends without it.
            let line = format!("{number} {} {bytes}", used.as_raw_fd());
            let _ = fs::write(limiting.join("cgroup.event_control"), line);
        }
        Ok(Signal::One(wake))
    }

    fn events(&self) -> PathBuf {
        self.folder.join(self.name("memory.oom_control", "memory.events"))
    }

    fn stat(&self, folder: &Path, name: &str) -> Option<u64> {
        field(&read(&folder.join("memory.stat"))?, name)
    }

    fn name(&self, one: &'static str, two: &'static str) -> &'static str {
        if self.version == Version::One { one } else { two }
    }
}

/// Wakes whoever polls it for [`Signal::interest`].
#[derive(Debug)]
pub enum Signal {
    /// An eventfd that the system writes to: when memory is at its limit, *before* it ends a process.
    One(EventFd),
    /// `memory.events`.
    Two(File),
}

impl Signal {
    pub fn interest(&self) -> PollFlags {
        match self {
            Signal::One(_) => PollFlags::POLLIN,
            Signal::Two(_) => PollFlags::POLLPRI,
        }
    }

    /// Until the next event. An error: the group is gone.
    pub fn clear(&self) -> io::Result<()> {
        match self {
            Signal::One(wake) => match wake.read() {
                Ok(_) | Err(nix::errno::Errno::EAGAIN) => Ok(()),
                Err(error) => Err(error.into()),
            },
            Signal::Two(events) => events.read_at(&mut [0; 512], 0).map(|_| ()),
        }
    }
}

impl AsFd for Signal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Signal::One(wake) => wake.as_fd(),
            Signal::Two(events) => events.as_fd(),
        }
    }
}

fn holds_memory(place: &Place) -> bool {
    let file = if place.version == Version::One { "memory.usage_in_bytes" } else { "memory.current" };
    fs::exists(place.folder.join(file)).unwrap_or(false)
}

/// Whether this process is in the group; true if the system doesn't tell.
fn has_self(folder: &Path) -> bool {
    let mut members = String::new();
    let Ok(file) = File::open(folder.join("cgroup.procs")) else { return true };
    if file.take(1 << 20).read_to_string(&mut members).is_err() {
        return true;
    }
    let own = std::process::id().to_string();
    members.lines().any(|member| member == own)
}

fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(LONGEST).read_to_string(&mut text).ok()?;
    Some(text)
}

/// `None` for `max` too.
fn number(path: &Path) -> Option<u64> {
    read(path)?.trim().parse().ok()
}

/// The number in the line `name number`.
fn field(text: &str, name: &str) -> Option<u64> {
    let mut fields = text.lines().filter_map(|line| line.split_once(' '));
    fields.find_map(|(key, value)| (key == name).then(|| value.trim().parse().ok()).flatten())
}

#[cfg(test)]
mod tests;
