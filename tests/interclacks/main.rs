//! Linked servers on real sockets.
#![cfg(feature = "clacks")]

mod large;
mod node;
#[path = "../support/mod.rs"]
mod support;
#[cfg(feature = "tls")]
mod tls;
mod trees;
mod wire;
