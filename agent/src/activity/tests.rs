//! Against a server that answers what jupyter_server 2.21 answered (recorded), and against servers that don't.

use super::*;
use crate::model::reading::KernelState;
use crate::sys::stop::stop;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::time::timeout;

const KERNELS: &str = r#"[{"id": "8c05f56e-2829-4fb9-a414-401686a5a65b", "name": "python3", "last_activity": "2026-11-20T18:03:41.474505Z", "execution_state": "busy", "connections": 0}, {"id": "da81707f-0533-47c7-9b8c-8235110bf824", "name": "python3", "last_activity": "2026-11-20T18:03:41.289419Z", "execution_state": "starting", "connections": 0}]"#;
const SESSIONS: &str = r#"[{"id": "37fdf3bf-87f2-4caf-bba7-94eb60f2fd90", "path": "notebooks/train.ipynb", "name": "train.ipynb", "type": "notebook", "kernel": {"id": "8c05f56e-2829-4fb9-a414-401686a5a65b", "name": "python3", "last_activity": "2026-11-20T18:03:41.474505Z", "execution_state": "busy", "connections": 0}, "notebook": {"path": "notebooks/train.ipynb", "name": "train.ipynb"}}]"#;

/// A folder for sockets that goes with the test.
struct Sockets(PathBuf);

