//! Connections that reconnect by themselves, over real sockets and pipes, with servers that go away and come back.

mod bed;

use bed::{settle, until, until_empty};
use eventdispatcher::codec::Lines;
use eventdispatcher::{
    Away, Closed, Communicator, Connect, Cx, Fifo, Handler, HandlerResult, Id, Keep, Pauses, Reconnect,
    State, TcpConnect, Timeouts, ToFifo, ToUnix,
};
use std::cell::RefCell;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixListener;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Writes down what happens.
#[derive(Clone, Default)]
struct Seen(Rc<RefCell<Vec<String>>>);

impl Seen {
    fn say(&self, what: impl Into<String>) -> HandlerResult {
        self.0.borrow_mut().push(what.into());
        Ok(())
    }

    fn count(&self, start: &str) -> usize {
        self.0.borrow().iter().filter(|line| line.starts_with(start)).count()
    }
}

impl Handler<Lines> for Seen {
    fn connected(&mut self, _: &Cx<'_, Lines>) -> HandlerResult {
        self.say("connected")
    }
    fn message(&mut self, line: &str, _: &Cx<'_, Lines>) -> HandlerResult {
        self.say(line)
    }
    fn failed(&mut self, why: &Closed, _: &Cx<'_, Lines>) -> HandlerResult {
        self.say(format!("failed: {why}"))
    }
    fn lost(&mut self, why: &Closed, _: &Cx<'_, Lines>) -> HandlerResult {
        self.say(format!("lost: {why}"))
    }
    fn closed(&mut self, why: &Closed, _: &Cx<'_, Lines>) {
        let _ = self.say(format!("closed: {why}"));
    }
}

fn quickly() -> Reconnect {
    Reconnect::new(Pauses::every(Duration::from_millis(5)))
}

fn start(connect: impl Connect, reconnect: Reconnect) -> (Communicator, Id<Lines>, Seen) {
    let (communicator, seen) = (Communicator::new().unwrap(), Seen::default());
    let id = communicator.permanent(connect, reconnect, Lines::new, seen.clone());
    (communicator, id, seen)
}

