//! What an activity source saw: input of the idle decision.

use serde::{Deserialize, Serialize};

/// One look of one source at one app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// The app's name.
    pub app: String,
    /// What was seen, or why it could not be (one clause, lower case, with the object in it).
    pub seen: Result<Vec<Kernel>, String>,
}

/// A Jupyter kernel, as its server's REST interface tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    pub id: String,
    /// The notebook's path, or the kernel's name if it has no session.
    pub name: String,
    pub state: KernelState,
    /// As the server writes it. Compared for change only, never read as a time.
    pub last_activity: String,
}

/// What a kernel does, in Jupyter's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KernelState {
    Starting,
    Idle,
    Busy,
    Dead,
    /// A state that Jupyter may have and we don't know: counts as busy, since silence is not idleness.
    Other,
}
