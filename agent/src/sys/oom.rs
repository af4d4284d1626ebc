//! Whom the system ends first when memory runs out: `oom_score_adj`, from -1000 (never) to 1000 (first).
//!
//! Children inherit it. Everyone may raise it for processes of one's own uid; lowering it below what one was given takes
//! CAP_SYS_RESOURCE, which containers rarely have.

use super::tree::{self, Process};
use std::fs::OpenOptions;
use std::io::{self, Read, Seek, Write};

/// Makes the process a likelier victim; one that is likelier already stays as it is. True if it is `to` or above now.
pub fn raise(process: Process, to: i32) -> bool {
    let raise = || -> io::Result<bool> {
        let path = format!("/proc/{}/oom_score_adj", process.pid);
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        // The open file is of one process for good: of the right one, if the pid still is that one's.
        if tree::started(process.pid) != Some(process.started) {
            return Ok(false);
        }
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        if text.trim().parse::<i32>().is_ok_and(|now| now < to) {
            file.rewind()?;
            file.write_all(to.to_string().as_bytes())?;
        }
        Ok(true)
    };
    raise().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::helper;

    fn adjusted(process: Process) -> i32 {
        std::fs::read_to_string(format!("/proc/{}/oom_score_adj", process.pid)).unwrap().trim().parse().unwrap()
    }

    #[test]
    fn a_process_is_made_a_likelier_victim_and_never_a_less_likely_one_and_never_another() {
        let mut child = helper::spawn(helper::command("/bin/sleep").arg("60")).unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let process = Process { pid, started: tree::started(pid).unwrap() };
        let before = adjusted(process);
        assert!(!raise(Process { started: process.started + 1, ..process }, 900));
        assert_eq!(adjusted(process), before);
        assert!(raise(process, 700));
        assert_eq!(adjusted(process), 700);
        assert!(raise(process, 300));
        assert_eq!(adjusted(process), 700);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
