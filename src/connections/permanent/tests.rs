//! Permanent connections over wires in memory: what the connector makes is said by the test.

use crate::codec::Lines;
use crate::communicator::{
    Away, Closed, Communicator, Cx, Handler, HandlerResult, Id, Keep, Limits, Pauses, Reconnect, SendError,
    State, Timeout, Timeouts, UpgradeError,
};
use crate::connections::connect::{Attempt, Connect};
use crate::connections::wire::{Far, Wire, wire};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
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
    fn drained(&mut self, cx: &Cx<'_, Lines>) -> HandlerResult {
        self.note("drained", cx)
    }
    fn timeout(&mut self, what: Timeout, cx: &Cx<'_, Lines>) -> HandlerResult {
        self.note(&format!("{what:?}"), cx)?;
        if !matches!(what, Timeout::Timer(_)) {
            cx.end(Closed::TimedOut(what));
        }
        Ok(())
    }
    fn failed(&mut self, why: &Closed, cx: &Cx<'_, Lines>) -> HandlerResult {
        self.note(&format!("failed: {why}"), cx)
    }
    fn lost(&mut self, why: &Closed, cx: &Cx<'_, Lines>) -> HandlerResult {
        self.note(&format!("lost: {why}"), cx)
    }
    fn closed(&mut self, why: &Closed, cx: &Cx<'_, Lines>) {
        let _ = self.note(&format!("closed: {why}"), cx);
    }
}

/// What the connector makes, one after the other; then it refuses.
type Offers = Rc<RefCell<VecDeque<io::Result<Wire>>>>;

struct Stage {
    communicator: Communicator,
    id: Id<Lines>,
    offers: Offers,
    events: Rc<RefCell<Vec<String>>>,
}

