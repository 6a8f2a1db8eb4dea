//! Unix stream sockets.

use super::datagram::SeqPacket;
use super::listener::{Accept, Incoming};
use super::transport::{Transport, waiting};
use super::unix_address::UnixAddress;
use super::unix_bind::{SocketFile, UnixBind, new_socket};
use crate::codec::Codec;
use crate::communicator::{Communicator, Handler, HandlerResult, Id, Key};
use mio::event::Source;
use mio::net::UnixStream;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::sys::socket::{getsockopt, sockopt};
use rustix::net::{
    RecvAncillaryBuffer, RecvFlags, ReturnFlags, SocketFlags, SocketType, acceptfrom_with, connect,
    getsockname, recvmsg,
};
use std::any::Any;
use std::io::{self, IoSliceMut};
use std::marker::PhantomData;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

impl Transport for UnixStream {
    fn source(&mut self) -> Option<&mut dyn Source> {
        Some(self)
    }
    fn kind(&self) -> &'static str {
        "unix"
    }
    fn shutdown_write(&mut self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
    fn short_read_means_empty(&self) -> bool {
        // A read ends behind bytes with which a descriptor came, before those of another sender, and before urgent ones.
        waiting(self) == Some(0)
    }
    #[inline]
    fn read_noticing(&mut self, into: &mut [u8]) -> io::Result<(usize, bool)> {
        // Without a place for them, descriptors and senders that come along are dropped, and that is told: a call less. Urgent data
        // are told by the poll.
        let mut nothing = RecvAncillaryBuffer::default();
        let length = into.len();
        let got = recvmsg(&*self, &mut [IoSliceMut::new(into)], &mut nothing, RecvFlags::empty())?;
        Ok((got.bytes, got.bytes < length && !got.flags.contains(ReturnFlags::CTRUNC)))
    }
    fn waiting(&self) -> Option<usize> {
        waiting(self)
    }
    fn about(&self) -> Option<Rc<dyn Any>> {
        PeerCredentials::of(self).ok().map(|found| Rc::new(found) as _)
    }
}

/// Who is at the other end of a Unix socket: as the system knows it, from the moment of its `connect` or `listen`.
///
/// In a callback: `cx.about::<PeerCredentials>(cx.id())`; before a client is served: [`Incoming::credentials`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PeerCredentials {
    /// Its process; 0 if that can't be seen from here. By the time that you look it may be another one.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

impl PeerCredentials {
    /// Those of a connected Unix socket.
    ///
    /// # Errors
    /// When it is none.
    pub fn of(socket: impl AsFd) -> io::Result<Self> {
        let found = getsockopt(&socket, sockopt::PeerCredentials)?;
        Ok(Self { pid: u32::try_from(found.pid()).unwrap_or(0), uid: found.uid(), gid: found.gid() })
    }
}

impl<T: Transport + AsFd> Incoming<'_, T> {
    /// Who the client is, if it has come through a Unix socket.
    ///
    /// # Errors
    /// When it has not.
    pub fn credentials(&self) -> io::Result<PeerCredentials> {
        PeerCredentials::of(self.stream())
    }
}

/// A transport from a connected stream that was made elsewhere: by a blocking thread, or inherited.
///
/// ```
/// use eventdispatcher::{Communicator, codec::Lines, on_item, unix_stream};
/// use std::io::{Read, Write};
///
/// let communicator = Communicator::new()?;
/// let (ours, mut theirs) = std::os::unix::net::UnixStream::pair()?;
/// communicator.stream(unix_stream(ours)?, Lines::new(), on_item::<Lines, _>(|line, cx| Ok(cx.reply(line)?)))?;
/// let thread = std::thread::spawn(move || {
///     theirs.write_all(b"blocking\n")?;
///     theirs.shutdown(std::net::Shutdown::Write)?;
///     let mut answer = String::new();
///     theirs.read_to_string(&mut answer)?;
///     Ok::<String, std::io::Error>(answer)
/// });
/// communicator.run()?;
/// assert_eq!(thread.join().unwrap()?, "blocking\n");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// As the system says.
pub fn unix_stream(stream: std::os::unix::net::UnixStream) -> io::Result<impl Transport> {
    stream.set_nonblocking(true)?;
    Ok(UnixStream::from_std(stream))
}

