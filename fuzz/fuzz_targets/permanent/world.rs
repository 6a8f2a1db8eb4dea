//! The program, what it does with the connection and with the other sides, and what must hold then.

use super::wire::{Thin, Wire};
use super::{Actor, To};
use eventdispatcher::codec::ByteLines;
use eventdispatcher::{
    Attempt, Away, Budget, Communicator, HandlerResult, Id, Keep, Limits, Pauses, Reconnect, SendError,
    unix_pair,
};
use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

/// As much is sent in all.
const BYTES_MAX: usize = 4 << 20;
pub(crate) const WIRES_MAX: usize = 200;
/// The longest line that is taken from the other side.
const LINE_MAX: usize = 300;

/// What was taken to be sent.
struct Sent {
    len: usize,
    kept: bool,
}

/// Begins with its number.
fn item(number: usize, len: usize) -> Vec<u8> {
    let mut item = format!("{number}:").into_bytes();
    item.resize(item.len() + len, b'a' + (number % 26) as u8);
    item
}

/// Everything outside of the connection, and what its handler has seen.
pub(crate) struct World {
    communicator: Communicator,
    program: Vec<u8>,
    at: Cell<usize>,
    pub(crate) id: Cell<Option<Id<ByteLines>>>,
    pub(crate) wires: RefCell<Vec<Rc<Wire>>>,
    pub(crate) late: RefCell<Vec<Attempt<Thin>>>,
    resend_half: bool,
    away: Away,
    keep: Keep,
    limits: RefCell<Limits>,
    /// How many items a turn may bring: this one, and the next.
    pub(crate) callbacks_max: Cell<usize>,
    callbacks_next: Cell<usize>,
    /// Nothing fails any more, and callbacks do nothing.
    pub(crate) kind: Cell<bool>,
    pub(crate) enabled: Cell<bool>,
    pub(crate) reading: Cell<bool>,
    held: Cell<bool>,
    /// Between `connected` and `lost`.
    pub(crate) there: Cell<bool>,
    pub(crate) eof: Cell<bool>,
    /// It is asked to end for good, or may.
    pub(crate) ending: Cell<bool>,
    pub(crate) removed: Cell<bool>,
    pub(crate) closed: Cell<bool>,
    /// Its queue may have been high, or has refused something, and it was not told that this is over; it must be.
    pub(crate) pressed: Cell<usize>,
    pub(crate) owed: Cell<bool>,
    sent: RefCell<Vec<Sent>>,
    bytes: Cell<usize>,
    /// What was greeted with: the wires.
    greeted: RefCell<Vec<usize>>,
    pub(crate) timers: RefCell<Vec<bool>>,
    /// Items in this turn.
    pub(crate) items: Cell<(u64, usize)>,
    pub(crate) handler_dropped: Cell<bool>,
}

impl World {
    pub(crate) fn start(program: &[u8]) -> Rc<Self> {
        let communicator = Communicator::new().expect("a poll");
        let mut world = Self {
            communicator: communicator.clone(),
            program: program.to_vec(),
            at: Cell::new(0),
            id: Cell::new(None),
            wires: RefCell::default(),
            late: RefCell::default(),
            resend_half: true,
            away: Away::default(),
            keep: Keep::Yes,
            limits: RefCell::default(),
            callbacks_max: Cell::new(0),
            callbacks_next: Cell::new(Budget::default().callbacks),
            kind: Cell::new(false),
            enabled: Cell::new(true),
            reading: Cell::new(true),
            held: Cell::new(false),
            there: Cell::new(false),
            eof: Cell::new(false),
            ending: Cell::new(false),
            removed: Cell::new(false),
            closed: Cell::new(false),
            pressed: Cell::new(0),
            owed: Cell::new(false),
            sent: RefCell::default(),
            bytes: Cell::new(0),
            greeted: RefCell::default(),
            timers: RefCell::default(),
            items: Cell::new((0, 0)),
            handler_dropped: Cell::new(false),
        };
        let (how, room) = (world.next(), world.next());
        world.resend_half = how & 1 == 0;
        world.keep = if how & 2 == 0 { Keep::Yes } else { Keep::No };
        if how & 4 != 0 {
            world.away.items = room % 16;
            world.away.bytes = room * 8;
        }
        world.away.drop_oldest = how & 8 != 0;
        world.away.age = (how & 0x30 == 0x30).then_some(Duration::ZERO);
        let pauses: Pauses = match how >> 6 {
            0 | 1 => "3600".parse().expect("a list"),
            2 => "0.000001".parse().expect("a list"),
            _ => {
                world.ending.set(room > 250);
                if room > 250 { Pauses::never() } else { Pauses::every(Duration::from_secs(3600)) }
            }
        };
        let reconnect =
            Reconnect::new(pauses).away(world.away.clone()).resend_half(world.resend_half).keep(world.keep);
        let world = Rc::new(world);
        let codec = || ByteLines::new().max(LINE_MAX);
        let id = communicator.permanent(To(world.clone()), reconnect, codec, Actor(world.clone()));
        world.id.set(Some(id));
        world
    }

