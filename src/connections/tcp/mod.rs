//! TCP streams.

mod bind;
mod connect;
mod dial;
mod options;

pub use bind::{TcpBind, TcpBound};
pub use connect::TcpConnect;
pub use dial::Dial;
pub use options::{KeepAlive, TcpOptions};

use super::listener::{Accept, Incoming};
use super::transport::{Transport, waiting};
use crate::codec::Codec;
use crate::communicator::{Communicator, Handler, HandlerResult, Id, Key};
use mio::event::Source;
use mio::net::{TcpListener, TcpStream};
use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr};

impl Transport for TcpStream {
    fn source(&mut self) -> Option<&mut dyn Source> {
        Some(self)
    }
    fn kind(&self) -> &'static str {
        "tcp"
    }
    fn establish(&mut self) -> io::Result<bool> {
        if let Some(error) = self.take_error()? {
            return Err(error);
        }
        match self.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }
    fn shutdown_write(&mut self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
    fn short_read_means_empty(&self) -> bool {
        true
    }
    fn waiting(&self) -> Option<usize> {
        waiting(self)
    }
    fn resets_on_close(&self) -> bool {
        true
    }
}

/// A transport from a connected stream that was made elsewhere: by a blocking thread, or inherited. Small messages are
/// not delayed (`TCP_NODELAY`).
///
/// # Errors
/// As the system says.
pub fn tcp_stream(stream: std::net::TcpStream) -> io::Result<impl Transport> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    Ok(TcpStream::from_std(stream))
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    fn accept_one(&self) -> io::Result<(TcpStream, String)> {
        let (stream, peer) = self.accept()?;
        stream.set_nodelay(true)?;
        Ok((stream, peer.to_string()))
    }
    fn kind(&self) -> &'static str {
        "tcp listener"
    }
}

impl Communicator {
    /// Connects without blocking, to an address, a name and a port, or as a [`TcpConnect`] says.
    /// [`Handler::connected`] or [`Handler::closed`] tells what came of
    /// it, the latter after [`Timeouts::connect`](crate::Timeouts::connect) at the latest. Small messages are not delayed
    /// (`TCP_NODELAY`) unless the options say so.
    ///
    /// # Errors
    /// When no descriptor is left.
    ///
    /// ```
    /// use eventdispatcher::{Closed, Communicator, Cx, Handler, HandlerResult, codec::Lines};
    ///
    /// struct Ask;
    /// impl Handler<Lines> for Ask {
    ///     fn connected(&mut self, cx: &Cx<'_, Lines>) -> HandlerResult {
    ///         Ok(cx.reply("how are you?")?)
    ///     }
    ///     fn message(&mut self, line: &str, cx: &Cx<'_, Lines>) -> HandlerResult {
    ///         assert_eq!(line, "how are you?");
    ///         cx.close_all();
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let communicator = Communicator::new()?;
    /// let server = communicator.listen_tcp("127.0.0.1:0".parse()?, |client| {
    ///     client.serve(Lines::new(), eventdispatcher::on_item::<Lines, _>(|line, cx| Ok(cx.reply(line)?)))?;
    ///     Ok(())
    /// })?;
    /// communicator.connect_tcp(server.address(), Lines::new(), Ask)?;
    /// communicator.run()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn connect_tcp<C: Codec, H: Handler<C>>(
        &self,
        to: impl Into<TcpConnect>,
        codec: C,
        handler: H,
    ) -> io::Result<Id<C>> {
        let to = to.into();
        let id = self.stream(to.dial(), codec, handler)?;
        self.set_name(id, &to.to_string());
        Ok(id)
    }

    /// Listens on `address`; port 0 is any free one. `accept` is called for each client, usually to
    /// [serve](Incoming::serve) it; one that it does not take is closed, and so is one for which it fails.
    ///
    /// Everything else is as [`TcpBind`] has it by default.
    ///
    /// # Errors
    /// When the address can't be listened on; the error names it.
    pub fn listen_tcp(
        &self,
        address: SocketAddr,
        accept: impl FnMut(Incoming<'_, TcpStream>) -> HandlerResult + 'static,
    ) -> io::Result<Listening> {
        let bound = TcpBind::new(address).bind()?;
        let address = bound.address();
        let key = self.listen(bound, accept)?;
        self.set_name(key, &address.to_string());
        Ok(Listening { key, address })
    }
}

/// A TCP listener that was added.
#[derive(Debug, Clone, Copy)]
pub struct Listening {
    key: Key,
    address: SocketAddr,
}

impl Listening {
    /// Which connection it is.
    pub fn key(&self) -> Key {
        self.key
    }

    /// Where it listens, with the port that the system chose if it was to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl From<Listening> for Key {
    fn from(listening: Listening) -> Key {
        listening.key
    }
}
