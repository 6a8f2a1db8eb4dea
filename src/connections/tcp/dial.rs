//! A TCP stream on its way: names are resolved, addresses are tried, and the first that answers is it.

use super::bind::{bind_to_device, tcp_socket};
use super::connect::{Target, TcpConnect};
use crate::communicator::interest;
use crate::connections::resolve::Lookup;
use crate::connections::transport::Transport;
use mio::event::Source;
use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use nix::sys::socket::{SockaddrStorage, bind, connect};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

/// As many of a name's addresses are tried.
const MOST_ADDRESSES: usize = 64;

/// A transport that connects as a [`TcpConnect`] says, and is then the connected stream.
///
/// Whatever it waits for (a name, one of several streams, time) wakes the poll under one token. Until it
/// is connected it has a few descriptors more.
pub struct Dial {
    to: TcpConnect,
    state: State,
    /// Where its parts are registered, until one of them is left.
    poll: Option<(Registry, Token)>,
    alarm: Option<Alarm>,
    /// When it must be done.
    end: Option<Instant>,
}

enum State {
    New,
    Resolving(Lookup),
    Racing(Race),
    Connected(TcpStream),
    Failed,
}

impl Dial {
    pub(super) fn new(to: TcpConnect) -> Self {
        Self { to, state: State::New, poll: None, alarm: None, end: None }
    }

    /// The stream, once it is connected.
    pub fn connected(&self) -> Option<&TcpStream> {
        match &self.state {
            State::Connected(stream) => Some(stream),
            _ => None,
        }
    }

    fn stream(&mut self) -> io::Result<&mut TcpStream> {
        match &mut self.state {
            State::Connected(stream) => Ok(stream),
            _ => Err(ErrorKind::NotConnected.into()),
        }
    }

    /// Begins, if it has not.
    fn begin(&mut self, now: Instant) -> io::Result<()> {
        let State::New = self.state else { return Ok(()) };
        self.state = match &self.to.target {
            Target::Addresses(addresses) => {
                let mut race = Race::new(addresses, now);
                race.begin(&self.to, self.poll.as_ref(), now);
                State::Racing(race)
            }
            Target::Name(host, port) => {
                let mut lookup = Lookup::begin(host, *port)?;
                if let Some((registry, token)) = &self.poll {
                    lookup.register(registry, *token, Interest::READABLE)?;
                }
                State::Resolving(lookup)
            }
        };
        self.end = self.to.deadline.and_then(|deadline| now.checked_add(deadline));
        Ok(())
    }

    /// Goes on as far as it can. The stream, if it is there.
    fn advance(&mut self, now: Instant) -> io::Result<Option<TcpStream>> {
        self.begin(now)?;
        if let State::Resolving(lookup) = &mut self.state
            && let Some(found) = lookup.take()
        {
            if let Some((registry, _)) = &self.poll {
                let _ = lookup.deregister(registry);
            }
            self.state = State::Racing(Race::new(&found?, now));
        }
        let mut wake = self.end;
        if let State::Racing(race) = &mut self.state {
            if let Some(stream) = race.step(&self.to, self.poll.as_ref(), now)? {
                return Ok(Some(stream));
            }
            wake = race.next().into_iter().chain(wake).min();
        }
        if self.end.is_some_and(|end| now >= end) {
            let tried = if let State::Racing(race) = &self.state { race.tried() } else { String::new() };
            let text = format!("no connection within {:?}{tried}", self.to.deadline.unwrap_or_default());
            return Err(io::Error::new(ErrorKind::TimedOut, text));
        }
        self.wake_at(wake, now)?;
        Ok(None)
    }

    fn wake_at(&mut self, at: Option<Instant>, now: Instant) -> io::Result<()> {
        let Some(at) = at else { return Ok(()) };
        if self.alarm.is_none() {
            self.alarm = Some(Alarm::new(self.poll.as_ref())?);
        }
        self.alarm.as_ref().map_or(Ok(()), |alarm| alarm.set(at.saturating_duration_since(now)))
    }

    /// Lets go of everything but the stream.
    fn settle(&mut self, state: State) {
        if let (State::Resolving(lookup), Some((registry, _))) = (&mut self.state, &self.poll) {
            let _ = lookup.deregister(registry);
        }
        (self.state, self.poll, self.alarm) = (state, None, None);
    }
}

