//! Layers that are put around a transport in mid-stream.

use super::transport::{HeldBack, Transport};
use crate::communicator::{Communicator, Id, UpgradeError};
use mio::event::Source;
use std::any::Any;
use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::rc::Rc;

type Wrap = dyn FnOnce(Box<dyn Transport>) -> io::Result<Box<dyn Transport>>;

/// What puts a layer around a transport, on its way to the connection.
pub(super) struct Layer(Box<Wrap>);

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Layer")
    }
}

impl Communicator {
    /// Puts a layer around the transport of an open connection: TLS, compression, a proxy's preface. `layer` is called
    /// with what carries the bytes now, soon after the running callback, and gives what carries them from then on.
    ///
    /// Everything that was sent before this call leaves without the layer, and everything after it goes through.
    /// Then the connection is being established anew, within [`Timeouts::connect`](crate::Timeouts::connect);
    /// [`Handler::upgraded`](crate::Handler::upgraded) tells when that is done.
    ///
    /// When the connection is closed before that, what was sent before this call still leaves, if the layer says that it
    /// [wants to write](Transport::wants_write) as long as what it is around does; what was sent after it leaves through the layer or not at all.
    ///
    /// Usually a handler calls it when it gets the item after which the other side waits for the layer to begin. Bytes that
    /// are there already behind that item end the connection with an error: whoever sent them was not protected by the
    /// layer and must not seem so. A codec whose items have no end ([`Raw`](crate::codec::Raw)) can't see that.
    ///
    /// # Errors
    /// When the connection can't be upgraded now; `layer` is not called then. An error of `layer` ends the connection.
    pub fn upgrade<C, T: Transport>(
        &self,
        id: Id<C>,
        layer: impl FnOnce(Box<dyn Transport>) -> io::Result<T> + 'static,
    ) -> Result<(), UpgradeError> {
        let wrap = move |below| Ok(Box::new(layer(below)?) as Box<dyn Transport>);
        let refused = self.core(|core| core.upgrade(id.key(), Box::new(Layer(Box::new(wrap)))));
        refused.map_err(|(error, _)| error)
    }
}

/// What carries the bytes of a connection: its own transport, or a layer around that.
pub(super) enum Carrier<T> {
    Own(T),
    Layer(Box<dyn Transport>),
}

impl<T: Transport> Carrier<T> {
    /// Puts a layer around it, behind the bytes `before`.
    pub(super) fn wrapped(self, layer: Layer, before: Vec<u8>) -> io::Result<Self> {
        let below: Box<dyn Transport> = match (self, before.is_empty()) {
            (Self::Own(own), true) => Box::new(own),
            (Self::Layer(layer), true) => layer,
            (carrier, false) => Box::new(Behind { io: carrier, before, done: 0 }),
        };
        Ok(Self::Layer((layer.0)(below)?))
    }
}

/// Every call goes to the one that is there.
macro_rules! either {
    ($carrier:expr, $io:ident => $call:expr) => {
        match $carrier {
            Carrier::Own($io) => $call,
            Carrier::Layer($io) => $call,
        }
    };
}

impl<T: Transport> Read for Carrier<T> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        either!(self, io => io.read(into))
    }
}

impl<T: Transport> Write for Carrier<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        either!(self, io => io.write(bytes))
    }
    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        either!(self, io => io.write_vectored(pieces))
    }
    fn flush(&mut self) -> io::Result<()> {
        either!(self, io => io.flush())
    }
}

impl<T: Transport> Transport for Carrier<T> {
    fn source(&mut self) -> Option<&mut dyn Source> {
        either!(self, io => io.source())
    }
    fn carries_packets(&self) -> bool {
        either!(self, io => io.carries_packets())
    }
    fn kind(&self) -> &'static str {
        either!(self, io => io.kind())
    }
    fn establish(&mut self) -> io::Result<bool> {
        either!(self, io => io.establish())
    }
    fn shutdown_write(&mut self) -> io::Result<()> {
        either!(self, io => io.shutdown_write())
    }
    fn wants_write(&self) -> bool {
        either!(self, io => io.wants_write())
    }
    fn short_read_means_empty(&self) -> bool {
        either!(self, io => io.short_read_means_empty())
    }
    fn read_noticing(&mut self, into: &mut [u8]) -> io::Result<(usize, bool)> {
        either!(self, io => io.read_noticing(into))
    }
    fn waiting(&self) -> Option<usize> {
        either!(self, io => io.waiting())
    }
    fn loses_what_has_no_room(&self) -> bool {
        either!(self, io => io.loses_what_has_no_room())
    }
    fn resets_on_close(&self) -> bool {
        either!(self, io => io.resets_on_close())
    }
    fn held_back(&self) -> Option<HeldBack> {
        either!(self, io => io.held_back())
    }
    fn has_input(&self) -> bool {
        either!(self, io => io.has_input())
    }
    fn about(&self) -> Option<Rc<dyn Any>> {
        either!(self, io => io.about())
    }
}

