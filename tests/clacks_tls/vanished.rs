//! A peer that is suddenly not there any more: no end, no reset, no answer. The network between is a pair of virtual
//! interfaces, one of them in a namespace of its own, which is then taken down.

use crate::certificates::Identity;
use crate::support::daemon::Program;
use crate::support::talk::line;
use crate::support::{Client, DEADLINE};
use crate::world::World;
use std::process::{self, Command, Stdio};
use std::time::Instant;

const CLACKS: Option<&str> = option_env!("CARGO_BIN_EXE_clacks");

/// A network behind a virtual cable. It is removed with this value.
struct Cable {
    name: String,
    here: String,
}

impl Cable {
    /// None: this process may not make one.
    fn new() -> Option<Self> {
        let id = process::id();
        let cable = Self { name: format!("ed{id}"), here: format!("ed{id}a") };
        let (name, here, there) = (&*cable.name, &*cable.here, format!("ed{id}b"));
        let made = ip(&["netns", "add", name])
            && ip(&["link", "add", here, "type", "veth", "peer", "name", &there, "netns", name])
            && ip(&["address", "add", "198.18.77.1/30", "dev", here])
            && ip(&["link", "set", here, "up"])
            && ip(&["-n", name, "address", "add", "198.18.77.2/30", "dev", &there])
            && ip(&["-n", name, "link", "set", &there, "up"]);
        made.then_some(cable)
    }

    /// From now on nothing gets through, and nobody is told.
    fn cut(&self) {
        assert!(ip(&["link", "set", &self.here, "down"]), "the interface can't be taken down");
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        ip(&["link", "delete", &self.here]);
        ip(&["netns", "delete", &self.name]);
    }
}

fn ip(arguments: &[&str]) -> bool {
    let done = Command::new("ip").args(arguments).stderr(Stdio::null()).status();
    done.is_ok_and(|status| status.success())
}

#[test]
fn who_vanishes_is_forgotten_in_time_and_nobody_else_notices() {
    let Some(cable) = Cable::new() else {
        println!("no network namespaces can be made here: not tested");
        return;
    };
    let identity = |authority: &crate::certificates::Authority| -> Identity { authority.server("localhost") };
    let world = World::with("<pingtimeout>3</pingtimeout>", &["198.18.77.1", "127.0.0.1"], identity);
    let mut far = Command::new("ip");
    far.args(["netns", "exec", &cable.name, CLACKS.unwrap(), "--no-verify", "listen", "a"]);
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
            found |= line.contains("HOST=198.18.77.2;");
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
    world.server.logs("198.18.77.2");
    drop(far);
}
