use std::fmt;
use std::time::Duration;

use super::Configuration;

/// One name that a configuration may hold. [`SETTINGS`] is the one place that knows them: reading,
/// messages and the test of the documentation follow it.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Whether it may be given more than once.
    pub(super) repeatable: bool,
    /// What holds without it, as the documentation says it. `Configuration::new` is what sets it.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests compare it with the other two"))]
    pub(super) default: &'static str,
}

/// What a setting may hold.
pub(super) enum Kind {
    /// One line of text; white space around it does not count.
    Line,
    /// A text that counts exactly as it is.
    Name,
    /// The same, and never shown.
    Secret,
    /// What a password can be compared with.
    Hash,
    /// A shell command.
    Command,
    /// A path of a file.
    Path,
    /// A path of a Unix socket.
    SocketPath,
    /// An IP address or the name of a host.
    Host,
    /// A port of TCP.
    Port { min: u16 },
    /// A time in seconds, with or without a fraction.
    Seconds { min: Least, field: fn(&mut Configuration) -> &mut Duration },
    /// A whole number.
    Number { unit: &'static str, min: usize, max: usize, field: fn(&mut Configuration) -> &mut usize },
    /// Permissions of a file.
    Mode,
    /// 0 or 1.
    Flag,
    /// One of some words.
    Word(&'static [&'static str]),
    /// Anything: it has no effect.
    Ignored,
    /// Settings of its own.
    Group(&'static [Setting]),
    /// Elements named like machines, each with settings as in the root.
    Hosts,
}

/// The least number of seconds that makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Least {
    /// 0: at once.
    Zero,
    /// A hundredth of a second.
    Centisecond,
}

/// The longest path of a Unix socket, in bytes, on Linux: `sun_path` has 108, the last is NUL.
pub(super) const MAX_SOCKET_PATH: usize = 107;

/// The longest time, in seconds: about 31 years, which stands for "never".
pub(super) const MAX_SECONDS: u64 = 1_000_000_000;

impl Least {
    pub(super) fn duration(self) -> Duration {
        match self {
            Self::Zero => Duration::ZERO,
            Self::Centisecond => Duration::from_millis(10),
        }
    }
}

impl Kind {
    /// The type, as the documentation says it.
    #[cfg(test)]
    pub(super) fn type_text(&self) -> &'static str {
        match self {
            Self::Line | Self::Name | Self::Secret => "text",
            Self::Hash => "Argon2 hash",
            Self::Command => "shell command",
            Self::Path | Self::SocketPath => "path",
            Self::Host => "address or host name",
            Self::Port { .. } | Self::Number { .. } => "whole number",
            Self::Seconds { .. } => "seconds",
            Self::Mode => "octal mode",
            Self::Flag => "flag",
            Self::Word(_) => "word",
            Self::Ignored => "anything",
            Self::Group(_) | Self::Hosts => "group",
        }
    }
}

/// What is accepted: the range in the documentation, and what a message says is expected.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line => f.write_str("one line"),
            Self::Hash => f.write_str("as clacksd --hash-password prints it"),
            Self::Name | Self::Secret | Self::Command | Self::Path => f.write_str("not empty"),
            Self::SocketPath => write!(f, "up to {MAX_SOCKET_PATH} bytes"),
            Self::Host => f.write_str("an IPv4 or IPv6 address, or a host name"),
            Self::Port { min } => write!(f, "{min} to {}", u16::MAX),
            Self::Seconds { min: Least::Zero, .. } => write!(f, "0 to {MAX_SECONDS}, decimals allowed"),
            Self::Seconds { min: Least::Centisecond, .. } => {
                write!(f, "0.01 to {MAX_SECONDS}, decimals allowed")
            }
            Self::Number { unit, min, max, .. } => write!(f, "{min} to {max} {unit}"),
            Self::Mode => f.write_str("0 to 777"),
            Self::Flag => f.write_str("0 or 1"),
            Self::Word(words) => f.write_str(&words.join(" or ")),
            Self::Ignored | Self::Group(_) | Self::Hosts => f.write_str("any"),
        }
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const fn once(name: &'static str, default: &'static str, kind: Kind) -> Setting {
    Setting { name, kind, repeatable: false, default }
}

