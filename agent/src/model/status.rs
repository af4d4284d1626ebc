//! Status as a value: what the space is doing and why, for the control plane, the command line and the start page.
//!
//! Published over a `watch` channel after every change of state. Names of notebooks appear in it: it is for the
//! space's own user and its operator on the unix sockets, and for signed-in viewers.

use super::events::EventStatus;
use super::isolation::Isolation;
use super::now::Timestamp;
use super::reading::KernelState;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use utoipa::ToSchema;

/// What the space is doing and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The space's name.
    pub space: String,
    /// Names this boot of the space; new at every start, the same after a crash of the agent.
    pub boot: String,
    pub phase: PhaseName,
    /// Only while running or in notice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// When the phase began.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// What the space is doing and why, in one plain sentence.
    pub sentence: String,
    /// Why it failed or stops, or why it runs in recovery mode or parked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// In the order in which they run.
    pub steps: Vec<StepStatus>,
    /// In the order of the document; the first owns `/` of the front door.
    pub apps: Vec<AppStatus>,
    pub activity: ActivityStatus,
    /// Those that have not ended.
    pub leases: Vec<LeaseStatus>,
    /// What went wrong without stopping the space, or may surprise.
    pub warnings: Vec<String>,
    /// What happened, oldest first: the last hundred at most.
    #[serde(default)]
    pub events: Vec<EventStatus>,
    /// How far the space's user is kept away from the agent.
    #[serde(default)]
    pub isolation: Isolation,
    /// How the run before this one ended, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<String>,
    /// Whom the apps and steps run as.
    pub user: String,
    /// The home folder, absolute.
    pub home: String,
    /// Where the front door listens: `127.0.0.1:8888`.
    #[schema(value_type = String)]
    pub listen: SocketAddr,
    /// It speaks https.
    #[serde(default)]
    pub tls: bool,
    /// Where a browser goes first: `/jupyterlab/default/`.
    pub path: String,
    pub agent: AgentStatus,
}

/// Where the space stands between its boot and its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PhaseName {
    /// Steps run, apps start.
    Booting,
    /// It can be worked in.
    Running,
    /// It runs, and stops soon unless something works.
    Notice,
    /// Everything in it is being ended.
    Stopping,
    /// Nothing runs in it any more.
    Stopped,
    /// It cannot go on; it shows why for a moment, then stops.
    Failed,
}

/// How the space runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// As its document says.
    Normal,
    /// The first app with a clean home and none of the user's set-up, so that a broken space can be repaired.
    Recovery,
    /// No app runs: the space was stopped for idleness, and its platform started it again unasked.
    Parked,
}

/// A set-up step of this boot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StepStatus {
    pub name: String,
    /// `run`, `git` or `python`.
    pub kind: String,
    /// Whether the apps wait for it, itself or through a step that needs it.
    pub blocks_app: bool,
    pub state: StepState,
    /// Why it was skipped or failed, or what it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// Absent until it runs.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started: Option<Timestamp>,
    /// Milliseconds from start to end; absent until it has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
}

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    /// For the steps before it.
    Waiting,
    Running,
    Done,
    /// Nothing to do: its inputs have not changed.
    Skipped,
    Failed,
    /// A step that it needs has failed.
    Dropped,
}

/// An app behind the front door.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AppStatus {
    pub name: String,
    /// `jupyterlab`, `code-editor` or `command`.
    pub kind: String,
    /// What people call it: `JupyterLab`.
    pub label: String,
    /// Where a browser finds it at the front door: begins and ends with `/`.
    pub base_path: String,
    pub state: AppState,
    /// Of its process, in the agent's own pid namespace; absent while none runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// How often it was started again since the boot.
    pub restarts: u32,
    /// Why it is not ready, or how it last ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// When it was started, or, once it is ready, became ready; absent while it doesn't run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
}

/// Where an app stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AppState {
    /// For the steps that it waits for.
    Waiting,
    /// For its first request.
    Asleep,
    /// Its process runs and does not answer yet.
    Starting,
    /// It takes requests.
    Ready,
    /// It has ended and will be started again after a backoff, with `why`; without, its end and a new start were asked
    /// for.
    Restarting,
    /// It was given up: it ended too often, or cannot be started.
    Failed,
    /// It ended with the space.
    Stopped,
}

