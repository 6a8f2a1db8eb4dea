//! Timers, and the time limits of connections.

mod bed;

use bed::{Log, assert_log, pass, receive, run, settle, turn, unix, until};
use eventdispatcher::codec::{Lines, Raw};
use eventdispatcher::{Communicator, Id, Timeout, Timeouts, TimerId};
use std::cell::{Cell, RefCell};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn says(log: &Log, what: &str) -> impl FnMut(&Communicator) + 'static {
    let (log, what) = (log.clone(), what.to_string());
    move |_| log.say(what.clone())
}

// ---- once ----------------------------------------------------------------------------------------------

#[test]
fn a_timer_fires_once_never_early_and_keeps_the_loop_running_until_then() {
    for after in [ms(0), ms(1), Duration::from_micros(1500), ms(20)] {
        let communicator = Communicator::new().unwrap();
        let fired = Rc::new(RefCell::new(Vec::new()));
        let begun = Instant::now();
        let timer = communicator.after(after, {
            let fired = fired.clone();
            move |_| fired.borrow_mut().push(begun.elapsed())
        });
        assert!(communicator.is_set(timer) && !communicator.is_empty());
        run(&communicator);
        assert!(!communicator.is_set(timer) && communicator.is_empty());
        let fired = fired.borrow();
        assert!(fired.len() == 1 && fired[0] >= after, "{after:?}: {fired:?}");
    }
}

#[test]
fn ten_thousand_timers_fire_in_the_order_of_their_deadlines() {
    let communicator = Communicator::new().unwrap();
    // A deadline is known from here only to be between two moments.
    let fired: Rc<RefCell<Vec<(Instant, Instant)>>> = Rc::default();
    let timers: Vec<TimerId> = (0..10_000u64)
        .map(|n| {
            let after = Duration::from_micros(n * 7919 % 10_000 * 10);
            let fired = fired.clone();
            let deadline = Rc::new(Cell::new(None));
            let before = Instant::now();
            let timer = communicator.after(after, {
                let deadline = deadline.clone();
                move |_| fired.borrow_mut().extend(deadline.get())
            });
            deadline.set(Some((before + after, Instant::now() + after)));
            timer
        })
        .collect();
    for timer in timers.iter().step_by(3) {
        assert!(communicator.cancel(*timer));
    }
    run(&communicator);
    let fired = fired.borrow();
    assert_eq!(fired.len(), 6666);
    let mut latest = fired[0].0;
    for &(earliest_deadline, latest_deadline) in &*fired {
        assert!(latest <= latest_deadline, "called too late in the order");
        latest = latest.max(earliest_deadline);
    }
}

#[test]
fn a_timer_may_be_for_ever() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let timers = [
        communicator.after(Duration::MAX, says(&log, "after")),
        communicator.every(Duration::MAX, says(&log, "every")),
        communicator.at(SystemTime::UNIX_EPOCH + ms(u64::MAX >> 12), says(&log, "at")).unwrap(),
    ];
    let (id, _peer) = unix(&communicator, Lines::new(), log.probe(""));
    communicator.set_timeouts(id, Timeouts { idle: Some(Duration::MAX), ..Timeouts::default() });
    let tagged = communicator.timer(id, Duration::MAX, 1).unwrap();
    communicator.after(ms(5), says(&log, "soon"));
    until(&communicator, || log.has("soon"));
    assert_log(&log, &["connected", "soon"]);
    assert!(timers.into_iter().chain([tagged]).all(|timer| communicator.cancel(timer)));
}

// ---- many times ------------------------------------------------------------------------------------------