    pub(crate) fn id(&self) -> Id<ByteLines> {
        self.id.get().expect("it was added")
    }

    /// The next byte of the program; 0 behind its end, and when nothing is to be decided any more.
    pub(crate) fn next(&self) -> usize {
        if self.kind.get() {
            return 0;
        }
        let at = self.at.get();
        self.at.set(at + 1);
        self.program.get(at).copied().unwrap_or(0).into()
    }

    pub(crate) fn ended(&self) -> bool {
        self.closed.get() || self.removed.get()
    }

    pub(crate) fn wire(&self) -> Option<Rc<Wire>> {
        self.wires.borrow().last().cloned()
    }

    pub(crate) fn run(self: Rc<Self>) {
        let last = self.next();
        while self.at.get() < self.program.len() {
            match self.next() {
                what @ 0..96 => self.act(what),
                what @ 96..192 => self.happen(what - 96),
                _ => self.turn(),
            }
        }
        self.finish(last);
        let turns = self.communicator.turn_number();
        while !self.communicator.is_empty() {
            self.turn();
            for wire in self.wires.borrow().iter() {
                wire.drain();
                wire.leave();
            }
            let turned = self.communicator.turn_number() - turns;
            assert!(turned < 1000, "it does not end: {:?}", self.communicator.connections());
        }
        self.compare();
        assert!(self.handler_dropped.get(), "the handler is still there");
        assert!(self.closed.get() != self.removed.get(), "closed, or removed");
        for wire in self.wires.borrow().iter() {
            assert!(wire.dropped.get(), "the transport of wire {} is still there", wire.number);
        }
        // What is late finds nobody.
        for attempt in self.late.take() {
            assert!(!attempt.is_wanted(), "{attempt:?} is wanted");
        }
    }

    fn turn(&self) {
        self.callbacks_max.set(self.callbacks_next.get());
        self.communicator.turn(Some(Duration::ZERO)).expect("a turn");
        assert!(self.ended() || self.communicator.is_alive(self.id()) || self.ending.get());
    }

