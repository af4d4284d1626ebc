//! Status as a value: what the space is doing and why, for the control plane, the command line and the start page.
//!
//! Published over a `watch` channel after every change of state. Names of notebooks appear in it: it is for the
//! space's own user and its operator on the unix sockets, and for signed-in viewers.

use super::now::Timestamp;
use super::reading::KernelState;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use utoipa::ToSchema;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The space's name.
    pub space: String,
    /// Names this boot of the space; new at every start, the same after a crash of the agent.
    pub boot: String,
    pub phase: PhaseName,
    /// Only while running.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// What the space is doing and why, in one plain sentence.
    pub sentence: String,
    /// Why it failed or stops.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub steps: Vec<StepStatus>,
    pub apps: Vec<AppStatus>,
    pub activity: ActivityStatus,
    pub leases: Vec<LeaseStatus>,
    pub warnings: Vec<String>,
    /// Whom the apps and steps run as.
    pub user: String,
    pub home: String,
    /// Where the front door listens: `127.0.0.1:8888`.
    #[schema(value_type = String)]
    pub listen: SocketAddr,
    /// Where a browser goes first: `/jupyterlab/default/`.
    pub path: String,
    pub agent: AgentStatus,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PhaseName {
    Booting,
    Running,
    Notice,
    Stopping,
    Stopped,
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    Normal,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StepStatus {
    pub name: String,
    /// `run`, `git` or `python`.
    pub kind: String,
    /// Whether the app waits for it.
    pub blocks_app: bool,
    pub state: StepState,
    /// Why it was skipped or failed, or what it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started: Option<Timestamp>,
    /// Milliseconds from start to end, or to now while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    Waiting,
    Running,
    Done,
    /// Nothing to do: its inputs have not changed.
    Skipped,
    Failed,
    /// A step that it needs has failed.
    Dropped,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AppStatus {
    pub name: String,
    /// `jupyterlab` or `command`.
    pub kind: String,
    pub label: String,
    pub base_path: String,
    pub state: AppState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// How often it was started again since the boot.
    pub restarts: u32,
    /// Why it is not ready, or how it last ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AppState {
    /// For the steps that it waits for.
    Waiting,
    Starting,
    Ready,
    /// It ended and will be started again after a backoff.
    Restarting,
    /// It gave up.
    Failed,
    Stopped,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ActivityStatus {
    pub verdict: VerdictName,
    /// Why the space is or isn't idle, in one sentence.
    pub sentence: String,
    /// Now while something works, else the end of the last activity: what `api/idle` answers.
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
    pub kernels: Vec<KernelStatus>,
    /// Sources that could not be read at the last look, with the reason.
    pub blind: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum VerdictName {
    Active,
    Idle,
    /// A source can't be read: held awake, for a bounded time.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct KernelStatus {
    pub app: String,
    pub name: String,
    pub state: KernelState,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LeaseStatus {
    pub id: String,
    pub reason: String,
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentStatus {
    pub version: String,
    pub pid: i32,
    pub init_pid: i32,
    /// 1 for the first agent of this boot; one more for each that init had to start again.
    pub starts: u32,
}

impl Status {
    /// Where a browser on this machine goes: `http://127.0.0.1:8888/jupyterlab/default/`.
    pub fn url(&self) -> String {
        url(self.listen, &self.path)
    }
}

/// `path` at the front door, for a browser on this machine. An address that listens everywhere is no address to go to;
/// from here, loopback is: the one of IPv4, since `[::]` takes its connections too, and machines without IPv6 have no
/// `[::1]`.
pub fn url(listen: SocketAddr, path: &str) -> String {
    let everywhere = listen.ip().to_canonical().is_unspecified();
    let reachable = if everywhere { SocketAddr::from(([127, 0, 0, 1], listen.port())) } else { listen };
    format!("http://{reachable}{path}")
}

#[cfg(test)]
mod tests {
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
            assert_eq!(url(listen.parse().unwrap(), "/lab/"), format!("http://{host}/lab/"), "{listen}");
        }
    }
}
