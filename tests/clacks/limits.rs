//! Time limits, full queues, a full cache.

use std::time::Duration;

use eventdispatcher::connections::clacks::{Flow, Settings, Store};

use crate::world::{World, run};

#[test]
fn who_does_not_log_in_is_closed() {
    run("
        + a
        a< CLACKS {server}
        a< OVERHEAD M Authentication required
        + b ro
        log {b}: logged in as rouser
        @ 10
        a> CLACKS me
        @ 4.9
        @ 0.1
        a< <EOF>
        log {a}: no login in time, closed
        a> OVERHEAD A {admin}
        b> FLUSH x
        b< FLUSHED x
    ");
}

#[test]
fn who_gives_no_sign_of_life_is_closed() {
    run("
        + a ro
        + b ro
        + c ro
        + d ro
        @ 59
        a> FLUSH 1
        a< FLUSHED 1
        @ 1
        b< NOP
        c< NOP
        d< NOP
        b> PING
        c> NOPING
        d> NOPING
        @ 59
        a< NOP
        @ 60
        a< NOP
        b< NOP
        c< NOP
        d< NOP
        d> PING
        @ 1
        a< 
        a< TIMEOUT
        a< <EOF>
        b< NOP
        c< NOP
        d< NOP
        @ 59.5
        b> PING
        @ 0.5
        b< NOP
        c< NOP
        d< NOP
        @ 120
        b< NOP
        b< NOP
        c< NOP
        c< NOP
        d< NOP
        d< 
        d< TIMEOUT
        d< <EOF>
    ");
}

#[test]
fn a_keysync_counts_as_a_ping() {
    let mut world =
        World::new(Settings { nop_interval: Duration::MAX, ..Settings::default() }, Store::default());
    world.run(
        "
        + a admin
        a> NOPING
        @ 200
        a> KEYSYNC 1 1 U k=v
        @ 179.9
        a> FLUSH 1
        a< FLUSHED 1
        @ 0.1
        a< 
        a< TIMEOUT
        a< <EOF>
        ",
    );
}

#[test]
fn a_silent_link_is_closed_and_noping_does_not_help() {
    run("
        + s admin
        + a admin
        @ 5
        link s
        s> NOPING
        log {s}: logged in as admin
        log {a}: logged in as admin
        @ 50
        s< PING
        s< PING
        s> KEYSYNC 1 1 U k=v
        @ 55
        a< NOP
        s< PING
        s< PING
        s< PING
        s> PING
        @ 59.9
        a< NOP
        s< PING
        s< PING
        s< PING
        @ 0.1
        s< 
        s< TIMEOUT
        s< <EOF>
        log {s}: no PING in time, closed
    ");
}

#[test]
fn who_takes_no_output_is_closed_also_after_noping() {
    let mut world = run("+ a ro\n + s admin\n link s\n a> NOPING\n @ 30\n s< PING\n s> PING");
    let stalled_since = Some(world.now.monotonic);
    world.queue("a").traffic.stalled_since = stalled_since;
    world.queue("s").traffic.stalled_since = stalled_since;
    world.run("@ 30\n a< NOP\n s< PING\n s> PING\n @ 29.9\n s< PING\n s< PING\n s> PING");
    world.run("@ 0.1\n a< <CUT>");
    world.run("s> PING\n @ 30\n s< PING\n s> PING\n @ 29.9\n s< PING\n s< PING\n s> PING\n @ 0.1\n s< <CUT>");
}

#[test]
fn a_limit_that_begins_between_two_looks_is_kept_to_the_second() {
    let settings = Settings {
        nop_interval: Duration::MAX,
        interclacks_ping_timeout: Duration::from_secs(7),
        stalled_write_timeout: Duration::from_secs(20),
        ..Settings::default()
    };
    let mut world = World::new(settings, Store::default());
    world.run("+ a ro\n + s admin\n @ 28");
    let stalled_since = Some(world.now.monotonic);
    world.queue("a").traffic.stalled_since = stalled_since;
    world.run("link s\n @ 6.9\n s< PING\n s< PING\n @ 0.1\n s< \n s< TIMEOUT\n s< <EOF>\n @ 12.9\n @ 0.1\n a< <CUT>");
}

#[test]
fn whose_queue_is_full_is_closed() {
    let mut world = run("+ a ro\n + b ro\n + c rw\n a> LISTEN x\n b> LISTEN x\n c> LISTEN x");
    world.out.events.clear();
    world.queue("a").lines_max = 2;
    world.run(
        "
        c> SET x=1
        c> SET x=2
        c> SET x=3
        c> SET x=4
        a> FLUSH x
        a< SET x=1
        a< SET x=2
        a< <CUT>
        b< SET x=1
        b< SET x=2
        b< SET x=3
        b< SET x=4
        log {a}: output queue is full, closed
        ",
    );
    world.queue("b").lines_max = 0;
    world.run("b> FLUSH x\n b< <CUT>\n log {b}: output queue is full, closed");
}

#[test]
fn several_full_queues_are_closed_at_once() {
    let mut world = run("+ a ro\n + b ro\n + c ro\n + d rw");
    for name in ["a", "b", "c"] {
        world.run(&format!("{name}> LISTEN x"));
        world.queue(name).lines_max = usize::from(name == "b");
    }
    world.run("d> SET x=1\n a< <CUT>\n b< SET x=1\n c< <CUT>");
}

#[test]
fn a_monitor_whose_queue_is_full_does_not_stop_the_others() {
    let mut world = run("+ m admin\n m> MONITOR\n m< DEBUG {m}=MONITOR\n + a rw\n m< DEBUG CONNECTED={a}");
    world.queue("m").lines_max = 0;
    world.run("a> FLUSH x\n a< FLUSHED x\n m< <CUT>");
    // It is its own line that a monitor has no room for.
    let mut world = run("+ m admin\n m> MONITOR\n m< DEBUG {m}=MONITOR");
    world.queue("m").lines_max = 0;
    assert_eq!(world.send("m", b"RETRIEVE k"), Flow::Closed);
    assert_eq!(world.take("m"), ["<CUT>"]);
}

#[test]
fn a_client_without_room_for_an_answer_is_closed() {
    let mut world = World::default();
    world.connect("a");
    world.take("a");
    world.queue("a").lines_max = 0;
    world.run("a> OVERHEAD A {admin}\n a< <CUT>");
}

#[test]
fn a_long_list_waits_for_room() {
    let mut world = run("+ a admin\n + b admin");
    for n in 0..500 {
        world.send("b", format!("STORE key{n:03}=x").as_bytes());
    }
    world.queue("a").list_max = 100;
    assert_eq!(world.send("a", b"KEYLIST"), Flow::Paused);
    let mut lines = world.take("a");
    assert!((100..200).contains(&lines.len()), "{}", lines.len());
    // Meanwhile keys come and go, and deliveries go on.
    world.run(
        "a> LISTEN s\n b> SET s=1\n b> REMOVE key499\n b> STORE aaa=1\n b> STORE key4985=1\n a< SET s=1",
    );
    let mut rounds = 0;
    while world.resume("a") == Flow::Paused {
        lines.extend(world.take("a"));
        rounds += 1;
    }
    lines.extend(world.take("a"));
    assert!(rounds >= 2, "{rounds}");
    assert_eq!(lines.first().map(String::as_str), Some("KEYLISTSTART"));
    assert_eq!(lines.last().map(String::as_str), Some("KEYLISTEND"));
    let expected: Vec<_> =
        (0..499).map(|n| format!("KEY key{n:03}")).chain(["KEY key4985".to_owned()]).collect();
    assert_eq!(lines[1..lines.len() - 1], expected);
    assert_eq!(world.resume("a"), Flow::Open, "there is nothing to go on with");
}

#[test]
fn a_long_list_of_clients_waits_for_room() {
    let mut world = run("+ a admin");
    for n in 0..300 {
        world.log_in(&format!("c{n}"), "ro");
    }
    world.queue("a").list_max = 70;
    let mut flow = world.send("a", b"CLIENTLIST");
    let mut lines = world.take("a");
    while flow == Flow::Paused {
        flow = world.resume("a");
        lines.extend(world.take("a"));
    }
    assert_eq!(lines.len(), 303);
    let cids: Vec<_> = lines[1..302].iter().map(|line| line.split(';').next()).collect();
    assert!(cids.is_sorted(), "{cids:?}");
}

#[test]
fn a_list_that_the_queue_refuses_closes() {
    let mut world = run("+ a admin");
    for n in 0..100 {
        world.send("a", format!("STORE key{n:03}=x").as_bytes());
    }
    world.queue("a").lines_max = 50;
    assert_eq!(world.send("a", b"KEYLIST"), Flow::Closed);
    assert_eq!(world.take("a").last().map(String::as_str), Some("<CUT>"));
    assert_eq!(world.resume("a"), Flow::Closed);
}

#[test]
fn a_full_cache_refuses_and_says_so() {
    let mut world = World::new(Settings::default(), Store::new(Some(1000)));
    world.run("+ a rw\n + b admin\n b> LISTEN big\n link b\n log {a}: logged in as rwuser\n log {b}: logged in as admin");
    let big = "x".repeat(1000);
    for command in ["STORE", "SETANDSTORE"] {
        world.run(&format!(
            "a> {command} big={big}\n a< OVERHEAD E cache_full\n log {{a}}: cache is full, command refused"
        ));
    }
    world.run("a> STORE small=1\n b< STORE small=1\n a> RETRIEVE small\n a< RETRIEVED small=1");
}

#[test]
fn names_to_listen_to_are_limited() {
    let settings = Settings { names_bytes_max: 402, ..Settings::default() };
    let mut world = World::new(settings, Store::default());
    world.run(
        "
        + a ro
        log {a}: logged in as rouser
        a> LISTEN x
        a> LISTEN y
        a> LISTEN z
        a< OVERHEAD E too_many_names
        log {a}: listens to too many names, LISTEN refused
        a> UNLISTEN x
        a> LISTEN z
        a> LISTEN z
        + b rw
        b> SET x=1
        b> SET z=1
        a< SET z=1
        + s admin
        link s
        s> LISTEN x
        s> LISTEN x
        s> LISTEN y
        s> LISTEN z
        s< OVERHEAD E too_many_names
        s> UNLISTEN y
        s> LISTEN z
        ",
    );
}

#[test]
fn no_client_fills_the_log_or_the_list_of_clients() {
    let mut world = run("+ a ro");
    world.out.events.clear();
    for _ in 0..1000 {
        world.send("a", b"OVERHEAD E oops");
    }
    assert_eq!(world.out.events.len(), 20);
    world.run("a> PING\n @ 60\n a< NOP");
    world.out.events.clear();
    world.send("a", format!("OVERHEAD E {}", "x".repeat(100_000)).as_bytes());
    assert_eq!(world.out.events.len(), 1, "after a minute it is logged again");
    assert!(world.out.events[0].len() < 500);

    let mut world = run("+ a admin");
    world.send("a", format!("CLACKS {}", "x".repeat(100_000)).as_bytes());
    world.send("a", b"CLIENTLIST");
    let lines = world.take("a");
    assert!(lines[1].contains("CLIENTINFO=xxx") && lines[1].len() < 1500, "{}", lines[1].len());
}

#[test]
fn what_concerns_a_whole_large_cache_leaves_turns_to_others() {
    let mut world = run("+ a admin");
    for n in 0..5000 {
        world.send("a", format!("REMOVE k{n:04}").as_bytes());
    }
    world.send("a", b"STORE k4998=1");
    let mut turns = 1;
    let mut flow = world.send("a", b"KEYLIST");
    while std::mem::take(&mut world.queue("a").resumes) {
        assert_eq!(flow, Flow::Paused);
        flow = world.resume("a");
        turns += 1;
    }
    assert_eq!(flow, Flow::Open);
    assert_eq!(world.take("a"), ["KEYLISTSTART", "KEY k4998", "KEYLISTEND"]);
    assert!((4..10).contains(&turns), "{turns} turns");

    world.send("a", b"CLEARCACHE");
    assert_eq!(world.out.tidies, 1);
    // It is gone at once, and what comes after it stays.
    world.send("a", b"STORE k1=2");
    world.run("a> KEYLIST\n a< KEYLISTSTART\n a< KEY k1\n a< KEYLISTEND\n a> RETRIEVE k4998\n a< NOTRETRIEVED k4998");
    let mut turns = 1;
    while world.state.tidy() {
        turns += 1;
    }
    assert!((2..10).contains(&turns), "{turns} turns");
    world.run("a> RETRIEVE k1\n a< RETRIEVED k1=2");
}

#[test]
fn limits_of_any_size_are_kept() {
    let settings = Settings {
        ping_timeout: Duration::MAX,
        interclacks_ping_timeout: Duration::MAX,
        auth_timeout: Duration::MAX,
        stalled_write_timeout: Duration::MAX,
        interclacks_stalled_write_timeout: Duration::MAX,
        nop_interval: Duration::MAX,
        ..Settings::default()
    };
    let mut world = World::new(settings, Store::default());
    world.connect("a");
    world.take("a");
    world.run("@ 1000000000");
}
