//! What simulations need of a server: clients and masters behind connections of their own, and a look inside.

use super::Server;
use crate::communicator::{Communicator, Id};
use crate::connections::Transport;
use crate::connections::clacks::line::ClacksLines;
use crate::connections::clacks::state::Peer;
use crate::connections::clacks::store::Store;
use crate::connections::wire::Wire;
use std::fmt;
use std::io;
use std::rc::{Rc, Weak};

/// Adds a transport to the loop, as the connection to the master.
pub(in super::super) type Add<'a> = &'a dyn Fn(Wire) -> io::Result<Id<ClacksLines>>;

/// Makes connections to a master.
#[derive(Clone)]
pub(in super::super) struct Maker(Rc<dyn Fn(Add<'_>) -> io::Result<()>>);

impl Maker {
    pub(in super::super) fn new(make: impl Fn(Add<'_>) -> io::Result<()> + 'static) -> Self {
        Self(Rc::new(make))
    }

    pub(super) fn make(&self, add: Add<'_>) -> io::Result<()> {
        (self.0)(add)
    }
}

impl fmt::Debug for Maker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Maker")
    }
}

impl Server {
    /// Serves a client that came over something else than a listener.
    pub(in super::super) fn serve_over(
        &self,
        communicator: &Communicator,
        transport: impl Transport,
    ) -> io::Result<Id<ClacksLines>> {
        let (lines, session) = self.session(Peer::Unix);
        let id = communicator.stream(transport, lines, session)?;
        let (limits, timeouts) = self.0.borrow().connection_limits();
        communicator.set_limits(id, limits);
        communicator.set_timeouts(id, timeouts);
        Ok(id)
    }

    /// To see whether it is gone.
    pub(in super::super) fn weak(&self) -> Weak<impl Sized + use<>> {
        Rc::downgrade(&self.0)
    }

    /// Looks at the cache.
    pub(in super::super) fn look<R>(&self, look: impl FnOnce(&Store) -> R) -> R {
        look(self.0.borrow().state.store())
    }

    pub(in super::super) fn check_invariants(&self) {
        self.0.borrow().state.check_invariants();
    }
}
