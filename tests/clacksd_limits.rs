//! clacksd as its enemies meet it: too much of everything. Who goes too far is cut off, and nobody else notices.
#![cfg(all(feature = "clacks", feature = "cli"))]

mod support;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;

use support::daemon::{Program, command, memory};
use support::talk::{check_lines, check_well, clacksd, discarded, line, line_with, monitor};
use support::{Client, DEADLINE, show, text};

const CLACKSD: Option<&str> = option_env!("CARGO_BIN_EXE_clacksd");

const MIB: u64 = 1 << 20;

// ---- lines ---------------------------------------------------------------------------------------------------

#[test]
fn a_stranger_may_send_less_than_a_friend() {
    let mut server = clacksd("<maxline>10000000</maxline>");
    let long = format!("SET a={}", "x".repeat(100_000));
    let mut stranger = server.connect().unwrap();
    line_with(&mut stranger, "Authentication required");
    stranger.send(format!("{long}\r\n").as_bytes()).unwrap();
    check_lines(&mut stranger, &["OVERHEAD E line_too_long", "<EOF>"]);

    let mut witness = server.join("witness", "rw").unwrap();
    witness.send(b"LISTEN a\r\n").unwrap();
    witness.barrier().unwrap();
    let mut friend = server.join("friend", "rw").unwrap();
    friend.send(format!("{long}\r\n").as_bytes()).unwrap();
    check_lines(&mut witness, &[&long]);
}

#[test]
fn a_line_that_is_too_long_ends_its_sender_and_nobody_else() {
    let mut server = clacksd("<maxline>1024</maxline>");
    let mut witness = server.join("witness", "rw").unwrap();
    witness.send(b"LISTEN a\r\n").unwrap();
    witness.barrier().unwrap();

    // The longest that may be, with what does not count as a part of it.
    let longest = format!("SET a={}", "x".repeat(1024 - 6));
    let mut client = server.join("client", "rw").unwrap();
    client.send(format!("{longest}\r\n{longest}\n").as_bytes()).unwrap();
    check_lines(&mut witness, &[&longest, &longest]);
    drop(client);

    for logged_in in [true, false] {
        for size in [1025, 1026, 5000, 60_000] {
            for end in ["", "\n", "\r\n", "\nSET a=1\n"] {
                let mut client = if logged_in {
                    server.join("client", "rw").unwrap()
                } else {
                    let mut client = server.connect().unwrap();
                    line_with(&mut client, "Authentication required");
                    client
                };
                if end.is_empty() && size < 1026 + 1024 {
                    // It may still be a CR that comes, and counts for nothing; or a line of a link, which has room for more.
                    continue;
                }
                let long = format!("SET a={}{end}", "x".repeat(size - 6));
                client.stream().write_all(long.as_bytes()).unwrap();
                check_lines(&mut client, &["OVERHEAD E line_too_long", "<EOF>"]);
            }
        }
    }
    witness.barrier().unwrap();
    let log = server.log();
    for what in ["maxline allows", "may come before the login"] {
        assert_eq!(log.matches(&format!("a line is longer than {what}, closed")).count(), 14, "{log}");
    }
    check_well(&mut server);
}

#[test]
fn an_endless_line_takes_no_memory() {
    let mut server = clacksd("<maxline>65536</maxline>");
    let client = server.join("client", "rw").unwrap();
    let before = memory(server.pid());
    let mut stream = client.stream();
    let piece = [b'x'; 1 << 16];
    let mut sent = 0;
    // It is told, and cut off, while it still sends.
    let error = loop {
        match stream.write(&piece) {
            Ok(n) => sent += n,
            Err(error) => break error,
        }
        assert!(sent < 64 << 20, "{sent} bytes without a line end were taken");
    };
    assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
    let mut told = String::new();
    let _ = stream.read_to_string(&mut told); // it may end with a reset, for it was still sending
    assert_eq!(told, "OVERHEAD E line_too_long\r\n");
    let after = memory(server.pid());
    assert!(after < before + 2 * MIB, "{before} bytes of memory became {after}");
    check_well(&mut server);
}

