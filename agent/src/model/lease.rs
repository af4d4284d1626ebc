//! Leases: keep-alives that someone took, with a reason and an end.

use super::now::Now;
use super::status::LeaseStatus;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// While it lasts, the space counts as active: somebody needs it for something that no source sees.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lease {
    /// Names it to whoever renews or ends it: random, or `page` for the one of the space's page.
    pub id: String,
    /// One line, with who took it: `training overnight, by root`.
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

/// A lease as it would be taken now; the reason if there are too many beside it.
pub fn offer(leases: &[Lease], id: String, reason: String, duration: Duration, now: Now) -> Result<Lease, String> {
    let others = leases.iter().filter(|lease| lease.id != id).count();
    if others >= MOST {
        return Err(format!("{MOST} leases are held already; end one of them first"));
    }
    Ok(Lease { id, reason, until: now.monotonic.plus(duration) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::now::{Monotonic, Timestamp};

    #[test]
    fn leases_are_bounded_and_a_renewal_is_none_more() {
        let now = Now { monotonic: Monotonic(5000), wall: Timestamp(0), boot_id: 0 };
        let offer = |leases: &[Lease], id: &str| offer(leases, id.into(), "x".into(), Duration::from_secs(2), now);
        let lease = offer(&[], "l0").unwrap();
        assert_eq!(lease.until, Monotonic(7000));
        let full: Vec<Lease> = (0..MOST).map(|i| Lease { id: format!("l{i}"), ..lease.clone() }).collect();
        assert!(offer(&full, "new").unwrap_err().starts_with("64 leases are held already"));
        assert_eq!(offer(&full, "l0"), Ok(lease));
    }
}
