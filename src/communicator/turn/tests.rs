use super::*;
use crate::codec::Lines;
use crate::communicator::{Closed, Cx, Handler, HandlerResult, communicator};
use crate::unix_pair;
use std::cell::{Cell, RefCell};
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;

/// Does something when it is dropped.
struct Last<F: FnMut()>(F);

impl<F: FnMut()> Drop for Last<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

impl<F: FnMut() + 'static> Handler<Lines> for Last<F> {
    fn message(&mut self, _: &str, _: &Cx<'_, Lines>) -> HandlerResult {
        Ok(())
    }
}

/// Adds a connection that does something when it is dropped; the other side stays open.
fn add(communicator: &Communicator, last: impl FnMut() + 'static) -> Key {
    let (ours, theirs) = unix_pair().unwrap();
    let mut last = last;
    let last = move || {
        let _ = &theirs;
        last();
    };
    communicator.stream(ours, Lines::new(), Last(last)).unwrap().key()
}

#[test]
fn a_loop_that_is_run_from_inside_a_callback_refuses_and_changes_nothing() {
    let communicator = Communicator::new().unwrap();
    let key = add(&communicator, || ());
    let late = communicator.after(Duration::from_secs(3600), |_| ());
    let seen = Rc::new(Cell::new(false));
    let noted = seen.clone();
    communicator.after(Duration::ZERO, move |communicator| {
        assert!(communicator.run().is_err());
        assert!(communicator.turn(None).is_err());
        assert!(communicator.is_alive(key) && communicator.is_set(late));
        noted.set(true);
        communicator.stop();
    });
    communicator.run().unwrap();
    assert!(seen.get() && communicator.is_empty());
}

#[test]
fn a_loop_that_is_run_from_a_destructor_refuses() {
    let communicator = Communicator::new().unwrap();
    let inner = communicator.clone();
    let seen = Rc::new(Cell::new(false));
    let noted = seen.clone();
    let key = add(&communicator, move || {
        assert!(inner.run().is_err());
        assert!(inner.turn(None).is_err());
        noted.set(true);
    });
    communicator.remove(key);
    assert!(seen.get());
}

#[test]
fn it_can_be_run_again_though_it_was_stopped() {
    let communicator = Communicator::new().unwrap();
    let count = Rc::new(Cell::new(0));
    for round in 1..4 {
        let (counted, inner) = (count.clone(), communicator.clone());
        communicator.after(Duration::ZERO, move |communicator| {
            counted.set(counted.get() + 1);
            communicator.stop();
        });
        add(&communicator, move || inner.stop());
        communicator.run().unwrap();
        assert_eq!((count.get(), communicator.is_empty()), (round, true));
    }
}

#[test]
fn a_loop_that_was_stopped_before_it_is_run_makes_no_turn() {
    let communicator = Communicator::new().unwrap();
    communicator.after(Duration::ZERO, |_| panic!("a turn was made"));
    communicator.stop();
    communicator.run().unwrap();
    assert!(communicator.is_empty());
    let seen = Rc::new(Cell::new(false));
    let noted = seen.clone();
    communicator.after(Duration::ZERO, move |_| noted.set(true));
    communicator.run().unwrap();
    assert!(seen.get());
}

#[test]
fn what_destructors_add_at_the_end_is_removed_too() {
    let communicator = Communicator::new().unwrap();
    let inner = communicator.clone();
    add(&communicator, move || {
        inner.after(Duration::from_secs(3600), |_| ());
        add(&inner, || ());
    });
    communicator.stop();
    communicator.run().unwrap();
    assert!(communicator.is_empty());
}

#[test]
fn the_communicator_of_a_thread_can_be_asked_for_by_a_destructor_at_the_end_of_the_thread() {
    for runs in [false, true] {
        let ended = std::thread::spawn(move || {
            fn runs_once_more() {
                let communicator = communicator();
                communicator.close_all();
                communicator.after(Duration::ZERO, |_| ());
                communicator.run().unwrap();
            }
            thread_local! {
                static LAST: Last<fn()> = const { Last(runs_once_more) };
            }
            LAST.with(|_| ());
            add(&communicator(), || {
                communicator().close_all();
            });
            if runs {
                communicator().stop();
                communicator().run().unwrap();
            }
        });
        ended.join().unwrap();
    }
}

#[test]
fn the_communicator_of_a_thread_goes_with_the_thread() {
    let held = std::sync::Arc::new(());
    for runs in [false, true] {
        let holding = held.clone();
        let thread = std::thread::spawn(move || {
            let here = communicator();
            // The handler holds the communicator that holds it.
            let clone = here.clone();
            let kept = holding.clone();
            add(&here, move || {
                let _ = (&clone, &kept);
            });
            here.before_writes(move |_| drop(holding.clone()));
            if runs {
                here.turn(Some(Duration::ZERO)).unwrap();
            }
            std::rc::Rc::downgrade(&here.0).strong_count()
        });
        assert!(thread.join().unwrap() > 1);
        assert_eq!(std::sync::Arc::strong_count(&held), 1, "runs {runs}");
    }
}

