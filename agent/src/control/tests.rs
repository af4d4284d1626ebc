//! The room on real sockets in a temporary folder, with a hall that answers as told.

use super::*;
use crate::model::now::Timestamp;
use crate::model::status::{
    ActivityStatus, AgentStatus, AppState, AppStatus, PhaseName, StepState, StepStatus, VerdictName,
};
use crate::sys::stop::{StopSwitch, stop};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub(crate) struct Live {
    pub(crate) folder: PathBuf,
    status: watch::Sender<Arc<Status>>,
    pub(crate) switch: StopSwitch,
    room: JoinHandle<Result<(), Error>>,
    _hall: JoinHandle<()>,
}

impl Live {
    pub(crate) fn new(test: &str) -> Live {
        let agent_uid = crate::sys::account::own().0;
        let folder = std::env::temp_dir().join(format!("space-agent-control-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("steps")).unwrap();
        fs::create_dir(folder.join("apps")).unwrap();
        let (status, receiver) = watch::channel(Arc::new(status()));
        let (requests, inbox) = mpsc::channel(4);
        let (switch, stop) = stop();
        let config = Config {
            user_socket: UnixListener::bind(folder.join("user.sock")).unwrap(),
            admin_socket: UnixListener::bind(folder.join("control.sock")).unwrap(),
            user_uid: agent_uid,
            agent_uid,
            status: receiver,
            log_folder: folder.clone(),
            errands: errands(&folder),
            counters: Default::default(),
        };
        let room = tokio::spawn(run(config, requests, stop));
        Live { folder, status, switch, room, _hall: tokio::spawn(hall(inbox)) }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("user.sock")
    }

    async fn send(&self, method: Method, path: &str, body: &str) -> Response<hyper::body::Incoming> {
        send(&self.socket(), method, path, body).await
    }

    async fn ask(&self, method: Method, path: &str, body: &str) -> (StatusCode, Value) {
        let response = self.send(method, path, body).await;
        let code = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (code, serde_json::from_slice(&bytes).unwrap_or(Value::String(String::from_utf8_lossy(&bytes).into())))
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.ask(Method::GET, path, "").await
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Status)) {
        self.status.send_modify(|status| change(Arc::make_mut(status)));
    }

    pub(crate) fn append(&self, name: &str, text: &str) {
        use std::io::Write;
        let path = self.folder.join(format!("{name}.log"));
        fs::File::options().create(true).append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    }
}

/// Done by a program that prints the file `boots` of the folder.
fn errands(folder: &Path) -> Errands {
    let binary = folder.join("errand");
    if folder.is_dir() {
        crate::errand::tests::program(&binary, "exec cat \"$4/boots\"");
    }
    let (uid, gid) = crate::sys::account::own();
    let account = crate::sys::account::by_uid(uid, Some(gid)).unwrap();
    Errands { binary, account, home: folder.to_owned() }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

async fn send(socket: &Path, method: Method, path: &str, body: &str) -> Response<hyper::body::Incoming> {
    let stream = UnixStream::connect(socket).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = hyper::Request::builder().method(method).uri(path).header("host", "space");
    sender.send_request(request.body(Full::new(Bytes::from(body.to_owned()))).unwrap()).await.unwrap()
}

/// Knows one lease, `known`; has a busy kernel; mints links that say what they were asked for.
async fn hall(mut inbox: mpsc::Receiver<Request>) {
    let refuse = |status, detail: &str| Refusal { status, title: "no".to_owned(), detail: detail.to_owned() };
    let busy = |detail: &str| Refusal { title: api::KERNELS_BUSY.to_owned(), ..refuse(409, detail) };
    while let Some(request) = inbox.recv().await {
        match request {
            Request::TakeLease { reason: Some(reason), .. } if reason == "silence" => std::mem::forget(reason),
            Request::TakeLease { id: Some(id), reply, .. } if id != "known" && id != "new" => {
                let _ = reply.send(Err(refuse(404, &format!("no lease {id}"))));
            }
            Request::TakeLease { id, duration, reason, by: _, reply } => {
                let until = Timestamp(duration.as_millis() as u64);
                let (id, reason) = (id.unwrap_or("new".to_owned()), reason.unwrap_or_default());
                let _ = reply.send(Ok(LeaseStatus { id, reason, until }));
            }
            Request::EndLease { id, reply } if id == "known" => drop(reply.send(Ok(()))),
            Request::EndLease { id, reply } => drop(reply.send(Err(refuse(404, &format!("no lease {id}"))))),
            Request::Stop { force: true, reply, .. } => drop(reply.send(Ok(()))),
            Request::Stop { reply, .. } => drop(reply.send(Err(busy("busy: train.ipynb")))),
            Request::Restart { force: true, reply, .. } => drop(reply.send(Ok(()))),
            Request::Restart { app, reply, .. } => {
                drop(reply.send(Err(busy(&format!("{app} is busy: train.ipynb")))));
            }
            Request::Start { reply, .. } => drop(reply.send(Ok(true))),
            Request::SignIn { to, lifetime, reply } => {
                let _ = reply.send(Ok(format!("http://x/{}#{}", to.unwrap_or_default(), lifetime.as_secs())));
            }
        }
    }
}

pub(crate) fn status() -> Status {
    Status {
        space: "lab".to_owned(),
        boot: "b1".to_owned(),
        phase: PhaseName::Booting,
        mode: None,
        since: Timestamp(0),
        sentence: "the space boots".to_owned(),
        reason: None,
        steps: vec![StepStatus {
            name: "deps".to_owned(),
            kind: "python".to_owned(),
            blocks_app: true,
            state: StepState::Running,
            why: None,
            started: None,
            took_ms: None,
        }],
        apps: vec![AppStatus {
            name: "default".to_owned(),
            kind: "jupyterlab".to_owned(),
            label: "JupyterLab".to_owned(),
            base_path: "/jupyterlab/default/".to_owned(),
            state: AppState::Waiting,
            pid: None,
            restarts: 0,
            why: None,
            since: None,
        }],
        activity: ActivityStatus {
            verdict: VerdictName::Active,
            sentence: "the space boots".to_owned(),
            last_active: Timestamp(0),
            stops_at: None,
            shutdown_s: None,
            action: "exit".to_owned(),
            kernels: Vec::new(),
            blind: Vec::new(),
        },
        leases: Vec::new(),
        warnings: Vec::new(),
        events: Vec::new(),
        isolation: Default::default(),
        last_run: None,
        user: "alice".to_owned(),
        home: "/home/alice".to_owned(),
        listen: ([127, 0, 0, 1], 8888).into(),

        tls: false,
        path: "/".to_owned(),
        agent: AgentStatus { version: "0".to_owned(), pid: 2, init_pid: 1, starts: 1 },
    }
}

#[tokio::test]
async fn the_status_is_told_as_it_is() {
    let live = Live::new("status");
    let (code, body) = live.get("/v1/status").await;
    assert_eq!(code, 200);
    assert_eq!(serde_json::from_value::<Status>(body).unwrap(), status());
    for (path, key) in
        [("/v1/activity", "activity"), ("/v1/steps", "steps"), ("/v1/apps", "apps"), ("/v1/leases", "leases")]
    {
        assert_eq!(live.get(path).await, (StatusCode::OK, serde_json::to_value(status()).unwrap()[key].clone()));
    }
    assert_eq!(live.get("/livez").await, (StatusCode::OK, json!("ok")));
    assert_eq!(live.get("/readyz").await, (StatusCode::SERVICE_UNAVAILABLE, json!("not ready")));
    live.change(|status| {
        status.phase = PhaseName::Running;
        status.apps[0].state = AppState::Ready;
    });
    assert_eq!(live.get("/readyz").await, (StatusCode::OK, json!("ready")));
}

#[tokio::test]
async fn requests_reach_the_hall_and_its_answers_come_back() {
    let live = Live::new("requests");
    let post = Method::POST;
    let lease = json!({"id": "new", "reason": "night", "until": "1970-01-01T02:00:00.000Z"});
    let taken = live.ask(post.clone(), "/v1/leases", r#"{"duration":"2h","reason":"night"}"#).await;
    assert_eq!(taken, (StatusCode::CREATED, lease));
    let renewed = live.ask(post.clone(), "/v1/leases", r#"{"duration":"2h","id":"known"}"#).await;
    assert_eq!((renewed.0, &renewed.1["id"]), (StatusCode::OK, &json!("known")));
    let ended = live.ask(post.clone(), "/v1/leases", r#"{"duration":"2h","id":"other"}"#).await;
    assert_eq!((ended.0, &ended.1["detail"]), (StatusCode::NOT_FOUND, &json!("no lease other")));
    assert_eq!(live.ask(Method::DELETE, "/v1/leases/known", "").await.0, 204);
    assert_eq!(live.ask(Method::DELETE, "/v1/leases/other", "").await.0, 404);
    let busy = live.ask(post.clone(), "/v1/stop", "").await;
    assert_eq!((busy.0, &busy.1["detail"]), (StatusCode::CONFLICT, &json!("busy: train.ipynb")));
    assert_eq!(live.ask(post.clone(), "/v1/stop", r#"{"force":true}"#).await.0, 202);
    let busy = live.ask(post.clone(), "/v1/apps/default/restart", "").await;
    assert_eq!((busy.0, &busy.1["detail"]), (StatusCode::CONFLICT, &json!("default is busy: train.ipynb")));
    assert_eq!(live.ask(post.clone(), "/v1/apps/default/restart", r#"{"force":true}"#).await.0, 202);
    assert_eq!(live.ask(post.clone(), "/v1/start", "").await.0, 202);
    let link = live.ask(post, "/v1/sign-in", r#"{"to":"/lab","expires":"1m"}"#).await;
    assert_eq!(link, (StatusCode::CREATED, json!({"link": "http://x//lab#60"})));
}

#[tokio::test]
async fn every_error_is_a_problem_document() {
    let live = Live::new("problems");
    let long = format!(r#"{{"reason":"{}"}}"#, "x".repeat(70_000));
    for (method, path, body, code, detail) in [
        ("GET", "/v1/nothing", "", 404, "no route /v1/nothing"),
        ("PUT", "/v1/status", "", 405, "takes no PUT"),
        ("GET", "/v1/status?watch=maybe", "", 400, "watch"),
        ("GET", "/v1/status?what=1", "", 400, "unknown field `what`"),
        ("GET", "/v1/steps/other/log", "", 404, "no step other: this space has deps"),
        ("GET", "/v1/steps/default/log", "", 404, "no step default"),
        ("GET", "/v1/apps/..%2Fuser/log", "", 400, "not a name"),
        ("GET", "/v1/apps/%ff/log", "", 400, "not a name"),
        ("GET", "/v1/apps/default/log?tail=-1", "", 400, "tail"),
        ("POST", "/v1/leases", "", 422, "missing field `duration`"),
        ("POST", "/v1/leases", "{", 422, "EOF"),
        ("POST", "/v1/leases", r#"{"duration":"long"}"#, 422, "as in 90s, 5m or 2h"),
        ("POST", "/v1/leases", r#"{"duration":"1h","by":"x"}"#, 422, "unknown field `by`"),
        ("POST", "/v1/sign-in", r#"{"to":"//evil"}"#, 422, "path on the front door"),
        ("POST", "/v1/stop", &long, 413, "65536"),
        ("POST", "/v1/apps/other/restart", "", 404, "no app other: this space has default"),
        ("POST", "/v1/apps/default/restart", r#"{"yes":true}"#, 422, "unknown field `yes`"),
        ("GET", "/v1/apps/default/restart", "", 405, "takes no GET"),
        ("POST", "/v1/start", r#"{"mode":"normal"}"#, 422, "unknown field `mode`"),
        ("DELETE", "/v1/leases/a%2Fb", "", 400, "not a name"),
    ] {
        let response = live.send(method.parse().unwrap(), path, body).await;
        assert_eq!(response.status(), code, "{method} {path}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{method} {path}");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let problem: api::ProblemDocument = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((problem.status, problem.kind.as_str()), (code, "about:blank"));
        assert!(problem.detail.contains(detail), "{method} {path}: {}", problem.detail);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hall_that_does_not_answer_is_said_after_5_seconds() {
    let (requests, mut inbox) = mpsc::channel(1);
    let asked = tokio::spawn(async move {
        ask::ask(&requests, |reply| Request::EndLease { id: "x".to_owned(), reply }).await.unwrap_err()
    });
    let _unanswered = inbox.recv().await.unwrap();
    assert!(format!("{:?}", asked.await.unwrap()).contains("did not answer within 5 s"));
}

/// Every operation of the document, with `{name}` filled in.
fn operations() -> Vec<(Method, String)> {
    let document = serde_json::to_value(openapi()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().keys();
        let path = path.replace("{name}", "deps").replace("{id}", "known");
        methods.map(move |method| (method.to_uppercase().parse().unwrap(), path.clone()))
    });
    operations.collect()
}

#[tokio::test]
async fn every_route_is_in_the_document_and_every_documented_route_is_served() {
    let live = Live::new("openapi");
    let operations = operations();
    let expected = [
        "DELETE /v1/leases/known",
        "GET /livez",
        "GET /metrics",
        "GET /readyz",
        "GET /v1/activity",
        "GET /v1/apps",
        "GET /v1/apps/deps/log",
        "GET /v1/boots",
        "GET /v1/leases",
        "GET /v1/openapi.json",
        "GET /v1/status",
        "GET /v1/steps",
        "GET /v1/steps/deps/log",
        "POST /v1/apps/deps/restart",
        "POST /v1/leases",
        "POST /v1/sign-in",
        "POST /v1/start",
        "POST /v1/stop",
    ];
    let mut named: Vec<String> = operations.iter().map(|(method, path)| format!("{method} {path}")).collect();
    named.sort();
    assert_eq!(named, expected);
    for (method, path) in operations {
        let (code, body) = live.ask(method.clone(), &path, "").await;
        let routed = code != 405 && !body["detail"].as_str().unwrap_or_default().starts_with("no route");
        assert!(routed, "{method} {path}: {code} {body}");
    }
    let (_, served) = live.get("/v1/openapi.json").await;
    assert_eq!(served, serde_json::to_value(openapi()).unwrap());
}

/// `Caller::allow` stands in every handler: without a role nothing is answered, even past the door.
#[tokio::test]
async fn no_route_answers_to_a_caller_without_a_role() {
    use hyper::service::Service;
    let (_status, receiver) = watch::channel(Arc::new(status()));
    let (requests, _inbox) = mpsc::channel(1);
    let (_switch, stop) = stop();
    let router = routes::router(routes::Room::new(
        receiver,
        requests,
        PathBuf::from("/nonexistent"),
        errands(Path::new("/nonexistent")),
        Default::default(),
        stop,
    ));
    let service = hyper_util::service::TowerToHyperService::new(router);
    let nowhere = [(Method::GET, "/v1/nothing".to_owned()), (Method::PUT, "/v1/status".to_owned())];
    for (method, path) in operations().into_iter().chain(nowhere) {
        for caller in [Some(extract::Caller { uid: 1001, role: None }), None] {
            let mut request = hyper::Request::builder().method(method.clone()).uri(&path);
            if let Some(caller) = caller {
                request = request.extension(caller);
            }
            let body = if path == "/v1/leases" { r#"{"duration":"1h"}"# } else { "{}" };
            let response = service.call(request.body(Full::new(Bytes::from(body))).unwrap()).await.unwrap();
            assert_eq!(response.status(), 403, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_stranger_is_refused_on_both_sockets() {
    use std::os::unix::fs::PermissionsExt;
    if crate::sys::account::own().0 != 0 {
        eprintln!("not run: only root can connect as somebody else");
        return;
    }
    let live = Live::new("stranger");
    for socket in ["user.sock", "control.sock"] {
        let path = live.folder.join(socket);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        let script = format!(
            "import os,socket\nos.setgid(65534);os.setuid(65534)\ns=socket.socket(socket.AF_UNIX)\n\
             s.connect('{}')\ns.sendall(b'GET /livez HTTP/1.1\\r\\nhost: x\\r\\nconnection: close\\r\\n\\r\\n')\n\
             print(s.makefile().read())",
            path.display()
        );
        let mut python = tokio::process::Command::new("python3");
        let output = timeout(Duration::from_secs(20), python.args(["-c", &script]).output()).await.unwrap().unwrap();
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("uid 65534 may not read"), "{answer}{output:?}");
    }
}

#[tokio::test]
async fn a_watcher_gets_each_change_as_a_line_until_the_space_stops() {
    let live = Live::new("watch");
    let response = live.send(Method::GET, "/v1/status?watch=true", "").await;
    let mut lines = Lines::new(response);
    assert_eq!(serde_json::from_str::<Status>(&lines.next().await.unwrap()).unwrap(), status());
    live.change(|status| status.sentence = "changed".to_owned());
    let second: Status = serde_json::from_str(&lines.next().await.unwrap()).unwrap();
    assert_eq!(second.sentence, "changed");
    live.change(|status| status.phase = PhaseName::Stopped);
    live.switch.stop();
    let last: Status = serde_json::from_str(&lines.next().await.unwrap()).unwrap();
    assert_eq!(last.phase, PhaseName::Stopped);
    assert_eq!(lines.next().await, None);
}

struct Lines {
    body: hyper::body::Incoming,
    text: Vec<u8>,
}

impl Lines {
    fn new(response: Response<hyper::body::Incoming>) -> Lines {
        assert_eq!(response.status(), 200);
        Lines { body: response.into_body(), text: Vec::new() }
    }

    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
                let line = self.text.drain(..=end).collect();
                return Some(String::from_utf8(line).unwrap().trim_end().to_owned());
            }
            let frame = timeout(Duration::from_secs(10), self.body.frame()).await.expect("nothing came within 10 s");
            self.text.extend(frame?.unwrap().into_data().unwrap());
        }
    }
}

#[tokio::test]
async fn a_log_is_told_whole_or_from_its_last_lines() {
    let live = Live::new("log");
    assert_eq!(live.get("/v1/steps/deps/log").await, (StatusCode::OK, json!("")));
    live.append("steps/deps", "first\nsecond\nthird\n");
    assert_eq!(live.get("/v1/steps/deps/log").await, (StatusCode::OK, json!("first\nsecond\nthird\n")));
    assert_eq!(live.get("/v1/steps/deps/log?tail=2").await, (StatusCode::OK, json!("second\nthird\n")));
    assert_eq!(live.get("/v1/apps/default/log?tail=2").await, (StatusCode::OK, json!("")));
    std::os::unix::fs::symlink("/etc/hostname", live.folder.join("apps/default.log")).unwrap();
    let (code, problem) = live.get("/v1/apps/default/log").await;
    assert_eq!(code, 503);
    assert!(problem["detail"].as_str().unwrap().ends_with("default.log: not a plain file"), "{problem}");
}

#[tokio::test]
async fn earlier_runs_are_told_with_their_logs_as_far_as_they_are_kept() {
    let live = Live::new("boots");
    let (code, problem) = live.get("/v1/boots").await;
    assert!(code == 503 && problem["detail"].as_str().unwrap().starts_with("cannot read the boot record"), "{problem}");
    let this = status().boot;
    let record = |boot: &str, log: &str| {
        json!({
            "boot": boot, "steps": [{"name": "deps"}, {"name": "silent"}], "logs": {"steps/deps": log}
        })
    };
    let boots = json!([record("a", "a1\na2\n"), record("b", "b1\nb2\n"), record(&this, "now\n")]);
    fs::write(live.folder.join("boots"), boots.to_string()).unwrap();
    let (_, known) = live.get("/v1/boots").await;
    assert_eq!((&known[0]["boot"], &known[1]["boot"], &known[2]), (&json!("b"), &json!("a"), &Value::Null));
    assert_eq!(known[0]["logs"], json!({}));
    for (path, expected) in [
        ("steps/deps/log?boot=-1", Ok("b1\nb2\n")),
        ("steps/deps/log?boot=-1&tail=1", Ok("b2\n")),
        ("steps/deps/log?boot=-2", Ok("a1\na2\n")),
        ("steps/silent/log?boot=-1", Ok("")),
        ("steps/deps/log?boot=-3", Err((404, "nothing is known of the run -3; 2 are kept"))),
        ("apps/deps/log?boot=-1", Err((404, "the run that began at 1970-01-01 00:00 UTC had no app deps"))),
        ("steps/deps/log?boot=0", Err((400, "boot: -1 is the run before this one, -2 the one before that"))),
        ("steps/deps/log?boot=-2147483648", Err((404, "nothing is known of the run -2147483648; 2 are kept"))),
        ("steps/deps/log?boot=-1&follow=true", Err((400, "an earlier run says nothing more: no follow"))),
    ] {
        let (code, body) = live.get(&format!("/v1/{path}")).await;
        let answer = if code == 200 {
            Ok(body.as_str().unwrap())
        } else {
            Err((code.as_u16(), body["detail"].as_str().unwrap()))
        };
        assert_eq!(answer, expected, "{path}");
    }
}

#[tokio::test]
async fn a_followed_step_log_goes_through_rotation_and_ends_with_the_step() {
    let live = Live::new("follow");
    live.append("steps/deps", "zero\none\n");
    let mut lines = Lines::new(live.send(Method::GET, "/v1/steps/deps/log?follow=true&tail=1", "").await);
    assert_eq!(lines.next().await.as_deref(), Some("one"));
    live.append("steps/deps", "two\n");
    assert_eq!(lines.next().await.as_deref(), Some("two"));
    live.append("steps/deps", "three\n");
    fs::rename(live.folder.join("steps/deps.log"), live.folder.join("steps/deps.log.1")).unwrap();
    live.append("steps/deps", "four\n");
    assert_eq!(lines.next().await.as_deref(), Some("three"));
    assert_eq!(lines.next().await.as_deref(), Some("four"));
    live.append("steps/deps", "last\n");
    live.change(|status| status.steps[0].state = StepState::Done);
    assert_eq!(lines.next().await.as_deref(), Some("last"));
    assert_eq!(lines.next().await, None);
}

#[tokio::test]
async fn told_to_stop_the_room_ends_its_streams_and_itself() {
    let mut live = Live::new("stop");
    let mut lines = Lines::new(live.send(Method::GET, "/v1/apps/default/log?follow=true", "").await);
    let idle = UnixStream::connect(live.socket()).await.unwrap();
    live.append("apps/default", "bye\n");
    live.switch.stop();
    assert_eq!(lines.next().await.as_deref(), Some("bye"));
    assert_eq!(lines.next().await, None);
    let ended = timeout(Duration::from_secs(5), &mut live.room).await;
    ended.expect("the room ends within 5 s").unwrap().unwrap();
    assert!(UnixStream::connect(live.socket()).await.is_err());
    drop(idle);
}

#[tokio::test(start_paused = true)]
async fn half_a_request_and_an_idle_connection_are_closed_in_time() {
    let live = Live::new("slow");
    for sent in ["", "GET /livez HTTP/1.1\r\nhost: x\r\n", "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"] {
        let mut stream = UnixStream::connect(live.socket()).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let closed = timeout(Duration::from_secs(60), stream.read_to_end(&mut answer)).await;
        assert!(closed.is_ok(), "still open after a minute: {sent:?}");
    }
}

#[tokio::test]
async fn a_full_room_says_so_and_the_admin_socket_still_answers() {
    let live = Live::new("full");
    let mut held = Vec::new();
    for _ in 0..256 {
        held.push(UnixStream::connect(live.socket()).await.unwrap());
    }
    // Reading only: what is written to a connection that is refused may break before its answer is read.
    let mut full = String::new();
    let mut refused = UnixStream::connect(live.socket()).await.unwrap();
    refused.read_to_string(&mut full).await.unwrap();
    let (head, body) = full.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 503") && head.ends_with(&format!("content-length: {}", body.len())), "{full}");
    assert!(body.contains("too many connections"), "{full}");
    let admin = send(&live.folder.join("control.sock"), Method::GET, "/livez", "").await;
    assert_eq!(admin.status(), 200);
    held.clear();
    let mut free = false;
    for _ in 0..50 {
        let mut next = UnixStream::connect(live.socket()).await.unwrap();
        // A connection that has a place is left in peace.
        free = timeout(Duration::from_millis(100), next.read_u8()).await.is_err();
        if free {
            break;
        }
    }
    assert!(free, "places are free again");
}
