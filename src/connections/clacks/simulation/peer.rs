//! One client of the simulation: what it does, and what it knows.

use super::network::Link;
use super::{LONGEST, Random, World};
use crate::communicator::{HandlerResult, Reconnect};
use crate::connections::clacks::client::manners::Manners;
use crate::connections::clacks::client::{Client, ClientError, ClientHandler, Event, Login};
use crate::connections::wire::Wire;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::rc::{Rc, Weak};
use std::time::Duration;

const TOPICS: usize = 3;
const KEYS: usize = 3;

pub(super) struct Peer {
    world: Weak<World>,
    number: usize,
    lasting: bool,
    client: OnceCell<Client>,
    /// Logged in, as far as it was told.
    inside: Cell<bool>,
    /// It ends, or has ended.
    over: Cell<bool>,
    ended: Cell<bool>,
    removed: Cell<bool>,
    /// How often the connection of a lasting one was lost: what was sent before has perhaps not come.
    losses: Cell<u64>,
    /// Signals sent for each topic.
    signals: [Cell<u64>; TOPICS],
    /// For each key, the number of the last value, and how many losses there were when it was sent.
    stored: [Cell<(u64, u64)>; KEYS],
    /// Steps of the counter that are not confirmed.
    steps: Cell<u64>,
    /// Requests without an answer.
    asked: Cell<usize>,
    /// How often it has begun to listen to each topic, and stopped: odd, if it listens.
    wanted: RefCell<[u64; TOPICS]>,
    /// Since it surely listens: how many signals each client had sent by then.
    since: RefCell<[Option<Vec<u64>>; TOPICS]>,
    /// The last signal of each client and topic.
    heard: RefCell<BTreeMap<(usize, usize), u64>>,
}

/// The value with a number: long now and then.
fn value(of: usize, number: u64) -> String {
    let length = match number % 40 {
        39 => LONGEST - 50,
        n => (n * n * 3) as usize,
    };
    format!("{of}.{number}:{}", "x".repeat(length))
}

/// The number in it, if it is what the client has sent.
fn number(of: usize, text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let number = text.split_once('.')?.1.split_once(':')?.0.parse().ok()?;
    (text == value(of, number)).then_some(number)
}

impl Peer {
    pub(super) fn add(world: &Rc<World>, lasting: bool) -> Rc<Self> {
        let peer = Rc::new(Self {
            world: Rc::downgrade(world),
            number: world.peers.borrow().len(),
            lasting,
            client: OnceCell::new(),
            inside: Cell::new(false),
            over: Cell::new(false),
            ended: Cell::new(false),
            removed: Cell::new(false),
            losses: Cell::new(0),
            signals: Default::default(),
            stored: Default::default(),
            steps: Cell::new(0),
            asked: Cell::new(0),
            wanted: RefCell::default(),
            since: RefCell::default(),
            heard: RefCell::default(),
        });
        world.peers.borrow_mut().push(peer.clone());
        let login = Login::new("admin", "secret").named(&format!("client {}", peer.number));
        let handler = Ears(peer.clone());
        let client = if lasting {
            let reconnect =
                Reconnect::new("0.000001".parse().expect("a list")).resend_half(world.random.percent(50));
            let weak = Rc::downgrade(&peer);
            let connect = move || weak.upgrade().map_or(Err(ErrorKind::Other.into()), |peer| peer.dial());
            Client::lasting(&world.communicator, connect, &login, reconnect, handler)
        } else {
            let [ours, theirs] = Link::wires(&world.random, world.quiet.get());
            let manners = Manners::with_timeout(Duration::from_secs(600));
            let client = Client::start(&world.communicator, ours.0, "", &login, manners, handler)
                .expect("no poll refuses it");
            let id = world.server.serve_over(&world.communicator, theirs.0).expect("no poll refuses it");
            world.links.borrow_mut().push(Link::new((ours.1, client.id().key()), (theirs.1, id.key())));
            client
        };
        assert!(peer.client.set(client).is_ok(), "it has one already");
        peer
    }

    /// A lasting client connects.
    fn dial(&self) -> io::Result<Wire> {
        let (Some(world), Some(client)) = (self.world.upgrade(), self.client.get()) else {
            return Err(ErrorKind::Other.into());
        };
        if !world.quiet.get() && world.random.percent(30) {
            return Err(ErrorKind::ConnectionRefused.into());
        }
        let [ours, theirs] = Link::wires(&world.random, world.quiet.get());
        let id = world.server.serve_over(&world.communicator, theirs.0)?;
        world.links.borrow_mut().push(Link::new((ours.1, client.id().key()), (theirs.1, id.key())));
        Ok(ours.0)
    }

