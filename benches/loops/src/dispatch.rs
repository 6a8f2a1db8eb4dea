//! The cost of a ready descriptor: some of many eventfds are written, and the loop calls whoever reads them. What writing and
//! reading itself costs is measured, too, and taken away.

use crate::measure::{Random, Table, per_operation};
use eventdispatcher::codec::Raw;
use eventdispatcher::{Communicator, Transport, WaitFor, on_item};
use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::process::{Resource, getrlimit, setrlimit};
use std::cell::Cell;
use std::io::{self, Read, Write};
use std::rc::Rc;

/// Active, registered, rounds of writing.
const CASES: [(usize, usize, usize); 5] =
    [(100, 10_000, 1_000), (1, 10_000, 20_000), (10_000, 10_000, 10), (100, 100, 1_000), (1, 100, 20_000)];

pub(crate) fn run(rounds: usize, only: &str) {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("the soft limit may be as high as the hard one");
    let mut table = Table::default();
    for _ in 0..rounds {
        for (active, of, times) in CASES {
            let column = format!("{active} of {of}");
            let nothing = bare(active, of, times);
            for (row, cost) in [
                ("mio", mio as fn(usize, usize, usize) -> f64),
                ("eventdispatcher, readiness", readiness),
                ("eventdispatcher, stream", stream),
                ("calloop", calloop),
                ("tokio, current thread", tokio),
            ] {
                if row.starts_with(only) {
                    table.add(row, &column, cost(active, of, times) - nothing);
                }
            }
            table.add("(write and read)", &column, nothing);
        }
    }
    crate::print("CPU time per ready descriptor, in ns, without writing and reading it", &table);
}

/// An eventfd that is shared by who writes and who reads.
type Shared = Rc<OwnedFd>;

fn descriptors(of: usize) -> Vec<Shared> {
    let make =
        || eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).expect("enough descriptors: ulimit -n");
    (0..of).map(|_| Rc::new(make())).collect()
}

fn write(to: &OwnedFd) {
    rustix::io::write(to, &1_u64.to_ne_bytes()).expect("an eventfd can be written");
}

fn read(from: &OwnedFd) -> bool {
    rustix::io::read(from, &mut [0; 8]).is_ok()
}

/// Writes `active` of the descriptors at random, `times` times, and lets `dispatch` see to it that they are read.
fn drive(fds: &[Shared], active: usize, times: usize, mut dispatch: impl FnMut(&[usize])) -> f64 {
    let mut random = Random(7);
    let stretch = fds.len() / active;
    let mut chosen = Vec::with_capacity(active);
    per_operation(active * times, || {
        for _ in 0..times {
            chosen.clear();
            chosen.extend((0..active).map(|at| at * stretch + random.below(stretch)));
            for &at in &chosen {
                write(&fds[at]);
            }
            dispatch(&chosen);
        }
    })
}

fn bare(active: usize, of: usize, times: usize) -> f64 {
    let fds = descriptors(of);
    drive(&fds, active, times, |chosen| {
        for &at in chosen {
            read(&fds[at]);
        }
    })
}

fn mio(active: usize, of: usize, times: usize) -> f64 {
    let fds = descriptors(of);
    let mut poll = Poll::new().expect("a poll can be made");
    for (at, fd) in fds.iter().enumerate() {
        poll.registry()
            .register(&mut SourceFd(&fd.as_raw_fd()), Token(at), Interest::READABLE)
            .expect("an eventfd can be polled");
    }
    let mut events = Events::with_capacity(1024);
    drive(&fds, active, times, |_| {
        let mut done = 0;
        while done < active {
            poll.poll(&mut events, None).expect("the poll works");
            done += events.iter().filter(|event| event.is_readable() && read(&fds[event.token().0])).count();
        }
    })
}

/// An eventfd as a transport of this library: a connection with a codec and a handler, as all others.
struct Counter(Shared);

impl Read for Counter {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(&*self.0, into)?)
    }
}

