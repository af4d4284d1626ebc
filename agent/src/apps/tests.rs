//! What each kind of app becomes in its place.

use super::*;
use space_lifecycle::{CodeEditor, Command, JupyterLab, Start};

fn place() -> Place {
    let account = Account {
        name: "alice".into(),
        uid: 1000,
        gid: 100,
        groups: vec![],
        home: "/home/alice".into(),
        shell: "/bin/bash".into(),
    };
    Place {
        home: account.home.clone(),
        account,
        run_folder: "/run/space-agent/alice".into(),
        front_base: "/".into(),
        base_env: BTreeMap::from([("PATH".into(), "/usr/bin:relative:/bin".into())]),
        config_folder: "/run/space-agent/alice/jupyter".into(),
        recovery: "/run/space-agent/alice/recovery".into(),
    }
}

fn jupyterlab() -> App {
    let kind = AppKind::Jupyterlab(JupyterLab { environment: Some(".venv".into()) });
    App {
        ready_deadline: std::time::Duration::from_secs(120),
        restart: space_lifecycle::AppRestart::default(),
        live: None,
        limits: space_lifecycle::Limits::default(),
        name: "default".into(),
        kind,
        start: Start::Boot,
        base_path: "/jupyterlab/default/".into(),
        env: BTreeMap::new(),
    }
}

fn command(command: &[&str], upstream: space_lifecycle::Upstream) -> App {
    let command = command.iter().map(|&part| part.to_owned()).collect();
    let kind = Command { command, upstream, strip_base_path: false, ready_path: "/healthz".into() };
    App {
        ready_deadline: std::time::Duration::from_secs(120),
        restart: space_lifecycle::AppRestart::default(),
        live: None,
        limits: space_lifecycle::Limits::default(),
        name: "dash".into(),
        kind: AppKind::Command(kind),
        start: Start::Boot,
        base_path: "/dash/".into(),
        env: BTreeMap::new(),
    }
}

#[test]
fn jupyterlab_listens_on_its_socket_below_the_joined_base_path() {
    let place = Place { front_base: "/spaces/a/".into(), ..place() };
    let lab = definition(&jupyterlab(), &place);
    assert_eq!(lab.base_path, "/spaces/a/jupyterlab/default/");
    assert_eq!(lab.ready, Ready { path: "/spaces/a/jupyterlab/default/api".into(), below: 400 });
    assert!(lab.kernels);
    let socket = "/run/space-agent/alice/apps/default.sock";
    assert_eq!(lab.upstream, Upstream::Unix(socket.into()));
    assert!(lab.args.contains(&format!("--ServerApp.sock={socket}")));
    assert!(lab.args.contains(&"--ServerApp.base_url=/spaces/a/jupyterlab/default/".into()));
    assert!(!lab.args.contains(&"--allow-root".into()));
    let root = Place { account: Account { uid: 0, ..place.account.clone() }, ..place };
    assert!(definition(&jupyterlab(), &root).args.contains(&"--allow-root".into()));
}

#[test]
fn the_environment_comes_before_path() {
    let lab = definition(&jupyterlab(), &place());
    let candidates = ["/home/alice/.venv/bin/jupyter-lab", "/usr/bin/jupyter-lab", "/bin/jupyter-lab"];
    assert_eq!(lab.program.candidates, candidates.map(PathBuf::from));
    assert!(lab.env["PATH"].starts_with("/home/alice/.venv/bin:/usr/bin:"));
    assert_eq!(lab.env["VIRTUAL_ENV"], "/home/alice/.venv");
}

