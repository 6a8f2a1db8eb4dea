//! What a connection needs while it is being made is closed when it is made, fails, or is given up, and none of it is handed
//! down to a child. The only test of its process, as it looks at all descriptors.

mod bed;

use bed::{run, turn, until};
use eventdispatcher::codec::Raw;
use eventdispatcher::{Communicator, TcpBind, TcpConnect, on_item};
use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

/// Generous: nothing waits for it that goes well.
const DEADLINE: Duration = Duration::from_secs(30);

/// All descriptors but that of looking, and what they are.
fn open() -> BTreeMap<String, String> {
    let entries = fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path());
    let named = entries.filter_map(|path| {
        let target = fs::read_link(&path).ok()?;
        Some((path.file_name()?.to_string_lossy().into_owned(), target.to_string_lossy().into_owned()))
    });
    named.filter(|(_, target)| !target.ends_with("/fd")).collect()
}

/// How many a child that is started now has.
fn handed_down() -> usize {
    let listed = Command::new("ls").arg("/proc/self/fd").output().unwrap();
    String::from_utf8(listed.stdout).unwrap().lines().count()
}

fn connect(communicator: &Communicator, to: TcpConnect) -> eventdispatcher::Id<Raw> {
    communicator.connect_tcp(to, Raw, on_item::<Raw, _>(|_, _| Ok(()))).unwrap()
}

#[test]
fn no_descriptor_outlives_what_it_is_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let good = listener.local_addr().unwrap();
    // One that answers nobody: its only place is taken.
    let silent = TcpBind::new("127.0.0.1:0".parse().unwrap()).backlog(0).bind().unwrap();
    let _first = TcpStream::connect(silent.address()).unwrap();
    let silent = silent.address();
    let refusing = SocketAddr::from(([127, 0, 0, 1], 1));
    let communicator = Communicator::new().unwrap();
    let (before, inherited) = (open(), handed_down());

    let quick = Duration::from_millis(10);
    let race = || TcpConnect::to_any([silent, refusing, silent]).attempt_delay(quick);
    // Given up while it waits: for a name, and for several addresses and the time.
    for to in [TcpConnect::to("localhost", good.port()), race(), race().deadline(Duration::from_secs(60))] {
        for turns in 0..5 {
            let id = connect(&communicator, to.clone());
            for _ in 0..turns {
                turn(&communicator);
            }
            assert!(communicator.remove(id));
            // A name is looked up on another thread, which reads the system's files until it has noticed.
            let begin = Instant::now();
            while open() != before {
                assert!(begin.elapsed() < DEADLINE, "{to} after {turns} turns: {:?}", open());
                std::thread::yield_now();
            }
        }
    }
    // In the middle of a race.
    let id = connect(&communicator, race());
    let grown = || open().len() - before.len();
    until(&communicator, || grown() >= 4);
    assert_eq!(handed_down(), inherited);
    communicator.remove(id);
    assert_eq!(open(), before);
    // Failed, and out of time.
    connect(&communicator, TcpConnect::to_any([refusing; 3]));
    connect(&communicator, race().deadline(Duration::from_millis(50)));
    connect(&communicator, TcpConnect::to(&"a".repeat(300), 1));
    run(&communicator);
    let woken = 1; // `run` has asked for a handle for other threads
    assert!(grown() <= woken, "{:?}", open());
    let before = open();
    // Made: one descriptor is left, and goes with the connection.
    for to in [TcpConnect::from(good), TcpConnect::to_any([silent, good]).attempt_delay(quick)] {
        let id = connect(&communicator, to);
        until(&communicator, || communicator.connection(id).unwrap().state == eventdispatcher::State::Open);
        assert_eq!(open().len(), before.len() + 1);
        communicator.remove(id);
        assert_eq!(open(), before);
    }
}
