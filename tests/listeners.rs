//! Listeners over TCP and Unix sockets: who is let in, who is not, and what becomes of the socket file.

mod bed;

use bed::{DEADLINE, Log, Peer, assert_log, has_ended, receive, receive_all, run, settle, turn, unix, until};
use eventdispatcher::codec::Lines;
use eventdispatcher::{
    Budget, Communicator, HandlerResult, Incoming, Key, Reconnect, Timeouts, ToUnix, Transport, UnixAddress,
    UnixBind, on_item, unix_stream,
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// Serves with an echo.
fn echo<T: Transport>(client: Incoming<'_, T>) -> HandlerResult {
    client.serve(Lines::new(), on_item::<Lines, _>(|line, cx| Ok(cx.reply(line)?)))?;
    Ok(())
}

/// A listener on a file in a folder that goes with the test.
struct Socket {
    folder: tempfile::TempDir,
}

impl Socket {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }
    fn path(&self) -> PathBuf {
        self.folder.path().join("socket")
    }
    fn connect(&self) -> UnixStream {
        UnixStream::connect(self.path()).unwrap()
    }
}

#[test]
fn of_many_that_find_a_stale_file_at_once_one_listens_there() {
    for _ in 0..20 {
        let socket = Socket::new();
        drop(UnixListener::bind(socket.path()).unwrap()); // the file stays
        let begin = Arc::new(std::sync::Barrier::new(8));
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let (begin, path) = (begin.clone(), socket.path());
                std::thread::spawn(move || {
                    begin.wait();
                    UnixBind::new(path).bind()
                })
            })
            .collect();
        let (bound, refused): (Vec<_>, Vec<_>) =
            threads.into_iter().map(|thread| thread.join().unwrap()).partition(Result::is_ok);
        assert_eq!(bound.len(), 1, "{bound:?}");
        assert!(
            refused.iter().all(|error| error.as_ref().unwrap_err().kind() == ErrorKind::AddrInUse),
            "{refused:?}"
        );
        socket.connect();
    }
}

// ---- those who come -----------------------------------------------------------------------------------------

#[track_caller]
fn all_are_served(communicator: &Communicator, mut clients: Vec<impl Peer>) {
    for (n, client) in clients.iter_mut().enumerate() {
        client.write_all(format!("client {n}\n").as_bytes()).unwrap();
    }
    for (n, client) in clients.iter_mut().enumerate() {
        let expected = format!("client {n}\n");
        assert_eq!(receive(communicator, client, expected.len()), expected.as_bytes());
    }
    assert_eq!(communicator.len(), 1 + clients.len());
    drop(clients);
    until(communicator, || communicator.len() == 1);
}

#[test]
fn many_clients_at_once_are_all_accepted() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let address: SocketAddr = address.parse().unwrap();
        if let Err(error) = TcpListener::bind(address) {
            println!("{address} can't be used here: {error}");
            assert!(address.is_ipv6(), "IPv4 must work");
            continue;
        }
        let communicator = Communicator::new().unwrap();
        let listening = communicator.listen_tcp(address, echo).unwrap();
        assert_ne!(listening.address().port(), 0);
        assert_eq!(communicator.name(listening).as_deref(), Some(&*listening.address().to_string()));
        let clients: Vec<_> =
            (0..200).map(|_| TcpStream::connect_timeout(&listening.address(), DEADLINE).unwrap()).collect();
        all_are_served(&communicator, clients);
    }
    let (communicator, socket) = (Communicator::new().unwrap(), Socket::new());
    let listener = communicator.listen_unix(socket.path(), echo).unwrap();
    assert_eq!(communicator.name(listener).as_deref(), socket.path().to_str());
    assert_eq!(communicator.connection(listener).unwrap().kind, "unix listener");
    all_are_served(&communicator, (0..200).map(|_| socket.connect()).collect());
}

