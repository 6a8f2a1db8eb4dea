use std::fmt;
use std::panic::Location;

use slab::Slab;

use super::entry::{Entry, Flow, Priority, Tag};
use super::hash::ByCommand;
use super::pattern::Pattern;
use super::template::Captures;
use super::view::MessageRef;

/// An entry of a table. That of an entry that was removed finds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EntryId {
    slot: usize,
    serial: u64,
}

/// Which action is for which message.
///
/// The entries that match a message come one after the other, in order of their priority, then of
/// their addition, from [`next`](Self::next) with a [`Cursor`]. The cursor holds no borrow: an action
/// may change the table that it was found in. An entry that is added meanwhile gets the next message
/// first, one that is removed is not met any more.
///
/// Exact commands are found through a hash, whatever their number; other patterns are tried one by one.
///
/// ```
/// use eventdispatcher::dispatcher::{Entry, MessageRef, Table};
///
/// let mut table = Table::new();
/// table.add(Entry::new("STOP".parse()?, "stop"))?;
/// table.add(Entry::new("EVENT<number>".parse()?, "event"))?;
///
/// let message = MessageRef::parse(b"EVENT17")?;
/// let mut cursor = table.cursor();
/// let hit = table.next(&mut cursor, message).unwrap();
/// assert_eq!((*hit.action, hit.captures.number("number")), ("event", Some(17)));
/// assert!(table.next(&mut cursor, message).is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Table<A> {
    slots: Slab<Slot<A>>,
    /// Entries for one command each, sorted.
    exact: ByCommand<Vec<Key>>,
    /// All other entries but the catch-all, sorted.
    patterns: Vec<Key>,
    catch_all: Option<Key>,
    /// Of the next entry, and the next tag.
    serial: u64,
    tags: u64,
}

#[derive(Debug, Clone)]
struct Slot<A> {
    entry: Entry<A>,
    serial: u64,
    added: &'static Location<'static>,
    hits: u64,
    refused: u64,
}

/// Sorts as the entries are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    priority: Priority,
    serial: u64,
    slot: usize,
}

/// How far a message has come in a table: see [`Table::cursor`].
#[derive(Debug, Clone)]
pub struct Cursor {
    last: Option<Key>,
    /// Entries from this serial on were added since.
    end: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No entry has matched.
    Untouched,
    /// One has.
    Matched,
    /// No other one is to be looked for.
    Done,
}

/// An entry that matches a message.
#[derive(Debug)]
#[non_exhaustive]
pub struct Hit<'t, 'm, A> {
    /// The entry.
    pub id: EntryId,
    /// What to do.
    pub action: &'t A,
    /// What the pattern has captured.
    pub captures: Captures<'m>,
}

/// What is known of an entry: see [`Table::entries`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Info<'t, A> {
    /// The entry.
    pub id: EntryId,
    /// Which messages it is for.
    pub pattern: &'t Pattern,
    /// What it does with them.
    pub action: &'t A,
    /// When it is tried.
    pub priority: Priority,
    /// What happens after it.
    pub flow: Flow,
    /// With which others it is removed.
    pub tag: Option<Tag>,
    /// Whether it is the catch-all.
    pub is_catch_all: bool,
    /// The line of the program that has added it.
    pub added: &'static Location<'static>,
    /// How many messages it has got.
    pub hits: u64,
    /// How many of these were refused: see [`Table::count_refused`].
    pub refused: u64,
}

