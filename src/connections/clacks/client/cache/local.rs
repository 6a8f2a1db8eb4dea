//! Values that were read, for as long as they are known to be what the server has.

use super::super::event::Event;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

/// To as many names a program listens beside the copy at most.
const MOST_NAMES: usize = 1 << 16;

/// How much is kept at hand of a server's cache, and for how long.
#[derive(Debug, Clone)]
pub struct LocalCopy {
    /// As many keys at most; 10,000 by default. Those that were not asked for for the longest time make room.
    pub keys: usize,
    /// As many bytes of keys and values at most; 64 MiB by default.
    pub bytes: usize,
    /// How old a value may be, so that changes which nobody signals are seen in the end: those of clients that do not
    /// [announce](super::Cache::announcing) them. A minute by default; `None` is for ever.
    pub age: Option<Duration>,
}

impl Default for LocalCopy {
    fn default() -> Self {
        Self { keys: 10_000, bytes: 64 << 20, age: Some(Duration::from_secs(60)) }
    }
}

/// The copy. It knows a value from the server's answer to a request on, for as long as it listens to the key; a change by
/// this client itself makes it unknown, for the server does not say in which order it has taken that and another's.
#[derive(Debug)]
pub(in super::super) struct Local {
    limits: LocalCopy,
    held: HashMap<Vec<u8>, Held>,
    /// By when they were asked for last.
    used: BTreeMap<u64, Vec<u8>>,
    bytes: usize,
    /// Counts what happens.
    clock: u64,
    /// To what the program itself listens.
    program: HashSet<Vec<u8>>,
}

#[derive(Debug)]
struct Held {
    used: u64,
    /// Answers to what was asked before this are of no use.
    since: u64,
    known: Option<Known>,
}

#[derive(Debug)]
struct Known {
    at: Duration,
    /// As on the wire; `None`: there is no value.
    wire: Option<Vec<u8>>,
}

impl Held {
    fn len(&self) -> usize {
        self.known.as_ref().and_then(|known| known.wire.as_ref()).map_or(0, Vec::len)
    }
}

/// A question to the server.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Ticket(u64);

/// What is to be said to the server before a key is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct Changes {
    pub(in super::super) listen: bool,
    pub(in super::super) unlisten: Vec<Vec<u8>>,
}

impl Local {
    pub(in super::super) fn new(limits: LocalCopy) -> Self {
        Self {
            limits,
            held: HashMap::new(),
            used: BTreeMap::new(),
            bytes: 0,
            clock: 0,
            program: HashSet::new(),
        }
    }

