//! The first source: Jupyter's kernels, over its REST interface.
//!
//! `api/kernels` tells every kernel of the server with its state, `api/sessions` which notebook it belongs to. Both are
//! asked with `no_track_activity`, so that asking moves nothing: neither the server's `last_activity` nor a kernel's
//! (verified against jupyter_server 2.21). The server's `last_activity` (`api/status`) is never looked at: everybody's
//! polls move it.

use super::Watched;
use crate::model::reading::{Kernel, KernelState};
use crate::sys::errors::chain;
use crate::sys::http::{Connection, Error};
use hyper::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::time::Duration;

/// For one look, all of it.
const DEADLINE: Duration = Duration::from_secs(5);
const BODY_LIMIT: usize = 4 << 20;

/// The kernels, or why they can't be seen.
pub(super) async fn look(watched: &Watched) -> Result<Vec<Kernel>, String> {
    let mut connection =
        Connection::open(&watched.socket, watched.uid, DEADLINE).await.map_err(|error| unseen(watched, error))?;
    let kernels: Vec<KernelModel> = get(&mut connection, watched, "api/kernels").await?;
    let sessions: Vec<SessionModel> = get(&mut connection, watched, "api/sessions").await?;
    Ok(named(kernels, sessions))
}

async fn get<T: DeserializeOwned>(connection: &mut Connection, watched: &Watched, what: &str) -> Result<T, String> {
    let path = format!("{}{what}?no_track_activity=1", watched.base_path);
    let (status, body) = connection.get(&path, BODY_LIMIT).await.map_err(|error| unseen(watched, error))?;
    if status != StatusCode::OK {
        return Err(format!("the Jupyter server of {} answers {status} to {what}", watched.app));
    }
    serde_json::from_slice(&body).map_err(|error| format!("cannot understand {what} of {}: {error}", watched.app))
}

fn unseen(watched: &Watched, error: Error) -> String {
    format!("the Jupyter server of {} {}", watched.app, chain(&error))
}

/// A kernel as `api/kernels` tells it; of its fields those that we need.
#[derive(Debug, Deserialize)]
struct KernelModel {
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    execution_state: Option<String>,
    #[serde(default)]
    last_activity: Option<String>,
}

/// A session: a notebook (or console) and its kernel.
#[derive(Debug, Deserialize)]
struct SessionModel {
    #[serde(default)]
    path: String,
    kernel: Option<SessionKernel>,
}

#[derive(Debug, Deserialize)]
struct SessionKernel {
    id: String,
}

/// Each kernel under its notebook's path.
fn named(kernels: Vec<KernelModel>, sessions: Vec<SessionModel>) -> Vec<Kernel> {
    let paths: BTreeMap<String, String> =
        sessions.into_iter().filter_map(|session| Some((session.kernel?.id, session.path))).collect();
    let kernel = |model: KernelModel| Kernel {
        name: paths.get(&model.id).filter(|path| !path.is_empty()).cloned().unwrap_or(model.name),
        state: state(model.execution_state.as_deref()),
        last_activity: model.last_activity.unwrap_or_default(),
        id: model.id,
    };
    kernels.into_iter().map(kernel).collect()
}

/// Jupyter's states, as jupyter_client and jupyter_server write them.
fn state(text: Option<&str>) -> KernelState {
    match text {
        Some("idle") => KernelState::Idle,
        Some("busy") => KernelState::Busy,
        Some("starting" | "restarting" | "autorestarting") => KernelState::Starting,
        Some("dead" | "terminating") => KernelState::Dead,
        _ => KernelState::Other,
    }
}
