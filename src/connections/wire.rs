//! A transport in memory for tests: the other end, and everything that can go wrong, is in the test's hands.

use super::transport::Transport;
use crate::communicator::{Communicator, Key};
use mio::event::Source;
use std::cell::{RefCell, RefMut};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;

/// This side's end.
#[derive(Debug)]
pub(crate) struct Wire(Rc<RefCell<State>>);

/// The other end.
#[derive(Clone)]
pub(crate) struct Far(Rc<RefCell<State>>);

/// What both ends see.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Bytes on their way to this side.
    pub(crate) input: VecDeque<u8>,
    /// The other side has ended its direction: behind `input` stands the end.
    pub(crate) ended: bool,
    /// Reading fails with this behind `input`.
    pub(crate) read_error: Option<ErrorKind>,
    /// As many bytes are still taken from this side.
    pub(crate) room: usize,
    pub(crate) output: Vec<u8>,
    /// Writing fails with this.
    pub(crate) write_error: Option<ErrorKind>,
    /// There is always more input, which has no end.
    pub(crate) endless: bool,
    /// A read brings one byte.
    pub(crate) drip: bool,
    /// It holds bytes of its own back.
    pub(crate) owes: bool,
    /// This side has ended its direction.
    pub(crate) shut: bool,
    /// Ending it fails with this.
    pub(crate) shut_error: Option<ErrorKind>,
    /// The transport was dropped.
    pub(crate) closed: bool,
    /// Connecting goes on.
    pub(crate) connecting: bool,
    /// … and fails with this.
    pub(crate) establish_error: Option<ErrorKind>,
    /// Closing with unread input destroys what was written, as with TCP.
    pub(crate) resets: bool,
    /// The call that panics.
    pub(crate) panics_in: Option<&'static str>,
    pub(crate) reads: usize,
    /// The next read, and the next write, fail with this once.
    pub(crate) hiccups: [Option<ErrorKind>; 2],
}

/// A transport and its other end, which takes as much as comes.
pub(crate) fn wire() -> (Wire, Far) {
    let state = Rc::new(RefCell::new(State { room: usize::MAX, ..State::default() }));
    (Wire(state.clone()), Far(state))
}

impl Far {
    pub(crate) fn state(&self) -> RefMut<'_, State> {
        self.0.borrow_mut()
    }

    /// Sends without telling the poll.
    pub(crate) fn put(&self, bytes: impl AsRef<[u8]>) {
        self.state().input.extend(bytes.as_ref());
    }

    /// Sends, and the poll says it.
    pub(crate) fn send(&self, communicator: &Communicator, key: impl Into<Key>, bytes: impl AsRef<[u8]>) {
        self.put(bytes);
        communicator.core(|core| core.event(key.into(), true, false, false));
    }

    /// Ends its direction, and the poll says it.
    pub(crate) fn end(&self, communicator: &Communicator, key: impl Into<Key>) {
        self.state().ended = true;
        communicator.core(|core| core.event(key.into(), true, false, true));
    }

    /// Takes so many bytes more, and the poll says it.
    pub(crate) fn take(&self, communicator: &Communicator, key: impl Into<Key>, bytes: usize) {
        {
            let mut state = self.state();
            state.room = state.room.saturating_add(bytes);
        }
        communicator.core(|core| core.event(key.into(), false, true, false));
    }

    /// What has come from this side, as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.state().output).into_owned()
    }
}

impl Wire {
    fn enter(&self, what: &str) -> RefMut<'_, State> {
        let state = self.0.borrow_mut();
        let panics = state.panics_in == Some(what);
        if panics {
            drop(state);
            panic!("the transport was told to panic in {what}");
        }
        state
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.0.borrow_mut().closed = true;
        if !std::thread::panicking() {
            drop(self.enter("drop"));
        }
    }
}

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut state = self.enter("read");
        state.reads += 1;
        if let Some(hiccup) = state.hiccups[0].take() {
            return Err(hiccup.into());
        }
        if state.endless {
            into.fill(b'x');
            return Ok(into.len());
        }
        if !state.input.is_empty() {
            let most = if state.drip { into.len().min(1) } else { into.len() };
            // The queue gives what is in one piece, but what this transport says is that a short read leaves nothing.
            let mut got = 0;
            while got < most && !state.input.is_empty() {
                got += state.input.read(&mut into[got..most])?;
            }
            return Ok(got);
        }
        match state.read_error {
            Some(error) => Err(error.into()),
            None if state.ended => Ok(0),
            None => Err(ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.enter("write");
        if let Some(hiccup) = state.hiccups[1].take() {
            return Err(hiccup.into());
        }
        if let Some(error) = state.write_error {
            return Err(error.into());
        }
        let taken = bytes.len().min(state.room);
        if taken == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        state.room -= taken;
        state.output.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        drop(self.enter("flush"));
        Ok(())
    }
}

impl Transport for Wire {
    fn source(&mut self) -> Option<&mut dyn Source> {
        drop(self.enter("source"));
        None
    }
    fn establish(&mut self) -> io::Result<bool> {
        let state = self.enter("establish");
        state.establish_error.map_or(Ok(!state.connecting), |error| Err(error.into()))
    }
    fn shutdown_write(&mut self) -> io::Result<()> {
        let mut state = self.enter("shutdown_write");
        state.shut = state.shut_error.is_none();
        state.shut_error.map_or(Ok(()), |error| Err(error.into()))
    }
    fn wants_write(&self) -> bool {
        self.enter("wants_write").owes
    }
    fn short_read_means_empty(&self) -> bool {
        true
    }
    fn resets_on_close(&self) -> bool {
        self.enter("resets_on_close").resets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_read_leaves_nothing() {
        let (mut ours, far) = wire();
        let mut into = [0; 50];
        for sent in 0..200_u8 {
            far.put([sent; 17]);
            if sent % 3 == 2 {
                let got = ours.read(&mut into).unwrap();
                let left = far.state().input.len();
                assert!(got == into.len() || left == 0, "{got} bytes were read, {left} are left");
            }
        }
    }
}
