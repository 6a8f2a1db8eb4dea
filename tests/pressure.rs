//! Senders that are faster than readers, in both directions.

mod bed;

use bed::{Log, Peer, assert_log, receive, receive_all, run, settle, tcp, turn, unix, until, until_empty};
use eventdispatcher::codec::{Codec, DecodeError, Decoded, EncodeError, Lines, Raw};
use eventdispatcher::{Communicator, Cx, Handler, HandlerResult, Id, Limits, OnItem, SendError, on_item};
use std::cell::{Cell, RefCell};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Queues so much that the other side, which does not read, leaves `bytes` of it in the queue.
fn fill(communicator: &Communicator, id: Id<Raw>, bytes: usize) -> usize {
    let mut sent = 0;
    settle(communicator);
    while communicator.queued_bytes(id) < bytes {
        communicator.send(id, &[b'x'; 10_000]).unwrap();
        sent += 10_000;
        settle(communicator);
    }
    sent
}

#[test]
fn drained_comes_once_for_each_time_the_queue_was_over_high_water() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let (id, mut peer) = unix(&communicator, Raw, log.probe(""));
    communicator.set_limits(id, Limits { high_water: 2_000_000, low_water: 200_000, ..Limits::default() });
    let below = fill(&communicator, id, 1_900_000);
    receive(&communicator, &mut peer, below);
    settle(&communicator);
    assert_log(&log, &["connected"]);

    for _ in 0..2 {
        let mut waiting = fill(&communicator, id, 2_500_000);
        // Between the marks, and over the high one again: that is one and the same crowd.
        for _ in 0..2 {
            while communicator.queued_bytes(id) > 1_000_000 {
                waiting -= receive(&communicator, &mut peer, 50_000).len();
                settle(&communicator);
            }
            waiting += fill(&communicator, id, 2_200_000);
        }
        assert_log(&log, &[]);
        receive(&communicator, &mut peer, waiting);
        settle(&communicator);
        assert_log(&log, &["drained"]);
        assert_eq!(communicator.queued_bytes(id), 0);
    }
    communicator.send(id, &vec![b'x'; 2_000_000]).unwrap();
    receive(&communicator, &mut peer, 2_000_000);
    settle(&communicator);
    assert_log(&log, &["drained"]);
}

#[test]
fn a_full_queue_says_so_and_what_it_took_arrives_whole() {
    const ITEMS: u32 = 20_000;
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let (next, refusals) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let speak = {
        let (next, refusals, log) = (next.clone(), refusals.clone(), log.clone());
        move |cx: &Cx<'_, Lines>| {
            while next.get() < ITEMS {
                match cx.reply(&format!("{:>99}", next.get())) {
                    Ok(()) => next.set(next.get() + 1),
                    Err(SendError::Full { queued }) => {
                        refusals.set(refusals.get() + 1);
                        if !(50_000..50_100).contains(&queued) || cx.queued_bytes(cx.id()) != queued {
                            log.say(format!("full at {queued}"));
                        }
                        return Ok(());
                    }
                    Err(other) => return Err(other.into()),
                }
            }
            cx.close();
            Ok(())
        }
    };
    let probe = log.probe("").on_connected(speak.clone()).on_drained(speak);
    let (id, mut peer) = unix(&communicator, Lines::new(), probe);
    communicator.set_limits(id, Limits { output: 50_000, ..Limits::default() });
    let got = receive_all(&communicator, &mut peer);
    let expected: String = (0..ITEMS).map(|n| format!("{n:>99}\n")).collect();
    assert!(got == expected.as_bytes(), "{} of {} bytes, or another order", got.len(), expected.len());
    until_empty(&communicator);
    let refusals = refusals.get();
    assert!(refusals > 2, "{refusals}");
    assert_eq!(log.count("drained"), refusals, "one for each time that it was full");
    assert_eq!(log.len(), refusals + 2, "{:?}", log.all());
}