    pub(super) fn client(&self) -> &Client {
        self.client.get().expect("it was added")
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.get()
    }

    fn world(&self) -> Rc<World> {
        self.world.upgrade().expect("its world is there")
    }

    fn random<R>(&self, draw: impl FnOnce(&Random) -> R) -> R {
        draw(&self.world().random)
    }

    /// Everything is switched on again. Whether it is still on its way back.
    pub(super) fn come_back(&self) -> bool {
        let client = self.client();
        client.communicator().enable(client.id(), true);
        client.communicator().read(client.id(), true);
        if self.over.get() || self.inside.get() {
            return false;
        }
        if self.lasting && !client.communicator().is_connected(client.id()) {
            client.communicator().reconnect(client.id());
        }
        true
    }

    /// All that can arrive has arrived.
    pub(super) fn check_rest(&self, peers: &[Rc<Self>]) {
        if self.over.get() {
            let alive = self.client().communicator().is_alive(self.client().id());
            let info = self.client().communicator().connection(self.client().id());
            let over = self.ended.get() || self.removed.get();
            assert!(!alive && over, "{} does not end: {info:?}", self.number);
            return;
        }
        assert!(self.inside.get(), "{} is not there", self.number);
        assert_eq!(self.asked.get(), 0, "{} waits for answers", self.number);
        let (since, heard) = (self.since.borrow(), self.heard.borrow());
        for sender in peers.iter().filter(|sender| self.hears_all(sender) && !sender.over.get()) {
            for topic in 0..TOPICS {
                let Some(since) = &since[topic] else { continue };
                let (sent, before) =
                    (sender.signals[topic].get(), since.get(sender.number).copied().unwrap_or(0));
                let last = heard.get(&(sender.number, topic)).map_or(0, |last| last + 1);
                let (me, of) = (self.number, sender.number);
                assert!(sent <= before || last == sent, "{me} has heard {last} of {sent} signals of {of}");
            }
        }
    }

    pub(super) fn check_end(&self) {
        assert!(self.ended.get() != self.removed.get(), "{}: ended, or was removed", self.number);
        assert!(self.removed.get() || self.asked.get() == 0, "{}: requests without an answer", self.number);
    }

    /// Nothing of this sender may be missing.
    fn hears_all(&self, sender: &Self) -> bool {
        !self.lasting && !sender.lasting && self.number != sender.number
    }

    /// Whether a command was taken; it may be refused only where that can be.
    fn took(&self, taken: Result<(), ClientError>) -> bool {
        let refused = match taken {
            Ok(()) => return true,
            Err(refused) => refused,
        };
        let info = self.client().communicator().connection(self.client().id());
        let gone = !self.client().communicator().is_alive(self.client().id());
        // What has come before a failed write may still have to be heard.
        let broken = matches!(refused, ClientError::Disconnected(_)) && !self.lasting;
        let right = gone || broken || matches!(refused, ClientError::Full);
        self.world().expect(right, || format!("{}: refused: {refused}: {info:?}", self.number));
        false
    }

