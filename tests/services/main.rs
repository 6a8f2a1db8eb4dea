//! Services that talk in messages, over real sockets.

mod actions;
mod built_in;
mod requests;
mod world;
