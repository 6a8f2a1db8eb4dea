//! The loop: one thread, one poll, one [`Communicator`].
//!
//! A program adds connections, each with a priority and a handler, and calls [`run`](Communicator::run), which ends when
//! nothing is left. This page is the contract; what it says is tested.
//!
//! # A turn
//! The loop goes round in turns. A turn
//!
//! 1. waits in the poll, until something is ready, a timer is due, or another thread has posted;
//!    not at all if something was left over from the turn before;
//! 2. runs what other threads have posted, in the order of posting, 256 posts at the most;
//! 3. calls whoever is ready, each once;
//! 4. makes the calls that were asked for [before the writes](Communicator::before_writes);
//! 5. writes, for each connection with something queued: everything queued in this turn leaves together.
//!
//! The **order** in step 3 is by priority, 0 first, 255 last, 100 by default; inside one priority by how long each has been
//! ready: first who was left over from the turn before, then timers by their deadlines, then connections in
//! the order in which the kernel reports them. What becomes ready during a turn is called in the next one, so nobody is
//! called twice before the others of its priority, and a change of priority counts from the next turn on.
//!
//! One call of a **connection** hands over everything that has happened to it, in this order: it is established
//! ([`connected`](Handler::connected)); items ([`message`](Handler::message)) and the end of the input
//! ([`eof`](Handler::eof)); times that are over ([`timeout`](Handler::timeout)); the queue is low
//! ([`drained`](Handler::drained)); it was lost ([`lost`](Handler::lost)); it has ended ([`closed`](Handler::closed)).
//!
//! # Fairness
//! A connection that always has more does not keep the others waiting: after its [`Budget`] (bytes, callbacks, time) it waits
//! for the next turn. So the longest that anybody waits is the sum of the budgets of those that are ready, whatever
//! their priority: a priority says who goes first in a turn, not who goes at all.
//!
//! # Draining readiness
//! The poll tells only of changes (edges). That is the loop's business: it reads until there is nothing more or the budget is
//! used up, and remembers the rest. What happens while a connection is [switched off](Communicator::enable), or
//! [not read](Communicator::read), is kept for later. Everything that was sent before the other side hung up
//! is handed over before `closed`.
//!
//! # Callbacks never nest
//! Sending, closing, removing, adding … from inside a callback only changes the state of the loop: no other callback runs,
//! and no destructor of a handler, until the callback has returned. A name that has gone stale finds nothing.
//! [`turn`](Communicator::turn) and [`run`](Communicator::run) from inside a callback are refused.
//!
//! # Layers in mid-stream
//! [`upgrade`](Communicator::upgrade) puts a layer, such as TLS, around the transport of an open connection. What was sent
//! before leaves without the layer, everything after it inside. Input that is there already behind the last item ends the
//! connection: anybody on the way may have put it there. Until the layer is established
//! ([`upgraded`](Handler::upgraded)) the connection is connecting again, within [`Timeouts::connect`].
//!
//! # Permanent connections
//! A [permanent](Communicator::permanent) connection makes its transports itself, by a [`Connect`](crate::Connect), and anew when it is
//! lost, at the times that its [`Pauses`] say. One call tells it that it was lost ([`lost`](Handler::lost)) or could not be made
//! ([`failed`](Handler::failed)); its descriptor is closed by then. Between two transports it waits: it can be sent to,
//! closed, removed, switched off, named and prioritised like any other, and is called for its own timers and its
//! deadline. Items that wait are whole: nothing is sent twice, nothing half.
//!
//! # Limits
//! Input that makes no item, output that is not taken, what one turn may do, connecting and lingering have
//! [`Limits`], a [`Budget`] and [`Timeouts`], on by default; what waits for a connection that is [`Away`] has its own. [`Rates`] may
//! limit how fast output leaves, and how fast clients are accepted.
//!
//! # Failures
//! A callback that gives back an error, or panics, ends its own connection, and so does what a peer sends, and a transport or
//! a codec that panics. The loop itself ends with an error only when the poll fails: for want of memory, when
//! that lasts for ten seconds. Who has panicked is not called again, not for [`closed`](Handler::closed) either, but dropped.

mod core;
mod driver;
mod error;
mod handle;
mod handler;
mod hooks;
mod key;
mod lack;
mod listing;
mod output;
mod pauses;
mod permanent;
mod pipes;
mod rate;
mod remote;
mod settings;
#[cfg(test)]
mod simulation;
mod slot;
mod timers;
mod turn;
mod wall_clock;

pub use error::{Closed, HandlerError, HandlerResult, PipeError, SendError, UpgradeError};
pub(crate) use handle::WeakCommunicator;
pub use handle::{Communicator, communicator};
pub use handler::{Cx, Handler, OnItem, on_item};
pub use hooks::HookId;
pub use key::{Id, Key, TimerId};
pub use listing::{ConnectionInfo, State};
pub use pauses::{Pauses, PausesError};
pub use permanent::{Away, Keep, Reconnect};
pub use rate::{Rate, Rates};
pub use remote::{PostError, Remote};
pub use settings::{Budget, Limits, Timeout, Timeouts};

pub(crate) use driver::{Driver, Linger, Outcome, Spent, Turn};
pub(crate) use handle::{CHUNK, interest};
pub(crate) use output::{OutQueue, Spares, Written, is_wide};
pub(crate) use slot::{Ready, Upgrade};

/// Who says nothing else is called after those with a lower number and before those with a higher one.
pub const DEFAULT_PRIORITY: u8 = 100;