#[test]
fn our_jupyter_defaults_come_after_everybody_else_s() {
    let mut place = place();
    place.base_env.insert("JUPYTER_CONFIG_PATH".into(), "/opt/jupyter".into());
    let lab = definition(&jupyterlab(), &place);
    assert_eq!(
        lab.env["JUPYTER_CONFIG_PATH"],
        "/opt/jupyter:/home/alice/.jupyter:/home/alice/.venv/etc/jupyter:/usr/local/etc/jupyter:/etc/jupyter:\
         /run/space-agent/alice/jupyter"
    );
    for (name, text) in config_files() {
        serde_json::from_str::<serde_json::Value>(text).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn in_recovery_mode_nothing_is_the_user_s() {
    let mut place = place();
    let path = "/home/alice/.local/bin:/usr/bin";
    for (name, value) in [
        ("JUPYTER_CONFIG_PATH", "/x"),
        ("JUPYTERLAB_SETTINGS_DIR", "/x"),
        ("PATH", path),
        ("LANG", "C"),
        ("HOME", "/home/alice"),
    ] {
        place.base_env.insert(name.into(), value.into());
    }
    let mut app = jupyterlab();
    app.env = BTreeMap::from([("PYTHONPATH".into(), "/home/alice/lib".into()), ("MINE".into(), "1".into())]);
    let (normal, lab) = (definition(&app, &place), recovery_definition(&app, &place));
    assert_eq!((&lab.upstream, &lab.base_path, lab.kernels), (&normal.upstream, &normal.base_path, true));
    let clean = "/run/space-agent/alice/recovery/home";
    assert_eq!((&*lab.env["HOME"], lab.folder.to_str()), (clean, Some(clean)));
    assert_eq!(lab.env["JUPYTER_CONFIG_PATH"], "/run/space-agent/alice/recovery/jupyter");
    assert_eq!((&*lab.env["PATH"], &*lab.env["LANG"]), ("/usr/bin:/home/alice/.local/bin", "C"));
    assert_eq!(lab.env["PYTHONNOUSERSITE"], "1");
    for (name, value) in &lab.env {
        assert!(name == "PATH" || !value.starts_with("/home/alice") && value != "/x", "{name}={value}");
    }
    assert!(!lab.env.contains_key("MINE") && !lab.env.contains_key("VIRTUAL_ENV"));
    assert!(lab.args.contains(&format!("--ServerApp.root_dir={clean}")), "{:?}", lab.args);
    let candidates = &lab.program.candidates;
    let at = |path: &str| candidates.iter().position(|candidate| candidate == Path::new(path));
    assert_eq!(at("/usr/bin/jupyter-lab"), Some(0), "the image's first");
    assert!(at("/opt/conda/bin/jupyter-lab") < at("/home/alice/.venv/bin/jupyter-lab"), "{candidates:?}");
    assert!(at("/home/alice/.venv/bin/jupyter-lab").is_some());
    for (name, text) in recovery::config_files(&place.home) {
        serde_json::from_str::<serde_json::Value>(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

fn code_editor(environment: Option<&str>) -> App {
    let kind = CodeEditor { environment: environment.map(PathBuf::from), folder: Some("work".into()) };
    App { kind: AppKind::CodeEditor(kind), base_path: "/codeeditor/default/".into(), ..jupyterlab() }
}

#[test]
fn code_editor_is_whichever_server_is_there_each_with_its_own_flags() {
    let place = Place { front_base: "/user/alice/".into(), ..place() };
    let editor = definition(&code_editor(Some("tools")), &place);
    let at = |path: &str| editor.program.candidates.iter().position(|candidate| candidate == Path::new(path));
    assert_eq!(at("/home/alice/tools/bin/sagemaker-code-editor"), Some(0), "{:?}", editor.program.candidates);
    assert!(at("/home/alice/tools/bin/openvscode-server") < at("/usr/bin/sagemaker-code-editor"));
    assert!(at("/opt/conda/bin/sagemaker-code-editor") < at("/usr/bin/code-server"));
    assert!(at("/usr/bin/code-server") < at("/usr/bin/openvscode-server"));
    assert_eq!((&*editor.base_path, editor.strip_base_path), ("/user/alice/codeeditor/default/", true));
    let args = |program: &str| into_spec(editor.clone(), PathBuf::from("/usr/bin").join(program)).args;
    let socket = "/run/space-agent/alice/apps/default.sock";
    let code_server = args("code-server");
    assert!(code_server.contains(&format!("--socket={socket}")), "{code_server:?}");
    assert_eq!(code_server.last().map(String::as_str), Some("/home/alice/work"));
    for program in ["sagemaker-code-editor", "openvscode-server"] {
        let args = args(program);
        assert!(args.contains(&format!("--socket-path={socket}")), "{args:?}");
        assert!(args.contains(&"--server-base-path=/user/alice/codeeditor/default/".into()), "{args:?}");
        assert!(args.contains(&"--default-folder=/home/alice/work".into()), "{args:?}");
        assert_eq!(args.iter().any(|arg| arg.starts_with("--server-data-dir=")), program == "sagemaker-code-editor");
    }
    let missing = find_program(&Definition { program: Program { candidates: vec![], ..editor.program }, ..editor });
    assert!(
        missing.unwrap_err().to_string().contains("no sagemaker-code-editor, or code-server, or openvscode-server")
    );
}

#[test]
fn code_editor_in_recovery_mode_has_no_settings_and_extensions_of_the_user_s() {
    let mut place = place();
    place.base_env.insert("XDG_DATA_HOME".into(), "/home/alice/data".into());
    let editor = recovery_definition(&code_editor(Some("tools")), &place);
    let clean = "/run/space-agent/alice/recovery/home";
    assert_eq!((&*editor.env["HOME"], editor.folder.to_str()), (clean, Some(clean)));
    assert_eq!(editor.env["XDG_DATA_HOME"], format!("{clean}/.local/share"));
    for program in ["sagemaker-code-editor", "code-server", "openvscode-server"] {
        let args = into_spec(editor.clone(), PathBuf::from("/usr/bin").join(program)).args;
        assert!(args.iter().all(|arg| !arg.contains("/home/alice")), "{args:?}");
    }
    let first = editor.program.candidates.first().unwrap();
    assert!(!first.starts_with("/home/alice"), "the image's first: {}", first.display());
}

#[test]
fn a_command_in_recovery_mode_is_the_same_with_a_clean_home() {
    let app = command(&["./serve", "x"], space_lifecycle::Upstream::Port(8501));
    let (normal, own) = (definition(&app, &place()), recovery_definition(&app, &place()));
    assert_eq!((&own.program, &own.args, &own.folder), (&normal.program, &normal.args, &normal.folder));
    assert_eq!((&*own.env["HOME"], &*own.env["PORT"]), ("/run/space-agent/alice/recovery/home", "8501"));
}

#[test]
fn a_command_is_told_where_to_listen() {
    let port = definition(&command(&["streamlit", "run"], space_lifecycle::Upstream::Port(8501)), &place());
    assert_eq!((&port.upstream, &*port.env["PORT"]), (&Upstream::Port(8501), "8501"));
    assert_eq!(port.program.candidates, ["/usr/bin/streamlit", "/bin/streamlit"].map(PathBuf::from));
    assert_eq!(port.args, ["run"]);
    assert_eq!(port.ready.path, "/dash/healthz");
    let own = definition(&command(&["./serve"], space_lifecycle::Upstream::Own), &place());
    let socket = "/run/space-agent/alice/apps/dash.sock";
    assert_eq!((&own.upstream, &*own.env["SPACE_AGENT_APP_SOCKET"]), (&Upstream::Unix(socket.into()), socket));
    assert_eq!(own.program.candidates, [PathBuf::from("/home/alice/./serve")]);
    let named = definition(&command(&["x"], space_lifecycle::Upstream::Socket("app.sock".into())), &place());
    assert_eq!(named.upstream, Upstream::Unix("/home/alice/app.sock".into()));
}

#[test]
fn a_stripped_base_path_is_not_part_of_what_the_app_sees() {
    let mut app = command(&["x"], space_lifecycle::Upstream::Own);
    if let AppKind::Command(kind) = &mut app.kind {
        kind.strip_base_path = true;
    }
    let stripped = definition(&app, &place());
    assert_eq!((&*stripped.ready.path, &*stripped.base_path), ("/healthz", "/dash/"));
}

#[test]
fn what_the_app_s_own_environment_says_wins() {
    let mut app = jupyterlab();
    app.env.insert("JUPYTER_CONFIG_PATH".into(), "/mine".into());
    assert_eq!(definition(&app, &place()).env["JUPYTER_CONFIG_PATH"], "/mine");
}

#[test]
fn a_long_socket_path_becomes_a_short_one_that_stays_the_same() {
    let run = Path::new("/run/space-agent/a-space-with-a-name-of-sixty-three-letters-as-many-as-it-may-ha");
    let socket = own_socket("an-app-with-a-rather-long-name", run);
    assert!(socket.as_os_str().len() <= SOCKET_PATH_MAX, "{}", socket.display());
    assert_eq!(socket, own_socket("an-app-with-a-rather-long-name", run));
    assert_ne!(socket, own_socket("an-app-with-a-rather-long-name-too", run));
}

#[test]
fn a_missing_program_says_where_it_was_looked_for_and_what_to_do() {
    let folder = std::env::temp_dir().join(format!("space-agent-test-find-program-{}", std::process::id()));
    let mut place = place();
    place.home = folder.clone();
    place.base_env.insert("PATH".into(), folder.join("bin").display().to_string());
    let lab = definition(&jupyterlab(), &place);
    let home = folder.display();
    let by = if account::own().0 == 0 { " by alice" } else { "" };
    assert_eq!(
        find_program(&lab).unwrap_err().to_string(),
        format!(
            "cannot start the app default: there is no jupyter-lab that can be executed{by} (looked at \
             {home}/.venv/bin/jupyter-lab, {home}/bin/jupyter-lab): add a step `python: {{ packages: [jupyterlab, \
             ipykernel], environment: .venv }}` with `blocks: app`, and name the environment in the app"
        )
    );
    let program = folder.join("bin/jupyter-lab");
    fs::create_dir_all(program.parent().unwrap()).unwrap();
    fs::write(&program, "").unwrap();
    assert!(find_program(&lab).is_err(), "it is not executable");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(find_program(&lab), Ok(program.clone()));
    let spec = into_spec(lab, program.clone());
    assert_eq!((spec.program, spec.folder), (program, folder.clone()));
    fs::remove_dir_all(&folder).unwrap();
}
