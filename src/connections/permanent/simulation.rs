//! A seeded simulation of permanent connections on a real communicator: the wires are in memory, servers refuse, answer late, take
//! bytes in pieces, break and go away, every call may fail or be in vain, and the program sends, holds, switches off and
//! reconnects at any moment, also from inside of callbacks. What arrives on all wires together is compared with what was taken:
//! nothing came twice, nothing half, nothing in another order.
//!
//! `ED_SEED=7` replays one seed, `ED_SEEDS=5000` runs the seeds below that.

use crate::codec::{ByteLines, DecodeError};
use crate::communicator::{
    Away, Closed, Communicator, Cx, Handler, HandlerResult, Id, Keep, Pauses, Reconnect, SendError, State,
};
use crate::connections::connect::{Attempt, Connect};
use crate::connections::wire::{Far, Wire, wire};
use crate::seeds::{self, Random};
use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

const SEEDS: u64 = 2000;
const STEPS: usize = 400;

#[test]
fn permanent_connections_keep_their_promises_whatever_happens() {
    seeds::each(SEEDS, |seed| World::new(seed).run());
}

struct World {
    communicator: Communicator,
    random: Rc<Random>,
    id: Id<ByteLines>,
    server: Rc<Server>,
    resend_half: bool,
}

struct Sent {
    line: String,
    /// It was to be kept.
    kept: bool,
}

/// The other side, and what the handler has seen.
struct Server {
    random: Rc<Random>,
    /// All wires that there ever were, the last one in use.
    wires: RefCell<Vec<Far>>,
    late: RefCell<Vec<Attempt<Wire>>>,
    /// Nothing fails any more.
    kind: Cell<bool>,
    /// Between `connected` and `lost`.
    there: Cell<bool>,
    connected: Cell<usize>,
    closed: Cell<bool>,
    /// What was taken, in order.
    sent: RefCell<Vec<Sent>>,
}

struct To(Rc<Server>);

impl Connect for To {
    type Transport = Wire;

    fn connect(&mut self, attempt: Attempt<Wire>) {
        let server = &self.0;
        match server.random.below(10) {
            _ if server.kind.get() => server.answer(attempt),
            0 | 1 => drop(attempt),
            2 | 3 => {
                attempt.done(Err(ErrorKind::ConnectionRefused.into()));
            }
            4 | 5 => server.late.borrow_mut().push(attempt),
            _ => server.answer(attempt),
        }
    }
}

impl Server {
    fn answer(&self, attempt: Attempt<Wire>) {
        let (ours, far) = wire();
        if !self.kind.get() {
            let mut state = far.state();
            state.room = self.random.below(60);
            state.connecting = self.random.percent(30);
            state.ended = self.random.percent(10);
            state.establish_error = self.random.percent(5).then_some(ErrorKind::ConnectionRefused);
        }
        if attempt.done(Ok(ours)) {
            self.wires.borrow_mut().push(far);
        } else {
            assert!(far.state().closed, "nobody has it, and it is open");
        }
    }

    /// Something happens outside.
    fn happen(&self, communicator: &Communicator, id: Id<ByteLines>) {
        let late = self.late.borrow_mut().pop();
        if let Some(late) = late {
            return if self.random.percent(70) { self.answer(late) } else { drop(late) };
        }
        let wires = self.wires.borrow();
        let Some(far) = wires.last() else { return };
        match self.random.below(12) {
            10 | 11 => {
                // The next calls are in vain, or the system has no memory for them.
                let errors = [ErrorKind::WouldBlock, ErrorKind::Interrupted, ErrorKind::OutOfMemory];
                let of = |_| self.random.percent(50).then(|| errors[self.random.below(errors.len())]);
                far.state().hiccups = [0, 1].map(of);
                communicator.core(|core| core.event(id.key(), true, true, false));
            }
            0..5 => far.take(communicator, id, self.random.below(200)),
            5 => far.send(communicator, id, format!("\nhello {0}\nhal {0}", wires.len())),
            6 => far.end(communicator, id),
            7 if self.random.percent(50) => {
                far.state().write_error = Some(ErrorKind::BrokenPipe);
                far.take(communicator, id, 0);
            }
            8 if self.random.percent(30) => {
                far.state().read_error = Some(ErrorKind::ConnectionReset);
                communicator.core(|core| core.event(id.key(), true, false, true));
            }
            9 if self.random.percent(20) => far.send(communicator, id, "\nfail\n"),
            _ => {
                far.state().connecting = false;
                communicator.core(|core| core.event(id.key(), true, true, false));
            }
        }
    }
}

