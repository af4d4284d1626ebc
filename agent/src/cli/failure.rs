//! Why a command did not do what was asked: a message for people and an exit code for programs.

use std::io::Write;

/// Exit codes, as DESIGN's command line table has them.
const FAILED: u8 = 1;
const WRONG_CALL: u8 = 2;
const NO_AGENT: u8 = 69;
const NOT_PERMITTED: u8 = 77;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) code: u8,
    /// What happened, to which object, what to do. Empty: nothing to say.
    pub(super) message: String,
    /// The agent's answer, if it was one: its HTTP status.
    pub(super) answered: Option<u16>,
    /// The agent says no because kernels are busy: with force it would not.
    pub(super) busy: bool,
}

impl Failure {
    fn new(code: u8, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into(), answered: None, busy: false }
    }

    pub(super) fn failed(message: impl Into<String>) -> Failure {
        Failure::new(FAILED, message)
    }

    pub(super) fn wrong_call(message: impl Into<String>) -> Failure {
        Failure::new(WRONG_CALL, message)
    }

    pub(super) fn no_agent(message: impl Into<String>) -> Failure {
        Failure::new(NO_AGENT, message)
    }

    pub(super) fn not_permitted(message: impl Into<String>) -> Failure {
        Failure::new(NOT_PERMITTED, message)
    }

    /// The agent said no.
    pub(super) fn answered(status: u16, message: impl Into<String>) -> Failure {
        let code = if status == 403 { NOT_PERMITTED } else { FAILED };
        Failure { answered: Some(status), ..Failure::new(code, message) }
    }

    /// Whoever reads our output has gone (`| head`): nothing is wrong.
    pub(super) fn not_read() -> Failure {
        Failure::new(0, "")
    }

    /// Says it on standard error and returns the exit code.
    pub(super) fn report(&self) -> u8 {
        if !self.message.is_empty() {
            // Nobody is left to tell if standard error is closed.
            let _ = writeln!(std::io::stderr(), "space-agent: {}", self.message);
        }
        self.code
    }
}
