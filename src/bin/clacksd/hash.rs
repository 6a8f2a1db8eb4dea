//! The hash of a password, for a configuration that is not to hold the password.

use crate::say;
use eventdispatcher::connections::clacks::credentials::{MAX_PASSWORD_FILE, Password, PasswordHash};
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use std::io::{self, BufRead, IsTerminal, Read, Stdin};

/// # Errors
/// When there is no password, or it can't be hashed.
pub(crate) fn hash() -> Result<PasswordHash, String> {
    let stdin = io::stdin();
    let password = if stdin.is_terminal() {
        let first = without_echo(&stdin, "Password: ")?;
        if without_echo(&stdin, "Once more: ")? != first {
            return Err("these are two different passwords".to_owned());
        }
        first
    } else {
        line(&stdin)?
    };
    if password.expose().is_empty() {
        return Err("there is no password in the first line".to_owned());
    }
    PasswordHash::of(&password).map_err(|error| error.to_string())
}

fn line(stdin: &Stdin) -> Result<Password, String> {
    let mut text = String::new();
    let read = stdin.lock().take(MAX_PASSWORD_FILE as u64 + 1).read_line(&mut text);
    read.map_err(|error| format!("can't read the password: {error}"))?;
    if text.len() > MAX_PASSWORD_FILE {
        return Err(format!("a password has {MAX_PASSWORD_FILE} bytes at most"));
    }
    Ok(Password::new(text.trim_end_matches(['\r', '\n'])))
}

/// Asks on standard error: standard output is for the hash.
fn without_echo(stdin: &Stdin, question: &str) -> Result<Password, String> {
    let failed = |error: nix::Error| format!("the terminal can't be kept from showing it: {error}");
    let before = tcgetattr(stdin).map_err(failed)?;
    let mut quiet = before.clone();
    quiet.local_flags.remove(LocalFlags::ECHO);
    quiet.local_flags.insert(LocalFlags::ECHONL);
    say(io::stderr(), question.as_bytes());
    tcsetattr(stdin, SetArg::TCSAFLUSH, &quiet).map_err(failed)?;
    let password = line(stdin);
    tcsetattr(stdin, SetArg::TCSAFLUSH, &before).map_err(failed)?;
    password
}
