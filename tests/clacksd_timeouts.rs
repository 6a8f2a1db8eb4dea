//! The time limits of clacksd, shortened by its configuration: nothing happens too early, and everything happens.
//!
//! That a quiet client gets a `NOP` each minute can't be configured: the tests of the server's state show it.
#![cfg(all(feature = "clacks", feature = "cli"))]

mod support;

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use support::talk::{check_lines, check_well, clacksd, discarded, line, line_with, monitor};
use support::{Clacksd, Client, text};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A client that is greeted and has not logged in, and when it began to connect.
#[track_caller]
fn greeted(server: &mut Clacksd) -> (Client, Instant) {
    drop(server.connect()); // it listens
    let begin = Instant::now();
    let mut client = server.connect().unwrap();
    line_with(&mut client, "Authentication required");
    (client, begin)
}

/// Nothing comes from the server for this time, and it does not close.
#[track_caller]
fn check_silence(client: &mut Client, time: Duration) {
    assert!(client.is_silent_for(time).unwrap(), "the server has closed");
}

#[test]
fn who_does_not_log_in_is_closed() {
    let mut server = clacksd("<authtimeout>0.5</authtimeout>");
    let mut member = server.join("member", "rw").unwrap();
    let token = format!("OVERHEAD A {}", text::token("rw"));
    let first = [
        "",
        "CLACKS me\r\n",
        "CLACKS half a line",
        "OVERHEAD A",
        "PING\r\nNOPING\r\nFLUSH a\r\nSTORE a=1\r\n",
        &token,
    ];
    let clients = first.map(|first| {
        let (client, begin) = greeted(&mut server);
        client.stream().write_all(first.as_bytes()).unwrap();
        (first, client, begin)
    });
    for (first, mut client, begin) in clients {
        check_lines(&mut client, &["<EOF>"]);
        let after = begin.elapsed();
        assert!(after >= ms(500), "{first:?}: closed after {after:?} already");
    }
    // It is not the silence that counts.
    let (mut client, begin) = greeted(&mut server);
    while client.is_silent_for(ms(50)).unwrap() {
        let _ = client.stream().write_all(b"PING\r\nx"); // it may just have been closed
        assert!(begin.elapsed() < ms(20_000), "it is still there");
    }
    assert!(begin.elapsed() >= ms(500), "closed after {:?} already", begin.elapsed());
    // Who has logged in may be silent.
    member.barrier().unwrap();
    check_well(&mut server);
}

#[test]
fn who_does_not_ping_is_told_and_closed() {
    let mut server = clacksd("<pingtimeout>0.6</pingtimeout>");
    // Other lines are no sign of life, nor is half of one.
    let first = ["", "STORE a=1\r\nNOP\r\n", "STORE a=", "PIN", "NOPING\r\nPING\r\n"];
    let clients = first.map(|first| {
        let begin = Instant::now();
        let client = server.join("client", "rw").unwrap();
        client.stream().write_all(first.as_bytes()).unwrap();
        (first, client, begin)
    });
    for (first, mut client, begin) in clients {
        check_lines(&mut client, &["", "TIMEOUT", "<EOF>"]);
        let after = begin.elapsed();
        assert!(after >= ms(600), "{first:?}: closed after {after:?} already");
    }
    check_well(&mut server);
}

#[test]
fn noping_suspends_the_ping_timeout_until_the_next_ping() {
    let mut server = clacksd("<pingtimeout>0.4</pingtimeout>");
    let mut silent = server.join("silent", "rw").unwrap();
    silent.send(b"NOPING\r\n").unwrap();
    silent.barrier().unwrap();
    check_silence(&mut silent, ms(1000));
    silent.barrier().unwrap();
    let begin = Instant::now();
    silent.send(b"PING\r\n").unwrap();
    check_lines(&mut silent, &["", "TIMEOUT", "<EOF>"]);
    assert!(begin.elapsed() >= ms(400), "closed after {:?} already", begin.elapsed());
}

#[test]
fn who_pings_stays() {
    let mut server = clacksd("<pingtimeout>1.5</pingtimeout>");
    let mut client = server.join("client", "rw").unwrap();
    for _ in 0..5 {
        check_silence(&mut client, ms(400));
        client.send(b"PING\r\n").unwrap();
    }
    client.barrier().unwrap();
}

#[test]
fn who_takes_no_output_is_closed_also_after_noping() {
    let mut server = clacksd("<stalledwritetimeout>0.5</stalledwritetimeout><pingtimeout>60</pingtimeout>");
    let mut watching = monitor(&mut server);
    for first in ["", "NOPING\r\n"] {
        let mut client = server.join("client", "rw").unwrap();
        client.send(format!("{first}LISTEN a\r\n").as_bytes()).unwrap();
        client.barrier().unwrap();
        let begin = Instant::now();
        let value = "x".repeat(1 << 20);
        watching.send(format!("SET a={value}\r\n").as_bytes()).unwrap();
        let lost = discarded(&mut watching);
        assert!(begin.elapsed() >= ms(500), "closed after {:?} already", begin.elapsed());
        assert!((1 << 18..1 << 20).contains(&lost), "{lost} bytes were lost");
        // What was on its way comes, and nothing after it.
        let mut got = Vec::new();
        client.stream().read_to_end(&mut got).unwrap();
        assert_eq!(got.len(), "SET a=\r\n".len() + value.len() - lost);
    }
    let log = server.log();
    assert_eq!(log.matches("takes no output, closed").count(), 2, "{log}");
    check_well(&mut server);
}

