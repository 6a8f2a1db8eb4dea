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
