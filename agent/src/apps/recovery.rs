//! What an app is in recovery mode: with a clean home, and none of the user's set-up.
//!
//! The clean home is in the run folder, not on the volume: a full or broken disk does not keep it from being made, and it
//! is gone after the repair. The real home is in it as the link `home`. What the image brings counts, what is in the home
//! does not: programs on PATH first, the document's environment last; no settings, no kernels, no packages of the user's.
//! It listens where the normal app does, which has ended before.

use super::jupyterlab::{self, CONFIG_PATH};
use super::{Definition, Place, Program, code_editor, own_socket};
use crate::sys::files::on_path;
use serde_json::{Value, json};
use space_lifecycle::{CodeEditor, JupyterLab};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where images keep programs beside PATH.
const KNOWN: &[&str] = &["/opt/conda/bin", "/opt/venv/bin", "/opt/jupyter/bin", "/usr/local/bin", "/usr/bin"];

/// Variables that lead programs to what the user has set up, by name or by the beginning of the name.
const SET_UP: &[&str] = &["PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "BASH_ENV", "ENV"];
const SET_UP_PREFIXES: &[&str] = &["JUPYTER_", "JUPYTERLAB_", "XDG_", "IPYTHON"];

/// What the person reads first.
pub const NOTE: &str = "RECOVERY.md";
/// The link to the real home.
pub const HOME: &str = "home";

/// Below the recovery folder: what is HOME.
pub fn clean_home(recovery: &Path) -> PathBuf {
    recovery.join("home")
}

/// Below the recovery folder: JupyterLab's configuration.
pub fn config_folder(recovery: &Path) -> PathBuf {
    recovery.join("jupyter")
}

/// Files for the configuration folder: name, maybe with a folder in front, and content.
pub fn config_files(home: &Path) -> Vec<(&'static str, String)> {
    // A shell that reads nothing of the user's, where the user's files are.
    let shell = "cd -- \"$0\"; if [ -x /bin/bash ]; then exec /bin/bash; else exec /bin/sh; fi";
    let shell =
        json!({ "terminado_settings": { "shell_command": ["/bin/sh", "-c", shell, home.display().to_string()] } });
    let overrides =
        json!({ "@jupyterlab/docmanager-extension:plugin": { "defaultViewers": { "markdown": "Markdown Preview" } } });
    jupyterlab::config_files()
        .iter()
        .map(|&(name, text)| {
            let more = if name.contains('/') { &overrides } else { &json!({ "ServerApp": shell }) };
            (name, merged(text, more))
        })
        .collect()
}

/// Our own file with some of its first level replaced.
fn merged(text: &str, more: &Value) -> String {
    let mut whole: Value = serde_json::from_str(text).unwrap_or_else(|_| json!({}));
    if let (Some(whole), Some(more)) = (whole.as_object_mut(), more.as_object()) {
        whole.extend(more.clone());
    }
    whole.to_string()
}

/// The text of [`NOTE`]. `details`: more than the one reason, if there is more.
pub fn note(why: &str, details: &[String], home: &Path) -> String {
    // As code, so that nothing of it is read as anything else.
    let quoted = |text: &str| text.lines().map(|line| format!("    {line}\n")).collect::<String>();
    let details: String = details.iter().map(|detail| format!("{}\n", quoted(detail))).collect();
    let home = home.display();
    format!(
        "# This space runs in recovery mode\n\nWhy:\n\n{}\n{details}\
         Nothing of yours is lost. Your files are in the folder `{HOME}` beside this note, which is `{home}`. What you \
         look at runs with a clean home of its own, without your settings, packages and scripts, so that whatever is \
         broken there cannot break this. The clean home is removed after the repair: keep nothing in it.\n\n\
         ## What to do\n\n\
         1. **See what failed.** The reason above names it. `space-agent status` tells more, and `space-agent logs NAME` \
         prints the whole output of the step or app NAME.\n\
         2. **Repair it**, in a terminal and in `{home}`.\n\
         3. **Start the space again**: run `space-agent start` in a terminal, or press *Start* on the space's page \
         (`_space/` behind this address).\n",
        quoted(why)
    )
}

pub(super) fn jupyterlab(normal: Definition, kind: &JupyterLab, place: &Place) -> Definition {
    let clean = clean_home(&place.recovery);
    let mut env = clean_environment(&place.base_env, place);
    env.insert(CONFIG_PATH.into(), config_folder(&place.recovery).display().to_string());
    let socket = own_socket(&normal.name, &place.run_folder);
    let mut args = jupyterlab::arguments(&socket, &normal.base_path, &clean, place);
    args.push(format!("--LabApp.default_url=/lab/tree/{NOTE}"));
    let remedy = "the space's own page (`_space/`) has a console for the repair";
    let program = Program { candidates: programs(kind, &env, place), remedy: remedy.into(), ..normal.program };
    Definition { program, args, env, folder: clean, ..normal }
}

pub(super) fn code_editor(normal: Definition, kind: &CodeEditor, place: &Place) -> Definition {
    let env = clean_environment(&place.base_env, place);
    code_editor::in_recovery(normal, kind, clean_home(&place.recovery), env, place)
}

/// The same command, where the user's files are.
pub(super) fn command(normal: Definition, place: &Place) -> Definition {
    let env = clean_environment(&normal.env, place);
    Definition { env, ..normal }
}

fn programs(kind: &JupyterLab, env: &BTreeMap<String, String>, place: &Place) -> Vec<PathBuf> {
    let named = |folder: PathBuf| folder.join(jupyterlab::PROGRAM);
    // PATH is sorted already: what is in the home comes last.
    let (homes, images): (Vec<_>, Vec<_>) =
        on_path(jupyterlab::PROGRAM, env.get("PATH")).into_iter().partition(|path| path.starts_with(&place.home));
    let environment = kind.environment.iter().map(|path| named(place.home.join(path).join("bin")));
    let known = KNOWN.iter().map(|folder| named(folder.into()));
    let mut all: Vec<PathBuf> = Vec::new();
    for path in images.into_iter().chain(known).chain(environment).chain(homes) {
        if !all.contains(&path) {
            all.push(path);
        }
    }
    all
}

fn clean_environment(from: &BTreeMap<String, String>, place: &Place) -> BTreeMap<String, String> {
    let set_up = |name: &str| SET_UP.contains(&name) || SET_UP_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    let mut env: BTreeMap<_, _> = from.clone().into_iter().filter(|(name, _)| !set_up(name)).collect();
    let clean = clean_home(&place.recovery);
    let below = |folder: &str| clean.join(folder).display().to_string();
    env.insert("HOME".into(), clean.display().to_string());
    env.insert("XDG_CONFIG_HOME".into(), below(".config"));
    env.insert("XDG_DATA_HOME".into(), below(".local/share"));
    env.insert("XDG_STATE_HOME".into(), below(".local/state"));
    env.insert("XDG_CACHE_HOME".into(), below(".cache"));
    env.insert("IPYTHONDIR".into(), below(".ipython"));
    env.insert("JUPYTER_CONFIG_DIR".into(), below(".jupyter"));
    env.insert("PYTHONNOUSERSITE".into(), "1".into());
    if let Some(path) = env.get("PATH") {
        let (homes, images): (Vec<_>, Vec<_>) =
            path.split(':').partition(|folder| Path::new(folder).starts_with(&place.home));
        let sorted: Vec<_> = images.into_iter().chain(homes).collect();
        env.insert("PATH".into(), sorted.join(":"));
    }
    env
}
