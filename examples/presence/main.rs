//! A daemon that stands between browsers and a server of another protocol: it is signed on there with several accounts, on
//! connections that reconnect by themselves, and shows who is online as web pages.
//!
//! `presence FILE`: what stands in the file is described in `settings.rs`. `USR1` has it read again, and the clients made anew; `USR2` has
//! the template read again. What is wrong with them is said, and what there was stays. `GET /status/NAME` asks for somebody, `GET /`
//! tells of the clients themselves.
//!
//! Nothing here blocks, and all is one thread: a page is answered when the server has answered, with other things done meanwhile.

mod browser;
mod daemon;
mod flap;
mod http;
mod link;
mod settings;
mod template;

use daemon::Daemon;
use eventdispatcher::{Signal, communicator};
use std::error::Error;
use std::io::{Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

fn run() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).map(PathBuf::from).ok_or("usage: presence FILE")?;
    let communicator = communicator();
    let daemon = Daemon::start(path, &communicator)?;
    let caught = [Signal::USR1, Signal::USR2, Signal::INT, Signal::TERM];
    communicator.signals(caught, move |signal, communicator| match signal {
        Signal::USR1 => daemon::reload(&daemon, communicator),
        Signal::USR2 => daemon.borrow_mut().reload_template(),
        _ => {
            daemon.borrow_mut().sign_off(communicator);
            communicator.close_all();
        }
    })?;
    Ok(communicator.run()?)
}

/// For the log.
fn say(what: &str) {
    let _ = writeln!(stdout(), "presence: {what}"); // who does not listen shall not end it
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("presence: {error}");
            ExitCode::FAILURE
        }
    }
}
