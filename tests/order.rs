//! The order of a turn, and that nobody has to wait longer than it says.

mod bed;

use bed::{Log, assert_log, pass, settle, tcp, turn, unix, until, until_empty};
use eventdispatcher::codec::{Lines, Raw};
use eventdispatcher::{Budget, Communicator, Id, Limits, Signal, on_item, unix_stream};
use nix::sys::signal::{Signal as Raise, raise};
use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

/// Connections that write down what they get, each with its name; all established, the log empty.
fn named(communicator: &Communicator, log: &Log, connections: &[(&str, u8)]) -> Vec<(Id<Lines>, UnixStream)> {
    let made = connections
        .iter()
        .map(|&(name, priority)| {
            let (id, peer) = unix(communicator, Lines::new(), log.probe(name));
            communicator.set_priority(id, priority);
            (id, peer)
        })
        .collect();
    settle(communicator);
    log.take();
    made
}

fn some_budget(callbacks: usize) -> Budget {
    Budget { callbacks, time: Duration::MAX, ..Budget::default() }
}

#[test]
fn priorities_come_first_and_then_who_has_been_ready_for_longer() {
    // Names and priorities in the order of the additions; who becomes ready when; who is called when.
    fn check(connections: &[(&str, u8)], written: &[usize], expected: &[&str]) {
        let (communicator, log) = (Communicator::new().unwrap(), Log::default());
        let mut peers = named(&communicator, &log, connections);
        for &at in written {
            peers[at].1.write_all(b"x\n").unwrap();
        }
        turn(&communicator);
        let expected: Vec<String> = expected.iter().map(|name| format!("{name} \"x\"")).collect();
        assert_eq!(log.take(), expected, "{connections:?}, {written:?}");
    }
    check(&[("a", 100), ("b", 100), ("c", 100)], &[0, 1, 2], &["a", "b", "c"]);
    check(&[("a", 100), ("b", 100), ("c", 100)], &[2, 0, 1], &["c", "a", "b"]);
    check(&[("a", 30), ("b", 20), ("c", 10)], &[0, 1, 2], &["c", "b", "a"]);
    check(&[("a", 255), ("b", 0), ("c", 254), ("d", 1)], &[0, 1, 2, 3], &["b", "d", "c", "a"]);
    check(&[("a", 7), ("b", 5), ("c", 7), ("d", 5)], &[2, 3, 0, 1], &["d", "b", "c", "a"]);
}

#[test]
fn every_kind_stands_in_one_order() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let mut peers = named(&communicator, &log, &[("stream 5", 5), ("stream 100", 100), ("stream 255", 255)]);
    let says = |what: &str| {
        let (log, what) = (log.clone(), what.to_string());
        move |_: &Communicator| log.say(what)
    };
    let signals = communicator
        .signals([Signal::USR1], {
            let log = log.clone();
            move |signal, _| log.say(format!("signal 4 {signal}"))
        })
        .unwrap();
    communicator.set_priority(signals, 4);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = communicator
        .listen_unix(&path, {
            let log = log.clone();
            move |_| {
                log.say("listener 6");
                Ok(())
            }
        })
        .unwrap();
    communicator.set_priority(listener, 6);
    settle(&communicator);

    let _client = UnixStream::connect(&path).unwrap();
    for (_, peer) in &mut peers {
        peer.write_all(b"x\n").unwrap();
    }
    raise(Raise::SIGUSR1).unwrap();
    communicator.after(Duration::ZERO, says("timer 100"));
    for priority in [254, 3, 0] {
        let timer = communicator.after(Duration::ZERO, says(&format!("timer {priority}")));
        communicator.set_timer_priority(timer, priority);
    }
    turn(&communicator);
    assert_log(
        &log,
        &[
            "timer 0",
            "timer 3",
            "signal 4 SIGUSR1",
            "stream 5 \"x\"",
            "listener 6",
            "timer 100",
            "stream 100 \"x\"",
            "timer 254",
            "stream 255 \"x\"",
        ],
    );
}

