//! In real containers, of the image that `image/build jupyterlab` makes: PID 1, little room, few rights.

use crate::documents::LAB;
use space_tests::command;
use space_tests::containers::{Container, HOME, cannot_run};
use space_tests::jupyter::Jupyter;
use space_tests::places::{figure, project};
use space_tests::space::SOON;
use space_tests::status::Status;
use space_tests::wait::wait_for;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The default stop deadline, which a container's grace must exceed.
const DEADLINE: Duration = Duration::from_secs(25);
const GRACE: Duration = Duration::from_secs(30);
/// What a root file system that nobody can write to needs beside it.
const READ_ONLY: [&str; 3] = ["--read-only", "--read-only-tmpfs=false", "--tmpfs=/tmp"];

/// A cell runs through the front door, in the home that is mounted, as this uid; returns with the kernel running.
async fn a_cell_runs_as(container: &Container, uid: u32) -> Jupyter {
    let mut jupyter = Jupyter::new(container.signed_in().await, LAB).await;
    let mut kernel = jupyter.session("cell.ipynb").await;
    let code =
        "import os; open('written', 'w').write('by a cell'); print(os.getuid(), os.getcwd(), os.environ['HOME'])";
    let printed = kernel.execute(code, Duration::from_secs(30)).await;
    assert_eq!(printed, format!("{uid} {HOME} {HOME}\n"));
    assert_eq!(std::fs::read_to_string(container.home.join("written")).unwrap(), "by a cell");
    jupyter
}

/// The platform's stop ends in time and in order: with 0, and JupyterLab had the time to put its own things away.
async fn it_stops_in_order(container: &Container) -> Duration {
    let runtime = container.home.join(".local/share/jupyter/runtime");
    assert_ne!(connection_files(&runtime), Vec::<String>::new(), "a kernel that runs has a connection file");
    let (code, took) = container.stop(GRACE).await;
    assert_eq!(code, 0, "{}", container.logs());
    assert!(took < DEADLINE, "the stop took {took:?}");
    assert_eq!(connection_files(&runtime), Vec::<String>::new(), "JupyterLab was not let end in order");
    took
}

fn connection_files(runtime: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(runtime).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".json"))
        .collect()
}

#[tokio::test]
async fn the_first_process_of_a_container_runs_a_cell_and_stops_when_the_platform_asks() {
    if cannot_run().is_some() {
        return;
    }
    let begin = tokio::time::Instant::now();
    let container = Container::start(&["--user=1000:100"]).await;
    let status = container.ready().await;
    let boot = begin.elapsed();
    assert_eq!(status.init_pid(), 1, "{:#}", status.0);
    // A process that loses its parent becomes init's, and is reaped.
    let code = "pid=$(sleep 60 >/dev/null & echo $!); ps -o ppid= -p $pid; kill $pid";
    let orphan = container.exec(&["sh", "-c", code]).await;
    assert_eq!(orphan.stdout.trim(), "1", "{}", orphan.stderr);
    let zombies = wait_for(SOON, "no zombie in the container", async || {
        let list = container.exec(&["ps", "-eo", "stat=,args="]).await.stdout;
        let zombie = list.lines().find(|line| line.starts_with('Z')).map(str::to_owned);
        zombie.map_or(Ok(()), Err)
    });
    zombies.await.unwrap();
    a_cell_runs_as(&container, 1000).await;
    let stop = it_stops_in_order(&container).await;
    assert_eq!(container.leftovers().await, Vec::<String>::new());
    figure(&format!(
        "a container: ready {:.1} s after podman run, stopped in {:.1} s",
        boot.as_secs_f32(),
        stop.as_secs_f32()
    ));
}

#[tokio::test]
async fn a_read_only_container_without_capabilities_is_enough_for_a_directory_home() {
    if cannot_run().is_some() {
        return;
    }
    let mut arguments = READ_ONLY.to_vec();
    arguments.extend(["--cap-drop=all", "--security-opt=no-new-privileges"]);
    let container = Container::start(&arguments).await;
    container.ready().await;
    let written = container.exec(&["touch", "/usr/local/bin/anything", "/etc/anything", "/run/anything"]).await;
    assert_eq!(written.stderr.matches("Read-only file system").count(), 3, "{}", written.stderr);
    let rights = container.exec(&["grep", "-E", "^Cap(Prm|Eff|Bnd):", "/proc/1/status"]).await.stdout;
    assert_eq!(rights.matches("0000000000000000").count(), 3, "{rights}");
    a_cell_runs_as(&container, 1000).await;
    it_stops_in_order(&container).await;
}

/// As platforms do that give each project uids of its own: nobody has told the image about this one.
#[tokio::test]
async fn a_container_runs_with_any_uid_whose_group_is_0() {
    if cannot_run().is_some() {
        return;
    }
    let mut arguments = READ_ONLY.to_vec();
    arguments.extend(["--user=12345:0", "--passwd=false", "--cap-drop=all"]);
    let container = Container::start(&arguments).await;
    container.ready().await;
    assert_eq!(container.exec(&["getent", "passwd", "12345"]).await.stdout, "");
    a_cell_runs_as(&container, 12345).await;
    it_stops_in_order(&container).await;
}