    /// Nothing fails any more: it ends in one of several ways, and until then does all that it has to.
    fn finish(&self, last: usize) {
        self.kind.set(true);
        let (communicator, id) = (&self.communicator, self.id());
        if self.ending.get() {
            // It may have ended, or must when it is lost.
            self.settle();
            communicator.close(id);
            return;
        }
        communicator.enable(id, true);
        self.enabled.set(true);
        communicator.read(id, true);
        self.reading.set(true);
        communicator.hold(id, false);
        // Else what wakes it could be all that it reads in a turn, and what has failed is told behind that.
        communicator.set_budget(id, Budget::default());
        self.callbacks_next.set(Budget::default().callbacks);
        self.held.set(false);
        self.settle();
        let info = communicator.connection(id).expect("it is there");
        assert!(self.there.get() && info.queued == 0, "it stands still: {info}");
        assert!(!self.owed.get(), "nobody was told that there is room: {info}");
        // What has woken it was read in pieces, maybe one in a turn.
        let mut turns = 0;
        while communicator.wait_hint() == Some(Duration::ZERO) {
            self.turn();
            turns += 1;
            assert!(turns < 1000, "it never rests: {info}");
        }
        let wire = self.wire().expect("it is there");
        self.check_all_seen(&wire);
        let dropped = self.compare();
        assert_eq!(info.dropped, dropped as u64, "{info}");
        // What is sent now must arrive, however it ends.
        communicator.set_limits(id, Limits::default());
        *self.limits.borrow_mut() = Limits::default();
        self.bytes.set(0);
        let before = self.sent.borrow().len();
        for len in [0, 10, if last < 128 { 1000 } else { 150_000 }] {
            self.send(len, Keep::Yes);
        }
        assert_eq!(self.sent.borrow().len(), before + 3);
        self.ending.set(true);
        match last % 5 {
            0 => assert!(communicator.close(id)),
            1 => assert!(communicator.shutdown_write(id)),
            2 => {
                assert!(communicator.stop_reconnecting(id));
                self.settle();
                wire.leave();
            }
            3 => communicator.close_all(),
            _ => {
                self.settle();
                assert!(communicator.remove(id));
                self.removed.set(true);
            }
        }
        self.settle();
        if last % 5 == 1 {
            // Its end is the other side's answer to this one's.
            wire.half_close();
            self.settle();
        }
        assert!(self.ended(), "it did not end: {:?}", communicator.connections());
        assert_eq!(self.compare(), dropped, "what was sent at last has not arrived");
    }

    /// Turns until nothing moves any more.
    fn settle(&self) {
        let mut idle = 0;
        for turn in 0.. {
            assert!(turn < 3000, "it does not come to rest: {:?}", self.communicator.connections());
            let before = self.progress();
            self.late.borrow_mut().clear();
            if let Some(wire) = self.wire() {
                wire.be_kind();
            }
            let half_open = self.there.get() && self.wire().is_some_and(|wire| wire.half_closed.get());
            if !self.ending.get() && self.enabled.get() && (!self.there.get() || half_open) {
                self.communicator.reconnect(self.id());
            }
            self.turn();
            idle = if before == self.progress() { idle + 1 } else { 0 };
            if idle > 5 {
                break;
            }
        }
    }

    /// What has moved until now.
    fn progress(&self) -> (usize, usize, usize, bool) {
        let wires = self.wires.borrow();
        let taken = wires.iter().map(|wire| wire.taken.borrow().len()).sum();
        (wires.len(), taken, wires.last().map_or(0, |wire| wire.seen.get()), self.closed.get())
    }

    /// Something happens outside.
    fn happen(&self, what: usize) {
        if let Some(late) = self.late.borrow_mut().pop() {
            return if what.is_multiple_of(3) { drop(late) } else { self.answer(late) };
        }
        let Some(wire) = self.wire() else { return };
        match what {
            0..20 => {
                wire.room.set(wire.room.get().saturating_add(1 + self.next()));
                wire.poke();
            }
            20..30 => {
                wire.room.set(usize::MAX);
                wire.poke();
            }
            30..40 => wire.poke(),
            40..60 => {
                let len = self.next();
                let line = format!("{}.{}:{}", wire.number, wire.given.borrow().len(), "y".repeat(len));
                let unfinished = wire.unfinished.borrow().len();
                let rest = line.as_bytes().get(unfinished..).unwrap_or_default();
                let whole = what < 55;
                // An unfinished one gets its end later, whatever that is.
                wire.give(if whole { rest } else { &rest[..rest.len() / 2] }, whole);
            }
            60..63 => wire.give(&[b'z'; LINE_MAX + 5], true),
            63..67 => wire.half_close(),
            67..71 => wire.leave(),
            71..86 => {
                let errors = [
                    ErrorKind::WouldBlock,
                    ErrorKind::Interrupted,
                    ErrorKind::OutOfMemory,
                    ErrorKind::ConnectionReset,
                ];
                let choice = self.next();
                let of = |which: usize| {
                    (choice >> (which * 4) & 1 == 0).then(|| errors[choice >> (which * 4 + 1) & 3])
                };
                if wire.far.borrow().is_some() {
                    wire.hiccups.set([of(0), of(1)]);
                    wire.poke();
                }
            }
            _ => {
                wire.connecting.set(false);
                wire.poke();
            }
        }
    }

