//! Clacks clients that last: over servers that are killed, refuse, fall silent and come back.
#![cfg(all(feature = "clacks", feature = "cli"))]

mod support;

use eventdispatcher::connections::clacks::client::{
    Client, ClientError, ClientHandler, ClientOptions, Event, Login,
};
use eventdispatcher::connections::clacks::credentials::{Password, PrivateFolder, default_user};
use eventdispatcher::{Away, Communicator, HandlerResult, Keep, Pauses, Reconnect, ToUnix};
use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};
use support::daemon::{Program, command};
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(20);
const CLACKSD: Option<&str> = option_env!("CARGO_BIN_EXE_clacksd");

/// Writes down what happens.
#[derive(Clone, Default)]
struct Seen(Rc<RefCell<Vec<String>>>);

impl Seen {
    fn say(&self, what: impl Into<String>) {
        self.0.borrow_mut().push(what.into());
    }
    fn count(&self, start: &str) -> usize {
        self.0.borrow().iter().filter(|line| line.starts_with(start)).count()
    }
    /// For the answer to a request.
    fn note<T: std::fmt::Debug>(
        &self,
        what: &str,
    ) -> impl FnOnce(Result<T, ClientError>, &Client) + use<T> + 'static {
        let (seen, what) = (self.clone(), what.to_owned());
        move |answer, _| seen.say(format!("{what}: {answer:?}"))
    }
}

impl ClientHandler for Seen {
    fn event(&mut self, event: &Event, _: &Client) -> HandlerResult {
        self.say(match event {
            Event::Connected { .. } => "connected".to_owned(),
            Event::Reconnected { listening, .. } => format!("reconnected, listening to {listening}"),
            Event::Set { name, value } => {
                format!("{}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
            }
            event => format!("{event:?}"),
        });
        Ok(())
    }
    fn lost(&mut self, why: &ClientError, _: &Client) -> HandlerResult {
        self.say(format!("lost: {why}"));
        Ok(())
    }
    fn failed(&mut self, why: &ClientError, _: &Client) -> HandlerResult {
        self.say(format!("failed: {why}"));
        Ok(())
    }
    fn disconnected(&mut self, why: ClientError, _: &Client) {
        self.say(format!("disconnected: {why}"));
    }
}

#[track_caller]
fn until(communicator: &Communicator, seen: &Seen, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < end, "it did not come: {:?}, {:#?}", seen.0, communicator.connections());
        communicator.turn(Some(Duration::from_millis(5))).unwrap();
    }
}

fn quickly() -> Reconnect {
    Reconnect::new(Pauses::every(Duration::from_millis(5)))
}

/// A client and a server that the test plays line by line.
struct Stage {
    communicator: Communicator,
    seen: Seen,
    client: Client,
    listener: UnixListener,
    _folder: TempDir,
}

/// The server's end of one connection.
struct Server {
    stream: UnixStream,
    got: Vec<u8>,
}

impl Stage {
    fn new(reconnect: Reconnect, timeout: Duration) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (communicator, seen) = (Communicator::new().unwrap(), Seen::default());
        let options = ClientOptions::new().socket(path).user("ada").password(Password::new("hush"));
        let options = options.timeout(timeout);
        let client = options.connect_lasting(&communicator, reconnect, seen.clone()).unwrap();
        Self { communicator, seen, client, listener, _folder: folder }
    }

    fn until(&self, done: impl FnMut() -> bool) {
        until(&self.communicator, &self.seen, done);
    }

    fn accept(&self) -> Server {
        let mut stream = None;
        self.until(|| {
            stream = self.listener.accept().ok();
            stream.is_some()
        });
        let (stream, _) = stream.unwrap();
        stream.set_nonblocking(true).unwrap();
        Server { stream, got: Vec::new() }
    }

    /// Accepts, and reads the login.
    fn greeted(&self) -> Server {
        let mut server = self.accept();
        assert!(server.line(self).starts_with("CLACKS eventdispatcher "));
        assert!(server.line(self).starts_with("OVERHEAD A "));
        server
    }

    /// … and lets it in.
    fn entered(&self) -> Server {
        let mut server = self.greeted();
        let before = self.seen.count("connected") + self.seen.count("reconnected");
        server.say("CLACKS a test\nOVERHEAD O Welcome!\n");
        self.until(|| self.seen.count("connected") + self.seen.count("reconnected") > before);
        server
    }
}

