//! Tests of the watch against real memory groups, real processes and the system's own choice of victims.
//!
//! They need the right to make a memory group. One at a time: each watches with the only thread of its name.

mod cage;

use super::*;
use crate::model::memory::Role;
use crate::sys::tree;
use cage::Cage;
use std::path::Path;

const KERNEL: &str = "0f8a5c6e-1234-4bcd-9ef0-00aa11bb22cc";
const BYSTANDER: &str = "ffffffff-1234-4bcd-9ef0-00aa11bb22cc";
const LIMIT: u64 = 96 << 20;

static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A space in a cage, and its watch.
struct Ground {
    cage: Cage,
    watch: MemoryWatch,
    news: mpsc::Receiver<MemoryNews>,
}

impl Ground {
    /// `server` is the shell script of the only app's server; `memory N PATH` in it is a process that takes N MB more once
    /// the watch has made it a victim, with PATH among its arguments.
    async fn new(server: &str) -> Option<Ground> {
        let cage = Cage::new(LIMIT, server)?;
        let (sender, news) = mpsc::channel(8);
        let watch = MemoryWatch::start(cage.init, Scope::Group(cage.group()), sender).unwrap();
        let ground = Ground { cage, watch, news };
        let server = ground.server().await;
        ground.watch.line().started("app/default#1", server);
        // Once it answers, it has counted what was before.
        assert_eq!(ground.watch.line().killed("none", 0).await, None);
        ground.cage.go();
        Some(ground)
    }

    async fn server(&self) -> i32 {
        self.cage.pid("server").await
    }