impl<A> Table<A> {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self {
            slots: Slab::new(),
            exact: ByCommand::default(),
            patterns: Vec::new(),
            catch_all: None,
            serial: 0,
            tags: 0,
        }
    }

    /// A tag that no entry has.
    pub fn new_tag(&mut self) -> Tag {
        self.tags += 1;
        Tag::new(self.tags)
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// When the same command is handled at the same priority already, and both entries keep the message
    /// for themselves: the second would never get one.
    #[track_caller]
    pub fn add(&mut self, entry: Entry<A>) -> Result<EntryId, DuplicateEntry> {
        let added = Location::caller();
        let key = self.next_key(entry.priority);
        if let Some(command) = entry.pattern.exact() {
            let keys = self.exact.get(command).map_or(&[][..], Vec::as_slice);
            let same = keys.iter().filter(|key| key.priority == entry.priority);
            let mut same = same.filter_map(|key| self.slots.get(key.slot));
            if entry.flow == Flow::Stop
                && let Some(first) = same.find(|slot| slot.entry.flow == Flow::Stop)
            {
                return Err(DuplicateEntry {
                    what: command.to_owned(),
                    priority: entry.priority,
                    first: first.added,
                    second: added,
                });
            }
            insert_sorted(self.exact.entry(command.into()).or_default(), key);
        } else {
            insert_sorted(&mut self.patterns, key);
        }
        Ok(self.insert(key, entry, added))
    }

    /// Sets what is done with a message that no entry has matched: neither with [`Flow::Stop`] nor with
    /// [`Flow::GoOn`]. (An entry with [`Pattern::always`] gets its messages at its priority, whatever
    /// others do.)
    ///
    /// # Errors
    /// When that is set already: [`remove`](Self::remove) it first.
    #[track_caller]
    pub fn set_catch_all(&mut self, action: A) -> Result<EntryId, DuplicateEntry> {
        let added = Location::caller();
        if let Some(first) = self.catch_all.and_then(|key| self.slots.get(key.slot)) {
            return Err(DuplicateEntry {
                what: "the catch-all".to_owned(),
                priority: Priority::MAX,
                first: first.added,
                second: added,
            });
        }
        let key = self.next_key(Priority::MAX);
        self.catch_all = Some(key);
        Ok(self.insert(key, Entry::new(Pattern::always(), action).priority(Priority::MAX), added))
    }

    /// Removes an entry, and gives its action back.
    pub fn remove(&mut self, id: EntryId) -> Option<A> {
        let slot = self.slots.get(id.slot).filter(|slot| slot.serial == id.serial)?;
        let key = Key { priority: slot.entry.priority, serial: id.serial, slot: id.slot };
        if self.catch_all == Some(key) {
            self.catch_all = None;
        } else if let Some(command) = slot.entry.pattern.exact() {
            if let Some(keys) = self.exact.get_mut(command) {
                remove_sorted(keys, key);
                if keys.is_empty() {
                    self.exact.remove(command);
                }
            }
        } else {
            remove_sorted(&mut self.patterns, key);
        }
        Some(self.slots.remove(id.slot).entry.action)
    }

    /// Removes all entries of a tag, and gives their actions back, in no order.
    pub fn remove_tag(&mut self, tag: Tag) -> Vec<A> {
        let tagged = self.slots.iter().filter(|(_, slot)| slot.entry.tag == Some(tag));
        let ids: Vec<_> = tagged.map(|(index, slot)| EntryId { slot: index, serial: slot.serial }).collect();
        ids.into_iter().filter_map(|id| self.remove(id)).collect()
    }

    /// Where the way of a message through the table begins.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor { last: None, end: self.serial, state: State::Untouched }
    }

    /// The next entry that gets the message, which is counted.
    ///
    /// The catch-all comes last, and only if no other has come.
    pub fn next<'m>(&mut self, cursor: &mut Cursor, message: MessageRef<'m>) -> Option<Hit<'_, 'm, A>> {
        if cursor.state == State::Done {
            return None;
        }
        let (key, captures) = match self.find(cursor, message) {
            Some(found) => found,
            None => {
                let untouched = cursor.state == State::Untouched;
                cursor.state = State::Done;
                (self.catch_all.filter(|key| untouched && key.serial < cursor.end)?, Captures::default())
            }
        };
        let slot = self.slots.get_mut(key.slot)?;
        slot.hits += 1;
        cursor.last = Some(key);
        if cursor.state != State::Done {
            cursor.state = match slot.entry.flow {
                Flow::Stop => State::Done,
                Flow::GoOn => State::Matched,
            };
        }
        let id = EntryId { slot: key.slot, serial: key.serial };
        Some(Hit { id, action: &slot.entry.action, captures })
    }

    /// Counts a message that an entry has got, and that was refused before its action: its
    /// parameters were wrong.
    pub fn count_refused(&mut self, id: EntryId) {
        if let Some(slot) = self.slots.get_mut(id.slot).filter(|slot| slot.serial == id.serial) {
            slot.refused += 1;
        }
    }

    /// The commands that have entries of their own, sorted: an answer to HELP.
    #[must_use]
    pub fn commands(&self) -> Vec<&str> {
        let mut commands: Vec<_> = self.exact.keys().map(|command| &**command).collect();
        commands.sort_unstable();
        commands
    }

    /// Whether a command has an entry of its own.
    #[must_use]
    pub fn handles(&self, command: &str) -> bool {
        self.exact.contains_key(command)
    }

    /// All entries, in the order in which they are tried; the catch-all is the last.
    #[must_use]
    pub fn entries(&self) -> Vec<Info<'_, A>> {
        let mut keys: Vec<_> = self.exact.values().flatten().chain(&self.patterns).copied().collect();
        keys.sort_unstable();
        let info = |key: Key| {
            let slot = self.slots.get(key.slot)?;
            let Entry { pattern, action, priority, flow, tag } = &slot.entry;
            Some(Info {
                id: EntryId { slot: key.slot, serial: key.serial },
                pattern,
                action,
                priority: *priority,
                flow: *flow,
                tag: *tag,
                is_catch_all: self.catch_all == Some(key),
                added: slot.added,
                hits: slot.hits,
                refused: slot.refused,
            })
        };
        keys.into_iter().chain(self.catch_all).filter_map(info).collect()
    }

    /// How many entries there are, with the catch-all.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The first entry behind the cursor that matches.
    fn find<'m>(&self, cursor: &Cursor, message: MessageRef<'m>) -> Option<(Key, Captures<'m>)> {
        let mut exact = self.exact.get(message.command()).into_iter().flat_map(|keys| cursor.ahead(keys));
        let exact = exact.next();
        for key in cursor.ahead(&self.patterns) {
            if exact.is_some_and(|exact| exact < key) {
                break;
            }
            let slot = self.slots.get(key.slot)?;
            if let Some(captures) = slot.entry.pattern.matches(message) {
                return Some((*key, captures));
            }
        }
        exact.map(|key| (*key, Captures::default()))
    }

    fn next_key(&self, priority: Priority) -> Key {
        Key { priority, serial: self.serial, slot: self.slots.vacant_key() }
    }

    fn insert(&mut self, key: Key, entry: Entry<A>, added: &'static Location<'static>) -> EntryId {
        self.serial += 1;
        let slot = self.slots.insert(Slot { entry, serial: key.serial, added, hits: 0, refused: 0 });
        EntryId { slot, serial: key.serial }
    }
}

