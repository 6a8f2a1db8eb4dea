//! Any codec over any transport: the one driver of all stream connections.

mod flow;

use self::flow::Flow;
use super::transport::Transport;
use super::upgrade::{Carrier, Layer};
use crate::codec::{Codec, DecodeError, Decoded};
use crate::communicator::{
    CHUNK, Closed, Communicator, Cx, Driver, Handler, HandlerError, HandlerResult, Id, Linger, OutQueue,
    Outcome, Ready, Spent, Timeout, Turn, Upgrade, Written, is_wide,
};
use mio::event::Source;
use std::io::{self, ErrorKind, Read};

/// Input that is thrown away in one turn of a lingering connection.
const DISCARD_READS: usize = 16;
/// What is piped somewhere is read in pieces of this size at least, however little may be queued there.
const PIPE_READ: usize = 4096;

impl Communicator {
    /// Adds a connection that speaks `codec` over `transport`, with `handler` for what comes.
    ///
    /// # Errors
    /// When the poll refuses the transport's source. That a connection can't be established
    /// is told to the handler.
    pub fn stream<T: Transport, C: Codec, H: Handler<C>>(
        &self,
        transport: T,
        codec: C,
        handler: H,
    ) -> io::Result<Id<C>> {
        self.add_stream(transport, codec, handler, false)
    }

    /// `established`: the transport is known to be.
    pub(crate) fn add_stream<T: Transport, C: Codec, H: Handler<C>>(
        &self,
        transport: T,
        codec: C,
        handler: H,
        established: bool,
    ) -> io::Result<Id<C>> {
        let (kind, packets) = (transport.kind(), transport.carries_packets());
        let stream = Stream {
            transport: Some(Carrier::Own(transport)),
            codec,
            handler: Some(handler),
            held: Vec::new(),
            established,
            open: false,
            ended: false,
            told: false,
            resume: false,
            flow: Flow::Little,
            asks_writing: false,
            leaves: false,
        };
        let key = self.add(kind, false, Box::new(stream))?;
        if !packets {
            self.core(|core| core.set_stream(key));
        }
        Ok(Id::new(key))
    }
}

pub(super) struct Stream<T, C, H> {
    /// Gone once the descriptor is closed.
    transport: Option<Carrier<T>>,
    codec: C,
    /// Gone once `closed` was called.
    handler: Option<H>,
    /// Input that makes no item yet.
    held: Vec<u8>,
    /// The transport is known to be established.
    established: bool,
    /// `connected` was called.
    open: bool,
    /// The other side has ended its direction: nothing more can be read.
    ended: bool,
    /// … and the handler knows.
    told: bool,
    /// `held` has items in it: reading was stopped in the middle.
    resume: bool,
    /// How much comes at a time.
    flow: Flow,
    /// Writing may have failed, which comes to light when everything is read.
    asks_writing: bool,
    /// It was closed before its layer was established.
    leaves: bool,
}

/// Why reading stopped for this turn.
enum Stop {
    /// There is nothing more.
    Empty,
    /// The budget is used up.
    Budget,
    /// The connection was closed, removed, disabled or stopped.
    Told,
    /// The other side has ended its direction.
    Eof,
}

impl<T: Transport, C: Codec, H: Handler<C>> Stream<T, C, H> {
    /// It waits for its first transport.
    pub(super) fn without_transport(codec: C, handler: H) -> Self {
        Self {
            transport: None,
            codec,
            handler: Some(handler),
            held: Vec::new(),
            established: false,
            open: false,
            ended: false,
            told: false,
            resume: false,
            flow: Flow::Little,
            asks_writing: false,
            leaves: false,
        }
    }

    /// Begins anew over another transport.
    pub(super) fn renew(&mut self, transport: T, codec: C) {
        let handler = self.handler.take();
        *self = Self {
            transport: Some(Carrier::Own(transport)),
            codec,
            handler,
            held: Vec::new(),
            established: false,
            open: false,
            ended: false,
            told: false,
            resume: false,
            flow: Flow::Little,
            asks_writing: false,
            leaves: false,
        };
    }

