//! Is the space idle? One pure decision over all readings, leases, policy and time (the principles are DESIGN's words:
//! work counts, presence doesn't; silence is not idleness; everything is explained).
//!
//! Time is the monotonic clock: a wall clock that jumps, a suspended machine or a restarted agent stop nothing.

use super::lease::Lease;
use super::now::{Monotonic, Now, Timestamp, spoken};
use super::reading::{Kernel, KernelState, Reading};
use serde::{Deserialize, Serialize};
use space_lifecycle::Idle;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a kernel may be `starting` before it no longer holds the space.
const STARTING_HOLDS: Duration = Duration::from_secs(300);

/// How long after somebody's last request the space counts as worked in: until the next look at the latest.
const AT_WORK: Duration = Duration::from_secs(15);

/// What the sources have told so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Activity {
    /// The idle clock starts here; `None` until the space is ready.
    pub ready_since: Option<Monotonic>,
    /// The end of the last activity that was seen, and what it was.
    last: Option<(Monotonic, String)>,
    /// When somebody was last seen at work through the front door, and where.
    #[serde(default)]
    traffic: Option<(Monotonic, String)>,
    /// By app.
    sources: BTreeMap<String, Source>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Source {
    kernels: Vec<Seen>,
    /// When it was last read, or tried to be.
    looked: Monotonic,
    /// Since when it cannot be read, and why.
    blind: Option<(Monotonic, String)>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Seen {
    kernel: Kernel,
    /// Since when it is in its state, as far as we saw.
    since: Monotonic,
}

/// All readings turned into one answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    Active {
        because: String,
    },
    Idle {
        since: Monotonic,
        /// What ended then.
        last: String,
        /// `None`: the space never stops for idleness.
        stops_at: Option<Monotonic>,
    },
    /// A source can't be read: the space is held until then at most.
    Unknown {
        because: String,
        until: Monotonic,
    },
}

impl Activity {
    /// Notes something that was seen to work at `now`.
    pub fn note(&mut self, now: Monotonic, what: impl Into<String>) {
        if self.last.as_ref().is_none_or(|(last, _)| *last <= now) {
            self.last = Some((now, what.into()));
        }
    }

    /// Somebody's request or message has passed the front door.
    pub fn worked(&mut self, now: Monotonic, what: String) {
        self.note(now, what.clone());
        self.traffic = Some((now, what));
    }

    /// Takes in one look of one source. Busy, and any change since the last look, is activity now.
    pub fn observe(&mut self, reading: Reading, now: Monotonic) {
        let before = self.sources.remove(&reading.app);
        let source = match reading.seen {
            Err(why) => {
                let since = before.as_ref().and_then(|source| source.blind.as_ref()).map_or(now, |(since, _)| *since);
                let kernels = before.map(|source| source.kernels).unwrap_or_default();
                Source { kernels, looked: now, blind: Some((since, why)) }
            }
            Ok(kernels) => {
                let before = before.map(|source| source.kernels).unwrap_or_default();
                let kernels = kernels.into_iter().map(|kernel| self.compare(kernel, &before, now)).collect();
                Source { kernels, looked: now, blind: None }
            }
        };
        self.sources.insert(reading.app, source);
    }

    fn compare(&mut self, kernel: Kernel, before: &[Seen], now: Monotonic) -> Seen {
        let known = before.iter().find(|seen| seen.kernel.id == kernel.id);
        let since = known.filter(|seen| seen.kernel.state == kernel.state).map_or(now, |seen| seen.since);
        match known {
            Some(seen) if seen.kernel == kernel => {}
            Some(seen) if seen.kernel.state == kernel.state => self.note(now, format!("{} worked", called(&kernel))),
            Some(_) => self.note(now, format!("{} became {}", called(&kernel), word(kernel.state))),
            None => self.note(now, format!("{} was started", called(&kernel))),
        }
        if works(&kernel, since, now) {
            self.note(now, format!("{} was {}", called(&kernel), word(kernel.state)));
        }
        Seen { kernel, since }
    }

    /// An app that has ended has no kernels any more.
    pub fn forget(&mut self, app: &str) {
        self.sources.remove(app);
    }

