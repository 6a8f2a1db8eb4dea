//! Errors, and what transports tell of themselves, are somebody's code, too: their destructors and texts may use the loop, and panic.

use crate::codec::Lines;
use crate::communicator::{
    Closed, Communicator, Cx, Handler, HandlerResult, Reconnect, communicator, on_item,
};
use crate::connections::wire::{Far, Wire, wire};
use crate::connections::{Attempt, Connect, HeldBack, Transport};
use mio::event::Source;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::sync::Once;
use std::time::Duration;

thread_local! {
    /// How many destructors have run.
    static DROPPED: Cell<usize> = const { Cell::new(0) };
    static LOGS: Cell<bool> = const { Cell::new(false) };
}

/// Comes back to the loop when it is dropped, and then panics if it is to.
#[derive(Debug, Default)]
struct Odd {
    panics: bool,
    text_panics: bool,
}

impl Drop for Odd {
    fn drop(&mut self) {
        DROPPED.set(DROPPED.get() + 1);
        assert!(communicator().len() < 100, "the loop can be asked");
        assert!(!self.panics, "the destructor was told to panic");
    }
}

impl fmt::Display for Odd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        assert!(!self.text_panics, "the text was told to panic");
        f.write_str("odd")
    }
}

impl std::error::Error for Odd {}

/// A wire that tells something of itself, and fails in its own way.
struct OddWire {
    wire: Wire,
    /// What each write fails with, and does before.
    write: Option<Box<dyn FnMut() -> Odd>>,
    /// Told once.
    about: RefCell<Option<Rc<dyn Any>>>,
}

impl Read for OddWire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.wire.read(into)
    }
}

impl Write for OddWire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.write {
            Some(fail) => Err(io::Error::other(fail())),
            None => self.wire.write(bytes),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        self.wire.flush()
    }
}

impl Transport for OddWire {
    fn source(&mut self) -> Option<&mut dyn Source> {
        None
    }
    fn establish(&mut self) -> io::Result<bool> {
        self.wire.establish()
    }
    fn shutdown_write(&mut self) -> io::Result<()> {
        self.wire.shutdown_write()
    }
    fn held_back(&self) -> Option<HeldBack> {
        None
    }
    fn about(&self) -> Option<Rc<dyn Any>> {
        self.about.take()
    }
}

fn odd_wire() -> (OddWire, Far) {
    let (wire, far) = wire();
    (OddWire { wire, write: None, about: RefCell::default() }, far)
}

