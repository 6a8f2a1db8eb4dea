//! Unix sockets that carry packets.

use super::address::Connected;
use super::socket::{Control, Datagrams};
use crate::connections::unix_address::UnixAddress;
use crate::connections::unix_bind::new_socket;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socketpair, sockopt};
use std::io;

/// A Unix datagram socket.
///
/// A receiver that takes nothing keeps no other one from its packets: what is for it waits, and counts as queued, until it
/// takes it or [has not](Datagrams::patience) for too long.
pub type UnixDatagrams = Datagrams<UnixAddress>;

/// A connection of packets: in order, none lost, each as a whole (`SOCK_SEQPACKET`). The codec is
/// [`Records`](super::Records).
pub type SeqPacket = Datagrams<Connected>;

impl UnixDatagrams {
    /// A socket without a name: it can send, and nobody can answer.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn unnamed() -> io::Result<Self> {
        Ok(Self::new(new_socket(SocketType::DGRAM)?, None))
    }
}

impl SeqPacket {
    /// Connects to a listener. The system answers at once: there is nothing to wait for.
    ///
    /// # Errors
    /// When nobody listens there, or it may not be used; the error names the address.
    pub fn connect(address: &UnixAddress) -> io::Result<Self> {
        let socket = new_socket(SocketType::SEQPACKET)?;
        connect(&socket, address.as_socket()).map_err(|errno| {
            let error = io::Error::from(errno);
            io::Error::new(error.kind(), format!("can't connect to {address}: {error}"))
        })?;
        Ok(Self::new(socket, None))
    }

    /// Two that are connected.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn pair() -> io::Result<(Self, Self)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self::new(one, None), Self::new(other, None)))
    }
}

impl Control<UnixAddress> {
    /// The longest packet that the system sends, in bytes.
    ///
    /// # Errors
    /// When the socket is closed.
    pub fn packet_max(&self) -> io::Result<usize> {
        // What the system says is twice what it gives; of that it keeps 32 bytes.
        Ok(sockopt::socket_send_buffer_size(&*self.open()?)?.saturating_sub(32))
    }

    /// Asks for a longer [longest packet](Self::packet_max). The system has a limit for it.
    ///
    /// # Errors
    /// When the socket is closed.
    pub fn set_send_buffer(&self, bytes: usize) -> io::Result<()> {
        Ok(sockopt::set_socket_send_buffer_size(&*self.open()?, bytes)?)
    }
}
