//! Every row of the protocol's tables, over real sockets and byte for byte: opening a session, permissions, commands,
//! numbers, OVERHEAD, monitoring. Each is played with a packet for each line, in as few packets as can be, and in as
//! many: the same comes out.
#![cfg(all(feature = "clacks", feature = "cli"))]

mod commands;
mod monitoring;
mod numbers;
mod overhead;
mod permissions;
mod sessions;
#[path = "../support/mod.rs"]
mod support;

use support::Clacksd;
use support::script::play;

const CLACKSD: Option<&str> = option_env!("CARGO_BIN_EXE_clacksd");

fn clacksd() -> Clacksd {
    let program = CLACKSD.expect("cargo builds clacksd before it runs this test");
    // Nothing in a script takes so long.
    let configuration = include_str!("../data/clacks-wire.xml")
        .replace("<pingtimeout>8<", "<pingtimeout>600<")
        .replace("<authtimeout>3<", "<failedloginpause>0</failedloginpause><authtimeout>600<")
        .replace("<deletedcachetime>6<", "<deletedcachetime>600<");
    let mut server = Clacksd::start(program, &configuration);
    // CIDs are listed as text, and count: up to 999 they are of one length from now on.
    (0..100).for_each(|_| drop(server.connect().unwrap()));
    server
}

#[track_caller]
fn check(script: &str) {
    play(&mut clacksd(), script);
}