    /// Reads and hands over items.
    fn pump(
        &mut self,
        turn: &Turn<'_>,
        cx: &Cx<'_, C>,
        chunk: &mut [u8],
        spent: &mut Spent<'_>,
    ) -> Result<Stop, Closed> {
        loop {
            let Self { transport: Some(transport), .. } = self else { return Ok(Stop::Told) };
            // A short beginning of an item goes in front of what is read, a long one gets it appended:
            // either way little is copied.
            let kept = self.held.len();
            let in_front = kept <= chunk.len() / 4;
            let offset = if in_front { kept } else { 0 };
            chunk[..offset].copy_from_slice(&self.held[..offset]);
            let asked = self.flow.ask(transport, chunk.len() - offset);
            let (got, empty) = match transport.read_noticing(&mut chunk[offset..offset + asked]) {
                Ok((0, _)) => return Ok(Stop::Eof),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Stop::Empty),
                Err(error) if error.kind() == ErrorKind::Interrupted => {
                    spent.callback();
                    if spent.all() {
                        return Ok(Stop::Budget);
                    }
                    continue;
                }
                Err(error) => return Err(Closed::Io(error)),
            };
            // With a hang-up in sight the end must be read, too.
            let empty = empty && !turn.ready.has(Ready::HANGUP);
            spent.bytes(got);
            let before = spent.callbacks();
            let (used, stop) = if in_front {
                let input = &chunk[..offset + got];
                let fed = self.feed(input, turn, cx, spent, got);
                let (used, stop) = fed?;
                self.resume = stop.is_some();
                self.hold(cx, &input[used..]);
                (used, stop)
            } else {
                self.held.extend_from_slice(&chunk[..got]);
                let held = std::mem::take(&mut self.held);
                let fed = self.feed(&held, turn, cx, spent, got);
                self.held = held;
                let (used, stop) = fed?;
                self.resume = stop.is_some();
                self.held.drain(..used);
                self.fit(cx);
                (used, stop)
            };
            let looked_at = if stop.is_some() { used.min(got) } else { got };
            self.flow = Flow::after(got, looked_at, spent.callbacks() - before);
            if self.held.is_empty() && self.held.capacity() > 0 {
                let buffer = std::mem::take(&mut self.held);
                cx.core(|core| core.give_spare(buffer));
            }
            if let Some(stop) = stop {
                return Ok(stop);
            }
            let limit = turn.settings.limits.input;
            if self.held.len() >= limit {
                return Err(Closed::Decode(DecodeError::TooLong { limit }));
            }
            if empty {
                return Ok(Stop::Empty);
            }
            if spent.all_before_read() {
                return Ok(Stop::Budget);
            }
        }
    }

    /// Keeps what makes no item yet.
    fn hold(&mut self, cx: &Cx<'_, C>, rest: &[u8]) {
        self.held.clear();
        if rest.is_empty() {
            return;
        }
        if self.held.capacity() == 0 {
            self.held = cx.core(|core| core.copy(rest));
            return;
        }
        self.held.extend_from_slice(rest);
        self.fit(cx);
    }

    /// What is kept may be so for long: no large buffer for little.
    fn fit(&mut self, cx: &Cx<'_, C>) {
        if is_wide(self.held.capacity(), self.held.len()) {
            cx.core(|core| core.fit(&mut self.held));
        }
    }

    /// Hands over the items of `input`; `fresh` bytes of it are new. How many bytes they took, and whether to stop.
    fn feed(
        &mut self,
        input: &[u8],
        turn: &Turn<'_>,
        cx: &Cx<'_, C>,
        spent: &mut Spent<'_>,
        fresh: usize,
    ) -> Result<(usize, Option<Stop>), Closed> {
        let Self { codec, handler: Some(handler), transport, .. } = self else {
            return Ok((input.len(), Some(Stop::Told)));
        };
        let (mut used, mut items, mut stop) = (0, 0, None);
        let packets = transport.as_ref().is_some_and(Transport::carries_packets);
        let (mut failed, mut seen) = (None, if packets { usize::MAX } else { 0 });
        while used < input.len() {
            if used >= seen {
                seen = used.saturating_add(handler.look_ahead(&input[used..], cx));
                // Only the items are held up: who looks ahead anew each time, and sends much each time, would never get one.
                if cx.core(|core| core.interrupted())
                    && let told @ Some(Stop::Told) = after_call(transport, turn, cx)
                {
                    stop = told;
                    break;
                }
            }
            match codec.decode(&input[used..]) {
                Ok(Decoded::Item(_, 0) | Decoded::Skip(0)) => {
                    failed = Some(Closed::Decode(DecodeError::invalid("the codec takes no bytes", 0)));
                    break;
                }
                Ok(Decoded::Item(item, took)) => {
                    items += 1;
                    used += took.min(input.len() - used);
                    if let Err(error) = handler.message(item, cx) {
                        failed = Some(Closed::Handler(error));
                        break;
                    }
                }
                Ok(Decoded::Skip(took)) => used += took.min(input.len() - used),
                Ok(Decoded::More) => break,
                Err(error) => {
                    failed = Some(Closed::Decode(error));
                    break;
                }
            }
            spent.callback();
            if cx.core(|core| core.interrupted()) {
                stop = after_call(transport, turn, cx);
                if stop.is_some() {
                    break;
                }
            }
            if used < input.len() && spent.all() {
                stop = Some(Stop::Budget);
                break;
            }
        }
        self.asks_writing = cx.core(|core| core.received(turn.key, fresh, items));
        match failed {
            Some(why) => Err(why),
            None => Ok((used, stop)),
        }
    }

    /// Hands over what was kept when reading was stopped, before anything new is read.
    fn feed_held(
        &mut self,
        turn: &Turn<'_>,
        cx: &Cx<'_, C>,
        spent: &mut Spent<'_>,
    ) -> Result<Option<Stop>, Closed> {
        let held = std::mem::take(&mut self.held);
        let fed = self.feed(&held, turn, cx, spent, 0);
        self.held = held;
        let (used, stop) = fed?;
        self.resume = stop.is_some();
        self.held.drain(..used);
        self.fit(cx);
        Ok(stop)
    }

    /// The other side has ended its direction: hands over the last item, if that ends with the stream, and the end.
    fn eof(&mut self, turn: &Turn<'_>, cx: &Cx<'_, C>) -> Result<Outcome, Closed> {
        self.ended = true;
        let Self { codec, handler: Some(handler), held, .. } = self else { return Ok(Outcome::Wait) };
        let rest = std::mem::take(held);
        if !rest.is_empty()
            && let Some(item) = codec.finish(&rest).map_err(Closed::Decode)?
        {
            cx.core(|core| core.received(turn.key, 0, 1));
            handler.message(item, cx).map_err(Closed::Handler)?;
        }
        if !cx.core(|core| core.may_read(turn.key)) {
            return Ok(Outcome::Again); // the end comes when it is read again
        }
        self.told = true;
        self.call(|handler| handler.eof(cx))?;
        self.write_error(turn, cx)
    }

    /// Everything in its turn, in a fixed order: established, input, time that is over, drained.
    fn step(&mut self, turn: &Turn<'_>, cx: &Cx<'_, C>) -> Result<Outcome, Closed> {
        let mut reading = turn.ready.has(Ready::INPUT) || turn.ready.has(Ready::ADDED);
        let mut may_read = turn.reads;
        if !self.open || !self.established {
            let failed = if self.open { Closed::Io } else { Closed::Connect };
            self.established = match &mut self.transport {
                Some(transport) if !self.established => establish(transport).map_err(failed)?,
                _ => self.established,
            };
            let Some(transport) = self.transport.as_ref().filter(|_| self.established) else {
                self.later(turn, cx)?; // a permanent connection is called for its timers all the same
                return Ok(Outcome::Wait);
            };
            (reading, may_read) = (true, false); // a layer may hold input, of which the poll knows nothing
            let (kind, about) = (transport.kind(), transport.about());
            let there = cx.core(|core| {
                core.describe(turn.key, kind, about);
                core.established(turn.key)
            });
            if !there {
                self.later(turn, cx)?;
                return Ok(Outcome::Wait);
            }
            if std::mem::replace(&mut self.open, true) {
                self.call(|handler| handler.upgraded(cx))?;
            } else {
                self.call(|handler| handler.connected(cx))?;
            }
        }
        let outcome = if !reading {
            Outcome::Wait
        } else if may_read && !self.ended {
            self.read_usual(turn, cx)?
        } else if cx.core(|core| core.may_read(turn.key)) {
            self.read(turn, cx)?
        } else {
            Outcome::Again // the poll will not say it again
        };
        self.later(turn, cx)?;
        Ok(outcome)
    }

    /// What comes after the input: time that is over, drained. Each callback may end, or switch off, what is left.
    fn later(&mut self, turn: &Turn<'_>, cx: &Cx<'_, C>) -> Result<(), Closed> {
        let mut left = turn.ready.only(Ready::LATER);
        if left.is_empty() {
            return Ok(());
        }
        for (bit, what) in turn.ready.timeouts() {
            if !cx.core(|core| core.may_call(turn.key)) {
                break;
            }
            left = left.without(bit);
            if cx.core(|core| core.still_over(turn.key, what)) {
                self.call(|handler| handler.timeout(what, cx))?;
            }
        }
        let mut due = turn.due;
        while let [timer, rest @ ..] = due
            && cx.core(|core| core.may_call(turn.key))
        {
            due = rest;
            if let Some(tag) = cx.core(|core| core.take_timer(turn.key, *timer)) {
                self.call(|handler| handler.timeout(Timeout::Timer(tag), cx))?;
            }
        }
        if left.has(Ready::DRAINED) && cx.core(|core| core.may_call(turn.key)) {
            left = left.without(Ready::DRAINED);
            cx.core(|core| core.tells_drained(turn.key));
            self.call(|handler| handler.drained(cx))?;
        }
        if due.is_empty() {
            left = left.without(Ready::TIMERS);
        }
        if !left.is_empty() {
            cx.core(|core| core.put_back(turn.key, left, due));
        }
        Ok(())
    }

    fn read(&mut self, turn: &Turn<'_>, cx: &Cx<'_, C>) -> Result<Outcome, Closed> {
        if self.told {
            // Half open: nothing more comes. Only whether it can still be written to is of interest.
            let over = cx.core(|core| {
                core.pipe_end(turn.key);
                core.pipe_is_over(turn.key)
            });
            return if over { Err(Closed::Eof) } else { self.write_error(turn, cx) };
        }
        if cx.core(|core| core.is_piped(turn.key)) {
            return self.pipe(turn, cx);
        }
        if self.ended {
            return self.eof(turn, cx);
        }
        self.read_usual(turn, cx)
    }

    /// Hands over what comes.
    fn read_usual(&mut self, turn: &Turn<'_>, cx: &Cx<'_, C>) -> Result<Outcome, Closed> {
        self.asks_writing = true;
        let mut spent = Spent::nothing(&turn.settings);
        let mut stop = if self.resume { self.feed_held(turn, cx, &mut spent)? } else { None };
        if stop.is_none() {
            let mut chunk = cx.take_chunk();
            let pumped = self.pump(turn, cx, &mut chunk, &mut spent);
            cx.give_chunk(chunk);
            stop = Some(pumped?);
        }
        match stop {
            Some(Stop::Budget) => Ok(Outcome::Again),
            // There may be more in the source, which the poll will not say again.
            Some(Stop::Told) => Ok(Outcome::Again),
            Some(Stop::Eof) => self.eof(turn, cx),
            Some(Stop::Empty) | None if self.asks_writing => self.write_error(turn, cx),
            Some(Stop::Empty) | None => Ok(Outcome::Wait),
        }
    }

    /// Everything that comes goes to another connection as it is: what was kept first.
    fn pipe(&mut self, turn: &Turn<'_>, cx: &Cx<'_, C>) -> Result<Outcome, Closed> {
        if !self.held.is_empty() {
            let held = std::mem::take(&mut self.held);
            self.resume = false;
            cx.pass_on(turn.key, &held);
            cx.core(|core| core.give_spare(held));
        }
        let mut spent = Spent::nothing(&turn.settings);
        let mut chunk = cx.take_chunk();
        let carried = if self.ended { Ok(Stop::Eof) } else { self.carry(turn, cx, &mut chunk, &mut spent) };
        cx.give_chunk(chunk);
        match carried? {
            Stop::Budget | Stop::Told => Ok(Outcome::Again),
            Stop::Empty => self.write_error(turn, cx),
            Stop::Eof => {
                (self.ended, self.told) = (true, true);
                let (fed, over) = cx.core(|core| {
                    core.pipe_end(turn.key);
                    (core.is_piped_to(turn.key), core.pipe_is_over(turn.key))
                });
                if over {
                    return Err(Closed::Eof);
                }
                if !fed {
                    self.call(|handler| handler.eof(cx))?;
                }
                self.write_error(turn, cx)
            }
        }
    }

    /// Reads and passes on.
    fn carry(
        &mut self,
        turn: &Turn<'_>,
        cx: &Cx<'_, C>,
        chunk: &mut [u8],
        spent: &mut Spent<'_>,
    ) -> Result<Stop, Closed> {
        let Self { transport: Some(transport), .. } = self else { return Ok(Stop::Told) };
        loop {
            let (may, room) =
                cx.core(|core| (core.may_read(turn.key), core.pipe_room(turn.key).max(PIPE_READ)));
            if !may {
                return Ok(Stop::Told);
            }
            let room = if transport.loses_what_has_no_room() { CHUNK } else { room.min(CHUNK) };
            let asked = self.flow.ask(transport, room);
            let into = &mut chunk[..asked];
            match transport.read_noticing(into) {
                Ok((0, _)) => return Ok(Stop::Eof),
                Ok((got, empty)) => {
                    cx.core(|core| core.received(turn.key, got, 0));
                    cx.pass_on(turn.key, &into[..got]);
                    spent.bytes(got);
                    self.flow = Flow::after(got, got, 0);
                    if empty && !turn.ready.has(Ready::HANGUP) {
                        return Ok(Stop::Empty);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Stop::Empty),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Closed::Io(error)),
            }
            spent.callback();
            if spent.all_before_read() {
                return Ok(Stop::Budget);
            }
        }
    }

    /// With everything read, an error in writing may come to light.
    fn write_error(&mut self, turn: &Turn<'_>, cx: &Cx<'_, C>) -> Result<Outcome, Closed> {
        match cx.core(|core| core.take_write_error(turn.key)) {
            Some(error) => Err(Closed::Io(error)),
            None => Ok(Outcome::Wait),
        }
    }

    fn call(&mut self, call: impl FnOnce(&mut H) -> Result<(), HandlerError>) -> Result<(), Closed> {
        match &mut self.handler {
            Some(handler) => call(handler).map_err(Closed::Handler),
            None => Ok(()),
        }
    }
}