impl Server {
    fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    /// The next line that comes.
    fn line(&mut self, stage: &Stage) -> String {
        stage.until(|| {
            self.read();
            self.got.contains(&b'\n')
        });
        let end = self.got.iter().position(|byte| *byte == b'\n').unwrap();
        let line: Vec<u8> = self.got.drain(..=end).collect();
        String::from_utf8(line).unwrap().trim_end().to_owned()
    }

    fn read(&mut self) {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk) {
            Ok(got) => self.got.extend_from_slice(&chunk[..got]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => panic!("{error}"),
        }
    }

    /// Everything that has come, when the client has nothing more to send.
    fn rest(&mut self, stage: &Stage) -> String {
        stage.until(|| stage.communicator.queued_bytes(stage.client.id()) == 0);
        self.read();
        String::from_utf8(std::mem::take(&mut self.got)).unwrap().replace("\r\n", "|")
    }
}

#[test]
fn nothing_leaves_before_the_server_has_let_it_in_and_then_all_in_order() {
    let stage = Stage::new(quickly(), DEADLINE);
    stage.client.store(b"a", b"1").unwrap();
    stage.client.listen(b"x").unwrap();
    stage.client.retrieve(b"a", stage.seen.note("a")).unwrap();
    stage.client.monitor(true).unwrap();

    // Who accepts and ends at once, or does not know us, gets nothing of it.
    drop(stage.accept());
    let mut refuses = stage.greeted();
    refuses.say("CLACKS a test\nOVERHEAD F Login failed!\n");
    stage.until(|| stage.seen.count("failed: login failed") == 1);
    refuses.read();
    assert_eq!(String::from_utf8(refuses.got).unwrap(), "LISTEN x\r\nMONITOR\r\n");

    let mut server = stage.entered();
    let all = server.rest(&stage);
    assert_eq!(all, "LISTEN x|MONITOR|STORE a=1|FLUSH r1|RETRIEVE a|FLUSH r2|");
    server.say("FLUSHED r1\nRETRIEVED a=1\nFLUSHED r2\nSET x=7\n");
    stage.until(|| stage.seen.count("x=7") == 1);
    assert_eq!(
        stage.seen.0.borrow()[2..],
        ["connected".to_owned(), format!("a: Ok(Some({:?}))", b"1"), "x=7".to_owned()]
    );

    // Once more: it says only what holds.
    stage.client.unlisten(b"x").unwrap();
    stage.client.listen(b"y").unwrap();
    stage.client.listen(b"z").unwrap();
    assert_eq!(server.rest(&stage), "UNLISTEN x|LISTEN y|LISTEN z|");
    drop(server);
    stage.until(|| stage.seen.count("lost: ") == 1);
    stage.client.monitor(false).unwrap();
    let mut server = stage.entered();
    assert_eq!(server.rest(&stage), "LISTEN y|LISTEN z|");
    assert_eq!(stage.seen.0.borrow().last().unwrap(), "reconnected, listening to 2");
}

#[test]
fn a_request_whose_answer_was_lost_fails_and_one_that_waits_is_answered_later() {
    let stage = Stage::new(quickly(), DEADLINE);
    let mut server = stage.entered();
    stage.client.retrieve(b"sent", stage.seen.note("sent")).unwrap();
    assert_eq!(server.rest(&stage), "RETRIEVE sent|FLUSH r1|");
    drop(server);
    stage.until(|| stage.seen.count("lost: ") == 1);
    let failed = stage.seen.0.borrow().iter().find(|line| line.starts_with("sent: ")).cloned().unwrap();
    assert!(failed.starts_with("sent: Err(Disconnected("), "{failed}");

    stage.client.retrieve(b"waits", stage.seen.note("waits")).unwrap();
    stage.client.key_list(stage.seen.note("keys")).unwrap();
    let mut server = stage.entered();
    assert_eq!(server.rest(&stage), "RETRIEVE waits|FLUSH r2|KEYLIST|FLUSH r3|");
    server.say("RETRIEVED waits=ok\nFLUSHED r2\nKEYLISTSTART\nKEY k\nKEYLISTEND\nFLUSHED r3\n");
    stage.until(|| stage.seen.count("keys: Ok([[107]])") == 1);
    assert_eq!(stage.seen.count("waits: Ok(Some([111, 107]))"), 1);
}

