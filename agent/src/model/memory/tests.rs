//! Tests of the decisions about memory and of the sentences.

use super::*;

const MB: u64 = 1 << 20;

fn at(s: u64) -> Monotonic {
    Monotonic(s * 1000)
}

fn victim(pid: i32, role: Role, mb: u64) -> Victim {
    Victim { pid, started: 1, role, bytes: mb * MB, child: Some("app/default#1".into()) }
}

fn job(pid: i32, mb: u64) -> Victim {
    victim(pid, Role::Process { name: "python3".into(), kernel: None }, mb)
}

fn pids(ended: &[(Victim, Fate)], count: u64, limit: Option<u64>) -> Vec<i32> {
    victims(ended, count, limit).iter().map(|victim| victim.pid).collect()
}

#[test]
fn it_is_warned_once_above_85_percent_and_again_only_after_falling_below_75() {
    let mut alarm = Alarm::default();
    let looks = [(80, false), (84, false), (85, true), (99, false), (76, false), (90, false), (74, false), (86, true)];
    for (s, (used, warned)) in (0..).zip(looks) {
        assert_eq!(alarm.look(used * MB, Some(100 * MB), false, at(s)), warned, "{used} % at {s} s");
    }
}

#[test]
fn the_systems_own_sign_warns_too_and_holds_for_a_minute() {
    for limit in [None, Some(100 * MB)] {
        let mut alarm = Alarm::default();
        assert!(!alarm.look(10 * MB, limit, false, at(0)));
        assert!(alarm.look(10 * MB, limit, true, at(1)));
        assert!(!alarm.look(10 * MB, limit, true, at(30)));
        assert!(!alarm.look(10 * MB, limit, false, at(89)), "29 s after the last sign");
        assert!(!alarm.look(10 * MB, limit, false, at(91)), "calm again, and no news");
        assert!(alarm.look(10 * MB, limit, true, at(92)));
    }
}

#[test]
fn the_space_is_looked_at_every_second_only_while_it_fills_or_there_was_a_sign() {
    let mut alarm = Alarm::default();
    assert!(!alarm.watchful(59 * MB, Some(100 * MB), at(0)));
    assert!(alarm.watchful(60 * MB, Some(100 * MB), at(0)));
    assert!(!alarm.watchful(60 * MB, None, at(0)));
    alarm.look(0, None, true, at(1));
    assert!(alarm.watchful(0, None, at(10)));
    assert!(!alarm.watchful(0, None, at(11)));
    alarm.stir(at(20));
    assert!(alarm.watchful(0, None, at(29)));
    assert!(!alarm.watchful(0, None, at(30)));
}

#[test]
fn a_tiny_or_huge_limit_divides_nothing_by_zero() {
    let mut alarm = Alarm::default();
    assert!(alarm.look(5, Some(1), false, at(0)));
    assert!(!Alarm::default().look(5, Some(u64::MAX / 2), false, at(0)));
}

#[test]
fn the_victims_are_the_largest_that_ended_by_sigkill() {
    let (small, large) = ((job(1, 10), Fate::Killed), (job(2, 200), Fate::Killed));
    let (other, unknown) = ((job(3, 900), Fate::Otherwise), (job(4, 300), Fate::Unknown));
    let ended = [small.clone(), large.clone(), other.clone(), unknown.clone()];
    assert_eq!(pids(&ended, 1, Some(256 * MB)), [2]);
    assert_eq!(pids(&ended, 2, Some(256 * MB)), [2, 1]);
    assert_eq!(pids(&ended, 9, Some(256 * MB)), [2, 1, 4]);
    assert_eq!(pids(&[other], 1, Some(256 * MB)), [] as [i32; 0]);
    assert_eq!(pids(&ended, 0, Some(256 * MB)), [] as [i32; 0]);
}

#[test]
fn a_process_that_ended_somehow_is_suspected_only_if_it_was_large_or_a_kernel() {
    let ended = |mb| [(job(1, mb), Fate::Unknown)];
    let kernel = victim(2, Role::Kernel { id: "k".into() }, 1);
    assert_eq!(pids(&[(job(1, 25), Fate::Unknown), (kernel, Fate::Unknown)], 2, Some(256 * MB)), [2]);
    assert_eq!(pids(&ended(26), 1, Some(256 * MB)), [1]);
    assert_eq!(pids(&ended(25), 1, Some(256 * MB)), [] as [i32; 0]);
    assert_eq!(pids(&ended(63), 1, None), [] as [i32; 0]);
    assert_eq!(pids(&ended(64), 1, None), [1]);
}

