//! Turns of the loop with descriptors that are ready, and without.

use crate::Failed;
use crate::meter::Meter;
use eventdispatcher::codec::Raw;
use eventdispatcher::{Communicator, on_item, unix_stream};
use std::cell::Cell;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

const TURNS: usize = 200;

pub(crate) fn one_of_1(meter: &mut Meter) -> Result<(), Failed> {
    turns(meter, 1, 1)
}

pub(crate) fn one_of_400(meter: &mut Meter) -> Result<(), Failed> {
    turns(meter, 1, 400)
}

pub(crate) fn all_of_400(meter: &mut Meter) -> Result<(), Failed> {
    turns(meter, 400, 400)
}

/// Of `count` connections `ready` have something to read in each turn. An operation is one of these.
fn turns(meter: &mut Meter, ready: usize, count: usize) -> Result<(), Failed> {
    let communicator = Communicator::new()?;
    let come = Rc::new(Cell::new(0));
    let mut writers = Vec::new();
    for _ in 0..count {
        let (writer, reader) = UnixStream::pair()?;
        let come = come.clone();
        let count = on_item::<Raw, _>(move |_, _| {
            come.set(come.get() + 1);
            Ok(())
        });
        communicator.stream(unix_stream(reader)?, Raw, count)?;
        writers.push(writer);
    }
    let turn = || communicator.turn(Some(Duration::ZERO));
    turn()?;
    for round in 0..TURNS {
        for at in 0..ready {
            let writer = (round * 7 + at) % count;
            writers[writer].write_all(b"x")?;
        }
        let mut result = Ok(());
        meter.measure(ready, || result = turn());
        result?;
    }
    let (come, sent) = (come.get(), TURNS * ready);
    if come == sent { Ok(()) } else { Err(format!("{come} of {sent} have come").into()) }
}