const fn many(name: &'static str, default: &'static str, kind: Kind) -> Setting {
    Setting { name, kind, repeatable: true, default }
}

const fn seconds(
    name: &'static str,
    default: &'static str,
    min: Least,
    field: fn(&mut Configuration) -> &mut Duration,
) -> Setting {
    once(name, default, Kind::Seconds { min, field })
}

/// What may stand in the root, and in the section of a host.
pub(super) static SETTINGS: &[Setting] = &[
    once("appname", "clacksd", Kind::Line),
    many("ip", "none", Kind::Host),
    once("port", "required with ip", Kind::Port { min: 0 }),
    once("ssl", "required with ip", Kind::Group(SSL)),
    many("socket", "none", Kind::SocketPath),
    once("socketchmod", "as the umask says", Kind::Mode),
    once("socketcommands", "none", Kind::Group(SOCKET_COMMANDS)),
    once("username", "required", Kind::Name),
    once("password", "required", Kind::Secret),
    once("passwordhash", "none", Kind::Hash),
    many("user", "none", Kind::Group(USER)),
    once("persistancefile", "none", Kind::Path),
    seconds("persistanceinterval", "10", Least::Zero, |c| &mut c.persistence_interval),
    once("journal", "1", Kind::Flag),
    once("journalsync", "interval", Kind::Word(JOURNAL_SYNC)),
    seconds("pingtimeout", "180", Least::Centisecond, |c| &mut c.ping_timeout),
    seconds("interclackspingtimeout", "60", Least::Centisecond, |c| &mut c.interclacks_ping_timeout),
    seconds("authtimeout", "15", Least::Centisecond, |c| &mut c.auth_timeout),
    seconds("failedloginpause", "4", Least::Zero, |c| &mut c.failed_login_pause),
    seconds("interclacksreconnecttimeout", "30", Least::Zero, |c| &mut c.interclacks_reconnect_timeout),
    seconds("stalledwritetimeout", "60", Least::Centisecond, |c| &mut c.stalled_write_timeout),
    seconds("interclacksstalledwritetimeout", "120", Least::Centisecond, |c| {
        &mut c.interclacks_stalled_write_timeout
    }),
    once("readfailtimeout", "none", Kind::Ignored),
    once("interclacksreadfailtimeout", "none", Kind::Ignored),
    seconds("deletedcachetime", "3600", Least::Zero, |c| &mut c.deleted_cache_time),
    seconds("stalecachetime", "86400", Least::Centisecond, |c| &mut c.stale_cache_time),
    seconds("cachecleaninterval", "60", Least::Centisecond, |c| &mut c.cache_clean_interval),
    once("throttle", "none", Kind::Group(THROTTLE)),
    once("master", "none", Kind::Group(MASTER)),
    once("hosts", "none", Kind::Hosts),
    once("debugfile", "none", Kind::Path),
    once("control", "beside the first socket", Kind::SocketPath),
    once("controltype", "datagram", Kind::Word(CONTROL_TYPE)),
    once(
        "maxline",
        "16777216",
        Kind::Number { unit: "bytes", min: 1024, max: 1 << 30, field: |c| &mut c.max_line },
    ),
    once(
        "maxoutbuffer",
        "67108864",
        Kind::Number { unit: "bytes", min: 2048, max: 1 << 31, field: |c| &mut c.max_out_buffer },
    ),
    once(
        "maxclients",
        "10000",
        Kind::Number { unit: "clients", min: 1, max: 1_000_000, field: |c| &mut c.max_clients },
    ),
];

