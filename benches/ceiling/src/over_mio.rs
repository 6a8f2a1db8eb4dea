//! epoll over mio, edge-triggered.

use crate::poller::{Poller, Ready};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

const EVENTS: usize = 1024;

/// epoll over mio.
pub(crate) struct OverMio {
    poll: Poll,
    events: Events,
}

impl OverMio {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { poll: Poll::new()?, events: Events::with_capacity(EVENTS) })
    }
}

impl Poller for OverMio {
    const IS_EDGE_TRIGGERED: bool = true;

    fn add(&self, socket: BorrowedFd<'_>, token: usize) -> io::Result<()> {
        let mut source = SourceFd(&socket.as_raw_fd());
        self.poll.registry().register(&mut source, Token(token), Interest::READABLE)
    }

    fn want_write(&self, socket: BorrowedFd<'_>, token: usize, wanted: bool) -> io::Result<()> {
        let interest = if wanted { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        self.poll.registry().reregister(&mut SourceFd(&socket.as_raw_fd()), Token(token), interest)
    }

    fn wait(&mut self, ready: &mut Vec<Ready>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        ready.extend(self.events.iter().map(|event| Ready {
            token: event.token().0,
            can_read: event.is_readable() || event.is_read_closed() || event.is_error(),
            can_write: event.is_writable(),
        }));
        Ok(())
    }
}
