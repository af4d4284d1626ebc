//! Who was it? Brings the system's count of ended processes together with the processes that have ended.
//!
//! The system counts before it kills, so a process that was ended for memory is in the count by the time its end is seen:
//! while the count stands, everyone whose end was seen ended otherwise. A large process may take a while to end after it
//! was counted, so an inquest waits for that, for a bounded time.

use super::held::Holding;
use crate::model::memory::{Fate, Victim, victims};
use crate::model::now::Monotonic;
use std::collections::VecDeque;
use std::time::Duration;

/// How long a victim may take to end before it is told that nobody knows who it was.
const WAIT: Duration = Duration::from_secs(2);
/// How often to ask again meanwhile.
const AGAIN: Duration = Duration::from_millis(50);
/// Children whose end is remembered for whoever asks for it.
const REMEMBERED: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Inquest {
    /// The system's count as it was read last.
    counted: Option<u64>,
    /// Counted and not told of yet.
    open: u64,
    /// When the first of those was counted.
    since: Monotonic,
    suspects: Vec<Suspect>,
    /// Of children: whether, and as whom, each was ended for memory.
    verdicts: VecDeque<(String, Option<Victim>)>,
}

#[derive(Debug)]
struct Suspect {
    victim: Victim,
    fate: Fate,
    /// Asked again while the fate is unknown.
    holding: Option<Holding>,
}

/// The victims, as far as they are known, and how many there were.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) victims: Vec<Victim>,
    pub(super) count: u64,
}

impl Inquest {
    /// Takes in those that have ended, and the count, which must have been read after that.
    pub(super) fn look(
        &mut self,
        ended: Vec<Holding>,
        count: Option<u64>,
        limit: Option<u64>,
        now: Monotonic,
    ) -> Option<Finding> {
        for holding in ended {
            let (victim, fate) = (holding.victim.clone(), holding.fate());
            self.suspects.push(Suspect { victim, fate, holding: Some(holding) });
        }
        self.count(count, now);
        if self.open == 0 {
            self.conclude(&[]);
            return None;
        }
        let mut all_known = true;
        for suspect in self.suspects.iter_mut().filter(|suspect| suspect.fate == Fate::Unknown) {
            suspect.fate = suspect.holding.as_ref().map_or(Fate::Unknown, Holding::fate);
            all_known &= suspect.fate != Fate::Unknown || suspect.holding.as_ref().is_none_or(Holding::forgotten);
        }
        let victims = self.found(limit);
        let enough = victims.len() as u64 >= self.open && all_known;
        if !enough && now.since(self.since) < WAIT {
            return None;
        }
        let finding = Finding { victims, count: self.open };
        self.open = 0;
        self.conclude(&finding.victims);
        Some(finding)
    }

    fn count(&mut self, count: Option<u64>, now: Monotonic) {
        let Some(count) = count else { return };
        // The first count is of what was before this watch; a smaller one is of another group.
        let risen = count.saturating_sub(self.counted.unwrap_or(count));
        self.counted = Some(count);
        if risen > 0 && self.open == 0 {
            self.since = now;
        }
        self.open += risen;
    }

    fn found(&self, limit: Option<u64>) -> Vec<Victim> {
        let ended: Vec<_> = self.suspects.iter().map(|suspect| (suspect.victim.clone(), suspect.fate)).collect();
        victims(&ended, self.open, limit)
    }

    fn conclude(&mut self, victims: &[Victim]) {
        for suspect in self.suspects.drain(..) {
            if let (crate::model::memory::Role::App, Some(child)) = (&suspect.victim.role, &suspect.victim.child) {
                let verdict = victims.contains(&suspect.victim).then_some(suspect.victim.clone());
                self.verdicts.push_back((child.clone(), verdict));
            }
        }
        while self.verdicts.len() > REMEMBERED {
            self.verdicts.pop_front();
        }
    }

    /// Of a child that has ended by SIGKILL, after a look: who it was, if it was ended for memory. `unheld` is what is
    /// known of it if it ended before it could be held.
    pub(super) fn killed(&mut self, child: &str, unheld: Victim, limit: Option<u64>) -> Option<Victim> {
        if let Some((_, verdict)) = self.verdicts.iter().rev().find(|(known, _)| known == child) {
            return verdict.clone();
        }
        if self.open == 0 {
            return None;
        }
        match self.suspects.iter_mut().find(|suspect| suspect.victim.pid == unheld.pid) {
            Some(suspect) => suspect.fate = Fate::Killed,
            None => self.suspects.push(Suspect { victim: unheld.clone(), fate: Fate::Killed, holding: None }),
        }
        self.found(limit).into_iter().find(|victim| victim.pid == unheld.pid)
    }

    /// Somebody is being ended, and what he held is being given back: his last size is the one before.
    pub(super) fn is_open(&self) -> bool {
        self.open > 0
    }

    /// When to look again, if nothing happens before.
    pub(super) fn due(&self, now: Monotonic) -> Option<Monotonic> {
        (self.open > 0).then(|| now.plus(AGAIN))
    }
}
