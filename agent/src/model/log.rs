//! One line of a step's or an app's output, as it travels from the pipe to the start page.

use super::now::Timestamp;
use serde::Serialize;

/// A line of output. At most 4096 bytes; control characters are already escaped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// Rising by one for each line of this agent process; not stored.
    pub seq: u64,
    pub at: Timestamp,
    /// The step's or app's name.
    pub of: String,
    pub text: String,
}
