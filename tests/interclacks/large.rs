//! Large caches: nobody else waits, and memory has its bounds.

use std::time::{Duration, Instant};

use eventdispatcher::connections::clacks::ServerLimits;

use crate::node::{Node, Plan};

const ENTRIES: usize = 60_000;

#[test]
fn a_master_that_sends_a_large_cache_goes_on_with_its_clients() {
    let master = Node::running(Plan { entries: ENTRIES, ..Plan::default() });
    let mut user = master.join("user");
    let slave = Node::running(Plan::slave_of(&master.socket()));
    let begin = Instant::now();
    let mut longest = Duration::ZERO;
    let mut rounds = 0;
    // While the slave is sent the cache, it answers nobody; the master answers all the time.
    let waiting = std::thread::spawn(move || {
        let mut user = slave.join("waiting");
        user.waits_for(&format!("key{:07}", ENTRIES - 1), Some("a value that is neither short nor long"));
        slave
    });
    while !waiting.is_finished() {
        let asked = Instant::now();
        user.say("PING");
        longest = longest.max(asked.elapsed());
        rounds += 1;
    }
    let slave = waiting.join().unwrap();
    let all = begin.elapsed();
    println!("{ENTRIES} entries in {all:?}; {rounds} answers meanwhile, the slowest after {longest:?}");
    assert!(rounds > 20, "the master answered {rounds} times in {all:?}");

    // Nothing of it comes back to the master, and it is the same on both sides.
    let mut user = slave.join("user");
    for n in [0, 1, ENTRIES / 2, ENTRIES - 1] {
        assert!(user.value(&format!("key{n:07}")).is_some(), "{n}");
    }
}

#[test]
fn a_slave_that_does_not_read_costs_the_master_no_more_than_its_queue() {
    let limits = ServerLimits { max_out_buffer: 1 << 20, ..ServerLimits::default() };
    let master = Node::running(Plan { entries: ENTRIES, limits, ..Plan::default() });
    let mut user = master.join("user");
    let mut slave = master.join("slave");
    slave.send("OVERHEAD I 1");
    slave.gets_with("OVERHEAD L 1");
    user.send("CLIENTLIST");
    let line = user.gets_with("CLIENTINFO=wire_slave;");
    let queued = line.split("OUTBUFFER_LENGTH=").nth(1).and_then(|rest| rest.split(';').next());
    let queued: usize = queued.unwrap().parse().unwrap();
    assert!(queued <= 512 << 10, "{queued} bytes of a cache of {} wait", ENTRIES * 80);
    // When it reads, it gets all.
    let mut entries = 0;
    loop {
        let line = slave.0.line().unwrap().unwrap();
        if line == b"OVERHEAD L 0" {
            break;
        }
        entries += usize::from(line.starts_with(b"KEYSYNC "));
    }
    assert_eq!(entries, ENTRIES);
}

/// A server that takes lines of so many bytes.
fn plan(max_line: usize) -> Plan {
    Plan { limits: ServerLimits { max_line, ..ServerLimits::default() }, ..Plan::default() }
}

#[test]
fn an_entry_of_the_longest_line_that_is_taken_gets_to_all_linked_servers() {
    const MOST: usize = 1024;
    let longest = |key: &str| "x".repeat(MOST - format!("SETANDSTORE {key}=").len());
    let mut master = Node::running(plan(MOST));
    let mut slave = Node::running(plan(MOST));
    let slave_socket = slave.socket();
    slave.kill();
    slave.start(Plan { master: Some(master.socket()), ..plan(MOST) });
    let below = Node::running(Plan { master: Some(slave_socket), ..plan(MOST) });
    master.wait_for_links(1);
    below.wait_for_links(1);
    // As changes that are passed on.
    let mut users = [master.join("above"), slave.join("between"), below.join("below")];
    for (at, key) in ["a", "b", "c"].into_iter().enumerate() {
        users[at].say(&format!("SETANDSTORE {key}={}", longest(key)));
        for user in &mut users {
            user.waits_for(key, Some(&longest(key)));
        }
    }
    // As entries of caches, in both directions.
    drop(users);
    master.kill();
    let mut above = {
        master.start(plan(MOST));
        master.join("above")
    };
    for key in ["a", "b", "c"] {
        above.waits_for(key, Some(&longest(key)));
    }
    slave.kill();
    slave.start(Plan { master: Some(master.socket()), ..plan(MOST) });
    let mut between = slave.join("between");
    for key in ["a", "b", "c"] {
        between.waits_for(key, Some(&longest(key)));
    }
    below.wait_for_links(1);
}

#[test]
fn a_link_has_room_for_the_words_before_an_entry_and_not_for_more() {
    let node = Node::running(plan(1024));
    let line = |length: usize| {
        let line = "KEYSYNC 1700000000.123456 1700000000.654321 U k=";
        format!("{line}{}", "x".repeat(length - line.len()))
    };
    let mut slave = node.join("slave");
    // Who is no link has none.
    slave.send(&line(1025));
    slave.gets("OVERHEAD E line_too_long");
    slave.gets("<EOF>");
    let mut slave = node.join("slave");
    slave.send(&format!("OVERHEAD I 1\r\n{}\r\nFLUSH here", line(1024 + 1024)));
    slave.gets_with("FLUSHED here");
    let mut user = node.join("user");
    assert_eq!(user.value("k").map(|value| value.len()), Some(2048 - line(1024).find('x').unwrap()));
    slave.send(&line(1024 + 1025));
    slave.gets("OVERHEAD E line_too_long");
    slave.gets("<EOF>");
}
