//! What the loop costs when nothing happens, what it leaves behind, and how another loop waits for it.

mod bed;

use bed::{DEADLINE, Log, assert_log, receive, run, settle, tcp, turn, unix, until};
use eventdispatcher::codec::{Lines, Raw};
use eventdispatcher::{Communicator, Signal, Timeouts, UnixBind, alarm::When, on_item};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

const LONG: Duration = Duration::from_secs(3600);

/// Descriptors belong to the process: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often this thread has waited so far.
fn waits() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    count.trim().parse().unwrap()
}

#[test]
fn an_idle_loop_does_not_wake_up() {
    let _alone = alone();
    let communicator = Communicator::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let timeouts = Timeouts {
        read: Some(LONG),
        write: Some(LONG),
        idle: Some(LONG),
        stalled: Some(LONG),
        ..Timeouts::default()
    };
    let echo = || on_item::<Lines, _>(|line, cx| Ok(cx.reply(line)?));
    communicator.listen_tcp("127.0.0.1:0".parse().unwrap(), |_| Ok(())).unwrap();
    communicator.listen_unix(folder.path().join("socket"), |_| Ok(())).unwrap();
    communicator.signals([Signal::USR1], |_, _| ()).unwrap();
    communicator.signals_from([Signal::HUP], |_, _| ()).unwrap();
    communicator.at(SystemTime::now() + LONG, |_| ()).unwrap();
    for when in [When::Never, When::Every(LONG), When::After(LONG), When::At(SystemTime::now() + LONG)] {
        communicator.alarm(when, |_, _| ()).unwrap();
    }
    let _remote = communicator.remote().unwrap();
    let (mut ids, mut tcps, mut unixes) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..50 {
        let (id, peer) = tcp(&communicator, Lines::new(), echo());
        ids.push(id);
        tcps.push(peer);
        let (id, peer) = unix(&communicator, Lines::new(), echo());
        ids.push(id);
        unixes.push(peer);
    }
    // All of them have had something to do, and some wait for their other side.
    for id in &ids {
        communicator.set_timeouts(*id, timeouts.clone());
        communicator.set_deadline(*id, Some(Instant::now() + LONG));
    }
    for peer in &mut tcps {
        peer.write_all(b"x\n").unwrap();
        receive(&communicator, peer, 2);
        peer.write_all(b"half a li").unwrap();
    }
    for peer in &mut unixes {
        peer.write_all(b"x\n").unwrap();
        receive(&communicator, peer, 2);
    }
    communicator.send(ids[0], &"x".repeat(20_000_000)).unwrap();
    communicator.send(ids[1], &"x".repeat(1_000_000)).unwrap();
    communicator.enable(ids[2], false);
    communicator.read(ids[3], false);
    for peer in [&mut tcps[1] as &mut dyn Write, &mut unixes[1]] {
        peer.write_all(b"not read\n").unwrap();
    }
    // What was cancelled, and what went with its connection, does not wake anybody.
    for n in 1..100 {
        let timer = communicator.after(Duration::from_millis(10 * n), |_| ());
        communicator.cancel(timer);
    }
    let (gone, _peer) = unix(&communicator, Lines::new(), echo());
    communicator.timer(gone, Duration::from_millis(300), 1);
    communicator.set_deadline(gone, Some(Instant::now() + Duration::from_millis(400)));
    settle(&communicator);
    communicator.remove(gone);
    // Rounds of the network and what they bring are over.
    let calm = Rc::new(Cell::new(false));
    communicator.after(Duration::from_millis(100), {
        let calm = calm.clone();
        move |_| calm.set(true)
    });
    while !calm.get() {
        communicator.turn(None).unwrap();
    }
    settle(&communicator);

    let over = Rc::new(Cell::new(false));
    communicator.after(Duration::from_secs(1), {
        let over = over.clone();
        move |_| over.set(true)
    });
    let (waited, begun, mut turns) = (waits(), Instant::now(), 0);
    while !over.get() {
        communicator.turn(None).unwrap();
        turns += 1;
    }
    let waited = waits() - waited;
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(turns, 1, "but for its one timer nothing wakes it");
    assert!(waited <= 3, "{waited} waits"); // a few for what the system itself does
}

// ---- descriptors -------------------------------------------------------------------------------------------

/// The descriptors of the process: what they are, and their flags.
fn descriptors() -> BTreeMap<RawFd, (String, u32)> {
    let names =
        fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter_map(|name| {
            // The descriptor with which this is read is gone by now.
            let what = fs::read_link(format!("/proc/self/fd/{name}")).ok()?.to_string_lossy().into_owned();
            let info = fs::read_to_string(format!("/proc/self/fdinfo/{name}")).ok()?;
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
            Some((name.parse().unwrap(), (what, u32::from_str_radix(flags.trim(), 8).unwrap())))
        })
        .collect()
}

