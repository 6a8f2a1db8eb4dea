//! The clacks server's state, without sockets and clocks.
#![cfg(feature = "clacks")]

mod clock;
mod commands;
mod counters;
mod limits;
mod logins;
mod monitoring;
mod overhead;
mod random;
mod tree;
mod wire;
mod world;