/// The next connection is to be nothing that this test has to do with: the loop is as it was.
#[track_caller]
fn check_still_works(expected: usize) {
    let communicator = communicator();
    assert_eq!(DROPPED.replace(0), expected, "destructors");
    let (ours, far) = wire();
    far.put("x\n");
    let echo = on_item(|line: &str, cx: &Cx<'_, Lines>| Ok(cx.reply(line)?));
    let id = communicator.stream(ours, Lines::new(), echo).unwrap();
    for _ in 0..3 {
        communicator.turn(Some(Duration::ZERO)).unwrap();
    }
    assert_eq!(far.text(), "x\n");
    assert!(communicator.remove(id));
    assert_eq!(communicator.connections(), []);
}

/// Turns that change nothing any more are turns enough.
fn settle() {
    for _ in 0..6 {
        communicator().turn(Some(Duration::ZERO)).unwrap();
    }
}

/// Switches itself off, and fails.
struct OffAndFails {
    panics: bool,
}

impl Handler<Lines> for OffAndFails {
    fn connected(&mut self, cx: &Cx<'_, Lines>) -> HandlerResult {
        cx.enable(cx.id(), false);
        Err(Odd { panics: self.panics, text_panics: false }.into())
    }
    fn message(&mut self, _: &str, _: &Cx<'_, Lines>) -> HandlerResult {
        Ok(())
    }
    fn lost(&mut self, _: &Closed, _: &Cx<'_, Lines>) -> HandlerResult {
        Ok(())
    }
}

struct ToWires;

impl Connect for ToWires {
    type Transport = OddWire;
    fn connect(&mut self, attempt: Attempt<OddWire>) {
        attempt.done(Ok(odd_wire().0));
    }
}

#[test]
fn an_error_that_waits_to_be_told_goes_with_its_connection() {
    for panics in [false, true] {
        let communicator = communicator();
        let reconnect = Reconnect::new("0.000001".parse().unwrap());
        let id = communicator.permanent(ToWires, reconnect, Lines::new, OffAndFails { panics });
        settle();
        assert!(communicator.remove(id));
        check_still_works(1);
    }
}

#[test]
fn an_error_that_was_told_may_panic_when_it_goes() {
    struct Fails;
    impl Handler<Lines> for Fails {
        fn connected(&mut self, _: &Cx<'_, Lines>) -> HandlerResult {
            Err(Odd { panics: true, text_panics: false }.into())
        }
        fn message(&mut self, _: &str, _: &Cx<'_, Lines>) -> HandlerResult {
            Ok(())
        }
        fn lost(&mut self, _: &Closed, cx: &Cx<'_, Lines>) -> HandlerResult {
            cx.stop_reconnecting(cx.id());
            cx.remove(cx.id());
            Ok(())
        }
    }
    let reconnect = Reconnect::new("0.000001".parse().unwrap());
    communicator().permanent(ToWires, reconnect, Lines::new, Fails);
    settle();
    check_still_works(1);
    // One that is closed already, and then fails: nobody hears of that.
    let (ours, _far) = odd_wire();
    struct ClosesAndFails;
    impl Handler<Lines> for ClosesAndFails {
        fn connected(&mut self, cx: &Cx<'_, Lines>) -> HandlerResult {
            cx.close();
            Err(Odd { panics: true, text_panics: false }.into())
        }
        fn message(&mut self, _: &str, _: &Cx<'_, Lines>) -> HandlerResult {
            Ok(())
        }
    }
    communicator().stream(ours, Lines::new(), ClosesAndFails).unwrap();
    settle();
    check_still_works(1);
}

#[test]
fn what_a_transport_tells_of_itself_goes_with_its_connection() {
    for panics in [false, true] {
        let communicator = communicator();
        for ends in ["removed", "closed"] {
            let (ours, far) = odd_wire();
            *ours.about.borrow_mut() = Some(Rc::new(Odd { panics, text_panics: false }));
            let ignore = on_item(|_: &str, _: &Cx<'_, Lines>| Ok(()));
            let id = communicator.stream(ours, Lines::new(), ignore).unwrap();
            settle();
            assert!(communicator.about::<Odd>(id).is_some());
            far.state().ended = true;
            let ended = if ends == "removed" { communicator.remove(id) } else { communicator.close(id) };
            assert!(ended);
            settle();
            check_still_works(1);
        }
    }
}

#[test]
fn the_error_of_a_write_that_nobody_waits_for_is_dropped_outside() {
    let communicator = communicator();
    for panics in [false, true] {
        for removes in [false, true] {
            let (mut ours, _far) = odd_wire();
            let id = Rc::new(Cell::new(None));
            let named = id.clone();
            ours.write = Some(Box::new(move || {
                let here = crate::communicator();
                if removes {
                    let id: crate::Id<Lines> = named.get().expect("it was added");
                    here.remove(id);
                }
                Odd { panics, text_panics: false }
            }));
            let ignore = on_item(|_: &str, _: &Cx<'_, Lines>| Ok(()));
            let added = communicator.stream(ours, Lines::new(), ignore).unwrap();
            id.set(Some(added));
            settle();
            communicator.send(added, "x").unwrap();
            communicator.close(added);
            settle();
            check_still_works(1);
        }
    }
}

/// Formats what is logged on a thread that asked for it.
struct Formats;

impl log::Log for Formats {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        LOGS.get()
    }
    fn log(&self, record: &log::Record<'_>) {
        if LOGS.get() {
            assert!(!record.args().to_string().is_empty());
        }
    }
    fn flush(&self) {}
}

#[test]
fn an_error_whose_text_panics_ends_its_own_connection_and_no_other() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Formats).expect("no other test sets one");
        log::set_max_level(log::LevelFilter::Debug);
    });
    LOGS.set(true);
    struct Fails;
    impl Handler<Lines> for Fails {
        fn connected(&mut self, _: &Cx<'_, Lines>) -> HandlerResult {
            Err(Odd { panics: false, text_panics: true }.into())
        }
        fn message(&mut self, _: &str, _: &Cx<'_, Lines>) -> HandlerResult {
            Ok(())
        }
        fn lost(&mut self, _: &Closed, cx: &Cx<'_, Lines>) -> HandlerResult {
            cx.remove(cx.id());
            Ok(())
        }
    }
    communicator().stream(odd_wire().0, Lines::new(), Fails).unwrap();
    settle();
    check_still_works(1);
    let reconnect = Reconnect::new("0.000001".parse().unwrap());
    communicator().permanent(ToWires, reconnect, Lines::new, Fails);
    settle();
    check_still_works(1);
    // What is still queued when a write fails at the end.
    let (mut ours, _far) = odd_wire();
    ours.write = Some(Box::new(|| Odd { panics: false, text_panics: true }));
    let ignore = on_item(|_: &str, _: &Cx<'_, Lines>| Ok(()));
    let id = communicator().stream(ours, Lines::new(), ignore).unwrap();
    settle();
    communicator().send(id, "x").unwrap();
    communicator().close(id);
    settle();
    check_still_works(1);
    LOGS.set(false);
}

