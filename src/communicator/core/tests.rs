use super::*;
use crate::communicator::error::Closed;
use crate::communicator::settings::Timeouts;
use std::time::Duration;

type Small = Core<&'static str, ()>;

fn add(core: &mut Small, phase: Phase, timeouts: Timeouts) -> Key {
    let key = core.insert("test", phase, core.now);
    core.any(key).unwrap().settings = Rc::new(Settings { timeouts, ..Settings::default() });
    assert_eq!(core.place(key, "driver", false), None);
    key
}

fn nanoseconds(count: u64) -> Option<Duration> {
    Some(Duration::from_nanos(count))
}

/// Calls everybody who is ready; who it was, why, and in which phase.
fn call(core: &mut Small) -> Vec<(Key, Ready, Phase)> {
    let mut turn = Vec::new();
    core.take_ready(&mut turn);
    let mut called = Vec::new();
    for (_, who) in turn {
        let Who::Connection(key) = who else { panic!("a timer: {who:?}") };
        if let Some(begun) = core.begin(key) {
            called.push((key, begun.ready, begun.phase));
            core.forget_timers(key, &begun.due);
            assert_eq!(core.end(key, begun.driver, begun.wants_write), None);
        }
    }
    core.check_invariants(&Outside::default());
    called
}

#[test]
fn a_read_timeout_does_not_put_off_the_idle_one() {
    let mut core = Small::new();
    let timeouts = Timeouts { read: nanoseconds(10), idle: nanoseconds(25), ..Timeouts::default() };
    let key = add(&mut core, Phase::Open, timeouts);
    for (now, why) in [(10, Ready::READ_TIMEOUT), (20, Ready::READ_TIMEOUT), (25, Ready::IDLE_TIMEOUT)] {
        core.expire(now - 1);
        assert_eq!(call(&mut core), []);
        core.expire(now);
        assert_eq!(call(&mut core), [(key, why, Phase::Open)], "at {now}");
    }
    core.received(key, 1, 0); // a byte puts off both
    core.expire(34);
    assert_eq!(call(&mut core), []);
    core.expire(35);
    assert_eq!(call(&mut core), [(key, Ready::READ_TIMEOUT, Phase::Open)]);
}

#[test]
fn the_time_for_connecting_waits_while_it_is_switched_off() {
    let mut core = Small::new();
    let key = add(&mut core, Phase::Connecting, Timeouts { connect: nanoseconds(10), ..Timeouts::default() });
    assert!(core.set_enabled(key, false));
    core.expire(100);
    assert_eq!((call(&mut core), core.next_deadline()), (vec![], None));
    assert!(core.set_enabled(key, true));
    core.expire(109);
    assert_eq!(call(&mut core), [(key, Ready::ADDED, Phase::Connecting)]);
    core.expire(110);
    assert_eq!(call(&mut core), [(key, Ready::ENDED, Phase::Ending)]);
}

#[test]
fn time_limits_that_are_over_together_come_in_their_order() {
    let mut core = Small::new();
    let late = add(&mut core, Phase::Open, Timeouts { read: nanoseconds(10), ..Timeouts::default() });
    core.expire(5);
    core.received(late, 1, 0); // over at 15 now, but still guarded at 10
    let early = add(&mut core, Phase::Open, Timeouts::default());
    assert!(core.add_tagged(early, 12, 7).is_some());
    core.expire(20);
    let called: Vec<Key> = call(&mut core).into_iter().map(|(key, ..)| key).collect();
    assert_eq!(called, [early, late]);
}

#[test]
fn output_behind_what_a_layer_holds_back_can_stall() {
    let mut core = Small::new();
    let key = add(&mut core, Phase::Open, Timeouts { stalled: nanoseconds(10), ..Timeouts::default() });
    let blocked = |core: &mut Small| {
        let mut writing = core.begin_write(key).unwrap();
        writing.out = OutQueue::default(); // it went into the layer
        let result = Ok(Written { blocked: true, ..Written::default() });
        let wrote = Wrote { result, greeting: false, finished: false, wants_write: true };
        assert_eq!(core.end_write(key, writing.driver, writing.out, wrote), None);
        core.take_dirty(&mut Vec::new());
    };
    core.queue(key, b"held back", None).unwrap();
    blocked(&mut core);
    core.expire(50);
    assert_eq!(call(&mut core), []);
    core.queue(key, b"waits", None).unwrap();
    core.expire(59);
    assert_eq!(call(&mut core), []);
    core.expire(60);
    assert_eq!(call(&mut core), [(key, Ready::STALLED, Phase::Open)]);
}