#[test]
fn a_client_is_named_after_its_address() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let listening = communicator
        .listen_tcp(loopback(), {
            let log = log.clone();
            move |client| {
                log.say(client.peer());
                log.say(client.listener().to_string());
                let communicator = client.communicator();
                let id = client.serve(Lines::new(), log.probe("client"))?;
                log.say(&*communicator.name(id).unwrap_or_default());
                Ok(())
            }
        })
        .unwrap();
    let client = TcpStream::connect(listening.address()).unwrap();
    let address = client.local_addr().unwrap().to_string();
    drop(client);
    until(&communicator, || log.len() == 6);
    let listener = listening.key().to_string();
    assert_log(
        &log,
        &[&address, &listener, &address, "client connected", "client eof", "client closed: Eof"],
    );
}

#[test]
fn what_a_client_sent_before_it_was_accepted_arrives() {
    let (communicator, log, socket) = (Communicator::new().unwrap(), Log::default(), Socket::new());
    communicator
        .listen_unix(socket.path(), {
            let log = log.clone();
            move |client| {
                client.serve(Lines::new(), log.probe(""))?;
                Ok(())
            }
        })
        .unwrap();
    let mut client = socket.connect();
    client.write_all(b"in\nand out\n").unwrap();
    drop(client);
    settle(&communicator);
    assert_log(&log, &["connected", "\"in\"", "\"and out\"", "eof", "closed: Eof"]);
}

#[test]
fn a_client_that_is_not_taken_is_closed_and_the_listener_goes_on() {
    let (communicator, socket) = (Communicator::new().unwrap(), Socket::new());
    let count = Rc::new(Cell::new(0));
    communicator
        .listen_unix(socket.path(), {
            let count = count.clone();
            move |client| {
                count.set(count.get() + 1);
                match count.get() {
                    1 => Err("a failure".into()),
                    2 => Ok(()), // not served, which is as much as refused
                    _ => echo(client),
                }
            }
        })
        .unwrap();
    let mut clients = [(); 3].map(|()| socket.connect());
    clients[2].write_all(b"x\n").unwrap();
    settle(&communicator);
    assert!(has_ended(&mut clients[0]));
    assert!(has_ended(&mut clients[1]));
    assert_eq!(receive(&communicator, &mut clients[2], 2), b"x\n");
    assert_eq!((communicator.len(), count.get()), (2, 3));
}

#[test]
fn a_listener_that_panics_is_gone_and_its_clients_stay() {
    let (communicator, socket) = (Communicator::new().unwrap(), Socket::new());
    let mut first = true;
    let listener = communicator
        .listen_unix(socket.path(), move |client| {
            assert!(std::mem::take(&mut first), "as it should");
            echo(client)
        })
        .unwrap();
    let mut client = socket.connect();
    settle(&communicator);
    let _second = socket.connect();
    settle(&communicator);
    assert!(!communicator.is_alive(listener) && !socket.path().exists());
    client.write_all(b"x\n").unwrap();
    assert_eq!(receive(&communicator, &mut client, 2), b"x\n");
    drop(client);
    run(&communicator);
}

#[test]
fn timeouts_of_a_listener_are_for_its_clients() {
    let communicator = Communicator::new().unwrap();
    let listening = communicator.listen_tcp(loopback(), echo).unwrap();
    let millisecond = Some(Duration::from_millis(1));
    let timeouts =
        Timeouts { read: millisecond, write: millisecond, idle: millisecond, ..Timeouts::default() };
    communicator.set_timeouts(listening.key(), timeouts);
    settle(&communicator);
    assert_eq!(communicator.wait_hint(), None, "it wakes the loop");
    let mut client = TcpStream::connect(listening.address()).unwrap();
    until(&communicator, || communicator.len() == 2);
    until(&communicator, || communicator.len() == 1); // it said nothing
    assert!(has_ended(&mut client) && communicator.is_alive(listening.key()));
}

#[test]
fn a_stream_may_be_taken_out_and_used_in_another_way() {
    let (communicator, log, socket) = (Communicator::new().unwrap(), Log::default(), Socket::new());
    let listener = communicator
        .listen_unix(socket.path(), {
            let log = log.clone();
            move |client| {
                let communicator = client.communicator();
                let boxed: Box<dyn Transport> = Box::new(client.into_stream());
                communicator.stream(boxed, Lines::new(), log.probe(""))?;
                Ok(())
            }
        })
        .unwrap();
    communicator.set_most_clients(listener, 1);
    let clients = [(); 3].map(|()| socket.connect());
    settle(&communicator);
    assert_eq!(log.count("connected"), 3, "they are not counted");
    drop(clients);
    settle(&communicator);
    assert_eq!(log.count("closed: Eof"), 3);
}

