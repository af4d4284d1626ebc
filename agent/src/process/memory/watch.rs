//! The watching thread: sleeps until something happens, then looks.

use super::held::Held;
use super::inquest::Inquest;
use super::scope::{Scope, Signals};
use super::{Command, Inbox};
use crate::model::memory::{Alarm, MemoryNews, Role, Victim};
use crate::model::now::Monotonic;
use crate::sys::clock;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Between looks while memory is filling up.
const RHYTHM: Duration = Duration::from_secs(1);
/// Between looks at most, whatever happens: under pressure the system's signals come by the hundred.
const BREATH: Duration = Duration::from_millis(250);

pub(super) struct Watch {
    scope: Scope,
    inbox: Inbox,
    news: mpsc::Sender<MemoryNews>,
    held: Held,
    alarm: Alarm,
    inquest: Inquest,
    signals: Signals,
    /// As it was at the last look; the signals are for this one.
    limit: Option<u64>,
    /// Whether the system has said since the last look that memory is short.
    sign: bool,
    looked: Monotonic,
    /// When to look at the latest; `None`: when something happens.
    look_at: Option<Monotonic>,
    /// Until then the signals are not listened to.
    deaf_until: Option<Monotonic>,
}

/// A question that is answered after the next reading of the count.
struct Question {
    child: String,
    pid: i32,
    answer: oneshot::Sender<Option<Victim>>,
}

impl Watch {
    pub(super) fn new(init_pid: i32, scope: Scope, inbox: Inbox, news: mpsc::Sender<MemoryNews>) -> Watch {
        let limit = scope.usage().and_then(|(_, limit)| limit);
        Watch {
            signals: scope.signals(limit),
            scope,
            inbox,
            news,
            held: Held::new(init_pid),
            alarm: Alarm::default(),
            inquest: Inquest::default(),
            limit,
            sign: false,
            looked: Monotonic::default(),
            look_at: Some(Monotonic::default()),
            deaf_until: None,
        }
    }

    /// Until it is told to end.
    pub(super) fn run(mut self) -> io::Result<()> {
        loop {
            let Some(questions) = self.obey() else { return Ok(()) };
            self.inquire(questions);
            let now = clock::monotonic();
            if self.look_at.is_some_and(|at| at <= now) && !self.inquest.is_open() {
                self.look(now);
            }
            self.wait()?;
        }
    }

    /// `None`: it is to end.
    fn obey(&mut self) -> Option<Vec<Question>> {
        // Nothing to read is fine.
        let _ = self.inbox.wake.read();
        let mut questions = Vec::new();
        while let Ok(command) = self.inbox.commands.try_recv() {
            match command {
                Command::Started { child, pid } => {
                    self.held.started(child, pid);
                    self.want_look();
                }
                Command::Look => self.want_look(),
                Command::Killed { child, pid, answer } => questions.push(Question { child, pid, answer }),
                Command::End => return None,
            }
        }
        Some(questions)
    }

    fn want_look(&mut self) {
        let soon = self.looked.plus(BREATH);
        self.look_at = Some(self.look_at.map_or(soon, |at| at.min(soon)));
    }

    /// Counts, tells who was ended, and answers. This comes before any look, which may take longer.
    fn inquire(&mut self, questions: Vec<Question>) {
        // In this order: whoever is seen to have ended for memory is in the count then.
        let ended = self.held.take_ended();
        let count = self.scope.kills();
        if let Some(finding) = self.inquest.look(ended, count, self.limit, clock::monotonic()) {
            self.tell(MemoryNews::Killed { victims: finding.victims, count: finding.count, limit: self.limit });
        }
        for Question { child, pid, answer } in questions {
            let unheld = Victim { pid, started: 0, role: Role::App, bytes: 0, child: Some(child.clone()) };
            // Whoever has asked may have lost patience.
            let _ = answer.send(self.inquest.killed(&child, unheld, self.limit));
        }
    }

    fn look(&mut self, now: Monotonic) {
        self.held.look();
        (self.looked, self.look_at) = (now, None);
        let sign = std::mem::take(&mut self.sign);
        let Some((used, limit)) = self.scope.usage() else { return };
        if limit != self.limit {
            (self.limit, self.signals) = (limit, self.scope.signals(limit));
        }
        if self.alarm.look(used, limit, sign, now) {
            self.tell(MemoryNews::Pressure { used, limit, largest: self.held.largest() });
        }
        if self.alarm.watchful(used, limit, now) {
            self.look_at = Some(now.plus(RHYTHM));
        }
    }

    fn tell(&self, news: MemoryNews) {
        if self.news.try_send(news).is_err() {
            tracing::warn!("nobody takes the news of the space's memory");
        }
    }

    /// Until something happens, or it is time to look.
    fn wait(&mut self) -> io::Result<()> {
        let now = clock::monotonic();
        self.deaf_until = self.deaf_until.filter(|until| *until > now);
        // An inquest comes before any look.
        let look_at = self.look_at.filter(|_| !self.inquest.is_open());
        let due = [look_at, self.deaf_until, self.inquest.due(now)].into_iter().flatten().min();
        let timeout = due.map_or(PollTimeout::NONE, |due| {
            // A millisecond more than too early.
            PollTimeout::try_from(due.since(now) + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        let (group, pressure) = match self.poll(timeout) {
            Err(Errno::EINTR) => return Ok(()),
            woken => woken?,
        };
        if group && self.signals.group.as_ref().is_some_and(|signal| signal.clear().is_err()) {
            self.signals.group = None;
        }
        // Without the file there is no pressure to be told of any more.
        if pressure.contains(PollFlags::POLLERR) {
            self.signals.pressure = None;
        }
        self.sign |= pressure.contains(PollFlags::POLLPRI) && !pressure.contains(PollFlags::POLLERR);
        let now = clock::monotonic();
        if group {
            self.alarm.stir(now);
        }
        if group || self.sign {
            self.deaf_until = Some(now.plus(BREATH));
            self.look_at = Some(now);
        }
        Ok(())
    }

    /// Whether the group has woken it, and what the pressure file has.
    fn poll(&self, timeout: PollTimeout) -> Result<(bool, PollFlags), Errno> {
        let mut asked = vec![PollFd::new(self.inbox.wake.as_fd(), PollFlags::POLLIN)];
        let hearing = self.deaf_until.is_none();
        let group = self.signals.group.as_ref().filter(|_| hearing);
        asked.extend(group.map(|signal| PollFd::new(signal.as_fd(), signal.interest())));
        let pressure = self.signals.pressure.as_ref().filter(|_| hearing);
        asked.extend(pressure.map(|file| PollFd::new(file.as_fd(), PollFlags::POLLPRI)));
        asked.extend(self.held.pidfds().map(|pidfd| PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)));
        poll(&mut asked, timeout)?;
        let told = |at: usize| asked.get(at).and_then(PollFd::revents).unwrap_or(PollFlags::empty());
        let group_told = group.is_some() && !told(1).is_empty();
        let pressure_told =
            if pressure.is_some() { told(1 + usize::from(group.is_some())) } else { PollFlags::empty() };
        Ok((group_told, pressure_told))
    }
}