/// A transport with bytes that leave before all others.
struct Behind<T> {
    io: T,
    before: Vec<u8>,
    done: usize,
}

impl<T: Transport> Behind<T> {
    fn push(&mut self) -> io::Result<()> {
        while self.done < self.before.len() {
            match self.io.write(&self.before[self.done..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(taken) => self.done += taken,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.done > 0 {
            (self.before, self.done) = (Vec::new(), 0);
        }
        Ok(())
    }
}

impl<T: Transport> Read for Behind<T> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.io.read(into)
    }
}

impl<T: Transport> Write for Behind<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push()?;
        self.io.write(bytes)
    }
    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.push()?;
        self.io.write_vectored(pieces)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.push()?;
        self.io.flush()
    }
}

impl<T: Transport> Transport for Behind<T> {
    fn source(&mut self) -> Option<&mut dyn Source> {
        self.io.source()
    }
    fn carries_packets(&self) -> bool {
        self.io.carries_packets()
    }
    fn kind(&self) -> &'static str {
        self.io.kind()
    }
    fn establish(&mut self) -> io::Result<bool> {
        match self.push() {
            // It goes on when the other side takes more; it may have something to say before.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            pushed => pushed?,
        }
        self.io.establish()
    }
    fn shutdown_write(&mut self) -> io::Result<()> {
        self.push()?;
        self.io.shutdown_write()
    }
    fn wants_write(&self) -> bool {
        self.done < self.before.len() || self.io.wants_write()
    }
    fn short_read_means_empty(&self) -> bool {
        self.io.short_read_means_empty()
    }
    fn waiting(&self) -> Option<usize> {
        self.io.waiting()
    }
    fn loses_what_has_no_room(&self) -> bool {
        self.io.loses_what_has_no_room()
    }
    fn resets_on_close(&self) -> bool {
        self.io.resets_on_close()
    }
    fn held_back(&self) -> Option<HeldBack> {
        self.io.held_back()
    }
    fn has_input(&self) -> bool {
        self.io.has_input()
    }
    fn about(&self) -> Option<Rc<dyn Any>> {
        self.io.about()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Says everything that a transport can say, and nothing that one says unless it is written.
    struct Says;

    impl Read for Says {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Ok(0)
        }
    }

    impl Write for Says {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Transport for Says {
        fn source(&mut self) -> Option<&mut dyn Source> {
            None
        }
        fn carries_packets(&self) -> bool {
            true
        }
        fn kind(&self) -> &'static str {
            "says"
        }
        fn shutdown_write(&mut self) -> io::Result<()> {
            Ok(())
        }
        fn wants_write(&self) -> bool {
            true
        }
        fn short_read_means_empty(&self) -> bool {
            true
        }
        fn waiting(&self) -> Option<usize> {
            Some(7)
        }
        fn resets_on_close(&self) -> bool {
            true
        }
        fn held_back(&self) -> Option<HeldBack> {
            Some(HeldBack { bytes: 7, retry: Duration::from_secs(7) })
        }
        fn has_input(&self) -> bool {
            true
        }
        fn about(&self) -> Option<Rc<dyn Any>> {
            Some(Rc::new(7))
        }
    }

    #[test]
    fn what_a_transport_says_comes_through_whatever_is_around_it() {
        fn check(io: &impl Transport) {
            assert!(io.carries_packets() && io.loses_what_has_no_room() && io.wants_write());
            assert!(io.short_read_means_empty() && io.resets_on_close() && io.has_input());
            assert_eq!((io.kind(), io.waiting()), ("says", Some(7)));
            assert_eq!(io.held_back().map(|held| held.bytes), Some(7));
            assert!(io.about().is_some());
        }
        check(&Says);
        check(&(Box::new(Says) as Box<dyn Transport>));
        check(&Carrier::Own(Says));
        check(&Carrier::<Says>::Layer(Box::new(Says)));
        check(&Behind { io: Says, before: Vec::new(), done: 0 });
    }
}
