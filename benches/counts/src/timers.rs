//! Timers: set, moved, cancelled, fired.

use crate::Failed;
use crate::meter::Meter;
use crate::random::Random;
use eventdispatcher::{Communicator, TimerId};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

const COUNT: usize = 10_000;
const MINUTE_US: usize = 60_000_000;
const SECOND_US: usize = 1_000_000;

/// So many timers, spread over a minute that begins in an hour.
struct Bed {
    communicator: Communicator,
    times: Vec<Duration>,
    order: Vec<usize>,
    timers: Vec<TimerId>,
}

impl Bed {
    fn new() -> Result<Self, Failed> {
        let mut random = Random(11);
        let times = (0..COUNT)
            .map(|_| Duration::from_secs(3_600) + Duration::from_micros(random.below(MINUTE_US) as u64))
            .collect();
        let order = random.shuffled(COUNT);
        Ok(Self { communicator: Communicator::new()?, times, order, timers: Vec::with_capacity(COUNT) })
    }

    fn set(&mut self) {
        let Self { communicator, times, timers, .. } = self;
        timers.extend(times.iter().map(|&time| communicator.after(time, |_| ())));
    }
}

pub(crate) fn set(meter: &mut Meter) -> Result<(), Failed> {
    let mut bed = Bed::new()?;
    meter.measure(COUNT, || bed.set());
    Ok(())
}

pub(crate) fn cancel(meter: &mut Meter) -> Result<(), Failed> {
    let mut bed = Bed::new()?;
    bed.set();
    let mut cancelled = 0;
    meter.measure(COUNT, || {
        for &at in &bed.order {
            cancelled += usize::from(bed.communicator.cancel(bed.timers[at]));
        }
    });
    if cancelled == COUNT { Ok(()) } else { Err(format!("{cancelled} of {COUNT} were cancelled").into()) }
}

pub(crate) fn rearm(meter: &mut Meter) -> Result<(), Failed> {
    let mut bed = Bed::new()?;
    bed.set();
    let mut moved = 0;
    meter.measure(COUNT, || {
        for &at in &bed.order {
            moved += usize::from(bed.communicator.rearm(bed.timers[at], bed.times[at] / 2));
        }
    });
    if moved == COUNT { Ok(()) } else { Err(format!("{moved} of {COUNT} were moved").into()) }
}

pub(crate) fn fire(meter: &mut Meter) -> Result<(), Failed> {
    let communicator = Communicator::new()?;
    let fired = Rc::new(Cell::new(0));
    let mut random = Random(11);
    // To set them takes little of that time, so that they are due in the same order each time.
    for _ in 0..COUNT {
        let fired = fired.clone();
        let time = Duration::from_micros(random.below(SECOND_US) as u64);
        communicator.after(time, move |_| fired.set(fired.get() + 1));
    }
    std::thread::sleep(Duration::from_secs(2));
    let mut result = Ok(());
    meter.measure(COUNT, || {
        while fired.get() < COUNT && result.is_ok() {
            result = communicator.turn(None);
        }
    });
    Ok(result?)
}
