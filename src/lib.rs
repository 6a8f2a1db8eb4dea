//! A framework for services that are 100 % event-driven, and a clacks server built on it.

pub mod codec;
