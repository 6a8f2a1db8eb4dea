//! TLS over real sockets, between this library's own ends and against the other sides that a test makes itself.

mod blocking;
mod certificates;
mod detect;
mod ending;
mod handshake;
mod permanent;
mod reload;
mod roots;
mod stage;
mod start_tls;
mod strangers;
mod traffic;
