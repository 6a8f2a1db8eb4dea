//! Clacks: signals and a shared cache, spoken in lines of text.
//!
//! The files here are functions of what they are given: a [`Command`] is what a line says, a [`Store`] is the
//! cache, a [`State`] is what the server knows and does. Sockets, clocks and queues are behind [`Output`] and
//! [`Now`].

pub mod client;
pub mod configuration;
pub mod credentials;
mod flags;
mod line;
mod number;
pub mod persistence;
mod protocol;
mod server;
mod server_line;
#[cfg(test)]
mod simulation;
mod state;
mod store;

pub use flags::Flags;
pub use line::{ClacksLines, LINE_ROOM, Line, MAX_ANSWER, MAX_LINE};
pub use number::{Number, Operand, Text};
pub use protocol::{Command, KeySync, Overhead, Pair, Step};
pub use server::{Server, ServerLimits, Uplink};
pub use server_line::{ServerLine, client_fields};
pub use state::{
    Attempt, ClientIndex, Closing, Counters, Event, Flow, NodeId, Now, Output, Peer, Permissions, Settings,
    State, Traffic, Users, token,
};
pub use store::{Change, Entry, Full, KeptValue, Merged, Purged, Retention, Store, Sweep};
