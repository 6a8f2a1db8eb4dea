//! A seeded simulation of streams on a real communicator: the wires are in memory, the poll is played, and everything else
//! is what a program runs with. Handlers change whatever they can reach, fail and panic; transports block, break
//! and panic. What arrives, what is called and in which order is checked as it happens; when nothing changes any more, the
//! loop must come to rest with everything handed over and written.
//!
//! `ED_SEED=7` replays one seed, `ED_SEEDS=5000` runs the seeds below that.

use crate::codec::Lines;
use crate::communicator::{
    Budget, Closed, Communicator, Cx, Handler, HandlerResult, Id, Limits, Timeout, TimerId,
};
use crate::connections::wire::{Far, wire};
use crate::seeds::{self, Random};
use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

const SEEDS: u64 = 400;
const STEPS: usize = 300;
const MOST_CONNECTIONS: usize = 8;

#[test]
fn streams_keep_their_promises_whatever_happens() {
    seeds::each(SEEDS, |seed| World::new(seed).run());
}

struct World {
    communicator: Communicator,
    random: Random,
    connections: RefCell<Vec<Rc<Connection>>>,
    timers: RefCell<Vec<TimerId>>,
    /// A callback runs.
    calling: Cell<bool>,
    /// Callbacks change nothing.
    quiet: Cell<bool>,
    /// Callbacks made.
    calls: Cell<usize>,
    /// The first thing that was wrong: the loop would catch the panic.
    wrong: RefCell<Option<String>>,
}

/// One connection, what its outside knows, and what its handler has seen.
struct Connection {
    number: usize,
    id: Cell<Option<Id<Lines>>>,
    far: Far,
    /// The poll has something to say of it; it was last asked for writing.
    news: Cell<bool>,
    watched: Cell<bool>,
    /// Lines that the other side has begun to send, and how much of the last one has gone.
    lines_sent: Cell<usize>,
    line_sent: Cell<usize>,
    lines_seen: Cell<usize>,
    /// What was queued, in order.
    queued: RefCell<Vec<u8>>,
    checked: Cell<usize>,
    enabled: Cell<bool>,
    reading: Cell<bool>,
    connected: Cell<bool>,
    eof: Cell<bool>,
    closed: Cell<bool>,
    dropped: Cell<bool>,
    /// It was removed, or something panicked: no more calls, and output may be lost.
    cut: Cell<bool>,
    /// Writing has failed.
    broken: Cell<bool>,
}

/// The line of a connection with a number.
fn line(connection: usize, number: usize) -> String {
    let length = match number % 50 {
        49 => 70_000,
        n => n * n % 300,
    };
    format!("{connection}.{number}:{}", "x".repeat(length))
}

impl World {
    fn new(seed: u64) -> Rc<Self> {
        Rc::new(Self {
            communicator: Communicator::new().expect("a poll"),
            random: Random::new(seed),
            connections: RefCell::default(),
            timers: RefCell::default(),
            calling: Cell::new(false),
            quiet: Cell::new(false),
            calls: Cell::new(0),
            wrong: RefCell::default(),
        })
    }

    fn below(&self, end: usize) -> usize {
        self.random.below(end)
    }

    fn percent(&self, chance: usize) -> bool {
        self.random.percent(chance)
    }

    fn expect(&self, right: bool, what: impl FnOnce() -> String) {
        if !right {
            self.wrong.borrow_mut().get_or_insert_with(what);
        }
    }

    fn run(self: Rc<Self>) {
        for n in 0..STEPS {
            match self.below(10) {
                0..5 => self.happen(),
                5..7 => self.act(None),
                _ => self.turn(),
            }
            if n % 100 == 99 {
                self.settle();
            }
        }
        self.communicator.close_all();
        for connection in self.live() {
            connection.far.state().room = usize::MAX / 2;
            connection.news.set(true);
        }
        self.settle();
        for connection in self.live() {
            // Only those are left that wait for the other side.
            assert!(connection.closed.get() && connection.far.state().resets, "{}", connection.number);
            connection.far.state().ended = true;
            connection.news.set(true);
        }
        self.settle();
        assert_eq!(self.communicator.connections(), []);
        for connection in self.connections.borrow().iter() {
            assert!(connection.dropped.get() && connection.far.state().closed, "{}", connection.number);
        }
        // The handlers hold the world.
        self.connections.take();
    }

    /// Those that are there, those that linger too.
    fn live(&self) -> Vec<Rc<Connection>> {
        let connections = self.connections.borrow();
        connections.iter().filter(|connection| !connection.far.state().closed).cloned().collect()
    }

