//! The cost of timers by the thousand: set, cancelled, moved, fired. The times are spread over a minute, and what is cancelled
//! or moved comes in another order than it was set in.

use crate::measure::{Random, Table, per_operation};
use eventdispatcher::codec::Raw;
use eventdispatcher::{Communicator, Cx, Handler, HandlerResult, Id, Timeout, unix_pair};
use mio::net::UnixStream;
use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

const MINUTE: u64 = 60_000_000;
/// Each with a closure to call.
const OURS: &str = "eventdispatcher";
/// Of one connection, whose handler gets a number.
const OWN: &str = "eventdispatcher, a connection's";

/// calloop looks at all timers whenever one is set or cancelled.
const CALLOOP_MOST: usize = 10_000;

pub(crate) fn run(rounds: usize, only: &str) {
    for count in [10_000, 100_000, 1_000_000] {
        let mut random = Random(11);
        let times: Vec<_> =
            (0..count).map(|_| Duration::from_micros(random.below(MINUTE as usize) as u64)).collect();
        let mut order: Vec<usize> = (0..count).collect();
        for at in (1..count).rev() {
            order.swap(at, random.below(at + 1));
        }
        let mut table = Table::default();
        for _ in 0..rounds {
            if OURS.starts_with(only) {
                ours(&mut table, &times, &order);
            }
            if OWN.starts_with(only) {
                own(&mut table, &times, &order);
            }
            if "tokio".starts_with(only) {
                tokio(&mut table, &times, &order);
            }
            if "calloop".starts_with(only) && count <= CALLOOP_MOST {
                calloop(&mut table, &times, &order);
            }
        }
        crate::print(&format!("CPU time per timer, in ns, {count} timers"), &table);
    }
}

fn ours(table: &mut Table, times: &[Duration], order: &[usize]) {
    let row = OURS;
    let count = times.len();
    let far = Instant::now() + Duration::from_secs(3_600);
    let communicator = Communicator::new().expect("a poll can be made");
    let fired = Rc::new(Cell::new(0));
    let call = || {
        let fired = fired.clone();
        move |_: &Communicator| fired.set(fired.get() + 1)
    };
    let mut ids = Vec::with_capacity(count);
    let set =
        |ids: &mut Vec<_>| ids.extend(times.iter().map(|&time| communicator.at_instant(far + time, call())));
    table.add(row, "insert", per_operation(count, || set(&mut ids)));
    table.add(
        row,
        "cancel",
        per_operation(count, || {
            for &at in order {
                communicator.cancel(ids[at]);
            }
        }),
    );
    ids.clear();
    set(&mut ids);
    table.add(
        row,
        "re-arm",
        per_operation(count, || {
            for &at in order {
                communicator.rearm_at(ids[at], far + times[at] / 2);
            }
        }),
    );
    drop(communicator);

    let communicator = Communicator::new().expect("a poll can be made");
    for &time in times {
        communicator.after(time / 1_000_000, call());
    }
    fired.set(0);
    let all = per_operation(count, || {
        while fired.get() < count {
            communicator.turn(None).expect("the poll works");
        }
    });
    table.add(row, "fire", all);
}

fn own(table: &mut Table, times: &[Duration], order: &[usize]) {
    let row = OWN;
    let count = times.len();
    let far = Instant::now() + Duration::from_secs(3_600);
    let fired = Rc::new(Cell::new(0));
    let (communicator, id, _peer) = counting(&fired);
    let mut ids = Vec::with_capacity(count);
    let set = |ids: &mut Vec<_>| {
        ids.extend(times.iter().map(|&time| communicator.timer_at_instant(id, far + time, 0)))
    };
    table.add(row, "insert", per_operation(count, || set(&mut ids)));
    table.add(
        row,
        "cancel",
        per_operation(count, || {
            for &at in order {
                communicator.cancel(ids[at].expect("the connection is there"));
            }
        }),
    );
    ids.clear();
    set(&mut ids);
    table.add(
        row,
        "re-arm",
        per_operation(count, || {
            for &at in order {
                communicator.rearm_at(ids[at].expect("the connection is there"), far + times[at] / 2);
            }
        }),
    );
    drop(communicator);

    let (communicator, id, _peer) = counting(&fired);
    for &time in times {
        communicator.timer(id, time / 1_000_000, 0);
    }
    fired.set(0);
    let all = per_operation(count, || {
        while fired.get() < count {
            communicator.turn(None).expect("the poll works");
        }
    });
    table.add(row, "fire", all);
}

