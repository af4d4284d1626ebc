//! Ways in which a start can fail. Each must give, within a minute, a page or a message from which a reader who knows
//! nothing else can name the cause and the remedy. The real messages go to `tests/artefacts/start-failures.md`.

use space_tests::client::Client;
use space_tests::command::put_script;
use space_tests::places;
use space_tests::space::{Space, free_port};
use space_tests::wait::wait_for;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tokio::time::Instant;

const WITHIN: Duration = Duration::from_secs(60);
const SHORT: &str = "    restart: { max: 1, backoff: 100ms..200ms }\n";

/// What lasts as long as the story of a failure does.
type Held = Box<dyn std::any::Any>;

struct Failure {
    name: &'static str,
    space: Space,
    /// Words of the cause and of the remedy.
    words: &'static [&'static str],
    held: Held,
}

fn failure(name: &'static str, words: &'static [&'static str], body: &str) -> Failure {
    Failure { name, space: Space::new(body), words, held: Box::new(()) }
}

fn app(kind: &str) -> String {
    format!("apps:\n  - {{ kind: command, name: app, {kind}, restart: {{ max: 1, backoff: 100ms..200ms }} }}\n")
}

fn step(what: &str) -> String {
    format!("lifecycle:\n  steps:\n    - {{ name: prepare, {what}, blocks: app }}\n{}", app("command: [\"true\"]"))
}

fn documents() -> Vec<Failure> {
    let verbatim = |name, words, change: &dyn Fn(&Space)| {
        let failure = failure(name, words, "");
        change(&failure.space);
        failure
    };
    vec![
        verbatim("a document with mistakes", &["enviroment", "did you mean", "space.yaml"], &|space| {
            space.write("apps:\n  - kind: jupyterlab\n    enviroment: .venv\n");
        }),
        verbatim("a document that is no YAML", &["space.yaml", "line"], &|space| {
            space.write_verbatim("version: 1\nspace: {{{ name: x\n");
        }),
        verbatim("a document that is a folder", &["space.yaml", "it is a folder", "name a file"], &|space| {
            fs::remove_file(&space.document).unwrap();
            fs::create_dir(&space.document).unwrap();
        }),
        verbatim("a document that is not there", &["space.yaml", "no such file", "check the path"], &|space| {
            fs::remove_file(&space.document).unwrap();
        }),
    ]
}

fn homes() -> Vec<Failure> {
    let mut all = Vec::new();
    let file = failure("a home that is a file", &["is a file, not a folder", "move the file away"], "");
    fs::remove_dir_all(&file.space.home).unwrap();
    fs::write(&file.space.home, "").unwrap();
    all.push(file);
    let nowhere = failure("a home that cannot be made", &["cannot make the home", "name another home"], "");
    let text = fs::read_to_string(&nowhere.space.document).unwrap().replace("./home", "/proc/no/home");
    nowhere.space.write_verbatim(&text);
    all.push(nowhere);
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not run: only root can start a space for another user, or mount a small disk");
        return all;
    }
    let owner = "user: { uid: 64321, gid: 64321 }\napps: []\n";
    all.push(failure("a home of another owner", &["cannot write to the home", "chown -R 64321:64321"], owner));
    for (name, words, options, fill) in [
        ("a disk without room", &["its disk is full", "delete what is not needed"][..], "size=512k", true),
        ("a home on a read-only disk", &["mounted read-only", "can be written to"][..], "size=512k,ro", false),
    ] {
        let mut failure = failure(name, words, "");
        match Mounted::at(&failure.space.home, options) {
            Some(mounted) => failure.held = Box::new(mounted),
            None => {
                eprintln!("not run: {name}: nothing can be mounted here");
                continue;
            }
        }
        if fill {
            let _ = fs::write(failure.space.home.join("big"), vec![1; 1 << 20]);
        }
        all.push(failure);
    }
    all
}

/// A small disk in memory.
struct Mounted(std::path::PathBuf);

