//! What an agent's end means, on a clock of the tests' own.

use super::*;
use crate::sys::limits::Start;
use crate::sys::spawn::Reports;

const NOW: Monotonic = Monotonic(5000);

fn agent() -> AgentProcess {
    let ground = Ground { start: Start::read(), reports: Reports::new().unwrap() };
    let command = AgentCommand { binary: "/bin/true".into(), args: Vec::new() };
    let mut agent = AgentProcess::new(&command, &ground).unwrap();
    run(&mut agent, Met::Introduced);
    agent
}

/// As if it ran since second 4; nobody has this pid.
fn run(agent: &mut AgentProcess, met: Met) {
    agent.state = State::Running(Running {
        pid: i32::MAX,
        since: Monotonic(4000),
        socket: None,
        met,
        minor: link::MINOR,
        replaced: Replaced::No,
        failure: None,
    });
}

fn end(agent: &mut AgentProcess, exit: Exit) -> Option<u8> {
    match agent.ended(&exit, NOW, 0) {
        Fate::Leave(code) => Some(code),
        Fate::StartAgain => None,
    }
}

#[test]
fn an_exit_code_of_the_space_ends_it_and_everything_else_is_a_crash() {
    for code in CODES {
        assert_eq!(end(&mut agent(), Exit::Code(code)).map(i32::from), Some(code));
    }
    for exit in [Exit::Signal(9), Exit::Code(101), Exit::Code(127), Exit::Code(HANDED_OVER)] {
        let mut agent = agent();
        assert_eq!(end(&mut agent, exit), None);
        run(&mut agent, Met::Introduced);
        end(&mut agent, Exit::Signal(11));
        assert_eq!(agent.due(), Some(NOW.plus(Duration::from_secs(1))), "the first end was not counted");
    }
}

#[test]
fn after_too_many_crashes_one_last_agent_cleans_up_and_whatever_it_says_the_code_is_5() {
    let mut agent = agent();
    for _ in 0..6 {
        assert!(!agent.gave_up());
        run(&mut agent, Met::Introduced);
        assert_eq!(end(&mut agent, Exit::Signal(9)), None);
    }
    assert_eq!((agent.gave_up(), agent.due()), (true, Some(NOW)));
    agent.gave_up = GaveUp::CleanerRuns;
    run(&mut agent, Met::Introduced);
    assert_eq!(end(&mut agent, Exit::Code(0)), Some(CRASHED_TOO_OFTEN));
}

#[test]
fn a_replaced_agent_is_no_crash_however_it_ends_and_twice_is_once() {
    for exit in [Exit::Code(HANDED_OVER), Exit::Signal(9), Exit::Code(101)] {
        let mut agent = agent();
        agent.restarts.set_policy(0, Duration::from_secs(600));
        agent.replace(NOW);
        agent.replace(NOW.plus(Duration::from_secs(1)));
        assert_eq!(agent.due(), Some(NOW.plus(HAND_OVER)));
        assert_eq!(end(&mut agent, exit), None);
        assert_eq!((agent.gave_up(), agent.due(), agent.trial), (false, Some(NOW), Some(0)));
    }
}

#[test]
fn a_replaced_agent_that_ended_the_space_has_ended_it() {
    let mut agent = agent();
    agent.replace(NOW);
    assert_eq!(end(&mut agent, Exit::Code(0)), Some(0));
}

#[test]
fn a_new_binary_that_does_not_greet_is_left_at_once_and_one_that_crashes_in_a_loop_after_three_times() {
    let mut agent = agent();
    agent.restarts.set_policy(3, Duration::from_secs(600));
    agent.trial = Some(0);
    run(&mut agent, Met::Silent);
    assert_eq!(end(&mut agent, Exit::Code(2)), None, "an unknown argument is not the end of the space");
    assert_eq!((agent.program, agent.due(), agent.trial), (Program::Own, Some(NOW), None));

    agent.replace(NOW);
    assert_eq!((agent.program, agent.trial), (Program::Configured, Some(0)));
    for program in [Program::Configured, Program::Configured, Program::Own] {
        run(&mut agent, Met::Introduced);
        end(&mut agent, Exit::Code(101));
        assert_eq!(agent.program, program);
    }
    assert!(!agent.gave_up());
}
