//! The flags of an `OVERHEAD` line.

use std::fmt::{self, Write as _};
use std::ops::{BitOr, Sub};

/// A set of `OVERHEAD` flags, one bit a letter. The empty set is `Z` on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(u32);

impl Flags {
    /// `A`: the value is a token, log in.
    pub const AUTH: Self = Self::letter(b'A');
    /// `C`: close all connections.
    pub const CLOSE_ALL: Self = Self::letter(b'C');
    /// `D`: shown to monitors, then dropped.
    pub const DISCARD: Self = Self::letter(b'D');
    /// `E`: an error, logged by the receiver.
    pub const ERROR: Self = Self::letter(b'E');
    /// `F`: the login failed.
    pub const AUTH_FAILED: Self = Self::letter(b'F');
    /// `G`: forwarded to every other client.
    pub const FORWARD: Self = Self::letter(b'G');
    /// `I`: this connection links two servers, or no more.
    pub const INTERCLACKS: Self = Self::letter(b'I');
    /// `L`: a linked server freezes its clients during the exchange of caches.
    pub const LOCK: Self = Self::letter(b'L');
    /// `M`: nothing to do.
    pub const INFORMAL: Self = Self::letter(b'M');
    /// `N`: not shown to monitors.
    pub const NO_LOGGING: Self = Self::letter(b'N');
    /// `O`: the login succeeded.
    pub const AUTH_OK: Self = Self::letter(b'O');
    /// `S`: the server stops.
    pub const SHUTDOWN: Self = Self::letter(b'S');
    /// `T`: the value is the sender's clock.
    pub const TIMESTAMP: Self = Self::letter(b'T');
    /// `U`: with `G`, forwarded to the sender too.
    pub const RETURN: Self = Self::letter(b'U');

    /// Every letter that has a meaning. `Z` says "no flags", which the empty set says already.
    const KNOWN: Self = Self(
        Self::AUTH.0
            | Self::CLOSE_ALL.0
            | Self::DISCARD.0
            | Self::ERROR.0
            | Self::AUTH_FAILED.0
            | Self::FORWARD.0
            | Self::INTERCLACKS.0
            | Self::LOCK.0
            | Self::INFORMAL.0
            | Self::NO_LOGGING.0
            | Self::AUTH_OK.0
            | Self::SHUTDOWN.0
            | Self::TIMESTAMP.0
            | Self::RETURN.0,
    );

    const fn letter(letter: u8) -> Self {
        Self(1 << (letter - b'A'))
    }

    /// The flags in a text. Bytes that are no flag are dropped, as the reference server does.
    pub fn parse(text: &[u8]) -> Self {
        let known = text.iter().filter(|b| b.is_ascii_uppercase());
        Self(known.fold(0, |bits, &letter| bits | Self::letter(letter).0) & Self::KNOWN.0)
    }

    /// Is every flag of `other` in this set?
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Is there no flag at all?
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Sub for Flags {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// As on the wire: letters in alphabetical order, `Z` for the empty set.
impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_char('Z');
        }
        (b'A'..=b'Z')
            .filter(|&letter| self.contains(Self::letter(letter)))
            .try_for_each(|b| f.write_char(b.into()))
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flags({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, shown: &str) {
        assert_eq!(Flags::parse(text.as_bytes()).to_string(), shown, "{text}");
    }

    #[test]
    fn letters_are_shown_in_order_and_once() {
        check("GNU", "GNU");
        check("UNG", "GNU");
        check("GG", "G");
        check("ZYXWVUTSRQPONMLKJIHGFEDCBA", "ACDEFGILMNOSTU");
    }

    #[test]
    fn what_is_no_flag_is_dropped() {
        check("GX", "G");
        check("G1!", "G");
        check("g", "Z");
        check("X", "Z");
        check("Z", "Z");
        check("GZ", "G");
        check("\u{e4}", "Z");
        check("", "Z");
    }

    #[test]
    fn sets_are_joined_and_taken_apart() {
        let gnu = Flags::parse(b"GNU");
        assert_eq!(gnu, Flags::FORWARD | Flags::NO_LOGGING | Flags::RETURN);
        assert_eq!((gnu - Flags::RETURN).to_string(), "GN");
        assert!(gnu.contains(Flags::FORWARD | Flags::RETURN));
        assert!(!gnu.contains(Flags::FORWARD | Flags::AUTH));
        assert_eq!(format!("{gnu:?}"), "Flags(GNU)");
    }
}