impl Cursor {
    /// Those of some sorted keys that are still to be tried.
    fn ahead<'k>(&self, keys: &'k [Key]) -> impl Iterator<Item = &'k Key> + use<'k> {
        let start = self.last.map_or(0, |last| keys.partition_point(|key| *key <= last));
        let end = self.end;
        keys.iter().skip(start).filter(move |key| key.serial < end)
    }
}

impl<A> Default for Table<A> {
    fn default() -> Self {
        Self::new()
    }
}

fn insert_sorted(keys: &mut Vec<Key>, key: Key) {
    keys.insert(keys.partition_point(|other| *other < key), key);
}

fn remove_sorted(keys: &mut Vec<Key>, key: Key) {
    if let Ok(index) = keys.binary_search(&key) {
        keys.remove(index);
    }
}

/// Two entries for the same messages, the second of which would never get one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DuplicateEntry {
    /// The command, or "the catch-all".
    pub what: String,
    /// The priority of both.
    pub priority: Priority,
    /// The line of the program that has added the first.
    pub first: &'static Location<'static>,
    /// The line of the program that would have added the second.
    pub second: &'static Location<'static>,
}

impl fmt::Display for DuplicateEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, priority, first, second } = self;
        write!(f, "{what} is handled twice at priority {priority}: since {first}, and again at {second}")
    }
}