/// Uses everything that has a descriptor, and gives back those that are not the loop's own.
fn use_all(communicator: &Communicator, folder: &std::path::Path) -> (Vec<UnixStream>, Vec<TcpStream>) {
    let handler = || on_item::<Lines, _>(|_, _| Ok(()));
    let serve = move |client: eventdispatcher::Incoming<'_, _>| {
        client.serve(Lines::new(), handler())?;
        Ok(())
    };
    let path = folder.join("socket");
    let listening = communicator.listen_tcp("127.0.0.1:0".parse().unwrap(), serve).unwrap();
    let bound = UnixBind::new(&path).mode(0o600).bind().unwrap();
    let serve = move |client: eventdispatcher::Incoming<'_, _>| {
        client.serve(Lines::new(), handler())?;
        Ok(())
    };
    communicator.listen(bound, serve).unwrap();
    communicator.connect_tcp(listening.address(), Lines::new(), handler()).unwrap();
    communicator.connect_unix(&path, Lines::new(), handler()).unwrap();
    communicator.signals([Signal::USR2, Signal::HUP], |_, _| ()).unwrap();
    communicator.at(SystemTime::now() + LONG, |_| ()).unwrap();
    communicator.remote().unwrap().post(|_| ()).unwrap();

    let unixes = vec![UnixStream::connect(&path).unwrap(), unix(communicator, Lines::new(), handler()).1];
    let tcps = vec![
        TcpStream::connect(listening.address()).unwrap(),
        tcp(communicator, Raw, on_item::<Raw, _>(|_, _| Ok(()))).1,
    ];

    // What fails leaves nothing.
    communicator.listen_unix(&path, |_| Ok(())).unwrap_err();
    communicator.listen_tcp(listening.address(), |_| Ok(())).unwrap_err();
    communicator.connect_unix(folder.join("none"), Lines::new(), handler()).unwrap_err();
    communicator.signals([Signal(9)], |_, _| ()).unwrap_err();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = communicator.connect_tcp(nobody, Lines::new(), handler()).unwrap();
    until(communicator, || communicator.len() == 11 && !communicator.is_alive(refused));
    (unixes, tcps)
}

#[test]
fn every_descriptor_is_closed_on_exec_and_does_not_block_and_none_is_left() {
    const CLOSE_ON_EXEC: u32 = 0o2_000_000;
    const NON_BLOCKING: u32 = 0o4_000;
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    type End = fn(&Communicator);
    let ends: [End; 4] = [
        |communicator| {
            communicator.close_all();
            until(communicator, || communicator.is_empty());
        },
        |communicator| {
            communicator.after(Duration::ZERO, Communicator::stop);
            run(communicator);
        },
        |communicator| {
            for info in communicator.connections() {
                communicator.remove(info.key);
            }
        },
        |_| (),
    ];
    for (n, end) in ends.into_iter().enumerate() {
        let before = descriptors();
        let communicator = Communicator::new().unwrap();
        let (unixes, tcps) = use_all(&communicator, folder.path());
        let peers: Vec<RawFd> =
            unixes.iter().map(AsRawFd::as_raw_fd).chain(tcps.iter().map(AsRawFd::as_raw_fd)).collect();
        let during = descriptors();
        let own: Vec<_> =
            during.iter().filter(|(fd, _)| !before.contains_key(fd) && !peers.contains(fd)).collect();
        // The poll twice, its waker, the wall clock, two listeners, nine streams, and two for the signals.
        assert!(own.len() >= 16, "{own:#?}");
        for (fd, (what, flags)) in own {
            assert!(flags & CLOSE_ON_EXEC != 0, "{fd} is {what}");
            assert!(flags & NON_BLOCKING != 0 || !what.starts_with("socket:"), "{fd} is {what}");
        }
        drop((unixes, tcps));
        end(&communicator);
        assert_eq!(folder.path().join("socket").exists(), n == 3);
        drop(communicator);
        let left: Vec<_> = descriptors().into_iter().filter(|(fd, _)| !before.contains_key(fd)).collect();
        assert_eq!(left, []);
        assert!(!folder.path().join("socket").exists());
    }
}