#[test]
fn a_late_call_does_not_move_the_grid_and_missed_ones_are_skipped() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let period = ms(20);
    let made_after = Instant::now();
    let timer = communicator.every(period, says(&log, "tick"));
    let made_before = Instant::now();
    turn(&communicator);
    assert!(log.len() == 0 || made_after.elapsed() >= period, "too early");
    log.take();
    for late in [ms(30), ms(45), ms(110)] {
        pass(late);
        turn(&communicator);
        assert_log(&log, &["tick"]);
        // When the next one is due is known to be between two moments.
        let before = Instant::now();
        let hint = communicator.wait_hint().unwrap();
        let due = (before + hint, Instant::now() + hint);
        assert!(hint <= period);
        if hint.is_zero() {
            continue; // it is due again: this thread had to wait
        }
        let mut grid = (made_after, made_before);
        while grid.1 < due.0 {
            grid = (grid.0 + period, grid.1 + period);
        }
        assert!(grid.0 <= due.1, "{:?} before a point of the grid", grid.0 - due.1);
    }
    assert!(communicator.cancel(timer));
    run(&communicator);
}

#[test]
fn a_period_of_nothing_is_each_turn() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let timer = communicator.every(Duration::ZERO, says(&log, "tick"));
    for _ in 0..5 {
        turn(&communicator);
        assert_log(&log, &["tick"]);
    }
    assert!(communicator.cancel(timer));
    turn(&communicator);
    assert_log(&log, &[]);
}

// ---- dates -----------------------------------------------------------------------------------------------

#[test]
fn a_date_is_not_called_before_the_wall_clock_shows_it() {
    let communicator = Communicator::new().unwrap();
    let log = Log::default();
    let now = SystemTime::now();
    for (name, date) in [
        ("soon", now + ms(30)),
        ("sooner", now + ms(15)),
        ("now", now),
        ("long ago", now - ms(3_600_000)),
        ("before 1970", SystemTime::UNIX_EPOCH - ms(5)),
    ] {
        let log = log.clone();
        let call = move |_: &Communicator| {
            log.say(name);
            if SystemTime::now() < date {
                log.say("too early");
            }
        };
        communicator.at(date, call).unwrap();
    }
    let tomorrow = communicator.at(now + ms(86_400_000), says(&log, "tomorrow")).unwrap();
    until(&communicator, || log.has("soon"));
    assert_log(&log, &["before 1970", "long ago", "now", "sooner", "soon"]);
    assert!(communicator.is_set(tomorrow) && !communicator.is_empty());
    assert!(communicator.cancel(tomorrow) && !communicator.cancel(tomorrow));
    assert!(communicator.is_empty());
}

#[test]
fn a_date_may_be_set_from_inside_a_date_and_be_the_next() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let then = says(&log, "second");
    let first = log.clone();
    communicator
        .at(SystemTime::now(), move |communicator| {
            first.say("first");
            if let Err(error) = communicator.at(SystemTime::now() + ms(5), then) {
                first.say(error.to_string());
            }
        })
        .unwrap();
    run(&communicator);
    assert_log(&log, &["first", "second"]);
}

// ---- cancelling --------------------------------------------------------------------------------------------

#[test]
fn a_timer_that_is_due_can_still_be_cancelled() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let due: Rc<RefCell<Vec<TimerId>>> = Rc::default();
    let first = {
        let (log, due) = (log.clone(), due.clone());
        communicator.after(ms(1), move |communicator| {
            let cancelled: Vec<bool> = due
                .borrow()
                .iter()
                .map(|timer| {
                    let set = communicator.is_set(*timer);
                    communicator.cancel(*timer) && set && !communicator.cancel(*timer)
                })
                .collect();
            log.say(format!("{cancelled:?}"));
        })
    };
    communicator.set_timer_priority(first, 0);
    due.borrow_mut().push(communicator.after(ms(1), says(&log, "after")));
    due.borrow_mut().push(communicator.every(ms(1), says(&log, "every")));
    due.borrow_mut().push(communicator.at(SystemTime::now(), says(&log, "at")).unwrap());
    pass(ms(3));
    run(&communicator);
    assert_log(&log, &["[true, true, true]"]);
}

