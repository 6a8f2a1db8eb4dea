//! A soak: two clacksd processes, one linked to the other, both keeping their caches, under a load that never stops: clients that
//! come and go, clients that are thrown out and come back by themselves, values that change, a link that is cut. Each minute it
//! prints memory, descriptors and latency; it fails when one of them grows.
//!
//! `cargo bench --bench soak -- --minutes 20`; without an argument 20 minutes. `--test` takes some seconds.

use eventdispatcher::connections::clacks::client::{BlockingClient, Client, ClientOptions, Event};
use eventdispatcher::connections::clacks::credentials::Password;
use eventdispatcher::{Communicator, Pauses, Reconnect};
use hdrhistogram::Histogram;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Keys that are used: the caches are full after a while, and grow no more.
const KEYS: u64 = 2000;
/// Lasting clients of each server.
const LASTING: usize = 10;
const DEADLINE: Duration = Duration::from_secs(60);

/// What may be added to the figures of the first measured minute: to memory a tenth and this many KiB, and descriptors.
const MORE_MEMORY: u64 = 4096;
const MORE_DESCRIPTORS: usize = 20;
/// The median of the latency in the last third may be so many times that of the first, and some milliseconds: other work on the
/// machine counts, too.
const MORE_LATENCY: f64 = 3.0;
const LATENCY_SLACK: Duration = Duration::from_millis(5);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let minutes = arguments.iter().position(|argument| argument == "--minutes");
    let minutes: u32 = match minutes {
        Some(at) => arguments.get(at + 1).ok_or("--minutes: how many?")?.parse()?,
        None => 20,
    };
    let (rounds, round) = if arguments.iter().any(|argument| argument == "--test") {
        (4, Duration::from_secs(1))
    } else {
        (minutes.max(3), Duration::from_secs(60))
    };
    soak(rounds, round)
}

/// A clacksd in a folder. It ends with this value.
struct Server {
    process: Child,
    socket: PathBuf,
}

