//! Linked servers on real sockets.
#![cfg(feature = "clacks")]

mod large;
mod node;
#[path = "../support/mod.rs"]
mod support;
mod trees;
mod wire;
