//! `raw`: lines of the protocol, both ways.

mod input;
mod prompt;
mod server;

use crate::arguments::Connection;
use crate::failure::Failure;
use crate::output::Lines;
use eventdispatcher::codec::ByteLines;
use eventdispatcher::connections::clacks::client::ClientError;
use eventdispatcher::connections::clacks::{ClacksLines, MAX_ANSWER, MAX_LINE};
use eventdispatcher::{Communicator, Id, Limits};
use input::Input;
use mio::net::UnixStream;
use prompt::Prompt;
use server::Server;
use std::cell::RefCell;
use std::io::{self, IsTerminal};
use std::rc::Rc;
use std::thread;

/// What the user types stops being read while so much of it waits for the server.
const INPUT_WAITS: usize = 1 << 20;

pub(crate) fn raw(connection: &Connection) -> Result<(), Failure> {
    let options = connection.options("raw")?;
    let communicator = Communicator::new().map_err(Failure::System)?;
    let raw = Raw::default();
    let login = options.login()?;
    let server = Server::new(raw.clone(), connection.timeout);
    let server = communicator.stream(options.route()?.connect()?, ClacksLines::new().max(MAX_ANSWER), server);
    let server = server.map_err(ClientError::Connect)?;
    communicator.set_limits(server, Limits { input: MAX_ANSWER + (64 << 10), ..Limits::default() });
    for line in login.lines() {
        communicator.send(server, &[line.as_bytes()]).map_err(ClientError::from)?;
    }

    // Reading standard input blocks, so a thread does it, and what it has read comes through a pair of sockets: the loop
    // sees lines and an end, and stops reading when the server does.
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(Failure::System)?;
    ours.set_nonblocking(true).map_err(Failure::System)?;
    let lines = ByteLines::new().max(MAX_LINE).keep_last(true);
    let input = communicator.stream(UnixStream::from_std(ours), lines, Input(raw.clone()));
    let input = input.map_err(Failure::System)?;

    let prompt = if io::stdin().is_terminal() && io::stdout().is_terminal() { Prompt::new() } else { None };
    let mut running = None;
    let print = match prompt {
        Some(prompt) => {
            let (print, terminal) = prompt.start(theirs)?;
            running = Some(terminal);
            print
        }
        None => {
            let mut lines = Lines::new(None);
            start(move || copy_stdin(theirs))?;
            Box::new(move |line: &[u8]| lines.print(&[line]).map(drop)) as Print
        }
    };
    raw.0.replace(State { print: Some(print), connections: Some((server, input)), ..State::default() });
    let ran = communicator.run().map_err(Failure::System);
    // The terminal is itself again before anything is said.
    drop(running);
    ran?;
    let ended = raw.0.borrow_mut().ended.take();
    ended.unwrap_or(Ok(()))
}

type Print = Box<dyn FnMut(&[u8]) -> Result<(), Failure>>;

/// What the connections to the server and to standard input share.
#[derive(Clone, Default)]
struct Raw(Rc<RefCell<State>>);

#[derive(Default)]
struct State {
    print: Option<Print>,
    connections: Option<(Id<ClacksLines>, Id<ByteLines>)>,
    /// The user has said QUIT, so that the server's end is no loss.
    has_quit: bool,
    /// How it ended; what was said first counts.
    ended: Option<Result<(), Failure>>,
}

impl Raw {
    fn print(&self, line: &[u8]) -> Result<(), Failure> {
        self.0.borrow_mut().print.as_mut().map_or(Ok(()), |print| print(line))
    }

    fn end(&self, result: Result<(), Failure>, communicator: &Communicator) {
        self.0.borrow_mut().ended.get_or_insert(result);
        communicator.stop();
    }

    fn server(&self) -> Option<Id<ClacksLines>> {
        self.0.borrow().connections.map(|(server, _)| server)
    }

    fn input(&self) -> Option<Id<ByteLines>> {
        self.0.borrow().connections.map(|(_, input)| input)
    }
}

/// Starts a thread that ends with the process.
fn start(work: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    thread::Builder::new().spawn(work).map(drop).map_err(Failure::System)
}

fn copy_stdin(mut into: std::os::unix::net::UnixStream) {
    // If the other end is gone, so is the reason to read. An error in reading ends the input as its end does.
    if let Err(error) = io::copy(&mut io::stdin().lock(), &mut into)
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        crate::shared::exit::complain("clacks", Failure::Input(error));
    }
}
