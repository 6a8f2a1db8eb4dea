use crate::codec::{Codec, DecodeError, Decoded, EncodeError, Lines};
use crate::communicator::{
    Closed, Communicator, Cx, Handler, HandlerResult, Id, Limits, SendError, Timeout, Timeouts,
};
use crate::connections::wire::{Far, wire};
use std::cell::RefCell;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};

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
fn what_was_queued_before_the_first_call_is_written_though_it_was_closed_by_then() {
    let Stage { communicator, id, far, events } = stage(ok);
    communicator.send(id, "too many clients").unwrap();
    assert!(communicator.close(id));
    settle(&communicator);
    assert_eq!(far.text(), "too many clients\n");
    assert!(far.state().shut && far.state().closed);
    assert_eq!(*events.borrow(), ["closed: closed by this program"]);
}

#[test]
fn a_connection_that_is_closed_while_it_is_established_is_let_go_in_the_same_turn() {
    let stage = staged(|far| far.state().connecting = true, ok);
    stage.settle();
    stage.communicator.send(stage.id, "never").unwrap();
    assert!(stage.communicator.close(stage.id));
    stage.communicator.turn(Some(Duration::ZERO)).unwrap();
    assert!(stage.gone());
    assert_eq!(stage.far.text(), "");
    assert_eq!(stage.seen(), ["closed: closed by this program"]);
}

#[test]
fn a_connection_that_is_closed_when_it_is_established_still_writes() {
    let stage = stage(|event, cx| {
        if event == "connected" {
            cx.reply("bye")?;
            cx.close();
        }
        Ok(())
    });
    stage.far.put("unread\n");
    stage.settle();
    assert_eq!(stage.seen(), ["connected", "closed: closed by this program"]);
    assert_eq!(stage.far.text(), "bye\n");
    assert!(stage.gone());
}

#[test]
fn this_direction_ends_once_behind_everything_and_then_it_closes() {
    let stage = open(ok);
    let Stage { communicator, id, far, .. } = &stage;
    far.state().room = 2;
    communicator.send(*id, "abc").unwrap();
    assert!(communicator.shutdown_write(*id));
    assert_eq!(communicator.send(*id, "more"), Err(SendError::Gone));
    stage.settle();
    assert_eq!((far.text().as_str(), far.state().shut), ("ab", false));
    assert!(communicator.close(*id));
    stage.settle();
    assert_eq!((far.text().as_str(), far.state().shut), ("ab", false));
    far.take(communicator, *id, 100);
    stage.settle();
    assert_eq!((far.text().as_str(), far.state().shut), ("abc\n", true));
    assert!(stage.gone());
}

#[test]
fn an_end_that_can_not_be_written_yet_is_written_later() {
    let stage = open(ok);
    let Stage { communicator, id, far, .. } = &stage;
    far.state().shut_error = Some(ErrorKind::WouldBlock);
    communicator.shutdown_write(*id);
    stage.settle();
    assert!(communicator.is_alive(*id) && !far.state().shut);
    far.state().shut_error = None;
    far.take(communicator, *id, 1);
    stage.settle();
    assert!(communicator.is_alive(*id) && far.state().shut);
}

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
fn a_connection_whose_write_has_failed_does_not_linger() {
    let stage = open(ok);
    let Stage { communicator, id, far, .. } = &stage;
    communicator.read(*id, false);
    far.state().write_error = Some(ErrorKind::BrokenPipe);
    communicator.send(*id, "lost").unwrap();
    stage.settle();
    communicator.close(*id);
    stage.settle();
    assert_eq!(stage.seen(), ["closed: closed by this program"]);
    assert!(stage.gone());
}

#[test]
fn a_lingering_connection_throws_input_away_until_the_other_side_has_ended() {
    let stage = open(ok);
    let Stage { communicator, id, far, .. } = &stage;
    far.state().resets = true;
    communicator.send(*id, "bye").unwrap();
    communicator.close(*id);
    far.put(vec![b'x'; 1 << 20]);
    far.end(communicator, *id);
    stage.settle();
    assert_eq!(far.text(), "bye\n");
    assert!(stage.gone());
}

