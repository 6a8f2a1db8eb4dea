//! What waits for sockets.

use std::io;
use std::os::fd::BorrowedFd;

/// What has happened to one socket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ready {
    pub(crate) token: usize,
    pub(crate) can_read: bool,
    pub(crate) can_write: bool,
}

/// What waits for sockets.
pub(crate) trait Poller {
    /// Tells when there is something to read.
    fn add(&self, socket: BorrowedFd<'_>, token: usize) -> io::Result<()>;

    /// Whether it also tells when there is room to write.
    fn want_write(&self, socket: BorrowedFd<'_>, token: usize, wanted: bool) -> io::Result<()>;

    fn wait(&mut self, ready: &mut Vec<Ready>) -> io::Result<()>;

    /// Tells only what has changed: what a buffer was too small for must be read at once.
    const IS_EDGE_TRIGGERED: bool;
}
