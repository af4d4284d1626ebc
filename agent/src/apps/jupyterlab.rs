//! JupyterLab, on a unix socket that only its user and the agent can reach.
//!
//! What must hold is said on the command line, which wins over every configuration file; what is only a better default
//! is in our configuration file, over which the user's and the image's own win. Each flag was tried against JupyterLab
//! 4.6 with jupyter_server 2.21:
//!
//! - With `sock`, the server refuses to start if a configuration names another `port` than the default, and talks TLS
//!   if one names a `certfile` (old volumes do both): so these are named here too.
//! - Without a token every GET is answered, and a POST needs the `_xsrf` cookie and its value in `X-XSRFToken` (403
//!   without). A token or a hashed password in the user's configuration would ask for a sign-in of its own.
//! - `allow_remote_access`: without it a Host that isn't local gets 403. The front door checks Host.
//! - SIGTERM: the server asks its kernels to end and ends itself, about 2 s later (1.7 to 2.6 s measured, with no, an
//!   idle and a silent busy kernel); no kernel is left. Kernels have sessions of their own: a signal to the server's
//!   process group does not reach them. The socket file stays behind; a next start takes the place of a stale one.
//! - It is ready about 2 s after its start, once the socket answers `GET api` (which needs no sign-in).
//! - A kernel that no client has ever connected to stays `starting` in `api/kernels`.
//! - Terminals run the shell that we name without `-l`: a login shell's /etc/profile would forget our PATH.
//! - `?no_track_activity=1` keeps a request from moving `last_activity` of `api/status`; `api/kernels` and
//!   `api/sessions` never move a kernel's.

use super::{Definition, Place, Program, Ready, join_base, own_socket, put_on_path};
use crate::model::route::{Opens, Upstream};
use crate::model::traffic::{Class, Pattern, Rule, Rules, Socket, Speech};
use crate::sys::files::on_path;
use space_lifecycle::{App, JupyterLab};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(super) const CONFIG_PATH: &str = "JUPYTER_CONFIG_PATH";
pub(super) const PROGRAM: &str = "jupyter-lab";
/// Where Jupyter looks for the machine's configuration.
const SYSTEM_CONFIG: &[&str] = &["/usr/local/etc/jupyter", "/etc/jupyter"];

/// A page polls kernels, sessions, terminals, contents and status by itself; it saves, creates, deletes and runs for a
/// person.
const RULES: Rules = Rules {
    requests: &[
        Rule { methods: &["PUT", "POST", "PATCH", "DELETE"], path: Pattern("api/contents/**"), class: Class::Work },
        Rule { methods: &["POST", "PATCH", "DELETE"], path: Pattern("api/sessions/**"), class: Class::Work },
        Rule { methods: &["POST", "DELETE"], path: Pattern("api/kernels/**"), class: Class::Work },
        Rule { methods: &["POST", "DELETE"], path: Pattern("api/terminals/**"), class: Class::Work },
        Rule { methods: &["GET"], path: Pattern("files/**"), class: Class::Work },
    ],
    sockets: &[
        Socket { path: Pattern("api/kernels/*/channels"), speech: Speech::JupyterKernel },
        Socket { path: Pattern("terminals/websocket/*"), speech: Speech::JupyterTerminal },
    ],
};

/// Messages to a kernel that a page sends by itself: at its opening, after a reconnect, on a timer. All others follow
/// from a person's act (typing asks for completions) or are a program's work.
pub const QUIET_KERNEL: [&[u8]; 4] =
    [b"kernel_info_request", b"comm_info_request", b"history_request", b"usage_request"];

/// Files for the configuration folder: name, maybe with a folder in front, and content.
pub fn config_files() -> &'static [(&'static str, &'static str)] {
    &[
        ("jupyter_server_config.json", include_str!("../../../image/jupyter/jupyter_server_config.json")),
        (
            // Else JupyterLab asks in each new home whether it may fetch news.
            "labconfig/default_setting_overrides.json",
            include_str!("../../../image/jupyter/labconfig/default_setting_overrides.json"),
        ),
    ]
}

