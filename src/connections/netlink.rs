//! The kernel's netlink sockets: messages to it and from it.

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recvfrom, send,
    socket_with, sockopt,
};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// The length of a netlink header.
const HEADER: usize = 16;
/// An answer to a request: an error, or its acknowledgement with 0.
pub(super) const ERROR: u16 = 2;
/// The end of an answer of many parts.
pub(super) const DONE: u16 = 3;
/// The message is a request.
pub(super) const REQUEST: u16 = 1;
/// … for everything that there is.
pub(super) const DUMP: u16 = 0x300;

/// A netlink socket of one of the kernel's families.
#[derive(Debug)]
pub(super) struct Netlink(OwnedFd);

impl Netlink {
    /// `groups`: those whose messages are received, a bit for each.
    pub(super) fn open(family: Protocol, groups: u32) -> io::Result<Self> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(family))?;
        bind(&socket, &SocketAddrNetlink::new(0, groups))?;
        Ok(Self(socket))
    }

    /// Sets how many bytes may wait in the kernel. Beyond the limit of the system (`net.core.rmem_max`) with privilege only.
    pub(super) fn set_room(&self, bytes: usize) {
        if sockopt::set_socket_recv_buffer_size_force(&self.0, bytes).is_err() {
            let _ = sockopt::set_socket_recv_buffer_size(&self.0, bytes); // the default will do
        }
    }

    /// Sends one message to the kernel, which handles most kinds before this returns.
    pub(super) fn send(&self, kind: u16, flags: u16, payload: &[u8]) -> io::Result<()> {
        let length = HEADER + payload.len();
        let mut message = Vec::with_capacity(length);
        message.extend(u32::try_from(length).map_err(io::Error::other)?.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend([0; 8]); // sequence; and the port, which the kernel knows
        message.extend(payload);
        send(&self.0, &message, SendFlags::DONTWAIT)?;
        Ok(())
    }

    /// The messages of the next datagram. Other processes may send, too: those are passed over.
    ///
    /// # Errors
    /// `WouldBlock` when there is none. `ENOBUFS` when the kernel had to drop some.
    pub(super) fn receive<'b>(&self, buffer: &'b mut [u8]) -> io::Result<Messages<'b>> {
        let length = loop {
            match recvfrom(&self.0, &mut *buffer, RecvFlags::DONTWAIT) {
                Err(rustix::io::Errno::INTR) => {}
                Ok((length, _, from)) => {
                    let from = from.and_then(|from| SocketAddrNetlink::try_from(from).ok());
                    if from.is_some_and(|from| from.pid() == 0) {
                        break length;
                    }
                }
                Err(error) => return Err(error.into()),
            }
        };
        Ok(Messages(buffer.get(..length).unwrap_or_default()))
    }
}

impl Source for Netlink {
    fn register(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        SourceFd(&self.0.as_raw_fd()).register(registry, token, interest)
    }
    fn reregister(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        SourceFd(&self.0.as_raw_fd()).reregister(registry, token, interest)
    }
    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.0.as_raw_fd()).deregister(registry)
    }
}

/// The messages of one datagram. What is cut off or lies about its length ends it.
#[derive(Debug, Clone)]
pub(super) struct Messages<'b>(&'b [u8]);

/// One message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message<'b> {
    pub(super) kind: u16,
    pub(super) payload: &'b [u8],
}

impl<'b> Iterator for Messages<'b> {
    type Item = Message<'b>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = std::mem::take(&mut self.0);
        let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
        let payload = bytes.get(HEADER..length)?;
        let next = length.checked_next_multiple_of(4)?;
        self.0 = bytes.get(next..).unwrap_or_default();
        Some(Message { kind: u16_at(bytes, 4)?, payload })
    }
}

impl Message<'_> {
    /// The number of the error that it tells, 0 for none; if it tells of an end.
    pub(super) fn error(&self) -> Option<i32> {
        let number = u32_at(self.payload, 0).map_or(0, u32::cast_signed);
        matches!(self.kind, ERROR | DONE).then_some(number.saturating_neg())
    }
}

/// A number at its place, in the machine's order of bytes.
pub(super) fn u32_at(bytes: &[u8], place: usize) -> Option<u32> {
    bytes.get(place..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

/// As [`u32_at`].
pub(super) fn u16_at(bytes: &[u8], place: usize) -> Option<u16> {
    bytes.get(place..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

/// As [`u32_at`].
pub(super) fn u64_at(bytes: &[u8], place: usize) -> Option<u64> {
    bytes.get(place..)?.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: u32, kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn a_datagram_is_taken_apart_and_nothing_in_it_can_do_harm() {
        let check = |bytes: &[u8], expected: &[(u16, &[u8])]| {
            let found: Vec<_> = Messages(bytes).map(|message| (message.kind, message.payload)).collect();
            assert_eq!(found, expected, "{bytes:?}");
        };
        let (one, two) = (message(19, 7, b"abc\0"), message(20, 8, b"defg"));
        let both = [one.clone(), two.clone()].concat();
        check(&both, &[(7, b"abc"), (8, b"defg")]);
        check(&both[..both.len() - 1], &[(7, b"abc")]);
        check(&one[..19], &[(7, b"abc")]);
        check(&message(16, 9, b""), &[(9, b"")]);
        for length in [0, 15, 21, 1 << 20, u32::MAX] {
            check(&message(length, 7, b"abcd"), &[]);
        }
        for length in 0..16 {
            check(&two[..length], &[]);
        }
    }

    #[test]
    fn errors_have_their_number() {
        let of = |kind, payload: &[u8]| Message { kind, payload }.error();
        assert_eq!(of(ERROR, &(-2_i32).to_ne_bytes()), Some(2));
        assert_eq!(of(DONE, &0_i32.to_ne_bytes()), Some(0));
        assert_eq!(of(DONE, &[]), Some(0));
        assert_eq!(of(ERROR, &i32::MIN.to_ne_bytes()), Some(i32::MAX));
        assert_eq!(of(20, &(-2_i32).to_ne_bytes()), None);
    }
}
