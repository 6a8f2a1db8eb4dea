//! The cache as programs use it: values of all kinds, and the copy at hand, on a communicator and blocking.
#![cfg(all(feature = "clacks", feature = "cli"))]

mod support;

use eventdispatcher::connections::clacks::client::{
    BlockingCache, BlockingClient, Cache, Client, ClientError, ClientHandler, ClientOptions, Event,
    LocalCopy, Structure, Value,
};
use eventdispatcher::connections::clacks::credentials::{PrivateFolder, default_user};
use eventdispatcher::{Communicator, HandlerResult, Pauses, Reconnect};
use std::cell::RefCell;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};
use support::DEADLINE;
use support::daemon::{Program, command};
use tempfile::TempDir;

const CLACKSD: Option<&str> = option_env!("CARGO_BIN_EXE_clacksd");

/// A clacksd without settings, and a loop.
struct Stage {
    runtime: TempDir,
    options: ClientOptions,
    communicator: Communicator,
    server: Option<Program>,
}

/// What a client was told.
#[derive(Clone, Default)]
struct Told(Rc<RefCell<Vec<Event>>>);

impl ClientHandler for Told {
    fn event(&mut self, event: &Event, _: &Client) -> HandlerResult {
        self.0.borrow_mut().push(event.clone());
        Ok(())
    }
}

impl Stage {
    fn new() -> Self {
        let runtime = TempDir::new().unwrap();
        let folder = PrivateFolder::create(runtime.path().join("clacks")).unwrap();
        let password = folder.password_or_new().unwrap();
        let options = ClientOptions::new().socket(folder.socket()).user(default_user()).password(password);
        let mut stage = Self { runtime, options, communicator: Communicator::new().unwrap(), server: None };
        stage.start();
        stage
    }

    fn start(&mut self) {
        let program = CLACKSD.expect("the program is built with the features of this test");
        self.server = None;
        self.server = Some(Program::start(command(program).env("XDG_RUNTIME_DIR", self.runtime.path())));
        let end = Instant::now() + DEADLINE;
        while UnixStream::connect(self.runtime.path().join("clacks/clacks.sock")).is_err() {
            assert!(Instant::now() < end, "it does not listen");
            std::thread::yield_now();
        }
    }

    #[track_caller]
    fn until(&self, mut done: impl FnMut() -> bool) {
        let end = Instant::now() + DEADLINE;
        while !done() {
            assert!(Instant::now() < end, "it did not come: {:#?}", self.communicator.connections());
            self.communicator.turn(Some(Duration::from_millis(5))).unwrap();
        }
    }

    fn client(&self, told: &Told) -> Client {
        let pauses = Reconnect::new(Pauses::every(Duration::from_millis(5)));
        self.options.connect_lasting(&self.communicator, pauses, told.clone()).unwrap()
    }

    fn blocking(&self) -> BlockingClient {
        self.options.connect_blocking().unwrap()
    }

    /// Waits for the values.
    #[track_caller]
    fn get(&self, cache: &Cache, keys: &[&str]) -> Result<Vec<Option<Value>>, ClientError> {
        let answer = Rc::new(RefCell::new(None));
        let to = answer.clone();
        cache.get_many(keys, move |values, _| *to.borrow_mut() = Some(values)).unwrap();
        assert!(answer.borrow().is_none(), "it called back before it returned");
        self.until(|| answer.borrow().is_some());
        answer.take().unwrap()
    }

    #[track_caller]
    fn check(&self, cache: &Cache, key: &str, wanted: Option<&str>) {
        assert_eq!(self.get(cache, &[key]).unwrap(), [wanted.map(Value::from)], "{key}");
    }
}

/// How often the server was asked for a value.
fn asked(client: &mut BlockingClient) -> u64 {
    let status = client.status().unwrap();
    let counts = status.iter().filter(|(name, _)| matches!(&**name, "hits" | "misses"));
    counts.map(|(_, count)| count.parse::<u64>().unwrap()).sum()
}

