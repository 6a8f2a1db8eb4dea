//! Signals of the system as events.

use crate::communicator::{Closed, Communicator, Driver, Key, OutQueue, Outcome, Turn, Written};
use mio::event::Source;
use signal_hook::consts;
use signal_hook_mio::v1_0::Signals;
use std::fmt;
use std::io;

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

impl Communicator {
    /// Calls `call` in the loop for each of `signals` that comes. Several of the same may count as one, as the system
    /// has it. More than one connection, in one or many communicators, may wait for the same signal: each gets it.
    ///
    /// The signals lose their default effect for good, also after the connection is removed.
    ///
    /// # Errors
    /// When one of them can't be caught (`SIGKILL`, `SIGSTOP`, those that tell of a fault in the program, numbers that
    /// stand for none), or no descriptor is left.
    pub fn signals(
        &self,
        signals: impl IntoIterator<Item = Signal>,
        call: impl FnMut(Signal, &Communicator) + 'static,
    ) -> io::Result<Key> {
        let signals: Vec<i32> = signals.into_iter().map(|signal| signal.0).collect();
        let can_be_caught = |signal: &i32| (1..=LAST).contains(signal) && !consts::FORBIDDEN.contains(signal);
        if let Some(&forbidden) = signals.iter().find(|signal| !can_be_caught(signal)) {
            let text = format!("{} can't be caught", Signal(forbidden));
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let source = Signals::new(signals)?;
        self.add("signals", true, Box::new(OnSignal { source: Some(source), call: Some(call) }))
    }
}

struct OnSignal<F> {
    source: Option<Signals>,
    call: Option<F>,
}

impl<F: FnMut(Signal, &Communicator) + 'static> Driver for OnSignal<F> {
    fn source(&mut self) -> Option<&mut dyn Source> {
        self.source.as_mut().map(|source| source as &mut dyn Source)
    }

    fn ready(&mut self, turn: &Turn<'_>) -> Outcome {
        let (Some(source), Some(call)) = (&mut self.source, &mut self.call) else { return Outcome::Wait };
        for signal in source.pending() {
            call(Signal(signal), turn.communicator);
            if !turn.communicator.is_enabled(turn.key) {
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