#[test]
fn commands_may_be_refused_while_it_is_away() {
    let stage = Stage::new(quickly().keep(Keep::No), DEADLINE);
    let server = stage.entered();
    drop(server);
    stage.until(|| stage.seen.count("lost: ") == 1);
    let client = &stage.client;
    assert!(matches!(client.store(b"a", b"1"), Err(ClientError::Away)));
    assert!(matches!(client.retrieve(b"a", stage.seen.note("never")), Err(ClientError::Away)));
    assert!(matches!(client.flush(stage.seen.note("never")), Err(ClientError::Away)));
    client.listen(b"x").unwrap(); // holds for the next connection
    let mut server = stage.entered();
    assert_eq!(server.rest(&stage), "LISTEN x|");
    client.store(b"a", b"2").unwrap();
    assert_eq!(server.rest(&stage), "STORE a=2|");
    assert_eq!(stage.seen.count("never"), 0);
}

#[test]
fn what_waits_for_the_server_is_bounded_and_what_has_no_room_is_said() {
    let away = Away { items: 3, ..Away::default() };
    let stage = Stage::new(quickly().away(away), DEADLINE);
    let client = &stage.client;
    client.store(b"a", b"1").unwrap();
    client.store(b"b", b"2").unwrap();
    // A flush of what stands before, the request, and its own flush.
    assert!(matches!(client.retrieve(b"c", stage.seen.note("never")), Err(ClientError::Full)));
    let mut server = stage.entered();
    assert_eq!(server.rest(&stage), "STORE a=1|STORE b=2|FLUSH r1|");
    client.retrieve(b"d", stage.seen.note("d")).unwrap();
    assert_eq!(server.rest(&stage), "RETRIEVE d|FLUSH r2|");
    server.say("FLUSHED r1\nRETRIEVED d=ok\nFLUSHED r2\n");
    stage.until(|| stage.seen.count("d: Ok(Some(") == 1);
    assert_eq!(stage.seen.count("never"), 0);
}

#[test]
fn a_request_of_which_half_has_no_room_does_not_mix_its_answer_with_anothers() {
    let stage = Stage::new(quickly().away(Away { items: 1, ..Away::default() }), DEADLINE);
    assert!(matches!(stage.client.key_list(stage.seen.note("never")), Err(ClientError::Full)));
    let mut server = stage.entered();
    stage.client.key_list(stage.seen.note("keys")).unwrap();
    assert_eq!(server.rest(&stage), "KEYLIST|FLUSH r2|KEYLIST|FLUSH r3|");
    server.say("KEY a\nFLUSHED r2\nKEY a\nFLUSHED r3\n");
    stage.until(|| stage.seen.count("keys: ") == 1);
    assert_eq!(stage.seen.count("keys: Ok([[97]])"), 1, "{:?}", stage.seen.0);
}

#[test]
fn a_request_that_has_waited_for_too_long_says_so() {
    let away = Away { age: Some(Duration::from_nanos(1)), ..Away::default() };
    let stage = Stage::new(quickly().away(away), DEADLINE);
    stage.client.retrieve(b"a", stage.seen.note("old")).unwrap();
    stage.until(|| true);
    let mut server = stage.entered();
    assert_eq!(stage.seen.count("old: Err(Away)"), 1, "{:?}", stage.seen.0);
    assert_eq!(server.rest(&stage), "");
}

#[test]
fn each_request_has_its_time_also_while_it_is_away() {
    let folder = TempDir::new().unwrap();
    let (communicator, seen) = (Communicator::new().unwrap(), Seen::default());
    let options = ClientOptions::new().socket(folder.path().join("nobody")).user("a");
    let options = options.password(Password::new("b")).timeout(Duration::from_millis(20));
    let client = options.connect_lasting(&communicator, quickly(), seen.clone()).unwrap();
    client.retrieve(b"a", seen.note("a")).unwrap();
    client.flush(seen.note("flush")).unwrap();
    until(&communicator, &seen, || seen.count("a: Err(TimedOut)") + seen.count("flush: Err(TimedOut)") == 2);
    assert!(seen.count("failed: ") > 0);
    client.close();
    until(&communicator, &seen, || seen.count("disconnected: ") == 1);
    until(&communicator, &seen, || communicator.is_empty());
}

