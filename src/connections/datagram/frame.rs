//! How packets stand one behind the other in a queue or a buffer of bytes.

use super::address::Address;

/// Kind, two numbers; the address comes behind.
const FIXED: usize = 9;

/// What stands in front of the bytes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head<A> {
    pub(super) kind: Kind,
    /// So many bytes follow.
    pub(super) length: usize,
    /// Where it goes to, or comes from.
    pub(super) address: A,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Whole,
    /// It had so many bytes.
    Truncated(u32),
    /// It could not be delivered: the number of the system's error.
    Undelivered(i32),
}

impl<A: Address> Head<A> {
    /// As bytes.
    pub(super) const SIZE: usize = FIXED + A::SIZE;

    /// The head at the start of `bytes`; `None` if they are too few, or no head.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (head, _) = bytes.split_at_checked(Self::SIZE)?;
        let (&kind, head) = head.split_first()?;
        let (length, head) = head.split_first_chunk()?;
        let (number, address) = head.split_first_chunk()?;
        let kind = match kind {
            0 => Kind::Whole,
            1 => Kind::Truncated(u32::from_le_bytes(*number)),
            2 => Kind::Undelivered(i32::from_le_bytes(*number)),
            _ => return None,
        };
        Some(Self { kind, length: u32::from_le_bytes(*length) as usize, address: A::read(address)? })
    }

    /// Writes it over the first [`SIZE`](Self::SIZE) bytes of `place`.
    pub(super) fn write(&self, place: &mut [u8]) {
        let (kind, number) = match self.kind {
            Kind::Whole => (0, [0; 4]),
            Kind::Truncated(length) => (1, length.to_le_bytes()),
            Kind::Undelivered(error) => (2, error.to_le_bytes()),
        };
        let length = u32::try_from(self.length).unwrap_or(u32::MAX);
        place[0] = kind;
        place[1..5].copy_from_slice(&length.to_le_bytes());
        place[5..FIXED].copy_from_slice(&number);
        self.address.write(&mut place[FIXED..Self::SIZE]);
    }

    /// With the bytes that follow.
    pub(super) fn frame_size(&self) -> usize {
        Self::SIZE.saturating_add(self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connections::datagram::UnixAddress;
    use std::net::SocketAddr;

    #[test]
    fn a_head_survives_as_bytes_and_no_part_of_one_is_taken_for_one() {
        fn check<A: Address>(address: &A) {
            for kind in [Kind::Whole, Kind::Truncated(u32::MAX), Kind::Undelivered(111)] {
                let head = Head { kind, length: 70_000, address: address.clone() };
                let mut bytes = vec![0xff; Head::<A>::SIZE];
                head.write(&mut bytes);
                assert_eq!(Head::read(&bytes), Some(head.clone()));
                assert_eq!(head.frame_size(), bytes.len() + 70_000);
                for length in 0..bytes.len() {
                    assert_eq!(Head::<A>::read(&bytes[..length]), None);
                }
                bytes[0] = 3;
                assert_eq!(Head::<A>::read(&bytes), None);
            }
        }
        for address in ["1.2.3.4:5", "[::1]:65535", "[fe80::1%7]:1"] {
            check::<SocketAddr>(&address.parse().unwrap());
        }
        check(&UnixAddress::unnamed());
        check(&UnixAddress::file("/run/a.sock").unwrap());
        check(&UnixAddress::file("/".to_owned() + &"x".repeat(106)).unwrap());
        check(&UnixAddress::abstract_name(b"a\0b\xff").unwrap());
        check(&UnixAddress::abstract_name([0; 107]).unwrap());
        check(&super::super::Connected);
    }
}
