//! UDP sockets.

use super::socket::{Control, Datagrams};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{setsockopt, sockopt as nix_sockopt};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, ipproto, socket_with, sockopt};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

/// A UDP socket.
pub type Udp = Datagrams<SocketAddr>;

/// How a UDP socket is made.
///
/// ```
/// use eventdispatcher::{Communicator, Packet, UdpBind, UdpPackets, on_item};
///
/// let communicator = Communicator::new()?;
/// let server = UdpBind::new("127.0.0.1:0".parse()?).bind()?;
/// let address = server.local_address()?;
/// communicator.datagrams(server, on_item::<UdpPackets, _>(|packet, cx| {
///     if let Packet::Received { bytes, from } = packet {
///         cx.reply((bytes, &from))?; // from the same socket
///     }
///     Ok(())
/// }))?;
/// let client = communicator.datagrams(UdpBind::any_for(address).bind()?, on_item::<UdpPackets, _>(|packet, cx| {
///     assert_eq!(packet.received().map(|(bytes, _)| bytes), Some(&b"ping"[..]));
///     cx.close_all();
///     Ok(())
/// }))?;
/// communicator.send(client, (b"ping", &address))?;
/// communicator.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct UdpBind {
    address: SocketAddr,
    reuse_address: bool,
    only_v6: bool,
    broadcast: bool,
    receive_buffer: Option<usize>,
}

impl UdpBind {
    /// At `address`; port 0 is any free one.
    ///
    /// To take part in a multicast group, bind to its port at any address, or at the group's own address to get nothing
    /// but its packets, and [join](Control::join) it.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self { address, reuse_address: false, only_v6: false, broadcast: false, receive_buffer: None }
    }

    /// At any free port, from which packets can be sent to `to`.
    #[must_use]
    pub fn any_for(to: SocketAddr) -> Self {
        let any: IpAddr =
            if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { std::net::Ipv6Addr::UNSPECIFIED.into() };
        Self::new((any, 0).into())
    }

    /// Whether others of this user may bind to the same address: for multicast, where each gets every packet. Of
    /// unicast packets only the last one that was bound gets any. Off unless set.
    #[must_use]
    pub fn reuse_address(mut self, on: bool) -> Self {
        self.reuse_address = on;
        self
    }

    /// Whether a socket at an IPv6 address leaves IPv4 alone. Else one at `[::]` gets IPv4 packets too, from senders
    /// such as `[::ffff:192.0.2.1]:7`, unless the system is set otherwise.
    #[must_use]
    pub fn only_v6(mut self, on: bool) -> Self {
        self.only_v6 = on;
        self
    }

    /// Whether packets may be sent to broadcast addresses. Off unless set: it is easily a mistake.
    #[must_use]
    pub fn broadcast(mut self, on: bool) -> Self {
        self.broadcast = on;
        self
    }

    /// Asks for so many bytes of the system's memory for packets that were not read yet; what comes when that is full is
    /// lost. The system has a limit for it.
    #[must_use]
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.receive_buffer = Some(bytes);
        self
    }

    /// Makes the socket.
    ///
    /// # Errors
    /// As the system says; the error names the address.
    pub fn bind(self) -> io::Result<Udp> {
        let socket = self.socket().map_err(|error| {
            io::Error::new(error.kind(), format!("can't receive at {}: {error}", self.address))
        })?;
        Ok(Datagrams::new(socket, None))
    }

    fn socket(&self) -> io::Result<OwnedFd> {
        let socket = new_socket(self.address)?;
        sockopt::set_socket_reuseaddr(&socket, self.reuse_address)?;
        sockopt::set_socket_broadcast(&socket, self.broadcast)?;
        if let Some(bytes) = self.receive_buffer {
            sockopt::set_socket_recv_buffer_size(&socket, bytes)?;
        }
        // The system reports what comes back by ICMP, with the receiver that it is about.
        if self.address.is_ipv6() {
            setsockopt(&socket, nix_sockopt::Ipv6RecvErr, &true)?;
            if self.only_v6 {
                sockopt::set_ipv6_v6only(&socket, true)?;
            }
        }
        if self.address.is_ipv4() || !self.only_v6 {
            setsockopt(&socket, nix_sockopt::Ipv4RecvErr, &true)?;
        }
        bind(&socket, &self.address)?;
        Ok(socket)
    }
}

fn new_socket(like: SocketAddr) -> io::Result<OwnedFd> {
    let family = if like.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(family, SocketType::DGRAM, flags, Some(ipproto::UDP))?)
}

/// The number of a network interface such as `eth0`.
///
/// # Errors
/// When there is none of that name.
pub fn interface_index(name: &str) -> io::Result<u32> {
    if_nametoindex(name).map_err(|errno| {
        let error = io::Error::from(errno);
        io::Error::new(error.kind(), format!("no network interface {name:?}: {error}"))
    })
}

