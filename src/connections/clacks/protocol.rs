//! One line of the protocol, taken apart without an allocation.
//!
//! Matching is exact and case-sensitive: a word that only begins like a command, a missing or empty
//! argument, a space too many make a line [`Command::Unknown`].

use memchr::{memchr, memrchr};

use super::flags::Flags;
use super::number::Operand;

/// What a client, or a linked server, sends. Arguments are at least one byte long, values may be empty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Command<'a> {
    /// `NOTIFY name`
    Notify(&'a [u8]),
    /// `SET name=value`
    Set(Pair<'a>),
    /// `LISTEN name`
    Listen(&'a [u8]),
    /// `UNLISTEN name`
    Unlisten(&'a [u8]),
    /// `STORE key=value`
    Store(Pair<'a>),
    /// `SETANDSTORE key=value`
    SetAndStore(Pair<'a>),
    /// `RETRIEVE key`
    Retrieve(&'a [u8]),
    /// `REMOVE key`
    Remove(&'a [u8]),
    /// `INCREMENT key` or `INCREMENT key=step`
    Increment(Step<'a>),
    /// `DECREMENT key` or `DECREMENT key=step`
    Decrement(Step<'a>),
    /// `KEYLIST`
    KeyList,
    /// `CLEARCACHE`
    ClearCache,
    /// `FLUSH id`
    Flush(&'a [u8]),
    /// `FLUSHED id`
    Flushed(&'a [u8]),
    /// `PING`
    Ping,
    /// `NOPING`
    NoPing,
    /// `MONITOR`
    Monitor,
    /// `UNMONITOR`
    Unmonitor,
    /// `CLIENTLIST`
    ClientList,
    /// `STATUS`: not known to the reference server.
    Status,
    /// `CLIENTDISCONNECT cid`
    ClientDisconnect(&'a [u8]),
    /// `QUIT`
    Quit,
    /// `TIMEOUT`: a linked server gives up.
    Timeout,
    /// `NOP`
    Nop,
    /// `CLACKS name`
    Clacks(&'a [u8]),
    /// `OVERHEAD flags value`
    Overhead(Overhead<'a>),
    /// `KEYSYNC cachetime accesstime mode key=value`
    KeySync(KeySync<'a>),
    /// Anything else: the whole line.
    Unknown(&'a [u8]),
}

/// A name and what it is set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair<'a> {
    /// At least one byte, without `=` except as the first one.
    pub name: &'a [u8],
    /// What follows the first `=`.
    pub value: &'a [u8],
}

/// A counter and by how much it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step<'a> {
    /// What stands before the last `=`.
    pub key: &'a [u8],
    /// What follows the last `=`: at least one byte. `None` is a step of 1.
    pub step: Option<&'a [u8]>,
}

/// An `OVERHEAD` line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overhead<'a> {
    /// The flags that have a meaning; others are dropped.
    pub flags: Flags,
    /// At least one byte.
    pub value: &'a [u8],
}

/// An entry of another server's cache.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KeySync<'a> {
    /// When the value was set, in Unix time by the sender's clock.
    pub cache_time: f64,
    /// When the value was last asked for; 0 where that is not known.
    pub access_time: f64,
    /// Is the entry a tombstone (mode `D`)?
    pub deleted: bool,
    /// The key.
    pub key: &'a [u8],
    /// The value; of a tombstone it means nothing.
    pub value: &'a [u8],
}

impl<'a> Command<'a> {
    /// Takes a line apart: without line end and carriage returns.
    pub fn parse(line: &'a [u8]) -> Self {
        Self::known(line).unwrap_or(Self::Unknown(line))
    }

    fn known(line: &'a [u8]) -> Option<Self> {
        let Some((word, argument)) = split_word(line) else { return Self::bare(line) };
        if argument.is_empty() {
            return None;
        }
        Some(match word.len() {
            3 if word == b"SET" => Self::Set(Pair::parse(argument)?),
            5 => match word {
                b"STORE" => Self::Store(Pair::parse(argument)?),
                b"FLUSH" => Self::Flush(argument),
                _ => return None,
            },
            6 => match word {
                b"NOTIFY" => Self::Notify(argument),
                b"LISTEN" => Self::Listen(argument),
                b"REMOVE" => Self::Remove(argument),
                b"CLACKS" => Self::Clacks(argument),
                _ => return None,
            },
            7 => match word {
                b"KEYSYNC" => Self::KeySync(KeySync::parse(argument)?),
                b"FLUSHED" => Self::Flushed(argument),
                _ => return None,
            },
            8 => match word {
                b"RETRIEVE" => Self::Retrieve(argument),
                b"OVERHEAD" => Self::Overhead(Overhead::parse(argument)?),
                b"UNLISTEN" => Self::Unlisten(argument),
                _ => return None,
            },
            9 => match word {
                b"INCREMENT" => Self::Increment(Step::parse(argument)?),
                b"DECREMENT" => Self::Decrement(Step::parse(argument)?),
                _ => return None,
            },
            11 if word == b"SETANDSTORE" => Self::SetAndStore(Pair::parse(argument)?),
            16 if word == b"CLIENTDISCONNECT" => Self::ClientDisconnect(argument),
            _ => return None,
        })
    }

    /// The commands without an argument.
    fn bare(line: &[u8]) -> Option<Self> {
        Some(match line {
            b"PING" => Self::Ping,
            b"NOPING" => Self::NoPing,
            b"NOP" => Self::Nop,
            b"QUIT" => Self::Quit,
            b"TIMEOUT" => Self::Timeout,
            b"KEYLIST" => Self::KeyList,
            b"CLIENTLIST" => Self::ClientList,
            b"STATUS" => Self::Status,
            b"CLEARCACHE" => Self::ClearCache,
            b"MONITOR" => Self::Monitor,
            b"UNMONITOR" => Self::Unmonitor,
            _ => return None,
        })
    }
}

/// The key of a line that is a command for one entry of the cache.
#[inline]
pub(super) fn key_of(line: &[u8]) -> Option<&[u8]> {
    let (word, argument) = split_word(line)?;
    match word.len() {
        5 if word == b"STORE" => {}
        6 if word == b"REMOVE" => return Some(argument),
        7 if word == b"KEYSYNC" => return KeySync::split(argument).map(|(_, pair)| pair.name),
        8 if word == b"RETRIEVE" => return Some(argument),
        9 if word == b"INCREMENT" || word == b"DECREMENT" => {
            return Step::parse(argument).map(|step| step.key);
        }
        11 if word == b"SETANDSTORE" => {}
        _ => return None,
    }
    Pair::parse(argument).map(|pair| pair.name)
}

impl<'a> Pair<'a> {
    /// `name=value`, split at the first `=` that has a name before it.
    pub(super) fn parse(text: &'a [u8]) -> Option<Self> {
        let at = 1 + memchr(b'=', text.get(1..)?)?;
        Some(Self { name: text.get(..at)?, value: text.get(at + 1..)? })
    }
}

impl<'a> Overhead<'a> {
    fn parse(argument: &'a [u8]) -> Option<Self> {
        let (flags, value) = split_at_byte(argument, b' ')?;
        (!flags.is_empty() && !value.is_empty()).then(|| Self { flags: Flags::parse(flags), value })
    }
}

impl<'a> Step<'a> {
    /// The step is split off at the last `=` that has a key before it.
    fn parse(argument: &'a [u8]) -> Option<Self> {
        match memrchr(b'=', argument) {
            None | Some(0) => Some(Self { key: argument, step: None }),
            Some(at) => {
                let (key, step) = (argument.get(..at)?, argument.get(at + 1..)?);
                (!step.is_empty()).then_some(Self { key, step: Some(step) })
            }
        }
    }
}

impl<'a> KeySync<'a> {
    /// Times and mode, and the entry.
    fn split(argument: &'a [u8]) -> Option<([&'a [u8]; 3], Pair<'a>)> {
        let (cache_time, rest) = split_at_byte(argument, b' ')?;
        let (access_time, rest) = split_at_byte(rest, b' ')?;
        let (mode, rest) = split_at_byte(rest, b' ')?;
        Some(([cache_time, access_time, mode], Pair::parse(rest)?))
    }

    fn parse(argument: &'a [u8]) -> Option<Self> {
        let ([cache_time, access_time, mode], Pair { name: key, value }) = Self::split(argument)?;
        if mode.is_empty() {
            return None;
        }
        Some(Self {
            cache_time: time(cache_time)?,
            access_time: time(access_time)?,
            deleted: mode == b"D",
            key,
            value,
        })
    }
}

/// A Unix time as the reference server writes it: an integer or a decimal number.
fn time(text: &[u8]) -> Option<f64> {
    let time = Operand::number(text)?.to_f64();
    time.is_finite().then_some(time)
}

/// The word before the first space, and what follows that. No word of the protocol is longer than 16 bytes.
pub(super) fn split_word(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = space_in(line, 0).or_else(|| space_in(line, 8));
    let at = match at {
        Some(at) => at,
        None => line.iter().take(17).position(|&b| b == b' ')?,
    };
    Some((line.get(..at)?, line.get(at + 1..)?))
}

/// Where the first space is among the eight bytes from there on, if there are so many.
fn space_in(line: &[u8], from: usize) -> Option<usize> {
    let eight = line.get(from..)?.first_chunk()?;
    first_space(u64::from_le_bytes(*eight)).map(|at| from + at)
}

/// Where the first space is among eight bytes, all of them looked at in one go: a byte becomes 0 where there is one, and the lowest 0
/// is the lowest that borrows.
fn first_space(bytes: u64) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let zeros = bytes ^ (ONES * b' ' as u64);
    let found = zeros.wrapping_sub(ONES) & !zeros & (ONES << 7);
    (found != 0).then(|| found.trailing_zeros() as usize / 8)
}

pub(super) fn split_at_byte(text: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr(byte, text)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Command<'_>) {
        assert_eq!(Command::parse(line.as_bytes()), expected, "{line}");
    }

    fn pair<'a>(name: &'a str, value: &'a str) -> Pair<'a> {
        Pair { name: name.as_bytes(), value: value.as_bytes() }
    }

    fn step<'a>(key: &'a str, step: Option<&'a str>) -> Step<'a> {
        Step { key: key.as_bytes(), step: step.map(str::as_bytes) }
    }

    fn overhead<'a>(flags: &str, value: &'a str) -> Command<'a> {
        Command::Overhead(Overhead { flags: Flags::parse(flags.as_bytes()), value: value.as_bytes() })
    }

    #[test]
    fn commands_are_taken_apart() {
        check("NOTIFY two words", Command::Notify(b"two words"));
        check("SET name=", Command::Set(pair("name", "")));
        check("SET name=a=b c", Command::Set(pair("name", "a=b c")));
        check("LISTEN eq=sign", Command::Listen(b"eq=sign"));
        check("UNLISTEN x", Command::Unlisten(b"x"));
        check("STORE ==x", Command::Store(pair("=", "x")));
        check("STORE a b=  two  ", Command::Store(pair("a b", "  two  ")));
        check("SETANDSTORE  =v", Command::SetAndStore(pair(" ", "v")));
        check("RETRIEVE  x", Command::Retrieve(b" x"));
        check("REMOVE x", Command::Remove(b"x"));
        check("KEYLIST", Command::KeyList);
        check("CLEARCACHE", Command::ClearCache);
        check("FLUSH a b  c", Command::Flush(b"a b  c"));
        check("FLUSHED x", Command::Flushed(b"x"));
        check("PING", Command::Ping);
        check("NOPING", Command::NoPing);
        check("MONITOR", Command::Monitor);
        check("UNMONITOR", Command::Unmonitor);
        check("CLIENTLIST", Command::ClientList);
        check("STATUS", Command::Status);
        check("CLIENTDISCONNECT a:1:2", Command::ClientDisconnect(b"a:1:2"));
        check("QUIT", Command::Quit);
        check("TIMEOUT", Command::Timeout);
        check("NOP", Command::Nop);
        check("CLACKS me 1.0", Command::Clacks(b"me 1.0"));
        check("OVERHEAD GNU Terry Pratchett", overhead("GNU", "Terry Pratchett"));
        check("OVERHEAD M  ", overhead("M", " "));
    }

    #[test]
    fn the_key_of_a_line_is_that_of_its_command() {
        for word in
            ["STORE", "RETRIEVE", "SETANDSTORE", "REMOVE", "INCREMENT", "DECREMENT", "KEYSYNC", "SET", "PING"]
        {
            for argument in
                ["k=v", "k", "=", "==", "=a", "a=b=5", "a b=c=d", "1.5 0 U k=v", "1 0 D =k=", "1 0 U"]
            {
                let line = format!("{word} {argument}");
                let key = match Command::parse(line.as_bytes()) {
                    Command::Store(pair) | Command::SetAndStore(pair) => Some(pair.name),
                    Command::Retrieve(key) | Command::Remove(key) => Some(key),
                    Command::Increment(step) | Command::Decrement(step) => Some(step.key),
                    Command::KeySync(entry) => Some(entry.key),
                    Command::Unknown(_) => continue,
                    _ => None,
                };
                assert_eq!(key_of(line.as_bytes()), key, "{line}");
            }
        }
        for line in ["", "PING", "STORE", "STORE x", "STORE ", "KEYSYNC ", "KEYSYNC 1", "KEYSYNC 1 2"] {
            assert_eq!(key_of(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn a_word_ends_at_the_first_space_wherever_that_is() {
        for at in 0..30 {
            for len in at..40 {
                let mut line = vec![b'x'; len];
                line.resize(len + 1, b' ');
                line[at] = b' ';
                let expected = (at < 17).then(|| (&line[..at], &line[at + 1..]));
                assert_eq!(split_word(&line), expected, "{at} of {len}");
                assert_eq!(split_word(&vec![b'x'; at]), None);
            }
        }
    }

    #[test]
    fn a_step_is_what_follows_the_last_equals_sign_with_a_key_before_it() {
        check("INCREMENT n", Command::Increment(step("n", None)));
        check("DECREMENT n=3", Command::Decrement(step("n", Some("3"))));
        check("INCREMENT a=b=3", Command::Increment(step("a=b", Some("3"))));
        check("INCREMENT ==5", Command::Increment(step("=", Some("5"))));
        check("INCREMENT =", Command::Increment(step("=", None)));
        check("INCREMENT =5", Command::Increment(step("=5", None)));
        for line in ["INCREMENT n=", "DECREMENT f==", "INCREMENT "] {
            check(line, Command::Unknown(line.as_bytes()));
        }
    }

    #[test]
    fn anything_else_is_unknown() {
        for line in [
            "",
            " ",
            "=",
            "?",
            "FOO",
            "FOO bar baz",
            "store x=1",
            " STORE x=1",
            "STORE\tx=1",
            "STORE",
            "STORE ",
            "STORE x",
            "STORE =x",
            "STORE =",
            "SETANDSTORE =",
            "RETRIEVE",
            "RETRIEVE ",
            "REMOVE ",
            "LISTEN ",
            "NOTIFY",
            "FLUSH ",
            "FLUSHx",
            "CLACKS ",
            "CLEARCACHEX",
            "CLEARCACHE ",
            "QUITTING now",
            "QUIT ",
            "PING x",
            "CLIENTDISCONNECT ",
            "CLIENTDISCONNECTED x",
            "OVERHEAD",
            "OVERHEAD ",
            "OVERHEAD M",
            "OVERHEAD M ",
            "OVERHEAD  x",
            "RETRIEVED x=1",
            "DEBUG x=y",
            "\0",
            "a word that goes on for longer than any word of the protocol does",
        ] {
            check(line, Command::Unknown(line.as_bytes()));
        }
    }

    #[test]
    fn a_keysync_has_two_times_and_a_mode() {
        let entry = |cache_time, access_time, deleted, key, value| {
            Command::KeySync(KeySync { cache_time, access_time, deleted, key, value })
        };
        check("KEYSYNC 1.25 0 U k=v=w", entry(1.25, 0.0, false, b"k", b"v=w"));
        check("KEYSYNC 4e9 +5 S a b=", entry(4e9, 5.0, false, b"a b", b""));
        check("KEYSYNC 07 0 D ==REMOVED", entry(7.0, 0.0, true, b"=", b"REMOVED"));
        for line in [
            "KEYSYNC",
            "KEYSYNC ",
            "KEYSYNC 1 1 U",
            "KEYSYNC 1 1 U ",
            "KEYSYNC 1 U x=1",
            "KEYSYNC 1 1 U x",
            "KEYSYNC 1 1 U =x",
            "KEYSYNC 1 1  x=1",
            "KEYSYNC 1  U x=1",
            "KEYSYNC nan 1 U x=1",
            "KEYSYNC 1 1e999 U x=1",
            "KEYSYNC abc 1 U x=1",
        ] {
            check(line, Command::Unknown(line.as_bytes()));
        }
    }
}
