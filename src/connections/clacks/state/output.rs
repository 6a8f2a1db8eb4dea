//! What the protocol asks of the connections.

use std::fmt;
use std::time::Duration;

use super::sessions::ClientIndex;
use super::users::Attempt;

/// The connections, as the protocol sees them. `K` names one of them.
///
/// None of these may call back into the [`State`](super::State): they queue.
pub trait Output<K: Copy + Eq> {
    /// Queues one line, given in parts and without its line end.
    ///
    /// Says whether it was taken. If the client's queue is full it is not: the client is then closed.
    fn send(&mut self, to: K, line: &[&[u8]]) -> bool;

    /// Queues the same line for every one of `to` but `except`, and puts the positions in `to` of those whose
    /// queue is full into `refused`, which is empty.
    fn fan_out(&mut self, to: &[K], except: Option<K>, line: &[&[u8]], refused: &mut Vec<usize>) {
        for (position, &key) in to.iter().enumerate() {
            if except.is_none_or(|except| except != key) && !self.send(key, line) {
                refused.push(position);
            }
        }
    }

    /// Ends the connection. Nothing more is sent to it, and what it has sent is not read any more;
    /// [`disconnected`](super::State::disconnected) is called once it is gone.
    fn close(&mut self, who: K, how: Closing);

    /// Is there room for more than a line or two? If not, a long list, or the cache for a linked server, waits until
    /// [`resume`](super::State::resume).
    fn has_room(&self, who: K) -> bool;

    /// [`resume`](super::State::resume) is to be called for the connection, once others have had their turn.
    fn resume_soon(&mut self, who: K);

    /// [`tidy`](super::State::tidy) is to be called, once others have had their turn.
    ///
    /// Unless written otherwise nothing comes of it: memory is then freed as the cache is filled again.
    fn tidy_soon(&mut self) {}

    /// Leaves the input of the connection unprocessed, or no more: what it sends is kept.
    fn hold(&mut self, who: K, on: bool);

    /// What the connection's queues hold, and for how long.
    fn traffic(&self, who: K) -> Traffic;

    /// A password is to be compared with a hash. `None`: that goes on, and
    /// [`compared`](super::State::compared) will be called with what came of it.
    ///
    /// Unless written otherwise it is done here and now, which takes its time.
    fn compare(&mut self, client: ClientIndex, attempt: Attempt) -> Option<bool> {
        let _ = client;
        Some(attempt.compare())
    }

    /// What else is to be known of the server, in numbers: for its status.
    fn status(&self, each: &mut dyn FnMut(&str, &dyn fmt::Display)) {
        let _ = each;
    }

    /// The server is to stop in that time.
    fn shutdown(&mut self, after: Duration);

    /// Something worth a line in the log.
    fn log(&mut self, event: &Event<'_>);
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// Once what is queued was sent.
    Flushed,
    /// At once: the client does not read.
    Now,
}

/// The state of a connection's queues. Times are on the clock of [`Now::monotonic`](super::Now::monotonic).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Bytes that wait to be sent.
    pub unsent: usize,
    /// Bytes that were read and not yet processed: lines that wait, or the beginning of one.
    pub unread: usize,
    /// When something was last queued for the client, or when it connected.
    pub last_queued: Duration,
    /// Since when output waits and no byte of it could be written.
    pub stalled_since: Option<Duration>,
}

/// What the log should know. Tokens never show. Of what a client can repeat as often as it likes,
/// only the first ones between two [looks](super::State::check) at it come here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A login succeeded.
    LoggedIn {
        /// The client.
        cid: &'a [u8],
        /// The user whose token it sent.
        user: &'a str,
    },
    /// A login failed; the client is closed.
    LoginFailed {
        /// The client.
        cid: &'a [u8],
        /// The user whose name it sent, if there is one.
        user: Option<&'a str>,
        /// How many have failed from where it is in the last time, with this one.
        failures: u32,
    },
    /// No login came in time; the client is closed.
    LoginTimeout {
        /// The client.
        cid: &'a [u8],
    },
    /// No sign of life came in time; the client is closed.
    PingTimeout {
        /// The client.
        cid: &'a [u8],
    },
    /// Output could not be written for too long; the client is closed.
    Stalled {
        /// The client.
        cid: &'a [u8],
    },
    /// The client's output queue is full; the client is closed.
    QueueFull {
        /// The client.
        cid: &'a [u8],
    },
    /// The client reports an error.
    ClientError {
        /// The client.
        cid: &'a [u8],
        /// What it says.
        message: &'a [u8],
    },
    /// A line was too long for a linked server, which ends the link.
    LinkLineTooLong {
        /// The linked server.
        cid: &'a [u8],
        /// How long the longest line was that an entry of the cache was sent as, in bytes; 0 if none was.
        length: usize,
        /// The key of that entry.
        key: &'a [u8],
    },
    /// The cache is full: a command had no effect.
    CacheFull {
        /// The client whose command it was.
        cid: &'a [u8],
    },
    /// The client listens to as many names as it may: one more was refused.
    TooManyNames {
        /// The client.
        cid: &'a [u8],
    },
    /// A client is a linked server from now on.
    Linked {
        /// The other server.
        cid: &'a [u8],
        /// What it calls itself.
        name: &'a [u8],
        /// Is it the master of this server? Else it is a slave.
        is_master: bool,
    },
    /// The other server would close a loop in the tree; it is closed.
    Loop {
        /// The other server.
        cid: &'a [u8],
        /// What it calls itself.
        name: &'a [u8],
        /// Is it the master of this server? Else it wants to be a slave.
        is_master: bool,
    },
    /// The master does not have the token of the main user; it is closed.
    NoMaster {
        /// The master.
        cid: &'a [u8],
    },
    /// This server can't prove itself to a slave: it knows the main user's password as a hash only.
    NoToken {
        /// The slave.
        cid: &'a [u8],
    },
    /// The master does not take this server for a slave; it is closed.
    MasterRefuses {
        /// The master.
        cid: &'a [u8],
        /// What it says.
        message: &'a [u8],
    },
    /// The master did not send its whole cache in time: clients do not wait any longer.
    LockExpired {
        /// The master.
        cid: &'a [u8],
    },
    /// A client disconnects another one.
    Disconnects {
        /// Who asked for it.
        cid: &'a [u8],
        /// Who is disconnected.
        other: &'a [u8],
    },
    /// A client disconnects everybody.
    DisconnectsAll {
        /// Who asked for it.
        cid: &'a [u8],
    },
    /// A client stops the server.
    Shutdown {
        /// Who asked for it.
        cid: &'a [u8],
        /// In what time.
        after: Duration,
    },
}