fn establish(transport: &mut impl Transport) -> io::Result<bool> {
    match transport.establish() {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(false),
        established => established,
    }
}

/// After a call of the handler in which something has happened to its connection: whether it must know of that before it goes on.
#[inline(never)]
fn after_call<C>(transport: &mut Option<impl Transport>, turn: &Turn<'_>, cx: &Cx<'_, C>) -> Option<Stop> {
    if let Some(transport) = transport {
        write_own(transport, turn);
    }
    if !cx.core(|core| core.may_read(turn.key) && !core.is_piped(turn.key)) {
        return Some(Stop::Told);
    }
    cx.core(|core| core.is_held_up(turn.key)).then_some(Stop::Budget)
}

/// A handler that sends itself much in one turn does not pile it all up.
fn write_own(transport: &mut impl Transport, turn: &Turn<'_>) {
    let Some((mut out, most)) = turn.communicator.core(|core| core.begin_own_write(turn.key)) else { return };
    let wrote = write_out(&mut out, transport, most);
    turn.communicator.core(|core| core.end_own_write(turn.key, out, wrote));
}

/// Writes, and says what the transport holds back.
fn write_out(out: &mut OutQueue, transport: &mut impl Transport, budget: usize) -> io::Result<Written> {
    let mut written = out.write_to(transport, budget)?;
    let held = transport.held_back();
    out.set_held(held.map_or(0, |held| held.bytes));
    (written.retry, written.input) = (held.map(|held| held.retry), transport.has_input());
    Ok(written)
}

