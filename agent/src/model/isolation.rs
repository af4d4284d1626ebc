//! How far the space's user is kept away from the agent: what the surroundings allow, said as it really is.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Which promises hold (README has the table).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// The apps run in another container.
    Container,
    /// The agent is root, and the user neither is nor can become it.
    Uid,
    /// The user runs as the agent does, or may become root.
    #[default]
    None,
}