    /// Does anything.
    #[expect(clippy::collapsible_match, reason = "what is done to the world is no condition of an arm")]
    pub(super) fn act(self: &Rc<Self>) {
        let (what, which) = self.random(|random| (random.below(100), random.below(TOPICS)));
        let Some(client) = self.client.get() else { return };
        let (communicator, id) = (client.communicator(), client.id());
        match what {
            0..40 => {
                let number = self.signals[which].get();
                // It may be heard before the call returns, by nobody who asks this.
                if self
                    .took(client.set(format!("t{which}").as_bytes(), value(self.number, number).as_bytes()))
                {
                    self.signals[which].set(number + 1);
                }
            }
            40..52 => {
                let number = self.stored[which].get().0 + 1;
                let key = format!("k{}.{which}", self.number);
                if self.took(client.store(key.as_bytes(), value(self.number, number).as_bytes())) {
                    self.stored[which].set((number, self.losses.get()));
                }
            }
            52..58 => {
                if self.took(client.increment(b"counter", None)) {
                    self.steps.set(self.steps.get() + 1);
                    self.world().steps.set(self.world().steps.get() + 1);
                }
            }
            58..66 => {
                if self.took(client.listen(format!("t{which}").as_bytes())) {
                    self.wanted.borrow_mut()[which] |= 1;
                }
            }
            66..68 => {
                if self.took(client.unlisten(format!("t{which}").as_bytes())) {
                    let wanted = &mut self.wanted.borrow_mut()[which];
                    *wanted += *wanted % 2;
                    self.since.borrow_mut()[which] = None;
                    self.forget(which);
                }
            }
            68..76 => self.flush(),
            76..82 => {
                let others = self.world().peers.borrow().len();
                self.retrieve(self.random(|random| random.below(others)), which);
            }
            82 => self.list_keys(),
            83..87 => drop(communicator.enable(id, self.random(|random| random.percent(60)))),
            87..91 => drop(communicator.read(id, self.random(|random| random.percent(60)))),
            91 if which == 0 => {
                self.over.set(true);
                client.close();
            }
            92 if which == 0 => {
                self.over.set(true);
                if communicator.remove(id) {
                    self.removed.set(true);
                }
            }
            93 if which == 0 && self.lasting => drop(communicator.reconnect(id)),
            _ => {}
        }
    }

    /// Everything that it has sent until now is to be there.
    fn flush(self: &Rc<Self>) {
        let (me, losses) = (self.clone(), self.losses.get());
        let (stored, wanted) = (self.stored.clone().map(Cell::into_inner), *self.wanted.borrow());
        let steps = self.steps.get();
        self.ask(self.client().flush(move |answer, _| {
            me.answered(&answer);
            if answer.is_err() || me.losses.get() != losses {
                return;
            }
            let world = me.world();
            for (key, (number, losses_then)) in stored.into_iter().enumerate() {
                if number > 0 && losses_then == losses {
                    let mut confirmed = world.confirmed.borrow_mut();
                    let known = confirmed.entry((me.number, key)).or_default();
                    *known = number.max(*known);
                }
            }
            if me.lasting {
                return;
            }
            let confirmed = steps.min(me.steps.get());
            me.steps.set(me.steps.get() - confirmed);
            world.steps_confirmed.set(world.steps_confirmed.get() + confirmed);
            for (topic, wanted) in wanted.into_iter().enumerate() {
                let sure = wanted % 2 == 1 && wanted == me.wanted.borrow()[topic];
                if sure && me.since.borrow()[topic].is_none() {
                    let sent = world.peers.borrow().iter().map(|peer| peer.signals[topic].get()).collect();
                    me.since.borrow_mut()[topic] = Some(sent);
                    // What it listened to before that has perhaps a gap, where it did not listen.
                    me.forget(topic);
                }
            }
        }));
    }

    fn forget(&self, topic: usize) {
        self.heard.borrow_mut().retain(|(_, of), _| *of != topic);
    }

    pub(super) fn retrieve(self: &Rc<Self>, of: usize, key: usize) {
        let (me, world) = (self.clone(), self.world());
        let least = world.confirmed.borrow().get(&(of, key)).copied();
        let asking = self.client().retrieve(format!("k{of}.{key}").as_bytes(), move |answer, _| {
            me.answered(&answer);
            let Ok(found) = answer else { return };
            let found = found.map(|text| number(of, &text));
            let most = world.peers.borrow()[of].stored[key].get().0;
            let right = match found {
                None => least.is_none(),
                Some(found) => found.is_some_and(|found| found >= least.unwrap_or(1) && found <= most),
            };
            world.expect(right, || format!("k{of}.{key} is {found:?}: {least:?} was confirmed, {most} sent"));
        });
        self.ask(asking);
    }

    fn list_keys(self: &Rc<Self>) {
        let (me, world) = (self.clone(), self.world());
        let least: Vec<_> = world.confirmed.borrow().keys().copied().collect();
        self.ask(self.client().key_list(move |answer, _| {
            me.answered(&answer);
            let Ok(keys) = answer else { return };
            for (of, key) in least {
                let key = format!("k{of}.{key}").into_bytes();
                world.expect(keys.contains(&key), || format!("{key:?} is not in the list"));
            }
        }));
    }

    fn ask(&self, asking: Result<(), ClientError>) {
        if self.took(asking) {
            self.asked.set(self.asked.get() + 1);
        }
    }