impl Sockets {
    fn new(name: &str) -> Sockets {
        let path = std::env::temp_dir().join(format!("space-agent-activity-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Sockets(path)
    }

    fn watched(&self, app: &str) -> Watched {
        let socket = self.0.join(app);
        let uid = std::fs::metadata(&self.0).unwrap().uid();
        Watched { app: app.into(), socket: Upstream::Unix(socket), base_path: "/lab/".into(), uid }
    }

    /// Serves each request with what `answer` makes of its first line; the first lines come out of the channel.
    fn serve(&self, app: &str, answer: fn(&str) -> Option<String>) -> mpsc::UnboundedReceiver<String> {
        let listener = UnixListener::bind(self.0.join(app)).unwrap();
        let (sender, requests) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let sender = sender.clone();
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while let Ok(byte) = stream.read_u8().await {
                        head.push(byte);
                        if !head.ends_with(b"\r\n\r\n") {
                            continue;
                        }
                        let text = String::from_utf8(std::mem::take(&mut head)).unwrap();
                        let line = text.lines().next().unwrap().to_owned();
                        match answer(&line) {
                            Some(response) => stream.write_all(response.as_bytes()).await.unwrap(),
                            None => std::future::pending().await,
                        }
                        let _ = sender.send(line);
                    }
                });
            }
        });
        requests
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn respond(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn jupyter(line: &str) -> Option<String> {
    Some(match line {
        "GET /lab/api/kernels?no_track_activity=1 HTTP/1.1" => respond("200 OK", KERNELS),
        "GET /lab/api/sessions?no_track_activity=1 HTTP/1.1" => respond("200 OK", SESSIONS),
        _ => respond("404 Not Found", "{}"),
    })
}

/// The room, running.
struct Room {
    apps: watch::Sender<Arc<Vec<Watched>>>,
    ticks: watch::Sender<u64>,
    readings: mpsc::Receiver<Reading>,
    switch: crate::sys::stop::StopSwitch,
    task: tokio::task::JoinHandle<Result<(), Error>>,
}

impl Room {
    fn open(apps: Vec<Watched>) -> Room {
        let (apps, watched) = watch::channel(Arc::new(apps));
        let (ticks, ticked) = watch::channel(0);
        let (sender, readings) = mpsc::channel(1);
        let (switch, stop) = stop();
        let task = tokio::spawn(run(Config { apps: watched, ticks: ticked }, sender, stop));
        Room { apps, ticks, readings, switch, task }
    }

    fn tick(&self) {
        self.ticks.send_modify(|tick| *tick += 1);
    }

    async fn reading(&mut self) -> Reading {
        timeout(Duration::from_secs(30), self.readings.recv()).await.expect("no reading").expect("the room ended")
    }

    async fn close(self) {
        self.switch.stop();
        timeout(Duration::from_secs(5), self.task).await.expect("the room goes on").unwrap().unwrap();
    }
}

async fn why_not(app: &str, answer: fn(&str) -> Option<String>) -> String {
    let sockets = Sockets::new(app);
    let _requests = sockets.serve(app, answer);
    kernels::look(&sockets.watched(app)).await.unwrap_err()
}

#[tokio::test]
async fn each_tick_gives_one_reading_of_each_app_and_asks_without_being_counted() {
    let sockets = Sockets::new("each-tick");
    let mut requests = sockets.serve("lab", jupyter);
    let mut room = Room::open(vec![sockets.watched("lab")]);
    for _ in 0..2 {
        room.tick();
        let reading = room.reading().await;
        assert_eq!(reading.app, "lab");
        let seen = reading.seen.unwrap();
        let names: Vec<_> = seen.iter().map(|kernel| (&*kernel.name, kernel.state)).collect();
        assert_eq!(names, [("notebooks/train.ipynb", KernelState::Busy), ("python3", KernelState::Starting)]);
        assert_eq!(seen[0].last_activity, "2026-11-20T18:03:41.474505Z");
        for _ in 0..2 {
            assert!(requests.recv().await.unwrap().contains("?no_track_activity=1 "));
        }
    }
    room.apps.send_replace(Arc::default());
    room.tick();
    assert!(timeout(Duration::from_millis(100), room.readings.recv()).await.is_err(), "nothing is watched any more");
    room.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_delays_no_other_and_is_told_after_the_deadline() {
    let sockets = Sockets::new("hangs");
    let mut hung = sockets.serve("hung", |_| None);
    let _requests = sockets.serve("lab", jupyter);
    let mut room = Room::open(vec![sockets.watched("hung"), sockets.watched("lab")]);
    let began = tokio::time::Instant::now();
    for _ in 0..3 {
        room.tick();
        assert_eq!(room.reading().await.app, "lab");
    }
    assert!(began.elapsed() < Duration::from_secs(1));
    let reading = room.reading().await;
    assert_eq!(reading.app, "hung");
    assert_eq!(reading.seen, Err("the Jupyter server of hung has not answered for 5 s".into()));
    assert!(hung.try_recv().is_err());
    room.tick();
    room.close().await;
}

#[tokio::test]
async fn a_server_that_cannot_be_understood_is_told_in_one_clause() {
    let why = why_not("forbidden", |_| Some(respond("403 Forbidden", "{}"))).await;
    assert_eq!(why, "the Jupyter server of forbidden answers 403 Forbidden to api/kernels");
    let why = why_not("other", |_| Some(respond("200 OK", "{\"kernels\": 1}"))).await;
    assert!(why.starts_with("cannot understand api/kernels of other: invalid type: map"), "{why}");
    let why = why_not("garbled", |_| Some("SSH-2.0-OpenSSH\r\n\r\n".into())).await;
    assert!(why.starts_with("the Jupyter server of garbled cannot be talked to: "), "{why}");
    let why = why_not("endless", |_| {
        let chunk = format!("400000\r\n{}\r\n", "x".repeat(4 << 20));
        Some(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}{chunk}"))
    })
    .await;
    assert!(why.contains("length limit exceeded"), "{why}");
    let sockets = Sockets::new("absent");
    let why = kernels::look(&sockets.watched("absent")).await.unwrap_err();
    assert!(why.starts_with("the Jupyter server of absent cannot be reached: No such file"), "{why}");
}

#[tokio::test]
async fn whoever_answers_must_be_the_app_s_user() {
    let sockets = Sockets::new("peer");
    let mut requests = sockets.serve("lab", jupyter);
    let watched = sockets.watched("lab");
    let other = watched.uid + 1;
    let why = kernels::look(&Watched { uid: other, ..watched }).await.unwrap_err();
    assert!(why.starts_with("the Jupyter server of lab has another user on its socket: uid "), "{why}");
    assert!(requests.try_recv().is_err(), "not a byte was sent");
}

#[tokio::test]
async fn the_room_ends_when_its_neighbours_are_gone() {
    let room = Room::open(vec![]);
    drop(room.ticks);
    assert!(matches!(room.task.await.unwrap(), Err(Error::NoTicks)));
    let sockets = Sockets::new("neighbours");
    let room = Room::open(vec![sockets.watched("absent")]);
    room.ticks.send_replace(1);
    drop(room.readings);
    assert!(matches!(room.task.await.unwrap(), Err(Error::NoListener)));
}
