//! What needs another Linux than this machine's: memory as a controller of cgroup v2, and all of root's capabilities.

use space_tests::{places, vm};
use std::time::Duration;

#[tokio::test]
async fn the_vm_gives_back_an_exit_code_and_files() {
    if vm::cannot_run().is_some() {
        return;
    }
    let job = vm::job("selftest", &[], Duration::from_secs(120)).await;
    assert_eq!(job.done.code(), 7, "{}", job.told());
    let kernel = job.left("kernel");
    assert!(job.told().contains(kernel.trim()) && !kernel.is_empty(), "{kernel:?} is not in {}", job.told());
    places::figure(&format!("vm: boot, one command and the end take {:.1} s", job.done.took.as_secs_f32()));
}

/// The checks themselves are a list in `tests/vm/memory/check.py`: they are made where the processes are.
#[tokio::test]
async fn with_cgroup_v2_who_eats_the_memory_dies_alone_and_is_named() {
    if vm::cannot_run().is_some() {
        return;
    }
    let job = vm::job("memory", &[&places::agent()], Duration::from_secs(900)).await;
    assert_eq!(job.done.code(), 0, "{}\nthe agent said:\n{}", job.told(), job.left("log"));
    job.left("figures").lines().for_each(places::figure);
}
