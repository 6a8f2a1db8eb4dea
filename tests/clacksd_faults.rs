//! clacksd among peers and in a system that fail it: no descriptors, clients by the thousand, peers that are stopped. Those who
//! have done nothing wrong are served as if nothing were, and what was taken is given back.
#![cfg(all(feature = "clacks", feature = "cli"))]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use support::daemon::{Program, memory};
use support::talk::{check_lines, check_well, clacksd, discarded, line, line_with, monitor};
use support::{Clacksd, Client, DEADLINE, text};

const CLACKS: Option<&str> = option_env!("CARGO_BIN_EXE_clacks");
const MIB: u64 = 1 << 20;

/// The descriptors that the server has open. Only root may see them: for all others there are none.
fn descriptors(server: &Clacksd) -> BTreeSet<String> {
    let folder = match fs::read_dir(format!("/proc/{}/fd", server.pid())) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return BTreeSet::new(),
        folder => folder.unwrap(),
    };
    folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Waits until the server has no more than so many.
#[track_caller]
fn check_given_back(server: &Clacksd, most: usize, client: &mut Client) {
    let begin = Instant::now();
    loop {
        let now = descriptors(server).len();
        if now <= most {
            return;
        }
        assert!(begin.elapsed() < DEADLINE, "{now} descriptors are open, {most} were");
        client.barrier().unwrap();
    }
}

/// Two clients that go on talking whatever happens.
struct Pair {
    sender: Client,
    listener: Client,
    said: usize,
    longest: Duration,
}

impl Pair {
    fn new(server: &mut Clacksd) -> Self {
        let mut listener = server.join("listener", "rw").unwrap();
        listener.send(b"LISTEN steady\r\n").unwrap();
        listener.barrier().unwrap();
        let sender = server.join("sender", "rw").unwrap();
        Self { sender, listener, said: 0, longest: Duration::ZERO }
    }

    #[track_caller]
    fn talk(&mut self) {
        let begin = Instant::now();
        let said = format!("SET steady={}", self.said);
        self.sender.send(format!("{said}\r\n").as_bytes()).unwrap();
        check_lines(&mut self.listener, &[&said]);
        self.said += 1;
        self.longest = self.longest.max(begin.elapsed());
    }
}

/// Logs in, leaves at once, and tells whether it was welcome.
fn come_and_go(socket: &Path) -> bool {
    let mut client = UnixStream::connect(socket).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    let login = format!("CLACKS guest\r\nOVERHEAD A {}\r\nQUIT\r\n", text::token("rw"));
    client.write_all(login.as_bytes()).unwrap();
    let mut told = String::new();
    client.read_to_string(&mut told).unwrap();
    told.contains("OVERHEAD O Welcome!")
}

#[test]
fn with_few_descriptors_all_who_come_and_go_get_their_turn() {
    const FEW: u64 = 32;
    let mut server = clacksd("");
    let mut pair = Pair::new(&mut server);
    let before = descriptors(&server);
    assert!(before.len() + 8 < FEW as usize, "{before:?} are open already");
    let limit = Rlimit { current: Some(FEW), maximum: Some(FEW) };
    let pid = Pid::from_raw(server.pid().cast_signed());
    prlimit(pid, Resource::Nofile, limit).unwrap();

    let socket = server.socket().to_owned();
    let finished = AtomicUsize::new(0);
    thread::scope(|scope| {
        // More than there are descriptors, at any time.
        for _ in 0..40 {
            scope.spawn(|| {
                for _ in 0..5 {
                    // All are clients before the first one says anything.
                    assert!(come_and_go(&socket), "a client was turned away");
                }
                finished.fetch_add(1, Ordering::Relaxed);
            });
        }
        // Those who are in notice nothing.
        while finished.load(Ordering::Relaxed) < 40 {
            pair.talk();
        }
    });
    let mut held: Vec<_> = (0..FEW).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    for _ in 0..100 {
        pair.talk();
        let open = descriptors(&server);
        // What it was started with may be beyond the limit.
        assert!(open.difference(&before).count() <= FEW as usize - before.len() + 1, "{open:?}");
    }
    held.clear();
    check_given_back(&server, before.len(), &mut pair.sender);
    check_well(&mut server);
    assert!(server.log().contains("can't accept, rests for"), "there was no lack: {}", server.log());
}