/// A root agent keeps JupyterLab apart from itself: that takes a few capabilities, and no more than these.
#[tokio::test]
async fn a_root_agent_with_five_capabilities_runs_jupyterlab_as_the_home_s_owner() {
    if cannot_run().is_some() {
        return;
    }
    let mut arguments = READ_ONLY.to_vec();
    arguments.extend(["--tmpfs=/run", "--tmpfs=/var/log", "--user=0:0", "--cap-drop=all"]);
    arguments.push("--cap-add=CHOWN,DAC_OVERRIDE,KILL,SETGID,SETUID");
    let container = Container::start(&arguments).await;
    container.ready().await;
    let mut jupyter = a_cell_runs_as(&container, 1000).await;
    let mut kernel = jupyter.session("bold.ipynb").await;
    let code = "import os\ntry: os.kill(1, 15)\nexcept PermissionError: print('not permitted')";
    assert_eq!(kernel.execute(code, Duration::from_secs(30)).await, "not permitted\n");
    it_stops_in_order(&container).await;
}

/// In 256 MB a kernel eats all there is: it alone dies, and whoever asks is told which notebook it was.
async fn a_kernel_that_eats_the_memory_dies_alone_and_is_named(notebook: &str) {
    let container = Container::start(&["--memory=256m", "--memory-swap=256m"]).await;
    let before = container.ready().await;
    let mut jupyter = Jupyter::new(container.signed_in().await, LAB).await;
    let mut kernel = jupyter.session(notebook).await;
    let pid = kernel.execute("import os; print(os.getpid())", Duration::from_secs(30)).await;
    // As data is loaded: a kernel that takes all at its first breath is gone before anybody has seen it.
    let code = "import time\nheld = []\nwhile True: held.append(b'x' * 10**7); time.sleep(0.2)";
    kernel.begin(code).await;
    let inside = format!("/proc/{}", pid.trim());
    let died = wait_for(Duration::from_secs(30), "the kernel to die", async || {
        // `test` says 1; whatever else came back says nothing about the kernel.
        let code = container.exec(&["test", "-e", &inside]).await.code();
        if code == 1 { Ok(()) } else { Err(format!("the answer is {code}")) }
    });
    died.await.unwrap();
    let after = container.ready().await;
    assert_eq!(after.app_pid(), before.app_pid(), "JupyterLab lives");
    assert_eq!(after.agent_pid(), before.agent_pid(), "the agent lives");
    // The same notebook goes on with another kernel.
    drop(kernel);
    let ids = jupyter.kernels().await;
    let [id] = ids.as_slice() else { panic!("one kernel was expected: {ids:?}") };
    let mut kernel = jupyter.connect(id).await;
    kernel.heard(Duration::from_secs(30)).await;
    let another = kernel.execute("import os; print(os.getpid())", Duration::from_secs(30)).await;
    assert_ne!(another, pid);
    let named = wait_for(SOON, "the status to name the notebook", async || {
        names_the_notebook_that_ran_out_of_memory(&container.status().await?, notebook)
    });
    named.await.unwrap();
    it_stops_in_order(&container).await;
}

fn names_the_notebook_that_ran_out_of_memory(status: &Status, notebook: &str) -> Result<(), String> {
    let events = status.0["events"].as_array().cloned().unwrap_or_default();
    let texts: Vec<&str> = events.iter().filter_map(|event| event["text"].as_str()).collect();
    let named = texts.iter().any(|text| text.contains(notebook) && text.contains("was ended by the system"));
    if named { Ok(()) } else { Err(format!("{texts:?}")) }
}

#[tokio::test]
async fn a_kernel_that_eats_the_memory_is_named() {
    if cannot_run().is_some() {
        return;
    }
    a_kernel_that_eats_the_memory_dies_alone_and_is_named("hungry.ipynb").await;
}

#[tokio::test]
async fn scripts_that_were_written_for_supervisord_restart_jupyterlab() {
    if cannot_run().is_some() {
        return;
    }
    let container = Container::start(&[]).await;
    let mut server = container.ready().await.app_pid();
    let calls: [&[&str]; 3] = [
        &["supervisorctl", "restart", "jupyterlabserver"],
        &["supervisorctl", "-c", "/etc/supervisor/conf.d/supervisord.conf", "restart", "all"],
        &["restart-jupyter-server"],
    ];
    for call in calls {
        let done = container.exec(call).await;
        assert_eq!(done.code(), 0, "{call:?}: {}{}", done.stdout, done.stderr);
        let another = wait_for(Duration::from_secs(60), "another JupyterLab", async || {
            let status = container.status().await?;
            status.ready()?;
            if status.app_pid() == server { Err("the same one".to_owned()) } else { Ok(status.app_pid()) }
        });
        server = another.await.unwrap();
    }
    let status = container.exec(&["supervisorctl", "status"]).await;
    assert!(status.code() == 0 && status.stdout.contains("JupyterLab"), "{}{}", status.stdout, status.stderr);
    a_cell_runs_as(&container, 1000).await;
    it_stops_in_order(&container).await;
}

#[tokio::test]
async fn what_supervisorctl_cannot_do_here_is_said() {
    for (arguments, names) in
        [(&["reread"][..], "reread"), (&["-c", "any.conf", "restart", "cron"], "cron"), (&[], "interactive")]
    {
        let mut call = Command::new(project().join("image/shims/supervisorctl"));
        call.args(arguments);
        let done = command::run(call, SOON).await;
        assert_eq!(done.code(), 2, "{arguments:?}");
        assert!(done.stderr.contains(names) && done.stderr.contains("space-agent"), "{}", done.stderr);
    }
}
