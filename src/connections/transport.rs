//! What bytes travel over.

use mio::event::Source;
use std::any::Any;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

/// A stream of bytes in both directions that the poll can watch, without blocking.
///
/// A layer (TLS) is a transport around a transport.
///
/// `read` gives 0 only at the end of the stream. `write` takes at least one byte, or fails; `flush` says `Ok` when nothing
/// is held back.
pub trait Transport: Read + Write + 'static {
    /// What the poll watches. `None`: nothing; the connection is then called only when something is done to it.
    fn source(&mut self) -> Option<&mut dyn Source>;

    /// Whether what is read and written are packets, which can't be cut and joined as bytes: then it is not
    /// [piped](crate::Communicator::pipe_to).
    fn carries_packets(&self) -> bool {
        false
    }

    /// A word for logs and listings.
    fn kind(&self) -> &'static str {
        "stream"
    }

    /// Goes on with connecting and shaking hands. Called when the source is ready in either direction,
    /// until it gives `true`: bytes can flow. A layer that is put around it later asks again, and gets `true` again.
    ///
    /// # Errors
    /// When it can't be established.
    fn establish(&mut self) -> io::Result<bool> {
        Ok(true)
    }

    /// Ends this side's direction: the other side reads the end of the stream behind what was written.
    ///
    /// # Errors
    /// As the system says.
    fn shutdown_write(&mut self) -> io::Result<()>;

    /// Whether bytes of the layer itself wait to be written, so that the poll must be asked.
    fn wants_write(&self) -> bool {
        false
    }

    /// Whether a `read` that has just filled less than it was given has emptied the source, so that no second call is
    /// needed to see it: so it is with plain TCP sockets. The poll says when more comes.
    fn short_read_means_empty(&self) -> bool {
        false
    }

    /// Reads, and says whether that has emptied the source, for transports that learn it from the read itself: what is not sure is
    /// `false`.
    ///
    /// # Errors
    /// As `read`.
    fn read_noticing(&mut self, into: &mut [u8]) -> io::Result<(usize, bool)> {
        let got = self.read(into)?;
        Ok((got, got < into.len() && self.short_read_means_empty()))
    }

    /// How many bytes there are to read, if the system can tell. A read of more goes on with what comes meanwhile: with
    /// an other side that sends tiny packets as fast as they are read, that takes long.
    fn waiting(&self) -> Option<usize> {
        None
    }

    /// Whether a `read` loses what it has no room for, as with packets: it is always given all the room there is then.
    fn loses_what_has_no_room(&self) -> bool {
        self.carries_packets()
    }

    /// Whether closing while input is unread destroys output that is still on its way, as TCP does: such a
    /// connection waits for the other side before it is closed.
    fn resets_on_close(&self) -> bool {
        false
    }

    /// What it has taken and holds back, though it takes more: packets for a receiver that takes none now, while others
    /// do. They count as queued.
    fn held_back(&self) -> Option<HeldBack> {
        None
    }

    /// Whether there is something to read of which the poll does not know.
    fn has_input(&self) -> bool {
        false
    }

    /// What it can tell of itself and the other side, once it is established, beyond bytes: a layer's result of its
    /// handshake. Who adds a transport of an own kind offers a function that asks
    /// [`Communicator::about`](crate::Communicator::about) for its type.
    fn about(&self) -> Option<Rc<dyn Any>> {
        None
    }
}

impl Transport for Box<dyn Transport> {
    fn source(&mut self) -> Option<&mut dyn Source> {
        (**self).source()
    }
    fn carries_packets(&self) -> bool {
        (**self).carries_packets()
    }
    fn kind(&self) -> &'static str {
        (**self).kind()
    }
    fn establish(&mut self) -> io::Result<bool> {
        (**self).establish()
    }
    fn shutdown_write(&mut self) -> io::Result<()> {
        (**self).shutdown_write()
    }
    fn wants_write(&self) -> bool {
        (**self).wants_write()
    }
    fn short_read_means_empty(&self) -> bool {
        (**self).short_read_means_empty()
    }
    fn read_noticing(&mut self, into: &mut [u8]) -> io::Result<(usize, bool)> {
        (**self).read_noticing(into)
    }
    fn waiting(&self) -> Option<usize> {
        (**self).waiting()
    }
    fn loses_what_has_no_room(&self) -> bool {
        (**self).loses_what_has_no_room()
    }
    fn resets_on_close(&self) -> bool {
        (**self).resets_on_close()
    }
    fn held_back(&self) -> Option<HeldBack> {
        (**self).held_back()
    }
    fn has_input(&self) -> bool {
        (**self).has_input()
    }
    fn about(&self) -> Option<Rc<dyn Any>> {
        (**self).about()
    }
}

/// What the system says of a descriptor, for [`Transport::waiting`].
pub(super) fn waiting(fd: impl AsFd) -> Option<usize> {
    usize::try_from(rustix::io::ioctl_fionread(fd).ok()?).ok()
}

/// What a transport holds back: see [`Transport::held_back`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldBack {
    /// So many of the bytes that it was given.
    pub bytes: usize,
    /// The poll may not say when they can go: `flush` is called again after this.
    pub retry: Duration,
}
