//! Layers that are put around the transport in mid-stream.

use super::{Stage, open, stage};
use crate::communicator::{
    Communicator, Cx, Handler, HandlerResult, Id, State, Timeouts, UpgradeError, on_item,
};
use crate::connections::{Transport, wire::wire};
use crate::{UpgradeError::Busy, codec::Lines};
use mio::event::Source;
use std::any::Any;
use std::cell::Cell;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

/// A layer that turns small letters into capitals and back, behind a handshake: it says `(` and waits for `)`.
struct Capitals {
    io: Box<dyn Transport>,
    said: bool,
    done: bool,
}

fn turned(byte: u8) -> u8 {
    if byte.is_ascii_alphabetic() { byte ^ 0x20 } else { byte }
}

impl Read for Capitals {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let got = self.io.read(into)?;
        into[..got].iter_mut().for_each(|byte| *byte = turned(*byte));
        Ok(got)
    }
}

impl Write for Capitals {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.io.write(&bytes.iter().copied().map(turned).collect::<Vec<_>>())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.io.flush()
    }
}

impl Transport for Capitals {
    fn source(&mut self) -> Option<&mut dyn Source> {
        self.io.source()
    }
    fn kind(&self) -> &'static str {
        "capitals"
    }
    fn establish(&mut self) -> io::Result<bool> {
        if self.done || !self.io.establish()? {
            return Ok(self.done);
        }
        if !self.said {
            self.io.write_all(b"(")?;
            self.said = true;
        }
        let mut byte = [0];
        self.io.read_exact(&mut byte)?;
        self.done = byte == *b")";
        if self.done { Ok(true) } else { Err(io::Error::other("no handshake")) }
    }
    fn shutdown_write(&mut self) -> io::Result<()> {
        self.io.shutdown_write()
    }
    fn wants_write(&self) -> bool {
        self.io.wants_write()
    }
    fn about(&self) -> Option<Rc<dyn Any>> {
        self.done.then(|| Rc::new("capitals are spoken") as Rc<dyn Any>)
    }
}

fn capitals(io: Box<dyn Transport>) -> io::Result<Capitals> {
    Ok(Capitals { io, said: false, done: false })
}

/// Upgrades at the line `up`, between two replies, and answers every other.
fn upgrading(event: &str, cx: &Cx<'_, Lines>) -> HandlerResult {
    match event {
        "connected" => {}
        "up" => {
            cx.reply("go on")?;
            cx.upgrade(cx.id(), capitals)?;
            cx.reply("inside")?;
        }
        line => cx.reply(line)?,
    }
    Ok(())
}

#[test]
fn what_was_sent_before_leaves_without_the_layer_and_what_was_sent_after_goes_through_it() {
    let stage = open(upgrading);
    assert_eq!(stage.communicator.about::<&str>(stage.id), None);
    stage.send("plain\nup\n");
    stage.settle();
    assert_eq!(stage.seen(), ["plain", "up"]);
    assert_eq!(stage.far.text(), "plain\ngo on\n(");
    assert_eq!(stage.communicator.connection(stage.id).unwrap().state, State::Connecting);
    stage.send(")");
    stage.settle();
    assert_eq!(stage.seen(), ["upgraded"]);
    assert_eq!(stage.far.text(), "plain\ngo on\n(INSIDE\nUPGRADED\n");
    let info = stage.communicator.connection(stage.id).unwrap();
    assert_eq!((info.state, info.kind), (State::Open, "capitals"));
    assert_eq!(stage.communicator.about::<&str>(stage.id).as_deref(), Some(&"capitals are spoken"));
    assert_eq!(stage.communicator.about::<String>(stage.id), None);
    stage.send("ONE\nTWO\n");
    stage.settle();
    assert_eq!(stage.seen(), ["one", "two"]);
    assert!(stage.far.text().ends_with("ONE\nTWO\n"));
}

