//! Descriptors that the program reads and writes itself.

mod bed;

use bed::{run, settle, tcp_pair, turn, until};
use eventdispatcher::{Communicator, WaitFor};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;
use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

fn pair() -> (UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    (ours, theirs)
}

fn counter() -> Rc<OwnedFd> {
    Rc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap())
}

#[test]
fn who_reads_is_called_for_each_change_and_at_the_end() {
    let communicator = Communicator::new().unwrap();
    let (ours, mut theirs) = pair();
    let got: Rc<RefCell<Vec<u8>>> = Rc::default();
    let (keep, ends) = (got.clone(), Rc::new(Cell::new(0)));
    let counts = ends.clone();
    let read = move |ours: &mut UnixStream, ready: eventdispatcher::Readiness, _: &Communicator| {
        assert!(!ready.writable, "nobody has asked for that");
        let mut bytes = [0; 3];
        loop {
            match ours.read(&mut bytes) {
                Ok(0) => {
                    assert!(ready.hung_up);
                    counts.set(counts.get() + 1);
                    return Ok(WaitFor::Nothing);
                }
                Ok(count) => keep.borrow_mut().extend(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(WaitFor::Reading),
                Err(error) => return Err(error),
            }
        }
    };
    communicator.on_ready(ours, WaitFor::Reading, read).unwrap();
    settle(&communicator);
    for _ in 0..3 {
        theirs.write_all(b"hello").unwrap();
        settle(&communicator);
    }
    assert_eq!(*got.borrow(), b"hellohellohello");
    drop(theirs);
    run(&communicator);
    assert_eq!(ends.get(), 1);
}

#[test]
fn urgent_data_are_no_hang_up() {
    let communicator = Communicator::new().unwrap();
    let (ours, mut theirs) = tcp_pair();
    ours.set_nonblocking(true).unwrap();
    let got: Rc<RefCell<Vec<u8>>> = Rc::default();
    let keep = got.clone();
    let read = move |ours: &mut TcpStream, ready: eventdispatcher::Readiness, _: &Communicator| {
        assert!(!ready.hung_up);
        let mut bytes = [0; 100];
        loop {
            match ours.read(&mut bytes) {
                Ok(count) => keep.borrow_mut().extend(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(WaitFor::Reading),
                Err(error) => return Err(error),
            }
        }
    };
    communicator.on_ready(ours, WaitFor::Reading, read).unwrap();
    for n in 1..=3 {
        theirs.write_all(b"one").unwrap();
        rustix::net::send(&theirs, b"!", rustix::net::SendFlags::OOB).unwrap();
        theirs.write_all(b"two").unwrap();
        until(&communicator, || got.borrow().len() == 6 * n);
    }
    assert_eq!(communicator.len(), 1, "a panic has ended it");
}

#[test]
fn who_has_more_to_do_goes_on_in_the_next_turn_without_a_word_of_the_poll() {
    let communicator = Communicator::new().unwrap();
    let (ours, mut theirs) = pair();
    let reads = Rc::new(Cell::new(0));
    let counts = reads.clone();
    communicator
        .on_ready(ours, WaitFor::Reading, move |ours, _, communicator| {
            let count = ours.read(&mut [0; 2])?;
            counts.set(counts.get() + 1);
            assert_eq!(communicator.turn_number(), counts.get(), "once in a turn");
            Ok(if count == 0 { WaitFor::Nothing } else { WaitFor::NextTurn })
        })
        .unwrap();
    theirs.write_all(b"12345").unwrap();
    drop(theirs);
    run(&communicator);
    assert_eq!(reads.get(), 4);
}

#[test]
fn who_writes_is_told_when_there_is_room_again() {
    let communicator = Communicator::new().unwrap();
    let (ours, mut theirs) = pair();
    let (written, mut left) = (Rc::new(Cell::new(0)), 4 << 20);
    let counts = written.clone();
    communicator
        .on_ready(ours, WaitFor::ReadingOrWriting, move |ours, ready, _| {
            assert!(ready.writable || ready.hung_up);
            while left > 0 {
                match ours.write(&vec![7; left.min(64 << 10)]) {
                    Ok(count) => {
                        left -= count;
                        counts.set(counts.get() + count);
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        return Ok(WaitFor::ReadingOrWriting);
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(WaitFor::Nothing)
        })
        .unwrap();
    settle(&communicator);
    assert!((1..4 << 20).contains(&written.get()), "{}", written.get());
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        theirs.read_to_end(&mut all).map(|_| all)
    });
    run(&communicator);
    assert_eq!(written.get(), 4 << 20);
    assert!(reader.join().unwrap().unwrap() == vec![7; 4 << 20]);
}

#[test]
fn who_fails_is_let_go_of_and_nobody_else() {
    let communicator = Communicator::new().unwrap();
    let (bad, worse, good) = (counter(), counter(), counter());
    let calls = Rc::new(Cell::new(0));
    let fails = communicator
        .on_ready(bad.clone(), WaitFor::Reading, |_, _, _| Err(io::Error::other("as it should")))
        .unwrap();
    let panics = communicator
        .on_ready(worse.clone(), WaitFor::Reading, |_, _, _| panic!("in a callback, as it should"))
        .unwrap();
    let counts = calls.clone();
    let stays = communicator.on_ready(good.clone(), WaitFor::Reading, move |fd, _, _| {
        counts.set(counts.get() + 1);
        rustix::io::read(&**fd, &mut [0; 8])?;
        Ok(WaitFor::Reading)
    });
    let stays = stays.unwrap();
    for fd in [&bad, &worse] {
        rustix::io::write(&**fd, &1_u64.to_ne_bytes()).unwrap();
    }
    until(&communicator, || !communicator.is_alive(fails) && !communicator.is_alive(panics));
    settle(&communicator);
    assert_eq!((Rc::strong_count(&bad), Rc::strong_count(&worse)), (1, 1), "they are let go of");
    for count in 1..3 {
        rustix::io::write(&*good, &1_u64.to_ne_bytes()).unwrap();
        turn(&communicator);
        assert_eq!(calls.get(), count);
    }
    communicator.close(stays);
    run(&communicator);
    assert_eq!(Rc::strong_count(&good), 1);
}

#[test]
fn one_that_waits_for_nothing_is_over_at_once_and_a_file_can_not_be_polled() {
    let communicator = Communicator::new().unwrap();
    communicator.on_ready(counter(), WaitFor::Nothing, |_, _, _| panic!("nobody waits")).unwrap();
    run(&communicator);
    let file = tempfile::tempfile().unwrap();
    let refused = communicator.on_ready(file, WaitFor::Reading, |_, _, _| Ok(WaitFor::Reading));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert!(communicator.is_empty());
}

#[test]
fn the_first_call_may_come_without_a_word_of_the_poll() {
    let communicator = Communicator::new().unwrap();
    let calls = Rc::new(Cell::new(0));
    let counts = calls.clone();
    communicator
        .on_ready(counter(), WaitFor::NextTurn, move |_, _, _| {
            counts.set(counts.get() + 1);
            Ok(if counts.get() == 3 { WaitFor::Nothing } else { WaitFor::NextTurn })
        })
        .unwrap();
    run(&communicator);
    assert_eq!(calls.get(), 3);
}
