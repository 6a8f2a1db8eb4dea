//! What is handed over, when, and when not.

use super::{Stage, Witness, ok, open, settle, staged};
use crate::codec::{Codec, DecodeError, Decoded, EncodeError, Lines};
use crate::communicator::{Closed, Communicator, Cx, Handler, HandlerResult, Id, Timeouts};
use crate::connections::wire::wire;
use std::cell::RefCell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::{Duration, Instant};

#[test]
fn input_from_before_it_was_switched_off_when_it_was_established_comes_when_it_is_on_again() {
    type Switch = fn(&Communicator, Id<Lines>, bool) -> bool;
    let switches: [Switch; 2] = [|c, id, on| c.enable(id, on), |c, id, on| c.read(id, on)];
    for switch in switches {
        let stage = staged(
            |far| far.put("early\n"),
            move |event, cx| {
                if event == "connected" {
                    switch(cx, cx.id(), false);
                }
                Ok(())
            },
        );
        stage.send("");
        stage.settle();
        assert_eq!(stage.seen(), ["connected"]);
        assert!(switch(&stage.communicator, stage.id, true));
        stage.settle();
        assert_eq!(stage.seen(), ["early"]);
    }
}

#[test]
fn input_from_before_reading_was_stopped_before_the_first_turn_comes_when_it_is_read_again() {
    let stage = staged(|far| far.put("early\n"), ok);
    stage.send("");
    assert!(stage.communicator.read(stage.id, false));
    stage.settle();
    assert_eq!(stage.seen(), ["connected"]);
    assert!(stage.communicator.read(stage.id, true));
    stage.settle();
    assert_eq!(stage.seen(), ["early"]);
}

#[test]
fn nothing_is_called_after_a_callback_has_switched_its_connection_off() {
    let stage = open(|event, cx| {
        if event == "off" {
            cx.enable(cx.id(), false);
        }
        Ok(())
    });
    let Stage { communicator, id, .. } = &stage;
    communicator.timer(*id, Duration::ZERO, 7);
    communicator.timer(*id, Duration::ZERO, 8);
    communicator.set_deadline(*id, Some(Instant::now()));
    stage.send("off\nmore\n");
    stage.settle();
    assert_eq!(stage.seen(), ["off"]);
    communicator.enable(*id, true);
    stage.settle();
    assert_eq!(stage.seen(), ["more", "Deadline", "Timer(7)", "Timer(8)"]);
}

#[test]
fn a_timeout_that_switches_its_connection_off_is_the_last_call() {
    let stage = open(|event, cx| {
        if event == "Timer(1)" {
            cx.enable(cx.id(), false);
        }
        Ok(())
    });
    let Stage { communicator, id, .. } = &stage;
    communicator.timer(*id, Duration::ZERO, 1);
    communicator.timer(*id, Duration::ZERO, 2);
    stage.settle();
    assert_eq!(stage.seen(), ["Timer(1)"]);
    communicator.enable(*id, true);
    stage.settle();
    assert_eq!(stage.seen(), ["Timer(2)"]);
}

/// Looks at so many bytes of the input at a time.
struct LooksAhead(usize, Rc<RefCell<Vec<String>>>);

impl Handler<Lines> for LooksAhead {
    fn look_ahead(&mut self, input: &[u8], _: &Cx<'_, Lines>) -> usize {
        self.1.borrow_mut().push(format!("ahead {}", input.escape_ascii()));
        self.0
    }
    fn message(&mut self, line: &str, _: &Cx<'_, Lines>) -> HandlerResult {
        self.1.borrow_mut().push(line.to_owned());
        Ok(())
    }
}

#[test]
fn a_handler_is_shown_what_comes_before_the_items_and_again_from_where_it_has_not_looked() {
    let check = |sees: usize, pieces: &[&str], expected: &[&str]| {
        let communicator = Communicator::new().unwrap();
        let ((ours, far), events) = (wire(), Rc::new(RefCell::new(Vec::new())));
        let handler = Rc::new(RefCell::new(LooksAhead(sees, events.clone())));
        let id = communicator.stream(ours, Lines::new(), handler).unwrap();
        settle(&communicator);
        for piece in pieces {
            far.send(&communicator, id, piece);
            settle(&communicator);
        }
        assert_eq!(events.take(), expected, "{sees} {pieces:?}");
    };
    let all = ["a\nbb\nccc\nd"];
    check(usize::MAX, &all, &[r"ahead a\nbb\nccc\nd", "a", "bb", "ccc"]);
    let each = [r"ahead a\nbb\nccc\nd", "a", r"ahead bb\nccc\nd", "bb", r"ahead ccc\nd", "ccc", "ahead d"];
    check(0, &all, &each);
    check(1, &all, &each);
    check(3, &all, &[r"ahead a\nbb\nccc\nd", "a", "bb", r"ahead ccc\nd", "ccc", "ahead d"]);
    check(9, &["a\nb", "b\n"], &[r"ahead a\nb", "a", r"ahead bb\n", "bb"]);
}