impl std::error::Error for DuplicateEntry {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }

    fn entry(text: &str, priority: u8, action: &'static str) -> Entry<&'static str> {
        Entry::new(pattern(text), action).priority(Priority::new(priority).unwrap())
    }

    /// The actions that get a command, in order.
    fn dispatch(table: &mut Table<&'static str>, command: &str) -> Vec<&'static str> {
        let message = MessageRef::parse(command.as_bytes()).unwrap();
        let mut cursor = table.cursor();
        std::iter::from_fn(|| table.next(&mut cursor, message).map(|hit| *hit.action)).collect()
    }

    #[test]
    fn entries_are_tried_by_priority_then_by_addition() {
        let mut table = Table::new();
        table.add(entry("X", 7, "t7a")).unwrap();
        table.add(entry("X", 9, "cb9").go_on()).unwrap();
        table.add(entry("X", 0, "cb0").go_on()).unwrap();
        table.add(entry("X", 7, "cb7").go_on()).unwrap();
        table.add(entry("X", 5, "cb5").go_on()).unwrap();
        assert_eq!(dispatch(&mut table, "X"), ["cb0", "cb5", "t7a"]);
        assert_eq!(dispatch(&mut table, "Y"), [""; 0]);
    }

    #[test]
    fn patterns_take_their_place_among_commands() {
        let mut table = Table::new();
        for (text, priority, action) in
            [("X*", 7, "second"), ("X", 7, "third"), ("?", 7, "fourth"), ("X", 3, "first"), ("*", 15, "last")]
        {
            table.add(entry(text, priority, action).go_on()).unwrap();
        }
        assert_eq!(dispatch(&mut table, "X"), ["first", "second", "third", "fourth", "last"]);
        assert_eq!(dispatch(&mut table, "XY"), ["second", "last"]);
        assert_eq!(dispatch(&mut table, "Y"), ["fourth", "last"]);
    }

    #[test]
    fn a_service_has_its_own_of_a_built_in_command() {
        let mut table = Table::new();
        table.add(entry("STOP", 10, "system")).unwrap();
        table.add(entry("STOP", 7, "own")).unwrap();
        assert_eq!(dispatch(&mut table, "STOP"), ["own"]);
    }

    #[test]
    fn the_catch_all_gets_what_nobody_has_touched() {
        let mut table = Table::new();
        table.set_catch_all("rest").unwrap();
        table.add(entry("STOP", 7, "stop")).unwrap();
        table.add(entry("LOOK", 0, "look").go_on()).unwrap();
        assert_eq!(dispatch(&mut table, "STOP"), ["stop"]);
        assert_eq!(dispatch(&mut table, "LOOK"), ["look"]);
        assert_eq!(dispatch(&mut table, "OTHER"), ["rest"]);
        table.add(Entry::new(Pattern::always(), "always").go_on()).unwrap();
        assert_eq!(dispatch(&mut table, "OTHER"), ["always"]);
        let id = table.entries().last().map(|info| info.id).unwrap();
        assert_eq!(table.remove(id), Some("rest"));
        table.set_catch_all("another").unwrap();
    }

    #[test]
    fn a_second_entry_that_would_never_be_reached_is_an_error() {
        let mut table = Table::new();
        table.add(entry("STOP", 7, "one")).unwrap();
        let error = table.add(entry("STOP", 7, "two")).unwrap_err();
        assert_eq!((&error.what[..], error.priority), ("STOP", Priority::DEFAULT));
        assert_eq!(error.second.line(), error.first.line() + 1);
        let text = error.to_string();
        let file = file!();
        assert!(text.starts_with(&format!("STOP is handled twice at priority 7: since {file}:")), "{text}");
        assert!(text.contains(&format!(", and again at {file}:")), "{text}");
        // Others can be reached.
        table.add(entry("STOP", 8, "later")).unwrap();
        table.add(entry("STOP", 7, "look").go_on()).unwrap();
        assert_eq!(table.len(), 3);
        table.set_catch_all("one").unwrap();
        assert_eq!(table.set_catch_all("two").unwrap_err().what, "the catch-all");
        assert_eq!(table.len(), 4);
    }

    #[test]
    fn a_tag_removes_all_that_have_it() {
        let mut table = Table::new();
        let (one, two) = (table.new_tag(), table.new_tag());
        table.add(entry("A", 7, "a").tag(one)).unwrap();
        table.add(entry("B*", 7, "b").tag(one)).unwrap();
        table.add(entry("A", 8, "c").tag(two)).unwrap();
        table.add(entry("A", 9, "d")).unwrap();
        table.set_catch_all("rest").unwrap();
        let mut removed = table.remove_tag(one);
        removed.sort_unstable();
        assert_eq!(removed, ["a", "b"]);
        assert_eq!(table.remove_tag(one), [""; 0]);
        assert_eq!(dispatch(&mut table, "A"), ["c"]);
        assert_eq!(dispatch(&mut table, "BB"), ["rest"]);
        assert_eq!(table.commands(), ["A"]);
    }

    #[test]
    fn the_table_may_change_while_a_message_is_on_its_way() {
        let mut table = Table::new();
        let first = table.add(entry("X", 1, "first").go_on()).unwrap();
        let second = table.add(entry("X", 2, "second").go_on()).unwrap();
        table.add(entry("X", 3, "third").go_on()).unwrap();
        let message = MessageRef::parse(b"X").unwrap();
        let mut cursor = table.cursor();
        assert_eq!(table.next(&mut cursor, message).map(|hit| *hit.action), Some("first"));
        // It removes itself and the next, and adds one before and one behind.
        assert_eq!(table.remove(first), Some("first"));
        assert_eq!(table.remove(second), Some("second"));
        table.add(entry("X", 0, "early").go_on()).unwrap();
        table.add(entry("X*", 9, "late").go_on()).unwrap();
        table.set_catch_all("rest").unwrap();
        assert_eq!(table.next(&mut cursor, message).map(|hit| *hit.action), Some("third"));
        assert!(table.next(&mut cursor, message).is_none());
        assert!(table.next(&mut cursor, message).is_none());
        assert_eq!(table.remove(first), None);
        assert_eq!(dispatch(&mut table, "X"), ["early", "third", "late"]);
    }

    #[test]
    fn entries_count_what_they_get() {
        let mut table = Table::new();
        let stop = table.add(entry("STOP", 7, "stop")).unwrap();
        table.add(entry("S*", 3, "look").go_on()).unwrap();
        table.set_catch_all("rest").unwrap();
        for command in ["STOP", "STOP", "START", "OTHER"] {
            dispatch(&mut table, command);
        }
        table.count_refused(stop);
        let counts: Vec<_> = table
            .entries()
            .iter()
            .map(|info| (info.pattern.to_string(), *info.action, info.hits, info.refused, info.is_catch_all))
            .collect();
        assert_eq!(
            counts,
            [
                ("S*".to_owned(), "look", 3, 0, false),
                ("STOP".to_owned(), "stop", 2, 1, false),
                ("<always>".to_owned(), "rest", 1, 0, true),
            ]
        );
    }

    #[test]
    fn commands_are_listed_sorted_and_once() {
        let mut table = Table::new();
        for (text, priority) in [("STOP", 7), ("ALIVE", 7), ("STOP", 10), ("EVENT<number>", 7), ("L*", 7)] {
            table.add(entry(text, priority, "")).unwrap();
        }
        assert_eq!(table.commands(), ["ALIVE", "STOP"]);
        assert!(!table.is_empty());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Add(&'static str, u8, bool),
        Remove(usize),
        Dispatch(&'static str),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let patterns = prop_oneof![Just("A"), Just("B"), Just("AB"), Just("A*"), Just("?"), Just("*B")];
        let step = prop_oneof![
            3 => (patterns, 0..4_u8, any::<bool>()).prop_map(|(p, priority, stop)| Step::Add(p, priority, stop)),
            1 => (0..20_usize).prop_map(Step::Remove),
            2 => prop_oneof![Just("A"), Just("B"), Just("AB"), Just("C")].prop_map(Step::Dispatch),
        ];
        proptest::collection::vec(step, 0..40)
    }

    proptest! {
        #[test]
        fn a_table_behaves_as_a_sorted_list(steps in steps()) {
            let mut table = Table::new();
            // Priority, number, pattern, whether it stops, id; numbers grow.
            let mut list: Vec<(u8, usize, &str, bool, EntryId)> = Vec::new();
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Add(text, priority, stop) => {
                        let entry = Entry::new(pattern(text), number).priority(Priority::new(priority).unwrap());
                        let entry = if stop { entry } else { entry.go_on() };
                        let exact = !text.contains(['*', '?']);
                        let same = |other: &(u8, usize, &str, bool, EntryId)| {
                            exact && stop && other.3 && (other.0, other.2) == (priority, text)
                        };
                        match table.add(entry) {
                            Ok(id) => {
                                prop_assert!(!list.iter().any(same));
                                list.push((priority, number, text, stop, id));
                            }
                            Err(_) => prop_assert!(list.iter().any(same)),
                        }
                    }
                    Step::Remove(index) if index < list.len() => {
                        let (_, number, _, _, id) = list.swap_remove(index);
                        prop_assert_eq!(table.remove(id), Some(number));
                        prop_assert_eq!(table.remove(id), None);
                    }
                    Step::Remove(_) => {}
                    Step::Dispatch(command) => {
                        list.sort_by_key(|entry| (entry.0, entry.1));
                        let message = MessageRef::parse(command.as_bytes()).unwrap();
                        let mut expected = Vec::new();
                        for (_, number, text, stop, _) in &list {
                            if pattern(text).matches(message).is_some() {
                                expected.push(*number);
                                if *stop {
                                    break;
                                }
                            }
                        }
                        let mut cursor = table.cursor();
                        let next = || table.next(&mut cursor, message).map(|hit| *hit.action);
                        prop_assert_eq!(std::iter::from_fn(next).collect::<Vec<_>>(), expected);
                    }
                }
                prop_assert_eq!(table.len(), list.len());
            }
        }
    }
}