impl Write for Counter {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(&*self.0, from)?)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Source for Counter {
    fn register(&mut self, registry: &mio::Registry, token: Token, interests: Interest) -> io::Result<()> {
        SourceFd(&self.0.as_raw_fd()).register(registry, token, interests)
    }
    fn reregister(&mut self, registry: &mio::Registry, token: Token, interests: Interest) -> io::Result<()> {
        SourceFd(&self.0.as_raw_fd()).reregister(registry, token, interests)
    }
    fn deregister(&mut self, registry: &mio::Registry) -> io::Result<()> {
        SourceFd(&self.0.as_raw_fd()).deregister(registry)
    }
}

impl Transport for Counter {
    fn source(&mut self) -> Option<&mut dyn Source> {
        Some(self)
    }
    fn shutdown_write(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn short_read_means_empty(&self) -> bool {
        true
    }
}

/// The handler reads: as with the other loops.
fn readiness(active: usize, of: usize, times: usize) -> f64 {
    let fds = descriptors(of);
    let communicator = Communicator::new().expect("a poll can be made");
    let done = Rc::new(Cell::new(0));
    for fd in &fds {
        let done = done.clone();
        communicator
            .on_ready(fd.clone(), WaitFor::Reading, move |fd, _, _| {
                done.set(done.get() + usize::from(read(fd)));
                Ok(WaitFor::Reading)
            })
            .expect("an eventfd can be polled");
    }
    drive(&fds, active, times, |_| {
        done.set(0);
        while done.get() < active {
            communicator.turn(None).expect("the poll works");
        }
    })
}

/// The loop reads, counts, checks limits and times, and hands over items.
fn stream(active: usize, of: usize, times: usize) -> f64 {
    let fds = descriptors(of);
    let communicator = Communicator::new().expect("a poll can be made");
    let done = Rc::new(Cell::new(0));
    for fd in &fds {
        let done = done.clone();
        let count = on_item::<Raw, _>(move |_, _| {
            done.set(done.get() + 1);
            Ok(())
        });
        communicator.stream(Counter(fd.clone()), Raw, count).expect("an eventfd can be polled");
    }
    let turn = || communicator.turn(None).expect("the poll works");
    turn(); // all are connected
    drive(&fds, active, times, |_| {
        done.set(0);
        while done.get() < active {
            turn();
        }
    })
}

fn calloop(active: usize, of: usize, times: usize) -> f64 {
    use calloop::generic::Generic;
    use calloop::{EventLoop, Interest, Mode, PostAction};
    use rustix::fd::{AsFd, BorrowedFd};
    struct Borrowed(Shared);
    impl AsFd for Borrowed {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }
    let fds = descriptors(of);
    let mut events: EventLoop<'_, usize> = EventLoop::try_new().expect("a poll can be made");
    for fd in &fds {
        let source = Generic::new(Borrowed(fd.clone()), Interest::READ, Mode::Edge);
        events
            .handle()
            .insert_source(source, |_, fd, done| {
                *done += usize::from(read(&fd.0));
                Ok(PostAction::Continue)
            })
            .expect("an eventfd can be polled");
    }
    drive(&fds, active, times, |_| {
        let mut done = 0;
        while done < active {
            events.dispatch(None, &mut done).expect("the poll works");
        }
    })
}

fn tokio(active: usize, of: usize, times: usize) -> f64 {
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;
    use tokio::sync::Notify;
    use tokio::task::LocalSet;
    let fds = descriptors(of);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime can be made");
    let (tasks, done, all) = (LocalSet::new(), Rc::new(Cell::new(0)), Rc::new(Notify::new()));
    for fd in &fds {
        let (fd, done, all) = (fd.clone(), done.clone(), all.clone());
        tasks.spawn_local(async move {
            #[expect(deprecated, reason = "its successor is unsafe; what is shared here stays open")]
            let fd = AsyncFd::with_interest(fd, Interest::READABLE).expect("an eventfd can be polled");
            loop {
                let mut ready = fd.readable().await.expect("the poll works");
                if read(fd.get_ref()) {
                    done.set(done.get() + 1);
                    if done.get() == active {
                        all.notify_one();
                    }
                }
                ready.clear_ready();
            }
        });
    }
    // Until all are registered and wait.
    tasks.block_on(&runtime, async {
        for _ in 0..=of {
            tokio::task::yield_now().await;
        }
    });
    drive(&fds, active, times, |_| {
        done.set(0);
        tasks.block_on(&runtime, all.notified());
    })
}
