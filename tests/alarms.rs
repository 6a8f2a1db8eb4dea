//! Timers that are connections.

mod bed;

use bed::{Log, assert_log, pass, run, settle, turn, until};
use eventdispatcher::{Alarm, Communicator, alarm::When};
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

const MS: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(3600);

/// Writes its calls down.
#[track_caller]
fn alarm(communicator: &Communicator, log: &Log, name: &'static str, when: When) -> Alarm {
    let log = log.clone();
    communicator.alarm(when, move |_, _| log.say(name)).unwrap()
}

#[test]
fn each_way_to_set_it_calls_when_it_should() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let begin = Instant::now();
    let once = alarm(&communicator, &log, "once", When::After(30 * MS));
    let never = alarm(&communicator, &log, "never", When::Never);
    let date = alarm(&communicator, &log, "date", When::At(SystemTime::now() + 60 * MS));
    let past = alarm(&communicator, &log, "past", When::At(SystemTime::UNIX_EPOCH));
    until(&communicator, || log.len() == 3);
    assert_log(&log, &["past", "once", "date"]);
    assert!(begin.elapsed() >= 59 * MS, "{:?}", begin.elapsed());
    // They stay and wait for nothing.
    for alarm in [&once, &never, &date, &past] {
        assert!(communicator.is_alive(alarm.key()));
        assert_eq!(alarm.when(), When::Never);
        communicator.close(alarm.key());
        settle(&communicator);
        assert!(!alarm.set(&communicator, When::After(MS)).unwrap(), "it is gone");
    }
    run(&communicator);
    assert_log(&log, &[]);
}

#[test]
fn a_period_keeps_to_its_grid() {
    let communicator = Communicator::new().unwrap();
    let calls = Rc::new(Cell::new(0));
    let (counted, begin) = (calls.clone(), Instant::now());
    let period = 20 * MS;
    communicator
        .alarm(When::Every(period), move |alarm, communicator| {
            let calls = counted.get() + 1;
            counted.set(calls);
            if calls == 1 {
                pass(50 * MS); // more than two points of the grid
            }
            if calls == 4 {
                communicator.close(alarm.key());
            }
        })
        .unwrap();
    run(&communicator);
    // The first at 20 ms keeps the thread until 70 ms at least; the one that was missed comes once, and the rest at 80 and 100 ms.
    assert_eq!(calls.get(), 4);
    assert!(begin.elapsed() >= 5 * period, "{:?}", begin.elapsed());
}

#[test]
fn it_is_a_connection_like_the_others() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let last = alarm(&communicator, &log, "last", When::After(MS));
    let first = alarm(&communicator, &log, "first", When::After(2 * MS));
    let _date = alarm(&communicator, &log, "date", When::At(SystemTime::UNIX_EPOCH));
    communicator.set_priority(last.key(), 200);
    communicator.set_priority(first.key(), 0);
    communicator.set_name(first.key(), "tick");
    let info = communicator.connection(first.key()).unwrap();
    assert_eq!((info.kind, &*info.name, info.priority), ("timer", "tick", 0));
    pass(5 * MS);
    turn(&communicator);
    assert_log(&log, &["first", "date", "last"]);
    assert_eq!(communicator.len(), 3);
}

#[test]
fn while_it_is_off_its_time_runs_on_and_it_calls_once() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let whens = [When::Every(2 * MS), When::After(MS), When::At(SystemTime::UNIX_EPOCH)];
    for when in whens {
        let alarm = alarm(&communicator, &log, "called", when);
        communicator.enable(alarm.key(), false);
        pass(20 * MS);
        turn(&communicator);
        assert_log(&log, &[]);
        communicator.enable(alarm.key(), true);
        turn(&communicator);
        assert_log(&log, &["called"]);
        communicator.remove(alarm.key());
    }
    assert!(communicator.is_empty());
}

#[test]
fn it_can_be_set_to_another_time_at_any_moment() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let moved = alarm(&communicator, &log, "moved", When::After(LONG));
    let over = alarm(&communicator, &log, "over", When::After(MS));
    let date = alarm(&communicator, &log, "date", When::At(SystemTime::UNIX_EPOCH));
    // Another one, called before them in the turn in which they are over, lifts two of them.
    let (lifted, other) = (over.clone(), date.clone());
    let lifts = communicator
        .alarm(When::After(MS), move |_, communicator| {
            assert!(lifted.set(communicator, When::Never).unwrap());
            assert!(other.set(communicator, When::After(LONG)).unwrap());
        })
        .unwrap();
    communicator.set_priority(lifts.key(), 0);
    pass(5 * MS);
    turn(&communicator);
    settle(&communicator);
    assert_log(&log, &[]);
    assert!(moved.set(&communicator, When::After(MS)).unwrap());
    until(&communicator, || log.len() == 1);
    assert_log(&log, &["moved"]);
    assert_eq!(date.when(), When::After(LONG));
    communicator.close_all();
    run(&communicator);
}

#[test]
fn its_own_call_may_do_anything_with_it() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    for what in ["set", "off", "remove", "close", "panic"] {
        let said = log.clone();
        let mut calls = 0;
        let alarm = communicator
            .alarm(When::Every(MS), move |alarm, communicator| {
                calls += 1;
                said.say(format!("{what} {calls}"));
                match (what, calls) {
                    ("set", 1) => assert!(alarm.set(communicator, When::At(SystemTime::now() + MS)).unwrap()),
                    ("set", _) => assert_eq!(alarm.when(), When::Never),
                    ("off", _) => assert!(communicator.enable(alarm.key(), false)),
                    ("remove", _) => assert!(communicator.remove(alarm.key())),
                    ("close", _) => assert!(communicator.close(alarm.key())),
                    _ => panic!("in a timer, as it should"),
                }
            })
            .unwrap();
        let calls = if what == "set" { 2 } else { 1 };
        until(&communicator, || log.len() == calls);
        pass(5 * MS);
        settle(&communicator);
        assert_eq!(log.take().len(), calls, "{what}");
        assert_eq!(communicator.is_alive(alarm.key()), matches!(what, "set" | "off"), "{what}");
        communicator.remove(alarm.key());
    }
    assert!(communicator.is_empty());
}

#[test]
fn a_date_of_a_connection_goes_with_it() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let soon = SystemTime::now() + 20 * MS;
    let gone = alarm(&communicator, &log, "gone", When::Never);
    let timer = communicator.timer_at(gone.key(), soon, 7).unwrap().unwrap();
    assert!(communicator.is_set(timer));
    communicator.remove(gone.key());
    assert!(!communicator.is_set(timer));
    assert_eq!(communicator.timer_at(gone.key(), soon, 7).unwrap(), None);
    let cancelled = alarm(&communicator, &log, "cancelled", When::Never);
    let timer = communicator.timer_at(cancelled.key(), soon, 7).unwrap().unwrap();
    assert!(communicator.cancel(timer) && !communicator.cancel(timer));
    communicator.close(cancelled.key());
    run(&communicator);
    assert_log(&log, &[]);
}