/// # Multicast, and other options of UDP
///
/// An interface is named by its [index](interface_index); 0 leaves the choice to the system's routes.
impl Control<SocketAddr> {
    /// Takes part in a multicast group: its packets to the port of the socket come in on `interface`.
    ///
    /// # Errors
    /// When `group` is no multicast address of the socket's version of IP, or as the system says.
    pub fn join(&self, group: IpAddr, interface: u32) -> io::Result<()> {
        let socket = self.open()?;
        let joined = match group {
            _ if !group.is_multicast() => return Err(no_group(group)),
            IpAddr::V4(group) => sockopt::set_ip_add_membership_with_ifindex(
                &*socket,
                &group,
                &Ipv4Addr::UNSPECIFIED,
                interface,
            ),
            IpAddr::V6(group) => sockopt::set_ipv6_add_membership(&*socket, &group, interface),
        };
        joined.map_err(|errno| about(group, "can't join", errno.into()))
    }

    /// Leaves a multicast group that was joined on `interface`.
    ///
    /// # Errors
    /// When it was not joined.
    pub fn leave(&self, group: IpAddr, interface: u32) -> io::Result<()> {
        let socket = self.open()?;
        let left = match group {
            IpAddr::V4(group) => sockopt::set_ip_drop_membership_with_ifindex(
                &*socket,
                &group,
                &Ipv4Addr::UNSPECIFIED,
                interface,
            ),
            IpAddr::V6(group) => sockopt::set_ipv6_drop_membership(&*socket, &group, interface),
        };
        left.map_err(|errno| about(group, "can't leave", errno.into()))
    }

    /// Sets through which interface multicast packets are sent.
    ///
    /// # Errors
    /// When there is none of this index.
    pub fn set_multicast_interface(&self, interface: u32) -> io::Result<()> {
        let any = Ipv4Addr::UNSPECIFIED;
        if self.is_v4()? {
            Ok(sockopt::set_ip_multicast_if_with_ifindex(&*self.open()?, &any, &any, interface)?)
        } else {
            Ok(sockopt::set_ipv6_multicast_if(&*self.open()?, interface)?)
        }
    }

    /// Sets whether multicast packets that are sent come to this computer, too. On unless set.
    ///
    /// # Errors
    /// As the system says.
    pub fn set_multicast_loop(&self, on: bool) -> io::Result<()> {
        if self.is_v4()? {
            Ok(sockopt::set_ip_multicast_loop(&*self.open()?, on)?)
        } else {
            Ok(sockopt::set_ipv6_multicast_loop(&*self.open()?, on)?)
        }
    }

    /// Sets how many routers a multicast packet passes, and one more; 1, which is this network, unless set.
    ///
    /// # Errors
    /// As the system says.
    pub fn set_multicast_ttl(&self, ttl: u8) -> io::Result<()> {
        if self.is_v4()? {
            Ok(sockopt::set_ip_multicast_ttl(&*self.open()?, ttl.into())?)
        } else {
            Ok(sockopt::set_ipv6_multicast_hops(&*self.open()?, ttl.into())?)
        }
    }

    /// Sets how many routers other packets pass, and one more.
    ///
    /// # Errors
    /// As the system says; 0 is no number for it.
    pub fn set_ttl(&self, ttl: u8) -> io::Result<()> {
        if self.is_v4()? {
            Ok(sockopt::set_ip_ttl(&*self.open()?, ttl.into())?)
        } else {
            Ok(sockopt::set_ipv6_unicast_hops(&*self.open()?, Some(ttl))?)
        }
    }

    /// Sets whether packets may be sent to broadcast addresses.
    ///
    /// # Errors
    /// As the system says.
    pub fn set_broadcast(&self, on: bool) -> io::Result<()> {
        Ok(sockopt::set_socket_broadcast(&*self.open()?, on)?)
    }

    fn is_v4(&self) -> io::Result<bool> {
        Ok(sockopt::socket_domain(&*self.open()?)? == AddressFamily::INET)
    }
}

/// The MTU of the way to `to`, in bytes, as far as the system knows: at first that of the interface. A packet that is longer
/// with its headers travels in fragments.
///
/// # Errors
/// When there is no way.
pub fn path_mtu(to: SocketAddr) -> io::Result<usize> {
    let socket = new_socket(to)?;
    connect(&socket, &to).map_err(|errno| about(to, "no way to", errno.into()))?;
    let mtu = if to.is_ipv4() { sockopt::ip_mtu(&socket)? } else { sockopt::ipv6_mtu(&socket)? };
    Ok(mtu as usize)
}

/// How many bytes a packet to `to` may have to travel in one piece: the [MTU](path_mtu) without the headers.
///
/// # Errors
/// As [`path_mtu`].
pub fn unfragmented_max(to: SocketAddr) -> io::Result<usize> {
    let headers = if to.is_ipv4() { 20 + 8 } else { 40 + 8 };
    Ok(path_mtu(to)?.saturating_sub(headers))
}

fn no_group(address: IpAddr) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, format!("{address} is no multicast address"))
}

fn about(address: impl std::fmt::Display, what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what} {address}: {error}"))
}