#[test]
fn a_kernel_is_known_by_its_connection_file_wherever_it_stands() {
    const ID: &str = "0f8a5c6e-1234-4bcd-9EF0-00aa11bb22cc";
    for (args, id) in [
        (vec!["python3", "-m", "ipykernel_launcher", "-f", "/run/kernel-ID.json"], Some(ID)),
        (vec!["julia", "--connection=/run/kernel-ID.json"], Some(ID)),
        (vec!["bash", "-c", "source activate && exec python -f '/a b/kernel-ID.json' --x"], Some(ID)),
        (vec!["R", "--args", "/run/kernel-1234.json"], None),
        (vec!["less", "/run/kernel-ID.jso"], None),
        (vec!["less", "/run/kernel-0f8a5c6e_1234_4bcd_9ef0_00aa11bb22cc.json"], None),
        (vec![], None),
    ] {
        let args: Vec<String> = args.iter().map(|arg| arg.replace("ID", ID)).collect();
        assert_eq!(kernel_in(args.iter().map(String::as_bytes)).as_deref(), id, "{args:?}");
    }
}

#[test]
fn a_victim_is_told_as_the_user_knows_it() {
    let limit = Some(256 * MB);
    let kernel = victim(1, Role::Kernel { id: "k".into() }, 212);
    let worker = victim(1, Role::Process { name: "python3".into(), kernel: Some("k".into()) }, 212);
    let stray = Victim { child: None, bytes: 0, ..job(1, 0) };
    let step = Victim { child: Some("step/deps".into()), ..victim(1, Role::App, 1536) };
    for (victim, limit, notebook, sentence) in [
        (
            &kernel,
            limit,
            Some("train.ipynb"),
            "the kernel of train.ipynb was ended by the system: the space reached its memory limit of 256 MB (it used 212 MB when last looked at)",
        ),
        (
            &kernel,
            None,
            None,
            "a kernel was ended by the system: the machine ran out of memory (it used 212 MB when last looked at)",
        ),
        (
            &worker,
            limit,
            Some("train.ipynb"),
            "python3, started by the kernel of train.ipynb, was ended by the system: the space reached its memory limit of 256 MB (it used 212 MB when last looked at)",
        ),
        (
            &job(1, 2048),
            Some(5 << 30),
            None,
            "python3, a process of app default, was ended by the system: the space reached its memory limit of 5 GB (it used 2 GB when last looked at)",
        ),
        (
            &stray,
            limit,
            None,
            "the process python3 was ended by the system: the space reached its memory limit of 256 MB",
        ),
        (
            &step,
            limit,
            None,
            "step deps was ended by the system: the space reached its memory limit of 256 MB (it used 1.5 GB when last looked at)",
        ),
    ] {
        assert_eq!(killed_sentence(victim, limit, notebook), sentence);
    }
    assert_eq!(
        unknown_sentence(1, limit),
        "a process that the agent did not know was ended by the system: the space reached its memory limit of 256 MB"
    );
}

#[test]
fn a_warning_names_the_largest() {
    let kernel = victim(1, Role::Kernel { id: "k".into() }, 212);
    assert_eq!(
        pressure_sentence(220 * MB, Some(256 * MB), Some(&kernel), Some("train.ipynb")),
        "the space uses 220 MB of its 256 MB of memory; the kernel of train.ipynb uses 212 MB"
    );
    assert_eq!(pressure_sentence(220 * MB, None, None, None), "the machine's memory is short");
}

#[test]
fn what_is_told_survives_being_stored() {
    let victims = vec![victim(1, Role::Kernel { id: "k".into() }, 1), victim(2, Role::App, 1), job(3, 1)];
    let news = MemoryNews::Killed { victims, count: 3, limit: None };
    let text = serde_json::to_string(&news).unwrap();
    assert_eq!(serde_json::from_str::<MemoryNews>(&text).unwrap(), news);
}