#[test]
fn packets_may_be_cut_anywhere() {
    let mut server = clacksd("");
    let mut client = server.join("client", "rw").unwrap();
    // Many commands in one packet, among them some that are answered.
    let mut packet = String::new();
    for n in 0..20_000 {
        packet.push_str("INCREMENT n\r\n");
        if n % 5000 == 0 {
            packet.push_str("RETRIEVE n\r\n");
        }
    }
    packet.push_str("RETRIEVE n\r\n");
    client.send(packet.as_bytes()).unwrap();
    let wanted = ["1", "5001", "10001", "15001", "20000"].map(|n| format!("RETRIEVED n={n}"));
    check_lines(&mut client, &wanted.each_ref().map(String::as_str));

    // One command in many packets.
    let mut other = server.join("other", "rw").unwrap();
    for (n, byte) in b"STORE k=in many packets\r\nRETRIEVE k\r\n".iter().enumerate() {
        client.stream().write_all(&[*byte]).unwrap();
        if n % 4 == 0 {
            other.barrier().unwrap(); // the server has had time to read what is there
        }
    }
    check_lines(&mut client, &["RETRIEVED k=in many packets"]);
}

#[test]
fn half_closed_clients_get_their_answers() {
    let mut server = clacksd("");
    let mut other = server.join("other", "rw").unwrap();
    let keys: String = (0..20_000).map(|n| format!("STORE key{n:05}={n}\r\n")).collect();
    other.send(keys.as_bytes()).unwrap();
    other.barrier().unwrap();

    let mut client = server.join("client", "rw").unwrap();
    // A list that is too long to be sent at once, and what comes after it.
    client.send(b"RETRIEVE key00000\r\nKEYLIST\r\nSTORE z=1\r\nFLUSH end\r\nSTORE z=unfinished").unwrap();
    client.half_close().unwrap();
    other.barrier().unwrap();
    check_lines(&mut client, &["RETRIEVED key00000=0", "KEYLISTSTART"]);
    for n in 0..20_000 {
        assert_eq!(line(&mut client), format!("KEY key{n:05}"));
    }
    check_lines(&mut client, &["KEYLISTEND", "FLUSHED end", "<EOF>"]);
    other.send(b"RETRIEVE z\r\n").unwrap();
    check_lines(&mut other, &["RETRIEVED z=1"]);
}

// ---- slow readers --------------------------------------------------------------------------------------------

#[test]
fn who_reads_too_slowly_is_cut_off_and_the_others_get_everything() {
    const LINES: usize = 3000;
    let mut server = clacksd("<maxline>16384</maxline><maxoutbuffer>65536</maxoutbuffer>");
    let mut monitor = monitor(&mut server);
    let mut listen = |name: &str| {
        let mut client = server.join(name, "rw").unwrap();
        client.send(b"LISTEN a\r\n").unwrap();
        client.barrier().unwrap();
        client
    };
    let (slow, mut fast) = (listen("slow"), listen("fast"));
    let mut sender = server.join("sender", "rw").unwrap();
    monitor.send(b"UNMONITOR\r\n").unwrap();
    monitor.drain().unwrap();

    let value = "x".repeat(1000);
    let wanted = |n: usize| format!("SET a={n} {value}");
    for first in (0..LINES).step_by(50) {
        let lines: String = (first..first + 50).map(|n| wanted(n) + "\r\n").collect();
        sender.send(lines.as_bytes()).unwrap();
        for n in first..first + 50 {
            assert_eq!(line(&mut fast), wanted(n));
        }
    }
    sender.barrier().unwrap();
    fast.barrier().unwrap();
    let log = server.log();
    assert_eq!(log.matches("output queue is full, closed").count(), 1, "{log}");

    // What was on its way to the slow one is whole up to the point where it was cut.
    let mut got = Vec::new();
    slow.stream().read_to_end(&mut got).unwrap();
    let all: String = (0..LINES).map(|n| wanted(n) + "\r\n").collect();
    assert!(all.as_bytes().starts_with(&got), "{}", show(&got));
    assert!(got.len() < LINES * 1000 / 2, "{} bytes were kept for it", got.len());
    drop(slow);
    check_well(&mut server);
}

#[test]
fn the_longest_answer_fits_into_the_smallest_queue_with_a_short_one_behind_it() {
    let mut server = clacksd("<maxline>1024</maxline><maxoutbuffer>2048</maxoutbuffer>");
    let mut client = server.join("client", "rw").unwrap();
    let value = "v".repeat(1024 - "STORE k=".len());
    client.send(format!("STORE k={value}\r\nRETRIEVE k\r\nFLUSH 1\r\n").as_bytes()).unwrap();
    check_lines(&mut client, &[&format!("RETRIEVED k={value}"), "FLUSHED 1"]);
}