/// A connection that counts its timers.
fn counting(fired: &Rc<Cell<usize>>) -> (Communicator, Id<Raw>, UnixStream) {
    struct Count(Rc<Cell<usize>>);
    impl Handler<Raw> for Count {
        fn message(&mut self, _: &[u8], _: &Cx<'_, Raw>) -> HandlerResult {
            Ok(())
        }
        fn timeout(&mut self, _: Timeout, _: &Cx<'_, Raw>) -> HandlerResult {
            self.0.set(self.0.get() + 1);
            Ok(())
        }
    }
    let communicator = Communicator::new().expect("a poll can be made");
    let (ours, theirs) = unix_pair().expect("sockets can be made");
    let id = communicator.stream(ours, Raw, Count(fired.clone())).expect("a socket can be polled");
    communicator.turn(None).expect("the poll works"); // it is connected
    (communicator, id, theirs)
}

fn tokio(table: &mut Table, times: &[Duration], order: &[usize]) {
    use std::future::Future;
    use tokio::time::{Instant, Sleep, advance, sleep_until};
    let row = "tokio";
    let count = times.len();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime can be made");
    runtime.block_on(tokio::task::unconstrained(async {
        let mut context = Context::from_waker(Waker::noop());
        let far = Instant::now() + Duration::from_secs(1);
        let mut set = |time: Duration| {
            let mut sleep = Box::pin(sleep_until(far + time));
            assert!(sleep.as_mut().poll(&mut context).is_pending());
            Some(sleep)
        };
        let mut sleeps: Vec<Option<Pin<Box<Sleep>>>> = Vec::with_capacity(count);
        table.add(row, "insert", per_operation(count, || sleeps.extend(times.iter().map(|&time| set(time)))));
        table.add(
            row,
            "cancel",
            per_operation(count, || {
                for &at in order {
                    sleeps[at] = None;
                }
            }),
        );
        for (sleep, &time) in sleeps.iter_mut().zip(times) {
            *sleep = set(time);
        }
        let mut context = Context::from_waker(Waker::noop());
        table.add(
            row,
            "re-arm",
            per_operation(count, || {
                for &at in order {
                    let sleep = sleeps[at].as_mut().expect("it was set");
                    sleep.as_mut().reset(far + times[at] / 2);
                    let _ = sleep.as_mut().poll(&mut context);
                }
            }),
        );
        for (sleep, &time) in sleeps.iter_mut().zip(times) {
            *sleep = set(time);
        }
        let before = crate::measure::cpu();
        let mut passed = Duration::ZERO;
        while passed <= Duration::from_secs(62) {
            advance(Duration::from_millis(100)).await;
            passed += Duration::from_millis(100);
        }
        let spent = crate::measure::cpu() - before;
        assert!(sleeps.iter().flatten().all(|sleep| sleep.is_elapsed()));
        table.add(row, "fire", spent / count as f64);
    }));
}

fn calloop(table: &mut Table, times: &[Duration], order: &[usize]) {
    use calloop::EventLoop;
    use calloop::timer::{TimeoutAction, Timer};
    let row = "calloop";
    let count = times.len();
    let events: EventLoop<'_, usize> = EventLoop::try_new().expect("a poll can be made");
    let handle = events.handle();
    let far = Instant::now() + Duration::from_secs(3_600);
    let set = |at: Instant| {
        let fire = |_, _: &mut (), fired: &mut usize| {
            *fired += 1;
            TimeoutAction::Drop
        };
        handle.insert_source(Timer::from_deadline(at), fire).expect("a timer can be added")
    };
    let mut tokens = Vec::with_capacity(count);
    table.add(
        row,
        "insert",
        per_operation(count, || tokens.extend(times.iter().map(|&time| set(far + time)))),
    );
    table.add(
        row,
        "cancel",
        per_operation(count, || {
            for &at in order {
                handle.remove(tokens[at]);
            }
        }),
    );
    tokens.clear();
    tokens.extend(times.iter().map(|&time| set(far + time)));
    table.add(
        row,
        "re-arm",
        per_operation(count, || {
            for &at in order {
                handle.remove(tokens[at]);
                tokens[at] = set(far + times[at] / 2);
            }
        }),
    );
    drop(events);

    let mut events: EventLoop<'_, usize> = EventLoop::try_new().expect("a poll can be made");
    for &time in times {
        let fire = |_, _: &mut (), fired: &mut usize| {
            *fired += 1;
            TimeoutAction::Drop
        };
        events
            .handle()
            .insert_source(Timer::from_duration(time / 1_000_000), fire)
            .expect("a timer can be added");
    }
    let mut fired = 0;
    let all = per_operation(count, || {
        while fired < count {
            events.dispatch(None, &mut fired).expect("the poll works");
        }
    });
    table.add(row, "fire", all);
}