impl Server {
    /// The program does something.
    fn act(&self, communicator: &Communicator, id: Id<ByteLines>) {
        let kept = self.random.percent(80);
        match self.random.below(20) {
            0..12 => {
                let line = format!("{}:{}", self.sent.borrow().len(), "x".repeat(self.random.below(40)));
                let keep = if kept { Keep::Yes } else { Keep::No };
                match communicator.send_kept(id, line.as_bytes(), keep) {
                    Ok(()) => self.sent.borrow_mut().push(Sent { line, kept }),
                    Err(SendError::Away) => assert!(!kept && !communicator.is_connected(id)),
                    Err(SendError::Full { .. }) => assert!(!communicator.is_connected(id)),
                    Err(error) => panic!("{error}"),
                }
            }
            12 => assert!(communicator.hold(id, self.random.percent(40))),
            13 | 14 => assert!(communicator.enable(id, self.random.percent(70))),
            15 => assert!(communicator.read(id, self.random.percent(70))),
            16 if self.random.percent(30) => drop(communicator.reconnect(id)),
            17 => drop(communicator.set_priority(id, self.random.below(256) as u8)),
            _ => {}
        }
    }

    /// A callback does something, now and then.
    fn act_inside(&self, cx: &Cx<'_, ByteLines>) {
        if !self.kind.get() {
            for _ in 0..self.random.below(3) {
                self.act(cx, cx.id());
            }
        }
    }
}

impl Handler<ByteLines> for Rc<Server> {
    fn connected(&mut self, cx: &Cx<'_, ByteLines>) -> HandlerResult {
        assert!(!self.there.replace(true) && !self.closed.get(), "it was there already");
        self.connected.set(self.connected.get() + 1);
        cx.greet(cx.id(), format!("greeting {}", self.connected.get()).as_bytes())?;
        self.act_inside(cx);
        Ok(())
    }
    fn message(&mut self, line: &[u8], cx: &Cx<'_, ByteLines>) -> HandlerResult {
        assert!(self.there.get() && cx.is_connected(cx.id()), "it is away");
        self.act_inside(cx);
        let line = String::from_utf8_lossy(line);
        let wire = self.wires.borrow().len();
        match &*line {
            "" => Ok(()),
            "fail" => Err(Box::new(DecodeError::invalid("fail", 0))),
            line if line == format!("hello {wire}") || line == format!("hal {wire}") => Ok(()),
            other => panic!("of another connection than {wire}: {other:?}"),
        }
    }
    fn failed(&mut self, _: &Closed, cx: &Cx<'_, ByteLines>) -> HandlerResult {
        assert!(!self.there.get() && !self.closed.get());
        assert!(matches!(cx.connection(cx.id()).expect("it waits").state, State::Waiting { .. }));
        self.act_inside(cx);
        Ok(())
    }
    fn lost(&mut self, _: &Closed, cx: &Cx<'_, ByteLines>) -> HandlerResult {
        assert!(self.there.replace(false) && !self.closed.get());
        assert!(matches!(cx.connection(cx.id()).expect("it waits").state, State::Waiting { .. }));
        let wires = self.wires.borrow();
        assert!(wires.last().expect("it was there").state().closed, "its descriptor is open");
        drop(wires);
        self.act_inside(cx);
        Ok(())
    }
    fn closed(&mut self, why: &Closed, _: &Cx<'_, ByteLines>) {
        assert!(!self.closed.replace(true) && matches!(why, Closed::Local), "closed: {why}");
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let random = Rc::new(Random::new(seed));
        let server = Rc::new(Server {
            random: random.clone(),
            wires: RefCell::default(),
            late: RefCell::default(),
            kind: Cell::new(false),
            there: Cell::new(false),
            connected: Cell::new(0),
            closed: Cell::new(false),
            sent: RefCell::default(),
        });
        let communicator = Communicator::new().expect("a poll");
        let pauses = if random.percent(50) {
            "0.000001".parse().expect("a list")
        } else {
            // The least that there is is a millisecond: attempts are asked for.
            Pauses::growing(Duration::from_millis(1), Duration::from_millis(2))
        };
        let resend_half = random.percent(60);
        let away = Away { items: 1 + random.below(50), ..Away::default() };
        let reconnect = Reconnect::new(pauses).away(away).resend_half(resend_half);
        let id = communicator.permanent(To(server.clone()), reconnect, ByteLines::new, server.clone());
        Self { communicator, random, id, server, resend_half }
    }