    /// The next news, while the room asks for looks as it does when something has started.
    async fn news(&mut self) -> MemoryNews {
        let looks = async {
            loop {
                self.watch.line().look();
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let news = tokio::time::timeout(Duration::from_secs(30), self.news.recv());
        tokio::select! {
            news = news => news.expect("no news in 30 s").expect("the watch has ended"),
            () = looks => unreachable!(),
        }
    }

    async fn killed(&mut self) -> (Vec<Victim>, u64) {
        loop {
            if let MemoryNews::Killed { victims, count, limit } = self.news().await {
                assert_eq!(limit, Some(LIMIT));
                return (victims, count);
            }
        }
    }

    async fn end(self) {
        self.watch.end(Duration::from_secs(5)).await;
    }
}

fn repetitions() -> u32 {
    if std::env::var_os("SPACE_TESTS_FULL").is_some() { 50 } else { 5 }
}

fn adjusted(pid: i32) -> i32 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

#[tokio::test]
async fn the_kernel_that_eats_the_memory_is_named_and_all_others_live() {
    let _alone = ALONE.lock().await;
    for _ in 0..repetitions() {
        let script = format!(
            "memory 20 /x/kernel-{BYSTANDER}.json & echo $! > bystander.pid; memory 900 kernel-{KERNEL}.json & wait"
        );
        let Some(mut ground) = Ground::new(&script).await else { return };
        let (victims, count) = ground.killed().await;
        assert_eq!((victims.len(), count), (1, 1), "{victims:?}");
        assert_eq!(victims[0].role, Role::Kernel { id: KERNEL.into() });
        assert_eq!(victims[0].child.as_deref(), Some("app/default#1"));
        assert!(victims[0].bytes > 1 << 20, "{victims:?}");
        let (bystander, server) = (ground.cage.pid("bystander").await, ground.server().await);
        assert!(tree::started(bystander).is_some() && tree::started(server).is_some());
        assert_eq!((adjusted(bystander), adjusted(server)), (700, 300));
        ground.end().await;
    }
}

#[tokio::test]
async fn a_job_of_a_kernel_is_named_with_its_kernel_and_one_of_a_terminal_with_its_app() {
    let _alone = ALONE.lock().await;
    let kernel = format!("bash -c 'memory 900 job & wait' /x/kernel-{KERNEL}.json & wait");
    for (script, of) in [(kernel.as_str(), Some(KERNEL)), ("memory 900 job & wait", None)] {
        let Some(mut ground) = Ground::new(script).await else { return };
        let (victims, _) = ground.killed().await;
        let [Victim { role: Role::Process { name, kernel }, child, .. }] = &victims[..] else { panic!("{victims:?}") };
        assert!(name.starts_with("python3"), "{name}");
        assert_eq!((kernel.as_deref(), child.as_deref()), (of, Some("app/default#1")));
        ground.end().await;
    }
}

#[tokio::test]
async fn an_app_that_was_ended_for_memory_is_told_from_one_that_was_killed() {
    let _alone = ALONE.lock().await;
    for (script, for_memory) in [("memory 900 go", true), ("kill -9 $$", false)] {
        for _ in 0..repetitions() {
            let Some(mut ground) = Ground::new(script).await else { return };
            let server = ground.server().await;
            ground.cage.ended(server).await;
            let verdict = ground.watch.line().killed("app/default#1", server).await;
            assert_eq!(verdict.as_ref().map(|victim| victim.pid), for_memory.then_some(server), "{script}");
            if for_memory {
                let (victims, count) = ground.killed().await;
                assert_eq!((victims.iter().map(|victim| victim.pid).collect(), count), (vec![server], 1));
                assert!(ground.watch.line().killed("app/default#1", server).await.is_some(), "it is remembered");
            }
            ground.end().await;
        }
    }
}

#[tokio::test]
async fn a_warning_comes_before_and_names_the_largest() {
    let _alone = ALONE.lock().await;
    let script = format!("memory 75 /x/kernel-{KERNEL}.json & memory 2 other & wait");
    let Some(mut ground) = Ground::new(&script).await else { return };
    let MemoryNews::Pressure { used, limit, largest } = ground.news().await else { panic!("somebody was ended") };
    assert_eq!(limit, Some(LIMIT));
    assert!(used >= LIMIT / 100 * 85, "{used}");
    assert_eq!(largest.unwrap().role, Role::Kernel { id: KERNEL.into() });
    ground.end().await;
}

#[tokio::test]
async fn a_space_that_waits_for_memory_is_warned_long_before_its_limit() {
    let _alone = ALONE.lock().await;
    let script = format!("memory 45 /x/kernel-{KERNEL}.json & wait");
    let Some(mut ground) = Ground::new(&script).await else { return };
    if !ground.cage.slow_down_at(LIMIT / 3) {
        return println!("skipped: only version 2 can slow a group down, and tells its pressure");
    }
    let MemoryNews::Pressure { used, largest, .. } = ground.news().await else { panic!("somebody was ended") };
    assert!(used < LIMIT / 100 * 85, "{used}");
    assert_eq!(largest.unwrap().role, Role::Kernel { id: KERNEL.into() });
    ground.end().await;
}

#[tokio::test]
async fn an_end_that_nobody_can_explain_is_told_without_a_name() {
    let _alone = ALONE.lock().await;
    let Some(mut ground) = Ground::new("sleep 1000").await else { return };
    // In the group, and not in the tree.
    let stranger = ground.cage.stranger("exec /usr/bin/python3 eat.py 900 go");
    ground.cage.ended(stranger).await;
    assert_eq!(ground.killed().await, (vec![], 1));
    ground.end().await;
}

#[tokio::test]
async fn a_space_without_pressure_wakes_nobody() {
    let _alone = ALONE.lock().await;
    let Some(ground) = Ground::new("memory 5 kernel-x & echo $! > kernel.pid; wait").await else { return };
    let kernel = ground.cage.pid("kernel").await;
    ground
        .cage
        .until("the kernel is held", || {
            ground.watch.line().look();
            adjusted(kernel) == 700
        })
        .await;
    // The kernel takes its memory, and what was asked for is done.
    ground.cage.until("the thread is calm", || ground.cage.full("kernel")).await;
    let mut before = wakes();
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        if wakes() == before {
            break;
        }
        before = wakes();
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(wakes(), before, "it woke up in 3 s without a reason");
    ground.end().await;
    assert_eq!(wakes(), 0, "the thread has ended");
}

/// How often the watching thread has been given a processor; 0 without one.
fn wakes() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let is_watch = |folder: &Path| std::fs::read_to_string(folder.join("comm")).is_ok_and(|name| name == "memory\n");
    let Some(task) = tasks.flatten().map(|task| task.path()).find(|task| is_watch(task)) else { return 0 };
    let status = std::fs::read_to_string(task.join("status")).unwrap_or_default();
    status
        .lines()
        .filter(|line| line.contains("ctxt_switches"))
        .filter_map(|line| line.rsplit('\t').next()?.parse::<u64>().ok())
        .sum()
}