    /// Whether every one of these apps was looked at since `moment`.
    pub fn looked_since<'a>(&self, mut apps: impl Iterator<Item = &'a str>, moment: Monotonic) -> bool {
        apps.all(|app| self.sources.get(app).is_some_and(|source| source.looked >= moment))
    }

    /// App, kernel, for status.
    pub fn kernels(&self) -> impl Iterator<Item = (&str, &Kernel)> {
        self.sources
            .iter()
            .flat_map(|(app, source)| source.kernels.iter().map(move |seen| (app.as_str(), &seen.kernel)))
    }

    /// The notebook of the kernel with Jupyter's id, as it was seen last.
    pub fn kernel_name(&self, id: &str) -> Option<&str> {
        self.kernels().find(|(_, kernel)| kernel.id == id).map(|(_, kernel)| kernel.name.as_str())
    }

    pub fn blind(&self) -> impl Iterator<Item = &str> {
        self.sources.values().filter_map(|source| source.blind.as_ref().map(|(_, why)| why.as_str()))
    }

    /// The busy kernels' names.
    pub fn busy(&self) -> impl Iterator<Item = &str> {
        let busy = |kernel: &&Kernel| matches!(kernel.state, KernelState::Busy | KernelState::Other);
        self.kernels().map(|(_, kernel)| kernel).filter(busy).map(|kernel| kernel.name.as_str())
    }

    /// The one decision.
    pub fn decide(&self, policy: &Idle, leases: &[Lease], now: &Now) -> Verdict {
        let Some(ready) = self.ready_since else {
            return Verdict::Active { because: "the space is starting".into() };
        };
        if let Some(because) = self.work(now) {
            return Verdict::Active { because };
        }
        if let Some((at, what)) = &self.traffic
            && now.monotonic.since(*at) < policy.shutdown.map_or(AT_WORK, |shutdown| AT_WORK.min(shutdown / 10))
        {
            return Verdict::Active { because: format!("{what} {} ago", spoken(now.monotonic.since(*at))) };
        }
        if let Some(lease) = leases.iter().filter(|lease| lease.until > now.monotonic).max_by_key(|lease| lease.until) {
            let until = clock(now.wall_of(lease.until));
            return Verdict::Active { because: format!("a lease holds it until {until} ({})", lease.reason) };
        }
        let blind = self.sources.values().filter_map(|source| source.blind.as_ref()).max_by_key(|(since, _)| *since);
        if let Some((since, why)) = blind
            && since.plus(policy.blind_after) > now.monotonic
        {
            return Verdict::Unknown { because: why.clone(), until: since.plus(policy.blind_after) };
        }
        let (since, last) = match &self.last {
            Some((last, what)) if *last > ready => (*last, what.clone()),
            _ => (ready, "the space became ready".to_owned()),
        };
        Verdict::Idle { since, last, stops_at: policy.shutdown.map(|shutdown| since.plus(shutdown)) }
    }

    /// What works now, as of the last looks. A source that can't be read is not evidence any more; it is *unknown*.
    fn work(&self, now: &Now) -> Option<String> {
        let seen = self.sources.values().filter(|source| source.blind.is_none()).flat_map(|source| &source.kernels);
        let working =
            seen.filter(|seen| works(&seen.kernel, seen.since, now.monotonic)).min_by_key(|seen| seen.since)?;
        let since = clock(now.wall_of(working.since));
        Some(format!("{} has been {} since {since}", called(&working.kernel), word(working.kernel.state)))
    }
}

/// Busy counts whatever `last_activity` says; `starting` for a bounded time; `dead` never.
fn works(kernel: &Kernel, since: Monotonic, now: Monotonic) -> bool {
    match kernel.state {
        KernelState::Busy | KernelState::Other => true,
        KernelState::Starting => now.since(since) < STARTING_HOLDS,
        KernelState::Idle | KernelState::Dead => false,
    }
}

fn called(kernel: &Kernel) -> String {
    format!("the kernel of {}", kernel.name)
}

fn word(state: KernelState) -> &'static str {
    match state {
        KernelState::Starting => "starting",
        KernelState::Idle => "idle",
        KernelState::Busy => "busy",
        KernelState::Dead => "dead",
        KernelState::Other => "in a state that the agent does not know",
    }
}