#[test]
fn who_sends_and_never_reads_is_served_until_its_queue_is_full() {
    let mut server = clacksd("<maxoutbuffer>1048576</maxoutbuffer><maxline>524288</maxline>");
    let mut other = server.join("other", "rw").unwrap();
    other.send(&[b"STORE big=", &b"x".repeat(100_000)[..], b"\r\n"].concat()).unwrap();
    other.barrier().unwrap();
    let before = memory(server.pid());

    // Commands without an answer: as many as it likes.
    let mut client = server.join("client", "rw").unwrap();
    client
        .send(&[&b"INCREMENT n\r\nSET n=1\r\nPING\r\n".repeat(10_000)[..], b"FLUSH n\r\n"].concat())
        .unwrap();
    check_lines(&mut client, &["FLUSHED n"]);
    other.send(b"RETRIEVE n\r\n").unwrap();
    check_lines(&mut other, &["RETRIEVED n=10000"]);

    // 100 MB of answers.
    let mut monitor = monitor(&mut server);
    let commands = b"RETRIEVE big\r\n".repeat(1000);
    client.stream().write_all(&commands).unwrap();
    let lost = discarded(&mut monitor);
    // The answer that reached the limit is in it.
    assert!((MIB as usize..MIB as usize + 100_020).contains(&lost), "{lost} bytes were discarded");
    let after = memory(server.pid());
    assert!(after < before + 8 * MIB, "{before} bytes of memory became {after}");
    other.barrier().unwrap();
    check_well(&mut server);
}

#[test]
fn a_long_list_waits_for_a_slow_reader_and_for_nobody_else() {
    const KEYS: usize = 100_000;
    let mut server = clacksd("");
    let mut other = server.join("other", "rw").unwrap();
    let key = |n: usize| format!("key{n:06}{}", "x".repeat(100));
    let all: String = (0..KEYS).map(|n| format!("STORE {}=\r\n", key(n))).collect();
    other.send(all.as_bytes()).unwrap();
    other.barrier().unwrap();

    let before = memory(server.pid());
    let mut slow = server.join("slow", "rw").unwrap();
    slow.send(b"KEYLIST\r\nKEYLIST\r\nFLUSH end\r\n").unwrap();
    // Others are served meanwhile, and may change what is listed.
    for n in 0..200 {
        other.send(format!("STORE aaa={n}\r\nRETRIEVE aaa\r\n").as_bytes()).unwrap();
        check_lines(&mut other, &[&format!("RETRIEVED aaa={n}")]);
    }
    let after = memory(server.pid());
    println!("memory before the list of {} bytes: {before}, with it: {after}", all.len());
    assert!(after < before + MIB, "{before} bytes of memory became {after}");

    let mut reader = BufReader::new(slow.stream());
    let mut next = || {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line
    };
    for round in 0..2 {
        assert_eq!(next(), "KEYLISTSTART\r\n");
        if round == 1 {
            assert_eq!(next(), "KEY aaa\r\n");
        }
        for n in 0..KEYS {
            assert_eq!(next(), format!("KEY {}\r\n", key(n)));
        }
        assert_eq!(next(), "KEYLISTEND\r\n");
    }
    assert_eq!(next(), "FLUSHED end\r\n");
}

#[test]
fn a_list_of_any_length_fits_into_any_queue() {
    // Keys of which a few fill the queue.
    let mut server = clacksd("<maxline>15360</maxline><maxoutbuffer>16384</maxoutbuffer>");
    let mut client = server.join("client", "admin").unwrap();
    let key = |n: usize| format!("{n:03}{}", "x".repeat(10_000));
    for n in 0..100 {
        client.send(format!("STORE {}=\r\n", key(n)).as_bytes()).unwrap();
    }
    client.send(b"KEYLIST\r\n").unwrap();
    check_lines(&mut client, &["KEYLISTSTART"]);
    for n in 0..100 {
        check_lines(&mut client, &[&format!("KEY {}", key(n))]);
    }
    check_lines(&mut client, &["KEYLISTEND"]);

    // Clients with names of which a few fill the queue.
    let others: Vec<_> = (0..10)
        .map(|_| {
            let mut client = server.join("other", "rw").unwrap();
            client.send(format!("CLACKS {}\r\n", "x".repeat(10_000)).as_bytes()).unwrap();
            client.barrier().unwrap();
            client
        })
        .collect();
    client.send(b"CLIENTLIST\r\n").unwrap();
    check_lines(&mut client, &["CLIENTLISTSTART"]);
    for _ in 0..=others.len() {
        assert!(line(&mut client).starts_with("CLIENT CID=unixdomainsocket:"));
    }
    check_lines(&mut client, &["CLIENTLISTEND"]);
}

