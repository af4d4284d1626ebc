//! How a space begins: it boots, unless somebody asked for recovery mode, or its platform started it again unasked after it
//! had stopped for idleness. Pure: what was found out comes in.

use crate::cli::RunArgs;
use crate::model::now::{Now, Timestamp, spoken};
use crate::model::space::Beginning;
use std::time::Duration;

/// A start that comes later than this after an idle stop was asked for by somebody.
const UNASKED: Duration = Duration::from_secs(600);

/// The run before this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LastRun {
    pub(super) ended: Timestamp,
    /// It stopped by `idle.action: exit`.
    pub(super) idle: bool,
    /// How it ended, for the status.
    pub(super) sentence: String,
}

/// What started this run, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Surroundings {
    /// Who starts again what exits: `Kubernetes`, `systemd`.
    pub(super) restarter: Option<&'static str>,
    /// Somebody sits at a terminal and has started it.
    pub(super) terminal: bool,
}

/// `first`: init is the first process of its pid namespace. `marked`: there is a file that container engines make.
pub(super) fn surroundings(
    env: &dyn Fn(&str) -> Option<String>,
    first: bool,
    marked: bool,
    terminal: bool,
) -> Surroundings {
    let restarter = if env("KUBERNETES_SERVICE_HOST").is_some() {
        Some("Kubernetes")
    } else if first || marked || env("container").is_some() {
        Some("the container's platform")
    } else {
        env("INVOCATION_ID").map(|_| "systemd")
    };
    Surroundings { restarter, terminal }
}

pub(super) fn beginning(
    args: &RunArgs,
    env: &dyn Fn(&str) -> Option<String>,
    last: Option<&LastRun>,
    now: &Now,
    surroundings: Surroundings,
) -> Beginning {
    const VARIABLE: &str = "SAGEMAKER_RECOVERY_MODE";
    if args.recovery {
        return Beginning::Recovery("it was asked for with --recovery".into());
    }
    if env(VARIABLE).is_some_and(|value| ["true", "1"].contains(&value.to_lowercase().as_str())) {
        return Beginning::Recovery(format!("the platform asked for it ({VARIABLE})"));
    }
    match (last.filter(|last| last.idle), surroundings) {
        (Some(last), Surroundings { restarter: Some(restarter), terminal: false }) => parked(last, restarter, now),
        _ => Beginning::Boot,
    }
}

fn parked(last: &LastRun, restarter: &str, now: &Now) -> Beginning {
    let since = Duration::from_millis(now.wall.0.saturating_sub(last.ended.0));
    if since > UNASKED {
        return Beginning::Boot;
    }
    Beginning::Parked(format!(
        "it stopped because nothing worked in it, and {} later {restarter} started it again, as it does with whatever exits",
        spoken(since)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::now::Monotonic;

    const ENDED: Timestamp = Timestamp(1_795_168_800_000);

    fn after(seconds: u64) -> Now {
        Now { monotonic: Monotonic(0), wall: Timestamp(ENDED.0 + seconds * 1000), boot_id: 0 }
    }

    fn idle() -> LastRun {
        LastRun { ended: ENDED, idle: true, sentence: "It stopped for idleness.".into() }
    }

    fn begun(last: &LastRun, seconds: u64, variables: &[(&str, &str)], first: bool, terminal: bool) -> Beginning {
        let env = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let surroundings = surroundings(&env, first, false, terminal);
        beginning(&RunArgs::default(), &env, Some(last), &after(seconds), surroundings)
    }

    #[test]
    fn what_a_platform_starts_again_after_an_idle_stop_is_parked() {
        for (variables, first, who) in [
            (&[("KUBERNETES_SERVICE_HOST", "10.0.0.1")][..], true, "Kubernetes"),
            (&[("container", "podman")], false, "the container's platform"),
            (&[("INVOCATION_ID", "ab12")], false, "systemd"),
            (&[], true, "the container's platform"),
        ] {
            let Beginning::Parked(why) = begun(&idle(), 40, variables, first, false) else {
                panic!("{variables:?} does not park")
            };
            assert!(why.contains(who) && why.contains("40 s later"), "{why}");
        }
    }

    #[test]
    fn what_somebody_starts_boots() {
        assert_eq!(begun(&idle(), 40, &[], false, false), Beginning::Boot, "nobody starts it again by itself");
        assert_eq!(begun(&idle(), 40, &[], true, true), Beginning::Boot, "somebody sits at a terminal");
        assert_eq!(begun(&idle(), 601, &[], true, false), Beginning::Boot, "it was long ago");
        assert_eq!(begun(&LastRun { idle: false, ..idle() }, 40, &[], true, false), Beginning::Boot, "it was stopped");
        let env = |_: &str| None;
        let surroundings = surroundings(&env, true, true, false);
        assert_eq!(beginning(&RunArgs::default(), &env, None, &after(0), surroundings), Beginning::Boot);
    }

    #[test]
    fn recovery_mode_can_be_asked_for() {
        let asked = |value: &str| begun(&idle(), 40, &[("SAGEMAKER_RECOVERY_MODE", value)], false, false);
        assert!(matches!(asked("True"), Beginning::Recovery(why) if why.contains("SAGEMAKER_RECOVERY_MODE")));
        assert!(matches!(asked("1"), Beginning::Recovery(_)));
        assert_eq!(asked("false"), Beginning::Boot);
        let args = RunArgs { recovery: true, ..RunArgs::default() };
        let begun = beginning(&args, &|_| None, None, &after(0), surroundings(&|_| None, false, false, true));
        assert!(matches!(begun, Beginning::Recovery(why) if why.contains("--recovery")));
    }
}