#[test]
fn a_communicator_that_is_dropped_drops_everything_though_all_of_it_panics() {
    let communicator = Communicator::new().unwrap();
    for _ in 0..3 {
        let (ours, _far) = odd_wire();
        *ours.about.borrow_mut() = Some(Rc::new(Odd { panics: true, text_panics: false }));
        let held = Odd { panics: true, text_panics: false };
        let ignore = on_item(move |_: &str, _: &Cx<'_, Lines>| {
            let _ = &held;
            Ok(())
        });
        communicator.stream(ours, Lines::new(), ignore).unwrap();
        let reconnect = Reconnect::new("0.000001".parse().unwrap());
        communicator.permanent(ToWires, reconnect, Lines::new, OffAndFails { panics: true });
    }
    for _ in 0..6 {
        communicator.turn(Some(Duration::ZERO)).unwrap();
    }
    let posted = RefCell::new(Vec::new());
    for _ in 0..300 {
        let odd = Odd { panics: true, text_panics: false };
        posted.borrow_mut().push(communicator.remote().unwrap().post(move |_| drop(odd)));
    }
    assert!(posted.take().iter().all(Result::is_ok));
    DROPPED.set(0);
    drop(communicator);
    check_still_works(3 * 3 + 300);
}

#[test]
fn a_handler_that_panics_in_its_last_call_and_in_its_destructor_ends_nothing_else() {
    struct Doubly(#[expect(dead_code, reason = "held to be dropped")] Odd);
    impl Handler<Lines> for Doubly {
        fn message(&mut self, _: &str, _: &Cx<'_, Lines>) -> HandlerResult {
            Ok(())
        }
        fn closed(&mut self, _: &Closed, _: &Cx<'_, Lines>) {
            panic!("the handler was told to panic");
        }
    }
    let handler = Doubly(Odd { panics: true, text_panics: false });
    let id = communicator().stream(odd_wire().0, Lines::new(), handler).unwrap();
    settle();
    communicator().close(id);
    settle();
    check_still_works(1);
}

#[test]
fn what_is_thrown_may_panic_when_it_goes() {
    struct Throws;
    impl Handler<Lines> for Throws {
        fn connected(&mut self, _: &Cx<'_, Lines>) -> HandlerResult {
            std::panic::panic_any(Odd { panics: true, text_panics: false })
        }
        fn message(&mut self, _: &str, _: &Cx<'_, Lines>) -> HandlerResult {
            Ok(())
        }
    }
    communicator().stream(odd_wire().0, Lines::new(), Throws).unwrap();
    communicator().after(Duration::ZERO, |_| std::panic::panic_any(Odd { panics: true, text_panics: false }));
    settle();
    check_still_works(2);
}
