//! A process, held by a descriptor: its number can't come to mean another one meanwhile.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::time::{Duration, Instant};

/// A process that is, or was, running.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    descriptor: OwnedFd,
}

impl Process {
    /// The process of a number; nothing if there is none.
    ///
    /// # Errors
    /// When it is no process that could be stopped.
    pub(crate) fn open(pid: i32) -> Result<Option<Self>, String> {
        // It takes no negative number, not even to refuse it.
        let Some(pid) = Some(pid).filter(|pid| *pid > 0).and_then(Pid::from_raw) else {
            return Err(format!("{pid} is no number of a process"));
        };
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(descriptor) => Ok(Some(Self { pid, descriptor })),
            Err(Errno::SRCH) => Ok(None),
            Err(Errno::INVAL | Errno::NOENT) => {
                Err(format!("{} is a thread, not a process", pid.as_raw_nonzero()))
            }
            Err(error) => Err(format!("process {} can't be watched: {error}", pid.as_raw_nonzero())),
        }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Whether it has ended, be it that its parent does not know yet (a zombie).
    ///
    /// # Errors
    /// As the system says.
    pub(crate) fn has_ended(&self) -> Result<bool, String> {
        self.wait(Duration::ZERO)
    }

    /// Waits until it has ended, for so long at most; says whether it has.
    ///
    /// # Errors
    /// As the system says.
    pub(crate) fn wait(&self, time: Duration) -> Result<bool, String> {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let left = Timespec {
                tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            match poll(&mut [PollFd::new(&self.descriptor, PollFlags::IN)], Some(&left)) {
                Ok(count) => return Ok(count > 0),
                Err(Errno::INTR) => {}
                Err(error) => return Err(format!("process {} can't be waited for: {error}", self.pid())),
            }
        }
    }

    /// Sends it a signal. `false`: it is gone.
    ///
    /// # Errors
    /// When that is not allowed.
    pub(crate) fn signal(&self, signal: Signal) -> Result<bool, String> {
        match pidfd_send_signal(&self.descriptor, signal) {
            Ok(()) => Ok(true),
            Err(Errno::SRCH) => Ok(false),
            Err(Errno::PERM) => Err(format!("process {} may not be stopped by this user", self.pid())),
            Err(error) => Err(format!("process {} can't be given a signal: {error}", self.pid())),
        }
    }
}
