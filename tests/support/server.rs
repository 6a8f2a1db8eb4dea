//! A clacks server on a thread of the test.

use eventdispatcher::connections::clacks::client::{BlockingClient, ClientOptions, Event};
use eventdispatcher::connections::clacks::credentials::{Password, PrivateFolder, default_user};
use eventdispatcher::connections::clacks::{Permissions, Server, ServerLimits, Settings, Store, Users};
use eventdispatcher::{Communicator, Remote, UnixBind};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tempfile::TempDir;

/// How long to wait for what must come, on the slowest machine.
const DEADLINE: Duration = Duration::from_secs(20);

/// The password of all users but the one of the private folder.
pub(crate) const PASSWORD: &str = "secret";

/// A server whose users are `admin`, `reader` (read only), and the process's own with the password in the private folder.
/// Its socket is the one of the private folder. It ends with this value.
pub(crate) struct TestServer {
    runtime: TempDir,
    remote: Remote,
    thread: Option<JoinHandle<()>>,
}

impl TestServer {
    pub(crate) fn start() -> Self {
        let runtime = TempDir::new().expect("a temporary folder can be made");
        let folder =
            PrivateFolder::create(runtime.path().join("clacks")).expect("a private folder can be made");
        let password = folder.password_or_new().expect("a password can be made");
        let (tell, remote) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut users = Users::default();
            users.add("admin", PASSWORD, Permissions::ALL);
            users.add("reader", PASSWORD, Permissions::READ);
            users.add(&default_user(), password.expose(), Permissions::ALL);
            let communicator = Communicator::new().expect("there is a poll");
            let settings = Settings::default();
            let server =
                Server::start(&communicator, settings, ServerLimits::default(), users, Store::new(None));
            let bind = UnixBind::new(folder.socket()).mode(0o600);
            server.listen_unix(&communicator, bind).expect("the socket is free");
            tell.send(communicator.remote().expect("the poll can be woken")).expect("the test waits");
            communicator.run().expect("the poll works");
        });
        let remote = remote.recv_timeout(DEADLINE).expect("the server starts");
        Self { runtime, remote, thread: Some(thread) }
    }

    /// What `XDG_RUNTIME_DIR` is for programs that are to find the server by themselves.
    pub(crate) fn runtime_folder(&self) -> &Path {
        self.runtime.path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.runtime.path().join("clacks/clacks.sock")
    }

    /// A client of the test's own.
    pub(crate) fn client(&self) -> BlockingClient {
        let options = ClientOptions::new().socket(self.socket()).user("admin").named("the test");
        let options = options.password(Password::new(PASSWORD)).timeout(DEADLINE);
        options.connect_blocking().expect("the server takes a client")
    }

    /// A client that sees what all others do.
    pub(crate) fn monitor(&self) -> Monitor {
        let mut client = self.client();
        client.monitor(true).expect("admin may monitor");
        let mut monitor = Monitor(client);
        // It sees the line that makes it one.
        monitor.wait_for("MONITOR");
        monitor
    }

    /// Ends the server without a word to its clients, as a power cut does.
    pub(crate) fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.remote.post(Communicator::stop);
        self.join();
    }

    /// Waits until the server has ended.
    pub(crate) fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server ends without a panic");
        }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let _ = self.remote.post(Communicator::stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Waits for what other clients send.
pub(crate) struct Monitor(BlockingClient);

impl Monitor {
    /// Waits until somebody has sent `line`, and gives the CID of who it was.
    pub(crate) fn wait_for(&mut self, line: &str) -> String {
        loop {
            match self.0.next_event(DEADLINE).expect("the server lives") {
                Some(Event::Debug { host, command }) if command == line.as_bytes() => {
                    return String::from_utf8(host).expect("a CID is text");
                }
                Some(_) => {}
                None => panic!("nobody sends {line:?}"),
            }
        }
    }
}
