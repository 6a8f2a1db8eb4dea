//! clacksd while nothing happens, and when it ends though somebody does not want it to: what takes ten seconds to see.
#![cfg(all(feature = "clacks", feature = "cli"))]

mod support;

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use support::Client;
use support::daemon::{Program, command, status};
use support::talk::{check_lines, clacksd};

const CLACKSD: Option<&str> = option_env!("CARGO_BIN_EXE_clacksd");

const CLIENTS: usize = 100;
const WINDOW: Duration = Duration::from_secs(10);

/// What a process has used until now.
#[derive(Debug, Clone, Copy)]
struct Used {
    /// How often one of its threads has waited for something: it was woken as often.
    waits: u64,
    /// Time on a processor, in hundredths of a second.
    ticks: u64,
}

impl Used {
    fn by(pid: u32) -> Self {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(|task| task.unwrap().path());
        let waits =
            tasks.map(|task| status(&format!("{}/status", task.display()), "voluntary_ctxt_switches"));
        let waits = waits.sum();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        // The name, in parentheses, may have spaces; utime and stime are the fields 14 and 15.
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let ticks =
            fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
        Self { waits, ticks }
    }
}

/// What 100 idle clients make the server do in ten seconds: at most so many wake-ups, in so much time.
#[track_caller]
fn check(settings: &str, wake_ups_max: u64, ticks_max: u64) {
    let mut server = clacksd(settings);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.join("idle", "rw").unwrap()).collect();
    for client in &mut clients {
        client.send(b"LISTEN a\r\nNOPING\r\n").unwrap();
        client.barrier().unwrap();
    }
    let before = Used::by(server.pid());
    assert!(clients[0].is_silent_for(WINDOW).unwrap(), "the server has closed");
    let after = Used::by(server.pid());
    let (wake_ups, ticks) = (after.waits - before.waits, after.ticks - before.ticks);
    println!("{settings}: {wake_ups} wake-ups, {ticks} hundredths of a second in {WINDOW:?}");
    assert!(wake_ups <= wake_ups_max, "{wake_ups} wake-ups, {wake_ups_max} are explained");
    assert!(ticks <= ticks_max, "{ticks} hundredths of a second, {ticks_max} are explained");
    for client in &mut clients {
        client.barrier().unwrap();
    }
}

#[test]
fn only_timers_that_are_due_wake_it() {
    thread::scope(|scope| {
        // Nothing is due in the first minute. To fall asleep after the last command counts as one, and what
        // the system does on its own may add a few.
        scope.spawn(|| check("<authtimeout>60</authtimeout>", 4, 1));
        // Each client is looked at when its login was due, and the cache each second: 100 + 10, and some.
        let settings = "<authtimeout>3</authtimeout><cachecleaninterval>1</cachecleaninterval>";
        scope.spawn(|| check(settings, 115, 10));
    });
}

/// A server of which the end can be waited for, and a client of it.
struct Ending {
    server: Program,
    folder: TempDir,
    witness: Client,
}

impl Ending {
    #[track_caller]
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("secret"), "adminpass\n").unwrap();
        let mut command = command(CLACKSD.expect("cargo builds clacksd before it runs this test"));
        command.args(["--socket", "s", "--user", "admin:secret"]).current_dir(folder.path());
        let server = Program::start(&mut command);
        server.says("try: ");
        let witness = Self::client(&folder);
        Self { server, folder, witness }
    }

    #[track_caller]
    fn client(folder: &TempDir) -> Client {
        let mut client = Client::connect(&folder.path().join("s")).unwrap();
        client.log_in("client", "admin").unwrap();
        client
    }

    /// Asks for its end, and waits until it has begun.
    #[track_caller]
    fn begin(&mut self) {
        self.server.signal(Signal::SIGTERM);
        check_lines(&mut self.witness, &["", "QUIT", "<EOF>"]);
    }

    /// Waits for its orderly end.
    #[track_caller]
    fn check(self) {
        let ended = self.server.ended();
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        assert!(ended.stderr.ends_with("ended in order\n"), "{ended:?}");
    }
}

#[test]
fn its_end_does_not_wait_for_ever_for_who_does_not_read() {
    let mut ending = Ending::start();
    let mut deaf = Ending::client(&ending.folder);
    let value = "x".repeat(1 << 20);
    deaf.send(format!("STORE a={value}\r\nRETRIEVE a\r\n").as_bytes()).unwrap();
    // Its answer is queued before this one.
    ending.witness.send(b"RETRIEVE a\r\n").unwrap();
    check_lines(&mut ending.witness, &[&format!("RETRIEVED a={value}")]);
    let begin = Instant::now();
    ending.begin();
    ending.check();
    assert!(begin.elapsed() >= Duration::from_secs(9), "it waited for {:?} only", begin.elapsed());
    drop(deaf);
}

#[test]
fn its_end_waits_for_who_reads_slowly() {
    let mut ending = Ending::start();
    let mut slow = Ending::client(&ending.folder);
    let keys: String = (0..10_000).map(|n| format!("STORE key{n:05}{}=\r\n", "x".repeat(100))).collect();
    slow.send(keys.as_bytes()).unwrap();
    // A long list of which a part is queued.
    slow.send(b"KEYLIST\r\nFLUSH never\r\n").unwrap();
    check_lines(&mut slow, &["KEYLISTSTART"]);
    ending.begin();
    // What was queued comes, then the goodbye.
    let mut listed = 0;
    loop {
        let line = slow.line().unwrap().expect("a goodbye comes first");
        if line.is_empty() {
            break;
        }
        assert!(line.starts_with(format!("KEY key{listed:05}").as_bytes()));
        listed += 1;
    }
    assert!((1000..10_000).contains(&listed), "{listed} keys");
    check_lines(&mut slow, &["QUIT", "<EOF>"]);
    ending.check();
}