#[test]
fn in_one_priority_leftovers_come_before_timers_and_timers_before_news() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let mut peers = named(&communicator, &log, &[("new", 100), ("left over", 100)]);
    communicator.set_budget(peers[1].0, some_budget(1));
    peers[1].1.write_all(b"1\n2\n").unwrap();
    turn(&communicator);
    assert_log(&log, &["left over \"1\""]);

    peers[0].1.write_all(b"x\n").unwrap();
    let says = |what: &'static str| {
        let log = log.clone();
        move |_: &Communicator| log.say(what)
    };
    communicator.after(Duration::from_millis(2), says("second timer"));
    communicator.after(Duration::from_millis(1), says("first timer"));
    communicator.at(SystemTime::UNIX_EPOCH, says("date")).unwrap();
    pass(Duration::from_millis(4));
    turn(&communicator);
    assert_log(&log, &["left over \"2\"", "first timer", "second timer", "date", "new \"x\""]);
}

#[test]
fn a_change_of_priority_counts_from_the_next_turn_on() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let mut peers = named(&communicator, &log, &[("middle", 20), ("last", 30)]);
    let last = peers[1].0;
    let first = log.probe("first").on_message(move |_, cx| {
        assert!(cx.set_priority(last, 0) && cx.set_priority(cx.id(), 40));
        Ok(())
    });
    let (id, mut peer) = unix(&communicator, Lines::new(), first);
    communicator.set_priority(id, 10);
    settle(&communicator);
    log.take();

    for expected in
        [["first \"x\"", "middle \"x\"", "last \"x\""], ["last \"x\"", "middle \"x\"", "first \"x\""]]
    {
        for stream in peers.iter_mut().map(|(_, peer)| peer).chain([&mut peer]) {
            stream.write_all(b"x\n").unwrap();
        }
        turn(&communicator);
        assert_log(&log, &expected);
    }
    assert_eq!((communicator.priority(last), communicator.priority(id)), (Some(0), Some(40)));
}

#[test]
fn nobody_is_called_twice_before_the_others() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let mut peers = named(&communicator, &log, &[("a", 100), ("b", 100), ("c", 200), ("d", 0)]);
    for (id, peer) in &mut peers {
        communicator.set_budget(*id, some_budget(1));
        peer.write_all(b"1\n2\n3\n").unwrap();
    }
    let mut seen = Vec::new();
    for _ in 0..3 {
        turn(&communicator);
        seen.extend(log.take());
    }
    let expected: Vec<String> =
        (1..=3).flat_map(|n| ["d", "a", "b", "c"].map(|name| format!("{name} \"{n}\""))).collect();
    assert_eq!(seen, expected);
    turn(&communicator);
    assert_log(&log, &[]);
}

#[test]
fn what_becomes_ready_in_a_turn_is_called_in_the_next() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let mut peers = named(&communicator, &log, &[("last", 200), ("news", 0)]);
    let (ours, mut added_peer) = UnixStream::pair().unwrap();
    added_peer.write_all(b"x\n").unwrap();
    let maker = log.probe("maker").on_message({
        let (log, mut news, mut ours) = (log.clone(), peers[1].1.try_clone().unwrap(), Some(ours));
        move |_, cx| {
            // All of them would be called before the rest of this turn, were they called in it.
            news.write_all(b"x\n")?;
            let says = log.clone();
            let timer = cx.communicator().after(Duration::ZERO, move |_| says.say("timer"));
            cx.set_timer_priority(timer, 0);
            let ours = unix_stream(ours.take().ok_or("called twice")?)?;
            let added = cx.stream(ours, Lines::new(), log.probe("added"))?;
            cx.set_priority(added, 0);
            Ok(())
        }
    });
    let (_, mut peer) = unix(&communicator, Lines::new(), maker);
    settle(&communicator);
    log.take();
    peer.write_all(b"x\n").unwrap();
    peers[0].1.write_all(b"x\n").unwrap();
    turn(&communicator);
    assert_log(&log, &["maker \"x\"", "last \"x\""]);
    turn(&communicator);
    assert_log(&log, &["added connected", "added \"x\"", "timer", "news \"x\""]);
}