    fn any(&self) -> Option<Rc<Connection>> {
        let mut live = if self.percent(90) { self.live() } else { self.connections.borrow().clone() };
        (!live.is_empty()).then(|| live.swap_remove(self.below(live.len())))
    }

    /// The outside.
    fn happen(&self) {
        let Some(connection) = self.any() else { return };
        let (what, amount) = (self.below(20), self.below(2000));
        let mut state = connection.far.state();
        match what {
            19 if amount < 1000 => {
                // The next calls are in vain; or the system has no memory for one of them, which ends the connection.
                let error = match amount {
                    0..30 => ErrorKind::OutOfMemory,
                    30..500 => ErrorKind::WouldBlock,
                    _ => ErrorKind::Interrupted,
                };
                state.hiccups = [amount % 3 != 0, amount % 3 != 1].map(|on| on.then_some(error));
                if error == ErrorKind::OutOfMemory {
                    connection.broken.set(true);
                }
            }
            0..8 if !state.ended => {
                for _ in 0..1 + amount / 500 {
                    let text = line(connection.number, connection.lines_sent.get()) + "\n";
                    let from = connection.line_sent.get();
                    let to = text.len().min(from + 1 + amount * 20);
                    state.input.extend(&text.as_bytes()[from..to]);
                    connection.line_sent.set(to % text.len());
                    connection.lines_sent.set(connection.lines_sent.get() + to / text.len());
                }
            }
            8..16 => state.room = state.room.saturating_add(amount * amount / 4),
            16 if amount < 300 => state.ended = true,
            17 if amount < 150 => {
                (state.write_error, state.ended) =
                    (Some(ErrorKind::BrokenPipe), amount % 2 == 0 || state.ended);
                connection.broken.set(true);
            }
            18 if amount < 60 => {
                let calls =
                    ["read", "write", "flush", "establish", "source", "wants_write", "resets_on_close"];
                state.panics_in = Some(calls[amount % calls.len()]);
                connection.cut.set(true);
            }
            _ => state.connecting = false,
        }
        connection.news.set(true);
    }

    /// What the poll says, once for each change.
    fn poll(&self) {
        for connection in self.live() {
            let Some(id) = connection.id.get() else { continue };
            let watched = self.communicator.core(|core| core.slot(id.key()).map(|slot| slot.wants_write));
            let watched = watched.unwrap_or(false);
            if connection.watched.replace(watched) != watched {
                connection.news.set(true);
            }
            if !connection.news.replace(false) {
                continue;
            }
            let state = connection.far.state();
            let input = !state.input.is_empty() || state.ended;
            let room = state.room > 0 || state.write_error.is_some();
            let (output, hangup) = (watched && room && !state.connecting, state.ended);
            // After a call in vain it is ready anew.
            connection.news.set(state.hiccups.iter().any(Option::is_some));
            drop(state);
            if input || output {
                self.communicator.core(|core| core.event(id.key(), input, output, hangup));
            }
        }
    }

    fn turn(&self) {
        self.poll();
        self.communicator.turn(Some(Duration::ZERO)).expect("a turn");
        if let Some(wrong) = self.wrong.take() {
            panic!("{wrong}");
        }
        for connection in self.connections.borrow().iter() {
            // All that is written was queued, in order.
            let (state, queued) = (connection.far.state(), connection.queued.borrow());
            let from = connection.checked.replace(state.output.len());
            let right = state.output.len() <= queued.len()
                && state.output[from..] == queued[from..state.output.len()];
            assert!(right, "{}: other output than was queued", connection.number);
            let lost = connection.cut.get() || connection.broken.get() || !connection.connected.get();
            assert!(
                !state.closed || lost || state.output.len() == queued.len(),
                "{}: closed with {} of {} bytes written",
                connection.number,
                state.output.len(),
                queued.len()
            );
            assert!(
                !state.closed || connection.cut.get() || connection.closed.get(),
                "{}",
                connection.number
            );
        }
    }

    /// Calls, and bytes that were moved.
    fn progress(&self) -> usize {
        let connections = self.connections.borrow();
        let bytes = connections.iter().map(|connection| {
            let state = connection.far.state();
            state.output.len().wrapping_sub(state.input.len())
        });
        bytes.fold(self.calls.get(), usize::wrapping_add)
    }

