//! What the agent's memory costs when nothing happens: the C library's allocator keeps a heap for each thread and gives
//! little back by itself.

use nix::libc;

/// Lets all threads share one heap; they are few and seldom allocate at the same time. Call it before there is a second
/// thread.
pub fn share() {
    // SAFETY: sets a number of the allocator's; no memory is touched.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// Gives back to the system what is free: after a boot, much was needed once.
pub fn trim() {
    // SAFETY: takes the allocator's own lock; no allocated memory is touched.
    unsafe { libc::malloc_trim(0) };
}
