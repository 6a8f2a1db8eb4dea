//! Logins that fail, and those that wait.

use crate::world::World;
use eventdispatcher::connections::clacks::{Flow, Permissions, Settings, Store, Users};
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

#[test]
fn who_loses_the_permission_to_read_by_new_settings_gets_no_signals_until_it_may_again() {
    let mut world = World::new(Settings::default(), Store::new(None));
    world.run("+ a admin\n + b ro\n b> LISTEN x\n a> SET x=1\n b< SET x=1");
    let reload = |world: &mut World, permissions| {
        let mut users = Users::default();
        users.add("admin", "adminpass", Permissions::ALL);
        users.add("rouser", "ropass", permissions);
        assert_eq!(world.state.reconfigure(Settings::default(), users, &mut world.out), 0);
        world.state.check_invariants();
    };
    reload(&mut world, Permissions::WRITE);
    world.run("a> SET x=2");
    reload(&mut world, Permissions::NONE);
    world.run("a> SET x=3");
    reload(&mut world, Permissions::READ);
    world.run("a> SET x=4\n b< SET x=4");
    // Who may read as somebody else, may.
    reload(&mut world, Permissions::WRITE);
    world.run("a> SET x=5\n b> OVERHEAD A {admin}\n b< OVERHEAD O Welcome!\n a> SET x=6\n b< SET x=6");
    // And who has logged in as somebody who may not keeps what it listens to.
    world.run("b> OVERHEAD A {ro}\n b< OVERHEAD O Welcome!\n a> SET x=7\n b< SET x=7");
    reload(&mut world, Permissions::WRITE);
    world.run("a> SET x=8\n b< SET x=8");
    reload(&mut world, Permissions::READ);
    reload(&mut world, Permissions::WRITE);
    world.run("a> SET x=9");
}

/// A link gets every signal as a link, whatever it listens to.
#[test]
fn what_a_link_listens_to_is_put_aside_whatever_it_may_do() {
    let mut world = World::new(Settings::default(), Store::new(None));
    world.run("+ a admin\n + s admin\n s> LISTEN x");
    let reload = |world: &mut World, permissions| {
        let mut users = Users::default();
        users.add("admin", "adminpass", permissions);
        assert_eq!(world.state.reconfigure(Settings::default(), users, &mut world.out), 0);
        world.state.check_invariants();
    };
    world.run("link s\n a> SET x=1\n s< SET x=1");
    let blind = Permissions::INTERCLACKS.with(Permissions::WRITE);
    reload(&mut world, blind);
    world.run("a> SET x=2\n s< SET x=2\n s> OVERHEAD I 0\n a> SET x=3");
    reload(&mut world, Permissions::ALL);
    world.run("a> SET x=4\n s< SET x=4");
}
