//! What a space should be: the lifecycle configuration's types, reading, validation and the boot plan.
//!
//! Pure: text in, values out. Nothing here opens a file, asks for the time or knows the agent, so a control plane can
//! use this crate to check a document before it hands it to a space.
//!
//! The flow: text -> one tree of nodes with positions -> merged tree -> a collecting decoder -> [`Space`] (valid, or
//! every mistake at once) -> [`BootPlan`](plan::BootPlan).

pub mod space;

pub use space::{
    Action, AgentPolicy, App, AppKind, Blocks, Command, FrontDoor, Idle, JupyterLab, OnFailure, Python, Restart,
    SignIn, Space, SpaceInfo, Step, StepKind, Stop, Upstream, User,
};
