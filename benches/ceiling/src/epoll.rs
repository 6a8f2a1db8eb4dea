//! epoll itself, level-triggered.

use crate::poller::{Poller, Ready};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

const EVENTS: usize = 1024;

/// epoll itself.
pub(crate) struct Epoll {
    epoll: OwnedFd,
    events: Vec<Event>,
}

impl Epoll {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)?, events: Vec::with_capacity(EVENTS) })
    }
}

impl Poller for Epoll {
    const IS_EDGE_TRIGGERED: bool = false;

    fn add(&self, socket: BorrowedFd<'_>, token: usize) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(token as u64), EventFlags::IN)?)
    }

    fn want_write(&self, socket: BorrowedFd<'_>, token: usize, wanted: bool) -> io::Result<()> {
        let flags = if wanted { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
        Ok(epoll::modify(&self.epoll, socket, EventData::new_u64(token as u64), flags)?)
    }

    fn wait(&mut self, ready: &mut Vec<Ready>) -> io::Result<()> {
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        ready.extend(self.events.iter().map(|event| {
            let flags = event.flags;
            Ready {
                token: event.data.u64() as usize,
                can_read: flags.intersects(EventFlags::OUT.complement()),
                can_write: flags.contains(EventFlags::OUT),
            }
        }));
        Ok(())
    }
}
