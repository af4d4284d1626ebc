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

/// Stand-in until the decoder is merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Check,
    Run,
}

#[derive(Debug, Clone)]
pub struct Read {
    pub space: Space,
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, serde::Serialize)]
pub struct Mistakes {
    pub mistakes: Vec<String>,
    pub more: usize,
}

impl std::fmt::Display for Mistakes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.mistakes.join("\n"))
    }
}

pub fn read(_text: &str, name: &str, _mode: Mode) -> Result<Read, Mistakes> {
    Err(Mistakes { mistakes: vec![format!("{name}: stand-in")], more: 0 })
}

pub fn default_space() -> Space {
    panic!("stand-in")
}

pub fn schema() -> serde_json::Value {
    serde_json::json!({})
}

pub mod plan {
    #[derive(Debug, Clone, serde::Serialize)]
    pub struct BootPlan(String);

    impl std::fmt::Display for BootPlan {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(&self.0)
        }
    }

    pub fn boot_plan(_space: &super::Space) -> BootPlan {
        BootPlan(String::new())
    }
}
