//! The front door's table: which path leads to which app, and whether the app can take requests.
//!
//! An immutable value, swapped as a whole over a `watch` channel.

use super::traffic::{Rules, Traffic};
use serde::{Deserialize, Serialize};
use space_lifecycle::SignIn;
use std::path::PathBuf;
use std::sync::Arc;

/// Everything the front door needs to know about the space.
#[derive(Debug, Clone, PartialEq)]
pub struct Door {
    /// Names the session cookie: 8 hexadecimal digits, the same at every start of the same space.
    pub space_id: String,
    pub space: String,
    /// Begins and ends with `/`.
    pub base_path: String,
    /// TLS ends at this door, so the scheme of its origin is known.
    pub tls: bool,
    pub sign_in: SignIn,
    /// Further acceptable values of Host (lower case), beside the loopback names.
    pub hosts: Vec<String>,
    /// Further acceptable values of Origin (lower case).
    pub origins: Vec<String>,
    /// In the order of the document; the first owns `/`.
    pub routes: Vec<Route>,
    pub ports: Ports,
}

/// What else the space's user runs on loopback, below `proxy/<port>/` and `ports/<port>/`.
#[derive(Debug, Clone, PartialEq)]
pub struct Ports {
    /// Only what listens under this uid is reached.
    pub uid: u32,
    /// All ports together.
    pub traffic: Arc<Traffic>,
    /// Ready while the space is up, whatever its mode.
    pub state: RouteState,
}

/// One app's place at the front door.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    pub app: String,
    /// What people call it: `JupyterLab`, or the app's name.
    pub label: String,
    /// Joined to the door's base path already; begins and ends with `/`.
    pub base_path: String,
    pub strip_base_path: bool,
    pub upstream: Upstream,
    /// The uid under which the app runs: whoever answers on its socket must have it.
    pub uid: u32,
    /// Not Jupyter: any app that somebody has written, whose cookies stay below its base path.
    pub confined: bool,
    /// How its requests and messages are told apart.
    pub rules: &'static Rules,
    /// Where they are counted.
    pub traffic: Arc<Traffic>,
    /// Which of its pages shows a file.
    pub opens: Opens,
    /// Not an app of the space: whatever its user runs on this port.
    pub port: Option<u16>,
    pub state: RouteState,
}

/// How an app's page is told to show a file of the home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opens {
    Nothing,
    /// `lab/tree/<path>`
    Lab,
    /// `?folder=<path>`: the file's folder.
    Folder,
}

/// Where an app listens for the front door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Upstream {
    /// A socket, by its absolute path.
    Unix(PathBuf),
    /// A port on 127.0.0.1, or on ::1 if nobody listens there.
    Port(u16),
}

/// Whether the app behind a route takes requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteState {
    /// Set-up is running, or the app is starting (again): a page for people, 503 with Retry-After for programs.
    NotYet,
    Ready,
    /// It starts when somebody who has signed in asks for it; whoever does has to tell the hall.
    Asleep,
    /// It won't come (any more): the page says why, programs get 503.
    Gone,
}
