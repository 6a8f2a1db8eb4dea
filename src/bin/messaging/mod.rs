//! What the programs that send messages have in common. Each includes this folder as a module of its own and uses what it
//! needs.
#![allow(dead_code, reason = "each program uses its part")]

pub(crate) mod address;
pub(crate) mod deliver;
pub(crate) mod encryption;
pub(crate) mod environment;
pub(crate) mod report;
pub(crate) mod sender;
pub(crate) mod settings;
