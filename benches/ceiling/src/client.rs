//! What the server has for one client.

use crate::poller::Poller;
use rustix::io::Errno;
use rustix::net::SendFlags;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

/// Output that makes a client's buffer larger than this is written at once.
pub(crate) const EAGER: usize = 128 * 1024;
/// Larger buffers are not kept.
pub(crate) const KEPT: usize = 4 << 20;
/// So many parts are written with one call.
const PARTS: usize = 16;

/// What the server has for one client.
pub(crate) struct Client {
    pub(crate) socket: OwnedFd,
    /// The beginning of a line whose end has not come.
    pub(crate) input: Vec<u8>,
    /// Large lines, shared by all that get them; they go out before `output`.
    queue: VecDeque<Segment>,
    pub(crate) output: Vec<u8>,
    written: usize,
    /// Is to be flushed at the end of the turn.
    pub(crate) is_touched: bool,
    waits_for_room: bool,
    pub(crate) is_dead: bool,
    pub(crate) topics: Vec<usize>,
}

struct Segment {
    line: Rc<Vec<u8>>,
    written: usize,
}

impl Client {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            input: Vec::new(),
            queue: VecDeque::new(),
            output: Vec::new(),
            written: 0,
            is_touched: false,
            waits_for_room: false,
            is_dead: false,
            topics: Vec::new(),
        }
    }

    pub(crate) fn waits_for_room(&self) -> bool {
        self.waits_for_room
    }

    pub(crate) fn waiting(&self) -> usize {
        self.output.len() - self.written
    }

    /// Writes what the socket takes.
    pub(crate) fn flush(&mut self, poller: &impl Poller, token: usize) {
        let is_blocked = match self.write() {
            Ok(()) => false,
            Err(Errno::AGAIN) => true,
            Err(_) => {
                self.is_dead = true;
                self.queue.clear();
                self.output.clear();
                self.written = 0;
                return;
            }
        };
        self.wait_for_room(poller, token, is_blocked);
    }

    /// Writes a large line, without copying it if the socket takes it whole; else one copy in `shared` is for all that get it.
    pub(crate) fn send_large(
        &mut self,
        poller: &impl Poller,
        token: usize,
        parts: &[&[u8]],
        shared: &mut Option<Rc<Vec<u8>>>,
    ) {
        if !self.is_flushed() && !self.waits_for_room {
            self.flush(poller, token);
        }
        let mut written = 0;
        if self.is_flushed() && !self.is_dead {
            let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
            written = rustix::io::writev(&self.socket, &slices).unwrap_or(0);
        }
        if self.is_dead || written == parts.iter().map(|part| part.len()).sum() {
            return;
        }
        let line = shared.get_or_insert_with(|| Rc::new(parts.concat())).clone();
        if self.waiting() > 0 {
            let output = std::mem::take(&mut self.output);
            let written = std::mem::take(&mut self.written);
            self.queue.push_back(Segment { line: Rc::new(output), written });
        }
        self.queue.push_back(Segment { line, written });
        self.wait_for_room(poller, token, true);
    }

    fn is_flushed(&self) -> bool {
        self.queue.is_empty() && self.waiting() == 0
    }

    fn write(&mut self) -> Result<(), Errno> {
        while !self.queue.is_empty() {
            let slices: Vec<IoSlice<'_>> =
                self.queue.iter().take(PARTS).map(|part| IoSlice::new(&part.line[part.written..])).collect();
            let mut length = match rustix::io::writev(&self.socket, &slices) {
                Err(Errno::INTR) => continue,
                other => other?,
            };
            while let Some(first) = self.queue.front_mut() {
                let rest = first.line.len() - first.written;
                if length < rest {
                    first.written += length;
                    break;
                }
                length -= rest;
                self.queue.pop_front();
            }
        }
        while self.waiting() > 0 {
            match rustix::net::send(&self.socket, &self.output[self.written..], SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                other => self.written += other?,
            }
        }
        self.output.clear();
        self.output.shrink_to(KEPT);
        self.written = 0;
        Ok(())
    }

    fn wait_for_room(&mut self, poller: &impl Poller, token: usize, wanted: bool) {
        if wanted != self.waits_for_room {
            self.waits_for_room = wanted;
            let result: io::Result<()> = poller.want_write(self.socket.as_fd(), token, wanted);
            self.is_dead |= result.is_err();
        }
    }
}