#[test]
fn a_server_that_does_not_answer_the_login_is_left_and_tried_again() {
    let stage = Stage::new(quickly(), Duration::from_millis(20));
    let silent = stage.greeted();
    stage.until(|| stage.seen.count("failed: no answer in time") == 1);
    drop(silent);
    drop(stage.entered());
}

#[test]
fn an_answer_that_comes_too_late_is_not_anothers() {
    let stage = Stage::new(quickly(), Duration::from_millis(100));
    let mut server = stage.entered();
    stage.client.key_list(stage.seen.note("late")).unwrap();
    stage.until(|| stage.seen.count("late: Err(TimedOut)") == 1);
    stage.client.key_list(stage.seen.note("next")).unwrap();
    assert_eq!(server.rest(&stage), "KEYLIST|FLUSH r1|KEYLIST|FLUSH r2|");
    server.say("KEY old\nFLUSHED r1\nKEY new\nFLUSHED r2\n");
    stage.until(|| stage.seen.count("next: ") == 1);
    assert_eq!(stage.seen.count(&format!("next: Ok([{:?}])", b"new")), 1, "{:?}", stage.seen.0);
}

#[test]
fn a_failing_handler_of_a_loss_ends_it_for_good() {
    struct Once;
    impl ClientHandler for Once {
        fn event(&mut self, _: &Event, _: &Client) -> HandlerResult {
            Ok(())
        }
        fn failed(&mut self, _: &ClientError, _: &Client) -> HandlerResult {
            Err("once is enough".into())
        }
    }
    let folder = TempDir::new().unwrap();
    let communicator = Communicator::new().unwrap();
    let to = ToUnix::new(folder.path().join("nobody"));
    let client = Client::lasting(&communicator, to, &Login::new("a", "b"), quickly(), Once);
    client.flush(|answer, _| assert!(matches!(answer, Err(ClientError::Disconnected(_))))).unwrap();
    until(&communicator, &Seen::default(), || communicator.is_empty());
    assert!(matches!(client.flush(|_, _| ()), Err(ClientError::Disconnected(_))));
}

/// A clacksd without settings.
fn clacksd(runtime: &Path) -> Program {
    let program = CLACKSD.expect("the program is built with the features of this test");
    let server = Program::start(command(program).env("XDG_RUNTIME_DIR", runtime));
    let socket: PathBuf = runtime.join("clacks/clacks.sock");
    let end = Instant::now() + DEADLINE;
    while UnixStream::connect(&socket).is_err() {
        assert!(Instant::now() < end, "it does not listen");
        std::thread::yield_now();
    }
    server
}

#[test]
fn a_clacksd_that_is_killed_again_and_again_is_found_again() {
    let runtime = TempDir::new().unwrap();
    let folder = PrivateFolder::create(runtime.path().join("clacks")).unwrap();
    let password = folder.password_or_new().unwrap();
    let options = ClientOptions::new().socket(folder.socket()).user(default_user()).password(password);
    let (communicator, seen) = (Communicator::new().unwrap(), Seen::default());
    let client = options.clone().connect_lasting(&communicator, quickly(), seen.clone()).unwrap();
    client.listen(b"news").unwrap();

    for round in 1..4 {
        let key = format!("key {round}");
        client.store(key.as_bytes(), b"kept while it was away").unwrap();
        client.retrieve(key.as_bytes(), seen.note(&key)).unwrap();
        let server = clacksd(runtime.path());
        until(&communicator, &seen, || seen.count(&format!("{key}: ")) == 1);
        let expected = format!("{key}: Ok(Some({:?}))", b"kept while it was away");
        assert_eq!(seen.count(&expected), 1, "{:?}", seen.0);
        let mut other = options.clone().connect_blocking().unwrap();
        other.set(b"news", round.to_string().as_bytes()).unwrap();
        until(&communicator, &seen, || seen.count(&format!("news={round}")) == 1);
        server.signal(nix::sys::signal::Signal::SIGKILL);
        until(&communicator, &seen, || seen.count("lost: ") == round);
        drop(server);
    }
    assert_eq!((seen.count("connected"), seen.count("reconnected, listening to 1")), (1, 2));
    client.close();
    until(&communicator, &seen, || communicator.is_empty());
}
