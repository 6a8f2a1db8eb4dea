//! clacksd and its clients over TCP and TLS: certificates, strangers, reloading.

#[path = "../support/cable.rs"]
mod cable;
#[allow(dead_code, reason = "the tests of TLS itself use all of it")]
#[path = "../tls/certificates.rs"]
mod certificates;
#[path = "../support/program.rs"]
mod program;
#[path = "../support/mod.rs"]
mod support;

mod clients;
mod reload;
mod strangers;
mod vanished;
mod world;
