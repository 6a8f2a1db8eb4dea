//! What monitors see.

use std::time::Duration;

use crate::world::{World, run};
use eventdispatcher::connections::clacks::{Settings, Store};

const MONITOR: &str = "
    + m admin
    m> MONITOR
    m< DEBUG {m}=MONITOR
";

#[track_caller]
fn monitored(script: &str) {
    run(&format!("{MONITOR}{script}"));
}

#[test]
fn every_line_of_every_client_shows_also_what_is_refused_or_unknown() {
    monitored(
        "
        + a ro
        m< DEBUG CONNECTED={a}
        a> STORE x=1
        a< OVERHEAD E permission_denied
        m< DEBUG {a}=STORE x=1
        a> RETRIEVE x
        a< NOTRETRIEVED x
        m< DEBUG {a}=RETRIEVE x
        a> LISTEN x
        m< DEBUG {a}=LISTEN x
        a> PING
        m< DEBUG {a}=PING
        a> FOO bar
        a< OVERHEAD E unknown_command FOO bar
        m< DEBUG {a}=FOO bar
        a> MONITOR
        a< OVERHEAD E permission_denied
        m< DEBUG {a}=MONITOR
        a> OVERHEAD M hi
        m< DEBUG {a}=OVERHEAD M hi
        a> OVERHEAD D disc
        m< DEBUG {a}=OVERHEAD D disc
        a> QUIT
        a< <EOF>
        m< DEBUG {a}=QUIT
        flush
        - a
        m< DEBUG DISCONNECTED={a} (0 bytes discarded from outbuffer)
        ",
    );
}

#[test]
fn names_tokens_and_lines_that_say_so_do_not_show() {
    monitored(
        "
        + a
        a< CLACKS {server}
        a< OVERHEAD M Authentication required
        m< DEBUG CONNECTED={a}
        a> FLUSH before
        a> OVERHEAD A {admin}
        a< OVERHEAD O Welcome!
        a> CLACKS renamed
        a> OVERHEAD N hidden
        a> OVERHEAD NG hidden
        m< OVERHEAD GN hidden
        a> OVERHEAD A {ro}
        a< OVERHEAD O Welcome!
        a> OVERHEAD NC 1
        a< OVERHEAD E permission_denied
        ",
    );
}

#[test]
fn a_line_shows_before_what_it_causes() {
    monitored(
        "
        + a admin
        m< DEBUG CONNECTED={a}
        m> LISTEN ch
        m< DEBUG {m}=LISTEN ch
        a> SET ch=1
        a> SETANDSTORE ch=2
        a> OVERHEAD G hi
        m< DEBUG {a}=SET ch=1
        m< SET ch=1
        m< DEBUG {a}=SETANDSTORE ch=2
        m< SET ch=2
        m< DEBUG {a}=OVERHEAD G hi
        m< OVERHEAD G hi
        m> SET ch=own
        m> RETRIEVE ch
        m< DEBUG {m}=SET ch=own
        m< DEBUG {m}=RETRIEVE ch
        m< RETRIEVED ch=2
        ",
    );
}

#[test]
fn a_monitor_sees_no_more_after_unmonitor() {
    monitored(
        "
        + n admin
        m< DEBUG CONNECTED={n}
        n> MONITOR
        m< DEBUG {n}=MONITOR
        n< DEBUG {n}=MONITOR
        n> UNMONITOR
        m< DEBUG {n}=UNMONITOR
        n> UNMONITOR
        m< DEBUG {n}=UNMONITOR
        m> UNMONITOR
        n> PING
        ",
    );
}

#[test]
fn monitors_are_told_of_each_client_and_what_it_never_got() {
    let mut world = run(MONITOR);
    world.run("+ a admin\n m< DEBUG CONNECTED={a}");
    world.flush();
    world.run("a> FLUSH 123\n a< FLUSHED 123\n m< DEBUG {a}=FLUSH 123");
    world.run("- a\n m< DEBUG DISCONNECTED={a} (13 bytes discarded from outbuffer)");
    world.run("+ b\n m< DEBUG CONNECTED={b}\n b< CLACKS {server}\n b< OVERHEAD M Authentication required");
}

#[test]
fn monitors_are_told_what_was_forgotten() {
    let settings = Settings {
        stale_cache_time: Duration::from_secs(100),
        deleted_cache_time: Duration::from_secs(50),
        clean_budget: 2,
        ..Settings::default()
    };
    let mut world = World::new(settings, Store::default());
    world.run(MONITOR);
    world.run("m> UNMONITOR\n m> STORE d=1\n m> STORE b=1\n m> STORE a=1\n m> REMOVE c\n m> REMOVE e");
    world.run("m> NOPING\n @ 60\n m< NOP\n m> RETRIEVE d\n m< RETRIEVED d=1\n m> REMOVE e");
    world.run("m> MONITOR\n m< DEBUG {m}=MONITOR");

    let clean = |world: &mut World| {
        let mut calls = 1;
        while world.state.clean(world.now, &mut world.out) {
            calls += 1;
        }
        calls
    };
    assert_eq!(clean(&mut world), 3);
    world.run("m< DEBUG SERVERCACHE=CLEANDELETED=c");
    world.run("@ 59\n m> PING\n m< DEBUG {m}=PING");
    clean(&mut world);
    world.run(
        "
        m< DEBUG SERVERCACHE=CLEANSTALE=a
        m< DEBUG SERVERCACHE=CLEANSTALE=b
        m< DEBUG SERVERCACHE=CLEANDELETED=e
        m> UNMONITOR
        m> KEYLIST
        m< KEYLISTSTART
        m< KEY d
        m< KEYLISTEND
        ",
    );
}
