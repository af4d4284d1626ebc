//! What the user runs on a port of its own, through the front door.

use crate::documents::echo;
use hyper::{Method, StatusCode};
use space_tests::client::{Client, whole};
use space_tests::command::spawn_quiet;
use space_tests::places;
use space_tests::processes;
use space_tests::space::{SOON, Space, free_port};
use space_tests::wait::wait_for;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

/// A program that serves on a port, ended with the story.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        processes::kill_all([self.0.id().cast_signed()]);
        let _ = self.0.wait();
    }
}

async fn serve(mut command: Command, port: u16) -> Server {
    let server = Server(spawn_quiet(&mut command).unwrap());
    let there = wait_for(SOON, "the server to listen", async || TcpStream::connect(("127.0.0.1", port)));
    there.await.unwrap();
    server
}

#[tokio::test]
async fn a_server_that_the_user_starts_is_seen_below_every_base_path() {
    // Looked at each 2 s.
    let mut space = Space::new(&format!("{}idle: {{ shutdown: 20s }}\n", echo()));
    let mut run = space.start();
    run.ready().await;
    let mut client = run.signed_in().await;
    let port = free_port();

    let nobody = client.get(&format!("/proxy/{port}/")).await;
    assert_eq!(nobody.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(nobody.text().contains(&format!("nothing listens on port {port}: start your server")), "{}", nobody.text());

    let mut command = Command::new("/usr/bin/python3");
    command.arg(places::project().join("tests/parts/echo.py")).env("PORT", port.to_string());
    let _server = serve(command, port).await;
    for (path, seen) in [
        (format!("/proxy/{port}/a%2Fb?c=d"), "/a%2Fb?c=d".to_owned()),
        (format!("/echo/ports/{port}/a"), "/a".to_owned()),
        (format!("/echo/proxy/absolute/{port}/a"), format!("/echo/proxy/absolute/{port}/a")),
    ] {
        let origin = client.origin();
        let sent = [("origin", origin.as_str()), ("authorization", "Bearer x")];
        let told = client.send(Method::POST, &path, &sent, whole("abc")).await.good(&path).json();
        assert_eq!(told["path"].as_str(), Some(seen.as_str()));
        let headers = told["headers"].as_array().unwrap();
        let header = |name: &str| headers.iter().find(|pair| pair[0] == name).and_then(|pair| pair[1].as_str());
        assert_eq!(header("host"), Some(format!("localhost:{port}").as_str()));
        assert_eq!(header("origin"), Some(format!("http://localhost:{port}").as_str()));
        assert_eq!(header("x-forwarded-host"), Some(client.host().as_str()));
        assert_eq!((header("authorization"), header("cookie")), (None, None));
    }
    let moved = client.get(&format!("/proxy/{port}")).await;
    assert_eq!(moved.header("location"), Some(format!("/proxy/{port}/").as_str()));
    assert_eq!(Client::new(run.port).get(&format!("/proxy/{port}/")).await.status, StatusCode::UNAUTHORIZED);
    let door = run.port;
    assert_eq!(client.get(&format!("/proxy/{door}/")).await.status, StatusCode::BAD_REQUEST);

    let metrics = run.control(Method::GET, "/metrics", None).await.unwrap().good("metrics").text();
    assert!(metrics.contains("space_agent_requests_total{app=\"proxy/\",class=\"work\"} 3"), "{metrics}");
    run.until(SOON, "the work to be seen", |status| {
        let why = status.0["activity"]["sentence"].to_string();
        if why.contains("somebody worked in a server on a port") { Ok(()) } else { Err(why) }
    })
    .await;
    assert_eq!(run.stop().await, 0);
}

#[tokio::test]
async fn a_server_of_another_user_is_not_shown() {
    if !nix::unistd::Uid::effective().is_root() {
        return eprintln!("not run: only root can start a program as somebody else");
    }
    let mut space = Space::new(&echo());
    let mut run = space.start();
    run.ready().await;
    let mut client = run.signed_in().await;
    let port = free_port();
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-m", "http.server", &port.to_string(), "--bind", "127.0.0.1"]).current_dir("/").uid(65_534);
    let _server = serve(command, port).await;
    let refused = client.get(&format!("/proxy/{port}/")).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text());
    assert!(refused.text().contains("belongs to uid 65534"), "{}", refused.text());
    assert_eq!(run.stop().await, 0);
}

#[tokio::test]
async fn whoever_works_in_an_app_keeps_the_space_and_a_page_that_polls_does_not() {
    let mut space = Space::new(&format!("{}idle: {{ shutdown: 3s, notice: 1s, action: exit }}\n", echo()));
    let mut run = space.start();
    run.ready().await;
    let mut client = run.signed_in().await;
    let origin = client.origin();
    let mut pace = tokio::time::interval(std::time::Duration::from_millis(500));
    // Twice as long as it takes to stop.
    for _ in 0..12 {
        pace.tick().await;
        client.send(Method::POST, "/echo/x", &[("origin", &origin)], whole("a")).await.good("work");
    }
    let since = tokio::time::Instant::now();
    while run.ended().is_none() {
        pace.tick().await;
        assert!(since.elapsed() < SOON, "a page that polls has kept the space: {:?}", run.status().await);
        // The door may have closed since.
        let _ = client.begin(Method::GET, "/echo/x", &[], whole("")).await;
    }
    assert_eq!(run.exit_code(SOON).await, 0);
}
