//! Signals of the system as events.

use crate::communicator::{Closed, Communicator, Driver, Key, OutQueue, Outcome, Spent, Turn, Written};
use mio::event::Source;
use mio::net::UnixStream;
use signal_hook::consts;
use signal_hook::iterator::backend::{Pending, SignalDelivery};
use signal_hook::iterator::exfiltrator::{Exfiltrator, SignalOnly, WithOrigin};
use signal_hook::low_level::siginfo::Origin;
use std::fmt;
use std::io;
use std::num::NonZero;

/// The largest number of a signal, on Linux.
const LAST: i32 = 64;

/// A signal of the system, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signal(pub i32);

impl Signal {
    /// The terminal has gone; for daemons: read the configuration again.
    pub const HUP: Self = Self(consts::SIGHUP);
    /// Ctrl-C.
    pub const INT: Self = Self(consts::SIGINT);
    /// Ctrl-\\.
    pub const QUIT: Self = Self(consts::SIGQUIT);
    /// End in order.
    pub const TERM: Self = Self(consts::SIGTERM);
    /// End at once. It can't be caught, only sent.
    pub const KILL: Self = Self(consts::SIGKILL);
    /// Stop until `CONT`. It can't be caught, only sent.
    pub const STOP: Self = Self(consts::SIGSTOP);
    /// For the program to define.
    pub const USR1: Self = Self(consts::SIGUSR1);
    /// For the program to define.
    pub const USR2: Self = Self(consts::SIGUSR2);
    /// A child has changed its state.
    pub const CHLD: Self = Self(consts::SIGCHLD);
    /// Goes on after a stop.
    pub const CONT: Self = Self(consts::SIGCONT);
    /// The size of the terminal has changed.
    pub const WINCH: Self = Self(consts::SIGWINCH);
    /// An alarm of the system.
    pub const ALRM: Self = Self(consts::SIGALRM);
}

/// As in `SIGTERM`.
impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match signal_hook::low_level::signal_name(self.0) {
            Some(name) => f.write_str(name),
            None => write!(f, "signal {}", self.0),
        }
    }
}

/// A signal that has come, and from whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received {
    /// Which one.
    pub signal: Signal,
    /// Who has sent it, by `kill` and the like; for [`Signal::CHLD`] the child that has changed. `None` if nobody did: the
    /// terminal (Ctrl-C), a timer, the kernel itself.
    pub sender: Option<Sender>,
}

/// Who has sent a signal, as the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// The process; `None` for one that has no number here because it lives in another namespace. It may have ended, and its
    /// number be another's.
    pub pid: Option<NonZero<u32>>,
    /// The real user of the process.
    pub uid: u32,
}

/// As in `SIGHUP from process 17 of user 1000`.
impl fmt::Display for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.signal)?;
        match self.sender {
            Some(Sender { pid: Some(pid), uid }) => write!(f, " from process {pid} of user {uid}"),
            Some(Sender { pid: None, uid }) => write!(f, " from a process elsewhere of user {uid}"),
            None => Ok(()),
        }
    }
}

impl From<Origin> for Received {
    fn from(origin: Origin) -> Self {
        let sender = origin.process.map(|process| Sender {
            pid: u32::try_from(process.pid).ok().and_then(NonZero::new),
            uid: process.uid,
        });
        Self { signal: Signal(origin.signal), sender }
    }
}

// A signal is caught by a handler that is installed in the whole process, not by a descriptor of the kernel (signalfd): for that
// the signal has to be blocked in every thread, those that run already included, and in every program that is started, which
// inherits the mask.
impl Communicator {
    /// Calls `call` in the loop for each of `signals` that comes, whichever thread it has hit. Several of the same may count as
    /// one, as the system has it. More than one connection, in one or many communicators, may wait for the same signal: each
    /// gets it.
    ///
    /// The signals lose their default effect for good, also after the connection is removed.
    ///
    /// # Errors
    /// When one of them can't be caught (`SIGKILL`, `SIGSTOP`, those that tell of a fault in the program, numbers that
    /// stand for none), or no descriptor is left.
    pub fn signals(
        &self,
        signals: impl IntoIterator<Item = Signal>,
        mut call: impl FnMut(Signal, &Communicator) + 'static,
    ) -> io::Result<Key> {
        self.add_signals(signals, SignalOnly, move |signal, communicator| {
            call(Signal(signal), communicator);
        })
    }

