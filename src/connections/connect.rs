//! What makes the transports of a connection that reconnects by itself.

use super::fifo::{Fifo, FifoWriter};
use super::transport::Transport;
use super::unix::connected;
use super::unix_address::UnixAddress;
use crate::communicator::{Communicator, Key, WeakCommunicator};
use mio::net::UnixStream;
use std::any::Any;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Makes a transport for each attempt of a [permanent](Communicator::permanent) connection. A closure
/// `FnMut() -> io::Result<impl Transport>` is one, too.
///
/// | connector | makes |
/// |---|---|
/// | [`TcpConnect`](crate::TcpConnect) | TCP streams to a name, resolved at each attempt, or to the first of several addresses that answers; with options |
/// | [`ToUnix`] | streams to a Unix socket file |
/// | [`ToFifo`] | the writing end of a named pipe |
#[cfg_attr(
    feature = "tls",
    doc = "| [`ToTls`](crate::tls::ToTls), [`ToStartTls`](crate::tls::ToStartTls) | TLS around what another connector makes, from the first byte or in mid-stream |"
)]
/// | a closure | whatever it wants |
pub trait Connect: 'static {
    /// What it makes.
    type Transport: Transport;

    /// Starts an attempt. What comes of it is told by [`Attempt::done`], at once or later: when a thread has resolved a name, when
    /// one of several addresses has answered. A transport need not be established:
    /// [`Transport::establish`] goes on. All together has [`Timeouts::connect`](crate::Timeouts::connect).
    fn connect(&mut self, attempt: Attempt<Self::Transport>);

    /// To what: the connection's name, for logs.
    fn name(&self) -> String {
        String::new()
    }
}

impl<T: Transport, F: FnMut() -> io::Result<T> + 'static> Connect for F {
    type Transport = T;

    fn connect(&mut self, attempt: Attempt<T>) {
        attempt.done(self());
    }
}

/// One attempt to connect. Dropping it is its failure.
///
/// ```
/// use eventdispatcher::codec::Lines;
/// use eventdispatcher::{Attempt, Communicator, Connect, Reconnect, on_item};
/// use mio::net::UnixStream;
///
/// /// Finds out where to connect to on another thread.
/// struct Finds;
/// impl Connect for Finds {
///     type Transport = UnixStream;
///     fn connect(&mut self, attempt: Attempt<UnixStream>) {
///         let Some(communicator) = attempt.communicator() else { return };
///         let find = || "/run/service.sock";
///         let found = communicator.thread(find, move |path, _| {
///             attempt.done(UnixStream::connect(path.unwrap_or_default()));
///         });
///         # let _ = found;
///     }
/// }
///
/// let communicator = Communicator::new()?;
/// communicator.permanent(Finds, Reconnect::default(), Lines::new, on_item::<Lines, _>(|_, _| Ok(())));
/// # communicator.turn(Some(std::time::Duration::ZERO))?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Attempt<T> {
    communicator: WeakCommunicator,
    key: Key,
    number: u64,
    failures: u64,
    deliver: Option<Deliver<T>>,
}

type Deliver<T> = Box<dyn FnOnce(io::Result<T>) -> Box<dyn Any>>;

impl<T: 'static> Attempt<T> {
    pub(super) fn new(communicator: &Communicator, key: Key, (failures, number): (u64, u64)) -> Self {
        let deliver: Deliver<T> = Box::new(|made| Box::new(made));
        Self { communicator: communicator.downgrade(), key, number, failures, deliver: Some(deliver) }
    }

    /// How many attempts have failed since the connection was there last: 0 for the first one.
    pub fn failures(&self) -> u64 {
        self.failures
    }

    /// Where the connection is, unless it has ended.
    pub fn communicator(&self) -> Option<Communicator> {
        self.communicator.get()
    }

    /// Whether somebody still waits for it: it is not too late, and the connection was neither closed nor removed.
    pub fn is_wanted(&self) -> bool {
        self.communicator()
            .is_some_and(|communicator| communicator.core(|core| core.is_attempting(self.key, self.number)))
    }

    /// This has come of it. What nobody waits for any more is dropped: `false`.
    pub fn done(mut self, made: io::Result<T>) -> bool {
        self.tell(made)
    }

    fn tell(&mut self, made: io::Result<T>) -> bool {
        let (Some(deliver), Some(communicator)) = (self.deliver.take(), self.communicator.get()) else {
            return false;
        };
        let made = deliver(made);
        // What comes back is dropped outside of the core.
        let told = communicator.core(|core| core.arrive(self.key, self.number, made));
        told.is_ok()
    }

    /// The same attempt for a connector below, around whose transports `wrap` puts a layer.
    pub fn map<U: 'static>(mut self, wrap: impl FnOnce(U) -> io::Result<T> + 'static) -> Attempt<U> {
        let deliver = self.deliver.take().map(|deliver| {
            let deliver: Deliver<U> = Box::new(move |made| deliver(made.and_then(wrap)));
            deliver
        });
        let Self { communicator, key, number, failures, .. } = &self;
        Attempt {
            communicator: communicator.clone(),
            key: *key,
            number: *number,
            failures: *failures,
            deliver,
        }
    }
}

impl<T> Drop for Attempt<T> {
    fn drop(&mut self) {
        let (Some(deliver), Some(communicator)) = (self.deliver.take(), self.communicator.get()) else {
            return;
        };
        let made = deliver(Err(io::Error::other("the attempt to connect was given up")));
        let _ = communicator.core(|core| core.arrive(self.key, self.number, made));
    }
}

impl<T> fmt::Debug for Attempt<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attempt({} of {})", self.number, self.key)
    }
}

/// Connects to a Unix socket.
#[derive(Debug, Clone)]
pub struct ToUnix {
    to: Result<UnixAddress, PathBuf>,
}

impl ToUnix {
    /// To this socket file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self { to: UnixAddress::file(&path).map_err(|_| path) }
    }

    /// To this one, which may have an abstract name.
    pub fn address(address: UnixAddress) -> Self {
        Self { to: Ok(address) }
    }
}

impl Connect for ToUnix {
    type Transport = UnixStream;

    fn connect(&mut self, attempt: Attempt<UnixStream>) {
        attempt.done(match &self.to {
            Ok(address) => connected(address),
            // The error says what is wrong with it.
            Err(path) => UnixAddress::file(path).and_then(|address| connected(&address)),
        });
    }

    fn name(&self) -> String {
        match &self.to {
            Ok(address) => address.to_string(),
            Err(path) => path.to_string_lossy().into_owned(),
        }
    }
}

/// Opens a named pipe for writing, as soon as somebody reads: the attempt lasts until then, or until
/// [`Timeouts::connect`](crate::Timeouts::connect) is over. The pipe is made when it does not exist, and stays.
#[derive(Debug, Clone)]
pub struct ToFifo {
    fifo: Fifo,
}

impl ToFifo {
    /// This one.
    pub fn new(fifo: Fifo) -> Self {
        Self { fifo: fifo.keep() }
    }
}

impl Connect for ToFifo {
    type Transport = FifoWriter;

    fn connect(&mut self, attempt: Attempt<FifoWriter>) {
        attempt.done(self.fifo.clone().writer());
    }

    fn name(&self) -> String {
        self.fifo.path().to_string_lossy().into_owned()
    }
}
