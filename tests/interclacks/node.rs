//! A server on a thread of the test, which may be the slave of another one.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use eventdispatcher::connections::clacks::{
    Entry, Permissions, Server, ServerLimits, Settings, Store, Uplink, Users,
};
#[cfg(feature = "tls")]
use eventdispatcher::tls::TlsServer;
use eventdispatcher::{Communicator, Remote, UnixBind};
use tempfile::TempDir;

use crate::support::{Client, DEADLINE, show};

/// A lost master is tried again after.
const RETRY: Duration = Duration::from_millis(20);

/// How a server is to be.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) master: Option<PathBuf>,
    /// Made on the server's thread.
    pub(crate) uplink: Option<Box<dyn FnOnce() -> Uplink + Send>>,
    /// It also listens with TLS, with this certificate and its key.
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<(String, String)>,
    pub(crate) settings: Settings,
    pub(crate) limits: ServerLimits,
    /// By how many seconds its clock is wrong.
    pub(crate) clock: f64,
    /// So many entries, `key0000000` and so on.
    pub(crate) entries: usize,
}

impl Plan {
    pub(crate) fn slave_of(master: &Path) -> Self {
        Self { master: Some(master.to_owned()), ..Self::default() }
    }

    pub(crate) fn clock(mut self, seconds: f64) -> Self {
        self.clock = seconds;
        self
    }
}

/// A place for a server, which may come and go.
pub(crate) struct Node {
    folder: TempDir,
    running: Option<(Remote, JoinHandle<()>)>,
    /// Where it listens with TLS.
    pub(crate) port: Option<u16>,
}

impl Node {
    pub(crate) fn new() -> Self {
        Self { folder: TempDir::new().expect("a temporary folder can be made"), running: None, port: None }
    }

    pub(crate) fn running(plan: Plan) -> Self {
        let mut node = Self::new();
        node.start(plan);
        node
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("clacks.sock")
    }

    /// Starts a server with an empty cache.
    pub(crate) fn start(&mut self, plan: Plan) {
        assert!(self.running.is_none(), "it runs already");
        let socket = self.socket();
        let (tell, started) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut users = Users::default();
            users.add("admin", "adminpass", Permissions::ALL);
            users.add("rwuser", "rwpass", Permissions::READ.with(Permissions::WRITE));
            let communicator = Communicator::new().expect("there is a poll");
            let mut store = Store::new(None);
            for n in 0..plan.entries {
                store.load(
                    format!("key{n:07}").as_bytes(),
                    Entry::new(b"a value that is neither short nor long".to_vec(), 1.0 + n as f64, 0.0),
                );
            }
            let server = Server::start(&communicator, plan.settings, plan.limits, users, store);
            server.simulate_time_offset(plan.clock);
            server.listen_unix(&communicator, UnixBind::new(socket)).expect("the socket is free");
            #[cfg(feature = "tls")]
            let port = plan.tls.map(|(certificate, key)| {
                let tls = TlsServer::builder().certificate_pem(certificate, key).build();
                let tls = tls.expect("the certificate can be used");
                let address = "127.0.0.1:0".parse().expect("an address");
                let listening = server.listen_tls(&communicator, address, &tls);
                listening.expect("a port is free").address().port()
            });
            #[cfg(not(feature = "tls"))]
            let port = None;
            let uplink = plan.uplink.map(|make| make()).or_else(|| plan.master.map(Uplink::unix));
            if let Some(uplink) = uplink {
                server.link_to_master(&communicator, uplink.retry(RETRY, RETRY));
            }
            let remote = communicator.remote().expect("the poll can be woken");
            tell.send((remote, port)).expect("the test waits");
            communicator.run().expect("the poll works");
        });
        let (remote, port) = started.recv_timeout(DEADLINE).expect("the server starts");
        self.port = port;
        self.running = Some((remote, thread));
    }

    /// Ends the server without a word to anybody.
    pub(crate) fn kill(&mut self) {
        if let Some((remote, thread)) = self.running.take() {
            // It may have ended by itself.
            let _ = remote.post(Communicator::stop);
            thread.join().expect("the server ends without a panic");
        }
    }

    pub(crate) fn join(&self, name: &str) -> User {
        let mut client = Client::connect(&self.socket()).expect("the server takes a client");
        client.log_in(name, "admin").expect("admin may log in");
        User(client)
    }

    /// Waits until so many links are up; caches may still be on their way.
    #[track_caller]
    pub(crate) fn wait_for_links(&self, links: usize) {
        let mut user = self.join("links");
        let deadline = Instant::now() + DEADLINE;
        loop {
            user.0.send(b"CLIENTLIST\r\n").expect("the server reads");
            let list = user.0.drain().expect("the server answers");
            let is_link = |line: &&Vec<u8>| String::from_utf8_lossy(line).contains(";INTERCLACKS=1;");
            if list.iter().filter(is_link).count() == links {
                return;
            }
            assert!(Instant::now() < deadline, "there are not {links} links");
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some((remote, thread)) = self.running.take() {
            let _ = remote.post(Communicator::stop);
            let _ = thread.join();
        }
    }
}

/// A client that fails the test when it does not get what it must.
pub(crate) struct User(pub(crate) Client);

impl User {
    /// Sends a line, and waits until it has had its effect on this server.
    #[track_caller]
    pub(crate) fn say(&mut self, line: &str) {
        self.0.send(format!("{line}\r\n").as_bytes()).expect("the server reads");
        self.0.drain().expect("the server answers");
    }

    #[track_caller]
    pub(crate) fn send(&mut self, line: &str) {
        self.0.send(format!("{line}\r\n").as_bytes()).expect("the server reads");
    }

    #[track_caller]
    pub(crate) fn gets(&mut self, wanted: &str) {
        let line = self.0.line().expect("a line comes").unwrap_or_else(|| b"<EOF>".to_vec());
        assert!(line == wanted.as_bytes(), "{} came instead of {wanted:?}", show(&line));
    }

    /// Waits for a line with `text` in it.
    #[track_caller]
    pub(crate) fn gets_with(&mut self, text: &str) -> String {
        loop {
            let line = self.0.line().expect("a line comes").expect("the server lives");
            let line = String::from_utf8_lossy(&line).into_owned();
            if line.contains(text) {
                return line;
            }
        }
    }

    #[track_caller]
    pub(crate) fn value(&mut self, key: &str) -> Option<String> {
        self.0.send(format!("RETRIEVE {key}\r\n").as_bytes()).expect("the server reads");
        let line = self.0.line().expect("a line comes").expect("the server lives");
        let line = String::from_utf8_lossy(&line).into_owned();
        line.strip_prefix(&format!("RETRIEVED {key}=")).map(str::to_owned)
    }

    /// Waits until the key has this value.
    #[track_caller]
    pub(crate) fn waits_for(&mut self, key: &str, value: Option<&str>) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let found = self.value(key);
            if found.as_deref() == value {
                return;
            }
            assert!(Instant::now() < deadline, "{key} is {found:?} and not {value:?}");
        }
    }
}
