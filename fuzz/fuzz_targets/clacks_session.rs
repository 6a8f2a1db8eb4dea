//! A clacks server in memory, and clients that send it anything. The input is a program, a line each step: a letter that says
//! what happens, a digit for the client, and what follows.
#![no_main]

#[path = "../../tests/clacks/world.rs"]
#[allow(dead_code)]
mod world;

use eventdispatcher::connections::clacks::{Settings, Store};
use libfuzzer_sys::fuzz_target;
use std::time::Duration;
use world::World;

const CLIENTS_MAX: usize = 40;
const STEPS_MAX: usize = 400;

fuzz_target!(|program: &[u8]| {
    let settings = Settings { names_bytes_max: 2000, clean_budget: 3, ..Settings::default() };
    let mut world = World::new(settings, Store::new(Some(1500)));
    let (mut clients, mut made) = (Vec::new(), 0);
    for step in program.split(|byte| *byte == b'\n').take(STEPS_MAX) {
        let (letter, rest) = step.split_first().unwrap_or((&b' ', b""));
        let (digit, rest) = rest.split_first().unwrap_or((&b'0', b""));
        let number = usize::from(*digit % 10);
        let client = clients.get(number % clients.len().max(1)).cloned();
        let client: Option<&str> = client.as_deref();
        match (letter, client) {
            (b'+', _) if clients.len() < CLIENTS_MAX => {
                made += 1;
                let name = format!("c{made}");
                world.connect(&name);
                world.queue(&name).lines_max = 60;
                world.queue(&name).list_max = 20;
                clients.push(name);
            }
            // One that is let in, with the rights of one of the users.
            (b'*', _) if clients.len() < CLIENTS_MAX => {
                made += 1;
                let name = format!("c{made}");
                // Where logins have failed before, this one may have to wait.
                world.connect(&name);
                world.send(&name, b"CLACKS known");
                let token = world::token_of(["admin", "rw", "ro", "wo", "mg"][number % 5]);
                world.send(&name, format!("OVERHEAD A {token}").as_bytes());
                world.take(&name);
                world.queue(&name).lines_max = 60;
                world.queue(&name).list_max = 20;
                clients.push(name);
            }
            (b'-', Some(client)) => {
                let client = client.to_owned();
                clients.retain(|other| *other != client);
                world.lose(&client);
            }
            (b'@', _) => {
                world.pass(Duration::from_secs(number as u64 * 15));
                world.state.clean(world.now, &mut world.out);
            }
            (b'!', Some(client)) => {
                world.take(client);
                world.resume(client);
            }
            (b'~', _) => world.flush(),
            // What is announced may come or not.
            (b'?', _) => {
                let lines: Vec<u8> =
                    rest.iter().map(|byte| if *byte == b'|' { b'\n' } else { *byte }).collect();
                world.state.look_ahead(&lines);
            }
            (b' ', Some(client)) => drop(world.send(client, rest)),
            _ => {}
        }
        let mut waiting = 0;
        for client in &clients {
            waiting += world.queue(client).lines.len();
        }
        assert!(waiting <= clients.len() * 64, "{waiting} lines wait");
        assert!(world.state.clients() <= clients.len());
        world.state.check_invariants();
    }
    world.state.disconnect_all(&mut world.out);
    for client in &clients {
        assert!(world.queue(client).is_closed, "{client} is open");
        world.lose(client);
    }
    assert_eq!(world.state.clients(), 0);
});
