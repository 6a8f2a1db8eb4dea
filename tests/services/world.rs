//! A service and the bytes that go in and out.

use eventdispatcher::connections::messages::{Dispatcher, Hooks, Service};
use eventdispatcher::dispatcher::Messages;
use eventdispatcher::{Communicator, unix_stream};
use std::cell::RefCell;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

pub(crate) type Shared<S> = Rc<RefCell<Service<S>>>;

/// A service that has one connection, to the test.
pub(crate) struct World<S> {
    pub(crate) communicator: Communicator,
    pub(crate) service: Shared<S>,
    pub(crate) peer: UnixStream,
}

impl<S: Hooks> World<S> {
    pub(crate) fn new(state: S, dispatcher: Dispatcher<S>) -> Self {
        let communicator = Communicator::new().unwrap();
        let service = Service::new(state, dispatcher).shared();
        let (ours, peer) = UnixStream::pair().unwrap();
        let world = Self { communicator, service, peer };
        world.add(ours);
        world
    }

    /// Another connection of the service; the other end is given back.
    pub(crate) fn connect(&self) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        self.add(ours);
        theirs
    }

    fn add(&self, ours: UnixStream) {
        let handler = Rc::clone(&self.service);
        self.communicator.stream(unix_stream(ours).unwrap(), Messages::new(), handler).unwrap();
    }

    /// Sends `input`, and ends it; gives all that comes back until the service has closed the connection.
    pub(crate) fn finish(mut self, input: &str) -> (String, Shared<S>) {
        self.peer.write_all(input.as_bytes()).unwrap();
        self.peer.shutdown(std::net::Shutdown::Write).unwrap();
        self.communicator.run().unwrap();
        (read_all(&mut self.peer), self.service)
    }

    /// Sends `input`, and lets the service work until it has answered with a line; gives the line.
    pub(crate) fn ask(&mut self, input: &str) -> String {
        self.peer.write_all(input.as_bytes()).unwrap();
        self.line()
    }

    /// Lets the service work until it has sent a line.
    pub(crate) fn line(&mut self) -> String {
        line(&self.communicator, &mut self.peer)
    }
}

/// What the service does with `input`.
pub(crate) fn answers<S: Hooks>(state: S, dispatcher: Dispatcher<S>, input: &str) -> String {
    World::new(state, dispatcher).finish(input).0
}

pub(crate) fn read_all(peer: &mut UnixStream) -> String {
    let mut output = String::new();
    peer.read_to_string(&mut output).unwrap();
    output
}

/// Turns the loop until a line has come.
pub(crate) fn line(communicator: &Communicator, peer: &mut UnixStream) -> String {
    peer.set_nonblocking(true).unwrap();
    let mut line = String::new();
    while !line.ends_with('\n') {
        let mut byte = [0];
        match peer.read(&mut byte) {
            Ok(0) => break,
            Ok(_) => line.push(char::from(byte[0])),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                communicator.turn(Some(Duration::from_secs(5))).unwrap();
            }
            Err(error) => panic!("{error}, after {line:?}"),
        }
    }
    peer.set_nonblocking(false).unwrap();
    line
}