impl Mounted {
    fn at(folder: &Path, options: &str) -> Option<Mounted> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "none"]).arg(folder).status();
        mounted.is_ok_and(|status| status.success()).then(|| Mounted(folder.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn surroundings() -> Vec<Failure> {
    let mut taken =
        failure("a front door whose port is taken", &["another program listens", "front_door: { listen"], "");
    taken.held = Box::new(TcpListener::bind(("127.0.0.1", taken.space.port)).unwrap());
    let user = "user: { name: nobody-knows-me }\n";
    let mut run = failure("no place for the run folder", &["cannot make a run folder", "set SPACE_AGENT_RUN"], "");
    run.space.run = "/proc/no/run".into();
    vec![taken, run, failure("an unknown user", &["no user nobody-knows-me", "make the account"], user)]
}

fn apps() -> Vec<Failure> {
    let lab = "apps:\n  - kind: jupyterlab\n    environment: .venv\n";
    let mut all = vec![
        failure("no JupyterLab anywhere", &["no jupyter-lab", "add a step", "_space/"], lab),
        failure(
            "a command that is not there",
            &["no no-such-program", "install it"],
            &app("command: [no-such-program]"),
        ),
        failure(
            "an app that exits at once",
            &["exit code 7", "no luck", "app.log"],
            &app("command: [sh, -c, echo no luck; exit 7]"),
        ),
        failure(
            "an app that never answers",
            &["did not answer within 1 s", "app.log"],
            &app("command: [sleep, \"600\"], ready: { deadline: 1s }"),
        ),
    ];
    let broken = failure("a broken environment", &["ImportError", "default.log"], &format!("{lab}{SHORT}"));
    let program = broken.space.home.join(".venv/bin/jupyter-lab");
    fs::create_dir_all(program.parent().unwrap()).unwrap();
    put_script(&program, "#!/bin/sh\necho 'ImportError: no module named jupyter_server' >&2\nexit 1\n");
    all.push(broken);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = format!("command: [/usr/bin/python3, -m, http.server, --bind, 127.0.0.1, \"{port}\"], port: {port}");
    let mut taken = failure("an app whose port is taken", &["Address already in use", "app.log"], &app(&server));
    taken.held = Box::new(listener);
    all.push(taken);
    all
}

fn steps() -> Vec<Failure> {
    let closed = free_port();
    let pip = "PIP_CONFIG_FILE: /dev/null, PIP_FIND_LINKS: \"\"";
    let dead = format!("git: {{ url: \"http://127.0.0.1:{closed}/x.git\" }}");
    let unreachable =
        format!("python: {{ packages: [six] }}, env: {{ PIP_INDEX_URL: \"http://127.0.0.1:{closed}/simple\", {pip} }}");
    let nothing = format!("python: {{ packages: [no-such-thing] }}, env: {{ PIP_NO_INDEX: \"1\", {pip} }}");
    let mut all = vec![
        failure("a git server that is dead", &["prepare", "does not answer", "check the network"], &step(&dead)),
        failure("a package index that is not reached", &["cannot reach", "network"], &step(&unreachable)),
        failure("a package that is not there", &["no-such-thing", "prepare"], &step(&nothing)),
        failure(
            "a script that fails",
            &["prepare", "exit code 9", "space-agent logs"],
            &step("run: echo no luck; exit 9"),
        ),
        failure(
            "a script that takes too long",
            &["prepare", "did not end within 1 s", "more time"],
            &step("run: sleep 600, timeout: 1s"),
        ),
    ];
    let unknown = failure("a git ref that is not there", &["no-such-ref", "prepare"], "");
    let origin = unknown.space.folder.join("origin");
    fs::create_dir(&origin).unwrap();
    for args in [
        &["init", "-q"][..],
        &["-c", "user.name=x", "-c", "user.email=x@example", "commit", "-q", "--allow-empty", "-m", "x"],
    ] {
        assert!(Command::new("git").args(args).current_dir(&origin).status().unwrap().success());
    }
    let url = format!("git: {{ url: \"file://{}\", ref: no-such-ref, into: x }}", origin.display());
    unknown.space.write(&step(&url));
    all.push(unknown);
    all
}

/// A git server that asks who one is.
async fn closed_repository() -> Failure {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/x.git", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let answer = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let mut failure = failure(
        "a repository that asks who one is",
        &["prepare", "credentials"],
        &step(&format!("git: {{ url: \"{url}\" }}")),
    );
    failure.held = Box::new(server);
    failure
}

/// The page or the message that the failure gives.
async fn told(space: &mut Space) -> (&'static str, String) {
    let mut run = space.start();
    let seen = wait_for(WITHIN, "a page or a message", async || {
        if run.ended().is_some() {
            return Ok(("message", run.stderr()));
        }
        let status = run.status().await?;
        let settled = status.0["mode"] == "recovery" && status.0["apps"][0]["state"] != "starting";
        if !settled {
            return Err(format!("{}", status.0));
        }
        Ok(("page", String::new()))
    });
    let (kind, message) = seen.await.unwrap_or_else(|seen| panic!("{seen}"));
    if kind == "message" {
        return (kind, message);
    }
    let link = run.link().await;
    let port = link.split(['/', ':']).find_map(|part| part.parse().ok()).expect("a link has a port");
    let mut client = Client::new(port);
    client.sign_in(&link).await;
    let page = client.visit("/_space/").await.good("the page").text();
    run.stop().await;
    (kind, plain(&page))
}

/// A page as text: what a person reads of it.
fn plain(page: &str) -> String {
    let body = page.split_once("<main>").map_or(page, |(_, body)| body);
    let body = body.split_once("<script>").map_or(body, |(body, _)| body);
    let mut text = String::new();
    for part in body.split('<') {
        text.push_str(part.split_once('>').map_or(part, |(_, said)| said));
    }
    let entities = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")];
    entities.iter().fold(text, |text, (entity, character)| text.replace(entity, character))
}

#[tokio::test]
async fn every_failed_start_gives_a_page_or_a_message_with_cause_and_remedy() {
    let mut all: Vec<Failure> = [documents(), homes(), surroundings(), apps(), steps()].into_iter().flatten().collect();
    all.push(closed_repository().await);
    let (mut table, mut wrong) =
        (String::from("| failure | how it is told | what is told |\n|---|---|---|\n"), Vec::new());
    let count = all.len();
    assert!(count >= 20, "{count}");
    for group in in_groups(all) {
        let told = futures_util::future::join_all(group.into_iter().map(async |mut failure| {
            let begun = Instant::now();
            let (kind, text) = told(&mut failure.space).await;
            drop(failure.held);
            (failure.name, failure.words, kind, text, begun.elapsed())
        }));
        for (name, words, kind, text, took) in told.await {
            let missing: Vec<_> = words.iter().filter(|word| !text.contains(**word)).collect();
            if !missing.is_empty() || took > WITHIN {
                wrong.push(format!("{name} ({took:?}): lacks {missing:?}:\n{text}\n"));
            }
            table += &format!("| {name} | {kind} | {} |\n", said(kind, &text));
        }
    }
    fs::write(places::artefact("start-failures.md"), table).unwrap();
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    places::figure(&format!("{count} of {count} failed starts gave a page or a message with cause and remedy"));
}

/// As many at once as the machine bears.
fn in_groups(all: Vec<Failure>) -> Vec<Vec<Failure>> {
    let mut groups: Vec<Vec<Failure>> = Vec::new();
    for failure in all {
        match groups.last_mut() {
            Some(group) if group.len() < 9 => group.push(failure),
            _ => groups.push(vec![failure]),
        }
    }
    groups
}

/// One cell of the table: the message's last line, or the page's sentence.
fn said(kind: &str, text: &str) -> String {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let line = match kind {
        "message" => lines.find(|line| line.starts_with("space-agent: ")),
        _ => lines.find(|line| line.starts_with("The space runs in recovery mode")),
    };
    line.unwrap_or_default().replace('|', "\\|")
}
