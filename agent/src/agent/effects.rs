//! What the model wants done, done: each effect becomes a command to a room, or a task on a blocking thread.

use super::hall::Done;
use super::leftovers;
use super::place::Place;
use crate::apps;
use crate::model::child::{ChildLimits, ChildSpec, Exit, StepOutcome};
use crate::model::environment::base_environment;
use crate::process::{Command, Farewell, Probe, Watch};
use crate::setup;
use crate::sys::errors::chain;
use space_lifecycle::Space as Spec;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Where the document asks for no liveness: an app that has not answered for five minutes is said to be silent.
const SILENT_LOOK: Duration = Duration::from_secs(60);
const SILENT_AFTER: u32 = 5;

/// The program of a child is prepared on a blocking thread, from a copy of what does not change.
#[derive(Debug)]
pub(super) struct Workshop {
    pub(super) spec: Spec,
    pub(super) place: Place,
    env: BTreeMap<String, String>,
    /// Of each app, in the document's order.
    definitions: Vec<apps::Definition>,
}

impl Workshop {
    pub(super) fn new(spec: Spec, place: Place, boot: &str) -> Arc<Workshop> {
        let outer: BTreeMap<String, String> = std::env::vars().collect();
        let mut env = base_environment(&outer, &place.account);
        env.extend([leftovers::mark(&place, boot)]);
        env.insert("SPACE_AGENT_SOCKET".into(), place.user_socket().display().to_string());
        let apps_place = apps_place(&spec, &place, &env);
        let definitions = spec.apps.iter().map(|app| apps::definition(app, &apps_place)).collect();
        Arc::new(Workshop { spec, place, env, definitions })
    }

    /// Blocking.
    pub(super) fn start_step(&self, step: usize, child: String) -> Done {
        match setup::prepare(&self.spec.steps[step], &self.setup_context()) {
            Ok(spec) => self.spawn(child, spec),
            Err(error) => Done::StepOver { child, outcome: StepOutcome::Failed { why: chain(&error) } },
        }
    }

    /// Blocking.
    pub(super) fn step_outcome(&self, step: usize, child: String, exit: &Exit) -> Done {
        let outcome = setup::outcome(&self.spec.steps[step], &self.setup_context(), exit);
        Done::StepOver { child, outcome }
    }

    /// Blocking.
    pub(super) fn start_app(&self, app: usize, child: String, recovery: bool) -> Done {
        let definition = self.definition(app, recovery);
        match apps::find_program(definition) {
            Ok(program) => self.spawn(child, apps::into_spec(definition.clone(), program)),
            Err(error) => Done::AppOver { child, exit: Exit::NotStarted(error.to_string()) },
        }
    }

    pub(super) fn idle_command(&self, child: String, command: &[String]) -> Done {
        let spec = ChildSpec {
            program: "/bin/sh".into(),
            args: ["-c", "exec \"$@\"", "sh"]
                .iter()
                .map(|arg| (*arg).to_owned())
                .chain(command.iter().cloned())
                .collect(),
            env: self.env.clone(),
            folder: self.place.home.clone(),
            account: self.place.account.clone(),
            may_gain_privileges: false,
            oom_score_adj: None,
            limits: ChildLimits::default(),
        };
        self.spawn(child, spec)
    }

    pub(super) fn probe(&self, app: usize, recovery: bool) -> Probe {
        let apps::Definition { upstream, account, ready, .. } = self.definition(app, recovery).clone();
        Probe { upstream, uid: account.uid, path: ready.path, below: ready.below }
    }

    /// What to ask of a ready app, how often, and how often in a row it may not answer.
    pub(super) fn watch(&self, app: usize, recovery: bool) -> Watch {
        let probe = self.probe(app, recovery);
        match &self.spec.apps[app].live {
            Some(live) => {
                let path = apps::below_base(self.definition(app, recovery), &live.path);
                let probe = Probe { path, below: 500, ..probe };
                Watch { probe, every: live.every, failures: live.failures }
            }
            None => Watch { probe, every: SILENT_LOOK, failures: SILENT_AFTER },
        }
    }

    /// The app's own way of ending, if it has one.
    pub(super) fn farewell(&self, app: usize, recovery: bool) -> Option<Farewell> {
        let apps::Definition { upstream, account, farewell, .. } = self.definition(app, recovery).clone();
        farewell.map(|path| Farewell { upstream, uid: account.uid, path })
    }

    /// What an app is; in recovery mode it is something else.
    pub(super) fn definition(&self, app: usize, _recovery: bool) -> &apps::Definition {
        &self.definitions[app]
    }

    fn spawn(&self, child: String, mut spec: ChildSpec) -> Done {
        spec.may_gain_privileges = self.place.may_gain_privileges;
        Done::Command(Command::Spawn { child, spec: Box::new(spec) })
    }

    fn setup_context(&self) -> setup::Context {
        setup::Context {
            account: self.place.account.clone(),
            home: self.place.home.clone(),
            state: self.place.state(),
            steps_folder: self.place.steps(),
            binary: self.place.binary.clone(),
            env: self.env.clone(),
        }
    }
}

/// What an app's definition is made from.
pub(super) fn apps_place(spec: &Spec, place: &Place, env: &BTreeMap<String, String>) -> apps::Place {
    apps::Place {
        home: place.home.clone(),
        account: place.account.clone(),
        run_folder: place.run.clone(),
        front_base: spec.front_door.base_path.clone(),
        base_env: env.clone(),
        config_folder: place.jupyter_config(),
    }
}