impl<T: Transport, C: Codec, H: Handler<C>> Driver for Stream<T, C, H> {
    fn source(&mut self) -> Option<&mut dyn Source> {
        self.transport.as_mut()?.source()
    }

    fn wants_write(&self) -> bool {
        self.transport.as_ref().is_some_and(|transport| !self.established || transport.wants_write())
    }

    fn ready(&mut self, turn: &Turn<'_>) -> Outcome {
        let cx = Cx::new(turn.communicator, turn.key);
        let unread = self.held.len();
        let outcome = self.step(turn, &cx).unwrap_or_else(Outcome::End);
        if self.held.len() != unread {
            cx.core(|core| core.set_unread(turn.key, self.held.len()));
        }
        outcome
    }

    fn upgrade(&mut self, upgrade: Upgrade) -> Result<(), Closed> {
        self.established = false; // from here on nothing leaves without the layer
        if !self.held.is_empty() {
            let text =
                format!("{} bytes of input stand before the layer, where none may be", self.held.len());
            return Err(Closed::Io(io::Error::new(ErrorKind::InvalidData, text)));
        }
        let (Ok(layer), Some(transport)) = (upgrade.layer.downcast::<Layer>(), self.transport.take()) else {
            return Err(Closed::Io(ErrorKind::Unsupported.into()));
        };
        let (mut out, mut before) = (upgrade.before, Vec::new());
        out.write_to(&mut before, usize::MAX).map_err(Closed::Io)?;
        self.transport = Some(transport.wrapped(*layer, before).map_err(Closed::Io)?);
        Ok(())
    }

