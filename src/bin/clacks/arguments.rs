//! What can be said on the command line. Help, completions and manual pages are made of this, too.

use crate::shared::pages::Shell;
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use eventdispatcher::connections::clacks::Operand;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

const AFTER_HELP: &str = "\
Environment:
  CLACKS_SOCKET         the path of the server's socket
  CLACKS_HOST           the server's host, if there is no CLACKS_SOCKET
  CLACKS_CA             a PEM file with the certificates to trust
  CLACKS_USER           the user
  CLACKS_PASSWORD       the password
  CLACKS_PASSWORD_FILE  a file with the password in its first line
  CLACKS_LOG            what to log: error (default), warn, info, debug, trace

What is said nowhere is taken from the private folder in which `clacksd`,
started without arguments, leaves its socket and its password:
$XDG_RUNTIME_DIR/clacks, or else clacks-<uid> in the folder for temporary files.

Exit status:
  0  it is done; also if the reader of standard output has gone
  1  not found, or refused: permission denied, login failed
  2  wrong usage
  3  no connection, or the connection was lost";

/// Signals and the shared cache of a clacks server, from the shell.
#[derive(Debug, Parser)]
#[command(name = "clacks", version, max_term_width = 100, after_long_help = AFTER_HELP)]
#[command(after_help = "`clacks --help` says more: environment, exit status.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How to reach the server.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connection {
    /// The server's socket file [default: CLACKS_SOCKET, else clacks.sock in the private folder]
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// The server's host, a name or an address, and its port, by TLS [default: CLACKS_HOST; port 49888]
    #[arg(long, global = true, value_name = "HOST[:PORT]", conflicts_with = "socket")]
    pub(crate) host: Option<String>,
    /// A PEM file with the certificates that may have signed the server's, or that certificate itself, instead of those of
    /// the system [default: CLACKS_CA]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// DANGEROUS: take whatever certificate the server shows: anybody on the way can be the server, and gets the password
    #[arg(long, global = true, conflicts_with_all = ["ca", "socket"])]
    pub(crate) no_verify: bool,
    /// Who logs in [default: CLACKS_USER, else the name of this process's user]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// A file with the password in its first line [default: CLACKS_PASSWORD, else CLACKS_PASSWORD_FILE, else password in
    /// the private folder]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// How long to wait for an answer
    #[arg(long, global = true, value_name = "SECONDS", default_value = "30", value_parser = positive_seconds)]
    #[arg(allow_negative_numbers = true)]
    pub(crate) timeout: Duration,
}