#[test]
fn who_takes_output_slowly_is_not_stalled() {
    const LINE: usize = 4 << 20;
    let mut server = clacksd("<stalledwritetimeout>1.2</stalledwritetimeout>");
    let mut sender = server.join("sender", "rw").unwrap();
    let client = server.join("client", "rw").unwrap();
    client.stream().write_all(b"LISTEN a\r\nFLUSH a\r\n").unwrap();
    let mut stream = client.stream();
    let mut flushed = [0; 11];
    stream.read_exact(&mut flushed).unwrap();
    sender.send(format!("SET a={}\r\n", "x".repeat(LINE)).as_bytes()).unwrap();
    // All that its socket holds, and then a pause: in all longer than the limit.
    let mut got = 0;
    let begin = Instant::now();
    let mut piece = vec![0; 1 << 20];
    let wanted = LINE + "SET a=\r\n".len();
    while got < wanted {
        let part = (wanted - got).min(piece.len());
        stream.read_exact(&mut piece[..part]).unwrap_or_else(|error| {
            panic!("after {got} bytes and {:?}: {error}", begin.elapsed());
        });
        got += part;
        check_silence(&mut sender, ms(400));
    }
    assert!(begin.elapsed() > ms(1200), "that was too fast to show anything");
    check_well(&mut server);
}

#[test]
fn who_has_said_quit_is_left_when_it_takes_nothing_more_for_the_time_of_a_stalled_client() {
    let mut server = clacksd("<stalledwritetimeout>0.5</stalledwritetimeout>");
    let begin = Instant::now();
    for (number, end) in ["QUIT\r\n", ""].into_iter().enumerate() {
        let client = server.join("client", "rw").unwrap();
        client.stream().write_all(format!("STORE a={}\r\n", "x".repeat(4 << 20)).as_bytes()).unwrap();
        client.stream().write_all(format!("RETRIEVE a\r\n{end}").as_bytes()).unwrap();
        if end.is_empty() {
            client.half_close().unwrap();
        }
        let begin = Instant::now();
        while server.log().matches("the other side took no more").count() <= number {
            assert!(begin.elapsed() < ms(8000), "it is still written to");
            check_well(&mut server);
        }
        assert!(begin.elapsed() >= ms(500), "{end:?}: left after {:?} already", begin.elapsed());
    }
    assert!(begin.elapsed() < ms(8000), "that took {:?}", begin.elapsed());
}

#[test]
fn old_entries_are_forgotten() {
    let settings = "<deletedcachetime>0.3</deletedcachetime><stalecachetime>1</stalecachetime>\
         <cachecleaninterval>0.1</cachecleaninterval>";
    let mut server = clacksd(settings);
    let mut client = monitor(&mut server);
    let next = |client: &mut Client| line_with(client, "SERVERCACHE");
    let begin = Instant::now();
    client.send(b"STORE stale=1\r\nSTORE removed=1\r\nREMOVE removed\r\nSTORE asked for=1\r\n").unwrap();
    assert_eq!(next(&mut client), "DEBUG SERVERCACHE=CLEANDELETED=removed");
    assert!(begin.elapsed() >= ms(300), "after {:?} already", begin.elapsed());
    let asked = Instant::now();
    client.send(b"RETRIEVE asked for\r\n").unwrap();
    line_with(&mut client, "RETRIEVED asked for=1");
    assert_eq!(next(&mut client), "DEBUG SERVERCACHE=CLEANSTALE=stale");
    assert!(begin.elapsed() >= ms(1000), "after {:?} already", begin.elapsed());
    assert_eq!(next(&mut client), "DEBUG SERVERCACHE=CLEANSTALE=asked for");
    assert!(asked.elapsed() >= ms(1000), "after {:?} already", asked.elapsed());
    client.send(b"UNMONITOR\r\nRETRIEVE stale\r\nKEYLIST\r\n").unwrap();
    check_lines(&mut client, &["NOTRETRIEVED stale", "KEYLISTSTART", "KEYLISTEND"]);

    // At once, where nothing is to be kept.
    let mut server =
        clacksd("<deletedcachetime>0</deletedcachetime><cachecleaninterval>0.01</cachecleaninterval>");
    let mut client = monitor(&mut server);
    client.send(b"REMOVE never there\r\n").unwrap();
    assert_eq!(line_with(&mut client, "SERVERCACHE"), "DEBUG SERVERCACHE=CLEANDELETED=never there");
}

#[test]
fn many_old_entries_are_forgotten_in_several_turns() {
    const KEYS: usize = 20_000;
    let mut server =
        clacksd("<stalecachetime>1</stalecachetime><cachecleaninterval>0.3</cachecleaninterval>");
    let mut client = server.join("client", "rw").unwrap();
    let mut watching = monitor(&mut server);
    watching.send(b"UNMONITOR\r\n").unwrap();
    watching.barrier().unwrap();
    let all: String = (0..KEYS).map(|n| format!("STORE {n:05}=\r\n")).collect();
    client.send(all.as_bytes()).unwrap();
    client.barrier().unwrap();
    watching.send(b"MONITOR\r\n").unwrap();
    assert!(line(&mut watching).ends_with("=MONITOR"));
    let mut forgotten: Vec<_> = (0..KEYS).map(|_| line_with(&mut watching, "SERVERCACHE")).collect();
    // Those that came while a round was on its way waited for the next one.
    forgotten.sort();
    let each = (0..KEYS).map(|n| format!("DEBUG SERVERCACHE=CLEANSTALE={n:05}"));
    assert!(forgotten.into_iter().eq(each), "each is forgotten once");
    client.send(b"KEYLIST\r\n").unwrap();
    check_lines(&mut client, &["KEYLISTSTART", "KEYLISTEND"]);
}
