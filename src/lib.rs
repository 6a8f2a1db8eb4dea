//! A framework for services that are 100 % event-driven, and a clacks server built on it.

pub mod codec;
pub mod communicator;
pub mod connections;

pub use communicator::{
    Budget, Closed, Communicator, ConnectionInfo, Cx, Handler, HandlerError, HandlerResult, Id, Key, Limits,
    OnItem, PostError, Remote, SendError, State, Timeout, Timeouts, TimerId, communicator, on_item,
};
pub use connections::{
    Accept, Blocking, BlockingError, Incoming, Listening, Signal, Transport, UnixBind, UnixBound, unix_pair,
};