#[test]
fn a_listener_has_a_budget_too() {
    let (communicator, log, socket) = (Communicator::new().unwrap(), Log::default(), Socket::new());
    let listener = communicator.listen_unix(socket.path(), echo).unwrap();
    communicator.set_budget(listener, Budget { callbacks: 10, time: Duration::MAX, ..Budget::default() });
    communicator.set_priority(listener, 0);
    let (_, mut other) = unix(&communicator, Lines::new(), log.probe(""));
    settle(&communicator);
    log.take();
    let clients = [(); 25].map(|()| socket.connect());
    for expected in [10, 20, 25] {
        other.write_all(b"x\n").unwrap();
        turn(&communicator);
        assert_eq!(communicator.len(), 2 + expected);
        assert_log(&log, &["\"x\""]);
    }
    drop(clients);
}

// ---- how many ----------------------------------------------------------------------------------------------

#[test]
fn no_more_clients_than_allowed_and_the_next_when_one_has_gone() {
    let (communicator, socket) = (Communicator::new().unwrap(), Socket::new());
    let served: Rc<RefCell<Vec<Key>>> = Rc::default();
    let listener = communicator
        .listen_unix(socket.path(), {
            let served = served.clone();
            move |client| {
                let handler = on_item::<Lines, _>(|line, cx| Ok(cx.reply(line)?));
                served.borrow_mut().push(client.serve(Lines::new(), handler)?.key());
                Ok(())
            }
        })
        .unwrap();
    assert!(communicator.set_most_clients(listener, 2));
    let mut clients: Vec<UnixStream> = (0..8).map(|_| socket.connect()).collect();
    let count = || {
        settle(&communicator);
        served.borrow().len()
    };
    assert_eq!(count(), 2);
    drop(clients.remove(0)); // by the client
    assert_eq!(count(), 3);
    let second = served.borrow()[1];
    communicator.remove(second); // by the server
    assert_eq!(count(), 4);
    // One that is closed and still writes its last bytes counts.
    let third = served.borrow()[2];
    let sent: Vec<u8> = b"x\n".repeat(50_000);
    clients[1].block(false);
    while clients[1].write(&sent).is_ok() {
        turn(&communicator);
    }
    until(&communicator, || communicator.queued_bytes(third) > 0);
    communicator.close(third);
    assert_eq!((count(), communicator.is_alive(third)), (4, false));
    receive_all(&communicator, &mut clients[1]);
    assert_eq!(count(), 5);
    // More, and fewer than there are.
    communicator.set_most_clients(listener, 4);
    assert_eq!(count(), 7);
    communicator.set_most_clients(listener, 1);
    for key in &served.borrow()[3..6] {
        communicator.remove(*key);
    }
    assert_eq!(count(), 7);
    let last = served.borrow()[6];
    communicator.remove(last);
    assert_eq!(count(), 8);
    communicator.remove(listener);
    assert!(!communicator.set_most_clients(listener, 1));
}