#[test]
fn a_timer_may_cancel_itself() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let own: Rc<Cell<Option<TimerId>>> = Rc::default();
    let cancels = |left: u32| {
        let (log, own, mut left) = (log.clone(), own.clone(), left);
        let dropped = log.dropped("its closure");
        move |communicator: &Communicator| {
            let _ = &dropped;
            left -= 1;
            if left > 0 {
                return log.say("tick");
            }
            let timer = own.get().unwrap();
            let first = (communicator.is_set(timer), communicator.cancel(timer));
            log.say(format!("{first:?} {:?}", (communicator.is_set(timer), communicator.cancel(timer))));
        }
    };
    own.set(Some(communicator.every(ms(1), cancels(3))));
    run(&communicator);
    assert_log(&log, &["tick", "tick", "(true, true) (false, false)", "its closure dropped"]);
    own.set(Some(communicator.after(ms(1), cancels(1))));
    run(&communicator);
    assert_log(&log, &["(true, true) (false, false)", "its closure dropped"]);
}

#[test]
fn a_timer_that_panics_is_over_and_the_loop_goes_on() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let dropped = log.dropped("its closure");
    communicator.every(ms(1), move |_| {
        let _ = &dropped;
        panic!("in a timer, as it should")
    });
    communicator.after(ms(5), says(&log, "later"));
    run(&communicator);
    assert_log(&log, &["its closure dropped", "later"]);
}

// ---- moving ------------------------------------------------------------------------------------------------

#[test]
fn a_timer_that_is_moved_is_called_then_though_it_was_due() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let due: Rc<RefCell<Vec<TimerId>>> = Rc::default();
    let first = {
        let (log, due) = (log.clone(), due.clone());
        communicator.after(ms(1), move |communicator| {
            let turn = communicator.turn_number();
            let moved = due.borrow().iter().all(|timer| communicator.rearm(*timer, ms(30)));
            log.say(format!("moved {moved}"));
            let log = log.clone();
            communicator.before_writes(move |communicator| {
                if communicator.turn_number() == turn {
                    log.say("end of the turn");
                }
            });
        })
    };
    communicator.set_timer_priority(first, 0);
    due.borrow_mut().push(communicator.after(ms(1), says(&log, "after")));
    let every = communicator.every(ms(1), says(&log, "every"));
    due.borrow_mut().push(every);
    let (id, _peer) = unix(&communicator, Lines::new(), log.probe("").quiet());
    due.borrow_mut().push(communicator.timer(id, ms(1), 7).unwrap());
    pass(ms(3));
    until(&communicator, || log.has("Timer(7)") && log.has("after") && log.count("every") > 2);
    let all: Vec<String> = log.take().into_iter().filter(|what| what != "connected").collect();
    assert_eq!(all[..2], ["moved true", "end of the turn"], "{all:?}");
    assert_eq!(all.iter().filter(|what| *what == "after" || *what == "Timer(7)").count(), 2, "{all:?}");
    assert!(communicator.rearm(every, Duration::MAX) && communicator.is_set(every));
    assert!(communicator.cancel(every));
}

#[test]
fn a_timer_may_move_itself_if_it_repeats() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let own: Rc<Cell<Option<TimerId>>> = Rc::default();
    let moves = || {
        let (log, own, mut calls) = (log.clone(), own.clone(), 0);
        move |communicator: &Communicator| {
            let timer = own.get().unwrap();
            calls += 1;
            match calls {
                1 => log.say(format!("moved {}", communicator.rearm(timer, ms(1)))),
                _ => log.say(format!("ended {}", communicator.cancel(timer))),
            }
        }
    };
    own.set(Some(communicator.every(ms(60_000), moves())));
    assert!(communicator.rearm(own.get().unwrap(), ms(1)), "long before its time");
    run(&communicator);
    assert_log(&log, &["moved true", "ended true"]);
    own.set(Some(communicator.after(ms(1), moves())));
    run(&communicator);
    assert_log(&log, &["moved false"]);
    assert!(!communicator.rearm(own.get().unwrap(), ms(1)), "it is over");
}

