//! Streams over a wire in memory: what a test does is said in its name.

mod ending;
mod handed_over;
mod others_code;
mod output;
mod panics;
mod upgrade;

use crate::codec::Lines;
use crate::communicator::{Closed, Communicator, Cx, Handler, HandlerResult, Id, Timeout};
use crate::connections::wire::{Far, wire};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// Writes down what it is called with, and asks `act` what to do.
struct Witness<A> {
    events: Rc<RefCell<Vec<String>>>,
    act: A,
}

impl<A: FnMut(&str, &Cx<'_, Lines>) -> HandlerResult> Witness<A> {
    fn note(&mut self, event: &str, cx: &Cx<'_, Lines>) -> HandlerResult {
        self.events.borrow_mut().push(event.to_owned());
        (self.act)(event, cx)
    }
}

impl<A: FnMut(&str, &Cx<'_, Lines>) -> HandlerResult + 'static> Handler<Lines> for Witness<A> {
    fn connected(&mut self, cx: &Cx<'_, Lines>) -> HandlerResult {
        self.note("connected", cx)
    }
    fn message(&mut self, line: &str, cx: &Cx<'_, Lines>) -> HandlerResult {
        self.note(line, cx)
    }
    fn upgraded(&mut self, cx: &Cx<'_, Lines>) -> HandlerResult {
        self.note("upgraded", cx)
    }
    fn drained(&mut self, cx: &Cx<'_, Lines>) -> HandlerResult {
        self.note("drained", cx)
    }
    fn timeout(&mut self, what: Timeout, cx: &Cx<'_, Lines>) -> HandlerResult {
        self.note(&format!("{what:?}"), cx)
    }
    fn eof(&mut self, cx: &Cx<'_, Lines>) -> HandlerResult {
        self.note("eof", cx)
    }
    fn closed(&mut self, why: &Closed, cx: &Cx<'_, Lines>) {
        let _ = self.note(&format!("closed: {why}"), cx);
    }
}

/// One connection, the other end of its wire, and what its handler has seen.
struct Stage {
    communicator: Communicator,
    id: Id<Lines>,
    far: Far,
    events: Rc<RefCell<Vec<String>>>,
}

/// A connection that was added and not called yet.
fn stage(act: impl FnMut(&str, &Cx<'_, Lines>) -> HandlerResult + 'static) -> Stage {
    staged(|_| (), act)
}

fn staged(set: impl FnOnce(&Far), act: impl FnMut(&str, &Cx<'_, Lines>) -> HandlerResult + 'static) -> Stage {
    let communicator = Communicator::new().unwrap();
    let (ours, far) = wire();
    set(&far);
    let events = Rc::new(RefCell::new(Vec::new()));
    let id = communicator.stream(ours, Lines::new(), Witness { events: events.clone(), act }).unwrap();
    Stage { communicator, id, far, events }
}

/// One that is established already.
fn open(act: impl FnMut(&str, &Cx<'_, Lines>) -> HandlerResult + 'static) -> Stage {
    let stage = stage(act);
    stage.settle();
    assert_eq!(stage.seen(), ["connected"]);
    stage
}

impl Stage {
    /// Turns until the loop would wait.
    fn settle(&self) {
        settle(&self.communicator);
    }

    /// What was seen since the last time.
    fn seen(&self) -> Vec<String> {
        self.events.take()
    }

    fn send(&self, bytes: &str) {
        self.far.send(&self.communicator, self.id, bytes);
    }

    fn gone(&self) -> bool {
        self.communicator.is_empty() && self.far.state().closed
    }
}

fn settle(communicator: &Communicator) {
    for _ in 0..200 {
        communicator.turn(Some(Duration::ZERO)).unwrap();
        if communicator.wait_hint() != Some(Duration::ZERO) {
            return;
        }
    }
    panic!("the loop never rests: {:?}", communicator.connections());
}

fn ok(_: &str, _: &Cx<'_, Lines>) -> HandlerResult {
    Ok(())
}