/// Whether the space works, why, and when it stops if nothing happens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ActivityStatus {
    pub verdict: VerdictName,
    /// Why the space is or isn't idle, in one sentence.
    pub sentence: String,
    /// The end of the last activity; while something works, or can't be told, the moment of this status.
    #[schema(value_type = String, format = DateTime)]
    pub last_active: Timestamp,
    /// When the space stops if nothing happens.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub stops_at: Option<Timestamp>,
    /// The idle timeout in seconds; absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shutdown_s: Option<u64>,
    /// `observe`, `report`, `exit` or `command`.
    pub action: String,
    /// As of the last looks.
    pub kernels: Vec<KernelStatus>,
    /// Sources that could not be read at the last look, with the reason.
    pub blind: Vec<String>,
}

/// Does the space work?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum VerdictName {
    /// Something works, or a lease holds it.
    Active,
    /// Nothing does.
    Idle,
    /// A source can't be read: held awake, for a bounded time.
    Unknown,
}

/// A kernel of a notebook, as it was seen last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct KernelStatus {
    /// The app's name.
    pub app: String,
    /// The notebook's path, or the kernel's name if it has no notebook.
    pub name: String,
    pub state: KernelState,
}

/// A lease: while it lasts, the space counts as active.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LeaseStatus {
    /// Names it to whoever renews or ends it.
    pub id: String,
    /// Why, and who took it: `training overnight, by root`.
    pub reason: String,
    /// When it ends by itself.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
}

/// The agent's own processes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentStatus {
    pub version: String,
    pub pid: i32,
    /// Of the parent that keeps sockets and children while the agent is away.
    pub init_pid: i32,
    /// 1 for the first agent of this boot; one more for each that init had to start again.
    pub starts: u32,
}

impl Status {
    /// Where a browser on this machine goes: `http://127.0.0.1:8888/jupyterlab/default/`.
    pub fn url(&self) -> String {
        url(self.listen, self.tls, &self.path)
    }

    /// The space can be worked in: it is up, and its first app, if it has one, takes requests, or starts at the first.
    pub fn ready(&self) -> bool {
        self.up() && self.apps.first().is_none_or(|app| matches!(app.state, AppState::Ready | AppState::Asleep))
    }

    /// When something worked last, as platforms poll it. It is now while the space boots, stops, works, or can't tell
    /// whether it works: whoever polls must stop it for none of these. Never in the future, whatever the clock does.
    pub fn last_active(&self, now: Timestamp) -> Timestamp {
        let held = matches!(self.phase, PhaseName::Booting | PhaseName::Stopping)
            || matches!(self.activity.verdict, VerdictName::Active | VerdictName::Unknown);
        if held { now } else { self.activity.last_active.min(now) }
    }

    /// Why the space is or isn't idle. While it boots or ends, that is the reason, and in recovery mode or parked the
    /// mode is; what works in it matters only in between.
    pub fn why(&self) -> &str {
        let normal = self.up() && !matches!(self.mode, Some(Mode::Recovery | Mode::Parked));
        if normal { &self.activity.sentence } else { &self.sentence }
    }

    /// The boot is over and the end has not begun.
    pub fn up(&self) -> bool {
        matches!(self.phase, PhaseName::Running | PhaseName::Notice)
    }
}