#[test]
fn timers_are_set_for_and_moved_to_instants() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let start = Instant::now();
    let (at, moved_to) = (start + ms(20), start + ms(40));
    let not_before = |instant: Instant, what: &'static str| {
        let log = log.clone();
        move |_: &Communicator| {
            assert!(Instant::now() >= instant, "{what}");
            log.say(what);
        }
    };
    communicator.at_instant(at, not_before(at, "at 20"));
    let moved = communicator.at_instant(start + ms(60_000), not_before(moved_to, "moved to 40"));
    assert!(communicator.rearm_at(moved, moved_to));
    communicator.at_instant(start, not_before(start, "over already"));
    let over = communicator.after(ms(60_000), not_before(start, "moved to what is over"));
    assert!(communicator.rearm_at(over, start));
    run(&communicator);
    assert_log(&log, &["over already", "moved to what is over", "at 20", "moved to 40"]);
    assert!(!communicator.rearm_at(over, start));
}

#[test]
fn dates_are_not_moved() {
    let communicator = Communicator::new().unwrap();
    let date = communicator.at(SystemTime::now() + ms(60_000), |_| ()).unwrap();
    assert!(!communicator.rearm(date, ms(0)) && communicator.is_set(date));
    assert!(communicator.cancel(date));
}

// ---- of connections -----------------------------------------------------------------------------------------

#[test]
fn a_connections_own_timers_carry_their_tags_and_go_with_it() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let probe = |name| {
        log.probe::<Lines>(name).on_connected(|cx| cx.after(ms(1), 6).map(|_| ()).ok_or("gone".into()))
    };
    let (kept, _peer) = unix(&communicator, Lines::new(), probe("kept"));
    until(&communicator, || log.len() == 2);
    assert_log(&log, &["kept connected", "kept Timer(6)"]);
    let (removed, _peer) = unix(&communicator, Lines::new(), log.probe("removed"));
    let (closed, _peer) = unix(&communicator, Lines::new(), log.probe("closed"));
    settle(&communicator);
    log.take();

    let timer = |id, tag| communicator.timer(id, ms(1), tag).unwrap();
    let (_, cancelled, _) = (timer(kept, 7), timer(kept, 8), timer(kept, 7));
    timer(removed, 9);
    timer(closed, 9);
    assert!(communicator.is_set(cancelled) && communicator.cancel(cancelled));
    assert!(!communicator.is_set(cancelled) && !communicator.cancel(cancelled));
    communicator.remove(removed);
    communicator.close(closed);
    assert_eq!((communicator.timer(removed, ms(0), 1), communicator.timer(closed, ms(0), 1)), (None, None));
    pass(ms(3));
    settle(&communicator);
    assert_log(&log, &["closed closed: Local", "kept Timer(7)", "kept Timer(7)"]);
    communicator.timer(kept, ms(60_000), 1);
    communicator.remove(kept);
    assert!(communicator.is_empty(), "its timers do not keep the loop running");
}

#[test]
fn a_connections_own_timers_are_set_for_instants() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let (id, _peer) = unix(&communicator, Lines::new(), log.probe(""));
    settle(&communicator);
    log.take();
    let start = Instant::now();
    for (at, tag) in [(start + ms(20), 20), (start + ms(10), 10), (start, 0)] {
        let timer = communicator.timer_at_instant(id, at, tag).unwrap();
        assert!(communicator.is_set(timer));
    }
    until(&communicator, || log.len() == 3);
    assert!(start.elapsed() >= ms(20), "none is early");
    assert_log(&log, &["Timer(0)", "Timer(10)", "Timer(20)"]);
    communicator.remove(id);
    assert_eq!(communicator.timer_at_instant(id, start, 1), None);
}

