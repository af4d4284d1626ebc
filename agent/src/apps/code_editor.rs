//! VS Code for browsers, on a unix socket that only its user and the agent can reach: by the server that is there.
//!
//! There are two families. code-server knows nothing of a base path: all that its pages name is relative, so it is
//! served with the base path taken away. VS Code's own server, which sagemaker-code-editor and openvscode-server are
//! built from, names whole paths, and is told in front of what; it takes requests with and without it, so it is served
//! in the same way. Tried against code-server 4.139 (with VS Code 1.139, whose server it brings and which was tried
//! alone too); the flags of the other two were read in their sources.
//!
//! - `--auth none`, `--without-connection-token`: the front door asks who comes, and nobody else reaches the socket.
//! - code-server's configuration file is not read: a `cert` in it would make the socket talk TLS, which no flag undoes.
//!   What it can say otherwise, `VSCODE_OPTIONS` and its other variables say as well.
//! - `--disable-proxy`: its own `proxy/PORT/` reaches every port of the machine. The front door has one with a rule.
//! - `healthz` answers without a sign-in and starts nothing: code-server about 1.2 s after its start, sagemaker-code-editor
//!   too; openvscode-server says 404, which is an answer. VS Code's server compares Referer with Host, which pass
//!   unchanged.
//! - SIGTERM: code-server's parent process ends, and may leave an extension host behind, which has a process group of its
//!   own like each terminal. The process room ends what is left of the tree.
//! - Settings and extensions stay where each program has them by itself, so that volumes can be carried over; for
//!   sagemaker-code-editor that is the folder in which SageMaker's images start it.
//!
//! What a page sends over its two WebSockets (management, and extension host), measured with one tab of code-server 4.139:
//!
//! - A tab in which nobody does anything: on each, every 5 s, an empty message of kind 9 (keep-alive). On the first, as
//!   regular messages (kind 1), every 5 s `agentHostProxy.send`, `remoteFilesystem.readdir`, `.stat` and `.writeFile` (the
//!   page's own logs), and `telemetry.ping`; on the second up to two `$onFileEvent` a second, about those logs, and
//!   `$onDidTunnelsChange`. So a regular message says nothing; the call that it names does.
//! - A terminal in which a program prints, with nobody there: `$shellExecutionData`, `$acceptTerminalTitleChange`,
//!   `remoteterminal.$updateTitle`; never those of [`VSCODE_WORK`].
//! - Each key in a terminal: `remoteterminal.$input` and `$acceptTerminalInteraction`. Each key in an editor:
//!   `$acceptModelChanged` and `$acceptEditorPropertiesChanged`, a cursor that moves: the second. A moved mouse: nothing.
//! - Opening a file: `$acceptTabOperation`. Saving: `$participateInSave`, `$acceptModelSaved`; VS Code saves by itself a
//!   second after the last key, so these may come a little later than a person's act.
//! - Requests: none without a person's act, and by one only GETs (parts of a page, resources of extensions).

use super::{Definition, Place, Program, Ready, join_base, own_socket, put_on_path};
use crate::model::route::{Opens, Upstream};
use crate::model::traffic::{Class, Pattern, Rule, Rules, Socket, Speech};
use crate::sys::files::on_path;
use space_lifecycle::{App, CodeEditor};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const SAGEMAKER: &str = "sagemaker-code-editor";
const CODE_SERVER: &str = "code-server";
const OPEN_VSCODE: &str = "openvscode-server";

/// In the order in which they are taken.
const PROGRAMS: [&str; 3] = [SAGEMAKER, CODE_SERVER, OPEN_VSCODE];
/// Where images have them beside PATH.
const KNOWN: [&str; 6] = [
    "/opt/conda/bin",
    "/opt/code-server/bin",
    "/opt/openvscode-server/bin",
    "/home/.openvscode-server/bin",
    "/usr/local/bin",
    "/usr/bin",
];

/// Below the home: where SageMaker's images have Code Editor's settings and extensions.
const SAGEMAKER_DATA: &str = "sagemaker-code-editor-server-data";

/// Its pages only GET, all by themselves; what a person does goes over its two WebSockets.
const RULES: Rules = Rules {
    requests: &[
        // code-server's page, once it is loaded.
        Rule { methods: &["POST"], path: Pattern("mint-key"), class: Class::Quiet },
        Rule { methods: &["POST", "PUT", "PATCH", "DELETE"], path: Pattern("**"), class: Class::Work },
    ],
    sockets: &[Socket { path: Pattern("**"), speech: Speech::VsCode }],
};

/// The calls over its WebSockets that only a person's act causes, by the names that they have in the first bytes of a
/// regular message of VS Code's protocol (`Speech::VsCode`): keys in a terminal, a text that changes, a cursor that
/// moves, a save, a tab that is opened or closed, a command of an extension.
pub const VSCODE_WORK: [&str; 8] = [
    "$input",
    "$acceptTerminalInteraction",
    "$acceptModelChanged",
    "$acceptEditorPropertiesChanged",
    "$acceptModelSaved",
    "$participateInSave",
    "$acceptTabOperation",
    "$executeContributedCommand",
];

