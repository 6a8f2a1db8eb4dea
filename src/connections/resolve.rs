//! Names are resolved on threads of their own: the system's resolver blocks.

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;

/// So many names are being resolved at once in the whole process; the next ones wait.
const MOST_THREADS: usize = 8;
/// So many wait at most.
const MOST_WAITING: usize = 4096;

/// A name whose addresses are being looked for. Dropping it gives up: it is not begun any more if it has not been.
pub(super) struct Lookup(Arc<Place>);

/// Where the result is put, and what tells that it is there.
struct Place {
    event: EventFd,
    result: Mutex<Option<io::Result<Vec<SocketAddr>>>>,
}

impl Lookup {
    /// Begins to look for the addresses of `host`, and gives each `port`.
    pub(super) fn begin(host: &str, port: u16) -> io::Result<Self> {
        let event = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        let place = Arc::new(Place { event, result: Mutex::new(None) });
        let job = Job { host: host.to_owned(), port, place: Arc::downgrade(&place) };
        Pool::take(job)?;
        Ok(Self(place))
    }

    /// The result, once, when it is there.
    pub(super) fn take(&self) -> Option<io::Result<Vec<SocketAddr>>> {
        let _ = self.0.event.read();
        lock(&self.0.result).take()
    }
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lookup")
    }
}

/// Ready when the result is there.
impl Source for Lookup {
    fn register(&mut self, registry: &Registry, token: Token, _: Interest) -> io::Result<()> {
        SourceFd(&self.0.event.as_fd().as_raw_fd()).register(registry, token, Interest::READABLE)
    }
    fn reregister(&mut self, _: &Registry, _: Token, _: Interest) -> io::Result<()> {
        Ok(())
    }
    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.0.event.as_fd().as_raw_fd()).deregister(registry)
    }
}

struct Job {
    host: String,
    port: u16,
    /// Gone when nobody wants to know any more.
    place: Weak<Place>,
}

impl Job {
    fn is_wanted(&self) -> bool {
        self.place.strong_count() > 0
    }

    fn run(self) {
        if !self.is_wanted() {
            return;
        }
        let found = (self.host.as_str(), self.port).to_socket_addrs().map(Vec::from_iter);
        if let Some(place) = self.place.upgrade() {
            *lock(&place.result) = Some(found);
            let _ = place.event.write(1);
        }
    }
}

/// The threads of the process, and what waits for them. A thread ends when nothing waits.
struct Pool {
    waiting: VecDeque<Job>,
    threads: usize,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { waiting: VecDeque::new(), threads: 0 });

impl Pool {
    fn take(job: Job) -> io::Result<()> {
        let mut pool = lock(&POOL);
        if pool.waiting.len() >= MOST_WAITING {
            pool.waiting.retain(Job::is_wanted);
        }
        if pool.waiting.len() >= MOST_WAITING {
            let text = format!("{MOST_WAITING} names wait already to be resolved");
            return Err(io::Error::new(ErrorKind::ResourceBusy, text));
        }
        pool.waiting.push_back(job);
        if pool.threads < MOST_THREADS {
            match thread::Builder::new().name("resolver".into()).spawn(Self::work) {
                Ok(_) => pool.threads += 1,
                // Another one will come to it.
                Err(_) if pool.threads > 0 => {}
                Err(error) => {
                    pool.waiting.pop_back();
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn work() {
        loop {
            let mut pool = lock(&POOL);
            let Some(job) = pool.waiting.pop_front() else {
                pool.threads -= 1;
                return;
            };
            drop(pool);
            job.run();
        }
    }
}

/// What is inside is whole even if a thread has panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
