//! The ceiling: a bare server of one thread and one Unix socket that speaks just enough Clacks for the load program. It has no
//! permissions, limits, timeouts or monitors, and accepts every login: what it reaches is what the machine allows.
//!
//! `ceiling SOCKET [raw|mio]`: over epoll itself, or over mio.

mod client;
mod epoll;
mod over_mio;
mod poller;
mod server;

use epoll::Epoll;
use over_mio::OverMio;
use server::Server;
use std::io;
use std::os::unix::net::UnixListener;
use std::process::ExitCode;

const BACKLOG: i32 = 4096;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(socket), poller, None) = (arguments.next(), arguments.next(), arguments.next()) else {
        return usage();
    };
    let result = match poller.as_deref() {
        None | Some("raw") => {
            listen(&socket).and_then(|listener| Server::new(Epoll::new()?, listener)?.run())
        }
        Some("mio") => listen(&socket).and_then(|listener| Server::new(OverMio::new()?, listener)?.run()),
        Some(_) => return usage(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ceiling: {socket}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: ceiling SOCKET [raw|mio]");
    ExitCode::from(2)
}

fn listen(path: &str) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(path)?;
    rustix::net::listen(&listener, BACKLOG)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
