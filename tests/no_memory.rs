//! A clacksd for whose calls the system has no memory: strace makes every few of them fail, on real sockets and a real disk. Who is
//! not hit notices nothing, who is hit sees its connection end and may come back, no answer is wrong or half, and nothing is left
//! behind.
#![cfg(all(feature = "clacks", feature = "cli"))]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use eventdispatcher::connections::clacks::token;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use support::DEADLINE;
use support::daemon::{Program, command, memory};

const CLACKSD: Option<&str> = option_env!("CARGO_BIN_EXE_clacksd");
const STORERS: usize = 3;
/// So many values each of them stores, and asks for.
const ROUNDS: usize = 200;
/// A new client each time after so many.
const SESSION: usize = 20;

/// The folder of a server.
struct Stage {
    folder: TempDir,
}

impl Stage {
    fn new(settings: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let text = format!(
            "<clacks><socket>s</socket><username>u</username><password>p</password>\
             <persistancefile>cache.dat</persistancefile>{settings}</clacks>"
        );
        fs::write(folder.path().join("c.xml"), text).unwrap();
        Self { folder }
    }

    fn start(&self, log_level: &str) -> Program {
        let mut command = command(CLACKSD.expect("cargo builds clacksd before it runs this test"));
        command.args(["--log-level", log_level, "c.xml"]).current_dir(self.folder.path());
        let server = Program::start(&mut command);
        server.says("clacksd: listening on s\n");
        server
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    fn client(&self, name: &str) -> Client {
        Client { socket: self.socket(), name: name.to_owned(), session: None, hits: 0 }
    }
}

/// What strace makes of a process that runs, until this value is gone.
struct Faults {
    strace: Child,
    /// What it says, of each new thread for example: it would end if nobody could hear that.
    _said: BufReader<ChildStderr>,
    log: PathBuf,
}

impl Faults {
    /// From now on these calls fail with this error, each time that `when` says: `2+3` is the second one and each third one after
    /// it, counted for each thread. None: it can't be done here, which is said where everybody sees it.
    fn begin(server: &Program, folder: &Path, calls: &str, error: &str, when: &str) -> Option<Self> {
        let log = folder.join("faults");
        let mut command = Command::new("strace");
        command.args(["-f", "-Z", "-o"]).arg(&log).args(["-p", &server.pid().to_string()]);
        command.args(["-e", &format!("trace={calls}")]);
        command.args(["-e", &format!("inject={calls}:error={error}:when={when}")]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let Ok(mut strace) = command.spawn() else { return not_tested("there is no strace") };
        let mut said = BufReader::new(strace.stderr.take().expect("it is a pipe"));
        let mut all = String::new();
        while said.read_line(&mut all).expect("what strace says is text") > 0 {
            if all.contains("attached") {
                return Some(Self { strace, _said: said, log });
            }
        }
        let _ = strace.wait();
        assert!(all.contains("not permitted"), "strace can't do it: {all}");
        not_tested(&all)
    }

    /// How often calls have failed for it; no more do.
    fn end(mut self, stage: &Stage) -> usize {
        assert!(self.strace.try_wait().unwrap().is_none(), "strace has ended before");
        let begin = Instant::now();
        while self.strace.try_wait().unwrap().is_none() {
            assert!(begin.elapsed() < DEADLINE, "strace does not end");
            kill(Pid::from_raw(self.strace.id().cast_signed()), Signal::SIGTERM).unwrap();
            // A signal that comes just before it waits is seen with the next call of the server.
            drop(UnixStream::connect(stage.socket()).unwrap());
        }
        let log = fs::read(&self.log).unwrap();
        String::from_utf8_lossy(&log).matches("(INJECTED)").count()
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}

fn not_tested<T>(why: &str) -> Option<T> {
    // Not captured, unlike what is printed.
    let said = writeln!(
        io::stderr(),
        "NOT TESTED: calls can't be made to fail here (it needs strace, and its right to attach): {why}"
    );
    said.expect("there is a stderr");
    None
}

/// A client that comes back when it was thrown out.
struct Client {
    socket: PathBuf,
    name: String,
    session: Option<BufReader<UnixStream>>,
    /// So often it was.
    hits: usize,
}

/// The connection has ended before the answer was whole.
#[derive(Debug)]
struct Lost;

impl Client {
    fn say(&mut self, lines: &str) -> Result<(), Lost> {
        let session = self.session.as_mut().expect("it is there");
        let written = session.get_mut().write_all(lines.as_bytes());
        self.of(written)
    }

    /// The next line, if it comes whole.
    fn line(&mut self) -> Result<String, Lost> {
        let mut line = String::new();
        let read = self.session.as_mut().expect("it is there").read_line(&mut line);
        self.of(read)?;
        line.strip_suffix("\r\n").map(str::to_owned).ok_or(Lost)
    }

    /// Only an end is a loss: that nothing comes in time is not.
    fn of<T>(&self, result: io::Result<T>) -> Result<T, Lost> {
        result.map_err(|error| match error.kind() {
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Lost,
            _ => panic!("{}: {error}", self.name),
        })
    }

    fn expect(&mut self, wanted: &str) -> Result<(), Lost> {
        let line = self.line()?;
        assert_eq!(line, wanted, "{}", self.name);
        Ok(())
    }

    fn log_in(&mut self) -> Result<(), Lost> {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        self.session = Some(BufReader::new(stream));
        self.say(&format!("CLACKS {}\r\nOVERHEAD A {}\r\n", self.name, token("u", "p")))?;
        assert!(self.line()?.starts_with("CLACKS clacksd"));
        self.expect("OVERHEAD M Authentication required")?;
        self.expect("OVERHEAD O Welcome!")
    }

    /// Does it, as often as it takes.
    #[track_caller]
    fn insist<T>(&mut self, mut act: impl FnMut(&mut Self) -> Result<T, Lost>) -> T {
        let begin = Instant::now();
        loop {
            assert!(begin.elapsed() < DEADLINE, "{} was thrown out {} times", self.name, self.hits);
            let there = if self.session.is_none() { self.log_in() } else { Ok(()) };
            match there.and_then(|()| act(self)) {
                Ok(done) => return done,
                Err(Lost) => (self.session, self.hits) = (None, self.hits + 1),
            }
        }
    }

    /// The value of its key must be one of these.
    fn check(&mut self, values: &[usize]) {
        let (key, ask) = (self.name.clone(), format!("RETRIEVE {}\r\n", self.name));
        let answer = self.insist(|client| client.say(&ask).and_then(|()| client.line()));
        let right = values.iter().any(|value| answer == format!("RETRIEVED {key}={value}"));
        assert!(right, "{answer:?} instead of one of {values:?}");
    }

    /// Stores one value after the other, and sees each of them; whenever it has come back, what it saw last is there still.
    fn store_all(&mut self, enough: impl Fn(usize) -> bool) -> usize {
        let mut value = 0;
        while !enough(value) {
            if value.is_multiple_of(SESSION) {
                self.session = None;
            }
            let hits = self.hits;
            self.insist(|client| {
                if client.hits > hits && value > 0 {
                    let before = client.hits;
                    client.say(&format!("RETRIEVE {}\r\n", client.name))?;
                    let answer = client.line()?;
                    let is = |value| answer == format!("RETRIEVED {}={value}", client.name);
                    assert!(is(value) || is(value - 1), "{answer:?} after {value}, hit {before} times");
                }
                client.say(&format!("STORE {0}={value}\r\nRETRIEVE {0}\r\n", client.name))?;
                client.expect(&format!("RETRIEVED {}={value}", client.name))
            });
            value += 1;
        }
        value - 1
    }

    /// Sends one number after the other, until `enough` says so. Which of them the server has confirmed.
    fn number_all(&mut self, enough: impl Fn() -> bool) -> BTreeSet<usize> {
        let mut confirmed = BTreeSet::new();
        let mut number = 0;
        while !enough() {
            // What is lost may have been sent, or not: it is not sent again.
            let took = self.insist(|client| {
                number += 1;
                client.say(&format!("SET numbers={number}\r\nFLUSH {number}\r\n"))?;
                client.expect(&format!("FLUSHED {number}"))?;
                Ok(number)
            });
            confirmed.insert(took);
        }
        confirmed
    }

    /// What it hears until there is an end of it, by sessions.
    fn hear_all(&mut self) -> Vec<Vec<usize>> {
        let mut heard = Vec::new();
        self.insist(|client| {
            heard.push(Vec::new());
            client.say("LISTEN numbers\r\nFLUSH ready\r\n")?;
            client.expect("FLUSHED ready")?;
            loop {
                let line = client.line()?;
                let number = line.strip_prefix("SET numbers=").unwrap_or_else(|| panic!("{line:?}"));
                if number == "end" {
                    return Ok(());
                }
                heard.last_mut().expect("a session").push(number.parse::<usize>().expect("a number"));
            }
        });
        heard
    }
}

/// What was heard is in order, nothing twice, and in each session nothing is missing that was confirmed.
fn check_heard(heard: &[Vec<usize>], confirmed: &BTreeSet<usize>) {
    let all: Vec<usize> = heard.concat();
    assert!(all.is_sorted_by(|one, next| one < next), "out of order, or twice: {all:?}");
    for session in heard {
        let (Some(first), Some(last)) = (session.first(), session.last()) else { continue };
        let missing: Vec<_> =
            confirmed.range(first..=last).filter(|number| session.binary_search(number).is_err()).collect();
        assert!(missing.is_empty(), "{missing:?} are missing in {session:?}");
    }
}

fn descriptors(server: &Program) -> usize {
    fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count()
}

/// Lets these calls fail, now and then, while clients come, talk and go, until the server has said `text`. How often calls have failed,
/// and clients were thrown out; None if it can't be done here.
fn starve(calls: &str, error: &str, when: &str, text: &str) -> Option<(usize, usize)> {
    const MIB: u64 = 1 << 20;
    let stage = Stage::new("<persistanceinterval>1</persistanceinterval>");
    let server = stage.start("warn");
    // What is kept for the next ones is there from now on.
    for n in 0..20 {
        stage.client(&format!("first_{n}")).store_all(|value| value == 5);
    }
    stage
        .client("first")
        .insist(|client| client.say("FLUSH a\r\n").and_then(|()| client.expect("FLUSHED a")));
    let (open, used) = (descriptors(&server), memory(server.pid()));
    let faults = Faults::begin(&server, stage.folder.path(), calls, error, when)?;

    let (stored, said, over) = (AtomicUsize::new(0), AtomicBool::new(false), AtomicBool::new(false));
    let mut storers: Vec<_> = (0..STORERS).map(|n| stage.client(&format!("storer_{n}"))).collect();
    let (mut sender, mut listener) = (stage.client("sender"), stage.client("listener"));
    let begin = Instant::now();
    let in_time = || assert!(begin.elapsed() < 4 * DEADLINE, "{calls}: it takes too long");
    let (last, confirmed, heard) = thread::scope(|scope| {
        let storing: Vec<_> = storers
            .iter_mut()
            .map(|client| {
                let (stored, said) = (&stored, &said);
                scope.spawn(move || {
                    let last = client.store_all(|value| {
                        in_time();
                        value >= ROUNDS && said.load(Ordering::Relaxed)
                    });
                    stored.fetch_add(1, Ordering::Relaxed);
                    last
                })
            })
            .collect();
        let hearing = scope.spawn(|| {
            let heard = listener.hear_all();
            over.store(true, Ordering::Relaxed);
            heard
        });
        let sending = scope.spawn(|| {
            let all_stored = || stored.load(Ordering::Relaxed) == STORERS;
            let confirmed = sender.number_all(|| {
                in_time();
                all_stored()
            });
            // Who listens may just have been thrown out.
            while !over.load(Ordering::Relaxed) {
                in_time();
                sender.insist(|client| {
                    client.say("SET numbers=end\r\nFLUSH end\r\n").and_then(|()| client.expect("FLUSHED end"))
                });
            }
            confirmed
        });
        server.logs(text);
        said.store(true, Ordering::Relaxed);
        let last: Vec<usize> = storing.into_iter().map(|thread| thread.join().unwrap()).collect();
        (last, sending.join().unwrap(), hearing.join().unwrap())
    });
    check_heard(&heard, &confirmed);
    assert!(confirmed.len() > SESSION, "{calls}: only {} numbers were taken", confirmed.len());
    let hits = storers.iter().chain([&sender, &listener]).map(|client| client.hits).sum();
    let failed = faults.end(&stage);
    println!("{calls}: {failed} calls have failed with {error}, {hits} connections have ended for it");

    // There is memory again, and nothing is left of all that.
    for (client, last) in storers.iter_mut().zip(&last) {
        client.check(&[*last]);
        client.session = None;
    }
    (sender.session, listener.session) = (None, None);
    let mut client = stage.client("last");
    let begin = Instant::now();
    loop {
        client.insist(|client| client.say("FLUSH a\r\n").and_then(|()| client.expect("FLUSHED a")));
        let now = descriptors(&server);
        // This client's own, and one of the saver, which may just write.
        if now <= open + 2 {
            break;
        }
        assert!(begin.elapsed() < DEADLINE, "{calls}: {now} descriptors are open, {open} were");
    }
    let after = memory(server.pid());
    assert!(after < used + 4 * MIB, "{calls}: {used} bytes of memory became {after}");
    server.signal(Signal::SIGTERM);
    let ended = server.ended();
    assert_eq!(ended.status.code(), Some(0), "{calls}: {}", ended.stderr);
    assert!(!ended.stderr.contains("panicked"), "{calls}: {}", ended.stderr);

    // What was acknowledged is there.
    let server = stage.start("warn");
    for (client, last) in storers.iter_mut().zip(&last) {
        client.check(&[*last]);
    }
    drop(server);
    Some((failed, hits))
}

#[test]
fn a_call_that_fails_for_one_client_ends_that_one_and_no_other() {
    for (calls, error, when) in [
        ("recvmsg", "ENOMEM", "5+23"),
        ("sendto", "ENOMEM", "5+23"),
        ("sendto", "ENOBUFS", "5+23"),
        ("epoll_ctl", "ENOMEM", "3+4"),
    ] {
        let Some((failed, hits)) = starve(calls, error, when, "") else { return };
        assert!(failed >= 5 && hits > 0 && hits <= failed, "{calls}: {hits} hits, {failed} failures");
    }
}

#[test]
fn a_call_that_fails_for_all_clients_ends_none() {
    for (calls, error, text) in [
        ("accept4", "ENOMEM", "can't accept, rests for"),
        ("accept4", "ENOBUFS", "can't accept, rests for"),
        ("epoll_wait", "ENOMEM", "no memory for waiting"),
    ] {
        let Some((failed, hits)) = starve(calls, error, "2+3", text) else { return };
        assert!(failed >= 5 && hits == 0, "{calls}: {hits} hits, {failed} failures");
    }
}

#[test]
fn a_call_that_is_of_no_consequence_ends_none() {
    let calls = "getsockopt,getsockname,getpeername,shutdown,read";
    let Some((failed, hits)) = starve(calls, "ENOMEM", "1+2", "") else { return };
    assert!(failed >= 5 && hits == 0, "{hits} hits, {failed} failures");
}

#[test]
fn a_disk_for_which_there_is_no_memory_ends_no_client_and_heals() {
    for calls in [
        "openat",
        "write,pwrite64,writev",
        "fsync,fdatasync",
        "rename,renameat,renameat2,link,linkat,unlink,unlinkat",
    ] {
        let Some((failed, hits)) = starve(calls, "ENOMEM", "1+2", "Cannot allocate memory") else { return };
        assert!(failed > 0 && hits == 0, "{calls}: {hits} hits, {failed} failures");
    }
}

/// A slave whose attempts to reach its master fail for it finds that all the same.
fn check_link(calls: &str) {
    let above = Stage::new("");
    let below = Stage::new(&format!(
        "<interclacksreconnecttimeout>0</interclacksreconnecttimeout>\
         <master><socket>{}</socket></master>",
        above.socket().display()
    ));
    let slave = below.start("info");
    slave.logs("can't connect to");
    let Some(faults) = Faults::begin(&slave, below.folder.path(), calls, "ENOMEM", "1+2") else { return };
    let master = above.start("warn");
    slave.logs("linked, is this server's master");
    assert!(faults.end(&below) > 0, "no {calls} has failed");
    let mut client = above.client("above");
    let last = client.store_all(|value| value == 5);
    let begin = Instant::now();
    let (mut client, wanted) = (below.client("above"), format!("RETRIEVED above={last}"));
    while client.insist(|client| client.say("RETRIEVE above\r\n").and_then(|()| client.line())) != wanted {
        assert!(begin.elapsed() < DEADLINE, "what the master has does not come");
    }
    for server in [slave, master] {
        server.signal(Signal::SIGTERM);
        let ended = server.ended();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    }
}

#[test]
fn a_link_for_whose_socket_there_is_no_memory_is_made_later() {
    check_link("socket");
}

#[test]
fn a_link_that_can_not_be_made_for_want_of_memory_is_made_later() {
    check_link("connect");
}