    /// Nothing changes outside any more: the loop must come to rest, with everything done that can be done.
    fn settle(&self) {
        self.quiet.set(true);
        for connection in self.live() {
            connection.far.state().hiccups = [None; 2];
            connection.news.set(true);
        }
        let mut idle = 0;
        loop {
            let before = self.progress();
            self.turn();
            idle = if self.progress() == before { idle + 1 } else { 0 };
            assert!(idle < 6, "the loop turns and turns: {:?}", self.communicator.connections());
            let waits = self.communicator.wait_hint() != Some(Duration::ZERO);
            if idle > 1 && waits && self.live().iter().all(|connection| !connection.news.get()) {
                break;
            }
        }
        self.quiet.set(false);
        for connection in self.live().iter().filter(|connection| connection.enabled.get()) {
            let id = connection.id.get().expect("added");
            let state = connection.far.state();
            let say =
                || format!("{} stands still: {:?}", connection.number, self.communicator.connection(id));
            if !self.communicator.is_alive(id) {
                let done = state.output.len() == connection.queued.borrow().len();
                assert!(connection.closed.get() && (state.room == 0 || (done && state.resets)), "{}", say());
                continue;
            }
            assert!(connection.connected.get() != state.connecting, "{}", say());
            if connection.connected.get() && connection.reading.get() {
                assert!(state.input.is_empty() && connection.eof.get() == state.ended, "{}", say());
                assert_eq!(connection.lines_seen.get(), connection.lines_sent.get(), "{}", say());
            }
            if connection.connected.get() && state.write_error.is_none() && !connection.broken.get() {
                let done = state.output.len() == connection.queued.borrow().len();
                assert!(done || state.room == 0, "{}", say());
            }
        }
    }

    /// The program does something, from outside or from inside a callback of `me`.
    fn act(self: &Rc<Self>, me: Option<&Rc<Connection>>) {
        let what = self.below(30);
        if what < 4 {
            return self.add();
        }
        let target = if self.percent(50) { me.cloned() } else { None };
        let Some(target) = target.or_else(|| self.any()) else { return };
        let Some(id) = target.id.get() else { return };
        let communicator = &self.communicator;
        let alive = communicator.is_alive(id);
        match what {
            4..10 => self.send(&target, self.below(600)),
            10 => self.send(&target, self.below(300_000)),
            11 => {
                let removed = communicator.remove(id);
                target.cut.set(target.cut.get() || removed);
            }
            12 => assert_eq!(communicator.close(id), alive),
            13..16 => {
                let on = self.percent(65);
                assert_eq!(communicator.enable(id, on), alive);
                target.enabled.set(if alive { on } else { target.enabled.get() });
            }
            16..19 => {
                let on = self.percent(65);
                assert_eq!(communicator.read(id, on), alive);
                target.reading.set(if alive { on } else { target.reading.get() });
            }
            19 => assert_eq!(communicator.shutdown_write(id), alive),
            20 => assert_eq!(communicator.set_priority(id, self.below(256) as u8), alive),
            21..23 => {
                let timer = communicator.timer(id, Duration::ZERO, self.below(9) as u64);
                assert_eq!(timer.is_some(), alive);
                self.timers.borrow_mut().extend(timer);
            }
            23 => {
                let timer = self.timers.borrow_mut().pop();
                if let Some(timer) = timer {
                    assert_eq!(communicator.is_set(timer), communicator.cancel(timer));
                }
            }
            24 => {
                let output = 1 + self.below(100_000);
                let limits =
                    Limits { output, high_water: output / 2, low_water: output / 4, ..Limits::default() };
                assert_eq!(communicator.set_limits(id, limits), alive);
            }
            25 => {
                let (bytes, callbacks) = (1 + self.below(5000), 1 + self.below(5));
                let budget = Budget { bytes, callbacks, time: Duration::from_secs(3600) };
                assert_eq!(communicator.set_budget(id, budget), alive);
            }
            26 => {
                let item = "b".repeat(self.below(40_000));
                let live = self.live();
                let refused = communicator.broadcast(live.iter().filter_map(|live| live.id.get()), &item);
                let refused: Vec<_> = refused.expect("a line").into_iter().map(|(id, _)| Some(id)).collect();
                for connection in live.iter().filter(|connection| !refused.contains(&connection.id.get())) {
                    self.note_queued(connection, &item);
                }
            }
            _ => {}
        }
    }