#[test]
fn who_is_gone_in_the_middle_of_a_list_is_forgotten() {
    let mut server = clacksd("");
    let mut monitor = monitor(&mut server);
    let keys: String = (0..10_000).map(|n| format!("STORE key{n:05}{}=\r\n", "x".repeat(100))).collect();
    let mut client = server.join("client", "rw").unwrap();
    client.send(keys.as_bytes()).unwrap();
    // Nothing but the end of the connection itself can tell that it is gone.
    client.send(b"NOPING\r\nKEYLIST\r\nSTORE late=1\r\n").unwrap();
    let mut start = [0; 12];
    client.stream().read_exact(&mut start).unwrap();
    assert_eq!(&start, b"KEYLISTSTART");
    drop(client);
    discarded(&mut monitor);
    check_well(&mut server);
}

#[test]
fn a_flood_hinders_nobody() {
    let mut server = clacksd("");
    let mut listener = server.join("listener", "rw").unwrap();
    listener.send(b"LISTEN b\r\n").unwrap();
    listener.barrier().unwrap();
    let mut sender = server.join("sender", "rw").unwrap();
    let flood = b"SET a=1\r\nINCREMENT n\r\nRETRIEVE n\r\n".repeat(1000);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            let client = server.join("flood", "rw").unwrap();
            let (flood, over) = (&flood, &over);
            scope.spawn(move || {
                let mut answers = client.stream().try_clone().unwrap();
                scope.spawn(move || std::io::copy(&mut answers, &mut std::io::sink()).unwrap());
                while !over.load(Ordering::Relaxed) {
                    client.stream().write_all(flood).unwrap();
                }
                client.half_close().unwrap();
            });
        }
        let talked = catch_unwind(AssertUnwindSafe(|| {
            for n in 0..30 {
                sender.send(format!("SET b={n}\r\n").as_bytes()).unwrap();
                check_lines(&mut listener, &[&format!("SET b={n}")]);
            }
        }));
        over.store(true, Ordering::Relaxed);
        talked.unwrap();
    });
    check_well(&mut server);
}

// ---- many clients --------------------------------------------------------------------------------------------

#[test]
fn one_client_too_many_is_told_and_the_next_one_gets_in_when_one_has_left() {
    let mut server = clacksd("<maxclients>3</maxclients>");
    let mut monitor = monitor(&mut server);
    let first = server.join("first", "rw").unwrap();
    let mut second = server.join("second", "rw").unwrap();
    for _ in 0..5 {
        let mut extra = server.connect().unwrap();
        check_lines(&mut extra, &["OVERHEAD E too_many_clients", "<EOF>"]);
        // Whatever it sends at once.
        let extra = server.connect().unwrap();
        let login = format!("OVERHEAD A {}\r\nSTORE extra=1\r\n", text::token("rw"));
        let _ = extra.stream().write_all(login.as_bytes()); // it may be gone already
    }
    second.send(b"RETRIEVE extra\r\n").unwrap();
    check_lines(&mut second, &["NOTRETRIEVED extra"]);
    drop(first);
    assert_eq!(discarded(&mut monitor), 0);
    let mut next = server.join("next", "rw").unwrap();
    next.barrier().unwrap();
    let mut extra = server.connect().unwrap();
    check_lines(&mut extra, &["OVERHEAD E too_many_clients", "<EOF>"]);
}