impl Event<'_> {
    /// Is it part of normal work? Else it deserves a warning.
    pub fn is_normal(&self) -> bool {
        matches!(
            self,
            Self::LoggedIn { .. }
                | Self::Linked { .. }
                | Self::Disconnects { .. }
                | Self::DisconnectsAll { .. }
                | Self::Shutdown { .. }
        )
    }
}

/// The most bytes of what a client sent that a line in the log shows.
const SHOWN_MAX: usize = 256;

/// Bytes from a client as they may stand in a log.
fn text(bytes: &[u8]) -> String {
    match bytes.split_at_checked(SHOWN_MAX) {
        Some((shown, rest)) if !rest.is_empty() => format!("{}…", shown.escape_ascii()),
        _ => bytes.escape_ascii().to_string(),
    }
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LoggedIn { cid, user } => write!(f, "{}: logged in as {user}", text(cid)),
            Self::LoginFailed { cid, user, failures } => {
                write!(f, "{}: login failed", text(cid))?;
                if let Some(user) = user {
                    write!(f, " for {user}")?;
                }
                if *failures > 1 {
                    write!(f, ", failure {failures} from there")?;
                }
                f.write_str(", closed")
            }
            Self::LoginTimeout { cid } => write!(f, "{}: no login in time, closed", text(cid)),
            Self::PingTimeout { cid } => write!(f, "{}: no PING in time, closed", text(cid)),
            Self::Stalled { cid } => write!(f, "{}: takes no output, closed", text(cid)),
            Self::QueueFull { cid } => write!(f, "{}: output queue is full, closed", text(cid)),
            Self::ClientError { cid, message } => write!(f, "{}: reports: {}", text(cid), text(message)),
            Self::LinkLineTooLong { cid, length, key } => {
                write!(
                    f,
                    "{}: a line is too long for this linked server, whose maxline must be lower",
                    text(cid)
                )?;
                match length {
                    0 => f.write_str(": give both the same"),
                    _ => write!(
                        f,
                        ": give both the same, or remove what is long; the longest entry was sent in {length} bytes: {}",
                        text(key)
                    ),
                }
            }
            Self::CacheFull { cid } => write!(f, "{}: cache is full, command refused", text(cid)),
            Self::TooManyNames { cid } => {
                write!(f, "{}: listens to too many names, LISTEN refused", text(cid))
            }
            Self::Linked { cid, name, is_master } => {
                let what = if *is_master { "this server's master" } else { "a slave of this server" };
                write!(f, "{}: linked, is {what}: {}", text(cid), text(name))
            }
            Self::Loop { cid, name, is_master: true } => write!(
                f,
                "{}: the master is below this server in the tree (or the tree is too deep), not linked: give another \
                 <master>, or none: {}",
                text(cid),
                text(name)
            ),
            Self::Loop { cid, name, is_master: false } => write!(
                f,
                "{}: is this server itself or above it in the tree, not taken for a slave: {}",
                text(cid),
                text(name)
            ),
            Self::NoMaster { cid } => write!(
                f,
                "{}: the master has another <username> or <password> than this server, closed",
                text(cid)
            ),
            Self::NoToken { cid } => write!(
                f,
                "{}: not taken for a slave: interclacks needs the main user's <password>, a hash is not enough",
                text(cid)
            ),
            Self::MasterRefuses { cid, message } => write!(
                f,
                "{}: the master refuses this server (do both have the same <username> and <password>?): {}",
                text(cid),
                text(message)
            ),
            Self::LockExpired { cid } => {
                write!(f, "{}: the master's cache is still not complete, clients wait no longer", text(cid))
            }
            Self::Disconnects { cid, other } => write!(f, "{}: disconnects {}", text(cid), text(other)),
            Self::DisconnectsAll { cid } => write!(f, "{}: disconnects all clients", text(cid)),
            Self::Shutdown { cid, after } => write!(f, "{}: stops the server in {after:?}", text(cid)),
        }
    }
}
