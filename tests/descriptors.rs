//! No kind of connection leaves a descriptor behind, and no program that is started gets one. The only test in its
//! process, for descriptors are the whole process's.

use eventdispatcher::codec::Lines;
use eventdispatcher::{
    Command, Communicator, Fd, Fifo, FromThread, Key, ListenWatch, Reconnect, Records, SeqPacket, Signal,
    UdpBind, UdpPackets, UnixBind, UnixPackets, Watch, WithDescriptors, alarm::When, on_item, pipe,
    pipe_pair, unix_pair,
};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

/// What is open, with what it is.
fn open() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc/self/fd").unwrap() {
        let path = entry.unwrap().path();
        // The folder that is being read is gone by now.
        if let Ok(target) = fs::read_link(&path) {
            found.insert(format!("{} {}", path.display(), target.display()));
        }
    }
    found
}

/// One of each kind, doing nothing.
fn fill(communicator: &Communicator, folder: &std::path::Path) -> Vec<Box<dyn std::any::Any>> {
    let quiet = || on_item::<Lines, _>(|_, _| Ok(()));
    let mut held: Vec<Box<dyn std::any::Any>> = Vec::new();
    let (reader, writer) = pipe().unwrap();
    communicator.stream(reader, Lines::new(), quiet()).unwrap();
    communicator.stream(writer, Lines::new(), quiet()).unwrap();
    let (here, there) = pipe_pair().unwrap();
    communicator.stream(here, Lines::new(), quiet()).unwrap();
    communicator.stream(there, Lines::new(), quiet()).unwrap();
    let (ours, theirs) = unix_pair().unwrap();
    communicator.stream(Fd::borrow(&theirs).unwrap(), Lines::new(), quiet()).unwrap();
    communicator.stream(ours, Lines::new(), quiet()).unwrap();
    held.push(Box::new(theirs));
    let waiting = Fifo::new(folder.join("nobody reads this")).writer().unwrap();
    communicator.stream(waiting, Lines::new(), quiet()).unwrap();
    let reader = Fifo::new(folder.join("fifo")).reader().unwrap();
    communicator.stream(reader, Lines::new(), quiet()).unwrap();
    let writer = Fifo::new(folder.join("fifo")).writer().unwrap();
    communicator.stream(writer, Lines::new(), quiet()).unwrap();
    let (to_thread, end) = communicator.channel::<u8, u8>(4, |_: FromThread<u8>, _| ()).unwrap();
    held.push(Box::new((to_thread, end)));
    let talks = Command::new("cat").kill().on_change(|_, _| ()).connect(Lines::new(), quiet());
    communicator.process(talks, |_, _| ()).unwrap();
    communicator.watch(Watch::new().tree(folder), |_, _| ()).unwrap();
    communicator.signals([Signal::USR1], |_, _| ()).unwrap();
    communicator.signals_from([Signal::USR1], |_, _| ()).unwrap();
    communicator.alarm(When::At(SystemTime::now() + Duration::from_secs(3600)), |_, _| ()).unwrap();
    communicator.listen_watch(ListenWatch::new(([127, 0, 0, 1], 1).into()), |_, _| ()).unwrap();
    let _ = communicator.process_events(|_, _| ()); // where the kernel does not tell, there is nothing to leave behind
    packets(communicator, folder, &mut held);
    communicator.turn(None).unwrap();
    held
}

