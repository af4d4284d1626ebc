//! What the agent's and init's memory costs when nothing happens: the C library's allocator keeps a heap for each thread
//! and gives little back by itself, and code that ran once stays mapped.

use nix::libc;

/// Free memory that is kept until the next [`trim`], in bytes: two of the front door's largest reads.
const KEPT: libc::c_int = 1 << 20;

/// Lets all threads share one heap; they are few and seldom allocate at the same time. Call it before there is a second
/// thread.
pub fn share() {
    // SAFETY: sets a number of the allocator's; no memory is touched.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    // Bins of small pieces that are merged, all of them, at each larger allocation: every head of a message is one.
    // SAFETY: as above.
    unsafe { libc::mallopt(libc::M_MXFAST, 0) };
    // What one read of a body takes is needed again for the next: given back each time, its pages are made anew each time.
    for threshold in [libc::M_MMAP_THRESHOLD, libc::M_TRIM_THRESHOLD] {
        // SAFETY: as above.
        unsafe { libc::mallopt(threshold, KEPT) };
    }
}

/// Gives back to the system what is free: after a boot, much was needed once.
pub fn trim() {
    // SAFETY: takes the allocator's own lock; no allocated memory is touched.
    unsafe { libc::malloc_trim(0) };
}

/// Unmaps the pages of this program's code: what is still needed comes back from the page cache at its next call. A start
/// runs much that never runs again.
pub fn forget_code() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let Ok(program) = std::env::current_exe() else { return };
    for line in maps.lines().filter(|line| line.contains(" r-xp ") && line.ends_with(&*program.to_string_lossy())) {
        let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
        let Some((from, to)) = range else { continue };
        let (Ok(from), Ok(to)) = (usize::from_str_radix(from, 16), usize::from_str_radix(to, 16)) else { continue };
        // SAFETY: the range is a mapping of this program's file that nobody can write to (`r-xp`, and a static program
        // has no relocations in its code): its pages are the file's, and are read again when they are needed.
        unsafe { libc::madvise(from as *mut libc::c_void, to - from, libc::MADV_DONTNEED) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_that_is_forgotten_still_runs() {
        for _ in 0..100 {
            forget_code();
            assert_eq!(format!("{:?}", [1, 2, 3].iter().map(|n| n * 2).collect::<Vec<_>>()), "[2, 4, 6]");
        }
    }
}