#[test]
fn a_connections_timer_that_is_due_can_still_be_cancelled() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let timers: Rc<RefCell<Vec<TimerId>>> = Rc::default();
    let probe = {
        let timers = timers.clone();
        log.probe("").on_message(move |_, cx| {
            let cancelled = timers.borrow().iter().all(|timer| cx.is_set(*timer) && cx.cancel(*timer));
            if cancelled { Ok(()) } else { Err("there was none".into()) }
        })
    };
    let (id, mut peer) = unix(&communicator, Lines::new(), probe);
    settle(&communicator);
    log.take();
    // In the turn of the item that says it is not needed any more; and while the connection is off.
    for off in [false, true] {
        *timers.borrow_mut() = vec![communicator.timer(id, ms(1), 1).unwrap()];
        communicator.enable(id, !off);
        pass(ms(3));
        if off {
            settle(&communicator);
        }
        peer.write_all(b"x\n").unwrap();
        communicator.enable(id, true);
        settle(&communicator);
        assert_log(&log, &["\"x\""]);
        assert!(!communicator.is_set(timers.borrow()[0]));
    }
}

/// A connection whose handler stays whatever is over; established, the log empty.
fn patient(communicator: &Communicator, log: &Log) -> (Id<Raw>, UnixStream) {
    let made = unix(communicator, Raw, log.probe("").quiet().on_timeout(|_, _| Ok(())));
    settle(communicator);
    log.take();
    made
}

#[test]
fn a_timeout_repeats_until_the_connection_ends() {
    for (name, timeouts) in [
        ("Read", Timeouts { read: Some(ms(10)), ..Timeouts::default() }),
        ("Write", Timeouts { write: Some(ms(10)), ..Timeouts::default() }),
        ("Idle", Timeouts { idle: Some(ms(10)), ..Timeouts::default() }),
        ("Stalled", Timeouts { stalled: Some(ms(10)), ..Timeouts::default() }),
    ] {
        let (communicator, log) = (Communicator::new().unwrap(), Log::default());
        let begun = Instant::now();
        let mut times = 0;
        let probe = log.probe("").on_timeout(move |_, cx| {
            times += 1;
            if times == 3 {
                cx.close();
            }
            Ok(())
        });
        let (id, _peer) = unix(&communicator, Raw, probe);
        communicator.set_timeouts(id, Timeouts { linger: ms(1), ..timeouts });
        if name == "Stalled" {
            communicator.send(id, &[0; 500_000]).unwrap();
        }
        run(&communicator);
        assert!(begun.elapsed() >= ms(30), "{name}");
        assert_log(&log, &["connected", name, name, name, "closed: Local"]);
    }
}

#[test]
fn a_timeout_ends_the_connection_of_a_handler_that_does_not_object() {
    for (reason, timeouts) in [
        ("closed: TimedOut(Read)", Timeouts { read: Some(ms(5)), ..Timeouts::default() }),
        ("closed: TimedOut(Write)", Timeouts { write: Some(ms(5)), ..Timeouts::default() }),
        ("closed: TimedOut(Idle)", Timeouts { idle: Some(ms(5)), ..Timeouts::default() }),
    ] {
        let (communicator, log) = (Communicator::new().unwrap(), Log::default());
        let (id, _peer) = unix(&communicator, Lines::new(), log.probe(""));
        communicator.set_timeouts(id, timeouts);
        run(&communicator);
        let found = log.take();
        assert_eq!((found.len(), found.last().map(String::as_str)), (3, Some(reason)));
    }
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let (id, _peer) = unix(&communicator, Lines::new(), log.probe(""));
    communicator.set_deadline(id, Some(Instant::now()));
    run(&communicator);
    assert_log(&log, &["closed: TimedOut(Deadline)"]); // nobody is asked before it is established
    let (id, _peer) = unix(&communicator, Lines::new(), log.probe(""));
    settle(&communicator);
    communicator.set_deadline(id, Some(Instant::now()));
    run(&communicator);
    assert_log(&log, &["connected", "Deadline", "closed: TimedOut(Deadline)"]);
    // The timers that a program sets for itself are its own affair.
    let (id, _peer) = unix(&communicator, Lines::new(), log.probe(""));
    communicator.timer(id, ms(0), 1);
    settle(&communicator);
    assert_log(&log, &["connected", "Timer(1)"]);
}

