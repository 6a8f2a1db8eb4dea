//! clacksd is killed, at any moment, again and again: what it has acknowledged is there, and nothing is half.
#![cfg(all(feature = "clacks", feature = "cli"))]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use eventdispatcher::connections::clacks::token;
use nix::sys::signal::Signal;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tempfile::TempDir;

use support::Client;
use support::daemon::{Program, command};

const CLACKSD: Option<&str> = option_env!("CARGO_BIN_EXE_clacksd");
/// As many keys are written, one after the other.
const KEYS: u64 = 40;
/// As many stores stand before a flush.
const BATCH: u64 = 5;

struct Stage {
    folder: TempDir,
    random: u64,
}

impl Stage {
    fn new(settings: &str, seed: u64) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let text = format!(
            "<clacks><socket>s</socket><username>u</username><password>p</password>\
             <persistancefile>cache.dat</persistancefile>{settings}</clacks>"
        );
        fs::write(folder.path().join("c.xml"), text).unwrap();
        Self { folder, random: seed }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % limit
    }

    fn start(&self, mut command: Command) -> (Program, Client) {
        let server = Program::start(command.current_dir(self.folder.path()));
        server.says("clacksd: listening on s\n");
        let mut client = Client::connect(&self.folder.path().join("s")).unwrap();
        client.send(format!("OVERHEAD A {}\r\n", token("u", "p")).as_bytes()).unwrap();
        while line(&mut client) != "OVERHEAD O Welcome!" {}
        (server, client)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }
}

fn plain() -> Command {
    let mut command = command(CLACKSD.expect("cargo builds clacksd before it runs this test"));
    command.arg("c.xml");
    command
}

fn line(client: &mut Client) -> String {
    String::from_utf8(client.line().unwrap().expect("the server is there")).unwrap()
}

/// What is stored as the `n`th value: it can be seen whether all of it is there.
fn value(n: u64) -> String {
    format!("{n}:{}:end", "x".repeat((n * 37 % 3000) as usize))
}

/// The batch that begins with the `first` store, and asks whether it was taken.
fn batch(first: u64) -> Vec<u8> {
    let mut text = String::new();
    for n in first..first + BATCH {
        text.push_str(&format!("STORE key {}={}\r\nINCREMENT count\r\n", n % KEYS, value(n)));
    }
    text.push_str(&format!("FLUSH {}\r\n", first + BATCH));
    text.into_bytes()
}

/// Looks at everything. `acknowledged` stores were, `sent` may have been taken; how many were.
#[track_caller]
fn check(client: &mut Client, acknowledged: u64, sent: u64) -> u64 {
    let mut ask = String::from("RETRIEVE count\r\n");
    (0..KEYS).for_each(|key| ask.push_str(&format!("RETRIEVE key {key}\r\n")));
    client.send(ask.as_bytes()).unwrap();
    let count = match line(client).strip_prefix("RETRIEVED count=") {
        Some(count) => count.parse().unwrap(),
        None => 0,
    };
    assert!(
        acknowledged <= count && count <= sent,
        "{acknowledged} acknowledged, {count} there, {sent} sent"
    );
    for key in 0..KEYS {
        // A turn is kept as a whole, but it may have had the store and not yet the increment behind it.
        let candidates = [count, count + 1].map(|count| (0..count).rev().find(|n| n % KEYS == key));
        let wanted = candidates.map(|n| match n {
            Some(n) => format!("RETRIEVED key {key}={}", value(n)),
            None => format!("NOTRETRIEVED key {key}"),
        });
        let got = line(client);
        assert!(wanted.contains(&got), "{count} there, {got:?}");
    }
    count
}

/// Kills servers while somebody writes; the next one must have what was acknowledged.
fn crash(settings: &str, rounds: usize, seed: u64) {
    let mut stage = Stage::new(settings, seed);
    let (mut acknowledged, mut sent) = (0, 0);
    for _ in 0..rounds {
        let (server, mut client) = stage.start(plain());
        let mut next = check(&mut client, acknowledged, sent);
        (acknowledged, sent) = (next, next);
        let batches = 1 + stage.below(60);
        // So many batches are on their way when it happens.
        let ahead = 1 + stage.below(8);
        for _ in 0..batches {
            while sent < next + ahead * BATCH {
                client.send(&batch(sent)).unwrap();
                sent += BATCH;
            }
            let flushed = line(&mut client);
            next += BATCH;
            assert_eq!(flushed, format!("FLUSHED {next}"));
            acknowledged = next;
        }
        server.signal(Signal::SIGKILL);
        server.ended();
    }
    let (server, mut client) = stage.start(plain());
    let count = check(&mut client, acknowledged, sent);
    // In order it ends without a journal: the file alone is what the next one has the same from.
    server.signal(Signal::SIGTERM);
    assert_eq!(server.ended().status.code(), Some(0));
    let names: Vec<_> =
        fs::read_dir(stage.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let mut names: Vec<_> = names.iter().map(|name| name.to_string_lossy()).collect();
    names.sort();
    assert_eq!(names, ["c.xml", "cache.dat", "cache.dat_bck", "cache.dat_lock"]);
    let (_server, mut client) = stage.start(plain());
    check(&mut client, count, count);
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    crash("", 70, 11);
}

#[test]
fn what_was_acknowledged_survives_a_kill_while_the_cache_is_saved() {
    crash("<persistanceinterval>0</persistanceinterval>", 70, 12);
}

#[test]
fn what_was_acknowledged_survives_a_kill_with_a_journal_that_is_always_on_the_disk() {
    crash("<journalsync>always</journalsync><persistanceinterval>0.3</persistanceinterval>", 40, 13);
}

#[test]
fn what_was_acknowledged_survives_a_kill_with_a_journal_that_the_system_writes() {
    crash("<journalsync>none</journalsync><persistanceinterval>0.2</persistanceinterval>", 40, 14);
}

/// A limit for the size of files is as good as a full disk: writes are short, and then fail.
#[test]
fn a_full_disk_stops_nothing_but_persistence_and_heals() {
    let stage = Stage::new("<persistanceinterval>0.2</persistanceinterval>", 15);
    let mut limited = command("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -S -f 40; exec \"$0\" c.xml", CLACKSD.unwrap()]);
    let (server, mut client) = stage.start(limited);
    let mut sent = 0;
    let mut write = |client: &mut Client, batches| {
        for _ in 0..batches {
            client.send(&batch(sent)).unwrap();
            sent += BATCH;
            assert_eq!(line(client), format!("FLUSHED {sent}"));
        }
        sent
    };
    // More than fits into any file.
    let before = write(&mut client, 40);
    let said = server.logs("CHANGES ARE NOT KEPT");
    assert!(said.contains("cache.dat"), "{said}");
    check(&mut client, before, before);
    let pid = Pid::from_raw(server.pid() as i32);
    prlimit(pid, Resource::Fsize, Rlimit { current: None, maximum: None }).unwrap();
    server.logs("the cache is kept again");
    let after = write(&mut client, 40);
    server.signal(Signal::SIGKILL);
    server.ended();
    let (_server, mut client) = stage.start(plain());
    check(&mut client, after, after);
}