/// A permanent connection that waits for its first attempt: the next one is an hour after that.
fn stage(reconnect: Reconnect, act: impl FnMut(&str, &Cx<'_, Lines>) -> HandlerResult + 'static) -> Stage {
    let offers = Offers::default();
    let from = offers.clone();
    staged(reconnect, offers, act, move || {
        from.borrow_mut().pop_front().unwrap_or_else(|| Err(ErrorKind::ConnectionRefused.into()))
    })
}

fn staged(
    reconnect: Reconnect,
    offers: Offers,
    act: impl FnMut(&str, &Cx<'_, Lines>) -> HandlerResult + 'static,
    connect: impl Connect,
) -> Stage {
    let communicator = Communicator::new().unwrap();
    let events = Rc::new(RefCell::new(Vec::new()));
    let witness = Witness { events: events.clone(), act };
    let id = communicator.permanent(connect, reconnect, Lines::new, witness);
    Stage { communicator, id, offers, events }
}

fn hourly() -> Reconnect {
    Reconnect::new(Pauses::every(Duration::from_secs(3600)))
}

fn ok(_: &str, _: &Cx<'_, Lines>) -> HandlerResult {
    Ok(())
}

impl Stage {
    /// What the next attempt gets.
    fn offer(&self) -> Far {
        let (ours, far) = wire();
        self.offers.borrow_mut().push_back(Ok(ours));
        far
    }

    /// Turns until the loop would wait.
    fn settle(&self) {
        for _ in 0..200 {
            self.communicator.turn(Some(Duration::ZERO)).unwrap();
            if self.communicator.wait_hint() != Some(Duration::ZERO) {
                return;
            }
        }
        panic!("the loop never rests: {:?}", self.communicator.connections());
    }

    /// Connects now, over a new wire.
    fn connect(&self) -> Far {
        let far = self.offer();
        self.communicator.reconnect(self.id);
        self.settle();
        far
    }

    fn send(&self, line: &str) -> Result<(), SendError> {
        self.communicator.send(self.id, line)
    }

    /// The other side goes away.
    fn lose(&self, far: &Far) {
        far.end(&self.communicator, self.id);
        self.settle();
    }

    /// What was seen since the last time.
    fn seen(&self) -> Vec<String> {
        self.events.take()
    }

    fn state(&self) -> State {
        self.communicator.connection(self.id).unwrap().state
    }

    fn dropped(&self) -> u64 {
        self.communicator.connection(self.id).unwrap().dropped
    }
}

#[test]
fn it_fails_is_there_is_lost_and_is_there_again_under_one_id() {
    let stage = stage(hourly(), ok);
    let first = stage.communicator.connection(stage.id).unwrap();
    assert!(matches!(first.state, State::Waiting { attempt: 1, .. }), "{first}");
    stage.settle();
    assert_eq!(stage.seen(), ["failed: could not connect: connection refused"]);
    assert!(matches!(stage.state(), State::Waiting { attempt: 2, next } if next > Duration::from_secs(3599)));
    assert!(!stage.communicator.is_connected(stage.id));

    let far = stage.connect();
    assert!(stage.communicator.is_connected(stage.id));
    far.send(&stage.communicator, stage.id, "one\nhalf a li");
    stage.settle();
    stage.lose(&far);
    assert_eq!(stage.seen(), ["connected", "one", "lost: ended by the other side"]);
    assert!(far.state().closed);
    let info = stage.communicator.connection(stage.id).unwrap();
    assert!(matches!(info.state, State::Waiting { attempt: 1, .. }), "{info}");
    assert_eq!(info.unread, 0);
    assert!(info.to_string().contains("waiting for attempt 1 at 3600."), "{info}");

    let far = stage.connect();
    far.send(&stage.communicator, stage.id, "two\n"); // the other half has gone with its transport
    stage.settle();
    assert_eq!(stage.seen(), ["connected", "two"]);
    assert_eq!(stage.state(), State::Open);
}

#[test]
fn what_waits_leaves_first_in_first_out_behind_the_greeting() {
    let stage = stage(hourly(), |event, cx| {
        if event == "connected" {
            cx.reply("sent by connected")?;
            cx.greet(cx.id(), "hello")?;
            cx.greet(cx.id(), "it is me")?;
        }
        Ok(())
    });
    assert_eq!(stage.communicator.greet(stage.id, "too early"), Err(SendError::Away));
    stage.send("one").unwrap();
    stage.settle();
    stage.send("two").unwrap();
    let far = stage.connect();
    assert_eq!(far.text(), "hello\nit is me\none\ntwo\nsent by connected\n");
    stage.lose(&far);
    stage.send("three").unwrap();
    let far = stage.connect();
    assert_eq!(far.text(), "hello\nit is me\nthree\nsent by connected\n");
    assert_eq!(stage.communicator.queued_bytes(stage.id), 0);
}

#[test]
fn a_half_written_item_is_sent_whole_again_or_dropped_and_no_whole_one_twice() {
    for (resend, room, again) in [
        (true, 0, "one\ntwo\nthree\n"),
        (true, 2, "one\ntwo\nthree\n"),
        (false, 2, "two\nthree\n"),
        (true, 4, "two\nthree\n"),
        (true, 5, "two\nthree\n"),
        (false, 5, "three\n"),
        (true, 7, "two\nthree\n"),
        (false, 8, "three\n"),
        (true, 14, ""),
    ] {
        for broken in [false, true] {
            let stage = stage(hourly().resend_half(resend), ok);
            let far = stage.offer();
            far.state().room = room;
            stage.settle();
            for line in ["one", "two", "three"] {
                stage.send(line).unwrap();
            }
            stage.settle();
            assert_eq!(far.text(), "one\ntwo\nthree\n"[..room]);
            if broken {
                far.state().write_error = Some(ErrorKind::BrokenPipe);
                far.take(&stage.communicator, stage.id, 0);
            }
            stage.lose(&far);
            let written = 3 - again.lines().count() as u64;
            assert_eq!(stage.communicator.queued_items(stage.id), Some(written..3));
            let far = stage.connect();
            assert_eq!(far.text(), again, "after {room} bytes, resent: {resend}, broken: {broken}");
            assert_eq!(stage.communicator.queued_items(stage.id), Some(3..3));
        }
    }
}

#[test]
fn what_is_sent_while_writing_has_failed_waits_for_the_next_connection() {
    let stage = stage(hourly(), ok);
    let far = stage.connect();
    far.state().write_error = Some(ErrorKind::ConnectionReset);
    stage.communicator.read(stage.id, false); // so that it is not noticed yet
    stage.send("one").unwrap();
    stage.settle();
    stage.send("two").unwrap();
    stage.communicator.read(stage.id, true);
    stage.settle();
    assert_eq!(stage.seen().last().unwrap(), "lost: failed: connection reset");
    assert_eq!(stage.connect().text(), "one\ntwo\n");
}

#[test]
fn an_item_that_is_not_to_be_kept_is_refused_while_away_and_dropped_with_its_connection() {
    let stage = stage(hourly(), ok);
    stage.settle();
    let (communicator, id) = (&stage.communicator, stage.id);
    assert_eq!(communicator.send_kept(id, "no", Keep::No), Err(SendError::Away));
    stage.send("first").unwrap();
    let far = stage.connect();
    assert_eq!(far.text(), "first\n");
    far.state().room = 3;
    communicator.send_kept(id, "half, and dropped", Keep::No).unwrap();
    stage.send("kept").unwrap();
    communicator.send_kept(id, "dropped", Keep::No).unwrap();
    stage.send("kept, too").unwrap();
    stage.settle();
    stage.lose(&far);
    assert_eq!(stage.dropped(), 2);
    assert_eq!(stage.connect().text(), "kept\nkept, too\n");
}

#[test]
fn what_is_kept_unless_said_otherwise_is_the_programs_choice() {
    let stage = stage(hourly().keep(Keep::No), ok);
    stage.settle();
    assert_eq!(stage.send("refused"), Err(SendError::Away));
    let refused = stage.communicator.broadcast([stage.id], "refused").unwrap();
    assert_eq!(refused, [(stage.id, SendError::Away)]);
    stage.communicator.send_kept(stage.id, "waits", Keep::Yes).unwrap();
    assert_eq!(stage.connect().text(), "waits\n");
}

#[test]
fn what_waits_has_bounds_in_count_and_bytes() {
    for (away, sent, expected, dropped) in [
        (Away { items: 2, ..Away::default() }, ["a", "b", "c"], "a\nb\n", 0),
        (Away { items: 2, drop_oldest: true, ..Away::default() }, ["a", "b", "c"], "b\nc\n", 1),
        (Away { bytes: 5, ..Away::default() }, ["a", "bb", "c"], "a\nbb\n", 0),
        (Away { bytes: 5, ..Away::default() }, ["aa", "bb", "c"], "aa\nc\n", 0),
        (Away { bytes: 5, drop_oldest: true, ..Away::default() }, ["a", "b", "ccc"], "ccc\n", 2),
        (Away { bytes: 5, drop_oldest: true, ..Away::default() }, ["a", "too long", "c"], "a\nc\n", 0),
        (Away { items: 0, drop_oldest: true, ..Away::default() }, ["a", "b", "c"], "", 0),
    ] {
        let stage = stage(hourly().away(away.clone()), ok);
        stage.settle();
        for line in sent {
            if let Err(error) = stage.send(line) {
                let queued = stage.communicator.queued_bytes(stage.id);
                assert_eq!(error, SendError::Full { queued }, "{line:?} of {sent:?}, {away:?}");
            }
        }
        assert_eq!(stage.dropped(), dropped, "{sent:?}, {away:?}");
        let far = stage.connect();
        assert_eq!(far.text(), expected, "{sent:?}, {away:?}");
        // The bounds are for a connection that is away.
        for line in ["1", "2", "3", "4"] {
            stage.send(line).unwrap();
        }
    }
}

#[test]
fn what_was_taken_stays_even_if_it_is_more_than_may_wait_while_away() {
    let stage = stage(hourly().away(Away { items: 1, ..Away::default() }), ok);
    let far = stage.offer();
    far.state().room = 0;
    stage.settle();
    for line in ["1", "2", "3"] {
        stage.send(line).unwrap();
    }
    stage.lose(&far);
    assert_eq!(stage.send("4"), Err(SendError::Full { queued: 6 }));
    assert_eq!(stage.connect().text(), "1\n2\n3\n");
}

#[test]
fn what_has_waited_for_too_long_is_dropped() {
    let stage = stage(hourly().away(Away { age: Some(Duration::from_nanos(1)), ..Away::default() }), ok);
    stage.settle();
    stage.send("old").unwrap();
    stage.settle(); // the clock goes on
    stage.send("new").unwrap();
    assert_eq!((stage.dropped(), stage.communicator.queued_bytes(stage.id)), (1, 4));
    assert_eq!(stage.connect().text(), "");
    assert_eq!(stage.dropped(), 2);

    let stage =
        self::stage(hourly().away(Away { age: Some(Duration::from_secs(3600)), ..Away::default() }), ok);
    stage.settle();
    stage.send("in time").unwrap();
    assert_eq!(stage.connect().text(), "in time\n");
}

#[test]
fn a_queue_that_was_full_while_away_is_drained_when_it_is_there_again() {
    let stage = stage(hourly().away(Away { items: 1, ..Away::default() }), ok);
    stage.settle();
    stage.send("one").unwrap();
    stage.send("two").unwrap_err();
    stage.seen();
    stage.connect();
    assert_eq!(stage.seen(), ["connected", "drained"]);

    // Also if it is lost between the two.
    let stage = self::stage(hourly(), ok);
    let far = stage.connect();
    far.state().room = 0;
    let limits = Limits { output: 4, high_water: 4, low_water: 0, ..Limits::default() };
    stage.communicator.set_limits(stage.id, limits);
    stage.send("one").unwrap();
    assert_eq!(stage.send("two"), Err(SendError::Full { queued: 4 }));
    stage.settle();
    stage.lose(&far);
    stage.connect();
    assert_eq!(stage.seen()[1..], ["lost: ended by the other side", "connected", "drained"]);
}

#[test]
fn what_is_held_waits_for_the_other_sides_answer_over_losses() {
    let stage = stage(hourly(), |event, cx| {
        match event {
            "connected" => cx.greet(cx.id(), "let me in")?,
            "welcome" => assert!(cx.hold(cx.id(), false)),
            event if event.starts_with("lost") => assert!(cx.hold(cx.id(), true)),
            _ => {}
        }
        Ok(())
    });
    assert!(stage.communicator.hold(stage.id, true));
    stage.send("one").unwrap();
    let far = stage.connect();
    stage.send("two").unwrap();
    stage.send(&"long ".repeat(100_000)).unwrap(); // would be written at once
    stage.settle();
    assert_eq!(far.text(), "let me in\n");
    stage.lose(&far);
    let far = stage.connect();
    assert_eq!(far.text(), "let me in\n");
    far.send(&stage.communicator, stage.id, "welcome\n");
    stage.settle();
    assert!(far.text().starts_with("let me in\none\ntwo\nlong "), "{}", &far.text()[..40]);
    assert_eq!(stage.communicator.queued_bytes(stage.id), 0);
    // What is held is dropped when it is closed, and the greeting is not.
    assert!(stage.communicator.hold(stage.id, true));
    stage.send("never sent").unwrap();
    stage.communicator.greet(stage.id, "goodbye").unwrap();
    stage.communicator.close(stage.id);
    stage.settle();
    assert!(far.text().ends_with("long \ngoodbye\n"));
    assert!(stage.communicator.is_empty());
}

#[test]
fn an_item_that_has_begun_goes_out_whole_before_a_greeting_and_though_it_is_held() {
    for (holds, greets, closes) in [
        (false, true, false),
        (true, false, false),
        (true, true, false),
        (false, true, true),
        (true, true, true),
    ] {
        let stage = stage(hourly(), ok);
        let far = stage.connect();
        far.state().room = 3;
        stage.send("item").unwrap();
        stage.send("next").unwrap();
        stage.settle();
        assert_eq!(far.text(), "ite");
        assert!(stage.communicator.hold(stage.id, holds));
        if greets {
            stage.communicator.greet(stage.id, "greeting").unwrap();
        }
        if closes {
            assert!(stage.communicator.close(stage.id));
        }
        // Byte for byte, so that every call stops somewhere.
        for _ in 0..30 {
            far.take(&stage.communicator, stage.id, 1);
            stage.settle();
        }
        let (greeting, next) = (if greets { "greeting\n" } else { "" }, if holds { "" } else { "next\n" });
        assert_eq!(far.text(), format!("item\n{greeting}{next}"), "{holds} {greets} {closes}");
        if !closes {
            stage.communicator.hold(stage.id, false);
            stage.settle();
            assert_eq!(far.text(), format!("item\n{greeting}next\n"));
        }
        assert_eq!(stage.communicator.is_empty(), closes);
    }
}

#[test]
fn a_direction_that_ends_does_so_behind_an_item_that_had_begun_and_a_greeting() {
    let stage = stage(hourly(), ok);
    let far = stage.connect();
    far.state().room = 3;
    stage.send("item").unwrap();
    stage.settle();
    stage.communicator.greet(stage.id, "greeting").unwrap();
    assert!(stage.communicator.shutdown_write(stage.id));
    far.take(&stage.communicator, stage.id, 100);
    stage.settle();
    assert_eq!((far.text().as_str(), far.state().shut), ("item\ngreeting\n", true));
}

#[test]
fn a_greeting_goes_with_its_connection() {
    let stage = stage(hourly(), ok);
    let far = stage.connect();
    far.state().room = 3;
    stage.communicator.greet(stage.id, "greeting").unwrap();
    stage.send("item").unwrap();
    stage.settle();
    assert_eq!(far.text(), "gre");
    stage.lose(&far);
    assert_eq!(stage.connect().text(), "item\n");
}

#[test]
fn whatever_ends_another_connection_only_loses_it() {
    for (what, expected) in [
        ("eof", "lost: ended by the other side"),
        ("fail", "lost: its handler failed: I was told to"),
        ("connected", "lost: its handler failed: not like this"),
        ("read", "lost: failed: connection reset"),
        ("timeout", "lost: timed out: nothing was received for too long"),
        ("local", "lost: closed by this program"),
        ("decode", "lost: bad input: "),
    ] {
        let refuse = Rc::new(Cell::new(false));
        let refused = refuse.clone();
        let stage = stage(hourly(), move |event, _| match event {
            "fail" => Err("I was told to".into()),
            "connected" if refused.get() => Err("not like this".into()),
            _ => Ok(()),
        });
        refuse.set(what == "connected");
        let far = stage.connect();
        let (communicator, id) = (&stage.communicator, stage.id);
        match what {
            "eof" => far.end(communicator, id),
            "fail" => far.send(communicator, id, "fail\n"),
            "read" => {
                far.state().read_error = Some(ErrorKind::ConnectionReset);
                communicator.core(|core| core.event(id.key(), true, false, true));
            }
            "timeout" => {
                let timeouts = Timeouts { read: Some(Duration::from_nanos(1)), ..Timeouts::default() };
                communicator.set_timeouts(id, timeouts);
            }
            "local" => assert!(communicator.reconnect(id)),
            "decode" => far.send(communicator, id, b"\xff\n"),
            _ => {}
        }
        stage.settle();
        let seen = stage.seen();
        assert!(seen.last().unwrap().starts_with(expected), "{what}: {seen:?}");
        assert!(far.state().closed);
        refuse.set(false);
        communicator.set_timeouts(id, Timeouts::default());
        stage.connect();
        assert_eq!(stage.seen(), ["connected"], "{what}");
    }
}

#[test]
fn an_error_of_failed_or_lost_ends_it_for_good() {
    for (at, connects) in [("failed", false), ("lost", true)] {
        let stage = stage(
            hourly(),
            move |event, _| {
                if event.starts_with(at) { Err("enough".into()) } else { Ok(()) }
            },
        );
        if connects {
            let far = stage.connect();
            far.end(&stage.communicator, stage.id);
        }
        stage.settle();
        assert_eq!(stage.seen().last().unwrap(), "closed: its handler failed: enough");
        assert!(stage.communicator.is_empty());
    }
}

#[test]
fn closing_and_removing_work_in_every_state_also_from_its_own_callbacks() {
    for inside in [false, true] {
        for remove in [false, true] {
            for at in ["waiting", "connecting", "connected", "failed", "lost"] {
                let end = move |communicator: &Communicator, id: Id<Lines>| {
                    assert!(if remove { communicator.remove(id) } else { communicator.close(id) });
                    assert!(!communicator.is_alive(id));
                };
                let stage = stage(hourly(), move |event, cx| {
                    if inside && event.starts_with(at) {
                        end(cx.communicator(), cx.id());
                    }
                    Ok(())
                });
                if at == "lost" || at == "connected" {
                    let far = stage.connect();
                    if at == "lost" {
                        stage.lose(&far);
                    }
                } else if at == "connecting" {
                    let far = stage.offer();
                    far.state().connecting = true;
                    stage.settle();
                    assert_eq!(stage.state(), State::Connecting);
                } else if at == "failed" {
                    stage.settle();
                }
                if stage.communicator.is_alive(stage.id) {
                    end(&stage.communicator, stage.id);
                }
                stage.settle();
                let seen = stage.seen();
                let closed = seen.iter().filter(|event| *event == "closed: closed by this program").count();
                assert_eq!(closed, usize::from(!remove), "{at}, inside: {inside}: {seen:?}");
                assert!(stage.communicator.is_empty(), "{at}: {:?}", stage.communicator.connections());
                assert_eq!(stage.send("late"), Err(SendError::Gone));
                assert!(!stage.communicator.reconnect(stage.id) && !stage.communicator.hold(stage.id, true));
            }
        }
    }
}

#[test]
fn closing_writes_what_waits_if_it_is_there_and_drops_it_if_it_is_away() {
    let stage = stage(hourly(), ok);
    let far = stage.connect();
    stage.send("one").unwrap();
    stage.communicator.close(stage.id);
    stage.settle();
    assert_eq!(far.text(), "one\n");
    assert!(stage.communicator.is_empty());
}

#[test]
fn while_it_is_switched_off_it_makes_no_attempt_and_is_told_of_nothing() {
    let stage = stage(hourly(), ok);
    stage.communicator.enable(stage.id, false);
    stage.offer();
    stage.settle();
    assert_eq!(stage.seen(), [""; 0]);
    assert!(matches!(stage.state(), State::Waiting { .. }));
    stage.communicator.enable(stage.id, true);
    stage.settle();
    assert_eq!(stage.seen(), ["connected"]);

    stage.communicator.reconnect(stage.id);
    stage.communicator.enable(stage.id, false);
    stage.settle();
    assert_eq!(stage.seen(), [""; 0]);
    stage.send("waits").unwrap();
    stage.communicator.enable(stage.id, true);
    stage.settle();
    assert_eq!(stage.seen(), ["lost: closed by this program"]);
    assert_eq!(stage.connect().text(), "waits\n");
}

#[test]
fn one_that_was_lost_while_it_was_switched_off_and_is_closed_then_waits_for_nothing() {
    for given_up in [true, false] {
        let stage = stage(hourly(), ok);
        let far = stage.connect();
        // The other side takes nothing more, and would have to end before a socket that holds unread input is closed.
        (far.state().room, far.state().resets) = (0, true);
        stage.send("never sent").unwrap();
        stage.settle();
        stage.communicator.enable(stage.id, false);
        if given_up {
            stage.communicator.reconnect(stage.id);
        } else {
            far.state().write_error = Some(ErrorKind::BrokenPipe);
            far.take(&stage.communicator, stage.id, 1);
        }
        stage.settle();
        assert_eq!(stage.seen(), ["connected"]);
        stage.communicator.close(stage.id);
        stage.settle();
        assert_eq!(stage.seen(), ["closed: closed by this program"]);
        assert!(far.state().closed && stage.communicator.is_empty(), "{given_up}");
    }
}

#[test]
fn settings_stay_over_reconnects() {
    let stage = stage(hourly(), ok);
    let (communicator, id) = (&stage.communicator, stage.id);
    communicator.set_priority(id, 7);
    communicator.set_name(id, "mine");
    communicator.read(id, false);
    let far = stage.connect();
    far.end(communicator, id);
    stage.settle();
    assert_eq!(stage.seen(), ["connected"], "it is not read, so its end is not seen");
    communicator.reconnect(id);
    stage.settle();
    stage.connect();
    let info = communicator.connection(id).unwrap();
    assert_eq!((info.priority, &*info.name, info.reading, info.state), (7, "mine", false, State::Open));
}

#[test]
fn its_own_timers_and_its_deadline_come_while_it_is_away() {
    let stage = stage(hourly(), ok);
    stage.settle();
    stage.seen();
    let (communicator, id) = (&stage.communicator, stage.id);
    communicator.timer(id, Duration::ZERO, 5).unwrap();
    stage.settle();
    assert_eq!(stage.seen(), ["Timer(5)"]);
    communicator.set_deadline(id, Some(std::time::Instant::now()));
    stage.settle();
    assert_eq!(stage.seen(), ["Deadline"]);
    assert!(communicator.is_alive(id), "there was nothing to end");

    // While an attempt goes on, too; that is then given up.
    let far = stage.offer();
    far.state().connecting = true;
    communicator.reconnect(id);
    communicator.timer(id, Duration::ZERO, 6).unwrap();
    stage.settle();
    assert_eq!((stage.seen(), stage.state()), (vec!["Timer(6)".to_owned()], State::Connecting));
    communicator.set_deadline(id, Some(std::time::Instant::now()));
    stage.settle();
    assert_eq!(stage.seen(), ["Deadline", "failed: timed out: the deadline is over"]);
}

#[test]
fn a_timer_that_is_over_in_the_call_that_loses_it_comes_after_that() {
    let stage = stage(hourly(), |event, _| match event {
        "fail" => Err("I was told to".into()),
        _ => Ok(()),
    });
    let far = stage.connect();
    let (communicator, id) = (&stage.communicator, stage.id);
    communicator.timer(id, Duration::ZERO, 1).unwrap();
    communicator.timer(id, Duration::ZERO, 2).unwrap();
    communicator.set_deadline(id, Some(std::time::Instant::now()));
    far.send(communicator, id, "fail\n");
    stage.settle();
    let lost = "lost: its handler failed: I was told to";
    assert_eq!(stage.seen(), ["connected", "fail", lost, "Deadline", "Timer(1)", "Timer(2)"]);

    // The same with an attempt that fails at once.
    communicator.timer(id, Duration::ZERO, 3).unwrap();
    communicator.reconnect(id);
    stage.settle();
    let mut seen = stage.seen();
    seen.sort();
    assert_eq!(seen, ["Timer(3)", "failed: could not connect: connection refused"]);
}

#[test]
fn an_attempt_has_the_time_that_connecting_has() {
    let stage = stage(hourly(), ok);
    let timeouts = Timeouts { connect: Some(Duration::from_nanos(1)), ..Timeouts::default() };
    stage.communicator.set_timeouts(stage.id, timeouts);
    let far = stage.offer();
    far.state().connecting = true;
    stage.settle();
    while stage.events.borrow().is_empty() {
        stage.settle();
    }
    assert_eq!(stage.seen(), ["failed: timed out: not connected in time"]);
    assert!(far.state().closed);
}

#[test]
fn after_the_last_attempt_it_ends() {
    let stage = stage(Reconnect::new(Pauses::never()), ok);
    stage.settle();
    let refused = "could not connect: connection refused";
    assert_eq!(stage.seen(), [format!("failed: {refused}"), format!("closed: {refused}")]);
    assert!(stage.communicator.is_empty());

    let stage = self::stage(Reconnect::new(Pauses::never()), ok);
    let far = stage.offer();
    stage.settle();
    stage.lose(&far);
    let eof = "ended by the other side";
    assert_eq!(stage.seen(), ["connected".to_owned(), format!("lost: {eof}"), format!("closed: {eof}")]);
    assert!(stage.communicator.is_empty());
}

#[test]
fn one_that_reconnects_no_more_ends_when_it_is_lost() {
    let stage = stage(hourly(), ok);
    let far = stage.connect();
    assert!(stage.communicator.stop_reconnecting(stage.id));
    stage.settle();
    assert!(stage.communicator.is_connected(stage.id));
    stage.lose(&far);
    assert_eq!(stage.seen().last().unwrap(), "closed: ended by the other side");

    let stage = self::stage(hourly(), ok);
    stage.settle();
    assert!(stage.communicator.stop_reconnecting(stage.id));
    stage.settle();
    assert_eq!(stage.seen().last().unwrap(), "closed: closed by this program");
    assert!(!stage.communicator.stop_reconnecting(stage.id));
}

#[test]
fn one_that_has_ended_its_direction_goes_on_until_all_is_written() {
    let stage = stage(hourly(), ok);
    let far = stage.offer();
    far.state().room = 2;
    stage.settle();
    stage.send("one").unwrap();
    assert!(stage.communicator.shutdown_write(stage.id));
    assert_eq!(stage.send("two"), Err(SendError::Gone));
    stage.settle();
    stage.lose(&far);
    assert_eq!(stage.seen(), ["connected", "lost: ended by the other side"]);
    let far = stage.connect();
    assert_eq!((far.text().as_str(), far.state().shut), ("one\n", true));
    stage.lose(&far);
    assert_eq!(stage.seen(), ["connected", "closed: ended by the other side"]);
    assert!(stage.communicator.is_empty());
}

#[test]
fn a_layer_in_mid_stream_is_refused() {
    let stage = stage(hourly(), ok);
    stage.connect();
    let refused = stage.communicator.upgrade(stage.id, Ok);
    assert_eq!(refused, Err(UpgradeError::Permanent));
}

#[test]
fn other_connections_can_not_do_what_only_permanent_ones_can() {
    let communicator = Communicator::new().unwrap();
    let (ours, _far) = wire();
    let witness = Witness { events: Rc::default(), act: ok };
    let id = communicator.stream(ours, Lines::new(), witness).unwrap();
    assert_eq!(communicator.greet(id, "hello"), Err(SendError::NotPermanent));
    assert!(
        !communicator.hold(id, true) && !communicator.reconnect(id) && !communicator.stop_reconnecting(id)
    );
    communicator.send_kept(id, "sent", Keep::No).unwrap();
}

#[test]
fn a_panic_ends_it() {
    for at in ["connected", "failed", "lost", "closed"] {
        let stage = stage(hourly(), move |event, _| {
            assert!(!event.starts_with(at), "the handler was told to panic");
            Ok(())
        });
        if at != "failed" {
            let far = stage.offer();
            stage.settle();
            far.end(&stage.communicator, stage.id);
        }
        stage.settle();
        stage.communicator.close(stage.id);
        stage.settle();
        assert!(stage.communicator.is_empty(), "{at}");
    }
    let panics = || -> io::Result<Wire> { panic!("the connector was told to panic") };
    let stage = staged(hourly(), Offers::default(), ok, panics);
    stage.settle();
    assert!(stage.communicator.is_empty());
}

/// Keeps its attempts for the test.
#[derive(Clone, Default)]
struct Later(Rc<RefCell<Vec<Attempt<Wire>>>>);

impl Connect for Later {
    type Transport = Wire;
    fn connect(&mut self, attempt: Attempt<Wire>) {
        self.0.borrow_mut().push(attempt);
    }
}

impl Later {
    fn take(&self) -> Attempt<Wire> {
        self.0.borrow_mut().pop().expect("an attempt")
    }
}

#[test]
fn a_connector_may_answer_later() {
    let later = Later::default();
    let stage = staged(hourly(), Offers::default(), ok, later.clone());
    stage.settle();
    assert_eq!(stage.state(), State::Connecting);
    let attempt = later.take();
    assert!(attempt.is_wanted() && attempt.failures() == 0);
    assert!(attempt.done(Err(ErrorKind::HostUnreachable.into())));
    stage.settle();
    assert_eq!(stage.seen(), ["failed: could not connect: host unreachable"]);

    stage.communicator.reconnect(stage.id);
    stage.settle();
    let attempt = later.take();
    assert_eq!(attempt.failures(), 1);
    let (ours, far) = wire();
    assert!(attempt.done(Ok(ours)));
    stage.send("hello").unwrap();
    stage.settle();
    assert_eq!((stage.seen(), far.text().as_str()), (vec!["connected".to_owned()], "hello\n"));
    stage.lose(&far);
    stage.communicator.reconnect(stage.id);
    stage.settle();
    assert_eq!(later.take().failures(), 0);
}

/// Gives up its first attempt itself, in the same call in which it has an answer.
struct ThinksBetter(Rc<Cell<Option<Id<Lines>>>>, Rc<RefCell<Vec<Far>>>);

impl Connect for ThinksBetter {
    type Transport = Wire;
    fn connect(&mut self, attempt: Attempt<Wire>) {
        let (ours, far) = wire();
        self.1.borrow_mut().push(far);
        let communicator = attempt.communicator().unwrap();
        attempt.done(Ok(ours));
        if let Some(id) = self.0.take() {
            communicator.reconnect(id);
        }
    }
}

#[test]
fn a_connector_may_give_up_what_it_has_just_brought() {
    let (me, fars) = (Rc::new(Cell::new(None)), Rc::new(RefCell::new(Vec::new())));
    let connect = ThinksBetter(me.clone(), fars.clone());
    let stage = staged(hourly(), Offers::default(), ok, connect);
    me.set(Some(stage.id));
    stage.settle();
    assert_eq!(stage.seen(), ["failed: closed by this program"]);
    assert!(fars.borrow()[0].state().closed);
    assert!(matches!(stage.state(), State::Waiting { .. }));
    stage.communicator.reconnect(stage.id);
    stage.settle();
    assert_eq!((stage.seen(), stage.state()), (vec!["connected".to_owned()], State::Open));
}

#[test]
fn an_attempt_that_is_dropped_has_failed() {
    let later = Later::default();
    let stage = staged(hourly(), Offers::default(), ok, later.clone());
    stage.settle();
    drop(later.take());
    stage.settle();
    assert_eq!(stage.seen(), ["failed: could not connect: the attempt to connect was given up"]);
}

#[test]
fn what_comes_too_late_is_dropped() {
    let later = Later::default();
    let stage = staged(hourly(), Offers::default(), ok, later.clone());
    stage.settle();
    stage.communicator.reconnect(stage.id); // given up
    stage.settle();
    stage.communicator.reconnect(stage.id); // the next one
    stage.settle();
    let (second, first) = (later.take(), later.take());
    assert!(second.is_wanted() && !first.is_wanted());
    let (ours, far) = wire();
    assert!(!first.done(Ok(ours)));
    assert!(far.state().closed);
    // What has arrived and was not taken yet goes with the connection.
    let (ours, far) = wire();
    assert!(second.done(Ok(ours)));
    stage.communicator.remove(stage.id);
    assert!(far.state().closed);

    let later = Later::default();
    let stage = staged(hourly(), Offers::default(), ok, later.clone());
    stage.settle();
    let attempt = later.take();
    drop(stage);
    assert!(attempt.communicator().is_none() && !attempt.is_wanted());
    let (ours, far) = wire();
    assert!(!attempt.done(Ok(ours)));
    assert!(far.state().closed);
}

#[test]
fn pauses_are_kept() {
    // Far apart, so that a slow machine does not mix them up: what is asked is when the next attempt is made.
    let stage = stage(Reconnect::new("-100,200,300".parse().unwrap()), ok);
    let next = |stage: &Stage| match stage.state() {
        State::Waiting { attempt, next } => {
            (attempt, next.saturating_sub(stage.communicator.time()).as_secs())
        }
        state => panic!("{state:?}"),
    };
    stage.settle();
    assert_eq!(stage.seen(), [""; 0]);
    assert!(matches!(next(&stage), (1, 98..=100)), "{:?}", next(&stage));
    for (attempt, pause) in [(2, 200), (3, 300), (4, 300)] {
        stage.communicator.reconnect(stage.id);
        stage.settle();
        let (found, seconds) = next(&stage);
        assert!(found == attempt && (pause - 2..=pause).contains(&seconds), "{found}, {seconds} of {pause}");
    }
    let far = stage.connect();
    stage.lose(&far);
    let (found, seconds) = next(&stage);
    assert!(found == 1 && (298..=300).contains(&seconds), "{found}, {seconds}: it counts from the attempt");
}

#[test]
fn what_is_over_in_the_turn_of_a_failure_or_a_loss_is_told_all_the_same() {
    let stage = stage(hourly(), ok);
    let soon = |tag| stage.communicator.timer(stage.id, Duration::ZERO, tag).unwrap();
    soon(1);
    soon(2);
    stage.settle();
    let refused = "failed: could not connect: connection refused";
    assert_eq!(stage.events.take(), [refused, "Timer(1)", "Timer(2)"]);
    // The same when it was there: its input fails in the very turn, and so does its handler.
    for (error, lost) in [(true, "lost: failed: connection reset"), (false, "lost: ended by the other side")]
    {
        let far = stage.offer();
        stage.communicator.reconnect(stage.id);
        stage.settle();
        assert_eq!(stage.events.take(), ["connected"]);
        soon(3);
        let cancelled = soon(4);
        stage.communicator.set_deadline(stage.id, Some(std::time::Instant::now()));
        if error {
            far.state().read_error = Some(ErrorKind::ConnectionReset);
            far.send(&stage.communicator, stage.id, "");
        } else {
            far.end(&stage.communicator, stage.id);
        }
        stage.communicator.cancel(cancelled);
        stage.settle();
        let events = stage.events.take();
        assert_eq!(events.first().map(String::as_str), Some(lost), "{events:?}");
        for told in ["Timer(3)", "Deadline"] {
            assert_eq!(events.iter().filter(|event| *event == told).count(), 1, "{told}: {events:?}");
        }
        assert!(
            stage.communicator.is_alive(stage.id) && !events.contains(&"Timer(4)".to_owned()),
            "{events:?}"
        );
    }
}
