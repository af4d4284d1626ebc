//! The front door with a certificate of its own, and its access log.

use crate::documents::echo;
use space_tests::command::{Done, run};
use space_tests::space::{BOOT, SOON, Space};
use space_tests::wait::wait_for;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Makes `cert.pem` and `key.pem` for 127.0.0.1.
async fn certify(folder: &Path) {
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
    openssl.args(["-subj", "/CN=space", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem.new"]);
    openssl.args(["-out", "cert.pem.new"]).current_dir(folder);
    assert_eq!(run(openssl, SOON).await.code(), 0);
    for name in ["key.pem", "cert.pem"] {
        fs::rename(folder.join(format!("{name}.new")), folder.join(name)).unwrap();
    }
}

/// curl, which trusts only this certificate.
async fn curl(folder: &Path, args: &[&str]) -> Done {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--noproxy", "*", "--cacert", "cert.pem", "--max-time", "10"]);
    curl.args(["--cookie", "jar", "--cookie-jar", "jar", "--include"]).args(args).current_dir(folder);
    run(curl, SOON).await
}

fn document(space: &Space) -> String {
    let (name, port) = (&space.name, space.port);
    format!(
        "version: 1\nspace: {{ name: {name} }}\nstorage: {{ home: {{ directory: ./home }} }}\n\
         front_door: {{ listen: \"127.0.0.1:{port}\", tls: {{ cert: cert.pem, key: key.pem }}, access_log: file }}\n{}",
        echo()
    )
}

#[tokio::test]
async fn a_space_with_a_certificate_speaks_https_takes_a_new_one_and_logs_its_requests() {
    let mut space = Space::new(&echo());
    space.write_verbatim(&document(&space));
    certify(&space.folder).await;
    let folder = space.folder.clone();
    let mut run = space.start();
    run.ready().await;
    let status = run.status().await.unwrap();
    assert_eq!(status.0["tls"], true);
    let answer = run.control(hyper::Method::POST, "/v1/sign-in", Some(serde_json::json!({}))).await.unwrap();
    let link = answer.good("a link").json()["link"].as_str().unwrap().to_owned();
    let (page, token) = link.split_once('#').unwrap();
    let origin = format!("https://127.0.0.1:{}", space.port);
    assert!(page.starts_with(&origin), "{link}");

    let (header, form) = (format!("Origin: {origin}"), format!("token={token}"));
    let signed = curl(&folder, &["--header", &header, "--data", &form, page]).await.stdout;
    let cookie = signed.lines().find(|line| line.to_lowercase().starts_with("set-cookie: __host-space-"));
    assert!(cookie.is_some_and(|cookie| cookie.ends_with("; Secure")), "{signed}");
    let told = curl(&folder, &[&format!("{origin}/echo/x?token=secret")]).await.stdout;
    assert!(told.starts_with("HTTP/1.1 200") && told.contains("[\"x-forwarded-proto\", \"https\"]"), "{told}");
    assert!(!told.contains("space-"), "the app saw the session: {told}");
    let plain = curl(&folder, &[&format!("{}/echo/x", origin.replace("https", "http"))]).await.stdout;
    assert!(plain.starts_with("HTTP/1.1 400") && plain.contains("https only"), "{plain}");

    let log = space.run.join("log/front-door/access.log");
    let written = wait_for(SOON, "the access log", async || {
        let text = fs::read_to_string(&log).unwrap_or_default();
        if text.contains("GET /echo/x") { Ok(text) } else { Err(format!("{} has {text:?}", log.display())) }
    });
    let written = written.await.unwrap();
    assert!(written.contains("\"POST /echo/_space/sign-in HTTP/1.1\" 303 "), "{written}");
    assert!(written.contains("\"GET /echo/x HTTP/1.1\" 200 ") && written.contains(" echo 0."), "{written}");
    assert!(!written.contains("secret") && !written.contains(token), "{written}");

    // A new certificate: what trusts only that gets in, and nobody has restarted anything.
    certify(&folder).await;
    let renewed = wait_for(SOON, "the new certificate", async || {
        let done = curl(&folder, &[&format!("{origin}/echo/x")]).await;
        if done.status.success() { Ok(()) } else { Err(done.stderr) }
    });
    renewed.await.unwrap();
    fs::write(folder.join("cert.pem.new"), "broken").unwrap();
    fs::copy(folder.join("cert.pem"), folder.join("trusted.pem")).unwrap();
    fs::rename(folder.join("cert.pem.new"), folder.join("cert.pem")).unwrap();
    let said = run.until(SOON, "the broken certificate to be told of", |status| {
        let events = status.0["events"].to_string();
        if events.contains("keeps the certificate that it has") { Ok(events) } else { Err(events) }
    });
    assert!(said.await.contains("there is no certificate in PEM form"));
    fs::rename(folder.join("trusted.pem"), folder.join("cert.pem")).unwrap();
    assert!(curl(&folder, &[&format!("{origin}/echo/x")]).await.status.success(), "the old one still holds");
    assert_eq!(run.stop().await, 0);
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_opens_no_door() {
    let mut space = Space::new(&echo());
    space.write_verbatim(&document(&space));
    let document = space.document.to_string_lossy().into_owned();
    let mut run = space.start_with(&[&document]);
    assert_eq!(run.exit_code(BOOT).await, 78, "{}", run.told());
    let said = run.stderr();
    assert!(said.contains("cannot open the front door with TLS") && said.contains("cert.pem"), "{said}");
    space.assert_nothing_running();
}
