use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::SocketAddr as UnixAddr;
use std::path::{Path, PathBuf};

use super::name::{NameError, Part};

/// What can be the value of a parameter.
pub trait ToValue {
    /// Appends the bytes of the value.
    fn to_value(&self, out: &mut Vec<u8>);
}

/// What can be read from the value of a parameter.
pub trait FromValue: Sized {
    /// Reads a value.
    ///
    /// # Errors
    /// When the bytes mean nothing of this type: says what was expected and where it went wrong.
    fn from_value(bytes: &[u8]) -> Result<Self, ValueError>;
}

/// A value that is not of the type that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ValueError {
    /// What was expected, such as "a whole number".
    pub expected: &'static str,
    /// Where it went wrong: bytes from the start of the value.
    pub at: usize,
}

impl ValueError {
    /// An error from what was expected and where it went wrong.
    #[must_use]
    pub fn new(expected: &'static str, at: usize) -> Self {
        Self { expected, at }
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "is not {}: see byte {}", self.expected, self.at)
    }
}

impl std::error::Error for ValueError {}

/// A parameter that is not there, or not of the type that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParameterError {
    /// There is no such parameter.
    Missing {
        /// The name that was asked for.
        name: String,
    },
    /// It is there, but its value is something else.
    Value {
        /// The name that was asked for.
        name: String,
        /// What was expected, and where the value is something else.
        error: ValueError,
    },
    /// A parameter can't be called so.
    Name(NameError),
}

impl fmt::Display for ParameterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { name } => write!(f, "the parameter {name} is missing"),
            Self::Value { name, error } => write!(f, "the parameter {name} {error}"),
            Self::Name(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ParameterError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Missing { .. } => None,
            Self::Value { error, .. } => Some(error),
            Self::Name(error) => Some(error),
        }
    }
}

impl From<NameError> for ParameterError {
    fn from(error: NameError) -> Self {
        Self::Name(error)
    }
}

/// Reads a whole number: an optional sign, an optional `0b`, `0o`, `0d` or `0x` (either case), and at
/// least one digit. Leading zeros mean nothing.
///
/// # Errors
/// At the first byte that does not fit, or that makes the number longer than 128 bits.
pub fn integer(bytes: &[u8]) -> Result<i128, ValueError> {
    let error = |at| ValueError::new("a whole number", at);
    let (negative, mut at) = match bytes.first() {
        Some(b'-') => (true, 1),
        Some(b'+') => (false, 1),
        _ => (false, 0),
    };
    let radix = match bytes.get(at..).unwrap_or_default() {
        [b'0', b'b' | b'B', ..] => 2,
        [b'0', b'o' | b'O', ..] => 8,
        [b'0', b'x' | b'X', ..] => 16,
        [b'0', b'd' | b'D', ..] => 10,
        _ => 0,
    };
    at += if radix == 0 { 0 } else { 2 };
    let radix: u32 = if radix == 0 { 10 } else { radix };
    let digits = bytes.get(at..).unwrap_or_default();
    if digits.is_empty() {
        return Err(error(at));
    }
    let mut number: i128 = 0;
    for (index, &byte) in digits.iter().enumerate() {
        let digit = char::from(byte).to_digit(radix).ok_or(error(at + index))?;
        number = number
            .checked_mul(i128::from(radix))
            .and_then(|number| number.checked_sub(i128::from(digit)))
            .ok_or(error(at + index))?;
    }
    if negative { Ok(number) } else { number.checked_neg().ok_or(error(at)) }
}

macro_rules! integers {
    ($($type:ident $expected:literal)*) => {$(
        impl ToValue for $type {
            fn to_value(&self, out: &mut Vec<u8>) {
                push_display(self, out);
            }
        }

        impl FromValue for $type {
            fn from_value(bytes: &[u8]) -> Result<Self, ValueError> {
                let number = integer(bytes).map_err(|error| ValueError::new($expected, error.at))?;
                Self::try_from(number).map_err(|_| ValueError::new($expected, 0))
            }
        }
    )*};
}

integers! {
    i8 "a whole number of 8 bits"
    i16 "a whole number of 16 bits"
    i32 "a whole number of 32 bits"
    i64 "a whole number of 64 bits"
    isize "a whole number of the machine's size"
    u8 "a whole number of 8 bits, not negative"
    u16 "a whole number of 16 bits, not negative"
    u32 "a whole number of 32 bits, not negative"
    u64 "a whole number of 64 bits, not negative"
    usize "a whole number of the machine's size, not negative"
}

