//! What is written, and what happens when it is not.

use super::{Stage, ok, open, settle};
use crate::codec::Lines;
use crate::communicator::{Communicator, Id, Limits, SendError};
use crate::connections::Transport;
use crate::connections::wire::{Wire, wire};
use mio::event::Source;
use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;
use std::time::Duration;

#[test]
fn what_came_before_writing_failed_is_handed_over_first() {
    let stage = open(ok);
    stage.far.state().write_error = Some(ErrorKind::BrokenPipe);
    stage.far.put("one\ntwo\n");
    stage.communicator.send(stage.id, "lost").unwrap();
    stage.settle();
    assert_eq!(stage.seen(), ["one", "two", "closed: failed: broken pipe"]);
    assert!(stage.gone());
}

#[test]
fn a_failed_write_comes_to_light_when_it_is_read_again() {
    type Switch = fn(&Communicator, Id<Lines>, bool) -> bool;
    let switches: [Switch; 2] = [|c, id, on| c.enable(id, on), |c, id, on| c.read(id, on)];
    for switch in switches {
        let stage = open(ok);
        let Stage { communicator, id, far, .. } = &stage;
        switch(communicator, *id, false);
        far.state().write_error = Some(ErrorKind::BrokenPipe);
        stage.send("kept\n");
        communicator.send(*id, "lost").unwrap();
        stage.settle();
        assert!(stage.seen().is_empty());
        assert_eq!(communicator.send(*id, "refused"), Err(SendError::Gone));
        switch(communicator, *id, true);
        stage.settle();
        assert_eq!(stage.seen(), ["kept", "closed: failed: broken pipe"]);
        assert!(stage.gone());
    }
}

#[test]
fn drained_is_said_once_for_each_time_that_the_queue_was_high() {
    let stage = open(ok);
    let Stage { communicator, id, far, .. } = &stage;
    communicator.set_limits(*id, Limits { output: 100, high_water: 50, low_water: 10, ..Limits::default() });
    far.state().room = 0;
    let line = "x".repeat(19);
    for (lines, high) in [(2, false), (3, true), (5, true), (1, false)] {
        for _ in 0..lines {
            communicator.send(*id, &line).unwrap();
        }
        if lines == 5 {
            assert_eq!(communicator.send(*id, &line), Err(SendError::Full { queued: 100 }));
        }
        stage.settle();
        far.take(communicator, *id, 20 * lines - 11);
        stage.settle();
        assert!(stage.seen().is_empty(), "{lines} lines: said too early");
        far.take(communicator, *id, 1);
        stage.settle();
        assert_eq!(stage.seen().len(), usize::from(high), "{lines} lines");
        far.take(communicator, *id, 10);
        stage.settle();
        assert!(stage.seen().is_empty(), "{lines} lines: said twice");
    }
}

#[test]
fn what_names_the_receivers_of_a_broadcast_may_use_the_loop() {
    let communicator = Communicator::new().unwrap();
    let (ids, fars): (Vec<_>, Vec<_>) = (0..150)
        .map(|_| {
            let (ours, far) = wire();
            (communicator.stream(ours, Lines::new(), crate::on_item::<Lines, _>(|_, _| Ok(()))).unwrap(), far)
        })
        .unzip();
    settle(&communicator);
    communicator.close(ids[3]);
    let long = "x".repeat(100 << 10);
    for (n, item) in ["short", &long, &long].into_iter().enumerate() {
        let mut asked = 0;
        let named = ids.iter().copied().inspect(|id| {
            asked += usize::from(communicator.is_alive(*id));
        });
        let refused = communicator.broadcast(named, item).unwrap();
        assert_eq!((refused, asked), (vec![(ids[3], SendError::Gone)], 149), "item {n}");
    }
    settle(&communicator);
    let expected = format!("short\n{long}\n{long}\n");
    for (n, far) in fars.iter().enumerate() {
        assert!(far.text() == if n == 3 { "" } else { expected.as_str() }, "receiver {n}");
    }
}

#[test]
fn a_handler_that_answers_with_much_in_one_turn_does_not_pile_it_up() {
    let long = "x".repeat(100 << 10);
    let stage = open(move |event, cx| if event == "more" { Ok(cx.reply(&long)?) } else { Ok(()) });
    let Stage { communicator, id, far, .. } = &stage;
    communicator.set_limits(*id, Limits { output: 300 << 10, ..Limits::default() });
    stage.send(&"more\n".repeat(20));
    communicator.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(far.state().output.len(), 20 * ((100 << 10) + 1));
    assert!(communicator.is_alive(*id));
}

/// A transport that does something else first whenever it is written to.
struct Meddling {
    wire: Wire,
    first: Rc<dyn Fn()>,
}

impl Read for Meddling {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.wire.read(into)
    }
}

impl Write for Meddling {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (self.first)();
        self.wire.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.wire.flush()
    }
}

impl Transport for Meddling {
    fn source(&mut self) -> Option<&mut dyn Source> {
        self.wire.source()
    }
    fn shutdown_write(&mut self) -> io::Result<()> {
        self.wire.shutdown_write()
    }
}

#[test]
fn a_transport_may_use_the_loop_while_it_is_written_to() {
    type Meddle = fn(&Communicator, Id<Lines>);
    let meddles: [(&str, Meddle, &str); 5] = [
        ("remove", |c, id| assert!(c.remove(id)), "one\n"),
        ("close", |c, id| assert!(c.close(id)), "one\n"),
        ("turn", |c, _| assert!(c.turn(None).is_err()), "one\n"),
        ("run", |c, _| assert!(c.run().is_err()), "one\n"),
        ("send", |c, id| c.send(id, "two").unwrap(), "one\ntwo\n"),
    ];
    for (what, meddle, expected) in meddles {
        let communicator = Communicator::new().unwrap();
        let (wire, far) = wire();
        let name = Rc::new(RefCell::new(None));
        let (inner, named, once) = (communicator.clone(), name.clone(), Cell::new(false));
        let first = move || {
            if let (false, Some(id)) = (once.replace(true), *named.borrow()) {
                meddle(&inner, id);
            }
        };
        let transport = Meddling { wire, first: Rc::new(first) };
        let id =
            communicator.stream(transport, Lines::new(), crate::on_item::<Lines, _>(|_, _| Ok(()))).unwrap();
        settle(&communicator);
        *name.borrow_mut() = Some(id);
        communicator.send(id, "one").unwrap();
        settle(&communicator);
        assert_eq!(far.text(), expected, "{what}");
        assert_eq!(communicator.is_empty(), matches!(what, "remove" | "close"), "{what}");
        assert_eq!(far.state().closed, communicator.is_empty(), "{what}");
        communicator.remove(id);
    }
}