/// The next client of a listener of the standard library, while the loop turns.
fn accept<S>(communicator: &Communicator, mut accept: impl FnMut() -> std::io::Result<S>) -> S {
    let mut found = None;
    until(communicator, || {
        match accept() {
            Ok(stream) => found = Some(stream),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
        found.is_some()
    });
    found.unwrap()
}

fn listen(address: SocketAddr) -> TcpListener {
    let listener = TcpListener::bind(address).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

fn accept_tcp(communicator: &Communicator, listener: &TcpListener) -> TcpStream {
    let (stream, _) = accept(communicator, || listener.accept());
    stream.set_nonblocking(true).unwrap();
    stream
}

/// Reads, while the loop turns, until it has `end`.
fn read_until(communicator: &Communicator, from: &mut impl Read, end: &str) -> String {
    let (mut text, mut chunk) = (Vec::new(), vec![0; 1 << 16]);
    until(communicator, || {
        match from.read(&mut chunk) {
            Ok(0) => panic!("it ended: {}", String::from_utf8_lossy(&text)),
            Ok(got) => text.extend_from_slice(&chunk[..got]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => panic!("{error}"),
        }
        text.ends_with(end.as_bytes())
    });
    String::from_utf8(text).unwrap()
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

#[test]
fn a_tcp_server_that_goes_away_and_comes_back_is_found_again() {
    let listener = listen(any_port());
    let address = listener.local_addr().unwrap();
    let (communicator, id, seen) = start(TcpConnect::from(address), quickly());
    communicator.send(id, "one").unwrap();
    let mut server = accept_tcp(&communicator, &listener);
    assert_eq!(read_until(&communicator, &mut server, "one\n"), "one\n");
    server.write_all(b"hello\n").unwrap();
    until(&communicator, || seen.count("hello") == 1);
    assert_eq!(communicator.connection(id).unwrap().kind, "tcp");

    // It goes, and refuses.
    drop((server, listener));
    until(&communicator, || seen.count("failed: could not connect: ") > 1);
    assert!(seen.0.borrow().last().unwrap().contains("Connection refused"), "{:?}", seen.0);
    assert_eq!(seen.count("lost: "), 1);
    communicator.send(id, "two").unwrap();
    communicator.send(id, "three").unwrap();

    let listener = listen(address);
    let mut server = accept_tcp(&communicator, &listener);
    assert_eq!(read_until(&communicator, &mut server, "three\n"), "two\nthree\n");
    assert_eq!(seen.count("connected"), 2);
    communicator.close(id);
    drop(server);
    until_empty(&communicator);
    assert_eq!(seen.0.borrow().last().unwrap(), "closed: closed by this program");
}

#[test]
fn an_item_that_was_cut_off_comes_whole_on_the_next_connection() {
    let listener = listen(any_port());
    // More than the system takes.
    let long = "x".repeat(32 << 20);
    let reconnect = quickly().away(Away { bytes: 40 << 20, ..Away::default() });
    let (communicator, id, seen) = start(TcpConnect::from(listener.local_addr().unwrap()), reconnect);
    for line in ["before", &long, "behind"] {
        communicator.send(id, line).unwrap();
    }
    let mut server = accept_tcp(&communicator, &listener);
    until(&communicator, || communicator.queued_bytes(id) < long.len());
    let queued = communicator.queued_bytes(id);
    assert!(queued > 0, "the system has taken all of it");
    let mut begun = [0; 1 << 16];
    assert!(server.read(&mut begun).unwrap() > 0 && begun.starts_with(b"before\nxx"));
    drop(server); // with unread input: a reset

    let mut server = accept_tcp(&communicator, &listener);
    let text = read_until(&communicator, &mut server, "behind\n");
    assert!(text == format!("{long}\nbehind\n"), "{} bytes, begins {:?}", text.len(), &text[..20]);
    assert_eq!(seen.count("lost: "), 1);
}

#[test]
fn nothing_is_lost_in_the_queue_nor_sent_twice_by_a_server_that_falls_over_and_over() {
    let listener = listen(any_port());
    let (communicator, id, seen) = start(TcpConnect::from(listener.local_addr().unwrap()), quickly());
    let line = |n: usize| format!("{n:06} {}", "y".repeat(n * 37 % 20_000));
    let (mut sent, mut next, mut cut) = (0, 0, 0);
    for round in 0..30 {
        while sent < (round + 1) * 100 {
            communicator.send(id, &line(sent)).unwrap();
            sent += 1;
        }
        let mut server = accept_tcp(&communicator, &listener);
        let (mut text, mut chunk) = (Vec::new(), vec![0; 50_000]);
        let enough = if round == 29 { usize::MAX } else { 1 + round * 9973 % 200_000 };
        let end = format!("{}\n", line(sent - 1));
        until(&communicator, || {
            match server.read(&mut chunk) {
                Ok(got) => text.extend_from_slice(&chunk[..got]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
            text.len() >= enough || text.ends_with(end.as_bytes())
        });
        let lost = seen.count("lost: ");
        drop(server);
        if round < 29 {
            until(&communicator, || seen.count("lost: ") > lost);
        }
        let text = String::from_utf8(text).unwrap();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        for found in whole.lines() {
            let number: usize = found[..6].parse().unwrap();
            // What the system had taken has gone with the connection; nothing comes twice or in another order.
            assert!(number >= next && found == line(number), "round {round}: {number} after {next}");
            cut += number - next;
            next = number + 1;
        }
    }
    assert_eq!(next, sent);
    assert!(cut < sent, "{cut} of {sent} were lost with the system's buffers");
    assert_eq!(communicator.connection(id).unwrap().dropped, 0);
}

#[test]
fn who_accepts_and_ends_at_once_is_not_stormed() {
    const PAUSE: Duration = Duration::from_millis(40);
    for pauses in [Pauses::every(PAUSE), Pauses::growing(PAUSE, PAUSE).jitter(0)] {
        let listener = listen(any_port());
        let reconnect = Reconnect::new(pauses);
        let begin = Instant::now();
        let (communicator, _, seen) = start(TcpConnect::from(listener.local_addr().unwrap()), reconnect);
        for _ in 0..5 {
            drop(accept_tcp(&communicator, &listener));
        }
        until(&communicator, || seen.count("lost: ") >= 5);
        assert!(begin.elapsed() >= 4 * PAUSE, "{:?}", begin.elapsed());
        assert_eq!((seen.count("failed: "), seen.count("connected")), (0, seen.count("lost: ")));
    }
}

#[test]
fn each_attempt_tries_all_addresses() {
    let refuses = listen(any_port());
    let [first, third] = [refuses.local_addr().unwrap(), listen(any_port()).local_addr().unwrap()];
    drop(refuses);
    let answers = listen(any_port());
    let second = answers.local_addr().unwrap();
    let (communicator, id, seen) = start(TcpConnect::to_any([first, second, third]), quickly());
    drop(accept_tcp(&communicator, &answers));
    until(&communicator, || seen.count("lost: ") == 1);
    let server = accept_tcp(&communicator, &answers);
    until(&communicator, || communicator.is_connected(id));
    assert_eq!((seen.count("failed: "), seen.count("connected")), (0, 2), "{:?}", seen.0);
    assert_eq!(&*communicator.name(id).unwrap(), format!("{first}, {second}, {third}"));

    let (communicator, _, seen) = start(TcpConnect::to_any([]), Reconnect::new(Pauses::never()));
    until_empty(&communicator);
    assert_eq!((seen.count("failed: could not connect: "), seen.count("closed: ")), (1, 1));

    // A name is resolved in each attempt.
    let port = answers.local_addr().unwrap().port();
    drop(server);
    let (communicator, id, seen) = start(TcpConnect::to("localhost", port), quickly());
    for round in 1..4 {
        let server = accept_tcp(&communicator, &answers);
        until(&communicator, || communicator.is_connected(id));
        drop(server);
        until(&communicator, || seen.count("lost: ") == round);
    }
}

#[test]
fn a_server_that_never_answers_is_given_up_in_time() {
    // A listener whose queue of waiting clients is full answers nobody.
    let listener = TcpListener::bind(any_port()).unwrap();
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let mut fillers: Vec<TcpStream> = Vec::new();
    while let Ok(filler) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        fillers.push(filler);
        assert!(fillers.len() < 10, "it answers everybody");
    }
    let (communicator, id, seen) = start(TcpConnect::from(address), quickly());
    let timeouts = Timeouts { connect: Some(Duration::from_millis(50)), ..Timeouts::default() };
    communicator.set_timeouts(id, timeouts);
    until(&communicator, || seen.count("failed: timed out: not connected in time") >= 2);
    assert_eq!(seen.count("connected"), 0);
}

#[test]
fn a_unix_server_that_is_not_there_yet_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server");
    let (communicator, id, seen) = start(ToUnix::new(&path), quickly());
    until(&communicator, || seen.count("failed: ") == 2);
    assert!(seen.0.borrow()[0].contains(&format!("can't connect to {}: No such file", path.display())));
    for round in 1..4 {
        communicator.send(id, &format!("round {round}")).unwrap();
        let listener = UnixListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (mut server, _) = accept(&communicator, || listener.accept());
        server.set_nonblocking(true).unwrap();
        let expected = format!("round {round}\n");
        assert_eq!(read_until(&communicator, &mut server, &expected), expected);
        std::fs::remove_file(&path).unwrap();
        drop((listener, server));
        until(&communicator, || seen.count("lost: ") == round);
    }
    assert!(communicator.close(id));
    until_empty(&communicator);
}

#[test]
fn a_fifo_finds_each_reader() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    let (communicator, id, seen) = start(ToFifo::new(Fifo::new(&path)), quickly());
    until(&communicator, || communicator.connection(id).unwrap().state == State::Connecting && path.exists());
    for round in 1..4 {
        communicator.send(id, &format!("round {round}")).unwrap();
        let mut reader =
            OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(&path).unwrap();
        let mut text = String::new();
        until(&communicator, || {
            let mut chunk = [0; 100];
            // Before the writer is there it reads the end.
            if let Ok(got) = reader.read(&mut chunk) {
                text.push_str(std::str::from_utf8(&chunk[..got]).unwrap());
            }
            text.ends_with('\n')
        });
        assert_eq!(text, format!("round {round}\n"));
        drop(reader);
        until(&communicator, || seen.count("lost: ") == round);
        assert!(path.exists(), "it stays");
    }
}

#[test]
fn a_closure_is_a_connector() {
    let (communicator, seen) = (Communicator::new().unwrap(), Seen::default());
    let far = Rc::new(RefCell::new(None));
    let keep = far.clone();
    let connect = move || {
        let (ours, theirs) = eventdispatcher::unix_pair()?;
        *keep.borrow_mut() = Some(theirs);
        Ok(ours)
    };
    let id = communicator.permanent(connect, quickly(), Lines::new, seen.clone());
    for round in 1..3 {
        until(&communicator, || communicator.is_connected(id));
        far.borrow_mut().as_mut().unwrap().write_all(format!("{round}\n").as_bytes()).unwrap();
        until(&communicator, || seen.count(&round.to_string()) == 1);
        far.take();
        until(&communicator, || seen.count("lost: ") == round);
    }
}

#[test]
fn another_thread_sends_to_it_wherever_it_is() {
    let listener = listen(any_port());
    let reconnect = quickly().away(Away { items: 3, drop_oldest: true, ..Away::default() });
    let (communicator, id, seen) = start(TcpConnect::from(listener.local_addr().unwrap()), reconnect);
    let server = accept_tcp(&communicator, &listener);
    until(&communicator, || communicator.is_connected(id));
    drop((server, listener));
    until(&communicator, || seen.count("failed: ") > 0);
    let remote = communicator.remote().unwrap();
    std::thread::spawn(move || (0..9).for_each(|n| remote.send(id, &n.to_string()).unwrap())).join().unwrap();
    until(&communicator, || communicator.connection(id).unwrap().dropped == 6);
    assert_eq!(communicator.queued_bytes(id), 6);
}

#[test]
fn the_loop_runs_as_long_as_it_waits_and_sleeps_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let reconnect = Reconnect::new("3600".parse().unwrap());
    let (communicator, id, seen) = start(ToUnix::new(folder.path().join("nobody")), reconnect);
    until(&communicator, || seen.count("failed: ") == 1);
    settle(&communicator);
    assert!(!communicator.is_empty());
    assert!(communicator.wait_hint().is_some_and(|hint| hint > Duration::from_secs(3500)));
    let turns = communicator.turn_number();
    communicator.turn(Some(Duration::from_millis(100))).unwrap();
    assert_eq!(communicator.turn_number(), turns + 1);
    let refused = communicator.send_kept(id, "now or never", Keep::No).unwrap_err();
    assert_eq!(refused.to_string(), "the connection is away");
    communicator.after(Duration::ZERO, move |communicator| assert!(communicator.close(id)));
    bed::run(&communicator);
    assert_eq!(seen.count("closed: closed by this program"), 1);
}

#[test]
fn a_name_is_dialled_anew_at_each_round() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (communicator, id, seen) = start(TcpConnect::to("localhost", port), quickly());
    assert_eq!(communicator.name(id).unwrap().as_ref(), format!("localhost:{port}"));
    for round in 1..=3 {
        communicator.send(id, "hello").unwrap();
        until(&communicator, || seen.count("connected") == round);
        let (mut theirs, _) = listener.accept().unwrap();
        settle(&communicator);
        let mut line = [0; 6];
        theirs.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"hello\n");
        drop(theirs);
        until(&communicator, || seen.count("lost") == round);
    }
    drop(listener);
    until(&communicator, || seen.count("failed: could not connect: localhost:") >= 1);
    communicator.close(id);
    until_empty(&communicator);
}

#[test]
fn a_tcp_connection_that_is_there_at_once_is_watched_as_any_other() {
    let listener = listen(any_port());
    let to = TcpConnect::from(listener.local_addr().unwrap());
    let (communicator, _, seen) = start(to, quickly());
    let mut peer = accept_tcp(&communicator, &listener);
    until(&communicator, || seen.count("connected") == 1);
    settle(&communicator);
    // The poll is not asked when it can be written to, for which each answer of the other side would wake the loop.
    let poll = communicator.as_fd().as_raw_fd();
    let watched = fs::read_to_string(format!("/proc/self/fdinfo/{poll}")).unwrap();
    let masks = watched.lines().filter_map(|line| line.split_once("events:")?.1.split_whitespace().next());
    let masks: Vec<_> = masks.map(|mask| u32::from_str_radix(mask, 16).unwrap()).collect();
    assert!(!masks.is_empty() && masks.iter().all(|mask| mask & 4 == 0), "{watched}");
    // Of urgent data it tells, behind which more may be.
    peer.write_all(b"one\n").unwrap();
    rustix::net::send(&peer, b"!", rustix::net::SendFlags::OOB).unwrap();
    peer.write_all(b"two\n").unwrap();
    until(&communicator, || seen.count("two") == 1);
}