/// When a journal is brought to the disk: the words, in the order of what they cost.
static JOURNAL_SYNC: &[&str] = &["none", "interval", "always"];

/// How the operator's messages travel.
static CONTROL_TYPE: &[&str] = &["datagram", "stream"];

static SSL: &[Setting] =
    &[once("cert", "required with ip", Kind::Path), once("key", "required with ip", Kind::Path)];

static SOCKET_COMMANDS: &[Setting] = &[many("item", "none", Kind::Command)];

static USER: &[Setting] = &[
    once("username", "required", Kind::Name),
    once("password", "required", Kind::Secret),
    once("passwordhash", "none", Kind::Hash),
    once("read", "0", Kind::Flag),
    once("write", "0", Kind::Flag),
    once("manage", "0", Kind::Flag),
];

static THROTTLE: &[Setting] = &[once("maxsleep", "none", Kind::Ignored), once("step", "none", Kind::Ignored)];

static MASTER: &[Setting] = &[
    once("socket", "none", Kind::SocketPath),
    once("ip", "none", Kind::Host),
    once("port", "required with ip", Kind::Port { min: 1 }),
    once("ca", "none", Kind::Path),
];

/// Whether an element of this name means something anywhere.
pub(super) fn is_known(name: &str) -> bool {
    fn among(name: &str, settings: &[Setting]) -> bool {
        settings.iter().any(|setting| match setting.kind {
            Kind::Group(inner) => setting.name == name || among(name, inner),
            _ => setting.name == name,
        })
    }
    name == "clacks" || among(name, SETTINGS)
}

/// The name of `settings` that `name` is most probably a misspelling of.
pub(super) fn nearest(name: &str, settings: &[Setting]) -> Option<&'static str> {
    const LONGEST: usize = 40;
    const FARTHEST: usize = 2;
    if name.len() > LONGEST {
        return None;
    }
    let name = name.to_lowercase();
    settings
        .iter()
        .map(|setting| (edits(name.as_bytes(), setting.name.as_bytes()), setting.name))
        .filter(|&(edits, setting)| edits <= FARTHEST && edits * 2 < setting.len())
        .min()
        .map(|(_, setting)| setting)
}

/// How many bytes must be added, removed or exchanged to make `b` out of `a`.
fn edits(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut left = i + 1;
        let mut diagonal = std::mem::replace(&mut row[0], left);
        for (y, above) in b.iter().zip(&mut row[1..]) {
            let here = (diagonal + usize::from(x != y)).min(left + 1).min(*above + 1);
            diagonal = std::mem::replace(above, here);
            left = here;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_finds_the_right_one() {
        let check = |name, wanted| assert_eq!(nearest(name, SETTINGS), wanted, "{name}");
        check("persistencefile", Some("persistancefile"));
        check("Port", Some("port"));
        check("SocketChmod", Some("socketchmod"));
        check("users", Some("user"));
        check("pingtimout", Some("pingtimeout"));
        check("timeout", None);
        check("x", None);
        check("", None);
        check(&"p".repeat(1_000_000), None);
    }

    #[test]
    fn edits_are_counted() {
        let check =
            |a: &str, b: &str, wanted| assert_eq!(edits(a.as_bytes(), b.as_bytes()), wanted, "{a} {b}");
        check("", "", 0);
        check("", "abc", 3);
        check("abc", "", 3);
        check("abc", "abd", 1);
        check("kitten", "sitting", 3);
        check("flaw", "lawn", 2);
    }

    #[test]
    fn names_are_given_once_in_each_group() {
        fn check(settings: &[Setting]) {
            for (i, setting) in settings.iter().enumerate() {
                let again = settings.iter().skip(i + 1).any(|other| other.name == setting.name);
                assert!(!again, "{} is in the table twice", setting.name);
                if let Kind::Group(settings) = setting.kind {
                    check(settings);
                }
            }
        }
        check(SETTINGS);
    }
}