#[test]
fn the_item_that_reaches_the_limit_is_still_taken() {
    let communicator = Communicator::new().unwrap();
    let (id, mut peer) = unix(&communicator, Raw, on_item::<Raw, _>(|_, _| Ok(())));
    communicator.set_limits(id, Limits { output: 1000, ..Limits::default() });
    communicator.send(id, &[1; 999]).unwrap();
    communicator.send(id, &[2; 5000]).unwrap();
    assert_eq!(communicator.send(id, &[3]), Err(SendError::Full { queued: 5999 }));
    communicator.set_limits(id, Limits::default());
    communicator.send(id, &[4]).unwrap();
    let got = receive(&communicator, &mut peer, 6000);
    assert_eq!((got.len(), got[998], got[5998], got[5999]), (6000, 1, 2, 4));
    assert_eq!(SendError::Full { queued: 5 }.to_string(), "the output queue is full: 5 bytes wait");
}

/// Counts bytes.
fn counting(count: &Rc<Cell<usize>>) -> OnItem<impl FnMut(&[u8], &Cx<'_, Raw>) -> HandlerResult + 'static> {
    let count = count.clone();
    on_item::<Raw, _>(move |bytes: &[u8], _| {
        count.set(count.get() + bytes.len());
        Ok(())
    })
}

/// Writes as much as fits.
fn stuff(peer: &mut impl Peer) -> usize {
    peer.block(false);
    let mut written = 0;
    let stuffed = loop {
        match peer.write(&[b'x'; 10_000]) {
            Ok(count) => written += count,
            Err(error) => break error,
        }
    };
    peer.block(true);
    assert_eq!(stuffed.kind(), ErrorKind::WouldBlock);
    written
}

#[test]
fn a_connection_that_is_not_read_fills_the_socket_of_the_sender() {
    fn check(communicator: Communicator, (id, mut peer): (Id<Raw>, impl Peer), count: Rc<Cell<usize>>) {
        settle(&communicator);
        assert!(communicator.read(id, false));
        let mut written = stuff(&mut peer);
        for _ in 0..20 {
            turn(&communicator);
        }
        assert_eq!((count.get(), communicator.connection(id).unwrap().bytes_in), (0, 0));
        written += stuff(&mut peer); // whatever was on its way

        assert!(communicator.read(id, true));
        until(&communicator, || count.get() == written);
        // The sender may go on, and its end is kept as well.
        communicator.read(id, false);
        peer.write_all(&[b'x'; 5]).unwrap();
        drop(peer);
        settle(&communicator);
        assert_eq!(count.get(), written);
        communicator.read(id, true);
        run(&communicator);
        assert_eq!(count.get(), written + 5);
        assert!(!communicator.read(id, true));
    }
    let count = Rc::new(Cell::new(0));
    let communicator = Communicator::new().unwrap();
    check(communicator.clone(), unix(&communicator, Raw, counting(&count)), count);
    let count = Rc::new(Cell::new(0));
    let communicator = Communicator::new().unwrap();
    check(communicator.clone(), tcp(&communicator, Raw, counting(&count)), count);
}

#[test]
fn reading_that_stops_in_the_middle_of_a_packet_goes_on_there() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let probe = log.probe("").on_message(|_, cx| {
        cx.read(cx.id(), false);
        Ok(())
    });
    let (id, mut peer) = unix(&communicator, Lines::new(), probe);
    peer.write_all(b"1\n2\n3\n4").unwrap();
    settle(&communicator);
    assert_log(&log, &["connected", "\"1\""]);
    // Time and the state of the queue are still told.
    communicator.timer(id, Duration::ZERO, 9);
    settle(&communicator);
    assert_log(&log, &["Timer(9)"]);
    for expected in ["\"2\"", "\"3\""] {
        communicator.read(id, true);
        settle(&communicator);
        assert_log(&log, &[expected]);
    }
    peer.write_all(b"4\n5\n").unwrap();
    drop(peer);
    for expected in [&["\"44\""][..], &["\"5\""], &["eof", "closed: Eof"]] {
        communicator.read(id, true);
        settle(&communicator);
        assert_log(&log, expected);
    }
}

#[test]
fn what_was_there_before_reading_was_ever_on_is_read_when_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let probe = |name| {
        log.probe(name).on_connected(|cx| {
            cx.read(cx.id(), false);
            Ok(())
        })
    };
    // Established from the start, and in its first turn.
    let (second, second_peer) = unix(&communicator, Lines::new(), probe("second"));
    let first = communicator.connect_unix(&path, Lines::new(), probe("first")).unwrap();
    let (first_peer, _) = listener.accept().unwrap();
    for mut peer in [&second_peer, &first_peer] {
        peer.write_all(b"early\n").unwrap();
    }
    settle(&communicator);
    assert_log(&log, &["second connected", "first connected"]);
    communicator.read(first, true);
    communicator.read(second, true);
    settle(&communicator);
    assert_log(&log, &["first \"early\"", "second \"early\""]);
}