impl Transport for Dial {
    fn source(&mut self) -> Option<&mut dyn Source> {
        Some(self)
    }
    fn kind(&self) -> &'static str {
        "tcp"
    }
    fn establish(&mut self) -> io::Result<bool> {
        match self.state {
            State::Connected(_) => return Ok(true),
            State::Failed => return Err(ErrorKind::NotConnected.into()),
            _ => {}
        }
        match self.advance(Instant::now()) {
            Ok(Some(stream)) => {
                self.settle(State::Connected(stream));
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(error) => {
                self.settle(State::Failed);
                Err(io::Error::new(error.kind(), format!("{}: {error}", self.to)))
            }
        }
    }
    fn shutdown_write(&mut self) -> io::Result<()> {
        self.stream()?.shutdown_write()
    }
    fn short_read_means_empty(&self) -> bool {
        true
    }
    fn waiting(&self) -> Option<usize> {
        match &self.state {
            State::Connected(stream) => stream.waiting(),
            _ => None,
        }
    }
    fn resets_on_close(&self) -> bool {
        true
    }
}

impl Read for Dial {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.stream()?.read(into)
    }
}

impl Write for Dial {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream()?.write(bytes)
    }
    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.stream()?.write_vectored(pieces)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What it consists of while it connects is registered under the token that it was given, each part when it begins; what
/// it waits for is the same whatever interest is asked for.
impl Source for Dial {
    fn register(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        match &mut self.state {
            State::Connected(stream) => return stream.register(registry, token, interest),
            State::New | State::Failed => {}
            State::Resolving(lookup) => lookup.register(registry, token, interest)?,
            State::Racing(race) => race.register(registry, token)?,
        }
        if let Some(alarm) = &self.alarm {
            alarm.register(registry, token)?;
        }
        self.poll = Some((registry.try_clone()?, token));
        self.begin(Instant::now())
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        match &mut self.state {
            State::Connected(stream) => stream.reregister(registry, token, interest),
            _ => Ok(()),
        }
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.poll = None;
        if let Some(alarm) = &self.alarm {
            alarm.deregister(registry)?;
        }
        match &mut self.state {
            State::Connected(stream) => stream.deregister(registry),
            State::New | State::Failed => Ok(()),
            State::Resolving(lookup) => lookup.deregister(registry),
            State::Racing(race) => race.deregister(registry),
        }
    }
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dial({})", self.to)
    }
}

/// Several addresses of one server.
struct Race {
    waiting: VecDeque<SocketAddr>,
    running: Vec<(SocketAddr, TcpStream)>,
    failed: Vec<(SocketAddr, io::Error)>,
    /// When the next one may begin though others run.
    next: Instant,
}

impl Race {
    fn new(addresses: &[SocketAddr], now: Instant) -> Self {
        let waiting = alternate(&addresses[..addresses.len().min(MOST_ADDRESSES)]);
        Self { waiting, running: Vec::new(), failed: Vec::new(), next: now }
    }

    /// Looks at those that run, and goes on.
    fn step(
        &mut self,
        to: &TcpConnect,
        poll: Option<&(Registry, Token)>,
        now: Instant,
    ) -> io::Result<Option<TcpStream>> {
        let mut at = 0;
        while let Some((address, stream)) = self.running.get_mut(at) {
            match stream.establish().and_then(|done| if done { is_other(stream) } else { Ok(false) }) {
                Ok(true) => {
                    log::debug!("connected to {address}");
                    return Ok(Some(self.running.swap_remove(at).1));
                }
                Ok(false) => at += 1,
                Err(error) => {
                    log::debug!("can't connect to {address}: {error}");
                    let address = *address;
                    self.running.remove(at);
                    self.failed.push((address, error));
                    self.next = now;
                }
            }
        }
        self.begin(to, poll, now);
        if self.running.is_empty() { Err(self.defeat(to)) } else { Ok(None) }
    }

    /// Begins those whose time has come.
    fn begin(&mut self, to: &TcpConnect, poll: Option<&(Registry, Token)>, now: Instant) {
        while (self.running.is_empty() || now >= self.next)
            && let Some(address) = self.waiting.pop_front()
        {
            match attempt(to, address, poll) {
                Ok(stream) => {
                    self.running.push((address, stream));
                    self.next = now + to.attempt_delay;
                }
                Err(error) => {
                    log::debug!("can't connect to {address}: {error}");
                    self.failed.push((address, error));
                }
            }
        }
    }

    /// When it wants to go on though nothing happens.
    fn next(&self) -> Option<Instant> {
        (!self.waiting.is_empty()).then_some(self.next)
    }