    fn answered<T>(&self, answer: &Result<T, ClientError>) {
        let world = self.world();
        world.calls.set(world.calls.get() + 1);
        world.expect(self.asked.get() > 0 && !self.ended.get(), || {
            format!("{}: an answer too many", self.number)
        });
        self.asked.set(self.asked.get().saturating_sub(1));
        if let Err(error) = answer {
            let alive = self.client().communicator().is_alive(self.client().id());
            world.expect(self.lasting || !alive, || format!("{}: no answer: {error}", self.number));
        }
    }

    fn hear(&self, name: &[u8], text: &[u8]) {
        let world = self.world();
        world.heard.set(world.heard.get() + 1);
        let say = |what: &str| {
            let text = String::from_utf8_lossy(text);
            format!(
                "{} hears {} of {}: {what}",
                self.number,
                &text[..text.len().min(20)],
                name.escape_ascii()
            )
        };
        let sender =
            std::str::from_utf8(text).ok().and_then(|text| text.split_once('.')?.0.parse::<usize>().ok());
        let topic = (0..TOPICS).find(|topic| format!("t{topic}").as_bytes() == name);
        let (Some(sender), Some(topic)) = (sender, topic) else {
            return world.expect(false, || say("nobody sent that"));
        };
        let Some(number) = number(sender, text) else {
            return world.expect(false, || say("it is not whole"));
        };
        if self.wanted.borrow()[topic].is_multiple_of(2) {
            return; // on its way when it was told not to listen
        }
        let Some(from) = world.peers.borrow().get(sender).cloned() else {
            return world.expect(false, || say("there is no such client"));
        };
        let sent = from.signals[topic].get();
        world.expect(number < sent && sender != self.number, || say("it was not sent"));
        let last = self.heard.borrow_mut().insert((sender, topic), number);
        world.expect(last.is_none_or(|last| number > last), || say(&format!("{last:?} came before")));
        if let Some(since) = &self.since.borrow()[topic]
            && self.hears_all(&from)
        {
            let since = since.get(sender).copied().unwrap_or(0);
            let most = last.map_or(since, |last| last + 1);
            world.expect(number <= most, || {
                say(&format!("only {last:?} came before, of those since {since}"))
            });
        }
    }
}

/// The handler.
struct Ears(Rc<Peer>);

impl Ears {
    /// A failure in it is the end of the connection, of a lasting client only `for_good`.
    fn call(&self, right: bool, for_good: bool, what: impl FnOnce() -> String) -> HandlerResult {
        let peer = &self.0;
        let world = peer.world();
        world.calls.set(world.calls.get() + 1);
        world.expect(right && !peer.ended.get() && !peer.removed.get(), || {
            format!("{} is told {}", peer.number, what())
        });
        if world.quiet.get() {
            return Ok(());
        }
        for _ in 0..world.random.below(3) {
            world.act(Some(peer));
        }
        if world.random.below(400) == 0 {
            peer.over.set(peer.over.get() || for_good || !peer.lasting);
            return Err("the handler was told to fail".into());
        }
        Ok(())
    }
}

impl ClientHandler for Ears {
    fn event(&mut self, event: &Event, _: &Client) -> HandlerResult {
        let inside = self.0.inside.get();
        match event {
            Event::Connected { .. } | Event::Reconnected { .. } => {
                self.0.inside.set(true);
                self.call(!inside, false, || "that it is in, again".into())
            }
            Event::Set { name, value } => {
                self.0.hear(name, value);
                self.call(inside, false, || "of a signal".into())
            }
            other => self.call(false, false, || format!("of {other:?}")),
        }
    }

    fn lost(&mut self, why: &ClientError, _: &Client) -> HandlerResult {
        self.0.losses.set(self.0.losses.get() + 1);
        let inside = self.0.inside.replace(false);
        self.call(inside && self.0.lasting, true, || format!("of a loss: {why}"))
    }

    fn failed(&mut self, why: &ClientError, _: &Client) -> HandlerResult {
        self.0.losses.set(self.0.losses.get() + 1);
        let inside = self.0.inside.get();
        self.call(!inside && self.0.lasting, true, || format!("of a failure: {why}"))
    }

    fn disconnected(&mut self, why: ClientError, _: &Client) {
        let peer = &self.0;
        peer.over.set(true);
        peer.inside.set(false);
        let world = peer.world();
        world.calls.set(world.calls.get() + 1);
        let first = !peer.ended.replace(true) && !peer.removed.get();
        world.expect(first, || format!("{} is told of its end: {why}", peer.number));
    }
}