#[test]
fn who_is_written_to_after_the_end_may_take_its_time_and_must_not_stop() {
    let timeouts = Timeouts {
        linger: Duration::from_nanos(1000),
        linger_stalled: nanoseconds(10),
        ..Timeouts::default()
    };
    let start = |core: &mut Small| {
        let key = add(core, Phase::Open, timeouts.clone());
        core.queue(key, &[b'x'; 200], None).unwrap();
        let _ = core.close(key, Closed::Local);
        assert_eq!(call(core), [(key, Ready::ENDED, Phase::Ending)]);
        assert!(core.take_end(key).is_some());
        key
    };
    // Takes so many bytes, and then no more.
    let write = |core: &mut Small, key, bytes| {
        core.event(key, false, true, false);
        let mut writing = core.begin_write(key).unwrap();
        let mut room = vec![0; bytes];
        let written = writing.out.write_to(&mut &mut room[..], bytes).unwrap();
        let result = Ok(Written { bytes: written.bytes, blocked: true, ..Written::default() });
        let wrote = Wrote { result, greeting: false, finished: false, wants_write: true };
        assert_eq!(core.end_write(key, writing.driver, writing.out, wrote), None);
        core.take_dirty(&mut Vec::new());
    };
    let abandoned = |key| vec![(key, Ready::ABANDONED, Phase::Lingering)];
    let mut core = Small::new();
    let key = start(&mut core);
    for _ in 0..20 {
        write(&mut core, key, 1);
        core.expire(core.now + 9);
        assert_eq!(call(&mut core), [], "it takes a byte in time");
    }
    write(&mut core, key, 0);
    core.expire(core.now + 1);
    assert_eq!(call(&mut core), abandoned(key), "nothing was taken for 10 ns");

    // All in all there is an end, too, and it can be made to come sooner.
    let mut core = Small::new();
    let (key, hurried) = (start(&mut core), start(&mut core));
    assert!(core.shorten_linger(hurried, 500) && core.shorten_linger(hurried, 700));
    for _ in 0..111 {
        write(&mut core, key, 1);
        if core.now < 495 {
            write(&mut core, hurried, 1);
        }
        let ended = if core.now == 495 { abandoned(hurried) } else { vec![] };
        core.expire(core.now + 9);
        assert_eq!(call(&mut core), ended, "at {}", core.now);
        if !ended.is_empty() {
            assert!(core.remove(hurried).is_some());
        }
    }
    assert_eq!(core.now, 999);
    core.expire(1000);
    assert_eq!(call(&mut core), abandoned(key));
    assert!(!core.shorten_linger(hurried, 1));
}

#[test]
fn a_hang_up_is_said_with_every_call_but_makes_none() {
    let mut core = Small::new();
    let key = add(&mut core, Phase::Open, Timeouts::default());
    let mut with_hang_up = Ready::INPUT;
    with_hang_up.add(Ready::HANGUP);
    core.event(key, false, false, true);
    assert_eq!(call(&mut core), [(key, with_hang_up, Phase::Open)]);
    assert!(core.set_enabled(key, false) && core.set_enabled(key, true));
    assert_eq!(call(&mut core), []);
    core.event(key, true, false, false);
    assert_eq!(call(&mut core), [(key, with_hang_up, Phase::Open)]);
}

#[test]
fn what_a_transport_holds_back_counts_until_it_is_gone_and_is_tried_again() {
    let mut core = Small::new();
    let key = add(&mut core, Phase::Open, Timeouts::default());
    let dirty = |core: &mut Small| {
        let mut dirty = Vec::new();
        core.take_dirty(&mut dirty);
        dirty
    };
    // Takes all, and holds so much of it back.
    let write = |core: &mut Small, held| {
        let mut writing = core.begin_write(key).unwrap();
        writing.out.write_to(&mut std::io::sink(), usize::MAX).unwrap();
        writing.out.set_held(held);
        let retry = (held > 0).then_some(Duration::from_nanos(10));
        let result = Ok(Written { retry, input: held == 4, ..Written::default() });
        let wrote = Wrote { result, greeting: false, finished: false, wants_write: held > 0 };
        assert_eq!(core.end_write(key, writing.driver, writing.out, wrote), None);
    };
    let queued = |core: &Small| core.slot(key).map(|slot| slot.rest.out.len());
    core.expire(100);
    core.queue(key, b"held back", None).unwrap();
    assert_eq!(dirty(&mut core), [key]);
    write(&mut core, 9);
    assert_eq!((queued(&core), dirty(&mut core)), (Some(9), vec![]));
    core.queue(key, b"more", None).unwrap();
    assert_eq!((queued(&core), dirty(&mut core)), (Some(13), vec![key]));
    write(&mut core, 13);
    core.expire(109);
    assert_eq!(dirty(&mut core), []);
    core.expire(110);
    assert_eq!((dirty(&mut core), call(&mut core)), (vec![key], vec![]));
    write(&mut core, 4); // and something of it has come back
    assert_eq!((queued(&core), call(&mut core)), (Some(4), vec![(key, Ready::INPUT, Phase::Open)]));
    core.expire(120);
    assert_eq!(dirty(&mut core), [key]);
    write(&mut core, 0);
    core.expire(1000);
    assert_eq!((queued(&core), dirty(&mut core), core.next_deadline()), (Some(0), vec![], None));
}