    fn next(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// The value, if it is known: `Some(None)` is that there is none.
    pub(in super::super) fn get(&mut self, key: &[u8], now: Duration) -> Option<Option<&[u8]>> {
        let used = self.next();
        let held = self.held.get_mut(key)?;
        if let Some(key) = self.used.remove(&held.used) {
            self.used.insert(used, key);
        }
        held.used = used;
        let known = held.known.as_ref()?;
        let is_old = self.limits.age.is_some_and(|age| now.saturating_sub(known.at) > age);
        (!is_old).then_some(known.wire.as_deref())
    }

    /// The key will be asked for. It is to be listened to from before that.
    pub(in super::super) fn ask(&mut self, key: &[u8]) -> (Ticket, Changes) {
        let mut changes = Changes { listen: false, unlisten: Vec::new() };
        if self.limits.keys > 0 && key.len() <= self.limits.bytes && !self.held.contains_key(key) {
            let used = self.next();
            self.held.insert(key.to_vec(), Held { used, since: used, known: None });
            self.used.insert(used, key.to_vec());
            self.bytes += key.len();
            changes.listen = true;
            changes.unlisten = self.make_room();
        }
        (Ticket(self.next()), changes)
    }

    /// The server's answer.
    pub(in super::super) fn answered(
        &mut self,
        key: &[u8],
        ticket: Ticket,
        wire: Option<&[u8]>,
        now: Duration,
    ) {
        if self.held.get(key).is_some_and(|held| held.since < ticket.0) {
            self.set(key, Some(Known { at: now, wire: wire.map(<[u8]>::to_vec) }));
        }
    }

    /// This client changes the key.
    pub(in super::super) fn changes(&mut self, key: &[u8]) {
        self.set(key, None);
        let since = self.next();
        if let Some(held) = self.held.get_mut(key) {
            held.since = since;
        }
    }

    /// The connection is gone.
    pub(in super::super) fn lost(&mut self) {
        let since = self.next();
        for held in self.held.values_mut() {
            self.bytes -= held.len();
            (held.known, held.since) = (None, since);
        }
    }

    /// It could not be listened to.
    pub(in super::super) fn forget(&mut self, key: &[u8]) {
        if let Some(held) = self.held.remove(key) {
            self.bytes -= key.len() + held.len();
            self.used.remove(&held.used);
        }
    }

    /// The program listens itself, or does so no more. Says whether the server is to be told.
    pub(in super::super) fn program_listens(&mut self, name: &[u8], on: bool) -> bool {
        if on {
            if self.program.len() < MOST_NAMES {
                self.program.insert(name.to_vec());
            }
            true
        } else {
            self.program.remove(name);
            !self.held.contains_key(name)
        }
    }

    /// Something was signalled. Says whether it was for the copy alone. `now` is when.
    pub(in super::super) fn hears(&mut self, event: &Event, now: Duration) -> bool {
        let (name, wire) = match event {
            Event::Set { name, value } => (name, Some(value)),
            Event::Notify { name } => (name, None),
            _ => return false,
        };
        let Some(held) = self.held.get(name) else { return false };
        // What comes before an answer is older than it.
        if held.known.is_some() {
            let known = wire.map(|wire| Known { at: now, wire: Some(wire.clone()) });
            self.set(name, known);
        }
        !self.program.contains(name)
    }

    fn set(&mut self, key: &[u8], known: Option<Known>) {
        let Some(held) = self.held.get_mut(key) else { return };
        self.bytes -= held.len();
        held.known = known;
        self.bytes += held.len();
        if self.bytes > self.limits.bytes {
            // It stays listened to, and is asked for again.
            self.bytes -= held.len();
            held.known = None;
        }
    }

    /// Lets go of keys while there are too many; says to which the program does not listen itself.
    fn make_room(&mut self) -> Vec<Vec<u8>> {
        let mut gone = Vec::new();
        while self.held.len() > self.limits.keys || self.bytes > self.limits.bytes {
            let Some((_, key)) = self.used.pop_first() else { break };
            if let Some(held) = self.held.remove(&key) {
                self.bytes -= key.len() + held.len();
            }
            if !self.program.contains(&key) {
                gone.push(key);
            }
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1000);

    fn set(name: &str, value: &str) -> Event {
        Event::Set { name: name.into(), value: value.into() }
    }

    fn local(keys: usize) -> Local {
        Local::new(LocalCopy { keys, ..LocalCopy::default() })
    }

    /// Asks for a key, and is answered.
    fn read(local: &mut Local, key: &str, value: &str) -> Changes {
        let (ticket, changes) = local.ask(key.as_bytes());
        local.answered(key.as_bytes(), ticket, Some(value.as_bytes()), NOW);
        changes
    }

    #[track_caller]
    fn check(local: &mut Local, key: &str, wanted: Option<Option<&str>>) {
        let wanted = wanted.map(|value| value.map(str::as_bytes));
        assert_eq!(local.get(key.as_bytes(), NOW), wanted);
        let bytes = |(key, held): (&Vec<u8>, &Held)| key.len() + held.len();
        assert_eq!(local.bytes, local.held.iter().map(bytes).sum::<usize>());
        assert_eq!(local.used.len(), local.held.len());
    }

    #[test]
    fn what_was_read_is_known_and_follows_the_signals() {
        let mut local = local(10);
        check(&mut local, "k", None);
        assert_eq!(read(&mut local, "k", "one"), Changes { listen: true, unlisten: vec![] });
        check(&mut local, "k", Some(Some("one")));
        assert!(local.hears(&set("k", "longer"), NOW));
        check(&mut local, "k", Some(Some("longer")));
        assert!(local.hears(&Event::Notify { name: b"k".into() }, NOW));
        check(&mut local, "k", None);
        let (ticket, changes) = local.ask(b"k");
        assert_eq!(changes, Changes { listen: false, unlisten: vec![] });
        assert!(local.hears(&set("k", "before the answer"), NOW));
        local.answered(b"k", ticket, None, NOW);
        check(&mut local, "k", Some(None));
        assert!(!local.hears(&set("other", "x"), NOW));
        assert_eq!(local.get(b"k", NOW + Duration::from_secs(61)), None);
    }

    #[test]
    fn an_own_change_makes_what_was_asked_before_it_useless() {
        let mut local = local(10);
        read(&mut local, "k", "one");
        let (before, _) = local.ask(b"k");
        local.changes(b"k");
        check(&mut local, "k", None);
        assert!(local.hears(&set("k", "another's"), NOW));
        local.answered(b"k", before, Some(b"one"), NOW);
        check(&mut local, "k", None);
        let (before, _) = local.ask(b"k");
        local.lost();
        local.answered(b"k", before, Some(b"one"), NOW);
        check(&mut local, "k", None);
        read(&mut local, "k", "two");
        check(&mut local, "k", Some(Some("two")));
    }

    #[test]
    fn what_was_not_asked_for_for_the_longest_time_makes_room() {
        let mut local = local(2);
        read(&mut local, "a", "1");
        read(&mut local, "b", "2");
        check(&mut local, "a", Some(Some("1")));
        let (stale, _) = local.ask(b"b");
        assert_eq!(read(&mut local, "c", "3").unlisten, [b"b"]);
        check(&mut local, "b", None);
        // It is listened to anew: what was asked before that says nothing.
        assert_eq!(local.ask(b"b").1.unlisten, [b"a"]);
        local.answered(b"b", stale, Some(b"2"), NOW);
        check(&mut local, "b", None);
        local.forget(b"b");
        check(&mut local, "c", Some(Some("3")));
        let mut none = self::local(0);
        assert!(!read(&mut none, "a", "1").listen);
        check(&mut none, "a", None);
    }

    #[test]
    fn values_have_a_bound_of_bytes() {
        let mut local = Local::new(LocalCopy { bytes: 10, ..LocalCopy::default() });
        read(&mut local, "a", "12345678");
        read(&mut local, "b", "1");
        check(&mut local, "a", Some(Some("12345678")));
        check(&mut local, "b", None);
        assert!(local.hears(&set("a", "1234567890"), NOW));
        check(&mut local, "a", None);
        assert!(!read(&mut local, "a key of more than all bytes", "").listen);
    }

    #[test]
    fn what_the_program_listens_to_itself_is_not_hidden_from_it() {
        let mut local = local(1);
        assert!(local.program_listens(b"a", true));
        read(&mut local, "a", "1");
        assert!(!local.hears(&set("a", "2"), NOW));
        check(&mut local, "a", Some(Some("2")));
        assert_eq!(read(&mut local, "b", "1").unlisten, Vec::<Vec<u8>>::new());
        assert!(local.program_listens(b"b", true));
        assert!(!local.program_listens(b"b", false), "the copy still listens");
        assert!(local.hears(&set("b", "2"), NOW));
        assert!(local.program_listens(b"a", false));
    }
}
