//! Services that talk in messages, over real sockets.

mod actions;
mod built_in;
mod datagrams;
mod noise;
mod requests;
mod transports;
mod world;