fn all_kinds() -> [(&'static str, Value); 5] {
    [
        ("plain key", "a = b".into()),
        ("k=v", "two\r\nlines".into()),
        ("bytes", vec![0, 0xff, b'\n'].into()),
        ("looks", "PAGECAMELCLACKSYAMLB64: LS0tIAphOiBiCg==".into()),
        ("parts", Structure::map([("list", Structure::list(["1".into(), Structure::Null]))]).into()),
    ]
}

#[test]
fn values_of_all_kinds_come_back_to_both_kinds_of_clients() {
    let stage = Stage::new();
    let cache = Cache::new(&stage.client(&Told::default()));
    let mut blocking = BlockingCache::new(stage.blocking());
    for (key, value) in all_kinds() {
        cache.set(key.as_bytes(), value.clone()).unwrap();
        assert_eq!(stage.get(&cache, &[key, "nothing"]).unwrap(), [Some(value.clone()), None]);
        assert_eq!(blocking.get(key.as_bytes()).unwrap(), Some(value.clone()));
        cache.delete(key.as_bytes()).unwrap();
        assert_eq!(stage.get(&cache, &[key]).unwrap(), [None]);
        blocking.set(key.as_bytes(), value.clone()).unwrap();
        assert_eq!(stage.get(&cache, &[key]).unwrap(), [Some(value)]);
    }
    assert_eq!(blocking.key_list().unwrap()[1..3], [b"k___v".to_vec(), b"looks".to_vec()]);
    let keys = all_kinds().map(|(key, _)| key);
    let values = all_kinds().map(|(_, value)| Some(value));
    assert_eq!(blocking.get_many(&keys).unwrap(), values);
    assert_eq!(stage.get(&cache, &keys).unwrap(), values);
    assert_eq!(stage.get(&cache, &[]).unwrap(), []);

    blocking.incr(b"n", None).unwrap();
    cache.incr(b"n", Some("5")).unwrap();
    stage.check(&cache, "n", Some("6"));
    blocking.decr(b"n", Some("4")).unwrap();
    cache.decr(b"n", None).unwrap();
    stage.check(&cache, "n", Some("1"));
    blocking.delete(b"n").unwrap();
    stage.check(&cache, "n", None);

    let strange = b"PAGECAMELCLACKSYAMLB64: LS0tICox";
    blocking.client().store(b"strange", strange).unwrap();
    assert!(matches!(blocking.get(b"strange"), Err(ClientError::Structure(_))));
    assert!(matches!(stage.get(&cache, &["strange"]), Err(ClientError::Structure(_))));
    assert!(matches!(cache.set(b"a\nb", "x"), Err(ClientError::BadName(_))));
}

#[test]
fn a_copy_at_hand_answers_without_the_server_until_another_client_changes_it() {
    let stage = Stage::new();
    let mut admin = stage.blocking();
    let told = Told::default();
    let client = stage.client(&told);
    let cache = Cache::with_local_copy(&client, LocalCopy::default());
    let mut script = BlockingCache::with_local_copy(stage.blocking(), LocalCopy::default());
    let mut other = BlockingCache::new(stage.blocking()).announcing();

    other.set(b"a b", "one").unwrap();
    stage.check(&cache, "a b", Some("one"));
    stage.check(&cache, "none", None);
    assert_eq!(script.get(b"a b").unwrap(), Some("one".into()));
    let before = asked(&mut admin);
    for _ in 0..3 {
        stage.check(&cache, "a b", Some("one"));
        stage.check(&cache, "none", None);
        assert_eq!(script.get(b"a b").unwrap(), Some("one".into()));
    }
    assert_eq!(asked(&mut admin), before);

    other.set(b"a b", "two\nlines").unwrap();
    let now = || stage.get(&cache, &["a b"]).unwrap() == [Some("two\nlines".into())];
    stage.until(now);
    let end = Instant::now() + DEADLINE;
    while script.get(b"a b").unwrap() != Some("two\nlines".into()) {
        assert!(Instant::now() < end, "the change does not come");
    }
    assert_eq!(asked(&mut admin), before);

    other.delete(b"a b").unwrap();
    stage.until(|| stage.get(&cache, &["a b"]).unwrap() == [None]);
    other.incr(b"none", None).unwrap();
    stage.until(|| stage.get(&cache, &["none"]).unwrap() == [Some("1".into())]);
    let heard = |event: &Event| matches!(event, Event::Set { .. } | Event::Notify { .. });
    assert!(!told.0.borrow().iter().any(heard), "the copy's signals are its own: {:?}", told.0);
    assert_eq!(script.client().next_event(Duration::ZERO).unwrap(), None);

    // What the program wants to hear it hears as well.
    client.listen(b"none").unwrap();
    stage.check(&cache, "none", Some("1"));
    other.set(b"none", "2").unwrap();
    stage.until(|| told.0.borrow().iter().any(heard));
    stage.check(&cache, "none", Some("2"));
}

#[test]
fn own_changes_are_asked_for_again() {
    let stage = Stage::new();
    let cache = Cache::with_local_copy(&stage.client(&Told::default()), LocalCopy::default());
    let mut script = BlockingCache::with_local_copy(stage.blocking(), LocalCopy::default());
    for round in ["1", "2"] {
        cache.set(b"k", round).unwrap();
        stage.check(&cache, "k", Some(round));
        script.set(b"s", round).unwrap();
        assert_eq!(script.get(b"s").unwrap(), Some(round.into()));
    }
    cache.decr(b"k", None).unwrap();
    stage.check(&cache, "k", Some("1"));
    cache.delete(b"k").unwrap();
    stage.check(&cache, "k", None);
}

#[test]
fn after_a_loss_nothing_is_taken_for_known() {
    let mut stage = Stage::new();
    let told = Told::default();
    let cache = Cache::with_local_copy(&stage.client(&told), LocalCopy::default());
    cache.set(b"k", "before").unwrap();
    stage.check(&cache, "k", Some("before"));
    stage.start();
    stage.until(|| {
        told.0.borrow().iter().any(|event| matches!(event, Event::Reconnected { listening: 1, .. }))
    });
    // That server has begun with nothing.
    stage.check(&cache, "k", None);
    let mut other = BlockingCache::new(stage.blocking()).announcing();
    other.set(b"k", "after").unwrap();
    stage.until(|| stage.get(&cache, &["k"]).unwrap() == [Some("after".into())]);
}

#[test]
fn a_small_copy_lets_go_of_keys() {
    let stage = Stage::new();
    let mut admin = stage.blocking();
    let limits = LocalCopy { keys: 2, ..LocalCopy::default() };
    let cache = Cache::with_local_copy(&stage.client(&Told::default()), limits);
    for key in ["a", "b", "c"] {
        cache.set(key.as_bytes(), key).unwrap();
        stage.check(&cache, key, Some(key));
    }
    let before = asked(&mut admin);
    stage.check(&cache, "c", Some("c"));
    stage.check(&cache, "b", Some("b"));
    assert_eq!(asked(&mut admin), before);
    stage.check(&cache, "a", Some("a"));
    assert_eq!(asked(&mut admin), before + 1);
    // Nobody listens to what was let go of: a change of it is not signalled to anybody.
    let deliveries = |admin: &mut BlockingClient| {
        let status = admin.status().unwrap();
        status.iter().find(|(name, _)| name == "deliveries").unwrap().1.clone()
    };
    let before = deliveries(&mut admin);
    admin.set(b"c", b"x").unwrap();
    assert_eq!(deliveries(&mut admin), before);
    admin.set(b"a", b"x").unwrap();
    assert_ne!(deliveries(&mut admin), before);
}
