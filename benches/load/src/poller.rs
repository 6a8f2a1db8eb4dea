//! epoll, level-triggered.

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

const EVENTS: usize = 512;

/// What has happened to one connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ready {
    pub(crate) connection: usize,
    pub(crate) can_read: bool,
    pub(crate) can_write: bool,
}

/// Waits for connections.
pub(crate) struct Poller {
    epoll: OwnedFd,
    events: Vec<Event>,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)?, events: Vec::with_capacity(EVENTS) })
    }

    pub(crate) fn add(&self, socket: BorrowedFd<'_>, connection: usize) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(connection as u64), EventFlags::IN)?)
    }

    /// Whether it is told when the socket takes more.
    pub(crate) fn want_write(
        &self,
        socket: BorrowedFd<'_>,
        connection: usize,
        wanted: bool,
    ) -> io::Result<()> {
        let flags = if wanted { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
        Ok(epoll::modify(&self.epoll, socket, EventData::new_u64(connection as u64), flags)?)
    }

    /// At most for so many milliseconds.
    pub(crate) fn wait(&mut self, timeout_ms: u16, ready: &mut Vec<Ready>) -> io::Result<()> {
        ready.clear();
        self.events.clear();
        let timeout = Timespec {
            tv_sec: i64::from(timeout_ms / 1000),
            tv_nsec: i64::from(timeout_ms % 1000) * 1_000_000,
        };
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        ready.extend(self.events.iter().map(|event| {
            let flags = event.flags;
            Ready {
                connection: event.data.u64() as usize,
                can_read: flags.intersects(EventFlags::OUT.complement()),
                can_write: flags.contains(EventFlags::OUT),
            }
        }));
        Ok(())
    }
}
