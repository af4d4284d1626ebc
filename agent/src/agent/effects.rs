//! What the model wants done, done: each effect becomes a command to a room, or a task on a blocking thread.

use super::hall::Done;
use super::leftovers;
use super::place::{self, Place};
use crate::apps;
use crate::model::child::{ChildLimits, ChildSpec, Exit, StepOutcome};
use crate::model::environment::base_environment;
use crate::model::space::Turn;
use crate::model::traffic::Meters;
use crate::process::{Command, Farewell, Probe, Watch};
use crate::setup;
use crate::sys::errors::chain;
use crate::sys::files::{self, on_path};
use space_lifecycle::{Space as Spec, StepKind};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Where the document asks for no liveness: an app that has not answered for five minutes is said to be silent.
const SILENT_LOOK: Duration = Duration::from_secs(60);
const SILENT_AFTER: u32 = 5;

/// Where memory runs short, the system ends the people's work first, which the memory watch puts at 700, then steps, then
/// the servers, the agent last.
const WORK: i32 = 600;
const SERVER: i32 = 300;

const SH: &str = "/bin/sh";
/// What is asked and how it ended stand where its output does: whoever looks at the page reads one conversation.
const RESCUE: &str = "printf '$ %s\\n' \"$1\"; \"$0\" -c \"$1\"; code=$?; echo \"(exit code $code)\"; exit $code";

/// The program of a child is prepared on a blocking thread, from a copy of what does not change.
#[derive(Debug)]
pub(super) struct Workshop {
    pub(super) spec: Spec,
    pub(super) place: Place,
    env: BTreeMap<String, String>,
    /// Of each app, in the document's order.
    definitions: Vec<apps::Definition>,
    /// Of each app in recovery mode.
    recovery: Vec<apps::Definition>,
    /// Kept when the document changes.
    pub(super) meters: Arc<Meters>,
}

impl Workshop {
    pub(super) fn new(spec: Spec, place: Place, boot: &str, meters: Arc<Meters>) -> Arc<Workshop> {
        let outer: BTreeMap<String, String> = std::env::vars().collect();
        let mut env = base_environment(&outer, &place.account);
        env.extend([leftovers::mark(&place, boot)]);
        env.insert("SPACE_AGENT_SOCKET".into(), place.user_socket().display().to_string());
        let apps_place = apps_place(&spec, &place, &env);
        let definitions = spec.apps.iter().map(|app| apps::definition(app, &apps_place)).collect();
        let recovery = spec.apps.iter().map(|app| apps::recovery_definition(app, &apps_place)).collect();
        Arc::new(Workshop { spec, place, env, definitions, recovery, meters })
    }

    /// Blocking.
    pub(super) fn start_step(&self, step: usize, child: String) -> Done {
        match setup::prepare(&self.spec.steps[step], &self.setup_context()) {
            Ok(spec) => self.spawn(child, ChildSpec { oom_score_adj: Some(WORK), ..spec }),
            Err(error) => Done::StepOver { child, outcome: StepOutcome::Failed { why: chain(&error) } },
        }
    }

    /// Blocking.
    pub(super) fn step_outcome(&self, step: usize, child: String, exit: &Exit) -> Done {
        let outcome = setup::outcome(&self.spec.steps[step], &self.setup_context(), exit);
        Done::StepOver { child, outcome }
    }

    /// Blocking. `turn`: to recovery mode, if that is how the app is to run.
    pub(super) fn start_app(&self, app: usize, child: String, turn: Option<Turn>) -> Done {
        let mut definition = self.definition(app, turn.is_some()).clone();
        if let Some(turn) = turn {
            let note = place::Note { why: &turn.why, details: &turn.details };
            if let Err(error) = place::make_clean_home(&self.place, turn.round, &note) {
                let folder = self.place.recovery();
                let why = format!("cannot make a clean home in {}: {error}", folder.display());
                return Done::AppOver { child, exit: Exit::NotStarted(why) };
            }
            definition.folder = self.or_clean(definition.folder);
        } else if app == 0 {
            place::leave_recovery(&self.place);
        }
        match apps::find_program(&definition) {
            Ok(program) => {
                apps::forget_socket(&definition, &self.place.run);
                let written = &self.spec.apps[app].limits;
                let limits = ChildLimits { open_files: written.open_files, processes: written.processes };
                let spec = apps::into_spec(definition, program);
                self.spawn(child, ChildSpec { oom_score_adj: Some(SERVER), limits, ..spec })
            }
            Err(error) => Done::AppOver { child, exit: Exit::NotStarted(error.to_string()) },
        }
    }

    /// Blocking. A command of the console: in the real home, as far as that can be entered, so that it can be repaired.
    pub(super) fn rescue_command(&self, child: String, command: String) -> Done {
        let shells = on_path("bash", self.env.get("PATH"));
        let bash = shells.into_iter().find(|shell| files::executable_by(shell, &self.place.account));
        let shell = bash.unwrap_or_else(|| SH.into());
        let spec = ChildSpec {
            program: SH.into(),
            args: vec!["-c".into(), RESCUE.into(), shell.display().to_string(), command],
            env: self.env.clone(),
            folder: self.or_clean(self.place.home.clone()),
            account: self.place.account.clone(),
            may_gain_privileges: false,
            oom_score_adj: Some(WORK),
            limits: ChildLimits::default(),
        };
        self.spawn(child, spec)
    }

    /// The folder, if a process of the user's can begin in it, else one where it can.
    fn or_clean(&self, folder: PathBuf) -> PathBuf {
        let clean = apps::recovery::clean_home(&self.place.recovery());
        let enters = |folder: &PathBuf| files::enterable_by(folder, &self.place.account);
        [folder, clean].into_iter().find(enters).unwrap_or_else(|| "/".into())
    }

    /// Where the git steps have put theirs.
    pub(super) fn repositories(&self) -> Vec<PathBuf> {
        let into = self.spec.steps.iter().filter_map(|step| match &step.kind {
            StepKind::Git { into, .. } => Some(into.clone()),
            _ => None,
        });
        into.collect()
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
    pub(super) fn definition(&self, app: usize, recovery: bool) -> &apps::Definition {
        if recovery { &self.recovery[app] } else { &self.definitions[app] }
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
        recovery: place.recovery(),
    }
}