#[test]
fn a_disabled_connection_keeps_what_happens_and_writes_on() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let (id, mut peer) = unix(&communicator, Lines::new(), log.probe(""));
    communicator.set_limits(id, Limits { high_water: 1, ..Limits::default() });
    assert!(communicator.enable(id, false) && !communicator.is_enabled(id));
    settle(&communicator);
    assert_log(&log, &[]);
    assert!(communicator.enable(id, true) && communicator.is_enabled(id));
    settle(&communicator);
    assert_log(&log, &["connected"]);

    communicator.enable(id, false);
    peer.write_all(b"one\n").unwrap();
    settle(&communicator);
    communicator.timer(id, Duration::ZERO, 1);
    communicator.send(id, "answer").unwrap();
    assert_eq!(receive(&communicator, &mut peer, 7), b"answer\n");
    peer.write_all(b"two\n").unwrap();
    peer.end();
    settle(&communicator);
    assert_log(&log, &[]);

    communicator.enable(id, true);
    communicator.enable(id, false);
    settle(&communicator);
    assert_log(&log, &[]);
    communicator.enable(id, true);
    communicator.enable(id, true);
    run(&communicator);
    assert_log(&log, &["\"one\"", "\"two\"", "eof", "closed: Eof"]);
    assert!(!communicator.enable(id, true) && !communicator.is_enabled(id));
}

#[test]
fn a_connection_that_disables_itself_gets_nothing_more() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let off = |cx: &Cx<'_, Lines>| {
        cx.enable(cx.id(), false);
        Ok(())
    };
    let probe =
        log.probe("").on_message(move |_, cx| off(cx)).on_timeout(move |_, cx| off(cx)).on_eof(|_| Ok(()));
    let (id, mut peer) = unix(&communicator, Lines::new().keep_last(true), probe);
    communicator.set_limits(id, Limits { high_water: 1, ..Limits::default() });
    settle(&communicator);
    log.take();
    communicator.enable(id, false);
    communicator.send(id, "answer").unwrap();
    communicator.timer(id, Duration::ZERO, 1);
    communicator.timer(id, Duration::ZERO, 2);
    communicator.set_deadline(id, Some(Instant::now()));
    peer.write_all(b"one\ntwo\nunfinished").unwrap();
    peer.end();
    settle(&communicator);
    assert_log(&log, &[]);
    let calls: [&[&str]; 6] =
        [&["\"one\""], &["\"two\""], &["\"unfinished\""], &["eof", "Deadline"], &["Timer(1)"], &["Timer(2)"]];
    for expected in calls.into_iter().chain([&["drained"][..], &[]]) {
        communicator.enable(id, true);
        settle(&communicator);
        assert_log(&log, expected);
    }
}

#[test]
fn a_connection_may_be_closed_while_it_is_disabled() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let (id, mut peer) = unix(&communicator, Lines::new(), log.probe(""));
    settle(&communicator);
    communicator.enable(id, false);
    communicator.send(id, "bye").unwrap();
    communicator.close(id);
    run(&communicator);
    assert_log(&log, &["connected", "closed: Local"]);
    let mut got = String::new();
    peer.read_to_string(&mut got).unwrap();
    assert_eq!(got, "bye\n");
}

// ---- many receivers ----------------------------------------------------------------------------------

struct Crowd {
    communicator: Communicator,
    ids: Vec<Id<Lines>>,
    peers: Vec<UnixStream>,
}

fn crowd(size: usize) -> Crowd {
    let communicator = Communicator::new().unwrap();
    let (ids, peers) =
        (0..size).map(|_| unix(&communicator, Lines::new(), on_item::<Lines, _>(|_, _| Ok(())))).unzip();
    settle(&communicator);
    Crowd { communicator, ids, peers }
}