    /// As [`signals`](Self::signals), and says who has sent each. Up to five of one signal are told one by one; of what comes while
    /// so many wait, nothing more is said.
    ///
    /// # Errors
    /// As [`signals`](Self::signals).
    ///
    /// ```
    /// use eventdispatcher::{Communicator, Signal};
    ///
    /// let communicator = Communicator::new()?;
    /// communicator.signals_from([Signal::USR1, Signal::HUP], |received, communicator| {
    ///     assert_eq!(received.signal, Signal::HUP);
    ///     let pid = received.sender.and_then(|sender| sender.pid);
    ///     assert_eq!(pid.map(|pid| pid.get()), Some(std::process::id()));
    ///     communicator.close_all();
    /// })?;
    /// nix::sys::signal::raise(nix::sys::signal::Signal::SIGHUP)?;
    /// communicator.run()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn signals_from(
        &self,
        signals: impl IntoIterator<Item = Signal>,
        mut call: impl FnMut(Received, &Communicator) + 'static,
    ) -> io::Result<Key> {
        self.add_signals(signals, WithOrigin::default(), move |origin, communicator| {
            call(Received::from(origin), communicator);
        })
    }

    fn add_signals<E: Exfiltrator>(
        &self,
        signals: impl IntoIterator<Item = Signal>,
        tells: E,
        call: impl FnMut(E::Output, &Communicator) + 'static,
    ) -> io::Result<Key> {
        let signals: Vec<i32> = signals.into_iter().map(|signal| signal.0).collect();
        let can_be_caught = |signal: &i32| (1..=LAST).contains(signal) && !consts::FORBIDDEN.contains(signal);
        if let Some(&forbidden) = signals.iter().find(|signal| !can_be_caught(signal)) {
            let text = format!("{} can't be caught", Signal(forbidden));
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let source = Caught::new(signals, tells)?;
        self.add("signals", true, Box::new(OnSignal { source: Some(source), call: Some(call) }))
    }
}

/// Signals that are caught, and what the poll watches for them.
pub(super) struct Caught<E: Exfiltrator = SignalOnly>(SignalDelivery<UnixStream, E>);

impl<E: Exfiltrator> Caught<E> {
    pub(super) fn new(signals: impl IntoIterator<Item = i32>, tells: E) -> io::Result<Self> {
        let (wakes, woken) = UnixStream::pair()?;
        Ok(Self(SignalDelivery::with_pipe(wakes, woken, tells, signals)?))
    }

    /// What has come since the last time.
    pub(super) fn pending(&mut self) -> Pending<E> {
        self.0.pending()
    }

    pub(super) fn source(&mut self) -> &mut dyn Source {
        self.0.get_read_mut()
    }
}

struct OnSignal<E: Exfiltrator, F> {
    source: Option<Caught<E>>,
    call: Option<F>,
}

impl<E: Exfiltrator, F: FnMut(E::Output, &Communicator) + 'static> Driver for OnSignal<E, F> {
    fn source(&mut self) -> Option<&mut dyn Source> {
        self.source.as_mut().map(Caught::source)
    }

    fn ready(&mut self, turn: &Turn<'_>) -> Outcome {
        let (Some(source), Some(call)) = (&mut self.source, &mut self.call) else { return Outcome::Wait };
        let mut spent = Spent::nothing(&turn.settings);
        for signal in source.pending() {
            call(signal, turn.communicator);
            spent.callback();
            if !turn.communicator.is_enabled(turn.key) || spent.all() {
                return Outcome::Again;
            }
        }
        Outcome::Wait
    }

    fn write(&mut self, _: &mut OutQueue, _: usize) -> io::Result<Written> {
        Ok(Written::default())
    }

    fn closed(&mut self, _: Closed, _: &Turn<'_>) {
        self.call = None;
    }

    fn release(&mut self) {
        self.source = None;
    }
}
