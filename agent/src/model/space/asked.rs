//! What may be asked of the space as it stands: pure answers, with the reason and the remedy where it may not.

use super::{Phase, Space};
use crate::model::reading::KernelState;
use crate::model::status::Mode;

impl Space {
    /// Whether this app can be ended and started anew now.
    pub fn may_restart(&self, app: usize) -> Result<(), String> {
        self.not_ending()?;
        let label = |index: usize| self.app_facts[index].label.as_str();
        match self.mode() {
            Some(Mode::Parked) => {
                Err("the space is parked, and nothing runs in it: start it with space-agent start".to_owned())
            }
            Some(Mode::Recovery) if app > 0 => Err(format!(
                "the space is in recovery mode, where only {} runs: {} comes back with space-agent start",
                label(0),
                label(app)
            )),
            _ => Ok(()),
        }
    }

    /// Whether a start would do something: it leaves recovery and parked mode.
    pub fn may_start_anew(&self) -> Result<bool, String> {
        self.not_ending()?;
        Ok(matches!(self.mode(), Some(Mode::Recovery | Mode::Parked)))
    }

    /// Names of the app's notebooks whose kernels are busy.
    pub fn busy_in(&self, app: usize) -> Vec<String> {
        let own = &self.spec.apps[app].name;
        let kernels = self.activity.kernels().filter(|(app, _)| app == own).map(|(_, kernel)| kernel);
        let busy = kernels.filter(|kernel| matches!(kernel.state, KernelState::Busy | KernelState::Other));
        busy.map(|kernel| kernel.name.clone()).collect()
    }

    fn not_ending(&self) -> Result<(), String> {
        let (what, reason) = match &self.phase {
            Phase::Booting { .. } | Phase::Running { .. } | Phase::Notice { .. } => return Ok(()),
            Phase::Failed { reason, .. } => ("has failed", reason),
            Phase::Stopping { reason, .. } => ("is stopping", reason),
            Phase::Stopped { reason, .. } => ("has stopped", reason),
        };
        Err(format!("the space {what} ({reason}): once it has ended, start it with space-agent run"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::app::AppFacts;
    use crate::model::now::{Monotonic, Now, Timestamp};
    use crate::model::reading::{Kernel, Reading};
    use crate::model::space::{Beginning, Effect, Event, Facts};
    use crate::model::status::{AgentStatus, AppState};

    const NOW: Now = Now { monotonic: Monotonic(1000), wall: Timestamp(1000), boot_id: 7 };

    /// Two apps: `default`, and `other`.
    fn space(beginning: Beginning) -> Space {
        let mut spec = space_lifecycle::default_space();
        spec.steps.clear();
        spec.apps.push(space_lifecycle::App { name: "other".into(), ..spec.apps[0].clone() });
        let facts = Facts {
            name: "lab".into(),
            id: "01234567".into(),
            boot: "b".into(),
            user: "alice".into(),
            home: "/home/alice".into(),
            logs: "/log".into(),
            listen: ([127, 0, 0, 1], 8888).into(),
            strict: false,
            isolation: Default::default(),
            last_run: None,
        };
        let app = |label: &str| AppFacts { label: label.into(), base_path: "/".into(), kernels: true };
        let mut space = Space::new(spec, facts, vec![app("JupyterLab"), app("Other")], NOW);
        space.begin(beginning, NOW);
        space.handle(Event::Tick, NOW);
        space
    }

    fn ready() -> Space {
        let mut space = space(Beginning::Boot);
        for child in ["app/default#1", "app/other#1"] {
            space.handle(Event::AppReady { child: child.into() }, NOW);
        }
        space
    }

    #[test]
    fn an_app_is_restarted_where_it_runs_and_else_it_is_said_what_to_do() {
        let parked = space(Beginning::Parked("idle".into()));
        assert!(parked.may_restart(0).unwrap_err().contains("start it with space-agent start"));
        let recovery = space(Beginning::Recovery("x".into()));
        assert_eq!(recovery.may_restart(0), Ok(()));
        assert!(recovery.may_restart(1).unwrap_err().contains("only JupyterLab runs: Other comes back"));
        let mut ending = ready();
        assert_eq!((ending.may_restart(0), ending.may_restart(1)), (Ok(()), Ok(())));
        ending.handle(Event::StopAsked { reason: "enough".into() }, NOW);
        let said = "the space is stopping (enough): once it has ended, start it with space-agent run";
        assert_eq!(ending.may_restart(0), Err(said.to_owned()));
        assert_eq!(ending.may_start_anew(), Err(said.to_owned()));
    }

    #[test]
    fn only_recovery_and_parked_mode_are_left_by_a_start() {
        for (beginning, starts) in
            [(Beginning::Boot, false), (Beginning::Recovery("x".into()), true), (Beginning::Parked("x".into()), true)]
        {
            assert_eq!(space(beginning.clone()).may_start_anew(), Ok(starts), "{beginning:?}");
        }
    }

    #[test]
    fn only_the_kernels_of_the_app_itself_count() {
        let mut space = ready();
        let kernel = |state| Kernel { id: "k".into(), name: "a.ipynb".into(), state, last_activity: String::new() };
        let seen = Ok(vec![kernel(KernelState::Busy), kernel(KernelState::Idle)]);
        space.handle(Event::Seen(Reading { app: "other".into(), seen }), NOW);
        assert_eq!((space.busy_in(0), space.busy_in(1)), (vec![], vec!["a.ipynb".to_owned()]));
    }

    #[test]
    fn an_app_whose_end_was_asked_for_is_shown_as_restarting_and_not_as_ready() {
        let mut space = ready();
        let effects = space.handle(Event::RestartAsked { app: 0, by: "root".into() }, NOW);
        assert!(matches!(&effects[..], [Effect::EndApp { app: 0, .. }]), "{effects:?}");
        let agent = AgentStatus { version: "0".into(), pid: 2, init_pid: 1, starts: 1 };
        let status = space.status(NOW, agent);
        assert_eq!((status.apps[0].state, &status.apps[0].why), (AppState::Restarting, &None));
        assert!(!status.ready());
    }
}