#[test]
fn a_broadcast_reaches_everybody_in_order_with_what_is_sent_beside_it() {
    // Copied, shared, and so large that it is written on the spot.
    for size in [10, 16 << 10, 200 << 10] {
        let Crowd { communicator, ids, mut peers } = crowd(100);
        let item = "b".repeat(size);
        let mut expected = String::new();
        for n in 0..3 {
            for id in &ids {
                communicator.send(*id, &format!("before {n}")).unwrap();
            }
            assert_eq!(communicator.broadcast(ids.iter().copied(), &item), Ok(vec![]));
            expected += &format!("before {n}\n{item}\n");
        }
        for (n, peer) in peers.iter_mut().enumerate() {
            let got = receive(&communicator, peer, expected.len());
            assert!(got == expected.as_bytes(), "number {n}, items of {size} bytes");
        }
        assert!(ids.iter().all(|id| communicator.queued_bytes(*id) == 0));
    }
}

#[test]
fn a_broadcast_names_those_who_did_not_take_it() {
    for size in [10, 16 << 10, 200 << 10] {
        let Crowd { communicator, ids, mut peers } = crowd(6);
        let item = "b".repeat(size);
        let [gone, full, closing, slow, ..] = ids[..] else { unreachable!() };
        communicator.remove(gone);
        communicator.close(closing);
        communicator.set_limits(full, Limits { output: 1, ..Limits::default() });
        communicator.send(full, "1").unwrap();
        // Takes nothing from here on; this waits in its queue.
        let mut waits = 0;
        while communicator.queued_bytes(slow) == 0 {
            communicator.send(slow, &"s".repeat(9_999)).unwrap();
            waits += 10_000;
            settle(&communicator);
            if communicator.queued_bytes(full) == 0 {
                communicator.send(full, "1").unwrap();
            }
        }
        communicator.send(full, "2").unwrap_err();
        let queued = communicator.queued_bytes(full);
        let refused = communicator.broadcast(ids.iter().copied(), &item).unwrap();
        assert_eq!(
            refused,
            [(gone, SendError::Gone), (full, SendError::Full { queued }), (closing, SendError::Gone)]
        );
        for peer in &mut peers[4..] {
            assert_eq!(receive(&communicator, peer, size + 1).len(), size + 1, "the others have it");
        }
        let got = receive(&communicator, &mut peers[3], waits + size + 1);
        assert!(got.ends_with(format!("s\n{item}\n").as_bytes()), "the slow one gets it when it reads");
    }
}

#[test]
fn a_broadcast_that_cannot_be_encoded_is_sent_to_nobody() {
    let Crowd { communicator, ids, peers: _peers } = crowd(2);
    let sent = communicator.broadcast(ids.iter().copied(), "two\nlines");
    assert!(matches!(sent, Err(SendError::Encode(EncodeError::Invalid { .. }))), "{sent:?}");
    assert!(ids.iter().all(|id| communicator.queued_bytes(*id) == 0));
}

#[test]
fn a_broadcast_may_choose_its_receivers_as_it_goes() {
    for size in [10, 16 << 10] {
        let Crowd { communicator, ids, mut peers } = crowd(4);
        communicator.set_name(ids[2], "chosen");
        let chosen = ids.iter().copied().filter(|id| communicator.name(*id).as_deref() == Some("chosen"));
        assert_eq!(communicator.broadcast(chosen, &"b".repeat(size)), Ok(vec![]));
        assert_eq!(receive(&communicator, &mut peers[2], size + 1).len(), size + 1);
        assert!(ids.iter().all(|id| communicator.connection(*id).unwrap().bytes_out == 0 || *id == ids[2]));
    }
}

#[test]
fn a_broadcast_from_inside_a_callback_reaches_its_sender_too() {
    for size in [10, 16 << 10, 200 << 10] {
        let communicator = Communicator::new().unwrap();
        let everybody: Rc<RefCell<Vec<Id<Lines>>>> = Rc::default();
        let mut peers = Vec::new();
        for _ in 0..3 {
            let all = everybody.clone();
            let handler = on_item::<Lines, _>(move |_, cx| {
                let refused = cx.broadcast(all.borrow().iter().copied(), &"b".repeat(size))?;
                if refused.is_empty() { Ok(()) } else { Err(format!("{refused:?}").into()) }
            });
            let (id, peer) = unix(&communicator, Lines::new(), handler);
            everybody.borrow_mut().push(id);
            peers.push(peer);
        }
        for peer in &mut peers {
            peer.write_all(b"go\n").unwrap();
        }
        for peer in &mut peers {
            assert_eq!(receive(&communicator, peer, 3 * (size + 1)).len(), 3 * (size + 1));
        }
    }
}

