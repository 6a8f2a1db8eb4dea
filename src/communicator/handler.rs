//! What a user writes: what to do with an item, and what to do when a connection changes.

use super::error::{Closed, HandlerResult, SendError};
use super::handle::Communicator;
use super::key::{Id, Key, TimerId};
use super::settings::Timeout;
use crate::codec::Codec;
use std::cell::RefCell;
use std::fmt;
use std::ops::Deref;
use std::rc::Rc;
use std::time::Duration;

/// What to do with the items of a connection.
///
/// Callbacks never nest: while one runs, no other callback, not even a destructor of a handler, runs
/// on this thread. So a callback may use the whole [`Communicator`], on its own connection too.
///
/// An error from any of them ends the connection, and no other: [`closed`](Self::closed) gets
/// [`Closed::Handler`]. A panic ends the connection without another call to its handler, for nobody knows what state
/// that is in; it is logged, and the loop goes on (unless the program is built with `panic = "abort"`).
///
/// Many connections can share one handler: give each a clone of one `Rc<RefCell<H>>`.
#[allow(unused_variables)]
pub trait Handler<C: Codec>: 'static {
    /// The connection is established: it can be read and written. Called once, before anything else;
    /// for each new transport of a connection that reconnects by itself.
    ///
    /// # Errors
    /// End the connection.
    fn connected(&mut self, cx: &Cx<'_, C>) -> HandlerResult {
        Ok(())
    }

    /// The layer that [`Communicator::upgrade`] has put around the transport is established: what is read and
    /// written from now on goes through it.
    ///
    /// # Errors
    /// End the connection.
    fn upgraded(&mut self, cx: &Cx<'_, C>) -> HandlerResult {
        Ok(())
    }

    /// An item came.
    ///
    /// # Errors
    /// End the connection.
    fn message(&mut self, item: C::In<'_>, cx: &Cx<'_, C>) -> HandlerResult;

    /// Input was read, of which [`message`](Self::message) gets the items one by one from now on. Here a handler can prepare for several
    /// of them: fetch from memory what they need, all at once. It begins with the next item, unless the codec is in the middle of
    /// something that it skips, and may end with the beginning of one.
    ///
    /// Says how many bytes it has seen: from there on, if so much is read already, it is asked again. By default all of them. Called for
    /// streams only, as packets are read one by one.
    fn look_ahead(&mut self, input: &[u8], cx: &Cx<'_, C>) -> usize {
        input.len()
    }

    /// The output queue, after it was above its high-water mark or refused something, is down to its
    /// low-water mark.
    ///
    /// # Errors
    /// End the connection.
    fn drained(&mut self, cx: &Cx<'_, C>) -> HandlerResult {
        Ok(())
    }

    /// A time is over. By default every one but [`Timeout::Timer`] ends the connection.
    ///
    /// Not called before [`connected`](Self::connected): a connection that is not established when its deadline comes ends,
    /// and its timers wait. A [permanent](Communicator::permanent) one gets both also while it is away, for the first time or again.
    ///
    /// # Errors
    /// End the connection.
    fn timeout(&mut self, what: Timeout, cx: &Cx<'_, C>) -> HandlerResult {
        if !matches!(what, Timeout::Timer(_)) {
            cx.end(Closed::TimedOut(what));
        }
        Ok(())
    }

    /// The other side has ended its direction, and everything that it sent has been handed over. By default this side
    /// ends too, once it has written what is queued.
    ///
    /// A handler that does not close here has a half-open connection: it can send until it closes.
    ///
    /// # Errors
    /// End the connection.
    fn eof(&mut self, cx: &Cx<'_, C>) -> HandlerResult {
        cx.end(Closed::Eof);
        Ok(())
    }

    /// An attempt of a [permanent](Communicator::permanent) connection has failed; the next one is made in its time.
    ///
    /// # Errors
    /// End the connection for good.
    fn failed(&mut self, why: &Closed, cx: &Cx<'_, C>) -> HandlerResult {
        Ok(())
    }

    /// A [permanent](Communicator::permanent) connection that was established is no more; it is made anew in its time. What
    /// other connections are ended by (an error, a time that is over, the end of the input) comes here.
    ///
    /// # Errors
    /// End the connection for good.
    fn lost(&mut self, why: &Closed, cx: &Cx<'_, C>) -> HandlerResult {
        Ok(())
    }

    /// The connection has ended for good: the last call, made once, also for a connection that was never
    /// established. Its id finds nothing any more; what was queued is still being written, in the background, until
    /// [`Timeouts::linger`](crate::Timeouts::linger) is over.
    ///
    /// Not called after [`Communicator::remove`], when one of the handler's callbacks, its codec or its transport has panicked, and for what
    /// a communicator still has when it is dropped. The handler is dropped then, as always: what must be cleaned up whatever
    /// happens belongs in the `Drop` of something that the handler holds.
    ///
    /// ```
    /// use eventdispatcher::{Closed, Communicator, Cx, Handler, HandlerResult, codec::Lines};
    /// use std::cell::Cell;
    /// use std::rc::Rc;
    ///
    /// /// One of those that are there.
    /// struct Present(Rc<Cell<usize>>);
    ///
    /// impl Drop for Present {
    ///     fn drop(&mut self) {
    ///         self.0.set(self.0.get() - 1);
    ///     }
    /// }
    ///
    /// struct Reader {
    ///     present: Present,
    ///     farewells: Rc<Cell<usize>>,
    /// }
    ///
    /// impl Handler<Lines> for Reader {
    ///     fn message(&mut self, line: &str, _: &Cx<'_, Lines>) -> HandlerResult {
    ///         assert_ne!(line, "bug"); // panics
    ///         Ok(())
    ///     }
    ///     fn closed(&mut self, _: &Closed, _: &Cx<'_, Lines>) {
    ///         self.farewells.set(self.farewells.get() + 1);
    ///     }
    /// }
    ///
    /// let communicator = Communicator::new()?;
    /// let present = Rc::new(Cell::new(1));
    /// let farewells = Rc::new(Cell::new(0));
    /// let reader = Reader { present: Present(Rc::clone(&present)), farewells: Rc::clone(&farewells) };
    /// let (ours, mut theirs) = eventdispatcher::unix_pair()?;
    /// communicator.stream(ours, Lines::new(), reader)?;
    /// std::io::Write::write_all(&mut theirs, b"bug\n")?;
    /// communicator.run()?; // the panic is logged, and the loop goes on
    /// assert_eq!((present.get(), farewells.get()), (0, 0));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn closed(&mut self, why: &Closed, cx: &Cx<'_, C>) {}
}