/// Does something each 20 ms, which keeps `timeouts` of 300 ms from being over, for half a second. When they are, that is
/// 300 ms after the last time, as the turn sees it.
fn keeps_alive(timeouts: Timeouts, mut act: impl FnMut(&Communicator, Id<Raw>, &mut UnixStream) + 'static) {
    let communicator = Communicator::new().unwrap();
    let (ended, last) = (Rc::new(Cell::new(None)), Rc::new(Cell::new(Instant::now())));
    let probe = {
        let (ended, last) = (ended.clone(), last.clone());
        Log::default().probe("").quiet().on_timeout(move |_, cx| {
            ended.set(Some(last.get().elapsed()));
            cx.remove(cx.id());
            Ok(())
        })
    };
    let (id, mut peer) = unix(&communicator, Raw, probe);
    let _stays = peer.try_clone().unwrap();
    communicator.set_timeouts(id, timeouts);
    let begun = Instant::now();
    let own: Rc<Cell<Option<TimerId>>> = Rc::default();
    let timer = communicator.every(ms(20), {
        let own = own.clone();
        move |communicator| {
            if begun.elapsed() > ms(500) || !communicator.is_alive(id) {
                own.get().map(|timer| communicator.cancel(timer));
                return;
            }
            last.set(Instant::now());
            act(communicator, id, &mut peer);
        }
    });
    own.set(Some(timer));
    run(&communicator);
    assert!(begun.elapsed() >= ms(700), "over after {:?}, though something happened", begun.elapsed());
    assert!(ended.get().is_some_and(|after| after >= ms(200)), "{ended:?}");
}

#[test]
fn what_happens_resets_the_timeouts() {
    let limit = Some(ms(300));
    let reads = |_: &Communicator, _, peer: &mut UnixStream| peer.write_all(b"x").unwrap();
    let writes =
        |communicator: &Communicator, id: Id<Raw>, _: &mut UnixStream| communicator.send(id, b"x").unwrap();
    let checks: [Box<dyn FnOnce() + Send>; 5] = [
        Box::new(move || keeps_alive(Timeouts { read: limit, ..Timeouts::default() }, reads)),
        Box::new(move || keeps_alive(Timeouts { write: limit, ..Timeouts::default() }, writes)),
        Box::new(move || keeps_alive(Timeouts { idle: limit, ..Timeouts::default() }, reads)),
        Box::new(move || keeps_alive(Timeouts { idle: limit, ..Timeouts::default() }, writes)),
        // A slow reader is no dead reader.
        Box::new(move || {
            let mut first = true;
            keeps_alive(Timeouts { stalled: limit, ..Timeouts::default() }, move |communicator, id, peer| {
                if std::mem::take(&mut first) {
                    communicator.send(id, &[0; 30_000_000]).unwrap();
                }
                let mut chunk = [0; 150_000];
                std::io::Read::read(peer, &mut chunk[..]).unwrap_or_default();
            });
        }),
    ];
    // Side by side, as each only waits.
    let threads = checks.map(std::thread::spawn);
    assert!(threads.map(|thread| thread.join().is_ok()).iter().all(|passed| *passed));
}

#[test]
fn reading_is_no_writing_and_writing_no_reading() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let (id, mut peer) = patient(&communicator, &log);
    let limit = Some(ms(20));
    communicator.set_timeouts(id, Timeouts { read: limit, write: limit, ..Timeouts::default() });
    pass(ms(25));
    peer.write_all(b"x").unwrap();
    turn(&communicator);
    assert_log(&log, &["Write"]);
    pass(ms(25));
    communicator.send(id, b"x").unwrap();
    peer.write_all(b"x").unwrap();
    turn(&communicator);
    // What came in the very turn is in time; what is only written at its end is not.
    assert_log(&log, &["Write"]);
    pass(ms(25));
    communicator.set_timeouts(id, Timeouts { idle: limit, ..Timeouts::default() });
    peer.write_all(b"x").unwrap();
    turn(&communicator);
    assert_log(&log, &[]);
    pass(ms(25));
    turn(&communicator);
    assert_log(&log, &["Idle"]);
}