// ---- memory ------------------------------------------------------------------------------------------

/// Resident memory of the process, in bytes. Other tests run beside: only large differences mean something.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

#[test]
fn a_large_item_is_kept_once_for_all_who_wait_for_it() {
    let Crowd { communicator, ids, peers: _peers } = crowd(300);
    let item = "b".repeat(2 << 20);
    let before = resident();
    assert_eq!(communicator.broadcast(ids.iter().copied(), &item), Ok(vec![]));
    settle(&communicator);
    let queued: usize = ids.iter().map(|id| communicator.queued_bytes(*id)).sum();
    assert!(queued > 500 << 20, "{queued}");
    let more = resident().saturating_sub(before);
    assert!(more < 200 << 20, "{more} bytes for a queue of {queued}");
}

#[test]
fn a_queue_that_was_long_leaves_nothing_behind() {
    let communicator = Communicator::new().unwrap();
    let (id, mut peer) = unix(&communicator, Raw, on_item::<Raw, _>(|_, _| Ok(())));
    let reader = {
        let mut peer = peer.try_clone().unwrap();
        std::thread::spawn(move || std::io::copy(&mut peer, &mut std::io::sink()))
    };
    let before = resident();
    let chunk = vec![b'x'; 10 << 20];
    for _ in 0..60 {
        communicator.send(id, &chunk).unwrap();
        until(&communicator, || communicator.queued_bytes(id) == 0);
        // In, as well.
        peer.write_all(&[b'x'; 100_000]).unwrap();
        turn(&communicator);
    }
    until(&communicator, || communicator.connection(id).unwrap().bytes_in == 6_000_000);
    let more = resident().saturating_sub(before);
    assert!(more < 200 << 20, "{more} bytes more");
    communicator.remove(id);
    assert_eq!(reader.join().unwrap().unwrap(), 60 * (10 << 20));
}

/// What encodes needs the communicator itself, as a codec with a log or a counter might.
#[derive(Debug, Clone)]
struct Nested;

impl Codec for Nested {
    type In<'a> = &'a [u8];
    type Out<'a> = (&'a Communicator, Option<Id<Nested>>, u8);

    fn decode<'a>(&'a mut self, input: &'a [u8]) -> Result<Decoded<&'a [u8]>, DecodeError> {
        Ok(Decoded::Item(input, input.len()))
    }

    fn encode((communicator, other, byte): Self::Out<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.push(byte);
        if let Some(other) = other {
            communicator
                .send(other, (communicator, None, byte + 1))
                .map_err(|error| EncodeError::invalid(error.to_string()))?;
        }
        out.push(byte);
        Ok(())
    }
}

struct Ignores;

impl Handler<Nested> for Ignores {
    fn message(&mut self, _: &[u8], _: &Cx<'_, Nested>) -> HandlerResult {
        Ok(())
    }
}

#[test]
fn encoding_may_send_something_else() {
    let communicator = Communicator::new().unwrap();
    let (first, mut first_peer) = unix(&communicator, Nested, Ignores);
    let (second, mut second_peer) = unix(&communicator, Nested, Ignores);
    communicator.send(first, (&communicator, Some(second), b'a')).unwrap();
    communicator.broadcast([first, second], (&communicator, Some(second), b'c')).unwrap();
    assert_eq!(receive(&communicator, &mut first_peer, 4), b"aacc");
    assert_eq!(receive(&communicator, &mut second_peer, 6), b"bbddcc");
    // To itself: what is encoded inside is queued first.
    communicator.send(first, (&communicator, Some(first), b'e')).unwrap();
    assert_eq!(receive(&communicator, &mut first_peer, 4), b"ffee");
}

#[test]
fn a_limit_of_nothing_takes_one_item_at_a_time_and_says_when_there_is_room() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let (id, mut peer) = unix(&communicator, Lines::new(), log.probe("").on_drained(|_| Ok(())));
    communicator.set_limits(id, Limits { output: 0, ..Limits::default() });
    settle(&communicator);
    log.take();
    for word in ["one", "two"] {
        communicator.send(id, word).unwrap();
        assert!(matches!(communicator.send(id, "more"), Err(SendError::Full { .. })), "{word}");
        until(&communicator, || log.has("drained"));
        assert_log(&log, &["drained"]);
    }
    assert_eq!(receive(&communicator, &mut peer, 8), b"one\ntwo\n");
}