/// Sockets that carry packets or descriptors.
fn packets(communicator: &Communicator, folder: &std::path::Path, held: &mut Vec<Box<dyn std::any::Any>>) {
    let udp = UdpBind::new("127.0.0.1:0".parse().unwrap()).bind().unwrap();
    held.push(Box::new(udp.control()));
    communicator.datagrams(udp, on_item::<UdpPackets, _>(|_, _| Ok(()))).unwrap();
    let quiet = || on_item::<UnixPackets, _>(|_, _| Ok(()));
    let file = UnixBind::new(folder.join("datagrams")).mode(0o600).bind_datagrams().unwrap();
    communicator.datagrams(file, quiet()).unwrap();
    communicator.datagrams(UnixBind::automatic().bind_datagrams().unwrap(), quiet()).unwrap();
    let bound = UnixBind::new(folder.join("packets")).bind_seqpacket().unwrap();
    let address = bound.address().unwrap();
    let quiet = || on_item::<Records, _>(|_, _| Ok(()));
    communicator
        .listen(bound, move |client| {
            client.serve(Records::new(), quiet())?;
            Ok(())
        })
        .unwrap();
    communicator.stream(SeqPacket::connect(&address).unwrap(), Records::new(), quiet()).unwrap();
    let (here, there) = unix_pair().unwrap();
    let (here, there) = (WithDescriptors::new(here), WithDescriptors::new(there));
    here.descriptors().send(fs::File::open("/dev/null").unwrap()).unwrap();
    let quiet = || on_item::<Lines, _>(|_, _| Ok(()));
    let sender = communicator.stream(here, Lines::new(), quiet()).unwrap();
    communicator.send(sender, "a descriptor").unwrap();
    communicator.stream(there, Lines::new(), quiet()).unwrap();
    for _ in 0..3 {
        communicator.turn(Some(Duration::ZERO)).unwrap(); // the client is accepted, and the descriptor arrives
    }
}

/// What a program finds open: its three, the folder it reads, and what this process was started with. Then the loop stops.
fn inherited(communicator: &Communicator) -> (Key, Rc<RefCell<String>>) {
    let inside = Rc::new(RefCell::new(String::new()));
    let noted = inside.clone();
    let list = Command::new("ls").args(["-1", "/proc/self/fd"]).capture_output(10_000).capture_errors(1000);
    let process = communicator
        .process(list, move |finished, communicator| {
            assert!(finished.success() && finished.errors.is_empty());
            noted.borrow_mut().push_str(&String::from_utf8_lossy(&finished.output));
            communicator.stop();
        })
        .unwrap();
    (process.key(), inside)
}

#[test]
fn nothing_is_left_behind_and_nothing_is_inherited() {
    let folder = tempfile::tempdir().unwrap();
    // What stays for good is made once, such as the handlers of signals.
    let communicator = Communicator::new().unwrap();
    communicator.signals([Signal::CHLD, Signal::USR1], |_, _| ()).unwrap();
    // … and the clock of dates, which is the communicator's.
    communicator.alarm(When::At(SystemTime::now()), |_, _| ()).unwrap();
    communicator.stop();
    communicator.run().unwrap();
    let (_, handed_down) = inherited(&communicator); // by whoever has started this test
    communicator.run().unwrap();
    assert!(handed_down.borrow().lines().count() >= 4, "{handed_down:?}");
    let before = open();

    let held = fill(&communicator, folder.path());
    let grown = open().len();
    assert!(grown > before.len() + 27, "only {grown}");
    let (key, seen) = inherited(&communicator);
    assert!(communicator.is_alive(key));
    communicator.run().unwrap();
    assert_eq!(*seen.borrow(), *handed_down.borrow());

    drop(held);
    assert_eq!(open(), before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);

    // Nor does what can't be started, or added.
    for _ in 0..3 {
        let missing = Command::new("cat").pipe(Command::new("/no/such/program")).capture_output(1).feed("x");
        assert!(communicator.process(missing, |_, _| ()).is_err());
        assert!(Fd::new(fs::File::open("/proc/self/status").unwrap()).is_err());
        assert!(Fifo::new(folder.path().join("no/where")).reader().is_err());
    }
    assert_eq!(open(), before);

    // Nor does one that reconnects: what is lost is closed.
    let lasting = Communicator::new().unwrap();
    let without = open();
    let far = Rc::new(RefCell::new(None));
    let keep = far.clone();
    let connect = move || {
        let (ours, theirs) = unix_pair()?;
        *keep.borrow_mut() = Some(theirs);
        Ok(ours)
    };
    let reconnect = Reconnect::new("0.001".parse().unwrap());
    let id = lasting.permanent(connect, reconnect, Lines::new, on_item::<Lines, _>(|_, _| Ok(())));
    for _ in 0..50 {
        while !lasting.is_connected(id) {
            lasting.turn(None).unwrap();
        }
        assert_eq!(open().len(), without.len() + 2);
        far.take();
        while lasting.is_connected(id) {
            lasting.turn(None).unwrap();
        }
        assert_eq!(open().len(), without.len());
    }
    drop(lasting);
    assert_eq!(open(), before);
}