    /// Why there is no stream.
    fn defeat(&mut self, to: &TcpConnect) -> io::Error {
        let one = matches!(&to.target, Target::Addresses(addresses) if addresses.len() == 1);
        match self.failed.pop() {
            None => io::Error::new(ErrorKind::AddrNotAvailable, "it has no address"),
            Some((_, error)) if one => error,
            Some(last) => {
                let kind = last.1.kind();
                self.failed.push(last);
                io::Error::new(kind, format!("no address answers{}", self.tried()))
            }
        }
    }

    /// What was tried, as the end of a sentence.
    fn tried(&self) -> String {
        let failed = self.failed.iter().map(|(address, error)| format!("{address}: {error}"));
        let silent = self.running.iter().map(|(address, _)| format!("{address}: no answer"));
        let tried: Vec<String> = failed.chain(silent).collect();
        if tried.is_empty() { String::new() } else { format!(" ({})", tried.join("; ")) }
    }

    fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let both = interest(true);
        self.running.iter_mut().try_for_each(|(_, stream)| stream.register(registry, token, both))
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.running.iter_mut().try_for_each(|(_, stream)| stream.deregister(registry))
    }
}

/// When nobody listens on a port that the system also gives to clients, a stream may find itself there.
fn is_other(stream: &TcpStream) -> io::Result<bool> {
    if stream.local_addr()? == stream.peer_addr()? {
        Err(ErrorKind::ConnectionRefused.into())
    } else {
        Ok(true)
    }
}

/// Begins to connect to one address.
fn attempt(to: &TcpConnect, address: SocketAddr, poll: Option<&(Registry, Token)>) -> io::Result<TcpStream> {
    let socket = tcp_socket(&address)?;
    to.options.apply(&socket)?;
    if let Some(device) = &to.device {
        bind_to_device(&socket, device)?;
    }
    if let Some(source) = to.source {
        if source.is_ipv4() != address.is_ipv4() {
            let text = format!("{source}, which to connect from, is of the other family");
            return Err(io::Error::new(ErrorKind::InvalidInput, text));
        }
        bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(source, 0)))?;
    }
    match connect(socket.as_raw_fd(), &SockaddrStorage::from(address)) {
        Ok(()) | Err(Errno::EINPROGRESS | Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    let mut stream = TcpStream::from_std(socket.into());
    if let Some((registry, token)) = poll {
        registry.register(&mut stream, *token, interest(true))?;
    }
    Ok(stream)
}

/// The addresses of both families alternately, in their order, beginning with the first one's family: RFC 8305,
/// section 4.
fn alternate(addresses: &[SocketAddr]) -> VecDeque<SocketAddr> {
    let v4_first = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (mut one, mut other): (VecDeque<_>, VecDeque<_>) =
        addresses.iter().copied().partition(|address| address.is_ipv4() == v4_first);
    let mut order = VecDeque::with_capacity(addresses.len());
    while !one.is_empty() || !other.is_empty() {
        order.extend(one.pop_front());
        order.extend(other.pop_front());
    }
    order
}

/// Wakes the poll when a time is over.
struct Alarm(TimerFd);

impl Alarm {
    fn new(poll: Option<&(Registry, Token)>) -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let alarm = Self(TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?);
        if let Some((registry, token)) = poll {
            alarm.register(registry, *token)?;
        }
        Ok(alarm)
    }

    fn set(&self, after: Duration) -> io::Result<()> {
        // A zero would switch it off.
        let after = TimeSpec::from_duration(after.max(Duration::from_nanos(1)));
        Ok(self.0.set(Expiration::OneShot(after), TimerSetTimeFlags::empty())?)
    }

    fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        SourceFd(&self.0.as_fd().as_raw_fd()).register(registry, token, Interest::READABLE)
    }

    fn deregister(&self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.0.as_fd().as_raw_fd()).deregister(registry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_in_the_order_of_the_resolver() {
        let check = |given: &str, expected: &str| {
            let address = |name: char| -> SocketAddr {
                let last = u16::try_from(u32::from(name)).unwrap();
                if name.is_ascii_digit() {
                    SocketAddr::from(([10, 0, 0, last as u8], 1))
                } else {
                    SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, last], 1))
                }
            };
            let given: Vec<_> = given.chars().map(address).collect();
            let expected: Vec<_> = expected.chars().map(address).collect();
            assert_eq!(alternate(&given), expected);
        };
        // Digits are IPv4, letters IPv6.
        for (given, expected) in [
            ("", ""),
            ("1", "1"),
            ("123", "123"),
            ("abc", "abc"),
            ("ab12", "a1b2"),
            ("12ab", "1a2b"),
            ("abc1", "a1bc"),
            ("a123", "a123"),
            ("1abcd2", "1a2bcd"),
        ] {
            check(given, expected);
        }
    }
}
