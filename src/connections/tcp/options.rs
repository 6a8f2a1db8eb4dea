//! What can be set of a TCP socket.

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::time::Duration;

/// What the kernel is to do with a TCP stream.
///
/// ```
/// use eventdispatcher::{KeepAlive, TcpOptions};
/// use std::time::Duration;
///
/// let options = TcpOptions {
///     keep_alive: Some(KeepAlive { idle: Duration::from_secs(60), ..KeepAlive::default() }),
///     user_timeout: Some(Duration::from_secs(90)),
///     ..TcpOptions::default()
/// };
/// # let stream = std::net::TcpListener::bind("127.0.0.1:0")?;
/// options.apply(&stream)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpOptions {
    /// Small pieces leave at once instead of waiting for more (`TCP_NODELAY`). What is queued in one turn of the loop leaves
    /// together all the same. Default: `true`.
    pub no_delay: bool,
    /// Whether, and how, to find out that a silent other side is gone (`SO_KEEPALIVE`). Default: `None`.
    pub keep_alive: Option<KeepAlive>,
    /// So long the other side may leave what was sent unacknowledged before the connection fails (`TCP_USER_TIMEOUT`),
    /// in steps of a millisecond; at least one, at most 24 days. `None` leaves it to the system: a quarter of an hour or
    /// so. Default: `None`.
    pub user_timeout: Option<Duration>,
    /// Closing the socket throws away what the kernel still holds, and the other side sees a reset
    /// (`SO_LINGER` with no time): after [`remove`](crate::Communicator::remove), or when lingering is over. There is no
    /// setting for a time: the system would keep the whole program waiting for it, and
    /// [`Timeouts::linger`](crate::Timeouts::linger) does the same in the background. Default: `false`.
    pub reset_on_close: bool,
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self { no_delay: true, keep_alive: None, user_timeout: None, reset_on_close: false }
    }
}

/// How the kernel asks a silent other side whether it is still there. Times in whole seconds, 1 … 32767; parts of a
/// second count as a whole one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeepAlive {
    /// After so long without a word it asks for the first time. Default: 2 minutes.
    pub idle: Duration,
    /// And then so often. Default: 15 seconds.
    pub interval: Duration,
    /// After so many questions without an answer the connection fails, 1 … 127. Default: 8.
    pub probes: u32,
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self { idle: Duration::from_secs(120), interval: Duration::from_secs(15), probes: 8 }
    }
}

impl TcpOptions {
    /// Sets them for a socket: a stream, or a listener, whose clients inherit them.
    ///
    /// # Errors
    /// `InvalidInput` for what is out of its range; else as the system says.
    pub fn apply(&self, socket: &impl AsFd) -> io::Result<()> {
        setsockopt(socket, sockopt::TcpNoDelay, &self.no_delay)?;
        setsockopt(socket, sockopt::KeepAlive, &self.keep_alive.is_some())?;
        if let Some(KeepAlive { idle, interval, probes }) = &self.keep_alive {
            let probes = u8::try_from(*probes).ok().filter(|probes| (1..=127).contains(probes));
            let probes = probes.ok_or_else(|| out_of_range("keep_alive.probes"))?;
            setsockopt(socket, sockopt::TcpKeepIdle, &seconds(*idle, "keep_alive.idle")?)?;
            setsockopt(socket, sockopt::TcpKeepInterval, &seconds(*interval, "keep_alive.interval")?)?;
            setsockopt(socket, sockopt::TcpKeepCount, &u32::from(probes))?;
        }
        let timeout = self.user_timeout.map_or(Some(0), |timeout| {
            i32::try_from(timeout.as_millis()).ok().filter(|&timeout| timeout > 0)
        });
        let timeout = timeout.ok_or_else(|| out_of_range("user_timeout"))?;
        setsockopt(socket, sockopt::TcpUserTimeout, &timeout.unsigned_abs())?;
        let linger = libc::linger { l_onoff: self.reset_on_close.into(), l_linger: 0 };
        setsockopt(socket, sockopt::Linger, &linger)?;
        Ok(())
    }
}

fn seconds(time: Duration, what: &str) -> io::Result<u32> {
    let seconds = time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0));
    let seconds = u32::try_from(seconds).ok().filter(|seconds| (1..=32767).contains(seconds));
    seconds.ok_or_else(|| out_of_range(what))
}

fn out_of_range(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, format!("TcpOptions: {what} is out of range"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::getsockopt;
    use std::net::TcpListener;

    #[test]
    fn options_reach_the_socket_or_are_refused_by_name() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let keep = |idle_ms, interval_ms, probes| {
            let (idle, interval) = (Duration::from_millis(idle_ms), Duration::from_millis(interval_ms));
            Some(KeepAlive { idle, interval, probes })
        };
        let check = |options: TcpOptions, expected: Result<(u32, u32, u32), &str>| {
            let applied = options.apply(&socket).map_err(|error| {
                assert_eq!(error.kind(), ErrorKind::InvalidInput);
                error.to_string()
            });
            match expected {
                Ok(times) => {
                    applied.unwrap();
                    let set = (
                        getsockopt(&socket, sockopt::TcpKeepIdle).unwrap(),
                        getsockopt(&socket, sockopt::TcpKeepInterval).unwrap(),
                        getsockopt(&socket, sockopt::TcpKeepCount).unwrap(),
                    );
                    assert_eq!(set, times);
                    assert!(getsockopt(&socket, sockopt::KeepAlive).unwrap());
                }
                Err(name) => assert_eq!(applied, Err(format!("TcpOptions: {name} is out of range"))),
            }
        };
        let some = |keep_alive| TcpOptions { keep_alive, ..TcpOptions::default() };
        check(some(keep(60_000, 10_000, 5)), Ok((60, 10, 5)));
        check(some(keep(1, 1_001, 127)), Ok((1, 2, 127)));
        check(some(keep(0, 1_000, 5)), Err("keep_alive.idle"));
        check(some(keep(32_768_000, 1_000, 5)), Err("keep_alive.idle"));
        check(some(keep(1_000, 0, 5)), Err("keep_alive.interval"));
        check(some(keep(1_000, 1_000, 0)), Err("keep_alive.probes"));
        check(some(keep(1_000, 1_000, 128)), Err("keep_alive.probes"));
        for bad in [Duration::ZERO, Duration::from_micros(999), Duration::MAX] {
            let options = TcpOptions { user_timeout: Some(bad), ..TcpOptions::default() };
            check(options, Err("user_timeout"));
        }
    }

    #[test]
    fn options_can_be_lifted_again() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let look = || {
            (
                getsockopt(&socket, sockopt::TcpNoDelay).unwrap(),
                getsockopt(&socket, sockopt::KeepAlive).unwrap(),
                getsockopt(&socket, sockopt::TcpUserTimeout).unwrap(),
                getsockopt(&socket, sockopt::Linger).unwrap().l_onoff != 0,
            )
        };
        let all = TcpOptions {
            no_delay: false,
            keep_alive: Some(KeepAlive::default()),
            user_timeout: Some(Duration::from_millis(1500)),
            reset_on_close: true,
        };
        all.apply(&socket).unwrap();
        assert_eq!(look(), (false, true, 1500, true));
        TcpOptions::default().apply(&socket).unwrap();
        assert_eq!(look(), (true, false, 0, false));
    }
}