impl Arguments {
    /// Whether a server is spoken to over the network, so that an error of a connection may be of that one.
    pub(crate) fn goes_to_host(&self) -> bool {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let Connection { socket, host, .. } = &self.connection;
        host.is_some()
            || socket.is_none() && !is_set("CLACKS_SOCKET") && is_set("CLACKS_HOST")
            || matches!(&self.command, Command::Copy(copy) if copy.to_host.is_some())
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send a signal with a value to all who listen to NAME
    Set(Pair),
    /// Send a signal without a value to all who listen to NAME
    Notify(Name),
    /// Print the signals of these names as they come, until interrupted
    ///
    /// A signal with a value is a line NAME=VALUE, one without a line NAME. A value that holds line ends stays encoded, so
    /// that each signal is one line.
    Listen(Listen),
    /// Keep a value under a key
    Store(Pair),
    /// Print the value of a key; exit status 1 if there is none
    Get(Get),
    /// Remove a key
    Del(Key),
    /// Add STEP to the number under a key; what is no number counts as 0
    Incr(Step),
    /// Subtract STEP from the number under a key; what is no number counts as 0
    Decr(Step),
    /// Print all keys, or those that match a pattern
    Keys(Keys),
    /// Remove all keys
    Clear,
    /// Print all entries, or those that match a pattern, as lines KEY=VALUE
    ///
    /// Values are as on the wire, where those that hold line ends are encoded, so that each entry is one line. It is not one moment of the cache: entries
    /// may change meanwhile.
    Export(Keys),
    /// Store entries: lines KEY=VALUE, as export prints them
    ///
    /// It ends at the first line that is no entry, and says which one that is. It is not all or nothing: entries are stored in
    /// batches of 1000 or, if that is less, 1 MiB; those before the bad line are stored, but for the batch that it stands in.
    Import(Import),
    /// Copy all entries, or those that match a pattern, to another server
    ///
    /// The connection options say where from. What the other server has under these keys is replaced, and nothing else.
    Copy(Copy),
    /// Show a live table of names, with rates and the last values
    ///
    /// Of the signals of the names that are given; without a name of all commands of all clients, which needs the permission
    /// to manage. The busiest come first. Ends with Ctrl-C.
    Watch(Watch),
    /// Print what all clients send, as it comes, until interrupted
    ///
    /// A line has the client's id, a space, and what it sent; or CONNECTED, DISCONNECTED or SERVERCACHE, and what
    /// happened.
    Monitor(Stream),
    /// List the clients of the server
    ///
    /// In a terminal a table with what matters. Otherwise a line per client with all that the server tells, separated by
    /// tabs: id, host, port, name, bytes to send, bytes received and not processed, whether it is another server, whether it
    /// is a monitor, times of its last PING, of the last PING of a server, and since when it takes no output.
    Clients(Json),
    /// Print how the server is: what it holds, and what has happened since it was started
    ///
    /// A line for each number: its name, `=`, its value.
    Status(Json),
    /// End the connection of a client
    Disconnect(Cid),
    /// Return when the server has carried out everything that was sent before
    Flush,
    /// Measure round-trip times
    ///
    /// Each is the time from a FLUSH to its answer. Ends with a summary, also when interrupted.
    Ping(Ping),
    /// Send lines of the protocol as they are typed, and print all that the server sends
    ///
    /// In a terminal with a prompt and line editing; Ctrl-D ends it. Otherwise the lines of standard input are sent, and it
    /// ends when the answers to all of them are there. It logs in by itself.
    Raw,
    /// Measure how much the server does and how fast it answers
    ///
    /// Uses names that begin with clacks-bench/, and removes its keys afterwards. A message is, for fan-out, a signal that has
    /// arrived at a listener; else a command that is carried out. A latency is the time from sending to arrival; for ingest
    /// that of the FLUSH at the end of 64 KiB, for fan-out that of the last one of those sent at a time.
    Bench(Bench),
    /// Stop the server
    Shutdown(Shutdown),
    /// Print completions for a shell
    ///
    /// For example: clacks completions bash > ~/.local/share/bash-completion/completions/clacks
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print a manual page
    ///
    /// For example: clacks man listen | man -l -
    Man {
        /// The subcommand it is about; without, it is about all
        subcommand: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Name {
    /// The signal's name
    pub(crate) name: OsString,
}

#[derive(Debug, Args)]
pub(crate) struct Pair {
    /// The name
    pub(crate) name: OsString,
    /// The value; - for standard input
    #[arg(allow_negative_numbers = true)]
    pub(crate) value: OsString,
    /// Take standard input with the line end at its end
    #[arg(long)]
    pub(crate) exact: bool,
    /// Take the value for YAML: it is sent as a structured one, as the Perl clients do it
    #[arg(long, conflicts_with = "raw_values")]
    pub(crate) yaml: bool,
    #[command(flatten)]
    pub(crate) values: Values,
}

#[derive(Debug, Args)]
pub(crate) struct Values {
    /// Leave values as they are on the wire: neither encode nor decode those that hold line ends, nor structured ones, which
    /// are shown as YAML
    #[arg(long)]
    pub(crate) raw_values: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Stream {
    /// Print JSON objects, one per line; what is no UTF-8 text is in base64, under a name that ends in _base64, and what is
    /// structured in YAML, under one that ends in _yaml
    #[arg(long)]
    pub(crate) json: bool,
    /// End after so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Listen {
    /// The names to listen to
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<OsString>,
    #[command(flatten)]
    pub(crate) stream: Stream,
    #[command(flatten)]
    pub(crate) values: Values,
}

#[derive(Debug, Args)]
pub(crate) struct Key {
    /// The key
    pub(crate) key: OsString,
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// The key
    pub(crate) key: OsString,
    /// Print no line end after the value
    #[arg(long)]
    pub(crate) exact: bool,
    #[command(flatten)]
    pub(crate) values: Values,
}

#[derive(Debug, Args)]
pub(crate) struct Step {
    /// The key
    pub(crate) key: OsString,
    /// A number, which may be negative [default: 1]
    #[arg(allow_negative_numbers = true, value_parser = number)]
    pub(crate) step: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Keys {
    /// Which: * stands for any text, ? for one character, [a-z] for one of these, [!a-z] for any other; \ takes its
    /// meaning from the character after it
    pub(crate) pattern: Option<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// A file; - or nothing for standard input
    pub(crate) file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("to").args(["to_host", "to_socket"]).required(true)))]
pub(crate) struct Copy {
    /// Which keys: as for `clacks keys`
    pub(crate) pattern: Option<OsString>,
    /// The other server's host, and its port
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) to_host: Option<String>,
    /// The other server's socket file
    #[arg(long, value_name = "PATH")]
    pub(crate) to_socket: Option<PathBuf>,
    /// Who logs in there [default: as here]
    #[arg(long, value_name = "NAME")]
    pub(crate) to_user: Option<String>,
    /// A file with the password for there in its first line [default: as here]
    #[arg(long, value_name = "FILE")]
    pub(crate) to_password_file: Option<PathBuf>,
    /// A PEM file with the certificates to trust there [default: as here]
    #[arg(long, value_name = "FILE")]
    pub(crate) to_ca: Option<PathBuf>,
}

impl Copy {
    /// How to reach the other server.
    pub(crate) fn to(&self, from: &Connection) -> Connection {
        Connection {
            socket: self.to_socket.clone(),
            host: self.to_host.clone(),
            ca: self.to_ca.clone().or_else(|| from.ca.clone()),
            no_verify: from.no_verify && self.to_ca.is_none(),
            user: self.to_user.clone().or_else(|| from.user.clone()),
            password_file: self.to_password_file.clone().or_else(|| from.password_file.clone()),
            timeout: from.timeout,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// The names to listen to; without, everything
    pub(crate) names: Vec<OsString>,
    /// The time from one table to the next
    #[arg(long, short = 'i', value_name = "SECONDS", default_value = "1", value_parser = positive_seconds)]
    #[arg(allow_negative_numbers = true)]
    pub(crate) interval: Duration,
    /// End after so many tables
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Json {
    /// Print JSON objects, one per line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Cid {
    /// The client's id, as `clacks clients` shows it
    pub(crate) cid: OsString,
}

#[derive(Debug, Args)]
pub(crate) struct Ping {
    /// End after so many
    #[arg(long, short = 'c', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// The time from one to the next; 0 for no pause
    #[arg(long, short = 'i', value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    #[arg(allow_negative_numbers = true)]
    pub(crate) interval: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// What to measure; without, everything
    #[arg(value_name = "SCENARIO")]
    pub(crate) scenarios: Vec<Scenario>,
    /// How long each measurement takes, after a warm-up
    #[arg(long, default_value = "1", value_parser = positive_seconds, allow_negative_numbers = true)]
    pub(crate) seconds: Duration,
    /// The length of values
    #[arg(long, value_name = "BYTES", default_value_t = 32, value_parser = bounded::<16_000_000>)]
    pub(crate) size: usize,
    /// fan-out: how many listen
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = bounded::<100_000>)]
    pub(crate) listeners: usize,
    /// fan-out: how many signals may be under way to each listener
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = bounded::<1_000_000>)]
    pub(crate) window: usize,
    /// cache: how many clients
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = bounded::<100_000>)]
    pub(crate) clients: usize,
    /// cache: how many pairs of STORE and RETRIEVE each client has under way
    #[arg(long = "depth", value_name = "N,…", default_value = "1,16,64", value_delimiter = ',')]
    #[arg(value_parser = bounded::<100_000>)]
    pub(crate) depths: Vec<usize>,
    /// How many generators send at a time: each a thread, with all connections of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = bounded::<1_000>)]
    pub(crate) generators: usize,
    /// Print JSON objects, one per line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Scenario {
    /// One publisher, some listeners
    FanOut,
    /// SET without listeners and STORE, as fast as the server takes them
    Ingest,
    /// STORE and RETRIEVE of keys at random, at some depths
    Cache,
    /// One SET and one RETRIEVE at a time
    Latency,
}

#[derive(Debug, Args)]
pub(crate) struct Shutdown {
    /// In how many seconds
    #[arg(default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) seconds: u32,
}

fn bounded<const MOST: usize>(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (1..=MOST).contains(&number) => Ok(number),
        _ => Err(format!("it must be a number from 1 to {MOST}")),
    }
}

/// The most seconds that a time may have: more than 30 years.
const MAX_SECONDS: u32 = 1_000_000_000;

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=f64::from(MAX_SECONDS)).contains(&seconds) => {
            Ok(Duration::from_secs_f64(seconds))
        }
        Ok(seconds) if !seconds.is_nan() => Err(format!("it must be 0 to {MAX_SECONDS} seconds")),
        _ => Err("it is no number".to_owned()),
    }
}

fn positive_seconds(text: &str) -> Result<Duration, String> {
    match seconds(text)? {
        Duration::ZERO => Err("it must be more than 0".to_owned()),
        time => Ok(time),
    }
}

/// A number as the server reads it: it takes anything else for 0, which nobody means.
fn number(text: &str) -> Result<String, String> {
    match Operand::number(text.as_bytes()) {
        Some(number) if number.to_f64().is_finite() => Ok(text.to_owned()),
        _ => Err("it is no number".to_owned()),
    }
}