#[test]
fn without_a_descriptor_left_clients_wait_and_the_server_rests() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    std::fs::write(folder.path().join("secret"), "adminpass").unwrap();
    let mut command = command("sh");
    let script = "ulimit -n 30; exec \"$0\" --socket s --user admin:secret";
    command.args(["-c", script, CLACKSD.unwrap()]).current_dir(folder.path());
    let server = Program::start(&mut command);
    server.says("try: ");
    server.logs("30 descriptors are allowed, too few for 10000 clients: those beyond wait for some seconds, and are turned away");

    let mut clients: Vec<_> = (0..60).map(|_| Client::connect(&socket).unwrap()).collect();
    server.logs("can't accept, rests for");
    // Those who are in are served.
    clients[0].send(format!("OVERHEAD A {}\r\n", text::token("admin")).as_bytes()).unwrap();
    line_with(&mut clients[0], "OVERHEAD O Welcome!");
    clients[0].send(b"CLIENTLIST\r\n").unwrap();
    line_with(&mut clients[0], "CLIENTLISTSTART");
    let mut served = 0;
    while line(&mut clients[0]) != "CLIENTLISTEND" {
        served += 1;
    }
    assert!((10..30).contains(&served), "{served} clients are served");
    // The others get in when those have left.
    clients.drain(..served);
    for client in clients.iter_mut().take(10) {
        line_with(client, "Authentication required");
    }
    server.signal(Signal::SIGTERM);
    assert_eq!(server.ended().status.code(), Some(0));
}

#[test]
fn ten_thousand_idle_clients_cost_little_and_hinder_nobody() {
    const CLIENTS: usize = 10_000;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    if hard < CLIENTS as u64 + 200 {
        println!("only {hard} descriptors are allowed here: not tested");
        return;
    }
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let mut server = clacksd("<maxclients>20000</maxclients><authtimeout>300</authtimeout>");
    let mut active = server.join("active", "rw").unwrap();
    let mut sender = server.join("sender", "rw").unwrap();
    active.send(b"LISTEN a\r\n").unwrap();
    active.barrier().unwrap();

    let before = memory(server.pid());
    let login = format!("CLACKS idle\r\nOVERHEAD A {}\r\nLISTEN b\r\n", text::token("rw"));
    let mut idle: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut stream = UnixStream::connect(server.socket()).unwrap();
            stream.write_all(login.as_bytes()).unwrap();
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            BufReader::with_capacity(128, stream)
        })
        .collect();
    let mut line_of = |n: usize| {
        let mut line = String::new();
        idle[n].read_line(&mut line).unwrap();
        line
    };
    for n in 0..CLIENTS {
        while line_of(n) != "OVERHEAD O Welcome!\r\n" {}
    }
    let after = memory(server.pid());
    let each = (after - before) / CLIENTS as u64;
    println!("memory of the server for each idle client: {each} bytes");
    assert!(each < 4096, "{each} bytes for each of {CLIENTS} clients");

    for n in 0..100 {
        sender.send(format!("SET a={n}\r\n").as_bytes()).unwrap();
        assert_eq!(line(&mut active), format!("SET a={n}"));
    }
    // All of them are still there.
    sender.send(b"SET b=1\r\n").unwrap();
    for n in 0..CLIENTS {
        assert_eq!(line_of(n), "SET b=1\r\n");
    }
    drop(idle);
    check_well(&mut server);
}

// ---- nonsense ------------------------------------------------------------------------------------------------

#[test]
fn a_client_that_is_killed_in_the_middle_of_a_line_is_forgotten() {
    let mut server = clacksd("");
    let mut monitor = monitor(&mut server);
    let client = server.join("client", "rw").unwrap();
    client.stream().write_all(b"STORE whole=1\r\nSTORE half=").unwrap();
    line_with(&mut monitor, "=STORE whole=1");
    // A process that has the only end of the connection.
    let end: OwnedFd = client.stream().try_clone().unwrap().into();
    let mut process = Command::new("cat").stdin(Stdio::from(end)).stdout(Stdio::null()).spawn().unwrap();
    drop(client);
    let mut other = server.join("other", "admin").unwrap();
    other.send(b"CLIENTLIST\r\n").unwrap();
    line_with(&mut other, ";CLIENTINFO=wire_client;");
    process.kill().unwrap();
    process.wait().unwrap();
    assert_eq!(discarded(&mut monitor), 0);
    other.drain().unwrap();
    other.send(b"RETRIEVE whole\r\nRETRIEVE half\r\n").unwrap();
    check_lines(&mut other, &["RETRIEVED whole=1", "NOTRETRIEVED half"]);
}

