//! What is large must stall nobody: a clacks server with a million entries is asked for what concerns all of them, and it is measured how
//! long its loop is busy without looking at anybody else, in time of its own processor, so that other work on the machine does not count.
//!
//! `cargo bench --bench stalls -- --entries 1000000`; it fails if a turn takes longer than 10 ms. `--test` takes few entries.

use eventdispatcher::connections::clacks::client::{BlockingClient, Login};
use eventdispatcher::connections::clacks::{
    Permissions, Server, ServerLimits, Settings, Store, Uplink, Users,
};
use eventdispatcher::{Communicator, Remote, UnixBind};
use nix::time::{ClockId, clock_gettime};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// No turn may take longer.
const LONGEST: Duration = Duration::from_millis(10);
const DEADLINE: Duration = Duration::from_secs(120);
/// So many entries are stored at a time.
const BATCH: usize = 10_000;
/// So long is the line of somebody who has not logged in: a little less than is allowed.
const LINE: usize = 60_000;
/// So many clients are listed.
const CLIENTS: usize = 1000;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("stalls: a turn took longer than {LONGEST:?}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("stalls: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Says whether no turn was too long.
fn run() -> Result<bool> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_test = arguments.iter().any(|argument| argument == "--test");
    let entries = match arguments.iter().position(|argument| argument == "--entries") {
        Some(at) => arguments.get(at + 1).ok_or("--entries: how many?")?.parse()?,
        None if is_test => 5000,
        None => 1_000_000,
    };
    let folder = tempfile::tempdir()?;
    let server = Running::start(folder.path().join("master"), None)?;
    let mut client = server.client()?;
    println!("| with {entries} entries | took | longest turn |\n| --- | ---: | ---: |");
    let mut is_good = true;
    let mut measure = |what: &str, done: &mut dyn FnMut() -> Result<()>| -> Result<()> {
        server.longest.store(0, Ordering::Relaxed);
        let begin = Instant::now();
        done()?;
        let longest = Duration::from_nanos(server.longest.load(Ordering::Relaxed));
        println!("| {what} | {:.0?} | {:.1} ms |", begin.elapsed(), longest.as_secs_f64() * 1e3);
        is_good &= longest <= LONGEST || is_test;
        Ok(())
    };

    measure("`STORE` of all", &mut || fill(&mut client, entries))?;
    measure("`KEYLIST`", &mut || wanted(client.key_list()?.len(), entries))?;
    measure("sync with a new slave", &mut || {
        let slave = Running::start(folder.path().join("slave"), Some(&server.socket))?;
        let mut below = slave.client()?;
        let end = Instant::now() + DEADLINE;
        while below.retrieve(key(entries - 1).as_bytes())?.is_none() {
            if Instant::now() > end {
                return Err("the slave does not get all".into());
            }
        }
        slave.stop()
    })?;
    measure("`REMOVE` of all", &mut || {
        for first in (0..entries).step_by(BATCH) {
            for n in first..entries.min(first + BATCH) {
                client.send_raw(format!("REMOVE {}", key(n)).as_bytes())?;
            }
            client.flush()?;
        }
        Ok(())
    })?;
    measure("`KEYLIST` of tombstones", &mut || wanted(client.key_list()?.len(), 0))?;
    measure("`STORE` of all again", &mut || fill(&mut client, entries))?;
    measure("`CLEARCACHE`", &mut || {
        client.clear_cache()?;
        // It is freed meanwhile.
        for _ in 0..entries / 500 + 100 {
            client.flush()?;
        }
        Ok(())
    })?;
    measure("`CLEARCACHE` and `STORE` of all", &mut || {
        fill(&mut client, entries)?;
        client.clear_cache()?;
        fill(&mut client, entries)
    })?;
    let others: Vec<_> = (0..CLIENTS).map(|_| server.client()).collect::<Result<_>>()?;
    measure(&format!("`CLIENTLIST` of {CLIENTS}"), &mut || wanted(client.client_list()?.len(), CLIENTS + 1))?;
    drop(others);
    measure("a line of a stranger, a byte at a time", &mut || {
        (0..10).try_for_each(|_| trickle(&server.socket))
    })?;
    server.stop()?;
    Ok(is_good)
}

fn key(n: usize) -> String {
    format!("key{n:07}")
}

fn fill(client: &mut BlockingClient, entries: usize) -> Result<()> {
    for first in (0..entries).step_by(BATCH) {
        let batch =
            (first..entries.min(first + BATCH)).map(|n| (key(n), "a value that is neither short nor long"));
        client.store_many(batch)?;
    }
    Ok(())
}

/// Sends a long line in packets of a byte each, as fast as they are taken: whoever reads finds one more each time.
fn trickle(socket: &Path) -> Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    for _ in 0..LINE {
        stream.write_all(b"x")?;
    }
    Ok(())
}

fn wanted(got: usize, wanted: usize) -> Result<()> {
    if got == wanted { Ok(()) } else { Err(format!("{got} instead of {wanted}").into()) }
}

/// A server on a thread.
struct Running {
    socket: PathBuf,
    /// The longest turn, in nanoseconds of its processor.
    longest: Arc<AtomicU64>,
    remote: Remote,
    thread: JoinHandle<()>,
}

impl Running {
    fn start(socket: PathBuf, master: Option<&Path>) -> Result<Self> {
        let longest = Arc::new(AtomicU64::new(0));
        let (tell, started) = mpsc::channel();
        let (path, noted, master) = (socket.clone(), longest.clone(), master.map(Path::to_owned));
        let thread = thread::spawn(move || match serve(&path, master, noted) {
            Ok((communicator, remote)) => {
                // Who waits for it may be gone.
                let _ = tell.send(Ok(remote));
                if let Err(error) = communicator.run() {
                    eprintln!("stalls: {error}");
                }
            }
            Err(error) => drop(tell.send(Err(error.to_string()))),
        });
        let remote = started.recv()??;
        Ok(Self { socket, longest, remote, thread })
    }

    fn client(&self) -> Result<BlockingClient> {
        let mut client = BlockingClient::connect_unix(&self.socket, &Login::new("admin", "secret"))?;
        client.set_timeout(DEADLINE);
        Ok(client)
    }

    fn stop(self) -> Result<()> {
        self.remote.post(Communicator::stop)?;
        self.thread.join().map_err(|_| "the server has panicked")?;
        Ok(())
    }
}

fn serve(path: &Path, master: Option<PathBuf>, longest: Arc<AtomicU64>) -> Result<(Communicator, Remote)> {
    let mut users = Users::default();
    users.add("admin", "secret", Permissions::ALL);
    let communicator = Communicator::new()?;
    let limits = ServerLimits::default();
    let server = Server::start(&communicator, Settings::default(), limits, users, Store::new(None));
    server.listen_unix(&communicator, UnixBind::new(path))?;
    if let Some(master) = master {
        server.link_to_master(&communicator, Uplink::unix(master));
    }
    let mut before = processor_time();
    communicator.before_writes(move |_| {
        let now = processor_time();
        longest.fetch_max((now.saturating_sub(before)).as_nanos() as u64, Ordering::Relaxed);
        before = now;
    });
    let remote = communicator.remote()?;
    Ok((communicator, remote))
}

/// What this thread has used.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}