    fn write(&mut self, out: &mut OutQueue, budget: usize) -> io::Result<Written> {
        if let (true, false, Some(transport)) = (self.leaves, self.established, &mut self.transport) {
            // Closed while a layer shakes hands: what was sent before that still leaves.
            self.established = establish(transport)?;
            if !self.established && transport.wants_write() {
                return Ok(Written { blocked: true, ..Written::default() });
            }
        }
        match &mut self.transport {
            Some(transport) if self.established => write_out(out, transport, budget),
            _ => Err(ErrorKind::NotConnected.into()),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.transport.as_mut().map_or(Ok(()), Transport::shutdown_write)
    }

    fn lost(&mut self, why: &Closed, established: bool, turn: &Turn<'_>) -> HandlerResult {
        let cx = Cx::new(turn.communicator, turn.key);
        (self.held, self.established, self.resume) = (Vec::new(), false, false);
        match &mut self.handler {
            Some(handler) if established => handler.lost(why, &cx),
            Some(handler) => handler.failed(why, &cx),
            None => Ok(()),
        }
    }

    fn closed(&mut self, why: Closed, turn: &Turn<'_>) {
        let cx = Cx::new(turn.communicator, turn.key);
        // The other side can't be waited for once it is gone.
        self.ended |= matches!(why, Closed::Eof | Closed::Io(_) | Closed::Connect(_));
        self.held = Vec::new();
        if let (false, Closed::Local, Some(transport)) = (self.established, &why, &mut self.transport) {
            // Closed before its first call: what is queued can be written all the same if there is nothing to wait for.
            let established = establish(transport);
            self.leaves = self.open && matches!(established, Ok(false));
            self.established = established.unwrap_or(false);
        }
        if let Some(handler) = &mut self.handler {
            // Where it panics the handler stays, to be dropped later: a destructor that panics, too, would abort the process.
            handler.closed(&why, &cx);
        }
        self.handler = None;
    }

    fn linger(&mut self, written: bool) -> Linger {
        let Some(transport) = &mut self.transport else { return Linger::Over };
        let mut waste = [0; 4096];
        let mut more = self.established && !self.ended;
        for _ in 0..DISCARD_READS {
            if !more {
                break;
            }
            match transport.read(&mut waste) {
                Ok(0) => (self.ended, more) = (true, false),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => more = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => (self.ended, more) = (true, false),
            }
        }
        let needless = self.ended || !transport.resets_on_close();
        if written && (!self.established || (needless && !transport.wants_write())) {
            Linger::Over
        } else if more {
            Linger::Again
        } else {
            Linger::Wait
        }
    }

    fn release(&mut self) {
        self.transport = None;
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