#[test]
fn input_of_the_layer_that_comes_with_the_end_of_its_handshake_is_not_left_waiting() {
    let stage = open(upgrading);
    stage.send("up\n");
    stage.settle();
    stage.send(")ONE\n");
    stage.settle();
    assert_eq!(stage.seen(), ["up", "upgraded", "one"]);
}

#[test]
fn input_that_the_layer_has_got_with_its_handshake_comes_though_the_poll_says_nothing() {
    let stage = open(upgrading);
    stage.far.put(")ONE\n");
    stage.communicator.upgrade(stage.id, capitals).unwrap();
    stage.settle();
    assert_eq!(stage.seen(), ["upgraded", "one"]);
}

#[test]
fn input_behind_the_last_item_before_the_layer_ends_the_connection() {
    for behind in ["injected\n", "i", ")INSIDE\n"] {
        let stage = open(upgrading);
        stage.send(&format!("up\n{behind}"));
        stage.settle();
        let text = format!("{} bytes of input stand before the layer, where none may be", behind.len());
        assert_eq!(stage.seen(), ["up", &format!("closed: failed: {text}")]);
        assert!(stage.gone());
        assert_eq!(stage.far.text(), "");
    }
}

#[test]
fn what_is_queued_and_not_taken_yet_stays_in_front_of_the_layer() {
    let stage = open(upgrading);
    stage.far.state().room = 1;
    stage.send("plain\n");
    stage.settle();
    stage.send("up\n");
    stage.settle();
    assert_eq!(stage.far.text(), "p");
    for _ in 0..40 {
        stage.far.take(&stage.communicator, stage.id, 1);
        stage.settle();
    }
    assert_eq!(stage.far.text(), "plain\ngo on\n(");
    stage.send(")");
    stage.settle();
    assert_eq!(stage.far.text(), "plain\ngo on\n(INSIDE\nUPGRADED\n");
}

#[test]
fn a_layer_can_be_started_from_outside_a_callback_and_while_nothing_is_read() {
    let stage = open(|_, _| Ok(()));
    let Stage { communicator, id, .. } = &stage;
    communicator.read(*id, false);
    communicator.send(*id, "before").unwrap();
    assert_eq!(communicator.upgrade(*id, capitals), Ok(()));
    communicator.send(*id, "after").unwrap();
    stage.send(")LINE\n");
    stage.settle();
    assert_eq!(stage.seen(), ["upgraded"]);
    assert_eq!(stage.far.text(), "before\n(AFTER\n");
    communicator.read(*id, true);
    stage.settle();
    assert_eq!(stage.seen(), ["line"]);
}

#[test]
fn a_layer_can_stand_on_a_layer() {
    let stage = open(upgrading);
    stage.send("up\n");
    stage.settle();
    stage.send(")");
    stage.settle();
    stage.send("UP\n");
    stage.settle();
    stage.far.state().output.clear();
    stage.send(")line\n");
    stage.settle();
    assert_eq!(stage.seen(), ["up", "upgraded", "up", "upgraded", "line"]);
    assert_eq!(stage.far.text(), "inside\nupgraded\nline\n");
}

#[test]
fn a_connection_that_is_not_open_is_not_upgraded() {
    let stage = stage(|_, _| Ok(()));
    let Stage { communicator, id, .. } = &stage;
    assert_eq!(communicator.upgrade(*id, capitals), Err(Busy));
    stage.settle();
    assert_eq!(communicator.upgrade(*id, capitals), Ok(()));
    assert_eq!(communicator.upgrade(*id, capitals), Err(Busy));
    stage.settle();
    assert_eq!(communicator.upgrade(*id, capitals), Err(Busy));
    communicator.close(*id);
    assert_eq!(communicator.upgrade(*id, capitals), Err(UpgradeError::Gone));
    let other = open(|_, _| Ok(()));
    other.communicator.shutdown_write(other.id);
    assert_eq!(other.communicator.upgrade(other.id, capitals), Err(UpgradeError::Gone));
}

