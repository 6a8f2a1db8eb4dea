//! The command line.

use crate::messaging::address::{Address, Kind};
use crate::pages::Shell;
use clap::builder::NonEmptyStringValueParser;
use clap::{ArgGroup, Parser};
use eventdispatcher::dispatcher::FromValue;
use std::time::Duration;

/// Stop a process, and wait until it has ended.
///
/// It is asked by SIGINT (and waked by SIGCONT, should it be suspended), after the time-out by SIGTERM, and, only if that is
/// allowed, made to end by SIGKILL.
#[derive(Debug, Parser)]
#[command(
    name = "ed-stop",
    version,
    max_term_width = 100,
    args_override_self = true,
    group = ArgGroup::new("what").required(true).args(["target", "service", "completions", "man"]),
    after_help = "A NAME is that of a unit of systemd; else of a file NAME.pid in /run, or the path of such a file.\n\
                  The environment variable ED_STOP may hold options that are always used.\n\n\
                  Exit status: 0 it has ended, or was not running; 1 it is still alive, or something failed;\n\
                  2 for a wrong command line."
)]
pub(crate) struct Arguments {
    /// The process: its number, or a name
    #[arg(value_name = "NAME|PID", value_parser = NonEmptyStringValueParser::new())]
    target: Option<String>,

    /// The same, as an option
    #[arg(short, long, visible_alias = "server", value_name = "NAME|PID", conflicts_with = "target", value_parser = NonEmptyStringValueParser::new())]
    service: Option<String>,

    /// How long it has for each step; after SIGTERM and SIGKILL 10 s at most. In seconds, or with a unit: 1.5, 90s, 2m
    #[arg(short, long, value_name = "TIME", default_value = "60", value_parser = timeout)]
    pub(crate) timeout: Duration,

    /// Look for a running program of this name too
    #[arg(short, long)]
    pub(crate) process_name: bool,

    /// First send the message STOP to this address: HOST:PORT for TCP, a path for a socket file; or with the type in front,
    /// as udp:HOST:PORT or dgram:PATH
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    pub(crate) soft: Option<Address>,

    /// At last, end it by SIGKILL
    #[arg(short, long)]
    pub(crate) kill: bool,

    /// Print the completions for a shell
    #[arg(long, hide = true, value_name = "SHELL", exclusive = true)]
    pub(crate) completions: Option<Shell>,

    /// Print the manual page
    #[arg(long, hide = true, exclusive = true)]
    pub(crate) man: bool,
}

impl Arguments {
    /// What is to be stopped, as it was said.
    pub(crate) fn target(&self) -> &str {
        self.target.as_deref().or(self.service.as_deref()).unwrap_or_default()
    }
}

fn timeout(text: &str) -> Result<Duration, String> {
    let time = Duration::from_value(text.as_bytes()).map_err(|error| error.to_string())?;
    if time.is_zero() || time > Duration::from_secs(24 * 3600) {
        return Err("must be more than nothing and a day at most".to_owned());
    }
    Ok(time)
}

fn address(text: &str) -> Result<Address, String> {
    Address::parse(text, None, Kind::Tcp)
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
    fn the_c_command_lines_are_understood() {
        let check = |line: &str, target: &str, seconds: u64, by_name: bool| {
            let arguments =
                Arguments::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(arguments.target(), target, "{line}");
            assert_eq!(arguments.timeout.as_secs(), seconds, "{line}");
            assert_eq!(arguments.process_name, by_name, "{line}");
        };
        check("ed-stop --service cluckd", "cluckd", 60, false);
        check("ed-stop --server cluckd --timeout 90", "cluckd", 90, false);
        check("ed-stop -s 1234 -t 2m -p", "1234", 120, true);
        check("ed-stop cluckd --process-name", "cluckd", 60, true);
        // Those of the environment come first.
        check("ed-stop -t 5 cluckd -t 7", "cluckd", 7, false);
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for line in ["", "-t 0 x", "-t -1 x", "-t x y", "x y", "-s x y", "--soft unix: x", "-t 25h x", "-z x"]
        {
            let words = std::iter::once("ed-stop").chain(line.split(' ').filter(|word| !word.is_empty()));
            assert!(Arguments::try_parse_from(words).is_err(), "{line}");
        }
    }
}
