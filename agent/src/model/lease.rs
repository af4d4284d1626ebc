//! Leases: keep-alives that someone took, with a reason and an end.

use super::now::Now;
use super::status::LeaseStatus;
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lease {
    pub id: String,
    pub reason: String,
    /// On the monotonic clock: a jump of the wall clock neither ends a lease nor makes it immortal.
    pub until: super::now::Monotonic,
}

/// More than anybody needs, less than a loop can make.
pub const MOST: usize = 64;

impl Lease {
    pub fn status(&self, now: &Now) -> LeaseStatus {
        LeaseStatus { id: self.id.clone(), reason: self.reason.clone(), until: now.wall_of(self.until) }
    }
}

/// Takes a lease, or renews the one with the same id. It never ends later than `longest` from now.
pub fn take(
    leases: &mut Vec<Lease>,
    id: String,
    reason: String,
    duration: Duration,
    longest: Duration,
    now: Now,
) -> Result<Lease, String> {
    leases.retain(|lease| lease.id != id);
    if leases.len() >= MOST {
        return Err(format!("{MOST} leases are held already; end one of them first"));
    }
    let lease = Lease { id, reason, until: now.monotonic.plus(duration.min(longest)) };
    leases.push(lease.clone());
    Ok(lease)
}
