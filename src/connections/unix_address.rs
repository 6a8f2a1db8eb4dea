//! Where Unix sockets are: in a file, under an abstract name, or nowhere.

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrUnix};
use std::ffi::OsStr;
use std::fmt;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What stands before the path in the system's form of an address, and how much room the path has there.
const FAMILY_SIZE: usize = 2;
const PATH_SIZE: usize = 108;
/// The longest path that others can address.
const PATH_MAX: usize = PATH_SIZE - 1;

/// The address of a Unix socket.
///
/// As text a path is what it is, and an abstract name has an `@` in front.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixAddress(SocketAddrUnix);

impl UnixAddress {
    /// A socket file.
    ///
    /// # Errors
    /// When the path is empty, has more than 107 bytes, or a NUL in it.
    pub fn file(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        Self::of_path(path).map_err(|error| no_name(&path.display(), error))
    }

    /// As [`file`](Self::file), with an error that does not name the path.
    pub(super) fn of_path(path: &Path) -> io::Result<Self> {
        match path.as_os_str().len() {
            0 => Err(io::Error::new(ErrorKind::InvalidInput, "the path of a socket is empty")),
            // The system takes one byte more. Then the end is not marked, and others can't address it.
            1..=PATH_MAX => Ok(Self(SocketAddrUnix::new(path)?)),
            _ => Err(Errno::NAMETOOLONG.into()),
        }
    }

    /// A name in the abstract namespace, without the NUL in front, exactly as long as it is.
    ///
    /// # Errors
    /// When it has more than 107 bytes.
    pub fn abstract_name(name: impl AsRef<[u8]>) -> io::Result<Self> {
        let name = name.as_ref();
        SocketAddrUnix::new_abstract_name(name)
            .map(Self)
            .map_err(|errno| no_name(&format_args!("@{}", name.escape_ascii()), errno.into()))
    }

    /// Nowhere.
    pub(super) fn unnamed() -> Self {
        Self(SocketAddrUnix::new_unnamed())
    }

    /// What the system says. A path that has no end, being too long by one byte, can't be sent to: it is as good as none.
    pub(super) fn of_socket(address: SocketAddrAny) -> Option<Self> {
        if address.address_family() != AddressFamily::UNIX {
            return None;
        }
        match (address.addr_len() as usize).saturating_sub(FAMILY_SIZE) {
            1..=PATH_SIZE => Some(Self(address.try_into().ok()?)),
            _ => Some(Self::unnamed()),
        }
    }

    pub(super) fn of_path_bytes(path: &[u8]) -> Option<Self> {
        Self::file(OsStr::from_bytes(path)).ok()
    }

    /// The path, if it is a file.
    pub fn path(&self) -> Option<&Path> {
        self.path_bytes().map(|path| Path::new(OsStr::from_bytes(path)))
    }

    /// The abstract name, if it is one.
    pub fn as_abstract(&self) -> Option<&[u8]> {
        self.0.abstract_name()
    }

    /// Whether it is nowhere: nothing can be sent there.
    pub fn is_unnamed(&self) -> bool {
        self.path().is_none() && self.as_abstract().is_none()
    }

    /// The path or name.
    pub(super) fn bytes(&self) -> &[u8] {
        self.path_bytes().or_else(|| self.0.abstract_name()).unwrap_or_default()
    }

    fn path_bytes(&self) -> Option<&[u8]> {
        // One of 107 bytes comes with the mark of its end.
        self.0.path_bytes().map(|path| path.strip_suffix(b"\0").unwrap_or(path))
    }

    pub(super) fn as_socket(&self) -> &SocketAddrUnix {
        &self.0
    }
}

fn no_name(name: &dyn fmt::Display, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{name} can't be the address of a socket: {error}"))
}

impl fmt::Display for UnixAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.path(), self.as_abstract()) {
            (Some(path), _) => path.display().fmt(f),
            (_, Some(name)) => write!(f, "@{}", name.escape_ascii()),
            _ => f.write_str("(unnamed)"),
        }
    }
}

impl fmt::Debug for UnixAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UnixAddress({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cmp::Ordering;

    #[test]
    fn addresses_are_compared_by_kind_and_every_byte_of_their_name() {
        let addresses = [
            UnixAddress::unnamed(),
            UnixAddress::file("/a").unwrap(),
            UnixAddress::file("/a/b").unwrap(),
            UnixAddress::abstract_name("/a").unwrap(),
            UnixAddress::abstract_name(b"/a\0").unwrap(),
            UnixAddress::abstract_name(b"").unwrap(),
        ];
        for (n, one) in addresses.iter().enumerate() {
            for (m, other) in addresses.iter().enumerate() {
                assert_eq!(one == other, n == m, "{one} and {other}");
                assert_eq!(one.cmp(other) == Ordering::Equal, n == m, "{one} and {other}");
            }
        }
    }

    #[test]
    fn an_address_says_what_it_is() {
        fn check(address: &UnixAddress, text: &str, path: Option<&str>, name: Option<&[u8]>) {
            assert_eq!(address.to_string(), text);
            assert_eq!(address.path(), path.map(Path::new), "{address}");
            assert_eq!(address.as_abstract(), name, "{address}");
            assert_eq!(address.is_unnamed(), path.is_none() && name.is_none(), "{address}");
        }
        check(&UnixAddress::unnamed(), "(unnamed)", None, None);
        check(&UnixAddress::file("/run/a.sock").unwrap(), "/run/a.sock", Some("/run/a.sock"), None);
        check(&UnixAddress::abstract_name(b"a\0b\xff").unwrap(), r"@a\x00b\xff", None, Some(b"a\0b\xff"));
        check(&UnixAddress::abstract_name(b"").unwrap(), "@", None, Some(b""));
    }

    #[test]
    fn names_that_no_socket_can_have_are_refused() {
        assert!(UnixAddress::file("").is_err());
        assert!(UnixAddress::file("a\0b").is_err());
        let longest = "/".repeat(107);
        assert_eq!(UnixAddress::file(&longest).unwrap().path(), Some(Path::new(&longest)));
        let error = UnixAddress::file("/".repeat(108)).unwrap_err();
        assert!(error.to_string().contains("can't be the address of a socket"), "{error}");
        assert!(UnixAddress::abstract_name([0; 107]).is_ok());
        assert!(UnixAddress::abstract_name([0; 108]).is_err());
    }
}