#[test]
fn one_call_hands_over_everything_in_a_fixed_order() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let probe = log.probe("").on_eof(|_| Ok(())).on_timeout(|_, _| Ok(())).on_drained(|cx| {
        cx.close();
        Ok(())
    });
    let (id, mut peer) = unix(&communicator, Lines::new(), probe);
    communicator.set_limits(id, Limits { high_water: 1, low_water: 0, ..Limits::default() });
    peer.write_all(b"early\n").unwrap();
    communicator.timer(id, Duration::ZERO, 1);
    turn(&communicator);
    assert_log(&log, &["connected", "\"early\""]);
    // What was over before it was established comes when it is.
    turn(&communicator);
    assert_log(&log, &["Timer(1)"]);

    communicator.enable(id, false);
    peer.write_all(b"one\ntwo\n").unwrap();
    peer.shutdown(std::net::Shutdown::Write).unwrap();
    communicator.send(id, "answer").unwrap();
    communicator.timer(id, Duration::ZERO, 2);
    communicator.timer(id, Duration::ZERO, 3);
    communicator.set_deadline(id, Some(Instant::now()));
    settle(&communicator);
    assert_log(&log, &[]);

    communicator.enable(id, true);
    turn(&communicator);
    assert_log(
        &log,
        &["\"one\"", "\"two\"", "eof", "Deadline", "Timer(2)", "Timer(3)", "drained", "closed: Local"],
    );
    let mut answer = String::new();
    until_empty(&communicator);
    peer.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "answer\n");
}

#[test]
fn posts_come_before_everything_and_256_in_a_turn() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let mut peers = named(&communicator, &log, &[("first", 0), ("removed", 0)]);
    let removed = peers[1].0;
    for (_, peer) in &mut peers {
        peer.write_all(b"x\n").unwrap();
    }
    let posted = Arc::new(Mutex::new(Vec::new()));
    let remote = communicator.remote().unwrap();
    for n in 0..300 {
        let posted = posted.clone();
        let post = move |communicator: &Communicator| {
            communicator.remove(removed);
            posted.lock().unwrap().push(n);
        };
        remote.post(post).unwrap();
    }
    let before = {
        let posted = posted.clone();
        move || posted.lock().unwrap().len()
    };
    let (_, mut peer) = unix(&communicator, Lines::new(), {
        let (log, before) = (log.clone(), before.clone());
        on_item::<Lines, _>(move |_, _| {
            log.say(format!("after {} posts", before()));
            Ok(())
        })
    });
    peer.write_all(b"y\n").unwrap();
    turn(&communicator);
    assert_log(&log, &["first \"x\"", "after 256 posts"]);
    peer.write_all(b"y\n").unwrap();
    turn(&communicator);
    assert_log(&log, &["after 300 posts"]);
    turn(&communicator);
    assert_eq!(*posted.lock().unwrap(), Vec::from_iter(0..300));
}

#[test]
fn output_leaves_at_the_end_of_the_turn_all_together() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let (id, mut peer) = unix(&communicator, Lines::new(), {
        log.probe("").quiet().on_message(|item, cx| {
            for _ in 0..3 {
                cx.reply(item)?;
            }
            Ok(())
        })
    });
    peer.write_all(b"a\nb\n").unwrap();
    peer.set_nonblocking(true).unwrap();
    let early = Rc::new(Cell::new(None));
    let (_, mut looks) = unix(&communicator, Lines::new(), {
        let (early, mut peer) = (early.clone(), peer.try_clone().unwrap());
        on_item::<Lines, _>(move |_, cx| {
            early.set(Some(peer.read(&mut [0; 64]).map_err(|error| error.kind())));
            cx.send(id, "c")?;
            Ok(())
        })
    });
    looks.write_all(b"look\n").unwrap();
    turn(&communicator);
    assert_eq!(early.get(), Some(Err(ErrorKind::WouldBlock)), "nothing has left while callbacks run");
    let mut got = [0; 64];
    let count = peer.read(&mut got).unwrap();
    assert_eq!(got[..count], *b"a\na\na\nb\nb\nb\nc\n");
}

