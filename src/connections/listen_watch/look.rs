//! Whether anybody listens on a TCP address, as the kernel knows.

use crate::connections::netlink::{DUMP, Netlink, REQUEST, u32_at};
use rustix::net::netlink::SOCK_DIAG;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A question about sockets of one family and protocol; and an answer.
const BY_FAMILY: u16 = 20;
const TCP: u8 = 6;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// The state of a TCP socket that listens.
const LISTEN: u8 = 10;
/// Where the state stands in an answer.
const STATE: usize = 1;
/// "Any socket of this address", instead of the number of one.
const NO_COOKIE: [u8; 8] = [0xff; 8];
/// So many answers are passed over while the one to a question is looked for.
const ANSWERS: usize = 16;
const NOT_FOUND: i32 = nix::libc::ENOENT;

/// How to look at one address.
pub(super) enum Look {
    Diag(Diag),
    Proc(Proc),
}

impl Look {
    pub(super) fn new(address: SocketAddr) -> io::Result<Self> {
        match Diag::new(address) {
            Ok(diag) => Ok(Self::Diag(diag)),
            Err(error) => {
                log::debug!("sock_diag can't be asked ({error}): /proc is read for {address}");
                Proc::new(address).map(Self::Proc)
            }
        }
    }

    pub(super) fn is_listening(&mut self) -> io::Result<bool> {
        match self {
            Self::Diag(diag) => diag.is_listening(),
            Self::Proc(proc) => proc.is_listening(),
        }
    }
}

/// Asks for the one socket that a connection to the address would find. The kernel answers before `send` has returned.
pub(super) struct Diag {
    socket: Netlink,
    question: [u8; 56],
    buffer: Vec<u8>,
}

impl Diag {
    pub(super) fn new(address: SocketAddr) -> io::Result<Self> {
        let mut diag =
            Self { socket: Netlink::open(SOCK_DIAG, 0)?, question: question(address), buffer: vec![0; 4096] };
        // A kernel without this part says "not found", too. Of no state there is no socket: what counts is how the list ends.
        let mut nothing = diag.question;
        nothing[4..8].fill(0);
        diag.socket.send(BY_FAMILY, REQUEST | DUMP, &nothing)?;
        match diag.answer()? {
            Answer::End(0) => Ok(diag),
            Answer::End(number) => Err(io::Error::from_raw_os_error(number)),
            Answer::Socket(_) => Err(io::Error::other("the kernel's answer makes no sense")),
        }
    }

    pub(super) fn is_listening(&mut self) -> io::Result<bool> {
        self.socket.send(BY_FAMILY, REQUEST, &self.question)?;
        match self.answer()? {
            Answer::Socket(state) => Ok(state == LISTEN),
            Answer::End(NOT_FOUND) => Ok(false),
            Answer::End(number) => Err(io::Error::from_raw_os_error(number)),
        }
    }

    fn answer(&mut self) -> io::Result<Answer> {
        for _ in 0..ANSWERS {
            for message in self.socket.receive(&mut self.buffer)? {
                if let Some(number) = message.error() {
                    return Ok(Answer::End(number));
                }
                if let (BY_FAMILY, Some(&state)) = (message.kind, message.payload.get(STATE)) {
                    return Ok(Answer::Socket(state));
                }
            }
        }
        Err(io::Error::other("the kernel's answer makes no sense"))
    }
}

enum Answer {
    Socket(u8),
    End(i32),
}

/// `struct inet_diag_req_v2`: the numbers of the address are in the order of the network, the others in that of the machine.
fn question(address: SocketAddr) -> [u8; 56] {
    let (family, interface) = match address {
        SocketAddr::V4(_) => (AF_INET, 0),
        SocketAddr::V6(address) => (AF_INET6, address.scope_id()),
    };
    let mut question = [0; 56];
    (question[0], question[1]) = (family, TCP);
    question[4..8].copy_from_slice(&(1_u32 << LISTEN).to_ne_bytes());
    question[8..10].copy_from_slice(&address.port().to_be_bytes());
    match address.ip() {
        IpAddr::V4(ip) => question[12..16].copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => question[12..28].copy_from_slice(&ip.octets()),
    }
    question[44..48].copy_from_slice(&interface.to_ne_bytes());
    question[48..56].copy_from_slice(&NO_COOKIE);
    question
}

/// Reads the kernel's tables of all sockets.
pub(super) struct Proc {
    address: SocketAddr,
    line: Vec<u8>,
}

impl Proc {
    pub(super) fn new(address: SocketAddr) -> io::Result<Self> {
        let mut proc = Self { address, line: Vec::new() };
        proc.is_listening()?;
        Ok(proc)
    }

