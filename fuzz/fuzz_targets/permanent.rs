//! A connection that reconnects by itself, over real sockets whose other ends, and whose transports, do what the input says: attempts
//! fail, come late or die at once, calls move a few bytes or fail, the other side ends, half or wholly, at any byte; and the program
//! sends, greets, holds, switches off, closes and removes, also from inside of callbacks. The input is one program for all of them: a
//! byte each time that something is to be decided. What every transport took is compared with what the connection took: nothing
//! twice, nothing half, nothing in another order, and nothing lost beyond what is documented. Nothing waits for time: pauses last
//! a microsecond, or so long that only the program asks for attempts.
#![no_main]

#[path = "permanent/wire.rs"]
mod wire;
#[path = "permanent/world.rs"]
mod world;

use eventdispatcher::codec::ByteLines;
use eventdispatcher::{Attempt, Closed, Connect, Cx, Handler, HandlerResult, State, Timeout};
use libfuzzer_sys::fuzz_target;
use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use wire::Thin;
use world::{WIRES_MAX, World};

// As in every program whose main function is Rust's.
static SIGNALS: LazyLock<()> = LazyLock::new(|| {
    signal_hook::flag::register(signal_hook::consts::SIGPIPE, Arc::default()).expect("a signal");
});

fuzz_target!(|program: &[u8]| {
    LazyLock::force(&SIGNALS);
    World::start(program).run();
});

/// What makes its transports.
struct To(Rc<World>);

impl Connect for To {
    type Transport = Thin;

    fn connect(&mut self, attempt: Attempt<Thin>) {
        let world = &self.0;
        assert!(!world.ended() && world.enabled.get() && attempt.is_wanted());
        if world.wires.borrow().len() >= WIRES_MAX && !world.kind.get() {
            return;
        }
        match world.next() {
            200..220 => {}
            220..230 => drop(attempt.done(Err(ErrorKind::ConnectionRefused.into()))),
            230.. => world.late.borrow_mut().push(attempt),
            _ => world.answer(attempt),
        }
    }
}

/// Its handler.
struct Actor(Rc<World>);

/// What handlers do by default.
struct Usual;

impl Handler<ByteLines> for Usual {
    fn message(&mut self, _: &[u8], _: &Cx<'_, ByteLines>) -> HandlerResult {
        Ok(())
    }
}

impl Handler<ByteLines> for Actor {
    fn connected(&mut self, _: &Cx<'_, ByteLines>) -> HandlerResult {
        let world = &self.0;
        world.called();
        assert!(!world.there.replace(true), "it was there already");
        world.eof.set(false);
        world.greet();
        world.act_inside()
    }

    fn message(&mut self, line: &[u8], cx: &Cx<'_, ByteLines>) -> HandlerResult {
        let world = &self.0;
        world.called();
        assert!(world.there.get() && !world.eof.get() && cx.is_connected(cx.id()), "it is away");
        assert!(world.reading.get(), "it is not read");
        let (turn, items) = world.items.get();
        let now = cx.turn_number();
        let items = if turn == now { items + 1 } else { 1 };
        world.items.set((now, items));
        // What was left of the last turn comes before anything is read, of which there may be one more.
        assert!(items <= world.callbacks_max.get() + 1, "more than its budget: {items}");
        if line.is_empty() {
            return Ok(());
        }
        let wire = world.wire().expect("it is there");
        let seen = wire.seen.replace(wire.seen.get() + 1);
        assert_eq!(
            wire.given.borrow().get(seen).map(Vec::as_slice),
            Some(line),
            "line {seen} of {}",
            wire.number
        );
        world.act_inside()
    }

    fn drained(&mut self, _: &Cx<'_, ByteLines>) -> HandlerResult {
        let world = &self.0;
        world.called();
        assert!(world.there.get(), "it is away");
        world.owed.set(false);
        // It may have been high again before it was told, which it is told of once.
        let left = world.pressed.get().checked_sub(1).expect("its queue was never high");
        world.pressed.set(left.min(1));
        world.act_inside()
    }

    fn timeout(&mut self, what: Timeout, _: &Cx<'_, ByteLines>) -> HandlerResult {
        let world = &self.0;
        world.called();
        let Timeout::Timer(tag) = what else { panic!("{what}") };
        assert!(!std::mem::replace(&mut world.timers.borrow_mut()[tag as usize], true), "timer {tag} twice");
        world.act_inside()
    }

    fn eof(&mut self, cx: &Cx<'_, ByteLines>) -> HandlerResult {
        let world = &self.0;
        world.called();
        assert!(world.there.get() && world.reading.get() && !world.eof.replace(true), "an end, again");
        world.check_all_seen(&world.wire().expect("it is there"));
        let told = world.act_inside();
        if world.next() % 4 == 0 { Usual.eof(cx).and(told) } else { told }
    }

    fn failed(&mut self, _: &Closed, cx: &Cx<'_, ByteLines>) -> HandlerResult {
        let world = &self.0;
        world.called();
        assert!(!world.there.get(), "it is there");
        assert!(matches!(cx.connection(cx.id()).expect("it waits").state, State::Waiting { .. }));
        let told = world.act_inside();
        world.ending.set(world.ending.get() || told.is_err());
        told
    }

    fn lost(&mut self, why: &Closed, cx: &Cx<'_, ByteLines>) -> HandlerResult {
        let world = &self.0;
        world.called();
        assert!(world.there.replace(false), "it was not there");
        assert!(matches!(cx.connection(cx.id()).expect("it waits").state, State::Waiting { .. }));
        let wire = world.wire().expect("it was there");
        assert!(wire.dropped.get(), "its transport is open");
        if matches!(why, Closed::Eof | Closed::Io(_)) && !wire.read_failed.get() {
            world.check_all_seen(&wire);
        }
        let told = world.act_inside();
        world.ending.set(world.ending.get() || told.is_err());
        told
    }

    fn closed(&mut self, _: &Closed, cx: &Cx<'_, ByteLines>) {
        let world = &self.0;
        assert!(world.ending.get() && !world.removed.get() && !world.closed.replace(true), "closed");
        assert!(!cx.is_alive(cx.id()));
        world.there.set(false);
        // Nothing is to be done with it any more.
        let _ = world.act_inside();
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        assert!(!self.0.handler_dropped.replace(true), "twice");
    }
}