/// A connection that always has more, and one that has something now and then.
#[test]
fn a_flood_takes_no_more_of_a_turn_than_its_budget() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let count = Rc::new(Cell::new(0));
    let (id, mut peer) = unix(&communicator, Lines::new(), {
        let count = count.clone();
        on_item::<Lines, _>(move |_, _| {
            count.set(count.get() + 1);
            Ok(())
        })
    });
    communicator.set_priority(id, 0);
    communicator.set_budget(id, some_budget(100));
    let mut quiet = named(&communicator, &log, &[("quiet", 255)]);
    peer.write_all(&b"x\n".repeat(10_050)).unwrap();
    for n in 1..=100 {
        quiet[0].1.write_all(b"y\n").unwrap();
        turn(&communicator);
        assert_eq!(count.get(), n * 100);
        assert_log(&log, &["quiet \"y\""]);
    }
    turn(&communicator);
    assert_eq!(count.get(), 10_050);
}

#[test]
fn a_turn_reads_no_more_than_the_budget_of_bytes_and_one_read() {
    const ALL: usize = 8 << 20;
    const READ: usize = 256 << 10;
    fn check(budget: usize) {
        let communicator = Communicator::new().unwrap();
        let (sum, reads) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let (id, mut peer) = tcp(&communicator, Raw, {
            let (sum, reads) = (sum.clone(), reads.clone());
            on_item::<Raw, _>(move |bytes, _| {
                sum.set(sum.get() + bytes.len());
                reads.set(reads.get() + 1);
                Ok(())
            })
        });
        communicator.set_budget(id, Budget { bytes: budget, time: Duration::MAX, ..Budget::default() });
        let writer = std::thread::spawn(move || peer.write_all(&vec![b'x'; ALL]));
        let (mut most, mut before) = (0, 0);
        until(&communicator, || {
            most = most.max(sum.get() - before);
            before = sum.get();
            if budget == 1 {
                assert!(reads.replace(0) <= 1, "more than one read in a turn");
            }
            before == ALL
        });
        writer.join().unwrap().unwrap();
        assert!(most < budget + READ, "{most} bytes in one turn, budget {budget}");
    }
    check(1);
    check(256 << 10);
    check(1 << 20);
}

#[test]
fn a_slow_handler_is_stopped_by_the_budget_of_time() {
    fn check(time: Duration, in_one_turn: usize) {
        let communicator = Communicator::new().unwrap();
        let count = Rc::new(Cell::new(0));
        let (id, mut peer) = unix(&communicator, Lines::new(), {
            let count = count.clone();
            on_item::<Lines, _>(move |_, _| {
                count.set(count.get() + 1);
                let since = Instant::now();
                while since.elapsed() < Duration::from_micros(20) {}
                Ok(())
            })
        });
        communicator.set_budget(id, Budget { time, ..Budget::default() });
        peer.write_all(&b"x\n".repeat(1000)).unwrap();
        let (mut most, mut all) = (0, 0);
        until(&communicator, || {
            let called = count.take();
            (most, all) = (most.max(called), all + called);
            all == 1000
        });
        assert_eq!(most, in_one_turn, "callbacks in a turn with a budget of {time:?}");
    }
    check(Duration::ZERO, 64);
    check(Duration::from_micros(100), 64);
    check(Duration::from_secs(60), 1000);
}

#[test]
fn what_a_budget_leaves_over_needs_nothing_new_to_be_handed_over() {
    // Bytes that are read already, and bytes that the poll has told of once.
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let (id, mut peer) = unix(&communicator, Lines::new(), log.probe("").quiet());
    communicator.set_budget(id, Budget { bytes: 1, callbacks: 1, time: Duration::ZERO });
    peer.write_all(&b"x\n".repeat(500)).unwrap();
    drop(peer);
    until_empty(&communicator);
    assert_log(&log, &["connected", "eof", "closed: Eof"]);
}