#[test]
fn connections_that_come_and_go_leave_no_descriptors() {
    let _alone = alone();
    let communicator = Communicator::new().unwrap();
    let before = descriptors().len();
    for n in 0..200 {
        let handler =
            || on_item::<Lines, _>(|line, _| if line == "fail" { Err("so be it".into()) } else { Ok(()) });
        let (id, mut peer) = if n % 2 == 0 {
            unix(&communicator, Lines::new(), handler())
        } else {
            unix(&communicator, Lines::new().max(1), handler())
        };
        match n % 5 {
            0 => drop(communicator.close(id)),
            1 => drop(communicator.remove(id)),
            2 => peer.write_all(b"fail\n").unwrap(),
            3 => communicator.send(id, "x").unwrap(),
            _ => communicator.set_deadline(id, Some(Instant::now())).then_some(()).unwrap(),
        }
        if n % 3 == 0 {
            settle(&communicator);
        }
        drop(peer);
    }
    until(&communicator, || communicator.is_empty());
    assert_eq!(descriptors().len(), before);
}

// ---- inside another loop --------------------------------------------------------------------------------

/// Another loop that watches the communicator's descriptor and does nothing else.
struct Outer {
    poll: Poll,
    events: Events,
    communicator: Communicator,
}

impl Outer {
    fn new(communicator: &Communicator) -> Self {
        let poll = Poll::new().unwrap();
        let descriptor = communicator.as_fd().as_raw_fd();
        poll.registry().register(&mut SourceFd(&descriptor), Token(0), Interest::READABLE).unwrap();
        Self { poll, events: Events::with_capacity(8), communicator: communicator.clone() }
    }

    /// As the documentation says: waits for the descriptor and the hint alone.
    #[track_caller]
    fn until(&mut self, mut done: impl FnMut() -> bool) {
        let end = Instant::now() + DEADLINE;
        while !done() {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "nobody said that there is something to do");
            let wait = self.communicator.wait_hint().map_or(left, |hint| hint.min(left));
            self.poll.poll(&mut self.events, Some(wait)).unwrap();
            turn(&self.communicator);
        }
    }
}

#[test]
fn another_loop_is_told_when_there_is_something_to_do() {
    let _alone = alone();
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let mut outer = Outer::new(&communicator);
    let (id, mut peer) = unix(&communicator, Lines::new(), log.probe(""));
    outer.until(|| log.has("connected"));
    let mut sender = peer.try_clone().unwrap();
    let sends = thread::spawn(move || sender.write_all(b"input\n"));
    outer.until(|| log.has("\"input\""));
    sends.join().unwrap().unwrap();

    let says = |what: &'static str| {
        let log = log.clone();
        move |_: &Communicator| log.say(what)
    };
    communicator.after(Duration::from_millis(10), says("timer"));
    outer.until(|| log.has("timer"));
    let date = SystemTime::now() + Duration::from_millis(10);
    let next = says("second date");
    let first = says("first date");
    communicator
        .at(date, move |communicator| {
            first(communicator);
            communicator.at(SystemTime::now() + Duration::from_millis(10), next).unwrap();
        })
        .unwrap();
    communicator.at(SystemTime::now() + LONG, |_| ()).unwrap();
    outer.until(|| log.has("second date"));

    let remote = communicator.remote().unwrap();
    let posts = thread::spawn(move || remote.send(id, "posted"));
    outer.until(|| communicator.connection(id).unwrap().bytes_out == 7);
    posts.join().unwrap().unwrap();

    // Output that had to wait until it is read, and output of nobody's turn.
    communicator.send(id, &"x".repeat(1_000_000)).unwrap();
    let reads = thread::spawn(move || {
        let mut got = Vec::new();
        peer.read_to_end(&mut got).map(|_| got.len())
    });
    outer.until(|| communicator.queued_bytes(id) == 0);
    communicator.close(id);
    outer.until(|| log.has("closed: Local"));
    assert_eq!(reads.join().unwrap().unwrap(), 7 + 1_000_001);
    assert_log(&log, &["connected", "\"input\"", "timer", "first date", "second date", "closed: Local"]);
}

#[test]
fn a_hint_says_how_long_another_loop_may_wait() {
    let _alone = alone();
    let communicator = Communicator::new().unwrap();
    assert_eq!(communicator.wait_hint(), None);
    let timer = communicator.after(LONG, |_| ());
    let hint = communicator.wait_hint().unwrap();
    assert!(hint <= LONG && hint > LONG / 2, "{hint:?}");
    let sooner = communicator.after(Duration::from_secs(60), |_| ());
    assert!(communicator.wait_hint().unwrap() <= Duration::from_secs(60));
    communicator.cancel(sooner);
    assert!(communicator.wait_hint().unwrap() > LONG / 2);
    communicator.cancel(timer);
    let (id, _peer) = unix(&communicator, Lines::new(), on_item::<Lines, _>(|_, _| Ok(())));
    assert_eq!(communicator.wait_hint(), Some(Duration::ZERO), "it was added");
    settle(&communicator);
    communicator.send(id, "x").unwrap();
    assert_eq!(communicator.wait_hint(), Some(Duration::ZERO), "there is something to write");
    settle(&communicator);
    assert_eq!(communicator.wait_hint(), None);
}