#[test]
fn thousands_who_come_and_go_leave_nothing_and_hinder_nobody() {
    const EACH: usize = 1000;
    let mut server = clacksd("");
    let mut pair = Pair::new(&mut server);
    // What is kept for the next ones is there from now on.
    for _ in 0..100 {
        assert!(come_and_go(server.socket()));
    }
    let (open, used) = (descriptors(&server).len(), memory(server.pid()));
    let socket = server.socket().to_owned();
    let finished = AtomicUsize::new(0);
    let begin = Instant::now();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let welcome = (0..EACH).filter(|_| come_and_go(&socket)).count();
                finished.fetch_add(1, Ordering::Relaxed);
                assert_eq!(welcome, EACH);
            });
        }
        while finished.load(Ordering::Relaxed) < 4 {
            pair.talk();
        }
    });
    let rate = (4 * EACH) as f64 / begin.elapsed().as_secs_f64();
    println!("{rate:.0} logins/s; the longest of {} messages took {:?}", pair.said, pair.longest);
    assert!(pair.longest < Duration::from_secs(5), "a message took {:?}", pair.longest);
    check_given_back(&server, open, &mut pair.sender);
    let after = memory(server.pid());
    assert!(after < used + 4 * MIB, "{used} bytes of memory became {after}");
    check_well(&mut server);
}

#[test]
fn a_client_that_is_stopped_is_cut_off_and_goes_on_later() {
    const MOST: u64 = 4 * MIB;
    let mut server = clacksd(&format!("<maxoutbuffer>{MOST}</maxoutbuffer><maxline>{MIB}</maxline>"));
    let mut pair = Pair::new(&mut server);
    let mut monitor = monitor(&mut server);
    let mut command = Command::new(CLACKS.expect("cargo builds clacks before it runs this test"));
    command.args(["listen", "steady", "big"]).env("CLACKS_SOCKET", server.socket());
    command.env("CLACKS_USER", "rwuser").env("CLACKS_PASSWORD", "rwpass").stdin(Stdio::null());
    let stopped = Program::start(&mut command);
    line_with(&mut monitor, "=LISTEN big");
    monitor.send(b"UNMONITOR\r\n").unwrap();
    monitor.drain().unwrap();
    pair.talk();
    stopped.says("steady=0\n");
    let before = memory(server.pid());

    stopped.signal(Signal::SIGSTOP);
    let big = format!("SET big={}\r\n", "x".repeat(60_000));
    let mut peak = 0;
    for n in 0..400 {
        pair.sender.send(big.as_bytes()).unwrap();
        pair.talk();
        if n % 20 == 0 {
            peak = peak.max(memory(server.pid()));
        }
    }
    assert!(peak < before + MOST + 4 * MIB, "{before} bytes of memory became {peak}");
    pair.sender.barrier().unwrap();
    let log = server.log();
    assert_eq!(log.matches("output queue is full, closed").count(), 1, "{log}");
    // It finds what was on its way, and the end; and comes back by itself, or says why it has ended.
    stopped.signal(Signal::SIGCONT);
    let ended = stopped.ended();
    assert!(!ended.status.success() && !ended.stderr.is_empty(), "{:?} {}", ended.status, ended.stderr);
    check_well(&mut server);
}

#[test]
fn a_stopped_server_loses_nothing_that_was_sent_to_it() {
    let mut server = clacksd("");
    let mut pair = Pair::new(&mut server);
    pair.talk();
    let signal = |signal| {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(server.pid().cast_signed()), signal).unwrap();
    };
    signal(Signal::SIGSTOP);
    // Into the sockets' own buffers: the server reads none of it.
    for n in 1..100 {
        pair.sender.send(format!("SET steady={n}\r\n").as_bytes()).unwrap();
    }
    let socket = server.socket().to_owned();
    let late = thread::spawn(move || come_and_go(&socket));
    signal(Signal::SIGCONT);
    for n in 1..100 {
        assert_eq!(line(&mut pair.listener), format!("SET steady={n}"));
    }
    assert!(late.join().unwrap(), "who came meanwhile was not served");
    check_well(&mut server);
}

#[test]
fn who_is_killed_with_output_waiting_is_forgotten() {
    let mut server = clacksd("");
    let mut pair = Pair::new(&mut server);
    let mut monitor = monitor(&mut server);
    let before = descriptors(&server).len();
    let mut client = server.join("client", "rw").unwrap();
    client.send(b"LISTEN big\r\n").unwrap();
    client.barrier().unwrap();
    let big = format!("SET big={}\r\n", "x".repeat(1_000_000));
    monitor.send(b"UNMONITOR\r\n").unwrap();
    monitor.drain().unwrap();
    pair.sender.send(big.as_bytes()).unwrap();
    pair.talk();
    monitor.send(b"MONITOR\r\n").unwrap();
    line_with(&mut monitor, "=MONITOR");
    drop(client);
    assert!(discarded(&mut monitor) > 0);
    check_given_back(&server, before, &mut pair.sender);
    check_well(&mut server);
}
