//! The first source: Jupyter's kernels, over its REST interface.
//!
//! `api/kernels` tells every kernel of the server with its state, `api/sessions` which notebook it belongs to. Both are
//! asked with `no_track_activity`, so that asking moves nothing: neither the server's `last_activity` nor a kernel's
//! (verified against jupyter_server 2.21). The server's `last_activity` (`api/status`) is never looked at: everybody's
//! polls move it.

use super::Watched;
use crate::model::reading::{Kernel, KernelState};
use crate::model::route::Upstream;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, CONNECTION, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// For one look, all of it.
const DEADLINE: Duration = Duration::from_secs(5);
const BODY_LIMIT: usize = 4 << 20;

/// The kernels, or why they can't be seen.
pub(super) async fn look(watched: &Watched) -> Result<Vec<Kernel>, String> {
    let look = async {
        // The connection's driver lives in this set, so that it ends with the look however that ends.
        let mut driver = JoinSet::new();
        let mut sender = connect(watched, &mut driver).await?;
        let kernels: Vec<KernelModel> = get(&mut sender, watched, "api/kernels").await?;
        let sessions: Vec<SessionModel> = get(&mut sender, watched, "api/sessions").await?;
        Ok(named(kernels, sessions))
    };
    let late = |_| Err(format!("the Jupyter server of {} has not answered for {} s", watched.app, DEADLINE.as_secs()));
    timeout(DEADLINE, look).await.unwrap_or_else(late)
}

type Sender = SendRequest<Empty<Bytes>>;

async fn connect(watched: &Watched, driver: &mut JoinSet<()>) -> Result<Sender, String> {
    let unreachable = |error: std::io::Error| format!("cannot reach the Jupyter server of {}: {error}", watched.app);
    match &watched.socket {
        Upstream::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(unreachable)?;
            let peer = stream.peer_cred().map_err(unreachable)?.uid();
            if peer != watched.uid {
                let (app, uid) = (&watched.app, watched.uid);
                return Err(format!("whoever answers on the socket of {app} is not its user: uid {peer}, not {uid}"));
            }
            drive(watched, driver, stream).await
        }
        Upstream::Port(port) => {
            let stream = TcpStream::connect(("127.0.0.1", *port)).await.map_err(unreachable)?;
            drive(watched, driver, stream).await
        }
    }
}

async fn drive<S>(watched: &Watched, driver: &mut JoinSet<()>, stream: S) -> Result<Sender, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = handshake.map_err(|error| garbled(watched, &error))?;
    // Its errors come out at the sender too.
    driver.spawn(async move { drop(connection.await) });
    Ok(sender)
}

async fn get<T: DeserializeOwned>(sender: &mut Sender, watched: &Watched, what: &str) -> Result<T, String> {
    let request = Request::get(format!("{}{what}?no_track_activity=1", watched.base_path))
        .header(HOST, "localhost")
        .header(ACCEPT, "application/json")
        // Two requests, and the server need not keep anything for us.
        .header(CONNECTION, "keep-alive")
        .body(Empty::new())
        .map_err(|error| garbled(watched, &error))?;
    sender.ready().await.map_err(|error| garbled(watched, &error))?;
    let response = sender.send_request(request).await.map_err(|error| garbled(watched, &error))?;
    if response.status() != StatusCode::OK {
        return Err(format!("the Jupyter server of {} answers {} to {what}", watched.app, response.status()));
    }
    let body = Limited::new(response.into_body(), BODY_LIMIT).collect().await;
    let body = body.map_err(|error| garbled(watched, &*error))?.to_bytes();
    serde_json::from_slice(&body).map_err(|error| format!("cannot understand {what} of {}: {error}", watched.app))
}

fn garbled(watched: &Watched, error: &(impl std::fmt::Display + ?Sized)) -> String {
    format!("cannot talk to the Jupyter server of {}: {error}", watched.app)
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