/// `10:00:00 UTC`.
pub fn clock(at: Timestamp) -> String {
    let text = at.to_string();
    format!("{} UTC", &text[11..19])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Idle {
        space_lifecycle::Idle {
            shutdown: Some(Duration::from_secs(3600)),
            notice: Duration::from_secs(300),
            action: space_lifecycle::Action::Exit,
            blind_after: Duration::from_secs(7200),
            lease_max: Duration::from_secs(12 * 3600),
        }
    }

    fn at(s: u64) -> Now {
        Now { monotonic: Monotonic(s * 1000), wall: Timestamp(1_795_168_800_000 + s * 1000), boot_id: 1 }
    }

    fn kernel(state: KernelState, last_activity: &str) -> Kernel {
        Kernel { id: "k1".into(), name: "work.ipynb".into(), state, last_activity: last_activity.into() }
    }

    fn look(activity: &mut Activity, s: u64, seen: Result<Vec<Kernel>, String>) {
        activity.observe(Reading { app: "default".into(), seen }, at(s).monotonic);
    }

    fn ready() -> Activity {
        Activity { ready_since: Some(Monotonic(0)), ..Activity::default() }
    }

    fn idle_since(activity: &Activity, now: u64) -> u64 {
        match activity.decide(&policy(), &[], &at(now)) {
            Verdict::Idle { since, .. } => since.0 / 1000,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_silent_busy_kernel_is_active_however_old_its_last_activity_is() {
        let mut activity = ready();
        for s in (0..100_000).step_by(15) {
            look(&mut activity, s, Ok(vec![kernel(KernelState::Busy, "frozen")]));
            assert!(matches!(activity.decide(&policy(), &[], &at(s)), Verdict::Active { .. }));
        }
        look(&mut activity, 100_000, Ok(vec![kernel(KernelState::Idle, "later")]));
        assert_eq!(idle_since(&activity, 100_001), 100_000);
    }

    #[test]
    fn a_kernel_that_nobody_uses_is_idle_from_its_start_and_polling_does_not_change_that() {
        let mut activity = ready();
        for s in (10..5000).step_by(15) {
            look(&mut activity, s, Ok(vec![kernel(KernelState::Idle, "same")]));
        }
        assert_eq!(idle_since(&activity, 5000), 10);
    }

    #[test]
    fn a_short_cell_between_two_looks_counts() {
        let mut activity = ready();
        look(&mut activity, 10, Ok(vec![kernel(KernelState::Idle, "a")]));
        look(&mut activity, 25, Ok(vec![kernel(KernelState::Idle, "b")]));
        assert_eq!(idle_since(&activity, 100), 25);
    }

    #[test]
    fn somebody_at_work_is_activity_and_the_clock_begins_with_it() {
        let mut activity = ready();
        activity.worked(at(100).monotonic, "somebody worked in JupyterLab".into());
        let because = |now: u64| match activity.decide(&policy(), &[], &at(now)) {
            Verdict::Active { because } => because,
            other => format!("{other:?}"),
        };
        assert_eq!(because(112), "somebody worked in JupyterLab 12 s ago");
        assert_eq!(idle_since(&activity, 115), 100);
        match activity.decide(&policy(), &[], &at(200)) {
            Verdict::Idle { last, stops_at, .. } => {
                assert_eq!((last.as_str(), stops_at), ("somebody worked in JupyterLab", Some(at(3700).monotonic)));
            }
            other => panic!("{other:?}"),
        }
        // The stop is put off by no more than what was worked, however short the timeout is.
        let short = Idle { shutdown: Some(Duration::from_secs(2)), ..policy() };
        assert!(matches!(activity.decide(&short, &[], &at(101)), Verdict::Idle { .. }));
    }

    #[test]
    fn what_an_older_agent_stored_is_read() {
        let mut old = serde_json::to_value(ready()).unwrap();
        old.as_object_mut().unwrap().remove("traffic");
        assert_eq!(serde_json::from_value::<Activity>(old).unwrap(), ready());
    }

    #[test]
    fn a_kernel_stuck_in_starting_holds_for_five_minutes_and_a_dead_one_never() {
        let mut activity = ready();
        look(&mut activity, 0, Ok(vec![kernel(KernelState::Starting, "a")]));
        assert!(matches!(activity.decide(&policy(), &[], &at(299)), Verdict::Active { .. }));
        look(&mut activity, 301, Ok(vec![kernel(KernelState::Starting, "a")]));
        assert!(matches!(activity.decide(&policy(), &[], &at(301)), Verdict::Idle { .. }));
        look(&mut activity, 400, Ok(vec![kernel(KernelState::Dead, "a")]));
        assert_eq!(idle_since(&activity, 500), 400);
    }

    #[test]
    fn a_source_that_cannot_be_read_holds_until_blind_after_and_says_why() {
        let mut activity = ready();
        look(&mut activity, 10, Err("JupyterLab does not answer".into()));
        look(&mut activity, 7000, Err("JupyterLab does not answer".into()));
        let Verdict::Unknown { because, until } = activity.decide(&policy(), &[], &at(7000)) else { panic!() };
        assert_eq!((because.as_str(), until), ("JupyterLab does not answer", Monotonic(7_210_000)));
        assert!(matches!(activity.decide(&policy(), &[], &at(7211)), Verdict::Idle { .. }));
    }

    #[test]
    fn a_lease_holds_until_it_ends_and_the_reason_is_told() {
        let lease = Lease { id: "l".into(), reason: "training overnight".into(), until: Monotonic(100_000) };
        let activity = ready();
        let Verdict::Active { because } = activity.decide(&policy(), std::slice::from_ref(&lease), &at(99)) else {
            panic!()
        };
        assert_eq!(because, "a lease holds it until 10:01:40 UTC (training overnight)");
        assert!(matches!(activity.decide(&policy(), &[lease], &at(100)), Verdict::Idle { .. }));
    }

    #[test]
    fn a_wall_clock_that_jumps_two_days_changes_nothing() {
        let activity = ready();
        let mut now = at(60);
        now.wall = Timestamp(now.wall.0 + 2 * 86_400_000);
        let Verdict::Idle { since, stops_at, .. } = activity.decide(&policy(), &[], &now) else { panic!() };
        assert_eq!((since, stops_at), (Monotonic(0), Some(Monotonic(3_600_000))));
    }

    #[test]
    fn before_the_space_is_ready_it_is_active() {
        assert!(matches!(Activity::default().decide(&policy(), &[], &at(100_000)), Verdict::Active { .. }));
    }
}
