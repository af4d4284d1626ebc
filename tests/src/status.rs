//! Status as a client of the control API reads it: JSON, nothing shared with the agent's types.

use serde_json::Value;

/// The answer of `GET /v1/status`.
#[derive(Debug, Clone)]
pub struct Status(pub Value);

impl Status {
    pub fn phase(&self) -> &str {
        self.0["phase"].as_str().unwrap_or("?")
    }

    pub fn sentence(&self) -> &str {
        self.0["sentence"].as_str().unwrap_or("?")
    }

    pub fn agent_pid(&self) -> i32 {
        self.pid(&self.0["agent"]["pid"]).expect("status names the agent's pid")
    }

    pub fn init_pid(&self) -> i32 {
        self.pid(&self.0["agent"]["init_pid"]).expect("status names init's pid")
    }

    /// How often the agent was started in this boot of the space.
    pub fn agent_starts(&self) -> u64 {
        self.0["agent"]["starts"].as_u64().expect("status says how often the agent was started")
    }

    pub fn apps(&self) -> &[Value] {
        self.0["apps"].as_array().map(Vec::as_slice).unwrap_or_default()
    }

    pub fn steps(&self) -> &[Value] {
        self.0["steps"].as_array().map(Vec::as_slice).unwrap_or_default()
    }

    pub fn leases(&self) -> &[Value] {
        self.0["leases"].as_array().map(Vec::as_slice).unwrap_or_default()
    }

    /// What has happened since the event with this number, oldest first, each with its own number.
    pub fn events_after(&self, seq: u64) -> Vec<(u64, String)> {
        let all = self.0["events"].as_array().map(Vec::as_slice).unwrap_or_default();
        let told = all.iter().map(|event| {
            let text = event["text"].as_str().expect("an event has a text").to_owned();
            (event["seq"].as_u64().expect("an event has a number"), text)
        });
        told.filter(|(own, _)| *own > seq).collect()
    }

    pub fn step(&self, name: &str) -> &Value {
        let found = self.steps().iter().find(|step| step["name"] == name);
        found.unwrap_or_else(|| panic!("no step {name} in {:#}", self.0))
    }

    /// The pid of the app that comes first.
    pub fn app_pid(&self) -> Option<i32> {
        self.pid(&self.apps().first()?["pid"])
    }

    pub fn verdict(&self) -> &str {
        self.0["activity"]["verdict"].as_str().unwrap_or("?")
    }

    /// Why the space is or isn't idle.
    pub fn why(&self) -> &str {
        self.0["activity"]["sentence"].as_str().unwrap_or("?")
    }

    /// `Err` says what is missing until the space runs with all its apps.
    pub fn ready(&self) -> Result<(), String> {
        let apps = self.apps().iter().all(|app| app["state"] == "ready");
        let running = matches!(self.phase(), "running" | "notice");
        (apps && running).then_some(()).ok_or_else(|| format!("{}: {}", self.phase(), self.sentence()))
    }

    fn pid(&self, value: &Value) -> Option<i32> {
        value.as_i64()?.try_into().ok()
    }
}
