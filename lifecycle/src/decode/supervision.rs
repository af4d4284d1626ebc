//! What any app can be told about its running: readiness, restarts, liveness, limits.

use super::{At, Decoder};
use crate::form;
use crate::space::{AppRestart, Limits, Live};
use crate::vocabulary::{APP_RESTART, LIMITS, LIVE, Object};
use std::time::Duration;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const YEAR: Duration = Duration::from_secs(366 * 86_400);

/// `apps[].ready` as written.
#[derive(Default)]
pub(super) struct Ready {
    pub(super) path: Option<String>,
    pub(super) deadline: Option<Duration>,
}

impl Decoder<'_> {
    /// `object`: which fields it has, since not every kind of app has a path of its own choice.
    pub(super) fn ready(&mut self, at: At<'_>, object: &'static [&'static Object]) -> Option<Ready> {
        let fields = self.fields(at, object)?;
        let path = if object[0].fields.contains(&"path") { fields.get("path") } else { None };
        let path = path.and_then(|at| self.formed(&at, form::ready_path)).map(str::to_owned);
        let deadline = fields.get("deadline").and_then(|at| self.duration(&at, SECOND..=HOUR));
        Some(Ready { path, deadline })
    }

    pub(super) fn app_restart(&mut self, at: At<'_>) -> Option<AppRestart> {
        let fields = self.fields(at, &[&APP_RESTART])?;
        let usual = AppRestart::default();
        let max = fields.get("max").and_then(|at| self.integer(&at, 0..=100_000));
        let within = fields.get("within").and_then(|at| self.duration(&at, SECOND..=YEAR));
        let waits = fields.get("backoff").and_then(|at| self.durations(&at, MILLISECOND * 10..=HOUR));
        let (first_wait, longest_wait) = waits.unwrap_or((usual.first_wait, usual.longest_wait));
        Some(AppRestart {
            max: max.and_then(|max| u32::try_from(max).ok()).unwrap_or(usual.max),
            within: within.unwrap_or(usual.within),
            first_wait,
            longest_wait,
        })
    }

    /// `ready_path`: what is asked if the document does not say it.
    pub(super) fn live(&mut self, at: At<'_>, ready_path: &str) -> Option<Live> {
        let fields = self.fields(at, &[&LIVE])?;
        let path = fields.get("path").and_then(|at| self.formed(&at, form::ready_path)).unwrap_or(ready_path);
        let every = fields.get("every").and_then(|at| self.duration(&at, SECOND..=HOUR));
        let failures = fields.get("failures").and_then(|at| self.integer(&at, 1..=1000));
        Some(Live {
            path: path.to_owned(),
            every: every.unwrap_or(SECOND * 30),
            failures: failures.and_then(|failures| u32::try_from(failures).ok()).unwrap_or(5),
        })
    }

    pub(super) fn limits(&mut self, at: At<'_>) -> Option<Limits> {
        let fields = self.fields(at, &[&LIMITS])?;
        let mut limit = |key, least| {
            let number = fields.get(key).and_then(|at| self.integer(&at, least..=1_000_000_000));
            number.and_then(|number| u64::try_from(number).ok())
        };
        Some(Limits { open_files: limit("open_files", 64), processes: limit("processes", 16) })
    }
}
