//! Who packets go to and come from.

use crate::connections::unix_address::UnixAddress;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketAddrAny, recvfrom, send, sendto};
use std::fmt::{self, Debug, Display};
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::BorrowedFd;

/// What packets can be addressed with: `SocketAddr` for UDP, [`UnixAddress`] for Unix datagrams, [`Connected`] where there
/// is only one other side.
pub trait Address: Clone + Eq + Hash + Debug + Display + Packaged {}

impl Address for SocketAddr {}
impl Address for UnixAddress {}
impl Address for Connected {}

/// The other side of a connection that carries packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Connected;

impl Display for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the other side")
    }
}

/// What differs between kinds of packet sockets. It can't be named outside, so there are no other kinds.
pub trait Packaged: Sized + 'static {
    /// A word for logs and listings.
    const KIND: &'static str;
    /// As bytes.
    const SIZE: usize;
    /// A receiver that takes nothing does not keep the others from it.
    const HOLDS_BACK: bool = false;
    /// The system reports what became of earlier packets instead of doing what it is asked to.
    const LATE_ERRORS: bool = false;
    /// There is one other side, and it can end.
    const CONNECTED: bool = false;

    /// Writes [`SIZE`](Self::SIZE) bytes.
    fn write(&self, place: &mut [u8]);
    fn read(bytes: &[u8]) -> Option<Self>;
    /// Who has sent a packet.
    fn sender(address: Option<SocketAddrAny>) -> Option<Self>;
    /// The longest packet that can be sent there.
    fn packet_max(&self) -> usize;
    fn send(&self, socket: BorrowedFd<'_>, bytes: &[u8]) -> Result<(), Errno>;
}

pub(super) const SEND: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

/// How many bytes the packet has, which may be more than there is room for, and who has sent it.
pub(super) fn receive(
    socket: BorrowedFd<'_>,
    into: &mut [u8],
) -> Result<(usize, Option<SocketAddrAny>), Errno> {
    let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
    recvfrom(socket, into, flags).map(|(_, length, from)| (length, from))
}

impl Packaged for SocketAddr {
    const KIND: &'static str = "udp";
    const SIZE: usize = 27;
    const LATE_ERRORS: bool = true;

    fn write(&self, place: &mut [u8]) {
        let (version, ip, flow, scope) = match self {
            Self::V4(v4) => (4, v4.ip().to_ipv6_mapped(), 0, 0),
            Self::V6(v6) => (6, *v6.ip(), v6.flowinfo(), v6.scope_id()),
        };
        place[0] = version;
        place[1..17].copy_from_slice(&ip.octets());
        place[17..19].copy_from_slice(&self.port().to_le_bytes());
        place[19..23].copy_from_slice(&u32::to_le_bytes(flow));
        place[23..27].copy_from_slice(&u32::to_le_bytes(scope));
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (&version, rest) = bytes.split_first()?;
        let (ip, rest) = rest.split_first_chunk::<16>()?;
        let (port, rest) = rest.split_first_chunk()?;
        let (flow, rest) = rest.split_first_chunk()?;
        let (ip, port) = (Ipv6Addr::from(*ip), u16::from_le_bytes(*port));
        let (flow, scope) = (u32::from_le_bytes(*flow), u32::from_le_bytes(*rest.first_chunk()?));
        match version {
            4 => Some(Self::new(IpAddr::V4(ip.to_ipv4_mapped()?), port)),
            6 => Some(Self::V6(SocketAddrV6::new(ip, port, flow, scope))),
            _ => None,
        }
    }

    fn sender(address: Option<SocketAddrAny>) -> Option<Self> {
        address?.try_into().ok()
    }

    /// What is left of 65,535 bytes by the headers; IPv6 does not count its own.
    fn packet_max(&self) -> usize {
        if self.is_ipv4() { 65_507 } else { 65_527 }
    }

    fn send(&self, socket: BorrowedFd<'_>, bytes: &[u8]) -> Result<(), Errno> {
        sendto(socket, bytes, SEND, self).map(drop)
    }
}

impl Packaged for UnixAddress {
    const KIND: &'static str = "unix datagram";
    const SIZE: usize = 110;
    const HOLDS_BACK: bool = true;

    fn write(&self, place: &mut [u8]) {
        let (kind, name) = match (self.path(), self.as_abstract()) {
            (Some(_), _) => (b'/', self.bytes()),
            (_, Some(_)) => (b'@', self.bytes()),
            _ => (b'-', self.bytes()),
        };
        place[0] = kind;
        place[1] = u8::try_from(name.len()).unwrap_or_default();
        place[2..2 + name.len()].copy_from_slice(name);
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (&[kind, length], rest) = bytes.split_first_chunk()?;
        let name = rest.get(..usize::from(length))?;
        match kind {
            b'/' => Self::of_path_bytes(name),
            b'@' => Self::abstract_name(name).ok(),
            b'-' => Some(Self::unnamed()),
            _ => None,
        }
    }

    fn sender(address: Option<SocketAddrAny>) -> Option<Self> {
        address.map_or_else(|| Some(Self::unnamed()), Self::of_socket)
    }

    /// The system's own limit depends on how it is set.
    fn packet_max(&self) -> usize {
        super::LARGEST_MAX
    }

    fn send(&self, socket: BorrowedFd<'_>, bytes: &[u8]) -> Result<(), Errno> {
        if self.is_unnamed() {
            return Err(Errno::DESTADDRREQ);
        }
        sendto(socket, bytes, SEND, self.as_socket()).map(drop)
    }
}

impl Packaged for Connected {
    const KIND: &'static str = "unix seqpacket";
    const SIZE: usize = 0;
    const CONNECTED: bool = true;

    fn write(&self, _: &mut [u8]) {}

    fn read(_: &[u8]) -> Option<Self> {
        Some(Self)
    }

    fn sender(_: Option<SocketAddrAny>) -> Option<Self> {
        Some(Self)
    }

    fn packet_max(&self) -> usize {
        super::LARGEST_MAX
    }

    fn send(&self, socket: BorrowedFd<'_>, bytes: &[u8]) -> Result<(), Errno> {
        send(socket, bytes, SEND).map(drop)
    }
}