    pub(crate) fn answer(&self, attempt: Attempt<Thin>) {
        let (ours, far) = unix_pair().expect("a pair");
        let (how, amount) = (self.next(), self.next());
        let number = self.wires.borrow().len();
        let wire = Rc::new(Wire {
            number,
            far: RefCell::new(Some(far)),
            half_closed: Cell::new(false),
            sip: if how & 1 == 0 { usize::MAX } else { 1 + amount * amount },
            short_writes: Cell::new(200),
            room: Cell::new(if how & 6 == 6 { amount } else { usize::MAX }),
            connecting: Cell::new(how & 8 != 0),
            establish_error: (how & 0x70 == 0x70).then_some(ErrorKind::ConnectionRefused),
            resets: how & 0x80 != 0,
            hiccups: Cell::default(),
            read_failed: Cell::new(false),
            taken: RefCell::default(),
            given: RefCell::default(),
            unfinished: RefCell::default(),
            seen: Cell::new(0),
            dropped: Cell::new(false),
        });
        match how & 0x70 {
            0x60 => wire.leave(),
            0x50 => wire.half_close(),
            _ => {}
        }
        self.wires.borrow_mut().push(wire.clone());
        let wanted = attempt.is_wanted();
        assert_eq!(attempt.done(Ok(Thin { stream: ours, wire: wire.clone() })), wanted);
        if !wanted {
            assert!(wire.dropped.get(), "nobody has it, and it is open");
            self.wires.borrow_mut().pop();
        }
    }

    /// The program does something.
    fn act(&self, what: usize) {
        let (communicator, id) = (&self.communicator, self.id());
        let alive = communicator.is_alive(id);
        match what {
            0..30 => self.send(self.next() / 4, self.keep),
            30..40 => self.send(self.next(), if what < 35 { Keep::Yes } else { Keep::No }),
            40..45 => self.send(self.next() * 600, Keep::Yes),
            45..50 => self.broadcast(self.next() * 200),
            50..56 => self.greet(),
            56..60 => {
                assert_eq!(communicator.hold(id, what < 58), alive);
                self.held.set(alive && what < 58);
            }
            60..66 => {
                assert_eq!(communicator.enable(id, what >= 63), alive);
                self.enabled.set(if alive { what >= 63 } else { self.enabled.get() });
            }
            66..71 => {
                assert_eq!(communicator.read(id, what >= 68), alive);
                self.reading.set(if alive { what >= 68 } else { self.reading.get() });
            }
            71..78 => assert_eq!(communicator.reconnect(id), alive),
            78 => assert_eq!(communicator.set_priority(id, self.next() as u8), alive),
            79..83 => {
                let output = 1 + self.next() * 40;
                let limits =
                    Limits { output, high_water: output / 2, low_water: output / 4, ..Limits::default() };
                assert_eq!(communicator.set_limits(id, limits.clone()), alive);
                *self.limits.borrow_mut() = limits;
            }
            83..85 => {
                let (bytes, callbacks) = (1 + self.next() * 4, 1 + self.next());
                let budget = Budget { bytes, callbacks, time: Duration::from_secs(3600) };
                assert_eq!(communicator.set_budget(id, budget), alive);
                self.callbacks_next.set(callbacks);
            }
            85..88 => {
                let tag = self.timers.borrow().len();
                let timer = communicator.timer(id, Duration::ZERO, tag as u64);
                assert_eq!(timer.is_some(), alive);
                self.timers.borrow_mut().extend(timer.map(|_| false));
            }
            // So rarely that most programs go on.
            88 if self.next() < 40 => {
                assert_eq!(communicator.close(id), alive);
                self.ending.set(true);
            }
            89 if self.next() < 40 => {
                if communicator.remove(id) && alive {
                    self.removed.set(true);
                } else if !self.closed.get() {
                    // It was closed, and its handler will not hear of it.
                    self.removed.set(true);
                }
                self.ending.set(true);
            }
            90 if self.next() < 40 => {
                assert_eq!(communicator.shutdown_write(id), alive);
                self.ending.set(true);
            }
            91 if self.next() < 40 => {
                assert_eq!(communicator.stop_reconnecting(id), alive);
                self.ending.set(true);
            }
            _ => {}
        }
    }