/// Two connected streams: to test with, or to talk to a child or a thread.
///
/// # Errors
/// When no descriptor is left.
pub fn unix_pair() -> io::Result<(UnixStream, UnixStream)> {
    UnixStream::pair()
}

pub(super) fn connected(address: &UnixAddress) -> io::Result<UnixStream> {
    let socket = new_socket(SocketType::STREAM)?;
    connect(&socket, address.as_socket()).map_err(|errno| {
        let error = io::Error::from(errno);
        io::Error::new(error.kind(), format!("can't connect to {address}: {error}"))
    })?;
    Ok(UnixStream::from_std(socket.into()))
}

impl Communicator {
    /// Connects to the socket file `path`. The system answers at once: there is nothing to wait for.
    ///
    /// # Errors
    /// When nobody listens there, or it may not be used; the error names the path.
    pub fn connect_unix<C: Codec, H: Handler<C>>(
        &self,
        path: impl AsRef<Path>,
        codec: C,
        handler: H,
    ) -> io::Result<Id<C>> {
        self.connect_unix_to(&UnixAddress::file(path)?, codec, handler)
    }

    /// Connects to a socket file or an abstract name, as [`connect_unix`](Self::connect_unix).
    ///
    /// # Errors
    /// When nobody listens there, or it may not be used; the error names the address.
    pub fn connect_unix_to<C: Codec, H: Handler<C>>(
        &self,
        address: &UnixAddress,
        codec: C,
        handler: H,
    ) -> io::Result<Id<C>> {
        let id = self.add_stream(connected(address)?, codec, handler, true)?;
        self.set_name(id, &address.to_string());
        Ok(id)
    }

    /// Listens on the socket file `path`, as [`UnixBind`] does by default.
    ///
    /// # Errors
    /// As [`UnixBind::bind`].
    pub fn listen_unix(
        &self,
        path: impl AsRef<Path>,
        accept: impl FnMut(Incoming<'_, UnixStream>) -> HandlerResult + 'static,
    ) -> io::Result<Key> {
        let bound = UnixBind::new(path.as_ref()).bind()?;
        let key = self.listen(bound, accept)?;
        self.set_name(key, &path.as_ref().to_string_lossy());
        Ok(key)
    }
}

/// A listening Unix socket; its file goes with it. It accepts streams, or connections of packets.
#[derive(Debug)]
pub struct UnixBound<T = UnixStream> {
    /// Goes before the socket: nobody finds a file without one.
    file: Option<SocketFile>,
    socket: OwnedFd,
    accepts: PhantomData<fn() -> T>,
}

impl<T> UnixBound<T> {
    pub(super) fn new(socket: OwnedFd, file: Option<SocketFile>) -> Self {
        Self { file, socket, accepts: PhantomData }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// As the system says.
    pub fn address(&self) -> io::Result<UnixAddress> {
        let address = UnixAddress::of_socket(getsockname(&self.socket)?);
        address.ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }

    /// The socket file, if it has one.
    pub fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(SocketFile::path)
    }

    fn accept(&self) -> io::Result<(OwnedFd, String)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (client, peer) = acceptfrom_with(&self.socket, flags)?;
        let peer = peer.and_then(UnixAddress::of_socket);
        let peer = peer.filter(|peer| !peer.is_unnamed());
        Ok((client, peer.map(|peer| peer.to_string()).unwrap_or_default()))
    }
}

impl<T> Source for UnixBound<T> {
    fn register(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        SourceFd(&self.socket.as_raw_fd()).register(registry, token, interest)
    }
    fn reregister(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        SourceFd(&self.socket.as_raw_fd()).reregister(registry, token, interest)
    }
    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.socket.as_raw_fd()).deregister(registry)
    }
}

impl Accept for UnixBound {
    type Stream = UnixStream;

    fn accept_one(&self) -> io::Result<(UnixStream, String)> {
        let (client, peer) = self.accept()?;
        Ok((UnixStream::from_std(client.into()), peer))
    }
    fn kind(&self) -> &'static str {
        "unix listener"
    }
}

impl Accept for UnixBound<SeqPacket> {
    type Stream = SeqPacket;

    fn accept_one(&self) -> io::Result<(SeqPacket, String)> {
        let (client, peer) = self.accept()?;
        Ok((SeqPacket::new(client, None), peer))
    }
    fn kind(&self) -> &'static str {
        "unix seqpacket listener"
    }
}