#[test]
fn what_was_meant_for_the_layer_is_never_sent_without_it() {
    let stage = open(|event, cx| {
        if event == "up" {
            upgrading(event, cx)?;
            cx.close();
        }
        Ok(())
    });
    stage.send("up\n");
    stage.settle();
    assert_eq!(stage.seen(), ["up", "closed: closed by this program"]);
    assert_eq!(stage.far.text(), "go on\n");
    assert!(stage.gone());
}

#[test]
fn a_layer_that_is_not_established_in_time_ends_the_connection() {
    let stage = open(upgrading);
    let Stage { communicator, id, .. } = &stage;
    let timeouts = Timeouts { connect: Some(Duration::from_millis(20)), ..Timeouts::default() };
    communicator.set_timeouts(*id, timeouts);
    stage.send("up\n");
    while !communicator.is_empty() {
        communicator.turn(None).unwrap();
    }
    assert_eq!(stage.seen(), ["up", "closed: timed out: not connected in time"]);
}

#[test]
fn a_layer_that_fails_ends_the_connection() {
    let stage = open(upgrading);
    stage.send("up\n");
    stage.settle();
    stage.send("?");
    stage.settle();
    assert_eq!(stage.seen(), ["up", "closed: failed: no handshake"]);
    assert!(stage.gone());

    let stage = open(|event, cx| {
        if event == "up" {
            cx.upgrade(cx.id(), |_| Err::<Capitals, _>(io::Error::other("no layer")))?;
        }
        Ok(())
    });
    stage.send("up\n");
    stage.settle();
    assert_eq!(stage.seen(), ["up", "closed: failed: no layer"]);
    assert!(stage.gone());
}

/// Looks whether it is dropped while somebody's callback runs.
struct Nosy(Communicator, Rc<Cell<bool>>);

impl Drop for Nosy {
    fn drop(&mut self) {
        self.1.set(self.0.connections().is_empty());
    }
}

struct Remover(Rc<Cell<bool>>);

impl Handler<Lines> for Remover {
    fn message(&mut self, _: &str, cx: &Cx<'_, Lines>) -> HandlerResult {
        let nosy = Nosy(Communicator::clone(cx), self.0.clone());
        cx.upgrade(cx.id(), move |io| {
            drop(nosy);
            capitals(io)
        })?;
        cx.remove(cx.id());
        assert!(!self.0.get());
        Ok(())
    }
}

#[test]
fn a_layer_that_is_not_needed_any_more_is_dropped_when_the_callback_has_returned() {
    let communicator = Communicator::new().unwrap();
    let ((ours, far), dropped) = (wire(), Rc::new(Cell::new(false)));
    let id: Id<Lines> = communicator.stream(ours, Lines::new(), Remover(dropped.clone())).unwrap();
    far.send(&communicator, id, "x\n");
    super::settle(&communicator);
    assert!(dropped.get() && far.state().closed);
}

#[test]
fn what_was_sent_before_the_layer_leaves_though_it_is_closed_in_the_handshake() {
    let communicator = Communicator::new().unwrap();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let id = communicator
        .stream(crate::unix_stream(ours).unwrap(), Lines::new(), on_item::<Lines, _>(|_, _| Ok(())))
        .unwrap();
    communicator.turn(Some(Duration::ZERO)).unwrap();
    let line = "x".repeat(1 << 20);
    communicator.send(id, &line).unwrap();
    communicator.upgrade(id, capitals).unwrap();
    communicator.send(id, "never without the layer").unwrap();
    for _ in 0..3 {
        communicator.turn(Some(Duration::ZERO)).unwrap();
    }
    communicator.close(id);
    let reader = std::thread::spawn(move || {
        let mut got = String::new();
        theirs.read_to_string(&mut got).unwrap();
        got
    });
    communicator.run().unwrap();
    assert!(reader.join().unwrap() == line + "\n(");
}