    /// A callback does something, now and then, and may fail.
    pub(crate) fn act_inside(&self) -> HandlerResult {
        match self.next() {
            what @ 1..96 => {
                self.act(what);
                self.act_inside()
            }
            255 => Err("it was told to fail".into()),
            _ => Ok(()),
        }
    }

    fn send(&self, len: usize, keep: Keep) {
        let before = self.before(len);
        let Some((number, queued)) = before else { return };
        let item = item(number, len);
        let result = self.communicator.send_kept(self.id(), &item, keep);
        self.told(result, item.len() + 1, keep, queued);
    }

    /// As many send to many: large ones are shared.
    fn broadcast(&self, len: usize) {
        let Some((number, queued)) = self.before(len) else { return };
        let item = item(number, len);
        let refused = self.communicator.broadcast([self.id()], &item).expect("a line");
        let result = refused.into_iter().next().map_or(Ok(()), |(_, error)| Err(error));
        self.told(result, item.len() + 1, self.keep, queued);
    }

    fn before(&self, len: usize) -> Option<(usize, usize)> {
        self.bytes.set(self.bytes.get() + len);
        let number = self.sent.borrow().len();
        if let Some(items) = self.communicator.queued_items(self.id()) {
            assert_eq!(items.end, number as u64, "other items than were sent");
        }
        (self.bytes.get() < BYTES_MAX).then(|| (number, self.communicator.queued_bytes(self.id())))
    }

