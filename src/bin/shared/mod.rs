//! What the programs of this package have in common. Each includes this folder as a module of its own and uses what it
//! needs.
#![allow(dead_code, reason = "each program uses its part")]

pub(crate) mod arguments;
pub(crate) mod exit;
pub(crate) mod logging;
pub(crate) mod pages;
