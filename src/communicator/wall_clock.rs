//! Tells when a date has come, or when somebody has set the clock: without looking at it.

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, SystemTime};

#[derive(Debug)]
pub(crate) struct WallClock {
    timer: TimerFd,
    set_to: Option<u64>,
}

impl WallClock {
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let timer =
            TimerFd::new(ClockId::CLOCK_REALTIME, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        registry.register(&mut SourceFd(&timer.as_fd().as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self { timer, set_to: None })
    }

    /// Wakes the poll at `date` (nanoseconds since 1970), and when the clock is set.
    pub(crate) fn wake_at(&mut self, date: Option<u64>) -> io::Result<()> {
        if self.set_to == date {
            return Ok(());
        }
        let set = match date {
            // A zero would switch the timer off.
            Some(date) => self.timer.set(
                Expiration::OneShot(TimeSpec::from_duration(Duration::from_nanos(date.max(1)))),
                TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET,
            ),
            None => self.timer.unset(),
        };
        match set {
            // The clock was set since the last time: the system says so, and has set the timer all the same.
            Ok(()) | Err(Errno::ECANCELED) => {}
            Err(error) => return Err(error.into()),
        }
        self.set_to = date;
        Ok(())
    }

    /// After the poll has said something: whether it is over or was cancelled by a change of the clock, it must be
    /// set again.
    pub(crate) fn woken(&mut self) {
        let _ = self.timer.wait();
        self.set_to = None;
    }
}

/// Nanoseconds since 1970 by the wall clock; 0 before that.
pub(crate) fn nanos(date: SystemTime) -> u64 {
    let since = date.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
