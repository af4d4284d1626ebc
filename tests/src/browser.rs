//! A real headless Chromium over WebDriver.

use crate::command::spawn_quiet;
use crate::places;
use crate::processes;
use crate::space::SOON;
use crate::wait::wait_for;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::json;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

const FLAGS: [&str; 10] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,800",
];

/// What a person presses to run a cell, as WebDriver writes keys.
pub const SHIFT_ENTER: &str = "\u{E008}\u{E007}\u{E008}";

/// A browser with an empty profile. Dropping it ends it and its driver.
#[derive(Debug)]
pub struct Browser {
    pub page: Client,
    /// Ends both when it is dropped.
    _driver: Driver,
}

#[derive(Debug)]
struct Driver {
    child: Child,
    profile: PathBuf,
}

impl Browser {
    /// Starts chromedriver on a free port and a browser with it.
    pub async fn start(name: &str) -> Browser {
        let profile = std::env::temp_dir().join(format!("space-tests-browser-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&profile);
        fs::create_dir_all(&profile).expect("a new folder can be made");
        let port = crate::space::free_port();
        let mut command = Command::new("chromedriver");
        // What the driver itself puts into the temporary directory goes with the profile.
        command.arg(format!("--port={port}")).env("TMPDIR", &profile);
        let child = spawn_quiet(&mut command).unwrap_or_else(|error| {
            panic!("cannot start chromedriver ({error}): run tests/run, which installs it");
        });
        let driver = Driver { child, profile };
        let mut arguments: Vec<String> = FLAGS.map(str::to_owned).to_vec();
        arguments.push(format!("--user-data-dir={}", driver.profile.join("profile").display()));
        let options = json!({"goog:chromeOptions": {"args": arguments}});
        let options = options.as_object().cloned().expect("an object was written here");
        let url = format!("http://127.0.0.1:{port}");
        let page = wait_for(Duration::from_secs(30), "the browser", async || {
            ClientBuilder::new(HttpConnector::new()).capabilities(options.clone()).connect(&url).await
        });
        let page = page.await.unwrap_or_else(|seen| panic!("{seen}"));
        Browser { page, _driver: driver }
    }

    pub async fn go(&self, url: &str) {
        self.page.goto(url).await.unwrap_or_else(|error| panic!("cannot go to {url}: {error}"));
    }

    /// Presses keys where the page has its focus.
    pub async fn press(&self, keys: &str) {
        let pressed = async { self.page.active_element().await?.send_keys(keys).await };
        pressed.await.unwrap_or_else(|error| panic!("cannot press keys: {error}"));
    }

    /// Clicks on the element that the selector finds, once it can be clicked.
    pub async fn click(&self, selector: &str) {
        let clicked = wait_for(SOON, selector, async || self.page.find(Locator::Css(selector)).await?.click().await);
        if let Err(error) = clicked.await {
            self.screenshot("failed-click").await;
            panic!("cannot click: {error}");
        }
    }

    /// Runs a function's body in the page and returns its value; `null` if the page is just changing.
    pub async fn ask(&self, script: &str) -> serde_json::Value {
        self.page.execute(script, Vec::new()).await.unwrap_or_default()
    }

    /// Clicks on the element that the selector finds, once it can be clicked, and types.
    pub async fn type_into(&self, selector: &str, keys: &str) {
        let typed = wait_for(SOON, selector, async || {
            let element = self.page.find(Locator::Css(selector)).await?;
            element.click().await?;
            element.send_keys(keys).await
        });
        if let Err(error) = typed.await {
            self.screenshot("failed-typing").await;
            panic!("cannot type: {error}");
        }
    }

    /// Waits until the script gives something true, and returns it.
    pub async fn until(&self, deadline: Duration, what: &str, script: &str) -> serde_json::Value {
        let found = wait_for(deadline, what, async || match self.ask(script).await {
            serde_json::Value::Null | serde_json::Value::Bool(false) => Err(self.describe().await),
            value => Ok(value),
        });
        match found.await {
            Ok(value) => value,
            Err(seen) => {
                self.screenshot(&format!("failed-{}", what.replace(' ', "-"))).await;
                panic!("{seen}")
            }
        }
    }

    /// Whether the script gives something true before the deadline.
    pub async fn would(&self, deadline: Duration, script: &str) -> bool {
        let yes = wait_for(deadline, script, async || (self.ask(script).await == true).then_some(()).ok_or("no"));
        yes.await.is_ok()
    }

    /// The page's address, title and the begin of its text, for messages.
    async fn describe(&self) -> String {
        let page = "return location.href + ' · ' + document.title + ' · ' + \
                    (document.body ? document.body.innerText.slice(0, 300) : '')";
        self.ask(page).await.as_str().unwrap_or("no page").to_owned()
    }

    /// Keeps a picture of the page: `tests/artefacts/NAME.png`.
    pub async fn screenshot(&self, name: &str) -> PathBuf {
        let picture = self.page.screenshot().await.unwrap_or_else(|error| panic!("no picture of the page: {error}"));
        let path = places::artefact(&format!("{name}.png"));
        fs::write(&path, picture).expect("the picture can be written");
        path
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let driver = self.child.id().cast_signed();
        let all = processes::descendants(driver);
        processes::kill_all([driver]);
        processes::kill_all(all);
        let _ = self.child.wait();
        // Chromium's zygotes may outlive their parents for a moment and still write.
        processes::kill_all(processes::marked(&[&self.profile]));
        let _ = fs::remove_dir_all(&self.profile);
    }
}