macro_rules! displayed {
    ($($type:ident)*) => {$(
        impl ToValue for $type {
            fn to_value(&self, out: &mut Vec<u8>) {
                push_display(self, out);
            }
        }
    )*};
}

displayed! { bool char IpAddr Ipv4Addr Ipv6Addr SocketAddr SocketAddrV4 SocketAddrV6 }

macro_rules! bytes {
    ($($type:ty)*) => {$(
        impl ToValue for $type {
            fn to_value(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(AsRef::<[u8]>::as_ref(self));
            }
        }
    )*};
}

bytes! { str String [u8] Vec<u8> }

impl<const N: usize> ToValue for [u8; N] {
    fn to_value(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

impl<T: ToValue + ?Sized> ToValue for &T {
    fn to_value(&self, out: &mut Vec<u8>) {
        T::to_value(self, out);
    }
}

impl<T: ToValue + ToOwned + ?Sized> ToValue for Cow<'_, T> {
    fn to_value(&self, out: &mut Vec<u8>) {
        T::to_value(self, out);
    }
}

impl ToValue for Path {
    fn to_value(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_os_str().as_bytes());
    }
}

impl ToValue for PathBuf {
    fn to_value(&self, out: &mut Vec<u8>) {
        self.as_path().to_value(out);
    }
}

/// The path, or the name of an abstract address without its NUL; nothing for an unnamed one.
impl ToValue for UnixAddr {
    fn to_value(&self, out: &mut Vec<u8>) {
        match self.as_pathname() {
            Some(path) => path.to_value(out),
            None => out.extend_from_slice(self.as_abstract_name().unwrap_or_default()),
        }
    }
}

impl FromValue for bool {
    fn from_value(bytes: &[u8]) -> Result<Self, ValueError> {
        match bytes {
            b"true" => Ok(true),
            b"false" => Ok(false),
            _ => Err(ValueError::new("true or false", 0)),
        }
    }
}

impl FromValue for Vec<u8> {
    fn from_value(bytes: &[u8]) -> Result<Self, ValueError> {
        Ok(bytes.to_vec())
    }
}

impl FromValue for String {
    fn from_value(bytes: &[u8]) -> Result<Self, ValueError> {
        text(bytes).map(str::to_owned)
    }
}

impl FromValue for PathBuf {
    fn from_value(bytes: &[u8]) -> Result<Self, ValueError> {
        Ok(PathBuf::from(OsStr::from_bytes(bytes)))
    }
}

/// With or without brackets around an IPv6 address.
impl FromValue for IpAddr {
    fn from_value(bytes: &[u8]) -> Result<Self, ValueError> {
        let error = ValueError::new("an IP address", 0);
        let text = text(bytes).map_err(|_| error)?;
        match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(inner) => inner.parse().map(Self::V6).map_err(|_| error),
            None => text.parse().map_err(|_| error),
        }
    }
}

impl FromValue for SocketAddr {
    fn from_value(bytes: &[u8]) -> Result<Self, ValueError> {
        let error = ValueError::new("an IP address with a port", 0);
        text(bytes).map_err(|_| error)?.parse().map_err(|_| error)
    }
}

/// The value as text.
pub(super) fn text(bytes: &[u8]) -> Result<&str, ValueError> {
    std::str::from_utf8(bytes).map_err(|error| ValueError::new("UTF-8 text", error.valid_up_to()))
}

/// Checks that `name` may be asked for, then reads what was found there.
pub(super) fn read<T: FromValue>(name: &str, found: Option<&[u8]>) -> Result<Option<T>, ParameterError> {
    Part::Parameter.check(name)?;
    found
        .map(T::from_value)
        .transpose()
        .map_err(|error| ParameterError::Value { name: name.to_owned(), error })
}