#[test]
fn a_communicator_that_is_dropped_drops_all_handlers_though_they_panic() {
    let communicator = Communicator::new().unwrap();
    let count = Rc::new(Cell::new(0));
    for _ in 0..3 {
        let counted = count.clone();
        add(&communicator, move || {
            counted.set(counted.get() + 1);
            panic!("the destructor was told to panic");
        });
        let counted = count.clone();
        let last = Last(move || {
            counted.set(counted.get() + 1);
            panic!("the destructor was told to panic");
        });
        communicator.after(Duration::ZERO, move |_| drop(last));
    }
    drop(communicator);
    assert_eq!(count.get(), 6);
}

#[test]
fn a_destructor_runs_when_the_callback_that_removed_its_connection_has_returned() {
    let communicator = Communicator::new().unwrap();
    let order = Rc::new(RefCell::new(Vec::new()));
    let noted = order.clone();
    let key = add(&communicator, move || noted.borrow_mut().push("dropped"));
    let noted = order.clone();
    communicator.after(Duration::ZERO, move |communicator| {
        assert!(communicator.remove(key));
        assert!(!communicator.remove(key));
        noted.borrow_mut().push("removed");
    });
    communicator.run().unwrap();
    assert_eq!(*order.borrow(), ["removed", "dropped"]);
}

/// Waits until the descriptor of the loop says that there is something to do, as another loop would.
fn until_readable(communicator: &Communicator) {
    let mut poll = mio::Poll::new().unwrap();
    let fd = communicator.as_fd().as_raw_fd();
    let source = &mut mio::unix::SourceFd(&fd);
    poll.registry().register(source, mio::Token(0), mio::Interest::READABLE).unwrap();
    poll.poll(&mut mio::Events::with_capacity(1), None).unwrap();
}

#[test]
fn time_limits_of_what_is_written_outside_of_a_turn_begin_then() {
    let communicator = Communicator::new().unwrap();
    let (ours, _theirs) = unix_pair().unwrap();
    let quiet = crate::on_item::<Lines, _>(|_, _| Ok(()));
    let id = communicator.stream(ours, Lines::new(), quiet).unwrap();
    communicator.turn(Some(Duration::ZERO)).unwrap();
    communicator.core(|core| core.now = 0); // the last turn was long ago
    communicator.send(id, &"x".repeat(4 << 20)).unwrap(); // so much that it is written at once
    let info = communicator.connection(id).unwrap();
    let now = communicator.clock();
    let began = info.stalled_since.unwrap();
    assert!(began > Duration::ZERO && began <= Duration::from_nanos(now), "{began:?}");
    assert_eq!(info.last_sent, began);
}

#[test]
fn timers_and_dates_come_before_connections() {
    let communicator = Communicator::new().unwrap();
    let order = Rc::new(RefCell::new(Vec::new()));
    let note = |what| {
        let order = order.clone();
        move |communicator: &Communicator| {
            order.borrow_mut().push(what);
            communicator.stop();
        }
    };
    let (ours, theirs) = unix_pair().unwrap();
    let noted = note("line");
    let handler = crate::on_item::<Lines, _>(move |_, cx| {
        noted(cx);
        Ok(())
    });
    communicator.stream(ours, Lines::new(), handler).unwrap();
    communicator.turn(Some(Duration::ZERO)).unwrap();
    communicator.at(SystemTime::UNIX_EPOCH, note("date")).unwrap();
    let date = communicator.core(|core| core.next_date());
    communicator.0.wall.borrow_mut().as_mut().unwrap().wake_at(date).unwrap();
    until_readable(&communicator);
    (&theirs).write_all(b"x\n").unwrap();
    communicator.after(Duration::ZERO, note("timer"));
    communicator.run().unwrap();
    assert_eq!(*order.borrow(), ["timer", "date", "line"]);
}

#[test]
fn an_error_of_a_handler_whose_destructor_uses_the_loop_is_no_danger_to_it() {
    #[derive(Debug)]
    struct Failure;
    impl Drop for Failure {
        fn drop(&mut self) {
            communicator().close_all();
        }
    }
    impl std::fmt::Display for Failure {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("told to fail")
        }
    }
    impl std::error::Error for Failure {}
    struct ClosesAndFails;
    impl Handler<Lines> for ClosesAndFails {
        fn connected(&mut self, cx: &Cx<'_, Lines>) -> HandlerResult {
            cx.close();
            Err(Failure.into())
        }
        fn message(&mut self, _: &str, _: &Cx<'_, Lines>) -> HandlerResult {
            Ok(())
        }
        fn closed(&mut self, why: &Closed, _: &Cx<'_, Lines>) {
            assert!(matches!(why, Closed::Local));
        }
    }
    let (ours, _theirs) = unix_pair().unwrap();
    communicator().stream(ours, Lines::new(), ClosesAndFails).unwrap();
    communicator().run().unwrap();
}
