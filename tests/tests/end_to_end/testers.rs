//! The testers themselves, on a plain JupyterLab without an agent: if these fail, the tests are wrong, not the agent.

use space_tests::browser::Browser;
use space_tests::client::Client;
use space_tests::command::spawn;
use space_tests::jupyter::Jupyter;
use space_tests::space::{BOOT, free_port};
use space_tests::wait::wait_for;
use space_tests::{places, processes};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

struct PlainJupyterLab {
    child: Child,
    folder: PathBuf,
    port: u16,
}

impl PlainJupyterLab {
    async fn start() -> PlainJupyterLab {
        let port = free_port();
        let folder = std::env::temp_dir().join(format!("space-tests-plain-{port}"));
        std::fs::create_dir_all(&folder).unwrap();
        let log = std::fs::File::create(folder.join("jupyter.log")).unwrap();
        let mut command = Command::new(places::environment().join("bin/jupyter-lab"));
        command.args(["--no-browser", "--allow-root", "--IdentityProvider.token=", "--ServerApp.base_url=/plain/"]);
        command.arg(format!("--port={port}")).env("HOME", &folder).current_dir(&folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let plain = PlainJupyterLab { child: spawn(&mut command).unwrap(), folder, port };
        let mut client = Client::new(port);
        let up = wait_for(BOOT, "plain JupyterLab", async || {
            let path = "/plain/api";
            client.try_send(hyper::Method::GET, path, &[], space_tests::client::whole("")).await
        });
        up.await.unwrap();
        plain
    }
}

impl Drop for PlainJupyterLab {
    fn drop(&mut self) {
        let mut all = processes::descendants(self.child.id().cast_signed());
        all.extend(processes::marked(&[&self.folder]));
        processes::kill_all(all);
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[tokio::test]
async fn the_jupyter_client_and_the_browser_work_on_a_plain_jupyterlab() {
    let plain = PlainJupyterLab::start().await;
    let mut jupyter = Jupyter::new(Client::new(plain.port), "/plain/").await;

    let mut kernel = jupyter.session("a.ipynb").await;
    assert_eq!(kernel.execute("print(6 * 7)", Duration::from_secs(30)).await, "42\n");

    jupyter.upload("big.bin", 3, |number| vec![b'a' + u8::try_from(number).unwrap(); 999]).await;
    let mut bytes = Vec::new();
    assert_eq!(jupyter.download("big.bin", |piece| bytes.extend_from_slice(piece)).await, 2997);
    assert_eq!((bytes[0], bytes[998], bytes[999], bytes[2996]), (b'a', b'a', b'b', b'c'));

    let browser = Browser::start("plain").await;
    browser.go(&format!("http://127.0.0.1:{}/plain/lab", plain.port)).await;
    super::notebook::run_a_cell(&browser).await;
}