#[test]
fn nothing_stalls_without_output() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let (id, mut peer) = patient(&communicator, &log);
    communicator.set_timeouts(id, Timeouts { stalled: Some(ms(5)), ..Timeouts::default() });
    pass(ms(10));
    settle(&communicator);
    communicator.send(id, &[0; 1000]).unwrap();
    settle(&communicator);
    pass(ms(10));
    settle(&communicator);
    assert_log(&log, &[]);
    communicator.send(id, &[0; 500_000]).unwrap();
    pass(ms(10));
    turn(&communicator);
    assert_log(&log, &["Stalled"]);
    receive(&communicator, &mut peer, 501_000);
    log.take();
    pass(ms(10));
    settle(&communicator);
    assert_log(&log, &[]);
}

#[test]
fn a_deadline_comes_once_whatever_happens_until_then() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let (id, mut peer) = patient(&communicator, &log);
    communicator.set_deadline(id, Some(Instant::now() + ms(20)));
    for _ in 0..3 {
        peer.write_all(b"x").unwrap();
        turn(&communicator);
        pass(ms(7));
    }
    settle(&communicator);
    assert_log(&log, &["Deadline"]);
    pass(ms(25));
    settle(&communicator);
    assert_log(&log, &[]);
    // Moved, and taken back.
    communicator.set_deadline(id, Some(Instant::now() + ms(5)));
    communicator.set_deadline(id, Some(Instant::now() + ms(3_600_000)));
    pass(ms(8));
    settle(&communicator);
    communicator.set_deadline(id, Some(Instant::now()));
    communicator.set_deadline(id, None);
    settle(&communicator);
    assert_log(&log, &[]);
    communicator.remove(id);
    assert!(!communicator.set_deadline(id, None) && !communicator.set_timeouts(id, Timeouts::default()));
}

#[test]
fn timeouts_that_are_set_later_count_from_what_happened_last() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let (id, _peer) = patient(&communicator, &log);
    pass(ms(20));
    let set = |read| communicator.set_timeouts(id, Timeouts { read, ..Timeouts::default() });
    set(Some(ms(10)));
    turn(&communicator);
    assert_log(&log, &["Read"]);
    // Longer, off, and shorter again.
    set(Some(ms(3_600_000)));
    pass(ms(15));
    settle(&communicator);
    set(Some(ms(5)));
    set(None);
    settle(&communicator);
    assert_log(&log, &[]);
    set(Some(ms(5)));
    turn(&communicator);
    assert_log(&log, &["Read"]);
}

#[test]
fn times_that_are_over_wait_while_a_connection_is_off() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let (id, _peer) = patient(&communicator, &log);
    communicator.enable(id, false);
    let limit = Some(ms(5));
    communicator.set_timeouts(id, Timeouts { read: limit, idle: limit, ..Timeouts::default() });
    communicator.timer(id, ms(3), 1);
    for _ in 0..3 {
        pass(ms(10));
        settle(&communicator);
    }
    assert_log(&log, &[]);
    communicator.enable(id, true);
    turn(&communicator);
    // Each once, however long it was.
    assert_log(&log, &["Read", "Idle", "Timer(1)"]);

    // What has no limit any more when it could be told is not over.
    communicator.enable(id, false);
    communicator.timer(id, ms(3), 2);
    pass(ms(10));
    settle(&communicator);
    communicator.set_timeouts(id, Timeouts::default());
    communicator.enable(id, true);
    settle(&communicator);
    assert_log(&log, &["Timer(2)"]);
}

#[test]
fn a_timeout_names_what_is_over() {
    for (what, text) in [
        (Timeout::Read, "nothing was received for too long"),
        (Timeout::Stalled, "the other side takes no output"),
        (Timeout::Timer(5), "timer 5"),
    ] {
        assert_eq!(what.to_string(), text);
    }
}