impl<C: Codec, H: Handler<C>> Handler<C> for Rc<RefCell<H>> {
    fn connected(&mut self, cx: &Cx<'_, C>) -> HandlerResult {
        self.borrow_mut().connected(cx)
    }
    fn upgraded(&mut self, cx: &Cx<'_, C>) -> HandlerResult {
        self.borrow_mut().upgraded(cx)
    }
    fn message(&mut self, item: C::In<'_>, cx: &Cx<'_, C>) -> HandlerResult {
        self.borrow_mut().message(item, cx)
    }
    fn look_ahead(&mut self, input: &[u8], cx: &Cx<'_, C>) -> usize {
        self.borrow_mut().look_ahead(input, cx)
    }
    fn drained(&mut self, cx: &Cx<'_, C>) -> HandlerResult {
        self.borrow_mut().drained(cx)
    }
    fn timeout(&mut self, what: Timeout, cx: &Cx<'_, C>) -> HandlerResult {
        self.borrow_mut().timeout(what, cx)
    }
    fn eof(&mut self, cx: &Cx<'_, C>) -> HandlerResult {
        self.borrow_mut().eof(cx)
    }
    fn failed(&mut self, why: &Closed, cx: &Cx<'_, C>) -> HandlerResult {
        self.borrow_mut().failed(why, cx)
    }
    fn lost(&mut self, why: &Closed, cx: &Cx<'_, C>) -> HandlerResult {
        self.borrow_mut().lost(why, cx)
    }
    fn closed(&mut self, why: &Closed, cx: &Cx<'_, C>) {
        self.borrow_mut().closed(why, cx);
    }
}

/// A handler that is one closure, for items only.
///
/// ```
/// use eventdispatcher::{Communicator, codec::Lines, on_item};
///
/// let communicator = Communicator::new()?;
/// let (ours, theirs) = eventdispatcher::unix_pair()?;
/// communicator.stream(ours, Lines::new(), on_item::<Lines, _>(|line, cx| Ok(cx.reply(line)?)))?;
/// # drop(theirs);
/// communicator.run()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn on_item<C, F>(call: F) -> OnItem<F>
where
    C: Codec,
    F: FnMut(C::In<'_>, &Cx<'_, C>) -> HandlerResult + 'static,
{
    OnItem(call)
}

/// See [`on_item`].
pub struct OnItem<F>(F);

impl<F> fmt::Debug for OnItem<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnItem")
    }
}

impl<C, F> Handler<C> for OnItem<F>
where
    C: Codec,
    F: FnMut(C::In<'_>, &Cx<'_, C>) -> HandlerResult + 'static,
{
    fn message(&mut self, item: C::In<'_>, cx: &Cx<'_, C>) -> HandlerResult {
        (self.0)(item, cx)
    }
}

/// The connection that is being called, and, by `Deref`, its communicator.
pub struct Cx<'a, C> {
    communicator: &'a Communicator,
    id: Id<C>,
}

impl<'a, C: Codec> Cx<'a, C> {
    pub(crate) fn new(communicator: &'a Communicator, key: Key) -> Self {
        Self { communicator, id: Id::new(key) }
    }

    /// The communicator, where a method of this type hides one of its own: `cx.close()` closes the connection that is being
    /// called, `cx.communicator().close(other)` another one.
    pub fn communicator(&self) -> &'a Communicator {
        self.communicator
    }

    /// Whose callback this is.
    pub fn id(&self) -> Id<C> {
        self.id
    }

    /// Queues `item` on this connection.
    ///
    /// # Errors
    /// As [`Communicator::send`].
    pub fn reply(&self, item: C::Out<'_>) -> Result<(), SendError> {
        self.communicator.send(self.id, item)
    }

    /// Closes this connection: no more items, output is still written.
    pub fn close(&self) {
        self.communicator.close(self.id);
    }

    /// Calls [`Handler::timeout`] of this connection with [`Timeout::Timer`]`(tag)` in `after`. It
    /// goes with the connection.
    pub fn after(&self, after: Duration, tag: u64) -> Option<TimerId> {
        self.communicator.timer(self.id, after, tag)
    }

    pub(crate) fn end(&self, why: Closed) {
        self.communicator.end(self.id.key(), why);
    }
}

impl<C> Deref for Cx<'_, C> {
    type Target = Communicator;
    fn deref(&self) -> &Communicator {
        self.communicator
    }
}

impl<C> fmt::Debug for Cx<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cx({})", self.id)
    }
}
