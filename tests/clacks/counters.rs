//! What the server counts, and tells.

use crate::world::{World, run};
use eventdispatcher::connections::clacks::{Settings, Store};

#[test]
fn everything_that_happens_is_counted() {
    let mut world = World::new(Settings::default(), Store::new(None));
    world.log_in("a", "admin");
    world.log_in("b", "ro");
    world.run(
        "
        a> LISTEN x
        b> LISTEN x
        a> SET x=1
        b< SET x=1
        a> SETANDSTORE x=2
        b< SET x=2
        a> STORE k=1
        a> INCREMENT k
        a> RETRIEVE k
        a< RETRIEVED k=2
        a> RETRIEVE nothing
        a< NOTRETRIEVED nothing
        a> REMOVE k
        b> STORE k=1
        b< OVERHEAD E permission_denied
        b> BOGUS
        b< OVERHEAD E unknown_command BOGUS
        + c
        c< CLACKS {server}
        c< OVERHEAD M Authentication required
        c> OVERHEAD A x:y
        c< OVERHEAD F Login failed!
        c< <EOF>
        log {a}: logged in as admin
        log {b}: logged in as rouser
        log {c}: login failed, closed
        - c
        ",
    );
    let counted: Vec<String> = world
        .state
        .counters()
        .all()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{name}={count}"))
        .collect();
    let wanted = "connections=3 logins=2 logins_failed=1 lines=11 signals=2 deliveries=4 stores=2 hits=1 misses=1 \
                  steps=1 removes=1 refused=1 unknown=1";
    assert_eq!(counted.join(" "), wanted);
}

#[test]
fn who_manages_is_told_how_the_server_is() {
    let mut world = run("
        + a admin
        + b ro
        b> STATUS
        b< OVERHEAD E permission_denied
        a> STORE k=1
        a> REMOVE gone
        @ 10
        log {a}: logged in as admin
        log {b}: logged in as rouser
    ");
    world.send("a", b"STATUS");
    let told = world.take("a");
    assert_eq!((&*told[0], &**told.last().unwrap()), ("STATUSSTART", "STATUSEND"));
    assert!(told[1..told.len() - 1].iter().all(|line| line.starts_with("STATUS ")), "{told:?}");
    for line in [
        "server=test server 1.0",
        "clients=2",
        "members=2",
        "entries=1",
        "tombstones=1",
        "stores=1",
        "refused=1",
    ] {
        assert!(told.contains(&format!("STATUS {line}")), "{line}: {told:?}");
    }
}