pub(super) fn definition(app: &App, kind: &JupyterLab, place: &Place) -> Definition {
    let environment = kind.environment.as_ref().map(|path| place.home.join(path));
    let socket = own_socket(&app.name, &place.run_folder);
    let base_path = join_base(&place.front_base, &app.base_path);
    let mut env = place.base_env.clone();
    if let Some(environment) = &environment {
        // As `activate` does.
        put_on_path(&mut env, environment);
        env.insert("VIRTUAL_ENV".into(), environment.display().to_string());
    }
    env.insert(CONFIG_PATH.into(), config_path(environment.as_deref(), place));
    env.extend(app.env.clone());
    Definition {
        name: app.name.clone(),
        label: "JupyterLab".into(),
        program: program(environment.as_deref(), &place.base_env),
        args: arguments(&socket, &base_path, &place.home, place),
        other_args: Vec::new(),
        env,
        folder: place.home.clone(),
        account: place.account.clone(),
        ready: Ready { path: format!("{base_path}api"), below: 400 },
        farewell: Some(format!("{base_path}api/shutdown")),
        kernels: true,
        rules: &RULES,
        opens: Opens::Lab,
        base_path,
        strip_base_path: false,
        upstream: Upstream::Unix(socket),
    }
}

fn program(environment: Option<&Path>, env: &BTreeMap<String, String>) -> Program {
    let first = environment.map(|environment| environment.join("bin").join(PROGRAM));
    let shown = environment.and_then(Path::file_name).map_or(".venv".into(), |name| name.to_string_lossy());
    Program {
        name: PROGRAM.into(),
        candidates: first.into_iter().chain(on_path(PROGRAM, env.get("PATH"))).collect(),
        remedy: format!(
            "add a step `python: {{ packages: [jupyterlab, ipykernel], environment: {shown} }}` with `blocks: app`, \
             and name the environment in the app"
        ),
    }
}

/// `root`: the folder that it shows.
pub(super) fn arguments(socket: &Path, base_path: &str, root: &Path, place: &Place) -> Vec<String> {
    let mut args = vec![
        "--no-browser".into(),
        format!("--ServerApp.sock={}", socket.display()),
        "--ServerApp.sock_mode=0600".into(),
        "--ServerApp.port=8888".into(),
        "--ServerApp.certfile=".into(),
        "--ServerApp.keyfile=".into(),
        format!("--ServerApp.base_url={base_path}"),
        format!("--ServerApp.root_dir={}", root.display()),
        "--ServerApp.allow_remote_access=True".into(),
        // Only the agent can connect, so its X-Forwarded-* and X-Scheme are true.
        "--ServerApp.trust_xheaders=True".into(),
        "--IdentityProvider.token=".into(),
        "--PasswordIdentityProvider.hashed_password=".into(),
        "--PasswordIdentityProvider.password_required=False".into(),
    ];
    if place.account.uid == 0 {
        args.push("--allow-root".into());
    }
    args
}

/// Jupyter gives JUPYTER_CONFIG_PATH priority over everything, and within it the earlier over the later. So that our
/// defaults come last, the folders that shall win are named before ours: those of an outer JUPYTER_CONFIG_PATH, the
/// user's, the environment's and the machine's. (Jupyter then reads these twice, which changes nothing.)
fn config_path(environment: Option<&Path>, place: &Place) -> String {
    let outer = place.base_env.get(CONFIG_PATH).map_or("", String::as_str);
    let user =
        place.base_env.get("JUPYTER_CONFIG_DIR").map_or_else(|| place.account.home.join(".jupyter"), PathBuf::from);
    let mut folders: Vec<PathBuf> =
        std::env::split_paths(outer).filter(|folder| !folder.as_os_str().is_empty()).collect();
    folders.push(user);
    folders.extend(environment.map(|environment| environment.join("etc/jupyter")));
    folders.extend(SYSTEM_CONFIG.iter().map(PathBuf::from));
    folders.push(place.config_folder.clone());
    let folders: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
    folders.join(":")
}