#[test]
fn a_server_that_can_not_save_its_cache_says_so_and_fails() {
    let stage = Stage::new("<journal>0</journal>", 16);
    let mut limited = command("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\" c.xml", CLACKSD.unwrap()]);
    let (server, mut client) = stage.start(limited);
    client.send(&batch(0)).unwrap();
    client.send(&batch(BATCH)).unwrap();
    assert_eq!([line(&mut client), line(&mut client)], ["FLUSHED 5", "FLUSHED 10"]);
    server.signal(Signal::SIGTERM);
    let ended = server.ended();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains("CHANGES ARE NOT KEPT"), "{ended:?}");
    assert!(ended.stderr.contains("clacksd: the cache could not be saved"), "{ended:?}");
    assert!(!stage.path("cache.dat").exists() && !stage.path("cache.dat_").exists(), "nothing half is left");
}

/// Who copies the file after an orderly end, or lets another server read it, relies on its being everything.
#[test]
fn a_last_save_that_fails_is_no_orderly_end_though_nothing_is_lost() {
    let stage = Stage::new("", 18);
    let (server, mut client) = stage.start(plain());
    client.send(&batch(0)).unwrap();
    assert_eq!(line(&mut client), "FLUSHED 5");
    // Where the file would be written while it is.
    let in_the_way = stage.path("cache.dat_");
    fs::create_dir_all(in_the_way.join("something")).unwrap();
    server.signal(Signal::SIGTERM);
    let ended = server.ended();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains("clacksd: the last save failed: the persistence file misses"), "{ended:?}");
    fs::remove_dir_all(&in_the_way).unwrap();
    let (server, mut client) = stage.start(plain());
    check(&mut client, BATCH, BATCH);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.ended().status.code(), Some(0));
}

#[test]
fn a_file_of_the_reference_is_taken_over_and_one_that_is_damaged_is_set_aside() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/persistence");
    let stage = Stage::new("", 17);
    let ask = |client: &mut Client| {
        client.send(b"RETRIEVE alpha\r\nRETRIEVE counter\r\nRETRIEVE gone\r\n").unwrap();
        [line(client), line(client), line(client)]
    };
    let wanted = ["RETRIEVED alpha=hello world", "RETRIEVED counter=2.5", "NOTRETRIEVED gone"];
    for name in ["v3-small.dat", "old-18to21.dat", "old-22to23.dat"] {
        fs::copy(data.join(name), stage.path("cache.dat")).unwrap();
        let (server, mut client) = stage.start(plain());
        assert_eq!(ask(&mut client), wanted, "{name}");
        server.signal(Signal::SIGTERM);
        assert_eq!(server.ended().status.code(), Some(0));
        assert!(
            fs::read(stage.path("cache.dat")).unwrap().starts_with(b"\0CLACKSV3--- \nalpha: \n"),
            "{name}"
        );
    }
    fs::write(stage.path("cache.dat"), "\0CLACKSV3--- \nalpha: \n").unwrap();
    let (server, mut client) = stage.start(plain());
    server.logs("cache.dat is damaged: line 2: the end is missing");
    assert_eq!(ask(&mut client), wanted, "the backup is there");
    assert_eq!(fs::read(stage.path("cache.dat_refused")).unwrap(), b"\0CLACKSV3--- \nalpha: \n");
    assert_eq!(fs::read(stage.path("cache.dat")).unwrap(), fs::read(stage.path("cache.dat_bck")).unwrap());
    drop(server);
    fs::copy(data.join("old-before18.dat"), stage.path("cache.dat")).unwrap();
    let (server, _client) = stage.start(plain());
    server.logs("it is of a reference server before version 18");
}
