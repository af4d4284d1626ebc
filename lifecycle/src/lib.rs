//! What a space should be: the lifecycle configuration's types, reading, validation and the boot plan.
//!
//! Pure: text in, values out. Nothing here opens a file, asks for the time or knows the agent, so a control plane can
//! use this crate to check a document before it hands it to a space.
//!
//! The flow: text -> one tree of nodes with positions ([`tree`]) -> merged tree ([`merge`]) -> a collecting decoder
//! ([`decode`]) -> [`Space`] (valid, or every mistake at once) -> [`BootPlan`](plan::BootPlan).

mod decode;
pub mod duration;
mod form;
mod merge;
mod mistake;
mod order;
pub mod plan;
mod preset;
pub mod printable;
mod schema;
pub mod space;
mod suggest;
mod tree;
mod vocabulary;
pub mod written;

pub use decode::{Mode, Read, Salvage, read, salvage};
pub use mistake::{Mistake, Mistakes};
pub use order::awaited;
pub use preset::{command_space, default_space};
pub use schema::schema;

pub use space::{
    AccessLog, Action, AgentPolicy, App, AppKind, AppRestart, Blocks, CodeEditor, Command, FrontDoor, Idle, JupyterLab,
    Limits, Live, Moment, OnFailure, Python, Restart, SignIn, Space, SpaceInfo, Start, Step, StepKind, Stop, Sudo, Tls,
    Upstream, User,
};
pub use tree::to_json;