    pub(super) fn is_listening(&mut self) -> io::Result<bool> {
        // A listener of IPv6 may serve IPv4, too; a kernel without IPv6 has no table of it.
        match (self.search("/proc/net/tcp6"), self.address.is_ipv4()) {
            (Ok(true), _) => Ok(true),
            (Ok(false) | Err(_), true) => self.search("/proc/net/tcp"),
            (found, false) => found,
        }
    }

    fn search(&mut self, path: &str) -> io::Result<bool> {
        let about = |error: io::Error| io::Error::new(error.kind(), format!("can't read {path}: {error}"));
        let mut table = BufReader::new(File::open(path).map_err(about)?);
        loop {
            self.line.clear();
            if table.read_until(b'\n', &mut self.line).map_err(about)? == 0 {
                return Ok(false);
            }
            if listener(&self.line).is_some_and(|listener| serves(listener, self.address)) {
                return Ok(true);
            }
        }
    }
}

/// The address of a line of `/proc/net/tcp` or `tcp6`, if it is of a socket that listens.
fn listener(line: &[u8]) -> Option<SocketAddr> {
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace().skip(1);
    let (address, _, state) = (words.next()?, words.next()?, words.next()?);
    if u8::from_str_radix(state, 16) != Ok(LISTEN) {
        return None;
    }
    let (ip, port) = address.split_once(':')?;
    // Groups of four bytes, each written as a number in the machine's order.
    let mut octets = [0; 16];
    let groups = ip.as_bytes().chunks(8);
    let length = groups.len() * 4;
    for (place, group) in octets.chunks_exact_mut(4).zip(groups) {
        let number = u32::from_str_radix(std::str::from_utf8(group).ok()?, 16).ok()?;
        place.copy_from_slice(&number.to_ne_bytes());
    }
    let ip = match length {
        4 => Ipv4Addr::from(u32_at(&octets, 0)?.to_ne_bytes()).into(),
        16 => Ipv6Addr::from(octets).into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// Whether a connection to `address` would come to `listener`. That one of IPv6 serves IPv4, too, is the default, and
/// not to be seen here.
fn serves(listener: SocketAddr, address: SocketAddr) -> bool {
    let same_kind = listener.is_ipv4() == address.is_ipv4();
    let ip = address.ip().to_canonical();
    listener.port() == address.port()
        && (listener.ip().to_canonical() == ip
            || (listener.ip().is_unspecified() && (same_kind || listener.is_ipv6())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_tables_are_understood() {
        let check = |line: &str, expected: Option<&str>| {
            assert_eq!(listener(line.as_bytes()), expected.map(|text| text.parse().unwrap()), "{line}");
        };
        if cfg!(target_endian = "little") {
            check(
                "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:0 0 0 624 1",
                Some("127.0.0.1:8080"),
            );
            check("0: 00000000000000000000000001000000:0050 0:0 0A", Some("[::1]:80"));
            check("0: 0000000000000000FFFF00000100007F:0050 0:0 0A", Some("[::ffff:127.0.0.1]:80"));
        }
        check("   0: 0100007F:1F90 0100007F:9999 01 00000000:00000000 00:0 0 0 624 1", None);
        check("  sl  local_address rem_address   st tx_queue rx_queue tr", None);
        for line in [
            "",
            "0:",
            "0: 0100007F 0:0 0A",
            "0: 0100007F:X 0:0 0A",
            "0: 0100007F:12345 0:0 0A",
            "0: :1 0:0 0A",
        ] {
            check(line, None);
        }
        check("0: 0100007F0100007F:0050 0:0 0A", None);
        check(&format!("0: {}:0050 0:0 0A", "0".repeat(40)), None);
        check("0: 000000000000000000000000é00000:0050 0:0 0A", None);
        assert_eq!(listener(b"0: \xff:1 0:0 0A"), None);
    }

    #[test]
    fn a_listener_serves_its_address_and_all_of_them_if_it_is_told_so() {
        for (listener, address, expected) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("0.0.0.0:80", "127.0.0.2:80", true),
            ("127.0.0.1:80", "0.0.0.0:80", false),
            ("[::]:80", "127.0.0.2:80", true),
            ("[::]:80", "[::1]:80", true),
            ("[::1]:80", "127.0.0.1:80", false),
            ("[::ffff:127.0.0.1]:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "[::1]:80", false),
        ] {
            let found = serves(listener.parse().unwrap(), address.parse().unwrap());
            assert_eq!(found, expected, "{listener} for {address}");
        }
    }
}