    fn told(&self, result: Result<(), SendError>, len: usize, keep: Keep, queued: usize) {
        let (communicator, id) = (&self.communicator, self.id());
        let is_open = communicator.is_connected(id);
        let limits = self.limits.borrow();
        match result {
            Ok(()) => {
                assert!(communicator.is_alive(id));
                assert!(is_open || keep == Keep::Yes, "it does not wait");
                assert!(is_open || queued + len <= self.away.bytes || self.gives_way(), "no room");
                self.sent.borrow_mut().push(Sent { len, kept: keep == Keep::Yes });
                let is_high = queued + len >= limits.high_water;
                self.pressed.set(self.pressed.get() + usize::from(is_high));
                // Others may have given way, now or before.
                self.owed.set(self.owed.get() || (is_high && !self.gives_way()));
            }
            Err(SendError::Away) => assert!(keep == Keep::No && !is_open),
            Err(SendError::Full { .. }) => {
                let items = communicator.queued_items(id).map_or(0, |items| items.end - items.start);
                let is_full = queued >= limits.output
                    || (!is_open && items >= self.away.items as u64)
                    || (!is_open && queued + len > self.away.bytes);
                assert!(is_full, "full with {queued} bytes, {items} items");
                self.pressed.set(self.pressed.get() + 1);
                self.owed.set(true);
            }
            Err(SendError::Gone) => assert!(self.ending.get(), "it is gone"),
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn greet(&self) {
        let greeted = self.greeted.borrow().len();
        let wire = self.wires.borrow().len().wrapping_sub(1);
        let text = format!("g{wire}.{greeted}:{}", "h".repeat(self.next() / 4));
        match self.communicator.greet(self.id(), text.as_bytes()) {
            Ok(()) => self.greeted.borrow_mut().push(wire),
            // That a write has failed is told later.
            Err(SendError::Away) => assert!(!self.kind.get(), "it is there"),
            Err(SendError::Full { queued }) => assert!(queued >= self.limits.borrow().output),
            Err(SendError::Gone) => assert!(self.ending.get(), "it is gone"),
            Err(error) => panic!("{error}"),
        }
    }

    /// What waits may be dropped while it is away.
    fn gives_way(&self) -> bool {
        self.away.drop_oldest || self.away.age.is_some()
    }

    /// A callback comes.
    pub(crate) fn called(&self) {
        assert!(!self.closed.get() && !self.removed.get(), "called after its end");
        assert!(self.enabled.get(), "called while it is off");
    }

    /// The other side has ended, and all that it has sent before was handed over.
    pub(crate) fn check_all_seen(&self, wire: &Wire) {
        let (seen, given) = (wire.seen.get(), wire.given.borrow().len());
        assert_eq!(seen, given, "wire {} has ended before all was handed over", wire.number);
    }

    /// What all transports have taken together against what the connection took. How many items never came.
    fn compare(&self) -> usize {
        let sent = self.sent.borrow();
        let (mut due, mut missing) = (0, 0);
        let mut greetings = self.greeted.borrow().iter().copied().enumerate().collect::<Vec<_>>();
        greetings.reverse();
        // A beginning of an item that was cut off, by number if so much of it came.
        let mut halves: Vec<Vec<u8>> = Vec::new();
        let may_miss = |number: usize, halves: &[Vec<u8>]| {
            let Sent { len, kept } = sent[number];
            let line = || item(number, len - 1 - number.to_string().len() - 1);
            let was_half = || halves.iter().any(|half| line().starts_with(half));
            !kept || self.gives_way() || self.ending.get() || (!self.resend_half && was_half())
        };
        let wires = self.wires.borrow();
        for wire in wires.iter() {
            let taken = wire.taken.borrow();
            let first = taken.first().is_none_or(|first| *first == b'g');
            assert!(first || self.ending.get(), "wire {} does not begin with its greeting", wire.number);
            let whole = taken.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            for line in taken[..whole].split_inclusive(|byte| *byte == b'\n') {
                let line = &line[..line.len() - 1];
                let shown = || String::from_utf8_lossy(&line[..line.len().min(60)]).into_owned();
                if let Some(greeting) = line.strip_prefix(b"g") {
                    let text = String::from_utf8_lossy(greeting);
                    let (name, rest) = text.split_once(':').unwrap_or_else(|| panic!("half: {:?}", shown()));
                    assert!(rest.bytes().all(|byte| byte == b'h'), "another one: {:?}", shown());
                    while let Some((number, of)) = greetings.pop() {
                        if name == format!("{of}.{number}") {
                            assert_eq!(of, wire.number, "on another wire: {:?}", shown());
                            break;
                        }
                        assert!(of < wire.number || !self.kind.get(), "lost on wire {}: {:?}", of, shown());
                    }
                    continue;
                }
                let text = String::from_utf8_lossy(line);
                let number = text.split_once(':').and_then(|(number, _)| number.parse::<usize>().ok());
                let number = number.filter(|number| *number < sent.len());
                let number = number.unwrap_or_else(|| panic!("on wire {}: {:?}", wire.number, shown()));
                assert!(number >= due, "item {number} came twice or too late: {due} was due");
                let len = sent[number].len - 1 - number.to_string().len() - 1;
                assert!(line == item(number, len), "item {number} is not whole: {:?}", shown());
                for number in due..number {
                    assert!(may_miss(number, &halves), "item {number} is lost");
                    missing += 1;
                }
                let again = halves.iter().any(|half| half.contains(&b':') && line.starts_with(half));
                assert!(self.resend_half || !again, "item {number} came half, and again");
                due = number + 1;
            }
            let rest = &taken[whole..];
            if !rest.is_empty() && !rest.starts_with(b"g") {
                let is_one = (due..sent.len()).any(|number| {
                    let len = sent[number].len - 1 - number.to_string().len() - 1;
                    let start = item(number, len.min(40));
                    start.starts_with(&rest[..rest.len().min(start.len())])
                });
                assert!(is_one, "wire {} ends with {:?}", wire.number, String::from_utf8_lossy(rest));
                halves.push(rest.to_vec());
            }
        }
        let lost = greetings.iter().find(|(_, of)| of + 1 == wires.len());
        assert!(lost.is_none() || self.ending.get(), "a greeting never came: {lost:?}");
        for number in due..sent.len() {
            assert!(may_miss(number, &halves), "item {number} never came");
            missing += 1;
        }
        missing
    }
}