/// Runs in a process of its own, as the limit is one of the process.
#[test]
fn without_descriptors_a_listener_rests_and_goes_on_later() {
    const NAME: &str = "without_descriptors_a_listener_rests_and_goes_on_later";
    const CHILD: &str = "EVENTDISPATCHER_TEST_WITH_FEW_DESCRIPTORS";
    if std::env::var_os(CHILD).is_none() {
        let child = Command::new(std::env::current_exe().unwrap())
            .args([NAME, "--exact", "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(said.contains("1 passed"), "the child ran something else: {said}");
        return;
    }
    let communicator = Communicator::new().unwrap();
    let listening = communicator
        .listen_tcp(loopback(), |client| {
            let id = client
                .serve(Lines::new(), Log::default().probe("").on_connected(|cx| Ok(cx.reply("hi")?)))?;
            let _ = id;
            Ok(())
        })
        .unwrap();
    let mut clients: Vec<TcpStream> =
        (0..10).map(|_| TcpStream::connect(listening.address()).unwrap()).collect();
    let free = File::open("/dev/null").unwrap().as_raw_fd();
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, free as u64 + 4, hard).unwrap();

    let begun = Instant::now();
    let mut turns = 0;
    while begun.elapsed() < Duration::from_millis(400) {
        communicator.turn(Some(Duration::from_millis(400).saturating_sub(begun.elapsed()))).unwrap();
        turns += 1;
    }
    assert_eq!(communicator.len(), 1 + 4, "as many as there are descriptors for");
    assert!(turns < 20, "{turns} turns in 400 ms");
    assert!(File::open("/dev/null").is_err(), "else this shows nothing");

    // Those who have been served go, and make room for the others.
    until(&communicator, || {
        clients.retain_mut(|client| {
            client.block(false);
            client.read(&mut [0; 3]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
        });
        clients.is_empty()
    });
    until(&communicator, || communicator.len() == 1);
    settle(&communicator);
    let begun = Instant::now();
    communicator.turn(Some(Duration::from_millis(50))).unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(50), "nothing is left to do");
}

// ---- off, and gone --------------------------------------------------------------------------------------------

#[test]
fn clients_wait_while_a_listener_is_off() {
    let (communicator, socket) = (Communicator::new().unwrap(), Socket::new());
    let listener = communicator.listen_unix(socket.path(), echo).unwrap();
    communicator.enable(listener, false);
    let clients = [(); 3].map(|()| socket.connect());
    settle(&communicator);
    assert_eq!(communicator.len(), 1);
    communicator.enable(listener, true);
    settle(&communicator);
    assert_eq!(communicator.len(), 4);
    // Switched off by the closure itself, in the middle of those who wait.
    communicator.remove(listener);
    let listener = communicator
        .listen_unix(socket.path(), |client| {
            client.communicator().enable(client.listener(), false);
            echo(client)
        })
        .unwrap();
    let more = [(); 3].map(|()| socket.connect());
    for expected in 5..=7 {
        settle(&communicator);
        assert_eq!(communicator.len(), expected);
        communicator.enable(listener, true);
    }
    drop((clients, more));
}

#[test]
fn a_listener_that_is_closed_or_removed_lets_nobody_in() {
    for close in [true, false] {
        let communicator = Communicator::new().unwrap();
        let listening = communicator.listen_tcp(loopback(), echo).unwrap();
        let mut client = TcpStream::connect(listening.address()).unwrap();
        until(&communicator, || communicator.len() == 2);
        if close {
            communicator.close(listening)
        } else {
            communicator.remove(listening)
        };
        until(&communicator, || communicator.len() == 1);
        let refused = TcpStream::connect(listening.address()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        client.write_all(b"x\n").unwrap();
        assert_eq!(receive(&communicator, &mut client, 2), b"x\n", "its clients stay");
        // The address can be used again at once, though a connection of it is still there.
        drop(client);
        run(&communicator);
        communicator.listen_tcp(listening.address(), echo).unwrap();
    }
}

#[test]
fn an_address_that_is_taken_is_an_error_that_names_it() {
    let communicator = Communicator::new().unwrap();
    let taken = TcpListener::bind(loopback()).unwrap();
    let address = taken.local_addr().unwrap();
    let error = communicator.listen_tcp(address, echo).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    assert!(communicator.is_empty());
}

// ---- the socket file ------------------------------------------------------------------------------------------

#[test]
fn the_file_of_a_dead_listener_is_replaced() {
    let (communicator, socket) = (Communicator::new().unwrap(), Socket::new());
    drop(UnixListener::bind(socket.path()).unwrap());
    assert!(socket.path().exists());
    communicator.listen_unix(socket.path(), echo).unwrap();
    let mut client = socket.connect();
    client.write_all(b"x\n").unwrap();
    assert_eq!(receive(&communicator, &mut client, 2), b"x\n");
}

#[test]
fn what_is_in_use_or_no_socket_is_left_alone() {
    #[track_caller]
    fn check(path: &Path, kind: ErrorKind) {
        let communicator = Communicator::new().unwrap();
        let before = fs::symlink_metadata(path).ok().map(|found| (found.file_type(), found.len()));
        let error = communicator.listen_unix(path, echo).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        assert_eq!(fs::symlink_metadata(path).ok().map(|found| (found.file_type(), found.len())), before);
        assert!(communicator.is_empty());
    }
    let folder = tempfile::tempdir().unwrap();
    let name = |name: &str| folder.path().join(name);

    let _live = UnixListener::bind(name("live")).unwrap();
    check(&name("live"), ErrorKind::AddrInUse);
    // So busy that nobody more may wait for it.
    let busy = UnixListener::bind(name("busy")).unwrap();
    nix::sys::socket::listen(&busy, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let _waits = UnixStream::connect(name("busy")).unwrap();
    check(&name("busy"), ErrorKind::AddrInUse);

    fs::write(name("file"), "text").unwrap();
    check(&name("file"), ErrorKind::AlreadyExists);
    check(folder.path(), ErrorKind::AlreadyExists);
    symlink(name("live"), name("link")).unwrap();
    check(&name("link"), ErrorKind::AlreadyExists);
    symlink(name("nothing"), name("dangling")).unwrap();
    check(&name("dangling"), ErrorKind::AlreadyExists);
    check(&name("no folder").join("socket"), ErrorKind::NotFound);
    check(&name("file").join("socket"), ErrorKind::NotADirectory);
    // Longer than an address can be.
    check(&name(&"x".repeat(120)), ErrorKind::InvalidFilename);
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn the_mode_of_the_file_is_exact_and_never_more() {
    for wanted in [0o600, 0o660, 0o666, 0o700, 0o777, 0o000] {
        let socket = Socket::new();
        let path = socket.path();
        let (over, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let watch = std::thread::spawn({
            let (path, over, seen) = (path.clone(), over.clone(), seen.clone());
            move || {
                let mut modes = BTreeSet::new();
                while !over.load(Ordering::Relaxed) {
                    if let Ok(found) = fs::symlink_metadata(&path) {
                        modes.insert(found.permissions().mode() & 0o7777);
                        seen.store(true, Ordering::Relaxed);
                    }
                }
                modes
            }
        });
        let end = Instant::now() + DEADLINE;
        let mut rounds = 0;
        while rounds < 200 || !seen.load(Ordering::Relaxed) {
            assert!(Instant::now() < end);
            let bound = UnixBind::new(&path).mode(wanted).bind().unwrap();
            assert_eq!(mode(&path), wanted);
            drop(bound);
            rounds += 1;
        }
        over.store(true, Ordering::Relaxed);
        let modes = watch.join().unwrap();
        assert!(modes.iter().all(|mode| mode & !wanted == 0), "{wanted}: of {modes:?} some are more");
    }
}

#[test]
fn without_a_mode_the_umask_decides() {
    let (plain, ours) = (Socket::new(), Socket::new());
    let _plain = UnixListener::bind(plain.path()).unwrap();
    let _ours = UnixBind::new(ours.path()).bind().unwrap();
    assert_eq!(mode(&ours.path()), mode(&plain.path()));
}

#[test]
fn so_many_wait_as_the_backlog_says() {
    let (here, there, socket) = (Communicator::new().unwrap(), Communicator::new().unwrap(), Socket::new());
    let bound = UnixBind::new(socket.path()).backlog(3).bind().unwrap();
    there.listen(bound, echo).unwrap();
    let connect = || here.connect_unix(socket.path(), Lines::new(), Log::default().probe(""));
    let waiting = (0..100).take_while(|_| connect().is_ok()).count();
    assert!((3..=4).contains(&waiting), "{waiting}");
    let error = connect().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    assert!(error.to_string().contains(socket.path().to_str().unwrap()), "{error}");
    settle(&there);
    connect().unwrap();
}

#[test]
fn the_file_goes_with_the_listener_but_nobody_elses() {
    // In each of the ways in which a listener can go.
    type End = fn(&Communicator, Key);
    let ends: [End; 4] = [
        |communicator, key| assert!(communicator.remove(key)),
        |communicator, key| {
            assert!(communicator.close(key));
            run(communicator);
        },
        |communicator, _| {
            communicator.after(Duration::ZERO, Communicator::stop);
            run(communicator);
        },
        |_, _| (), // with the communicator
    ];
    for end in ends {
        for replaced in [false, true] {
            let (communicator, socket) = (Communicator::new().unwrap(), Socket::new());
            let key = communicator.listen_unix(socket.path(), echo).unwrap();
            assert!(fs::symlink_metadata(socket.path()).unwrap().file_type().is_socket());
            let _somebody = replaced.then(|| {
                fs::remove_file(socket.path()).unwrap();
                UnixListener::bind(socket.path()).unwrap()
            });
            end(&communicator, key);
            drop(communicator);
            assert_eq!(socket.path().exists(), replaced);
        }
    }
    // One that was never added.
    let socket = Socket::new();
    drop(UnixBind::new(socket.path()).bind().unwrap());
    assert!(!socket.path().exists());
}

#[test]
fn a_file_that_was_taken_away_leaves_the_clients_alone() {
    let (communicator, socket) = (Communicator::new().unwrap(), Socket::new());
    let listener = communicator.listen_unix(socket.path(), echo).unwrap();
    let mut client = socket.connect();
    settle(&communicator);
    fs::remove_file(socket.path()).unwrap();
    communicator.remove(listener);
    client.write_all(b"x\n").unwrap();
    assert_eq!(receive(&communicator, &mut client, 2), b"x\n");
}

#[test]
fn streams_from_elsewhere_and_accepted_ones_are_alike() {
    // A blocking thread accepts, the loop serves.
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let socket = Socket::new();
    let listener = UnixListener::bind(socket.path()).unwrap();
    let accepts = std::thread::spawn(move || listener.accept().unwrap().0);
    let mut client = socket.connect();
    let stream = unix_stream(accepts.join().unwrap()).unwrap();
    communicator.stream(stream, Lines::new(), log.probe("")).unwrap();
    client.write_all(b"x\n").unwrap();
    drop(client);
    run(&communicator);
    assert_log(&log, &["connected", "\"x\"", "eof", "closed: Eof"]);
}

#[test]
fn a_name_without_a_file_is_found_whatever_its_bytes() {
    let own = std::process::id();
    let named = |name: &str| format!("{name}{own}").into_bytes();
    let names =
        [named("plain"), named("a\0b\0"), [b"\xff/".to_vec(), named("x")].concat(), vec![own as u8; 107]];
    for name in names {
        let (communicator, log) = (Communicator::new().unwrap(), Log::default());
        let bound = UnixBind::abstract_name(name.clone()).bind().unwrap();
        assert_eq!(bound.address().unwrap().as_abstract(), Some(&name[..]));
        let echo = || on_item::<Lines, _>(|line, cx| Ok(cx.reply(line)?));
        communicator
            .listen(bound, move |client| {
                client.serve(Lines::new(), echo())?;
                Ok(())
            })
            .unwrap();
        let address = UnixAddress::abstract_name(&name).unwrap();
        let client = || log.probe("").on_connected(|cx| Ok(cx.reply("hello")?));
        communicator.connect_unix_to(&address, Lines::new(), client()).unwrap();
        let again = Reconnect::new("0.01".parse().unwrap());
        communicator.permanent(ToUnix::address(address), again, Lines::new, client());
        // Others find it under the same bytes, and not under those with a NUL behind.
        let of = |name: &[u8]| std::os::unix::net::SocketAddr::from_abstract_name(name);
        UnixStream::connect_addr(&of(&name).unwrap()).unwrap();
        if let Ok(longer) = of(&[&name[..], b"\0"].concat()) {
            assert_eq!(UnixStream::connect_addr(&longer).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        }
        until(&communicator, || log.count("\"hello\"") == 2);
    }
}