#[test]
fn two_sides_that_both_wait_for_the_other_to_read_do_not_wait_for_ever() {
    let stage = open(ok);
    let Stage { communicator, id, far, .. } = &stage;
    communicator.read(*id, false);
    far.state().room = 0;
    stage.send(&"x".repeat(1 << 20));
    communicator.send(*id, "bye").unwrap();
    stage.settle();
    communicator.close(*id);
    stage.settle();
    // The other side reads only when it has got rid of what it sent.
    assert!(far.state().input.is_empty(), "{} bytes were not thrown away", far.state().input.len());
    far.take(communicator, *id, 100);
    stage.settle();
    assert_eq!(far.text(), "bye\n");
    assert!(stage.gone());
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
fn a_transport_that_panics_ends_its_own_connection_and_no_other() {
    let calls = [
        "read",
        "write",
        "flush",
        "source",
        "establish",
        "wants_write",
        "shutdown_write",
        "resets_on_close",
        "drop",
    ];
    for call in calls {
        for closes in [false, true] {
            let stage = open(|event, cx| Ok(cx.reply(event)?));
            let (ours, far) = wire();
            far.state().resets = true;
            let quiet = crate::on_item::<Lines, _>(|_, _| Ok(()));
            let bad = stage.communicator.stream(ours, Lines::new(), quiet).unwrap();
            far.state().panics_in = Some(call);
            far.send(&stage.communicator, bad, "x\n");
            let _ = stage.communicator.send(bad, "x");
            stage.settle();
            if closes {
                stage.communicator.close(bad);
                stage.settle();
            }
            far.end(&stage.communicator, bad);
            stage.communicator.shutdown_write(bad);
            stage.settle();
            stage.communicator.close(bad);
            stage.settle();
            assert_eq!(
                stage.communicator.len(),
                1,
                "{call} {closes}: {:?}",
                stage.communicator.connections()
            );
            assert!(far.state().closed, "{call} {closes}");
            stage.send("on\n");
            stage.settle();
            assert_eq!(stage.far.text(), "connected\non\n", "{call} {closes}");
        }
    }
}

#[test]
fn a_transport_that_panics_when_it_is_added_leaves_nothing_behind() {
    let communicator = Communicator::new().unwrap();
    let (ours, far) = wire();
    far.state().panics_in = Some("source");
    let quiet = crate::on_item::<Lines, _>(|_, _| Ok(()));
    let add = AssertUnwindSafe(|| communicator.stream(ours, Lines::new(), quiet));
    assert!(catch_unwind(add).is_err());
    assert!(communicator.is_empty() && far.state().closed);
}

#[test]
fn a_transport_that_panics_when_another_handler_sends_much_leaves_that_handler_alone() {
    let communicator = Communicator::new().unwrap();
    let (bad, bad_far) = wire();
    let bad = communicator.stream(bad, Lines::new(), crate::on_item::<Lines, _>(|_, _| Ok(()))).unwrap();
    settle(&communicator);
    bad_far.state().panics_in = Some("write");
    let (good, good_far) = wire();
    let much = "x".repeat(200 << 10);
    let relay = crate::on_item::<Lines, _>(move |_, cx| {
        cx.send(bad, &much)?; // so much that it is written at once
        assert!(!cx.is_alive(bad));
        Ok(cx.reply("sent")?)
    });
    let good = communicator.stream(good, Lines::new(), relay).unwrap();
    good_far.send(&communicator, good, "go\n");
    settle(&communicator);
    assert_eq!((good_far.text().as_str(), communicator.len()), ("sent\n", 1));
}

/// Panics where it is told to.
struct Faulty(&'static str);

impl Faulty {
    fn at(&self, what: &str) -> HandlerResult {
        assert!(self.0 != what, "the handler was told to panic in {what}");
        Ok(())
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = self.at("drop");
        }
    }
}

impl Handler<Lines> for Faulty {
    fn connected(&mut self, cx: &Cx<'_, Lines>) -> HandlerResult {
        cx.set_limits(cx.id(), Limits { high_water: 1, ..Limits::default() });
        cx.set_deadline(cx.id(), Some(Instant::now()));
        cx.reply("hello")?;
        self.at("connected")
    }
    fn message(&mut self, _: &str, _: &Cx<'_, Lines>) -> HandlerResult {
        self.at("message")
    }
    fn drained(&mut self, _: &Cx<'_, Lines>) -> HandlerResult {
        self.at("drained")
    }
    fn timeout(&mut self, _: Timeout, _: &Cx<'_, Lines>) -> HandlerResult {
        self.at("timeout")
    }
    fn eof(&mut self, _: &Cx<'_, Lines>) -> HandlerResult {
        self.at("eof")
    }
    fn closed(&mut self, _: &Closed, _: &Cx<'_, Lines>) {
        let _ = self.at("closed");
    }
}

#[test]
fn a_handler_that_panics_ends_its_own_connection_and_no_other() {
    for call in ["connected", "message", "drained", "timeout", "eof", "closed", "drop"] {
        let stage = open(|event, cx| Ok(cx.reply(event)?));
        let Stage { communicator, .. } = &stage;
        let (ours, far) = wire();
        far.put("x\n");
        let bad = communicator.stream(ours, Lines::new(), Faulty(call)).unwrap();
        stage.settle();
        far.end(communicator, bad);
        stage.settle();
        communicator.close(bad);
        stage.settle();
        assert_eq!(communicator.len(), 1, "{call}: {:?}", communicator.connections());
        assert!(far.state().closed, "{call}");
        stage.send("on\n");
        stage.settle();
        assert_eq!(stage.far.text(), "connected\non\n", "{call}");
    }
}

#[test]
fn a_callback_can_remove_and_close_everything_it_can_name() {
    for (what, closed) in [("remove", false), ("close", true)] {
        let stage = open(move |event, cx| {
            for info in cx.connections() {
                match event {
                    "remove" => assert!(cx.remove(info.key)),
                    "close" => assert!(Communicator::close(cx, info.key)),
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

#[test]
fn a_handler_is_let_go_when_it_was_told_of_the_end_though_the_connection_lingers() {
    let kept = Rc::new(());
    let held = kept.clone();
    let stage = open(move |_, _| {
        let _ = &held;
        Ok(())
    });
    let Stage { communicator, id, far, .. } = &stage;
    far.state().room = 0;
    communicator.send(*id, "waits").unwrap();
    communicator.close(*id);
    stage.settle();
    assert_eq!((Rc::strong_count(&kept), communicator.len()), (1, 1));
    far.take(communicator, *id, 100);
    stage.settle();
    assert!(stage.gone());
}

#[test]
fn lingering_has_an_end() {
    let stage = open(ok);
    let Stage { communicator, id, far, .. } = &stage;
    far.state().room = 3;
    communicator.send(*id, "never taken").unwrap();
    communicator.set_timeouts(*id, Timeouts { linger: Duration::from_millis(1), ..Timeouts::default() });
    communicator.close(*id);
    communicator.run().unwrap();
    assert!(stage.gone());
    assert_eq!(far.text(), "nev");
}
