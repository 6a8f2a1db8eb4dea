//! A timer as a connection: with a name, a priority, a switch, and a place in the listing.

use crate::communicator::{Closed, Communicator, Driver, Key, OutQueue, Outcome, TimerId, Turn, Written};
use mio::event::Source;
use std::cell::RefCell;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

/// When an [`Alarm`] calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Not before it is set to something else.
    Never,
    /// Once, in so much time.
    After(Duration),
    /// Each so much time, on a grid that begins one period from now: a late call does not move the next one, and calls
    /// that were missed are skipped. A period of 0 is each turn.
    Every(Duration),
    /// Once, when the wall clock shows this date or later. It follows the clock when that is set.
    At(SystemTime),
}

impl Communicator {
    /// Adds a timer that is a connection: it can be named, given a priority, switched off and on, is in the listing, and can be
    /// set to another time at any moment. While it is switched off its time runs on; if that is over when it is switched on
    /// again, it calls at once, and once.
    ///
    /// It stays when it has called, and so keeps the loop running, until it is removed or closed: a timer that shall
    /// only call is [`after`](Self::after), [`every`](Self::every) or [`at`](Self::at).
    ///
    /// # Errors
    /// When the system gives no timer that follows the clock, for [`When::At`].
    ///
    /// ```
    /// use eventdispatcher::{Communicator, alarm::When};
    /// use std::time::Duration;
    ///
    /// let communicator = Communicator::new()?;
    /// let mut ticks = 0;
    /// let alarm = communicator.alarm(When::Every(Duration::from_millis(10)), move |alarm, communicator| {
    ///     ticks += 1;
    ///     if ticks == 2 {
    ///         communicator.set_priority(alarm.key(), 50);
    ///         let _ = alarm.set(communicator, When::After(Duration::from_millis(1)));
    ///     } else if ticks == 3 {
    ///         communicator.close(alarm.key());
    ///     }
    /// })?;
    /// communicator.set_name(alarm.key(), "housekeeping");
    /// communicator.run()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn alarm(&self, when: When, call: impl FnMut(&Alarm, &Communicator) + 'static) -> io::Result<Alarm> {
        let state = Rc::new(RefCell::new(State::default()));
        let key = self.add("timer", true, Box::new(OnTime { state: state.clone(), call: Some(call) }))?;
        let alarm = Alarm { key, state };
        if let Err(error) = alarm.set(self, when) {
            self.remove(key);
            return Err(error);
        }
        Ok(alarm)
    }
}

/// A timer that is a connection; made by [`Communicator::alarm`]. All clones are one.
#[derive(Clone)]
pub struct Alarm {
    key: Key,
    state: Rc<RefCell<State>>,
}

#[derive(Debug, Default)]
struct State {
    when: Option<When>,
    timer: Option<TimerId>,
    /// Where the grid of [`When::Every`] began, by the loop's clock in nanoseconds.
    start: u64,
}

impl Alarm {
    /// The connection, to remove it, to name it, to give it a priority, to switch it off.
    pub fn key(&self) -> Key {
        self.key
    }

    /// When it calls; [`When::Never`] after the only call of [`When::After`] or [`When::At`].
    pub fn when(&self) -> When {
        self.state.borrow().when.unwrap_or(When::Never)
    }

    /// Sets it to another time, also from inside its own call. What was over before and was not called yet is
    /// forgotten. `false`: the connection is gone.
    ///
    /// # Errors
    /// When the system gives no timer that follows the clock, for [`When::At`]; it is then set to [`When::Never`].
    pub fn set(&self, communicator: &Communicator, when: When) -> io::Result<bool> {
        let old = self.state.take().timer;
        if let Some(old) = old {
            communicator.cancel(old);
        }
        if !communicator.is_alive(self.key) {
            return Ok(false);
        }
        let start = communicator.clock();
        let timer = match when {
            When::Never => None,
            When::After(time) => communicator.timer(self.key, time, TAG),
            When::Every(period) => {
                let at = start.saturating_add(nanos(period));
                communicator.core(|core| core.add_tagged(self.key, at, TAG))
            }
            When::At(date) => communicator.timer_at(self.key, date, TAG)?,
        };
        *self.state.borrow_mut() = State { when: Some(when), timer, start };
        Ok(true)
    }
}

impl fmt::Debug for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Alarm({}, {:?})", self.key, self.when())
    }
}

/// There is only one timer.
const TAG: u64 = 0;

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

struct OnTime<F> {
    state: Rc<RefCell<State>>,
    call: Option<F>,
}

impl<F> OnTime<F> {
    /// Sees to the next call before this one, which may set it to something else.
    fn again(&self, turn: &Turn<'_>) {
        let mut state = self.state.borrow_mut();
        match state.when {
            Some(When::Every(period)) => {
                let (start, period) = (state.start, nanos(period));
                state.timer = turn.communicator.core(|core| core.add_on_grid(turn.key, start, period, TAG));
            }
            _ => *state = State::default(),
        }
    }
}

impl<F: FnMut(&Alarm, &Communicator) + 'static> Driver for OnTime<F> {
    fn source(&mut self) -> Option<&mut dyn Source> {
        None
    }

    fn ready(&mut self, turn: &Turn<'_>) -> Outcome {
        for &timer in turn.due {
            // It may have been set anew since.
            if turn.communicator.core(|core| core.take_timer(turn.key, timer)).is_none() {
                continue;
            }
            self.again(turn);
            if let Some(call) = &mut self.call {
                call(&Alarm { key: turn.key, state: self.state.clone() }, turn.communicator);
            }
        }
        Outcome::Wait
    }

    fn write(&mut self, _: &mut OutQueue, _: usize) -> io::Result<Written> {
        Ok(Written::default())
    }

    fn closed(&mut self, _: Closed, _: &Turn<'_>) {
        self.call = None;
    }

    fn release(&mut self) {}
}
