//! Logins that fail, and those that wait.

use crate::world::World;
use eventdispatcher::connections::clacks::{Flow, Settings, Store};
use std::time::Duration;

/// What happens when a connection sends a token that is not right.
fn fail(world: &mut World, name: &str) {
    world.connect(name);
    assert_eq!(world.send(name, b"OVERHEAD A eDp5"), Flow::Closed);
    assert_eq!(world.take(name)[2..], ["OVERHEAD F Login failed!", "<EOF>"]);
    world.lose(name);
}

#[test]
fn where_logins_fail_again_and_again_the_next_ones_wait() {
    let mut world = World::new(Settings::default(), Store::new(None));
    for name in ["x", "y", "z"] {
        fail(&mut world, name);
    }
    world.out.events.clear();
    // After three failures there is a pause, for the right and the wrong, and nothing behind the login is executed.
    world.run(
        "
        + a
        a< CLACKS {server}
        a< OVERHEAD M Authentication required
        a> OVERHEAD A {admin}
        + b
        b< CLACKS {server}
        b< OVERHEAD M Authentication required
        b> OVERHEAD A x:y
        @ 0.2
        @ 0.05
        a< OVERHEAD O Welcome!
        log {a}: logged in as admin
        b< OVERHEAD F Login failed!
        b< <EOF>
        log {b}: login failed, failure 4 from there, closed
        - b
        + c
        c< CLACKS {server}
        c< OVERHEAD M Authentication required
        c> OVERHEAD A {admin}
        @ 0.49
        @ 0.01
        c< OVERHEAD O Welcome!
        log {c}: logged in as admin
        ",
    );
    // Who does not outlast the pause is treated as who does not log in.
    let mut impatient = World::new(
        Settings { auth_timeout: Duration::from_millis(100), ..Settings::default() },
        Store::new(None),
    );
    for name in ["x", "y", "z"] {
        fail(&mut impatient, name);
    }
    impatient.out.events.clear();
    impatient.run(
        "
        + a
        a< CLACKS {server}
        a< OVERHEAD M Authentication required
        a> OVERHEAD A {admin}
        @ 0.1
        a< <EOF>
        log {a}: no login in time, closed
        ",
    );
}

#[test]
fn long_after_the_last_failure_nobody_waits() {
    let mut world = World::new(Settings::default(), Store::new(None));
    for name in ["a", "b", "c"] {
        fail(&mut world, name);
    }
    world.pass(Duration::from_secs(400));
    world.log_in("d", "admin");
    // Switched off.
    let settings = Settings { failed_login_pause_max: Duration::ZERO, ..Settings::default() };
    let mut world = World::new(settings, Store::new(None));
    for _ in 0..10 {
        fail(&mut world, "a");
    }
    world.log_in("d", "admin");
}
