//! Waiting until a space, or one of its apps, takes requests again, or it is clear that it won't.

use super::client::Agent;
use super::failure::Failure;
use super::output::printable;
use crate::model::now::Timestamp;
use crate::model::status::{AppState, AppStatus, Mode, PhaseName, Status};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// As long as a boot may take by default; one that takes longer hangs, or has much to install.
const DEADLINE: Duration = Duration::from_secs(15 * 60);
const POLL: Duration = Duration::from_millis(100);

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum For {
    /// The space runs as its document says, and its first app is ready.
    Space,
    /// This app is ready, later than it was when the wait began.
    App { name: String, before: Option<Timestamp>, mode: Option<Mode> },
}

impl For {
    /// A new start of this app.
    pub(super) fn app(status: &Status, app: &AppStatus) -> For {
        For::App { name: app.name.clone(), before: app.since, mode: status.mode }
    }

    /// `None`: not yet. The error is why it will not come.
    fn reached(&self, status: &Status) -> Option<Result<(), String>> {
        match status.phase {
            PhaseName::Failed | PhaseName::Stopping | PhaseName::Stopped => return Some(Err(status.sentence.clone())),
            PhaseName::Booting => return None,
            PhaseName::Running | PhaseName::Notice => {}
        }
        match self {
            For::Space if status.mode != Some(Mode::Normal) => Some(Err(status.sentence.clone())),
            For::Space => status.apps.first().map_or(Some(Ok(())), |app| stands(app, None)),
            // It was given up while it was waited for.
            For::App { mode, .. } if *mode != status.mode && status.mode == Some(Mode::Recovery) => {
                Some(Err(status.sentence.clone()))
            }
            For::App { name, before, .. } => match status.apps.iter().find(|app| app.name == *name) {
                Some(app) => stands(app, *before),
                None => Some(Err(format!("the space has no app {name} any more"))),
            },
        }
    }
}

/// `before`: when it had become ready, or was started, before what is waited for.
fn stands(app: &AppStatus, before: Option<Timestamp>) -> Option<Result<(), String>> {
    let why = || app.why.clone().unwrap_or_else(|| format!("{} does not run", app.label));
    match app.state {
        AppState::Ready if app.since != before || before.is_none() => Some(Ok(())),
        AppState::Asleep => Some(Ok(())),
        AppState::Failed | AppState::Stopped => Some(Err(why())),
        _ => None,
    }
}

/// Until it is reached; the status that shows it. An agent that is started again meanwhile is waited for.
pub(super) async fn until(agent: &Agent, what: &For) -> Result<Status, Failure> {
    timeout(DEADLINE, reached(agent, what)).await.unwrap_or_else(|_| {
        let minutes = DEADLINE.as_secs() / 60;
        Err(Failure::failed(format!(
            "it is not ready after {minutes} minutes; space-agent status says what it waits for"
        )))
    })
}

async fn reached(agent: &Agent, what: &For) -> Result<Status, Failure> {
    loop {
        match agent.get::<Status>("/v1/status").await {
            Ok(status) => match what.reached(&status) {
                Some(Ok(())) => return Ok(status),
                Some(Err(why)) => return Err(Failure::failed(printable(&why, false))),
                None => {}
            },
            Err(failure) if failure.answered.is_some() || !agent.listens().await => return Err(failure),
            Err(_) => {}
        }
        sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(phase: PhaseName, mode: Option<Mode>, app: AppState) -> Status {
        let mut status = crate::control::tests::status();
        (status.phase, status.mode, status.sentence) = (phase, mode, "what it does".to_owned());
        (status.apps[0].state, status.apps[0].since) = (app, Some(Timestamp(2)));
        status
    }

    #[test]
    fn a_start_ends_with_a_space_that_runs_normally_or_the_reason_why_it_does_not() {
        let (normal, recovery) = (Some(Mode::Normal), Some(Mode::Recovery));
        let said = || Some(Err("what it does".to_owned()));
        for (phase, mode, app, expected) in [
            (PhaseName::Booting, None, AppState::Waiting, None),
            (PhaseName::Running, normal, AppState::Ready, Some(Ok(()))),
            (PhaseName::Running, normal, AppState::Asleep, Some(Ok(()))),
            (PhaseName::Running, normal, AppState::Restarting, None),
            (PhaseName::Running, recovery, AppState::Ready, said()),
            (PhaseName::Running, Some(Mode::Parked), AppState::Stopped, said()),
            (PhaseName::Failed, None, AppState::Failed, said()),
            (PhaseName::Stopping, None, AppState::Ready, said()),
        ] {
            assert_eq!(For::Space.reached(&status(phase, mode, app)), expected, "{phase:?} {mode:?} {app:?}");
        }
    }

    #[test]
    fn a_restart_ends_with_another_ready_app_than_before() {
        let (normal, recovery) = (Some(Mode::Normal), Some(Mode::Recovery));
        let app = |before: u64, mode| For::App { name: "default".to_owned(), before: Some(Timestamp(before)), mode };
        let ready = |mode| status(PhaseName::Running, mode, AppState::Ready);
        assert_eq!(app(2, normal).reached(&ready(normal)), None, "it is the one from before");
        assert_eq!(app(1, normal).reached(&ready(normal)), Some(Ok(())));
        assert_eq!(app(1, recovery).reached(&ready(recovery)), Some(Ok(())));
        for mode in [normal, None] {
            assert_eq!(app(1, mode).reached(&ready(recovery)), Some(Err("what it does".to_owned())));
        }
        let mut failed = status(PhaseName::Running, normal, AppState::Failed);
        failed.apps[0].why = Some("no module".to_owned());
        assert_eq!(app(1, normal).reached(&failed), Some(Err("no module".to_owned())));
        let other = For::App { name: "other".to_owned(), before: None, mode: normal };
        assert!(matches!(other.reached(&ready(normal)), Some(Err(_))));
    }
}
