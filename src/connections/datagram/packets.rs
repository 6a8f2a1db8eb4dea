//! Packets as items.

use super::address::{Address, Connected};
use super::frame::{Head, Kind};
use crate::codec::{Codec, DecodeError, Decoded, EncodeError};
use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;

/// The codec of datagram sockets: an item is one packet, with who has sent it; what is sent is bytes and whom they are for.
///
/// What stands in a queue, and counts there, is each packet with its address: 36 bytes more for UDP, 119 for Unix
/// datagrams.
#[derive(Debug)]
pub struct Packets<A>(PhantomData<A>);

/// The codec of UDP sockets.
pub type UdpPackets = Packets<SocketAddr>;
/// The codec of Unix datagram sockets.
pub type UnixPackets = Packets<super::UnixAddress>;

/// What a datagram socket hands over.
#[derive(Debug)]
#[non_exhaustive]
pub enum Packet<'a, A> {
    /// A packet came.
    Received {
        /// What is in it; may be empty.
        bytes: &'a [u8],
        /// Who has sent it, and gets an answer. A Unix socket without a name gets none.
        from: A,
    },
    /// A packet came that is longer than this side takes; the rest of it is lost.
    Truncated {
        /// Its beginning.
        bytes: &'a [u8],
        /// Who has sent it.
        from: A,
        /// So many bytes it had.
        length: usize,
    },
    /// A packet that was sent earlier did not arrive, as far as the system knows: nobody is there, it is too long for the
    /// way, the receiver has taken nothing for too long. That most of what is lost on a network is not reported is in the
    /// nature of it. The socket goes on.
    Undelivered {
        /// For whom it was.
        to: A,
        /// Why it did not arrive.
        error: io::Error,
    },
}

impl<'a, A> Packet<'a, A> {
    /// The whole packet, and who has sent it.
    pub fn received(self) -> Option<(&'a [u8], A)> {
        match self {
            Self::Received { bytes, from } => Some((bytes, from)),
            _ => None,
        }
    }
}

impl<A> Packets<A> {
    /// There is nothing to set: what a packet may have is the socket's.
    #[must_use]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<A> Default for Packets<A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<A: Address> Codec for Packets<A> {
    type In<'a> = Packet<'a, A>;
    type Out<'a> = (&'a [u8], &'a A);

    fn decode<'a>(&'a mut self, input: &'a [u8]) -> Result<Decoded<Self::In<'a>>, DecodeError> {
        if input.len() < Head::<A>::SIZE {
            return Ok(Decoded::More);
        }
        let head = Head::<A>::read(input).ok_or_else(|| DecodeError::invalid("no packet begins so", 0))?;
        let size = head.frame_size();
        let Some(bytes) = input.get(Head::<A>::SIZE..size) else { return Ok(Decoded::More) };
        let address = head.address;
        let packet = match head.kind {
            Kind::Whole => Packet::Received { bytes, from: address },
            Kind::Truncated(length) => Packet::Truncated { bytes, from: address, length: length as usize },
            Kind::Undelivered(code) => {
                Packet::Undelivered { to: address, error: io::Error::from_raw_os_error(code) }
            }
        };
        Ok(Decoded::Item(packet, size))
    }

    fn encode((bytes, to): (&[u8], &A), out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let limit = to.packet_max();
        if bytes.len() > limit {
            return Err(EncodeError::TooLong { limit });
        }
        let start = out.len();
        out.resize(start + Head::<A>::SIZE, 0);
        let head = Head { kind: Kind::Whole, length: bytes.len(), address: to.clone() };
        head.write(&mut out[start..]);
        out.extend_from_slice(bytes);
        Ok(())
    }
}

/// The codec of connections that carry packets, such as [`SeqPacket`](super::SeqPacket): an item is the bytes of one.
///
/// A packet that is longer than the socket takes ends the connection.
#[derive(Debug, Default)]
pub struct Records(Packets<Connected>);

impl Records {
    /// There is nothing to set: what a packet may have is the socket's.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Codec for Records {
    type In<'a> = &'a [u8];
    type Out<'a> = &'a [u8];

    fn decode<'a>(&'a mut self, input: &'a [u8]) -> Result<Decoded<&'a [u8]>, DecodeError> {
        Ok(match self.0.decode(input)? {
            Decoded::Item(Packet::Received { bytes, .. }, took) => Decoded::Item(bytes, took),
            Decoded::Item(Packet::Truncated { bytes, .. }, _) => {
                return Err(DecodeError::TooLong { limit: bytes.len() });
            }
            Decoded::Item(Packet::Undelivered { .. }, took) | Decoded::Skip(took) => Decoded::Skip(took),
            Decoded::More => Decoded::More,
        })
    }

    fn encode(item: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if item.is_empty() {
            return Err(EncodeError::invalid("an empty packet looks like the end of the connection"));
        }
        Packets::encode((item, &Connected), out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_out_as_they_went_in_however_they_are_cut() {
        let to: SocketAddr = "127.0.0.1:7".parse().unwrap();
        let mut stream = Vec::new();
        let packets = [&b""[..], b"one", &[7; 65_507]];
        for bytes in packets {
            UdpPackets::encode((bytes, &to), &mut stream).unwrap();
        }
        let mut codec = UdpPackets::new();
        let mut left = &stream[..];
        for expected in packets {
            for cut in [0, 1, Head::<SocketAddr>::SIZE - 1, Head::<SocketAddr>::SIZE + expected.len() - 1] {
                assert!(matches!(codec.decode(&left[..cut]), Ok(Decoded::More)), "{cut}");
            }
            let Decoded::Item(packet, took) = codec.decode(left).unwrap() else { panic!("no item") };
            assert_eq!(packet.received(), Some((expected, to)));
            left = &left[took..];
        }
        assert_eq!(left, b"");
    }

    #[test]
    fn what_no_packet_can_hold_is_refused_when_it_is_sent() {
        fn check(to: &str, limit: usize) {
            let (to, mut out) = (to.parse().unwrap(), Vec::new());
            assert_eq!(UdpPackets::encode((&vec![0; limit], &to), &mut out), Ok(()));
            let refused = UdpPackets::encode((&vec![0; limit + 1], &to), &mut out);
            assert_eq!(refused, Err(EncodeError::TooLong { limit }));
        }
        check("127.0.0.1:7", 65_507);
        check("[::1]:7", 65_527);
    }

    #[test]
    fn bytes_that_are_no_packet_are_an_error() {
        let mut bytes = Vec::new();
        UdpPackets::encode((b"x", &"127.0.0.1:7".parse().unwrap()), &mut bytes).unwrap();
        for (place, byte) in [(0, 9), (9, 5)] {
            let mut bytes = bytes.clone();
            bytes[place] = byte;
            let error = UdpPackets::new().decode(&bytes).unwrap_err();
            assert_eq!(error, DecodeError::invalid("no packet begins so", 0));
        }
    }
}
