//! Kinds of connections.

mod listener;
mod signals;
mod stream;
mod tcp;
mod transport;
mod unix;

pub use listener::{Accept, Incoming};
pub use signals::Signal;
pub use tcp::Listening;
pub use transport::Transport;
pub use unix::{UnixBind, UnixBound, unix_pair};