    fn run(self) {
        for _ in 0..STEPS {
            match self.random.below(10) {
                0..3 => self.server.happen(&self.communicator, self.id),
                3..6 => self.server.act(&self.communicator, self.id),
                _ => self.turn(),
            }
        }
        self.server.kind.set(true);
        self.communicator.enable(self.id, true);
        self.communicator.read(self.id, true);
        self.communicator.hold(self.id, false);
        self.communicator.reconnect(self.id);
        for _ in 0..1000 {
            self.turn();
            if self.server.there.get() && self.communicator.queued_bytes(self.id) == 0 {
                break;
            }
            self.server.late.borrow_mut().clear();
            if !self.server.there.get() {
                self.communicator.reconnect(self.id);
            }
        }
        let info = self.communicator.connection(self.id).expect("it is there for ever");
        assert!(self.server.there.get() && info.queued == 0, "it stands still: {info}");
        self.compare();
        self.communicator.close(self.id);
        for _ in 0..3 {
            self.communicator.turn(Some(Duration::ZERO)).expect("a turn");
        }
        assert!(self.server.closed.get() && self.communicator.is_empty());
    }

    fn turn(&self) {
        self.communicator.turn(Some(Duration::ZERO)).expect("a turn");
        assert!(self.communicator.is_alive(self.id), "something has panicked");
    }

    /// What has arrived on all wires together against what was taken.
    fn compare(&self) {
        let sent = self.server.sent.borrow();
        let mut due = sent.iter().peekable();
        let mut halves: Vec<String> = Vec::new();
        let may_miss = |missing: &Sent, halves: &[String]| {
            let was_half = !self.resend_half && halves.iter().any(|half| missing.line.starts_with(half));
            !missing.kept || was_half
        };
        let wires = self.server.wires.borrow();
        for (n, far) in wires.iter().enumerate() {
            let text = far.text();
            let (whole, rest) = text.rsplit_once('\n').map_or(("", &*text), |(whole, rest)| (whole, rest));
            let mut lines = whole.split('\n').filter(|line| !line.is_empty());
            if let Some(greeting) = lines.next() {
                assert!(greeting.starts_with("greeting "), "wire {n} begins with {greeting:?}");
            }
            for line in lines {
                assert!(!line.starts_with("greeting "), "{line:?} twice on wire {n}");
                // What is between was not to be kept, or was half sent and not to be sent again.
                while let Some(next) = due.next_if(|next| next.line != line) {
                    assert!(may_miss(next, &halves), "{:?} is lost: {line:?} came on wire {n}", next.line);
                }
                assert!(due.next().is_some(), "{line:?} was not due: twice?");
            }
            // Half a greeting is never sent again.
            if !rest.is_empty() && !whole.is_empty() {
                halves.push(rest.to_owned());
            }
        }
        for left in due {
            assert!(may_miss(left, &halves), "{:?} never came", left.line);
        }
    }
}