fn push_display(value: &impl fmt::Display, out: &mut Vec<u8>) {
    // Writing to a vector does not fail.
    let _ = write!(out, "{value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(value: impl ToValue) -> Vec<u8> {
        let mut out = Vec::new();
        value.to_value(&mut out);
        out
    }

    #[test]
    fn integers_have_four_notations() {
        let check = |text: &str, expected: i64| {
            assert_eq!(i64::from_value(text.as_bytes()), Ok(expected), "{text}");
        };
        check("0x1F", 31);
        check("0b101", 5);
        check("0o17", 15);
        check("0d12", 12);
        check("0XfF", 255);
        check("0B0", 0);
        check("0O7", 7);
        check("0D9", 9);
        check("010", 10);
        check("+5", 5);
        check("-5", -5);
        check("-0x10", -16);
        check("+0b11", 3);
        check("0", 0);
        check("9223372036854775807", i64::MAX);
        check("-9223372036854775808", i64::MIN);
    }

    #[test]
    fn what_is_no_integer_is_refused_with_the_place() {
        let check = |text: &str, at| {
            let got = i64::from_value(text.as_bytes());
            assert_eq!(got, Err(ValueError::new("a whole number of 64 bits", at)), "{text:?}");
        };
        check("", 0);
        check("+", 1);
        check("0x", 2);
        check("-0b", 3);
        check("0b2", 2);
        check("0o8", 2);
        check("0xG", 2);
        check(" 5", 0);
        check("5 ", 1);
        check("1_000", 1);
        check("1.5", 1);
        check("--5", 1);
        check("٣", 0);
        check("9223372036854775808", 0);
        check("-9223372036854775809", 0);
        check(&"9".repeat(40), 38);
    }

    #[test]
    fn each_size_has_its_range() {
        assert_eq!(u64::from_value(b"18446744073709551615"), Ok(u64::MAX));
        assert!(u64::from_value(b"-1").is_err());
        assert!(u8::from_value(b"256").is_err());
        assert_eq!(u8::from_value(b"0xff"), Ok(255));
        assert_eq!(i8::from_value(b"-128"), Ok(-128));
        assert!(i16::from_value(b"32768").is_err());
    }

    #[test]
    fn values_are_written_as_the_peer_does() {
        let check = |got: Vec<u8>, expected: &str| assert_eq!(String::from_utf8(got).unwrap(), expected);
        check(bytes(-35_i16), "-35");
        check(bytes(u64::MAX), "18446744073709551615");
        check(bytes(true), "true");
        check(bytes("text"), "text");
        check(bytes(b"raw"), "raw");
        check(bytes("1.2.3.4:80".parse::<SocketAddr>().unwrap()), "1.2.3.4:80");
        check(bytes("[::1]:80".parse::<SocketAddr>().unwrap()), "[::1]:80");
        check(bytes("::1".parse::<IpAddr>().unwrap()), "::1");
        check(bytes(Path::new("/tmp/x.sock")), "/tmp/x.sock");
        check(bytes(UnixAddr::from_pathname("/tmp/x.sock").unwrap()), "/tmp/x.sock");
        check(bytes(UnixAddr::from_abstract_name("hidden").unwrap()), "hidden");
    }

    #[test]
    fn addresses_are_read() {
        let ip = |text: &str| IpAddr::from_value(text.as_bytes()).ok().map(|ip| ip.to_string());
        assert_eq!(ip("1.2.3.4").as_deref(), Some("1.2.3.4"));
        assert_eq!(ip("::1").as_deref(), Some("::1"));
        assert_eq!(ip("[::1]").as_deref(), Some("::1"));
        assert_eq!(ip("[1.2.3.4]"), None);
        assert_eq!(ip("1.2.3.4:80"), None);
        assert_eq!(ip("localhost"), None);
        let socket = |text: &str| SocketAddr::from_value(text.as_bytes()).ok().map(|a| a.to_string());
        assert_eq!(socket("1.2.3.4:80").as_deref(), Some("1.2.3.4:80"));
        assert_eq!(socket("[::1]:80").as_deref(), Some("[::1]:80"));
        assert_eq!(socket("1.2.3.4"), None);
        assert_eq!(socket("1.2.3.4:80/32"), None);
        assert_eq!(PathBuf::from_value(b"/run/\xff"), Ok(PathBuf::from(OsStr::from_bytes(b"/run/\xff"))));
    }

    #[test]
    fn text_has_to_be_utf_8() {
        assert_eq!(String::from_value("né".as_bytes()).as_deref(), Ok("né"));
        assert_eq!(String::from_value(b"ab\xffc"), Err(ValueError::new("UTF-8 text", 2)));
        assert_eq!(bool::from_value(b"true"), Ok(true));
        assert!(bool::from_value(b"yes").is_err());
    }
}