/// Numbers that look like random ones: the same ones for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    /// Any bytes.
    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    /// What could almost be a line.
    fn line(&mut self) -> Vec<u8> {
        const WORDS: [&str; 29] = [
            "NOTIFY",
            "SET",
            "LISTEN",
            "UNLISTEN",
            "STORE",
            "SETANDSTORE",
            "RETRIEVE",
            "REMOVE",
            "INCREMENT",
            "DECREMENT",
            "KEYLIST",
            "CLEARCACHE",
            "FLUSH",
            "PING",
            "NOPING",
            "MONITOR",
            "UNMONITOR",
            "CLIENTLIST",
            "CLIENTDISCONNECT",
            "QUIT",
            "NOP",
            "KEYSYNC",
            "FLUSHED",
            "CLACKS",
            "TIMEOUT",
            "OVERHEAD",
            "OVERHEAD G",
            "OVERHEAD I",
            "OVERHEAD A",
        ];
        // Without S: the server is not to be stopped.
        const PARTS: [&str; 24] = [
            " ",
            "=",
            "==",
            "1",
            "0",
            "-1",
            "1e308",
            "inf",
            "nan",
            "18446744073709551615",
            "a",
            "b",
            "ä",
            "\u{0}",
            "\r",
            "\t",
            "GNUMDECTILZ",
            "YTpi",
            ":",
            ";",
            "unixdomainsocket:1:1",
            "1.5 2.5 U k=v",
            "0 0 D ",
            "x=1",
        ];
        let mut line = self.of(&WORDS).as_bytes().to_vec();
        for _ in 0..self.below(5) {
            line.extend_from_slice(self.of(&[" ", "", "="]).as_bytes());
            line.extend_from_slice(self.of(&PARTS).as_bytes());
        }
        if self.below(20) == 0 {
            let (at, byte) = (self.below(line.len()), self.next() as u8);
            line[at] = if byte == b'S' { b's' } else { byte };
        }
        line.extend_from_slice(self.of(&["\r\n", "\n", "\r\r\n", "\n\n", ""]).as_bytes());
        line
    }
}

/// Sends at least `bytes` bytes of nonsense, over as many connections as that takes: whoever sends nonsense may be cut off.
fn talk_nonsense(socket: &Path, seed: u64, bytes: usize) {
    let mut random = Random(seed);
    let mut sent = 0;
    while sent < bytes {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        let mut reading = stream.try_clone().unwrap();
        let reader = thread::spawn(move || {
            let mut answers = [0; 1 << 16];
            loop {
                match reading.read(&mut answers) {
                    Ok(0) => return Ok(()),
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
        });
        let user = *random.of(&["admin", "rw", ""]);
        let mut next =
            if user.is_empty() { Vec::new() } else { format!("OVERHEAD A {}\r\n", text::token(user)).into() };
        let part = sent + bytes / 8;
        while sent < bytes.min(part) {
            if random.below(3) == 0 {
                let len = random.below(2000);
                next.extend(random.bytes(len));
            } else {
                (0..random.below(100)).for_each(|_| next.extend(random.line()));
            }
            match stream.write_all(&next) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("nobody reads: {error}"),
                Err(_) => break,
            }
            sent += next.len();
            next.clear();
        }
        if random.below(2) == 0 {
            let _ = stream.shutdown(Shutdown::Write); // the server may have closed
        } else {
            let _ = stream.shutdown(Shutdown::Both);
        }
        reader.join().unwrap().unwrap();
    }
}

#[test]
fn nonsense_is_survived() {
    let seed = std::env::var("CLACKS_SEED").map_or(4711, |seed| seed.parse().expect("a number"));
    println!("CLACKS_SEED={seed} repeats this");
    let mut server = clacksd("<maxline>65536</maxline><maxoutbuffer>4194304</maxoutbuffer>");
    let mut bystander = server.join("bystander", "admin").unwrap();
    let before = memory(server.pid());
    let socket = server.socket().to_owned();
    thread::scope(|scope| {
        for n in 0..4 {
            let socket = &socket;
            scope.spawn(move || talk_nonsense(socket, seed + n, MIB as usize));
        }
    });
    let after = memory(server.pid());
    println!("memory before: {before}, after: {after}");
    assert!(after < before + 16 * MIB, "{before} bytes of memory became {after}");
    let _ = bystander.barrier(); // it may have been told anything
    check_well(&mut server);
}
