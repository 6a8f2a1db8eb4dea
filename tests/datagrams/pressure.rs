//! Receivers that take nothing: the others go on, and what waits has limits.

use crate::bed::{Log, settle, until, until_empty};
use crate::stage::{add, notes, plain_unix, unix};
use eventdispatcher::{Blocking, BlockingError, Communicator, Limits, SendError, UnixAddress, UnixPackets};
use std::time::Duration;

#[test]
fn who_takes_nothing_keeps_nobody_else_waiting_and_gets_its_packets_in_order_later() {
    let folder = tempfile::tempdir().unwrap();
    let communicator = Communicator::new().unwrap();
    let log = Log::default();
    let slow = plain_unix(&folder.path().join("slow"));
    let to_slow = UnixAddress::file(folder.path().join("slow")).unwrap();
    let (id, _) = add(&communicator, unix(&folder.path().join("sender")), notes(&log));
    let (_, other) = add(&communicator, unix(&folder.path().join("other")), notes(&log));
    for n in 0..2000_u32 {
        communicator.send(id, (&n.to_le_bytes(), &to_slow)).unwrap();
    }
    settle(&communicator);
    let queued = communicator.queued_bytes(id);
    assert!(queued > 100_000, "{queued}");
    for n in 0..3 {
        communicator.send(id, (&[b'0' + n], &other)).unwrap();
        let got = format!("got {n}");
        until(&communicator, || log.has(&got));
    }
    assert_eq!(communicator.queued_bytes(id), queued);
    slow.set_nonblocking(true).unwrap();
    let mut next = 0_u32;
    until(&communicator, || {
        let mut packet = [0; 4];
        while slow.recv(&mut packet).is_ok() {
            assert_eq!(u32::from_le_bytes(packet), next);
            next += 1;
        }
        next == 2000
    });
    until(&communicator, || communicator.queued_bytes(id) == 0);
}

#[test]
fn a_queue_has_its_limit_and_is_said_to_be_drained() {
    let folder = tempfile::tempdir().unwrap();
    let communicator = Communicator::new().unwrap();
    let log = Log::default();
    let slow = plain_unix(&folder.path().join("slow"));
    let to = UnixAddress::file(folder.path().join("slow")).unwrap();
    let (id, _) = add(&communicator, unix(&folder.path().join("sender")), notes(&log));
    communicator
        .set_limits(id, Limits { output: 50_000, high_water: 20_000, low_water: 5000, ..Limits::default() });
    let mut sent = 0;
    let full = loop {
        match communicator.send(id, (&[0; 1000], &to)) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        settle(&communicator);
    };
    assert!(matches!(full, SendError::Full { queued } if (50_000..52_000).contains(&queued)), "{full:?}");
    assert!(!log.has("drained"));
    slow.set_nonblocking(true).unwrap();
    let mut taken = 0;
    until(&communicator, || {
        let mut packet = [0; 2000];
        while slow.recv(&mut packet).is_ok() {
            taken += 1;
        }
        taken == sent
    });
    until(&communicator, || log.has("drained"));
    assert_eq!(log.count("drained"), 1);
}

#[test]
fn who_takes_nothing_for_too_long_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let communicator = Communicator::new().unwrap();
    let log = Log::default();
    let dead = plain_unix(&folder.path().join("dead"));
    let to = UnixAddress::file(folder.path().join("dead")).unwrap();
    let socket = unix(&folder.path().join("sender")).patience(Duration::from_millis(30));
    let (id, _) = add(&communicator, socket, notes(&log));
    for _ in 0..2000 {
        communicator.send(id, (b"x", &to)).unwrap();
    }
    until(&communicator, || log.has(&format!("undelivered to {to}: TimedOut")));
    until(&communicator, || communicator.queued_bytes(id) == 0);
    assert!(communicator.is_alive(id));
    drop(dead);
    // And it rests: nothing is tried any more.
    settle(&communicator);
    assert_eq!(communicator.wait_hint(), None);
}

#[test]
fn what_waits_is_sent_though_the_socket_is_closed_or_switched_off() {
    let folder = tempfile::tempdir().unwrap();
    for close in [true, false] {
        let communicator = Communicator::new().unwrap();
        let log = Log::default();
        let path = folder.path().join(format!("slow{close}"));
        let (slow, to) = (plain_unix(&path), UnixAddress::file(&path).unwrap());
        let (id, _) = add(&communicator, unix(&folder.path().join("sender")), notes(&log));
        for n in 0..1000_u32 {
            communicator.send(id, (&n.to_le_bytes(), &to)).unwrap();
        }
        settle(&communicator);
        if close {
            communicator.close(id)
        } else {
            communicator.enable(id, false)
        };
        slow.set_nonblocking(true).unwrap();
        let mut next = 0_u32;
        until(&communicator, || {
            let mut packet = [0; 4];
            while slow.recv(&mut packet).is_ok() {
                assert_eq!(u32::from_le_bytes(packet), next);
                next += 1;
            }
            next == 1000
        });
        if close {
            until_empty(&communicator);
        } else {
            until(&communicator, || communicator.queued_bytes(id) == 0);
        }
    }
}

#[test]
fn without_a_loop_a_receiver_that_takes_nothing_is_waited_for_no_longer_than_it_was_said() {
    let folder = tempfile::tempdir().unwrap();
    let slow = plain_unix(&folder.path().join("slow"));
    let to = UnixAddress::file(folder.path().join("slow")).unwrap();
    let mut client = Blocking::new(unix(&folder.path().join("client")), UnixPackets::new()).unwrap();
    for n in 0..1000_u32 {
        client.queue((&n.to_le_bytes(), &to)).unwrap();
    }
    let late = client.flush(Duration::from_millis(20));
    assert!(matches!(late, Err(BlockingError::TimedOut)), "{late:?}");
    let reader = std::thread::spawn(move || {
        for n in 0..1000_u32 {
            let mut packet = [0; 4];
            slow.recv(&mut packet).unwrap();
            assert_eq!(u32::from_le_bytes(packet), n);
        }
    });
    client.flush(crate::bed::DEADLINE).unwrap();
    reader.join().unwrap();
}
