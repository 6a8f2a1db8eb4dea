//! One turn of the loop: wait, call, write.

use super::core::{Begun, Who, Writing, Wrote};
use super::driver::{Driver, Linger, Outcome, Turn};
use super::error::Closed;
use super::handle::{Communicator, Corpse, TimerCall, WAKER, WALL, interest};
use super::key::{Key, TimerId};
use super::lack::Lack;
use super::permanent::Lost;
use super::slot::{Phase, Ready};
use super::wall_clock;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, SystemTime};

/// As much is written for one connection before the others get their share.
pub(crate) const WRITE_BUDGET: usize = 1 << 20;
/// So often `run` removes at its end what is there: a destructor may add something anew.
pub(super) const CLEARINGS: usize = 16;

impl Communicator {
    /// Runs the loop until nothing is left, or [`stop`](Self::stop) is called. What is left then is removed,
    /// without a callback. It may be run again.
    ///
    /// # Errors
    /// When the poll fails, which no connection can cause, and for want of memory only if that lasts for ten seconds; and when
    /// called from inside a callback or a destructor of a handler, which changes nothing.
    pub fn run(&self) -> io::Result<()> {
        if self.0.calling.get() || self.0.turning.get() {
            return Err(nested());
        }
        let ran = self.turns();
        self.empty();
        self.core(|core| core.stop = false);
        ran
    }

    /// Removes everything, also what destructors add.
    pub(super) fn empty(&self) {
        for _ in 0..CLEARINGS {
            if self.is_empty() {
                break;
            }
            self.clear();
        }
        self.clear_hooks();
    }

    /// Removes everything.
    fn clear(&self) {
        for timer in self.core(|core| core.timer_ids()) {
            self.cancel(timer);
        }
        for key in self.core(|core| core.keys()) {
            self.remove(key);
        }
    }

    fn turns(&self) -> io::Result<()> {
        while !self.core(|core| std::mem::take(&mut core.stop)) && !self.is_empty() {
            self.turn(None)?;
        }
        Ok(())
    }

    /// Ends [`run`](Self::run) after this turn, at whose end output is still written, as far as the other sides take it
    /// at once; or before its first turn, when it does not run yet. [`close_all`](Self::close_all) is the gentle way.
    pub fn stop(&self) {
        self.core(|core| core.stop = true);
    }

