//! The command line.

use crate::messaging::address::Kind;
use crate::pages::Shell;
use clap::{Parser, ValueEnum};
use eventdispatcher::dispatcher::FromValue;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Send a message to a service.
///
/// Without --host it goes to the communicator daemon of this computer.
#[derive(Debug, Parser)]
#[command(
    name = "ed-signal",
    version,
    max_term_width = 100,
    args_override_self = true,
    override_usage = "ed-signal [OPTIONS] [[SERVER:]SERVICE/]COMMAND [NAME=VALUE]...",
    after_help = "Examples:\n  \
                    ed-signal ./LOG_ROTATE\n  \
                    ed-signal --host 127.0.0.1:4040 --type tcp --reply HELP\n  \
                    ed-signal --host /run/store.sock store/SAVE id=7 'name=a; b'\n\n\
                  Options may also be in the environment variable ED_SIGNAL, and host, type, encrypt, roots and secret_code in\n\
                  /etc/eventdispatcher/ed-signal.conf, over which those in eventdispatcher.d/NN-ed-signal.conf beside it win.\n\n\
                  Exit status: 0 sent, and answered with --reply; 1 not sent; 2 wrong command line; 3 no answer in time,\n\
                  or one that is no message."
)]
pub(crate) struct Arguments {
    /// The message, and its parameters
    #[arg(value_name = "MESSAGE")]
    pub(crate) words: Vec<OsString>,

    /// The message, as an option: all other words are parameters
    #[arg(short, long, value_name = "[[SERVER:]SERVICE/]COMMAND")]
    pub(crate) message: Option<String>,

    /// Where it goes: IP:PORT or NAME:PORT, of which each part has a default; the path of a socket file; or FILE@VARIABLE, the
    /// address that a configuration file gives to a variable [default: 127.0.0.1:4041]
    #[arg(short = 'H', long, value_name = "ADDRESS")]
    pub(crate) host: Option<String>,

    /// How it travels [default: udp; for a socket file as the file is]
    #[arg(short = 't', long = "type", value_name = "TYPE")]
    pub(crate) kind: Option<Kind>,

    /// Parameters: all words up to the next option; one without a value is empty
    #[arg(short, long, value_name = "NAME[=VALUE]", num_args = 1..)]
    pub(crate) param: Vec<OsString>,

    /// The server to which it goes
    #[arg(short, long, value_name = "NAME")]
    pub(crate) server: Option<String>,

    /// The service to which it goes; . for all of a computer, * for all, ? for all of the local net
    #[arg(short = 'S', long, value_name = "NAME")]
    pub(crate) service: Option<String>,

    /// The secret that the receiver of a datagram asks for
    #[arg(short = 'c', long, value_name = "SECRET")]
    pub(crate) secret_code: Option<OsString>,

    /// Encrypt a TCP connection: yes, if the other side has a certificate for the host's name; no; or unverified, which
    /// trusts anybody
    #[arg(short, long, value_name = "HOW")]
    pub(crate) encrypt: Option<Encrypt>,

    /// The certificates to trust instead of those of the system, in PEM form; encrypts unless told otherwise
    #[arg(long, value_name = "FILE")]
    pub(crate) roots: Option<PathBuf>,

    /// Print the answer
    #[arg(short, long)]
    pub(crate) reply: bool,

    /// How long it may take, in seconds, or with a unit: 1.5, 2m
    #[arg(long, value_name = "TIME", default_value = "10", value_parser = timeout)]
    pub(crate) timeout: Duration,

    /// Send the message in JSON, and print the answer in JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// Print the bytes instead of sending them
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,

    /// Where ed-signal.conf is
    #[arg(long, value_name = "FOLDER", default_value = "/etc/eventdispatcher")]
    pub(crate) config_dir: PathBuf,

    /// Print the completions for a shell
    #[arg(long, hide = true, value_name = "SHELL", exclusive = true)]
    pub(crate) completions: Option<Shell>,

    /// Print the manual page
    #[arg(long, hide = true, exclusive = true)]
    pub(crate) man: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Encrypt {
    /// With a certificate that is right
    #[value(alias = "true", alias = "1")]
    Yes,
    /// Not at all
    #[value(alias = "false", alias = "0")]
    No,
    /// With whatever certificate
    Unverified,
}

fn timeout(text: &str) -> Result<Duration, String> {
    let time = Duration::from_value(text.as_bytes()).map_err(|error| error.to_string())?;
    if time.is_zero() || time > Duration::from_secs(24 * 3600) {
        return Err("must be more than nothing and a day at most".to_owned());
    }
    Ok(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn parameters_are_greedy() {
        let parse = |line: &str| {
            let arguments =
                Arguments::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{error}"));
            (arguments.words, arguments.param)
        };
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let check = |line: &str, message: &[&str], params: &[&str]| {
            assert_eq!(parse(line), (words(message), words(params)), "{line}");
        };
        check("ed-signal HELLO -p a=1 b=2 -t tcp -p c", &["HELLO"], &["a=1", "b=2", "c"]);
        check("ed-signal HELLO a=1 b=2 --reply", &["HELLO", "a=1", "b=2"], &[]);
        check("ed-signal -p a=1 -- HELLO -b=2", &["HELLO", "-b=2"], &["a=1"]);
    }
}
