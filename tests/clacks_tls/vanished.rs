//! A peer that is suddenly not there any more: no end, no reset, no answer.

use crate::cable::Cable;
use crate::certificates::Identity;
use crate::support::daemon::Program;
use crate::support::talk::line;
use crate::support::{Client, DEADLINE};
use crate::world::World;
use std::time::Instant;

const CLACKS: Option<&str> = option_env!("CARGO_BIN_EXE_clacks");

#[test]
fn who_vanishes_is_forgotten_in_time_and_nobody_else_notices() {
    let Some(cable) = Cable::new() else { return };
    let identity = |authority: &crate::certificates::Authority| -> Identity { authority.server("localhost") };
    let world =
        World::with("<pingtimeout>3</pingtimeout>", &[&cable.here.to_string(), "127.0.0.1"], identity);
    let mut far = cable.program(CLACKS.unwrap());
    far.args(["--no-verify", "listen", "a"]);
    let place = world.addresses.iter().find(|address| !address.ip().is_loopback()).unwrap();
    far.env("CLACKS_HOST", place.to_string()).env("CLACKS_USER", "admin");
    far.env("CLACKS_PASSWORD", crate::world::PASSWORD).env_remove("CLACKS_CA").env_remove("CLACKS_SOCKET");
    let far = Program::start(&mut far);

    let mut near = Client::connect(&world.path("here.sock")).unwrap();
    near.log_in("near", "admin").unwrap();
    let mut is_there = || {
        near.send(b"PING\r\nSET a=into the void\r\nCLIENTLIST\r\n").unwrap();
        let mut found = false;
        loop {
            let line = line(&mut near);
            found |= line.contains(&format!("HOST={};", cable.there));
            assert_ne!(line, "<EOF>", "the one that is there was closed");
            if line == "CLIENTLISTEND" {
                return found;
            }
        }
    };
    let begin = Instant::now();
    while !is_there() {
        assert!(begin.elapsed() < DEADLINE, "it does not come");
    }
    cable.cut();
    let cut = Instant::now();
    // What is sent to it gets no answer of any kind from now on, and the others get theirs.
    assert!(is_there(), "it left by itself");
    while is_there() {
        assert!(cut.elapsed() < DEADLINE, "it is not forgotten");
    }
    world.server.logs(&cable.there.to_string());
    drop(far);
}