/// Does that when it is shown what comes.
struct ActsAhead(fn(&Cx<'_, Lines>), Rc<RefCell<Vec<String>>>);

impl Handler<Lines> for ActsAhead {
    fn look_ahead(&mut self, input: &[u8], cx: &Cx<'_, Lines>) -> usize {
        (self.0)(cx);
        input.len()
    }
    fn message(&mut self, line: &str, _: &Cx<'_, Lines>) -> HandlerResult {
        self.1.borrow_mut().push(line.to_owned());
        Ok(())
    }
    fn closed(&mut self, why: &Closed, _: &Cx<'_, Lines>) {
        self.1.borrow_mut().push(format!("closed: {why}"));
    }
}

#[test]
fn who_ends_or_stops_its_connection_when_it_looks_ahead_gets_no_item() {
    let check = |act: fn(&Cx<'_, Lines>), expected: &[&str]| {
        let communicator = Communicator::new().unwrap();
        let ((ours, far), events) = (wire(), Rc::new(RefCell::new(Vec::new())));
        let id = communicator.stream(ours, Lines::new(), ActsAhead(act, events.clone())).unwrap();
        settle(&communicator);
        far.send(&communicator, id, "one\ntwo\n");
        settle(&communicator);
        assert_eq!(events.take(), expected);
        (communicator, id, events)
    };
    check(|cx| cx.close(), &["closed: closed by this program"]);
    check(|cx| assert!(cx.remove(cx.id())), &[]);
    check(|cx| assert!(cx.read(cx.id(), false)), &[]);
    let before = "8 bytes of input stand before the layer, where none may be";
    check(|cx| cx.upgrade(cx.id(), Ok).unwrap(), &[&format!("closed: failed: {before}")]);
    // What was shown is still there for who goes on; and who sends much gets its items.
    let (communicator, id, events) = check(|cx| assert!(cx.enable(cx.id(), false)), &[]);
    communicator.enable(id, true);
    communicator.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(events.take(), [""; 0], "it looks ahead again");
    check(|cx| cx.reply(&"x".repeat(300_000)).unwrap(), &["one", "two"]);
}

/// One item: everything up to the end of the stream.
struct Whole;

impl Codec for Whole {
    type In<'a> = &'a [u8];
    type Out<'a> = &'a [u8];
    fn decode<'a>(&'a mut self, _: &'a [u8]) -> Result<Decoded<&'a [u8]>, DecodeError> {
        Ok(Decoded::More)
    }
    fn finish<'a>(&'a mut self, rest: &'a [u8]) -> Result<Option<&'a [u8]>, DecodeError> {
        Ok(Some(rest))
    }
    fn encode(item: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(item);
        Ok(())
    }
}

/// Stops reading at each item.
struct StopAtItem(Rc<RefCell<Vec<String>>>);

impl Handler<Whole> for StopAtItem {
    fn message(&mut self, item: &[u8], cx: &Cx<'_, Whole>) -> HandlerResult {
        self.0.borrow_mut().push(format!("{} bytes", item.len()));
        cx.read(cx.id(), false);
        Ok(())
    }
    fn eof(&mut self, _: &Cx<'_, Whole>) -> HandlerResult {
        self.0.borrow_mut().push("eof".to_owned());
        Ok(())
    }
}

#[test]
fn the_end_waits_when_the_last_item_stops_reading() {
    let communicator = Communicator::new().unwrap();
    let ((ours, far), events) = (wire(), Rc::new(RefCell::new(Vec::new())));
    let id = communicator.stream(ours, Whole, StopAtItem(events.clone())).unwrap();
    far.put("abc");
    far.end(&communicator, id);
    settle(&communicator);
    assert_eq!(events.take(), ["3 bytes"]);
    communicator.read(id, true);
    settle(&communicator);
    assert_eq!(events.take(), ["eof"]);
}

#[test]
fn a_timer_that_was_cancelled_in_the_turn_in_which_it_is_due_is_not_called() {
    let timer = Rc::new(RefCell::new(None));
    let cancelled = timer.clone();
    let stage = open(move |event, cx| {
        if event == "answer"
            && let Some(timer) = cancelled.take()
        {
            assert!(cx.is_set(timer));
            assert!(cx.cancel(timer));
            assert!(!cx.is_set(timer));
            assert!(!cx.cancel(timer));
        }
        Ok(())
    });
    let Stage { communicator, id, .. } = &stage;
    *timer.borrow_mut() = communicator.timer(*id, Duration::ZERO, 1);
    communicator.timer(*id, Duration::ZERO, 2);
    stage.send("answer\n");
    stage.settle();
    assert_eq!(stage.seen(), ["answer", "Timer(2)"]);
}

#[test]
fn a_deadline_that_was_lifted_in_the_turn_in_which_it_is_over_is_not_called() {
    let stage = open(|event, cx| {
        if event == "answer" {
            cx.set_deadline(cx.id(), None);
        }
        Ok(())
    });
    stage.communicator.set_deadline(stage.id, Some(Instant::now()));
    stage.send("answer\n");
    stage.settle();
    assert_eq!(stage.seen(), ["answer"]);
}

#[test]
fn a_timeout_that_was_lifted_in_the_turn_in_which_it_is_over_is_not_called() {
    let stage = open(|event, cx| {
        if event == "answer" {
            cx.set_timeouts(cx.id(), Timeouts::default());
        }
        Ok(())
    });
    let write = Some(Duration::from_nanos(1));
    stage.communicator.set_timeouts(stage.id, Timeouts { write, ..Timeouts::default() });
    stage.send("answer\n");
    stage.settle();
    assert_eq!(stage.seen(), ["answer"]);
}

#[test]
fn a_deadline_ends_a_connection_that_is_not_established_yet() {
    let stage = staged(|far| far.state().connecting = true, ok);
    stage.communicator.set_deadline(stage.id, Some(Instant::now()));
    stage.settle();
    assert_eq!(stage.seen(), ["closed: timed out: the deadline is over"]);
    assert!(stage.gone());
}

#[test]
fn timers_of_a_connection_wait_until_it_is_established() {
    let stage = staged(|far| far.state().connecting = true, ok);
    stage.communicator.timer(stage.id, Duration::ZERO, 3);
    stage.settle();
    assert!(stage.seen().is_empty());
    stage.far.state().connecting = false;
    stage.send("");
    stage.settle();
    assert_eq!(stage.seen(), ["connected", "Timer(3)"]);
}

#[test]
fn half_open_it_still_sends_and_hears_of_nothing_more() {
    let stage = open(ok);
    let Stage { communicator, id, far, .. } = &stage;
    far.end(communicator, *id);
    stage.settle();
    assert_eq!(stage.seen(), ["eof"]);
    for _ in 0..3 {
        far.end(communicator, *id);
        communicator.enable(*id, false);
        communicator.enable(*id, true);
        stage.settle();
    }
    communicator.send(*id, "still here").unwrap();
    stage.settle();
    assert_eq!(far.text(), "still here\n");
    far.state().write_error = Some(ErrorKind::BrokenPipe);
    communicator.send(*id, "no more").unwrap();
    stage.settle();
    assert_eq!(stage.seen(), ["closed: failed: broken pipe"]);
    assert!(stage.gone());
}

/// Finds items that take nothing.
struct Standing(Decoded<()>);

impl Codec for Standing {
    type In<'a> = ();
    type Out<'a> = ();
    fn decode<'a>(&'a mut self, _: &'a [u8]) -> Result<Decoded<()>, DecodeError> {
        Ok(self.0)
    }
    fn encode((): (), _: &mut Vec<u8>) -> Result<(), EncodeError> {
        Ok(())
    }
}

#[test]
fn a_codec_that_takes_no_bytes_ends_its_connection() {
    for found in [Decoded::Skip(0), Decoded::Item((), 0)] {
        let communicator = Communicator::new().unwrap();
        let (ours, far) = wire();
        far.put("x");
        let quiet = crate::on_item::<Standing, _>(|(), _| Ok(()));
        communicator.stream(ours, Standing(found), quiet).unwrap();
        settle(&communicator);
        assert!(communicator.is_empty(), "{found:?}");
    }
}

#[test]
fn a_callback_can_remove_and_close_everything_it_can_name() {
    for (what, closed) in [("remove", false), ("close", true)] {
        let stage = open(move |event, cx| {
            for info in cx.connections() {
                match event {
                    "remove" => assert!(cx.remove(info.key)),
                    "close" => assert!(cx.communicator().close(info.key)),
                    _ => {}
                }
            }
            Ok(())
        });
        let (ours, far) = wire();
        let events = Rc::new(RefCell::new(Vec::new()));
        let other = Witness { events: events.clone(), act: ok };
        stage.communicator.stream(ours, Lines::new(), other).unwrap();
        stage.settle();
        events.take();
        stage.send(&format!("{what}\nnever\n"));
        stage.settle();
        assert!(stage.gone() && far.state().closed, "{what}");
        let last = [closed.then_some("closed: closed by this program")];
        assert!(
            stage.seen().iter().map(String::as_str).eq([what].into_iter().chain(last.into_iter().flatten()))
        );
        assert!(events.borrow().iter().map(String::as_str).eq(last.into_iter().flatten()), "{what}");
    }
}
