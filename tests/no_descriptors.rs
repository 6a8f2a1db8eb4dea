//! A listener, and commands, in a process that has no descriptor left. They are the only tests of their process, one at a time, as
//! the limit is one of the process.

mod bed;

use bed::{DEADLINE, until};
use eventdispatcher::codec::Lines;
use eventdispatcher::{Command, Communicator, Signal, on_item};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn clients_for_whom_there_is_no_descriptor_are_turned_away_and_later_ones_are_served() {
    let _alone = alone();
    let communicator = Communicator::new().unwrap();
    let listening = communicator
        .listen_tcp("127.0.0.1:0".parse().unwrap(), |client| {
            client.serve(Lines::new(), on_item::<Lines, _>(|line, cx| Ok(cx.reply(line)?)))?;
            Ok(())
        })
        .unwrap();
    let connect = || {
        let client = TcpStream::connect(listening.address()).unwrap();
        client.set_nonblocking(true).unwrap();
        client
    };
    let mut clients: Vec<TcpStream> = (0..20).map(|_| connect()).collect();
    let free = File::open("/dev/null").unwrap().as_raw_fd();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, free as u64 + 2, hard).unwrap();

    until(&communicator, || {
        // The first two are in: they are asked nothing and say nothing. All others see an end.
        clients[2..].iter_mut().all(|client| match client.read(&mut [0; 8]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        })
    });
    assert_eq!(communicator.len(), 1 + 2);
    assert!(File::open("/dev/null").is_err(), "the spare descriptor is there again");
    for client in &mut clients[..2] {
        assert_eq!(client.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        client.write_all(b"hello\n").unwrap();
        client.set_nonblocking(false).unwrap();
    }

    // As soon as there are descriptors again, clients are served again.
    clients.truncate(2);
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    let mut late = connect();
    late.write_all(b"hello\n").unwrap();
    let mut answer = [0; 6];
    until(&communicator, || late.read_exact(&mut answer).is_ok());
    assert_eq!(&answer, b"hello\n");
    for client in &mut clients {
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"hello\n");
    }
}

#[test]
fn what_was_started_is_killed_when_there_is_no_descriptor_to_watch_it() {
    let _alone = alone();
    let communicator = Communicator::new().unwrap();
    let sleep = || Command::new("sleep").arg("100").no_errors();
    // Has an end when nobody who was started is there any more.
    let (mut alive, handed_down) = std::io::pipe().unwrap();
    rustix::io::fcntl_setfd(&handed_down, rustix::io::FdFlags::empty()).unwrap();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 40, hard).unwrap();
    let mut taken: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    // To start one of them takes a few, which are free again then; to watch them takes one for each.
    let started = loop {
        let chain = (0..9).fold(sleep().same_input(), |chain, _| chain.pipe(sleep()));
        match communicator.process(chain.no_output().no_errors(), |_, _| ()) {
            Ok(started) => break started,
            Err(_) => drop(taken.pop().expect("it starts when there are enough")),
        }
    };
    drop(taken);
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    // All that are there are watched: they end when they are killed.
    started.signal(Signal::KILL).unwrap();
    drop(handed_down);
    let mut over = [PollFd::new(alive.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut over, PollTimeout::try_from(DEADLINE).unwrap()), Ok(1), "some go on running");
    assert_eq!(alive.read(&mut [0]).unwrap(), 0);
    until(&communicator, || communicator.is_empty());
}
