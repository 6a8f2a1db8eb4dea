//! What the daemon is told by its file.

use eventdispatcher::Pauses;
use std::fmt::Display;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A file of more bytes is refused.
const SIZE_MAX: u64 = 1 << 20;

/// One line for each: a word and what it is set to; `#` begins a comment.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// `http 127.0.0.1:8080`: where browsers ask.
    pub(crate) http: SocketAddr,
    /// `template /etc/presence/status.html`
    pub(crate) template: PathBuf,
    /// `account alice 127.0.0.1:5190`, one line for each: who is signed on where.
    pub(crate) accounts: Vec<Account>,
    /// `pauses 1,2,4,60`: seconds between attempts to connect.
    pub(crate) pauses: Pauses,
    /// `keep-alive 120`: seconds between two frames that say so.
    pub(crate) keep_alive: Duration,
    /// `timeout 5`: seconds that a browser waits for its answer.
    pub(crate) timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) user: String,
    pub(crate) server: SocketAddr,
}

impl Settings {
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        Self::parse(&text(path)?).map_err(|error| format!("{}{error}", path.display()))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (mut http, mut template, mut accounts) = (None, None, Vec::<Account>::new());
        let (mut pauses, mut keep_alive, mut timeout) = (None, None, None);
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = line.split_whitespace().collect();
            let at = |problem: &dyn Display| format!(":{}: {problem}", number + 1);
            let value = |text: &str| -> Result<SocketAddr, String> {
                text.parse().map_err(|error| at(&format!("{text}: {error}")))
            };
            let seconds = |text: &str| -> Result<Duration, String> {
                let time = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
                time.filter(|time| !time.is_zero())
                    .ok_or_else(|| at(&format!("{text}: not a time in seconds")))
            };
            match words[..] {
                [] => {}
                ["http", address] => http = Some(value(address)?),
                ["template", path] => template = Some(PathBuf::from(path)),
                ["account", user, server] => {
                    if accounts.iter().any(|account| account.user == user) {
                        return Err(at(&format!("there is an account {user} already")));
                    }
                    accounts.push(Account { user: user.to_owned(), server: value(server)? });
                }
                ["pauses", list] => pauses = Some(list.parse().map_err(|error| at(&error))?),
                ["keep-alive", time] => keep_alive = Some(seconds(time)?),
                ["timeout", time] => timeout = Some(seconds(time)?),
                [word, ..] => {
                    return Err(at(&format!("{word} is not known, or is set to too little or too much")));
                }
            }
        }
        if accounts.is_empty() {
            return Err(": an account is missing".into());
        }
        Ok(Self {
            http: http.ok_or(": http is missing")?,
            template: template.ok_or(": template is missing")?,
            accounts,
            pauses: pauses
                .unwrap_or_else(|| Pauses::growing(Duration::from_secs(1), Duration::from_secs(60))),
            keep_alive: keep_alive.unwrap_or(Duration::from_secs(120)),
            timeout: timeout.unwrap_or(Duration::from_secs(5)),
        })
    }
}

/// The text of a file that is small.
pub(crate) fn text(path: &Path) -> Result<String, String> {
    let about = |error: &dyn Display| format!("{}: {error}", path.display());
    let length = fs::metadata(path).map_err(|error| about(&error))?.len();
    if length > SIZE_MAX {
        return Err(about(&format!("{length} bytes are too many")));
    }
    fs::read_to_string(path).map_err(|error| about(&error))
}
