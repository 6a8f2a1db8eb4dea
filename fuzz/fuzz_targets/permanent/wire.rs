//! One transport over a real socket, and its other end: what both do is said by the program.

use eventdispatcher::Transport;
use mio::event::Source;
use mio::net::UnixStream;
use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::rc::Rc;

/// One transport that there was, and its other side.
pub(crate) struct Wire {
    pub(crate) number: usize,
    /// The other end of the socket, until it goes away.
    pub(crate) far: RefCell<Option<UnixStream>>,
    pub(crate) half_closed: Cell<bool>,
    /// A read brings no more bytes than this; nor does a write, so many times.
    pub(crate) sip: usize,
    pub(crate) short_writes: Cell<usize>,
    /// The transport takes so many more bytes.
    pub(crate) room: Cell<usize>,
    pub(crate) connecting: Cell<bool>,
    pub(crate) establish_error: Option<ErrorKind>,
    pub(crate) resets: bool,
    /// The next read, and the next write, fail with this once.
    pub(crate) hiccups: Cell<[Option<ErrorKind>; 2]>,
    /// Reading has failed with what is no end, so that not all that came may have been read.
    pub(crate) read_failed: Cell<bool>,
    /// What the transport has taken.
    pub(crate) taken: RefCell<Vec<u8>>,
    /// What the other side has sent, without what only wakes, and how many lines of it were handed over.
    pub(crate) given: RefCell<Vec<Vec<u8>>>,
    pub(crate) unfinished: RefCell<Vec<u8>>,
    pub(crate) seen: Cell<usize>,
    pub(crate) dropped: Cell<bool>,
}

/// This side of it.
pub(crate) struct Thin {
    pub(crate) stream: UnixStream,
    pub(crate) wire: Rc<Wire>,
}

impl Wire {
    /// The poll says both to this side, whatever is ready.
    pub(crate) fn poke(&self) {
        self.drain();
        let far = self.far.borrow();
        let Some(mut far) = far.as_ref() else { return };
        if self.half_closed.get() {
            // Says it once more.
            let _ = far.shutdown(Shutdown::Write);
        } else if self.unfinished.borrow().is_empty() {
            // Who has ended takes nothing more; so little always fits, but for one that is not read, to which nothing need be said.
            let _ = far.write(b"\n");
        } else {
            self.finish_line();
        }
    }

    fn finish_line(&self) {
        let far = self.far.borrow();
        let Some(mut far) = far.as_ref() else { return };
        if far.write(b"\n").is_ok() {
            self.given.borrow_mut().push(self.unfinished.take());
        }
    }

    /// The other side sends a line, or a part of one.
    pub(crate) fn give(&self, bytes: &[u8], whole: bool) {
        if self.half_closed.get() {
            return;
        }
        let written = match self.far.borrow().as_ref() {
            Some(mut far) => far.write(bytes).unwrap_or(0),
            None => return,
        };
        self.unfinished.borrow_mut().extend_from_slice(&bytes[..written]);
        if whole && !self.unfinished.borrow().is_empty() {
            self.finish_line();
        }
    }

    /// The other side reads what there is.
    pub(crate) fn drain(&self) {
        let mut bytes = [0; 16 << 10];
        if let Some(mut far) = self.far.borrow().as_ref() {
            while far.read(&mut bytes).is_ok_and(|count| count > 0) {}
        }
    }

    pub(crate) fn half_close(&self) {
        self.half_closed.set(true);
        self.poke();
    }

    /// The other side goes away; from then on the system says what happens.
    pub(crate) fn leave(&self) {
        self.hiccups.set([None; 2]);
        self.room.set(usize::MAX);
        self.connecting.set(false);
        self.half_closed.set(true);
        drop(self.far.take());
    }

    /// Nothing fails any more.
    pub(crate) fn be_kind(&self) {
        self.hiccups.set([None; 2]);
        self.room.set(usize::MAX);
        self.connecting.set(false);
        self.poke();
    }

    fn hiccup(&self, which: usize) -> io::Result<()> {
        let mut hiccups = self.hiccups.get();
        let error = hiccups[which].take();
        self.hiccups.set(hiccups);
        error.map_or(Ok(()), |error| Err(error.into()))
    }
}

impl Read for Thin {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if let Err(error) = self.wire.hiccup(0) {
            let again = error.kind() == ErrorKind::Interrupted;
            self.wire.read_failed.set(self.wire.read_failed.get() || !again);
            return Err(error);
        }
        let most = into.len().min(self.wire.sip);
        self.stream.read(&mut into[..most])
    }
}

impl Write for Thin {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.wire.hiccup(1)?;
        let short = self.wire.short_writes.get();
        self.wire.short_writes.set(short.saturating_sub(1));
        let sip = if short > 0 { self.wire.sip } else { usize::MAX };
        let most = bytes.len().min(sip).min(self.wire.room.get());
        if most == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = self.stream.write(&bytes[..most])?;
        // What has no end stays so long enough.
        self.wire.room.set(self.wire.room.get() - count);
        self.wire.taken.borrow_mut().extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Transport for Thin {
    fn source(&mut self) -> Option<&mut dyn Source> {
        Some(&mut self.stream)
    }
    fn establish(&mut self) -> io::Result<bool> {
        self.wire.establish_error.map_or(Ok(!self.wire.connecting.get()), |error| Err(error.into()))
    }
    fn shutdown_write(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }
    fn short_read_means_empty(&self) -> bool {
        self.wire.sip == usize::MAX
    }
    fn resets_on_close(&self) -> bool {
        self.wire.resets
    }
}

impl Drop for Thin {
    fn drop(&mut self) {
        self.wire.dropped.set(true);
    }
}