pub(super) fn definition(app: &App, kind: &CodeEditor, place: &Place) -> Definition {
    let environment = kind.environment.as_ref().map(|path| place.home.join(path));
    let socket = own_socket(&app.name, &place.run_folder);
    let base_path = join_base(&place.front_base, &app.base_path);
    let mut env = place.base_env.clone();
    if let Some(environment) = &environment {
        put_on_path(&mut env, environment);
    }
    env.extend(app.env.clone());
    let opened = kind.folder.as_ref().map_or_else(|| place.home.clone(), |folder| place.home.join(folder));
    let [(_, args), other_args @ ..] = arguments(&socket, &base_path, &opened, &place.home);
    Definition {
        name: app.name.clone(),
        label: "Code Editor".into(),
        program: program(candidates(environment.as_deref(), &place.base_env)),
        args,
        other_args: other_args.into(),
        env,
        folder: place.home.clone(),
        account: place.account.clone(),
        base_path,
        strip_base_path: true,
        upstream: Upstream::Unix(socket),
        ready: Ready { path: "/healthz".into(), below: 500 },
        farewell: None,
        kernels: false,
        rules: &RULES,
        opens: Opens::Folder,
    }
}

fn program(candidates: Vec<PathBuf>) -> Program {
    Program {
        name: PROGRAMS.join(", or "),
        candidates,
        remedy: "install code-server (https://coder.com/docs/code-server/install) in the image or by a step with \
                 `blocks: app`, and name the folder above its `bin` as the app's `environment`"
            .into(),
    }
}

/// The environment's first, which somebody has named; then each program wherever it may be.
fn candidates(environment: Option<&Path>, env: &BTreeMap<String, String>) -> Vec<PathBuf> {
    let named = environment.map(|environment| PROGRAMS.map(|program| environment.join("bin").join(program)));
    let elsewhere = PROGRAMS.iter().flat_map(|program| {
        let known = KNOWN.iter().map(move |folder| Path::new(folder).join(program));
        on_path(program, env.get("PATH")).into_iter().chain(known)
    });
    let mut all: Vec<PathBuf> = Vec::new();
    for path in named.into_iter().flatten().chain(elsewhere) {
        if !all.contains(&path) {
            all.push(path);
        }
    }
    all
}

/// For each program, code-server first. `opened`: the folder that it shows; `home`: where its data is.
fn arguments(socket: &Path, base_path: &str, opened: &Path, home: &Path) -> [(&'static str, Vec<String>); 3] {
    let (socket, opened) = (socket.display().to_string(), opened.display().to_string());
    let text = |args: &[&str]| args.iter().map(|&arg| arg.to_owned()).collect::<Vec<_>>();
    let code_server = text(&[
        "--auth=none",
        "--config=/dev/null",
        &format!("--socket={socket}"),
        "--socket-mode=600",
        "--disable-telemetry",
        "--disable-update-check",
        "--disable-workspace-trust",
        "--disable-getting-started-override",
        "--disable-proxy",
        &opened,
    ]);
    let vs_code = text(&[
        "--without-connection-token",
        "--accept-server-license-terms",
        &format!("--socket-path={socket}"),
        &format!("--server-base-path={base_path}"),
        "--telemetry-level=off",
        &format!("--default-folder={opened}"),
    ]);
    let data = format!("--server-data-dir={}", home.join(SAGEMAKER_DATA).display());
    let sagemaker = vs_code.iter().cloned().chain([data]).collect();
    [(CODE_SERVER, code_server), (SAGEMAKER, sagemaker), (OPEN_VSCODE, vs_code)]
}

/// The same with `clean` as its home: settings and extensions follow HOME and XDG_DATA_HOME, or what is said here.
pub(super) fn in_recovery(
    normal: Definition,
    kind: &CodeEditor,
    clean: PathBuf,
    env: BTreeMap<String, String>,
    place: &Place,
) -> Definition {
    let socket = own_socket(&normal.name, &place.run_folder);
    let [(_, args), other_args @ ..] = arguments(&socket, &normal.base_path, &clean, &clean);
    // What the image has, in the same order; then what lies in the home.
    let named = kind.environment.as_ref().map(|path| place.home.join(path));
    let (homes, images): (Vec<_>, Vec<_>) =
        candidates(named.as_deref(), &env).into_iter().partition(|path| path.starts_with(&place.home));
    let program = Program {
        remedy: "the space's own page (`_space/`) has a console for the repair".into(),
        ..program(images.into_iter().chain(homes).collect())
    };
    Definition { program, args, other_args: other_args.into(), env, folder: clean, ..normal }
}