impl Server {
    fn start(folder: &Path, name: &str, settings: &str) -> Result<Self> {
        let path = |what: &str| folder.join(format!("{name}.{what}"));
        let (file, socket) = (path("xml"), path("sock"));
        let text = format!(
            "<clacks><appname>{name}</appname><socket>{}</socket><username>admin</username><password>secret</password>\
             <persistancefile>{}</persistancefile><persistanceinterval>5</persistanceinterval>\
             <interclacksreconnecttimeout>0</interclacksreconnecttimeout>{settings}</clacks>",
            socket.display(),
            path("dat").display()
        );
        fs::write(&file, text)?;
        let log = fs::File::create(path("log"))?;
        let process = Command::new(env!("CARGO_BIN_EXE_clacksd"))
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let server = Self { process, socket };
        let begin = Instant::now();
        while server.client("waits").is_err() {
            if begin.elapsed() > DEADLINE {
                return Err(format!("{name} does not start: {}", fs::read_to_string(path("log"))?).into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    fn client(&self, name: &str) -> Result<BlockingClient> {
        Ok(options(&self.socket, name).connect_blocking()?)
    }

    /// In KiB.
    fn memory(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    fn descriptors(&self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.process.id()))?.count())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn options(socket: &Path, name: &str) -> ClientOptions {
    let options = ClientOptions::new().socket(socket).user("admin").password(Password::new("secret"));
    options.named(name).timeout(DEADLINE)
}

/// What the load counts, and when it ends.
struct Load {
    over: AtomicBool,
    logins: AtomicU64,
    commands: AtomicU64,
    cuts: AtomicU64,
    reconnects: AtomicU64,
    linked: AtomicU64,
    latency: Mutex<Histogram<u64>>,
}

impl Load {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

fn soak(rounds: u32, round: Duration) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let master = Server::start(folder.path(), "master", "")?;
    let link = format!("<master><socket>{}</socket></master>", master.socket.display());
    let slave = Server::start(folder.path(), "slave", &link)?;
    let load = Arc::new(Load {
        over: AtomicBool::new(false),
        logins: AtomicU64::new(0),
        commands: AtomicU64::new(0),
        cuts: AtomicU64::new(0),
        reconnects: AtomicU64::new(0),
        linked: AtomicU64::new(0),
        latency: Mutex::new(Histogram::new(3)?),
    });
    let start = |work: fn(&Load, &Path, &Path) -> Result<()>| -> JoinHandle<Result<()>> {
        let (load, here, there) = (load.clone(), master.socket.clone(), slave.socket.clone());
        thread::spawn(move || work(&load, &here, &there))
    };
    let workers = [start(come_and_go), start(change), start(last), start(cut), start(listen), start(measure)];

    println!(
        "minute  master KiB  fds  slave KiB  fds  latency p50, p99, max in µs   logins  commands  cuts  back  over the link"
    );
    let mut seen = Vec::new();
    for n in 1..=rounds {
        thread::sleep(round);
        let figures = (master.memory()?, master.descriptors()?, slave.memory()?, slave.descriptors()?);
        let latency = {
            let mut latency = load.latency.lock().unwrap_or_else(PoisonError::into_inner);
            let figures = (latency.value_at_quantile(0.5), latency.value_at_quantile(0.99), latency.max());
            latency.reset();
            figures
        };
        let take = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
        println!(
            "{n:6}  {:10}  {:3}  {:9}  {:3}  {:8} {:8} {:9}   {:6}  {:8}  {:4}  {:4}  {:6}",
            figures.0,
            figures.1,
            figures.2,
            figures.3,
            latency.0,
            latency.1,
            latency.2,
            take(&load.logins),
            take(&load.commands),
            take(&load.cuts),
            take(&load.reconnects),
            take(&load.linked),
        );
        seen.push((figures, latency));
        if let Some(worker) = workers.iter().position(JoinHandle::is_finished) {
            load.over.store(true, Ordering::Relaxed);
            let [one, two, three, four, five, six] = workers;
            let ended = [one, two, three, four, five, six].into_iter().nth(worker);
            let why = ended.map(JoinHandle::join);
            return Err(format!("a part of the load has ended: {why:?}").into());
        }
    }
    load.over.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.join().map_err(|_| "a part of the load has panicked")??;
    }
    judge(&seen)
}

type Figures = ((u64, usize, u64, usize), (u64, u64, u64));

/// # Errors
/// What has grown since the first third, in which everything gets its size.
fn judge(seen: &[Figures]) -> Result<()> {
    let third = seen.len() / 3;
    let (first, last) = (&seen[..=third], &seen[seen.len() - third.max(1)..]);
    let most = |of: &[Figures], which: fn(&Figures) -> u64| of.iter().map(which).max().unwrap_or(0);
    let least = |of: &[Figures], which: fn(&Figures) -> u64| of.iter().map(which).min().unwrap_or(0);
    type Which = fn(&Figures) -> u64;
    let memory: [(&str, Which); 2] = [("master", |seen| seen.0.0), ("slave", |seen| seen.0.2)];
    for (name, which) in memory {
        let (before, after) = (most(first, which), least(last, which));
        if after > before + before / 10 + MORE_MEMORY {
            return Err(format!("the memory of the {name} grows: {before} KiB, then {after} KiB").into());
        }
    }
    let descriptors: [(&str, Which); 2] =
        [("master", |seen| seen.0.1 as u64), ("slave", |seen| seen.0.3 as u64)];
    for (name, which) in descriptors {
        let (before, after) = (most(first, which), least(last, which));
        if after > before + MORE_DESCRIPTORS as u64 {
            return Err(format!("the descriptors of the {name} grow: {before}, then {after}").into());
        }
    }
    let (before, after) = (most(first, |seen| seen.1.0), least(last, |seen| seen.1.0));
    let bound = before as f64 * MORE_LATENCY + LATENCY_SLACK.as_micros() as f64;
    if after as f64 > bound {
        return Err(format!("the latency grows: {before} µs, then {after} µs").into());
    }
    println!("nothing grows");
    Ok(())
}

/// Clients that log in, do a little, and leave, in order or not.
fn come_and_go(load: &Load, here: &Path, there: &Path) -> Result<()> {
    for n in 0_u64.. {
        if !load.goes_on() {
            break;
        }
        let socket = if n % 2 == 0 { here } else { there };
        let mut client = options(socket, "guest").connect_blocking()?;
        client.listen(format!("topic {}", n % 50).as_bytes())?;
        client.retrieve(format!("key {}", n % KEYS).as_bytes())?;
        if n % 3 == 0 {
            client.close()?;
        }
        Load::count(&load.logins);
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Values of all lengths that change on the slave, are removed, and are counted.
fn change(load: &Load, _: &Path, there: &Path) -> Result<()> {
    let mut client = options(there, "writer").connect_blocking()?;
    for n in 0_u64.. {
        if !load.goes_on() {
            break;
        }
        let key = format!("key {}", n.wrapping_mul(7919) % KEYS);
        let value = "v".repeat((n % 400) as usize);
        match n % 10 {
            9 => client.remove(key.as_bytes())?,
            8 => client.increment(b"counter", None)?,
            _ => client.set_and_store(key.as_bytes(), value.as_bytes())?,
        }
        Load::count(&load.commands);
        if n % 20 == 19 {
            client.flush()?;
            client.ping()?;
            thread::sleep(Duration::from_millis(10));
        }
    }
    Ok(())
}

/// Clients that come back whenever they are thrown out.
fn last(load: &Load, here: &Path, there: &Path) -> Result<()> {
    let communicator = Communicator::new()?;
    let back = Arc::new(AtomicU64::new(0));
    for n in 0..2 * LASTING {
        let socket = if n % 2 == 0 { here } else { there };
        let pauses = Pauses::growing(Duration::from_millis(50), Duration::from_secs(2));
        let counter = back.clone();
        let handler = move |event: &Event, _: &Client| {
            if matches!(event, Event::Reconnected { .. }) {
                Load::count(&counter);
            }
            Ok(())
        };
        let client =
            options(socket, "lasting").connect_lasting(&communicator, Reconnect::new(pauses), handler)?;
        client.listen(b"steady")?;
    }
    while load.goes_on() {
        communicator.turn(Some(Duration::from_millis(200)))?;
        load.reconnects.fetch_add(back.swap(0, Ordering::Relaxed), Ordering::Relaxed);
    }
    Ok(())
}

/// Throws out those who come back, and now and then the slave.
fn cut(load: &Load, here: &Path, _: &Path) -> Result<()> {
    let mut client = options(here, "judge").connect_blocking()?;
    for n in 0_u64.. {
        if !load.goes_on() {
            break;
        }
        let is_link_due = n % 60 == 30;
        let clients = client.client_list()?;
        let found = clients.iter().filter(|client| match is_link_due {
            true => client.get("INTERCLACKS") == Some("1"),
            false => client.get("CLIENTINFO") == Some("lasting"),
        });
        let found: Vec<_> = found.filter_map(|client| client.get("CID")).collect();
        if let Some(cid) = found.get(n as usize % found.len().max(1)) {
            client.disconnect(cid.as_bytes())?;
            Load::count(&load.cuts);
        }
        client.ping()?;
        thread::sleep(Duration::from_millis(500));
    }
    Ok(())
}

/// Counts what comes over the link.
fn listen(load: &Load, here: &Path, _: &Path) -> Result<()> {
    let mut client = options(here, "ear").connect_blocking()?;
    for n in (0..KEYS).step_by(10) {
        client.listen(format!("key {n}").as_bytes())?;
    }
    let mut pinged = Instant::now();
    while load.goes_on() {
        if client.next_event(Duration::from_millis(200))?.is_some() {
            Load::count(&load.linked);
        }
        if pinged.elapsed() > Duration::from_secs(30) {
            client.ping()?;
            pinged = Instant::now();
        }
    }
    Ok(())
}

/// How long a signal takes from one client of the master to another, to whom it goes among others.
fn measure(load: &Load, here: &Path, _: &Path) -> Result<()> {
    let mut sender = options(here, "sender").connect_blocking()?;
    let mut listener = options(here, "listener").connect_blocking()?;
    listener.listen(b"steady")?;
    listener.flush()?;
    for n in 0_u64.. {
        if !load.goes_on() {
            break;
        }
        let begin = Instant::now();
        sender.set(b"steady", n.to_string().as_bytes())?;
        let heard = listener.next_event(DEADLINE)?;
        if !matches!(&heard, Some(Event::Set { value, .. }) if *value == n.to_string().into_bytes()) {
            return Err(format!("{heard:?} was heard instead of signal {n}").into());
        }
        let took = u64::try_from(begin.elapsed().as_micros())?;
        load.latency.lock().unwrap_or_else(PoisonError::into_inner).record(took.max(1))?;
        if n % 1000 == 0 {
            sender.ping()?;
            listener.ping()?;
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