/// `path` at the front door, for a browser on this machine. An address that listens everywhere is no address to go to;
/// from here, loopback is: the one of IPv4, since `[::]` takes its connections too, and machines without IPv6 have no
/// `[::1]`.
pub fn url(listen: SocketAddr, tls: bool, path: &str) -> String {
    let everywhere = listen.ip().to_canonical().is_unspecified();
    let reachable = if everywhere { SocketAddr::from(([127, 0, 0, 1], listen.port())) } else { listen };
    let scheme = if tls { "https" } else { "http" };
    format!("{scheme}://{reachable}{path}")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    #[test]
    fn an_address_that_listens_everywhere_is_gone_to_by_loopback() {
        for (listen, host) in [
            ("127.0.0.1:8888", "127.0.0.1:8888"),
            ("0.0.0.0:8888", "127.0.0.1:8888"),
            ("[::]:8888", "127.0.0.1:8888"),
            ("[::ffff:0.0.0.0]:8888", "127.0.0.1:8888"),
            ("[::1]:8888", "[::1]:8888"),
            ("192.0.2.7:80", "192.0.2.7:80"),
        ] {
            assert_eq!(url(listen.parse().unwrap(), false, "/lab/"), format!("http://{host}/lab/"), "{listen}");
        }
    }

    pub(in crate::model) fn status() -> Status {
        let agent = AgentStatus { version: "0".into(), pid: 2, init_pid: 1, starts: 1 };
        Status {
            space: "lab".into(),
            boot: "b".into(),
            phase: PhaseName::Running,
            mode: Some(Mode::Normal),
            since: Timestamp(0),
            sentence: "what it does".into(),
            reason: None,
            steps: Vec::new(),
            apps: Vec::new(),
            activity: ActivityStatus {
                verdict: VerdictName::Idle,
                sentence: "why it is idle".into(),
                last_active: Timestamp(0),
                stops_at: None,
                shutdown_s: None,
                action: "report".into(),
                kernels: Vec::new(),
                blind: Vec::new(),
            },
            leases: Vec::new(),
            warnings: Vec::new(),
            events: Vec::new(),
            isolation: Isolation::None,
            last_run: None,
            user: "alice".into(),
            home: "/home/alice".into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 8888)),
            tls: false,
            path: "/".into(),
            agent,
        }
    }

    #[test]
    fn what_platforms_poll_is_now_unless_the_space_is_idle_and_never_in_the_future() {
        let now = Timestamp(1_795_168_800_123);
        let (earlier, later) = (Timestamp(now.0 - 60_000), Timestamp(now.0 + 60_000));
        for (phase, verdict, last_active, expected) in [
            (PhaseName::Running, VerdictName::Idle, earlier, earlier),
            (PhaseName::Running, VerdictName::Active, earlier, now),
            (PhaseName::Running, VerdictName::Unknown, earlier, now),
            (PhaseName::Running, VerdictName::Idle, later, now),
            (PhaseName::Notice, VerdictName::Idle, earlier, earlier),
            (PhaseName::Booting, VerdictName::Idle, earlier, now),
            (PhaseName::Stopping, VerdictName::Idle, earlier, now),
            (PhaseName::Failed, VerdictName::Idle, earlier, earlier),
        ] {
            let mut status = status();
            (status.phase, status.activity.verdict, status.activity.last_active) = (phase, verdict, last_active);
            assert_eq!(status.last_active(now), expected, "{phase:?} {verdict:?}");
        }
    }

    #[test]
    fn a_space_is_ready_when_it_is_up_and_its_first_app_is() {
        let app = |state| AppStatus {
            name: "default".into(),
            kind: "jupyterlab".into(),
            label: "JupyterLab".into(),
            base_path: "/".into(),
            state,
            pid: None,
            restarts: 0,
            why: None,
            since: None,
        };
        for (phase, apps, ready) in [
            (PhaseName::Running, vec![], true),
            (PhaseName::Running, vec![AppState::Ready], true),
            (PhaseName::Running, vec![AppState::Asleep], true),
            (PhaseName::Booting, vec![AppState::Asleep], false),
            (PhaseName::Notice, vec![AppState::Ready, AppState::Failed], true),
            (PhaseName::Running, vec![AppState::Restarting, AppState::Ready], false),
            (PhaseName::Booting, vec![AppState::Ready], false),
            (PhaseName::Stopping, vec![AppState::Ready], false),
        ] {
            let mut status = status();
            (status.phase, status.apps) = (phase, apps.iter().copied().map(app).collect());
            assert_eq!(status.ready(), ready, "{phase:?} {apps:?}");
        }
    }

    #[test]
    fn why_is_the_activity_while_the_space_is_up_and_else_what_it_does() {
        let mut status = status();
        assert_eq!(status.why(), "why it is idle");
        for mode in [Mode::Recovery, Mode::Parked] {
            status.mode = Some(mode);
            assert_eq!(status.why(), "what it does");
        }
        (status.phase, status.mode) = (PhaseName::Failed, None);
        assert_eq!(status.why(), "what it does");
    }
}
