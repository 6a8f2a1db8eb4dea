//! What the limits count is what there is: no large buffer is kept for a few bytes. The only tests of their process, one at a time,
//! as they look at its memory.

mod bed;

use bed::{receive, settle, turn, unix, until};
use eventdispatcher::codec::{Lines, Raw};
use eventdispatcher::{Communicator, Id, Reconnect, ToUnix, on_item, unix_stream};
use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// So many are kept waiting.
const CROWD: usize = 300;
/// Large, but not too large to be used again.
const LARGE: usize = 900 << 10;
/// With large buffers it would be several times as much.
const MUCH: usize = 30 << 20;

fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Resident memory of the process, in bytes.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

/// Clients that read large items, and so leave large buffers behind.
struct Large {
    clients: Vec<(Id<Raw>, UnixStream)>,
    item: Vec<u8>,
}

impl Large {
    fn new(communicator: &Communicator) -> Self {
        let clients = (0..2).map(|_| unix(communicator, Raw, on_item::<Raw, _>(|_, _| Ok(())))).collect();
        settle(communicator);
        Self { clients, item: vec![b'x'; LARGE] }
    }

    fn read(&mut self, communicator: &Communicator) {
        for (id, _) in &self.clients {
            communicator.send(*id, &self.item).unwrap();
        }
        for (_, peer) in &mut self.clients {
            assert_eq!(receive(communicator, peer, LARGE).len(), LARGE);
        }
        settle(communicator);
    }
}

/// One whose socket takes nothing more, as the other side has read nothing.
fn full(communicator: &Communicator) -> (Id<Raw>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    for size in [4096, 1] {
        while (&ours).write(&[b'x'; 4096][..size]).is_ok() {}
    }
    (communicator.stream(unix_stream(ours).unwrap(), Raw, on_item::<Raw, _>(|_, _| Ok(()))).unwrap(), theirs)
}

#[test]
fn the_beginning_of_a_line_keeps_no_large_buffer() {
    let _alone = alone();
    let communicator = Communicator::new().unwrap();
    let mut large = Large::new(&communicator);
    let lines = || unix(&communicator, Lines::new(), on_item::<Lines, _>(|_, _| Ok(())));
    let mut crowd: Vec<_> = (0..CROWD).map(|_| lines()).collect();
    settle(&communicator);
    let before = resident();
    for (id, peer) in &mut crowd {
        large.read(&communicator);
        peer.write_all(b"x").unwrap();
        until(&communicator, || communicator.connection(*id).unwrap().unread == 1);
    }
    let more = resident().saturating_sub(before);
    assert!(more < MUCH, "{more} bytes for {CROWD} of input");
}

#[test]
fn a_line_behind_a_long_one_keeps_no_large_buffer() {
    let _alone = alone();
    let communicator = Communicator::new().unwrap();
    let mut crowd: Vec<_> =
        (0..CROWD).map(|_| unix(&communicator, Lines::new(), on_item::<Lines, _>(|_, _| Ok(())))).collect();
    let mut line = vec![b'x'; LARGE];
    line.extend(b"\ny");
    let before = resident();
    for (id, peer) in &mut crowd {
        peer.set_nonblocking(true).unwrap();
        let mut sent = 0;
        until(&communicator, || {
            sent += peer.write(&line[sent..]).unwrap_or(0);
            sent == line.len()
        });
        until(&communicator, || communicator.connection(*id).unwrap().unread == 1);
    }
    let more = resident().saturating_sub(before);
    assert!(more < MUCH, "{more} bytes for {CROWD} of input");
}

#[test]
fn a_few_bytes_that_wait_to_be_written_keep_no_large_buffer() {
    let _alone = alone();
    let communicator = Communicator::new().unwrap();
    let mut large = Large::new(&communicator);
    let crowd: Vec<_> = (0..CROWD).map(|_| full(&communicator)).collect();
    let nobody = tempfile::tempdir().unwrap();
    let away: Vec<_> = (0..CROWD)
        .map(|_| {
            let reconnect = Reconnect::new("3600".parse().unwrap());
            let to = ToUnix::new(nobody.path().join("nobody"));
            communicator.permanent(to, reconnect, || Raw, on_item::<Raw, _>(|_, _| Ok(())))
        })
        .collect();
    settle(&communicator);
    for ids in [crowd.iter().map(|(id, _)| *id).collect(), away] {
        let before = resident();
        for id in &ids {
            large.read(&communicator);
            communicator.send(*id, b"tiny").unwrap();
            settle(&communicator);
            assert_eq!(communicator.queued_bytes(*id), 4);
        }
        let more = resident().saturating_sub(before);
        assert!(more < MUCH, "{more} bytes for {}", 4 * CROWD);
    }
}

#[test]
fn large_items_that_wait_take_as_much_as_is_counted() {
    const ITEM: usize = 17_000;
    let _alone = alone();
    for shared in [false, true] {
        let communicator = Communicator::new().unwrap();
        let mut large = Large::new(&communicator);
        let (id, _peer) = full(&communicator);
        let before = resident();
        for _ in 0..300 {
            large.read(&communicator);
            if shared {
                assert_eq!(communicator.broadcast([id], &[1; ITEM]), Ok(vec![]));
            } else {
                communicator.send(id, &[1; ITEM]).unwrap();
            }
            turn(&communicator);
        }
        let more = resident().saturating_sub(before);
        assert!(more < MUCH, "shared {shared}: {more} bytes for {}", 300 * ITEM);
    }
}
