//! Where a message goes.

use clap::ValueEnum;
use std::fmt;
use std::path::PathBuf;

/// Where a communicator daemon listens, unless it is said.
const HOST: &str = "127.0.0.1";
const PORT: u16 = 4041;

/// How a message travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// One datagram
    Udp,
    /// A stream
    Tcp,
    /// A stream through a socket file
    Unix,
    /// One datagram through a socket file
    Dgram,
}

/// Where a message goes, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    Udp(String, u16),
    Tcp(String, u16),
    /// A socket file; if the kind is not known, the file tells.
    File(PathBuf, Option<FileKind>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileKind {
    Stream,
    Datagram,
}

impl Address {
    /// Reads `[udp:|tcp:|unix:|dgram:]ADDRESS`, where the address is a host, a port or both, or, with a `/` in it, the
    /// path of a socket file. `kind` is what was said elsewhere, `usual` what a host is if nothing is.
    ///
    /// # Errors
    /// When it is no address, or of another kind.
    pub(crate) fn parse(text: &str, kind: Option<Kind>, usual: Kind) -> Result<Self, String> {
        let (own, rest) = match text.split_once(':') {
            Some(("udp", rest)) => (Some(Kind::Udp), rest),
            Some(("tcp", rest)) => (Some(Kind::Tcp), rest),
            Some(("unix", rest)) => (Some(Kind::Unix), rest),
            Some(("dgram", rest)) => (Some(Kind::Dgram), rest),
            _ => (None, text),
        };
        if let (Some(own), Some(kind)) = (own, kind)
            && own != kind
        {
            return Err(format!("{text:?} is not for messages of the type {}", kind.name()));
        }
        let is_path = rest.contains('/');
        let kind = match (own.or(kind), is_path) {
            (None, true) => return Ok(Self::File(rest.into(), None)),
            (None, false) => usual,
            (Some(kind), _) => kind,
        };
        match (kind, is_path) {
            (Kind::Udp | Kind::Tcp, true) => {
                Err(format!("{rest:?} is a path, which is no address of the type {}", kind.name()))
            }
            (Kind::Udp, false) => host_and_port(rest).map(|(host, port)| Self::Udp(host, port)),
            (Kind::Tcp, false) => host_and_port(rest).map(|(host, port)| Self::Tcp(host, port)),
            (Kind::Unix | Kind::Dgram, _) if rest.is_empty() => Err(format!("{text:?} names no socket file")),
            (Kind::Unix, _) => Ok(Self::File(rest.into(), Some(FileKind::Stream))),
            (Kind::Dgram, _) => Ok(Self::File(rest.into(), Some(FileKind::Datagram))),
        }
    }

    /// Whether messages travel in datagrams, as far as that is known.
    pub(crate) fn is_datagram(&self) -> Option<bool> {
        match self {
            Self::Udp(..) => Some(true),
            Self::Tcp(..) => Some(false),
            Self::File(_, kind) => kind.map(|kind| kind == FileKind::Datagram),
        }
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Unix => "unix",
            Self::Dgram => "dgram",
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(host, port) if host.contains(':') => write!(f, "udp:[{host}]:{port}"),
            Self::Udp(host, port) => write!(f, "udp:{host}:{port}"),
            Self::Tcp(host, port) if host.contains(':') => write!(f, "tcp:[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "tcp:{host}:{port}"),
            Self::File(path, _) => path.display().fmt(f),
        }
    }
}

/// `host`, `host:port`, `:port`, `[v6]:port`, `[v6]`, `v6`.
fn host_and_port(text: &str) -> Result<(String, u16), String> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':').unwrap_or(rest))),
        // More than one colon, and no brackets: an address of version 6.
        None => match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') => (host, Some(port)),
            _ => (text, None),
        },
    };
    if host.contains(['[', ']']) || host.contains(char::is_whitespace) {
        return Err(format!("{text:?} is no address"));
    }
    let port = match port {
        None => PORT,
        Some(port) => match port.parse() {
            Ok(port) if port > 0 => port,
            _ => return Err(format!("{port:?} is no port")),
        },
    };
    Ok((if host.is_empty() { HOST.to_owned() } else { host.to_owned() }, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, kind: Option<Kind>) -> Result<String, String> {
        let address = Address::parse(text, kind, Kind::Udp)?;
        Ok(match &address {
            Address::File(path, kind) => format!("{kind:?} {}", path.display()),
            _ => address.to_string(),
        })
    }

    #[test]
    fn hosts_and_ports_have_defaults() {
        let check = |text: &str, expected: &str| assert_eq!(parse(text, None).unwrap(), expected, "{text}");
        check("10.0.0.1:4040", "udp:10.0.0.1:4040");
        check("10.0.0.1", "udp:10.0.0.1:4041");
        check(":4040", "udp:127.0.0.1:4040");
        check("", "udp:127.0.0.1:4041");
        check("web-1.example.org:80", "udp:web-1.example.org:80");
        check("[::1]:80", "udp:[::1]:80");
        check("[::1]", "udp:[::1]:4041");
        check("::1", "udp:[::1]:4041");
        check("tcp:::1", "tcp:[::1]:4041");
        check("tcp:web:80", "tcp:web:80");
    }

    #[test]
    fn what_has_a_slash_is_a_file() {
        let check = |text: &str, kind, expected: &str| {
            assert_eq!(parse(text, kind).unwrap(), expected, "{text}");
        };
        check("/run/s.sock", None, "None /run/s.sock");
        check("./s", None, "None ./s");
        check("unix:/run/a@b", None, "Some(Stream) /run/a@b");
        check("dgram:s", None, "Some(Datagram) s");
        check("/run/s", Some(Kind::Dgram), "Some(Datagram) /run/s");
        check("s", Some(Kind::Unix), "Some(Stream) s");
        check("1.2.3.4", Some(Kind::Tcp), "tcp:1.2.3.4:4041");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let check = |text: &str, kind| assert!(parse(text, kind).is_err(), "{text} {kind:?}");
        check("1.2.3.4:0", None);
        check("1.2.3.4:65536", None);
        check("1.2.3.4:", None);
        check("[::1", None);
        check("[::1]x", None);
        check("a b", None);
        check("unix:", None);
        check("/run/s", Some(Kind::Tcp));
        check("udp:/run/s", None);
        check("tcp:a", Some(Kind::Udp));
    }
}