    /// One turn: waits for something to do, `most` at the longest, calls whom it concerns, and writes what was
    /// queued. For tests, and for a loop inside another one.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn turn(&self, most: Option<Duration>) -> io::Result<()> {
        if self.0.calling.get() || self.0.turning.replace(true) {
            return Err(nested());
        }
        let turned = self.turn_once(most);
        self.0.turning.set(false);
        turned
    }

    fn turn_once(&self, most: Option<Duration>) -> io::Result<()> {
        self.wait(most)?;
        self.take_posts();
        let mut turn = self.0.turn.take();
        self.core(|core| core.take_ready(&mut turn));
        for (_, who) in turn.drain(..) {
            match who {
                Who::Connection(key) => self.dispatch(key),
                Who::Timer(id) => self.fire(id),
            }
        }
        self.0.turn.set(turn);
        self.call_hooks();
        self.write_all();
        // Another loop may wait for the descriptor before it calls the next turn.
        self.arm_wall_clock()
    }

    /// Sees to it that the next date wakes the poll.
    pub(super) fn arm_wall_clock(&self) -> io::Result<()> {
        match &mut *self.0.wall.borrow_mut() {
            Some(wall) => wall.wake_at(self.core(|core| core.next_date())),
            None => Ok(()),
        }
    }

    /// Waits, and notes what has become ready.
    fn wait(&self, most: Option<Duration>) -> io::Result<()> {
        self.arm_wall_clock()?;
        let wait = match (self.wait_hint(), most) {
            (Some(hint), Some(most)) => Some(hint.min(most)),
            (hint, most) => hint.or(most),
        };
        let (poll, events) = &mut *self.0.poll.borrow_mut();
        match poll.poll(events, wait) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
            Err(error) if error.kind() == io::ErrorKind::OutOfMemory => {
                events.clear();
                self.rest(error, wait)?;
            }
            polled => {
                polled?;
                self.0.lack.set(Lack::default());
            }
        }
        let now = self.clock();
        let date = match &mut *self.0.wall.borrow_mut() {
            Some(wall) if events.iter().any(|event| event.token() == WALL) => {
                wall.woken();
                Some(wall_clock::nanos(SystemTime::now()))
            }
            _ => None,
        };
        self.core(|core| {
            core.expire(now);
            if let Some(date) = date {
                core.expire_dates(date);
            }
            for event in events.iter() {
                match event.token() {
                    WAKER | WALL => {}
                    token => {
                        // Behind urgent data there is more, as there is an end behind a hang-up.
                        let hangup = event.is_read_closed() || event.is_error() || event.is_priority();
                        core.event(
                            Key::from_token(token),
                            event.is_readable() || hangup,
                            event.is_writable() || event.is_write_closed(),
                            hangup,
                        );
                    }
                }
            }
        });
        Ok(())
    }

    /// The system has no memory for letting the loop wait, `wait` at the longest. It may have some soon, and clients can do nothing
    /// about it: nobody is to lose a service for a moment of that.
    #[cold]
    fn rest(&self, error: io::Error, wait: Option<Duration>) -> io::Result<()> {
        let mut lack = self.0.lack.get();
        if lack.is_new() {
            log::warn!("no memory for waiting, tries again: {error}");
        }
        let rest = lack.goes_on(self.clock());
        self.0.lack.set(lack);
        let rest = Duration::from_nanos(rest.ok_or(error)?);
        std::thread::sleep(wait.map_or(rest, |wait| wait.min(rest)));
        Ok(())
    }

    /// What other threads have posted comes first.
    fn take_posts(&self) {
        let Some(inbox) = self.0.inbox.get() else { return };
        let mut posts = Vec::new();
        if inbox.take(&mut posts) {
            let _ = inbox.remote().post(|_| ()); // wakes the next turn
        }
        for post in posts {
            self.calling(|| post(self), "what another thread has posted");
        }
    }

    /// Calls one connection.
    pub(super) fn dispatch(&self, key: Key) {
        let Some(begun) = self.core(|core| core.begin(key)) else { return };
        let Begun { mut driver, ready, due, phase, upgrade, wants_write, reads, finished, settings, attempt } =
            begun;
        let turn = Turn { communicator: self, key, ready, reads, due: &due, settings, attempt };
        self.0.calling.set(true);
        let mut over = false;
        match phase {
            Phase::Waiting if ready.has(Ready::LOST) => {}
            Phase::Waiting | Phase::Connecting | Phase::Open => {
                let called = catch(|| {
                    let outcome = self.call(&mut driver, &turn, upgrade);
                    (outcome, driver.wants_write())
                });
                match called {
                    Ok((Outcome::Wait, wants_write)) if due.is_empty() => {
                        match self.core(|core| core.end_as_usual(key, driver, wants_write)) {
                            Some(back) => driver = back,
                            None => {
                                self.0.calling.set(false);
                                return self.bury();
                            }
                        }
                    }
                    Ok((Outcome::Wait, _)) => {}
                    Ok((Outcome::Again, _)) => self.core(|core| core.make_ready(key, Ready::INPUT)),
                    Ok((Outcome::End(why), _)) => {
                        self.end(key, why);
                    }
                    Err(panic) => {
                        self.report(key, "its code panicked, which ends it", &panic);
                        over = true;
                    }
                }
            }
            Phase::Ending => {}
            Phase::Lingering => {
                match catch(|| driver.linger(finished)) {
                    Ok(Linger::Wait) => over = ready.has(Ready::ABANDONED),
                    Ok(Linger::Again) => {
                        over = ready.has(Ready::ABANDONED);
                        self.core(|core| core.make_ready(key, Ready::INPUT));
                    }
                    Ok(Linger::Over) => over = true,
                    Err(panic) => {
                        self.report(key, "its transport panicked, which ends it", &panic);
                        over = true;
                    }
                }
                if ready.has(Ready::ABANDONED) {
                    let lost = self.core(|core| core.slot(key).map_or(0, |slot| slot.rest.out.len()));
                    if lost > 0 {
                        log::info!("connection {key}: the other side took no more: {lost} bytes dropped");
                    }
                }
            }
        }
        if !over && let Some(lost) = self.core(|core| core.take_lost(key)) {
            over = self.lost(&mut driver, lost, &turn);
            self.core(|core| core.keep_deadline(key, ready));
        }
        if !over && let Some(why) = self.core(|core| core.take_end(key)) {
            self.say_why(key, &why);
            if let Err(panic) = catch(|| driver.closed(why, &turn)) {
                self.report(key, "its handler panicked when it was told of the end", &panic);
            }
            // Nothing can be written any more after a write has failed.
            over = self.core(|core| {
                core.make_dirty(key);
                core.forget_write_error(key)
            });
        }
        if over {
            let _ = self.core(|core| core.remove(key));
        }
        if !due.is_empty() {
            self.core(|core| core.forget_timers(key, &due));
        }
        let wants_write =
            catch(|| self.set_interest(key, &mut driver, wants_write)).unwrap_or_else(|panic| {
                self.report(key, "its transport panicked, which ends it", &panic);
                let _ = self.core(|core| core.remove(key));
                wants_write
            });
        let removed = self.core(|core| core.end(key, driver, wants_write));
        self.0.calling.set(false);
        if let Some(driver) = removed {
            self.discard(driver, true);
            self.trace_rest();
        }
        self.bury();
    }

    /// A permanent connection was lost, or could not be made: lets go of what is left of it, and tells its handler. Whether it is to
    /// be removed.
    fn lost(&self, driver: &mut Box<dyn Driver>, lost: Lost, turn: &Turn<'_>) -> bool {
        let (key, Lost { why, established, last }) = (turn.key, lost);
        self.say_why(key, &why);
        let told = catch(|| {
            self.let_go(driver, true);
            driver.lost(&why, established, turn)
        });
        let end = match told {
            Err(panic) => {
                self.report(key, "its code panicked when it was lost, which ends it", &panic);
                self.put_down(Some(why));
                return true;
            }
            Ok(Err(error)) => {
                self.put_down(Some(why));
                Closed::Handler(error)
            }
            Ok(Ok(())) if last => why,
            Ok(Ok(())) => {
                self.put_down(Some(why));
                return false;
            }
        };
        let closed = self.core(|core| core.close_for_good(key, end));
        self.put_down(closed.err());
        false
    }

    fn call(&self, driver: &mut Box<dyn Driver>, turn: &Turn<'_>, upgrade: bool) -> Outcome {
        if upgrade
            && let Some(upgrade) = self.core(|core| core.take_upgrade(turn.key))
            && let Err(why) = driver.upgrade(upgrade)
        {
            self.core(|core| core.discard_output(turn.key)); // it was meant for the layer
            return Outcome::End(why);
        }
        driver.ready(turn)
    }

    /// Asks the poll for what the connection waits for now.
    fn set_interest(&self, key: Key, driver: &mut Box<dyn Driver>, registered: bool) -> bool {
        let Some(blocked) = self.core(|core| core.slot(key).map(|slot| slot.blocked)) else {
            return registered; // it is gone
        };
        let wanted = blocked || driver.wants_write();
        if wanted != registered
            && let Some(source) = driver.source()
            && let Err(error) = self.registry().reregister(source, key.token(), interest(wanted))
        {
            log::warn!("connection {key}: the poll refuses it: {}", shown(&error));
            self.end(key, Closed::Io(error));
            return registered;
        }
        wanted
    }

    /// Calls one timer.
    fn fire(&self, id: TimerId) {
        let Some(mut call) = self.core(|core| core.begin_timer(id)) else { return };
        let panicked = self.calling(|| call(self), "a timer");
        let over = self.core(|core| {
            if panicked {
                let _ = core.cancel(id);
                return Some(call);
            }
            core.end_timer(id, call)
        });
        if let Some(call) = over {
            self.let_go_of(call);
        }
    }

    /// Drops what a timer has called: at once, unless a callback runs.
    pub(super) fn let_go_of(&self, call: TimerCall) {
        if self.0.calling.get() {
            self.0.graveyard.borrow_mut().push_back(Corpse::Timer(call));
        } else {
            self.calling(|| drop(call), "the destructor of what a timer has called");
        }
    }

    /// Runs somebody's code that belongs to no connection. Whether it panicked.
    pub(super) fn calling(&self, call: impl FnOnce(), what: &str) -> bool {
        self.0.calling.set(true);
        let called = catch(call);
        self.0.calling.set(false);
        if let Err(panic) = &called {
            log::error!("{what} panicked: {}", panic);
        }
        self.bury();
        called.is_err()
    }

    /// Writes for everybody who has something queued, once.
    fn write_all(&self) {
        let mut dirty = self.0.dirty.take();
        self.core(|core| core.take_dirty(&mut dirty));
        for key in dirty.drain(..) {
            self.write(key);
        }
        self.0.dirty.set(dirty);
    }

    /// Writes what one connection has queued, as far as the other side takes it.
    pub(super) fn write(&self, key: Key) {
        let Some(mut writing) = self.core(|core| core.begin_write(key)) else { return };
        self.look_at_the_clock();
        // A transport is somebody's code, too; and another callback may run, in which this was sent.
        let called = self.0.calling.replace(true);
        let wrote = catch(|| self.try_to_write(key, &mut writing));
        self.0.calling.set(called);
        let Writing { driver, out, phase, .. } = writing;
        let (wrote, linger) = match wrote {
            Ok(wrote) => wrote,
            Err(panic) => {
                self.report(key, "its transport panicked, which ends it", &panic);
                let _ = self.core(|core| core.remove(key));
                self.discard(driver, true);
                return self.trace_rest();
            }
        };
        let lingering = phase == Phase::Lingering;
        let over = lingering && (wrote.result.is_err() || linger == Linger::Over);
        let waits =
            lingering && !over && out.is_empty() && matches!(&wrote.result, Ok(done) if !done.blocked);
        if let (true, Err(error)) = (lingering, &wrote.result)
            && !out.is_empty()
        {
            log::debug!("connection {key}: {} bytes were lost: {}", out.len(), shown(error));
        }
        // One that can only be written to has nothing more to wait for: that is seen by reading it.
        let ended = wrote.finished && phase == Phase::Open;
        if let Some(driver) = self.core(|core| core.end_write(key, driver, out, wrote)) {
            self.discard(driver, true);
        } else if ended {
            self.core(|core| core.make_ready(key, Ready::INPUT));
        } else if over && let Some(driver) = self.core(|core| core.remove(key)) {
            self.discard(driver, true);
            self.trace_rest();
        } else if waits {
            self.core(|core| core.wait_for_peer(key));
        }
        if linger == Linger::Again {
            self.core(|core| core.make_ready(key, Ready::INPUT));
        }
        self.bury();
    }

    /// Between two turns the loop's clock stands still, maybe for long; what is done then begins now.
    pub(crate) fn look_at_the_clock(&self) {
        if !self.0.turning.get() {
            let now = self.clock();
            self.core(|core| core.now = now);
        }
    }

    /// Everything in writing that is the driver's code.
    fn try_to_write(&self, key: Key, writing: &mut Writing<Box<dyn Driver>>) -> (Wrote, Linger) {
        let Writing { driver, out, greeting, phase, wants_write, finish, most } = writing;
        let mut result = driver.write(out, WRITE_BUDGET.min(*most));
        let mut done = out.is_empty() && matches!(&result, Ok(written) if !written.blocked);
        let mut finished = done && *finish;
        if finished && let Err(error) = driver.finish() {
            match (error.kind(), &mut result) {
                // The other side may be gone already, which is as good.
                (io::ErrorKind::NotConnected, _) => {}
                (io::ErrorKind::WouldBlock, Ok(written)) => {
                    written.blocked = true;
                    (done, finished) = (false, false);
                }
                _ => result = Err(error),
            }
        }
        // Both sides may have stopped reading: the other one takes nothing before it has got rid of its own.
        let linger = if *phase == Phase::Lingering { driver.linger(done) } else { Linger::Wait };
        let blocked = matches!(&result, Ok(written) if written.blocked);
        let wanted = blocked || driver.wants_write();
        if wanted != *wants_write
            && linger != Linger::Over
            && let Some(source) = driver.source()
            && let Err(error) = self.registry().reregister(source, key.token(), interest(wanted))
        {
            result = Err(error);
        }
        (Wrote { result, greeting: *greeting, finished, wants_write: wanted }, linger)
    }

    /// Closes what was a connection, and lets go of its code as soon as no callback runs.
    pub(super) fn discard(&self, mut driver: Box<dyn Driver>, registered: bool) {
        let called = self.0.calling.replace(true);
        let closed = catch(|| self.let_go(&mut driver, registered));
        self.0.calling.set(called);
        if let Err(panic) = closed {
            log::error!("a transport panicked when it was closed: {}", panic);
        }
        self.0.graveyard.borrow_mut().push_back(Corpse::Driver(driver));
        self.bury();
    }

    /// Closes the descriptor of a connection, if it has one.
    fn let_go(&self, driver: &mut Box<dyn Driver>, registered: bool) {
        if registered
            && let Some(source) = driver.source()
            && let Err(error) = self.registry().deregister(source)
        {
            log::debug!("a descriptor could not be taken out of the poll: {error}");
        }
        driver.release();
    }

    /// Runs the destructors that wait, unless a callback runs: they are somebody's code too.
    pub(super) fn bury(&self) {
        if self.core(|core| core.waste.is_empty()) && self.0.graveyard.borrow().is_empty() {
            return;
        }
        self.bury_all();
    }

    #[cold]
    fn bury_all(&self) {
        let waste = self.core(|core| std::mem::take(&mut core.waste));
        self.0.graveyard.borrow_mut().extend(waste.into_iter().map(Corpse::Other));
        if self.0.calling.replace(true) {
            return;
        }
        loop {
            let corpse = self.0.graveyard.borrow_mut().pop_front();
            let Some(corpse) = corpse else { break };
            if let Err(panic) = catch(|| drop(corpse)) {
                log::error!("the destructor of a handler panicked: {}", panic);
            }
        }
        self.0.calling.set(false);
    }

    /// An error that nobody is to be told of is dropped when no callback runs.
    pub(super) fn put_down(&self, why: Option<Closed>) {
        if let Some(why) = why.filter(|why| !matches!(why, Closed::Local)) {
            self.0.graveyard.borrow_mut().push_back(Corpse::Other(Box::new(why)));
        }
    }

    fn say_why(&self, key: Key, why: &Closed) {
        if log::log_enabled!(log::Level::Debug) {
            log::debug!("connection {key}{}: {}", self.label(key), shown(why));
        }
    }

    fn label(&self, key: Key) -> String {
        self.connection(key)
            .map(|info| {
                if info.name.is_empty() {
                    format!(" ({})", info.kind)
                } else {
                    format!(" ({} \"{}\")", info.kind, info.name)
                }
            })
            .unwrap_or_default()
    }

    fn report(&self, key: Key, what: &str, panic: &Panic) {
        log::error!("connection {key}{}: {what}: {}", self.label(key), panic);
    }
}

fn nested() -> io::Error {
    io::Error::other("the loop was asked to turn from inside one of its callbacks")
}

/// The text of an error, which is somebody's code.
fn shown(error: &dyn fmt::Display) -> String {
    catch(|| error.to_string()).unwrap_or_else(|_| "an error whose text panics".into())
}

/// The text of a panic.
type Panic = String;

/// What panics inside is put away by its caller: the connection that ran is dropped, never called again.
pub(super) fn catch<R>(call: impl FnOnce() -> R) -> Result<R, Panic> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let text = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no text")
            .to_owned();
        // What was thrown is somebody's, too. What its destructor throws has none.
        if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
            std::mem::forget(another);
        }
        text
    })
}

#[cfg(test)]
mod tests;