    fn add(self: &Rc<Self>) {
        if self.live().len() >= MOST_CONNECTIONS {
            return;
        }
        let (ours, far) = wire();
        let established = self.percent(50);
        {
            let mut state = far.state();
            state.room = self.below(5000);
            state.connecting = !established && self.percent(50);
            state.resets = self.percent(50);
        }
        let connection = Rc::new(Connection {
            number: self.connections.borrow().len(),
            id: Cell::new(None),
            far,
            news: Cell::new(true),
            watched: Cell::new(!established),
            lines_sent: Cell::new(0),
            line_sent: Cell::new(0),
            lines_seen: Cell::new(0),
            queued: RefCell::default(),
            checked: Cell::new(0),
            enabled: Cell::new(true),
            reading: Cell::new(true),
            connected: Cell::new(false),
            eof: Cell::new(false),
            closed: Cell::new(false),
            dropped: Cell::new(false),
            cut: Cell::new(false),
            broken: Cell::new(false),
        });
        self.connections.borrow_mut().push(connection.clone());
        let actor = Actor { world: self.clone(), connection: connection.clone() };
        let id = self.communicator.add_stream(ours, Lines::new(), actor, established);
        connection.id.set(Some(id.expect("no poll refuses it")));
    }

    fn send(&self, connection: &Connection, length: usize) {
        let Some(id) = connection.id.get() else { return };
        let item = "s".repeat(length);
        // It may be written at once.
        connection.queued.borrow_mut().extend(item.bytes().chain([b'\n']));
        if self.communicator.send(id, &item).is_err() {
            let mut queued = connection.queued.borrow_mut();
            let before = queued.len() - length - 1;
            queued.truncate(before);
        }
    }

    fn note_queued(&self, connection: &Connection, item: &str) {
        connection.queued.borrow_mut().extend(item.bytes().chain([b'\n']));
    }
}

/// The handler: it looks whether it may be called, and then does anything.
struct Actor {
    world: Rc<World>,
    connection: Rc<Connection>,
}

impl Drop for Actor {
    fn drop(&mut self) {
        let twice = self.connection.dropped.replace(true);
        self.world.expect(!twice && !self.world.calling.get() || self.connection.closed.get(), || {
            format!("{}: dropped inside a callback", self.connection.number)
        });
    }
}

impl Actor {
    fn call(&self, what: &str, right: bool) -> HandlerResult {
        let Self { world, connection } = self;
        let nested = world.calling.replace(true);
        let alive = connection.id.get().is_some_and(|id| world.communicator.is_alive(id));
        let may = alive && connection.enabled.get() && !connection.closed.get();
        world.expect(right && may && !nested, || format!("{} is called with {what}", connection.number));
        world.calls.set(world.calls.get() + 1);
        if !world.quiet.get() {
            for _ in 0..world.below(3) {
                world.act(Some(connection));
            }
            if world.percent(1) && world.percent(50) {
                connection.cut.set(true);
                world.calling.set(false);
                panic!("the handler was told to panic");
            }
        }
        world.calling.set(false);
        if !world.quiet.get() && world.percent(1) {
            Err("the handler was told to fail".into())
        } else {
            Ok(())
        }
    }
}

impl Handler<Lines> for Actor {
    fn connected(&mut self, _: &Cx<'_, Lines>) -> HandlerResult {
        let first = !self.connection.connected.replace(true);
        self.call("connected", first)
    }

    fn message(&mut self, item: &str, _: &Cx<'_, Lines>) -> HandlerResult {
        let Connection { number, lines_seen, connected, eof, reading, .. } = &*self.connection;
        let right = item == line(*number, lines_seen.get());
        lines_seen.set(lines_seen.get() + 1);
        self.call("a line", right && connected.get() && !eof.get() && reading.get())
    }

    fn drained(&mut self, _: &Cx<'_, Lines>) -> HandlerResult {
        self.call("drained", self.connection.connected.get())
    }

    fn timeout(&mut self, what: Timeout, _: &Cx<'_, Lines>) -> HandlerResult {
        self.call("a time", self.connection.connected.get() && matches!(what, Timeout::Timer(_)))
    }

    fn eof(&mut self, cx: &Cx<'_, Lines>) -> HandlerResult {
        let Connection { connected, eof, reading, .. } = &*self.connection;
        let right = connected.get() && !eof.replace(true) && reading.get();
        self.call("the end", right)?;
        if self.world.percent(60) {
            cx.close();
        }
        Ok(())
    }

    fn closed(&mut self, why: &Closed, cx: &Cx<'_, Lines>) {
        let Self { world, connection } = self;
        let twice = connection.closed.replace(true);
        let right = !twice && !world.calling.get() && !cx.is_alive(cx.id());
        world.expect(right, || format!("{} is called with its end: {why}", connection.number));
        world.calls.set(world.calls.get() + 1);
    }
}
