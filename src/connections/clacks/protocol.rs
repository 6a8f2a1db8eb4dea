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
            3 if word == b"SET" => Self::Set(pair(argument)?),
            5 => match word {
                b"STORE" => Self::Store(pair(argument)?),
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
            11 if word == b"SETANDSTORE" => Self::SetAndStore(pair(argument)?),
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
            b"CLEARCACHE" => Self::ClearCache,
            b"MONITOR" => Self::Monitor,
            b"UNMONITOR" => Self::Unmonitor,
            _ => return None,
        })
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
    fn parse(argument: &'a [u8]) -> Option<Self> {
        let (cache_time, rest) = split_at_byte(argument, b' ')?;
        let (access_time, rest) = split_at_byte(rest, b' ')?;
        let (mode, rest) = split_at_byte(rest, b' ')?;
        let Pair { name: key, value } = pair(rest)?;
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
fn split_word(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = line.iter().take(17).position(|&b| b == b' ')?;
    Some((line.get(..at)?, line.get(at + 1..)?))
}

fn split_at_byte(text: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr(byte, text)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// `name=value`, split at the first `=` that has a name before it.
fn pair(text: &[u8]) -> Option<Pair<'_>> {
    let at = 1 + memchr(b'=', text.get(1..)?)?;
    Some(Pair { name: text.get(..at)?, value: text.get(at + 1..)? })
}
