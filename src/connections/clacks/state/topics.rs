//! Who listens to what.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use slab::Slab;

use super::group::Group;

/// The names that somebody listens to.
///
/// A listener is taken out by its position, which it knows, so neither a client with many names nor a name
/// with many clients is expensive to end.
#[derive(Debug)]
pub(super) struct Topics<K> {
    by_name: HashMap<Arc<[u8]>, usize>,
    topics: Slab<Topic<K>>,
    /// By the session's slot.
    listeners: Vec<Listener>,
}

#[derive(Debug)]
struct Topic<K> {
    name: Arc<[u8]>,
    listeners: Group<K>,
}

#[derive(Debug, Default)]
struct Listener {
    /// The topics it listens to, and its position among the listeners of each.
    places: HashMap<usize, usize>,
    /// The names that were put aside, instead: of who is a link, or may not read any more.
    parked: Option<HashSet<Arc<[u8]>>>,
    /// What the names cost.
    bytes: usize,
}

/// The names of one client would take more memory than they may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMany;

/// About what a name costs beside its bytes, if nobody else listens to it.
const NAME_COST: usize = 200;

impl<K> Default for Topics<K> {
    fn default() -> Self {
        Self { by_name: HashMap::new(), topics: Slab::new(), listeners: Vec::new() }
    }
}

impl<K> Topics<K> {
    /// Starts deliveries of `name` to a session. Once is enough.
    pub(super) fn listen(
        &mut self,
        name: &[u8],
        key: K,
        slot: usize,
        bytes_max: usize,
    ) -> Result<(), TooMany> {
        if self.listeners.len() <= slot {
            self.listeners.resize_with(slot + 1, Listener::default);
        }
        let found = self.by_name.get(name).copied();
        let listener = &mut self.listeners[slot];
        let listens = match &listener.parked {
            Some(names) => names.contains(name),
            None => found.is_some_and(|topic| listener.places.contains_key(&topic)),
        };
        if listens {
            return Ok(());
        }
        let bytes = listener.bytes + name.len() + NAME_COST;
        if bytes > bytes_max {
            return Err(TooMany);
        }
        listener.bytes = bytes;
        if let Some(names) = &mut listener.parked {
            names.insert(name.into());
            return Ok(());
        }
        let topic = found.unwrap_or_else(|| {
            let name: Arc<[u8]> = name.into();
            let topic = self.topics.insert(Topic { name: name.clone(), listeners: Group::default() });
            self.by_name.insert(name, topic);
            topic
        });
        listener.places.insert(topic, self.topics[topic].listeners.push(key, slot));
        Ok(())
    }

    /// Ends deliveries of `name` to a session, if there were any.
    pub(super) fn unlisten(&mut self, name: &[u8], slot: usize) {
        let Some(listener) = self.listeners.get_mut(slot) else { return };
        let listened = match &mut listener.parked {
            Some(names) => names.remove(name),
            None => {
                let topic = self.by_name.get(name);
                let place = topic.and_then(|topic| Some((*topic, listener.places.remove(topic)?)));
                place.map(|(topic, position)| self.take_out(topic, position)).is_some()
            }
        };
        if listened {
            self.listeners[slot].bytes -= name.len() + NAME_COST;
        }
    }

    /// Ends all deliveries to a session, and forgets its names.
    pub(super) fn leave(&mut self, slot: usize) {
        let Some(listener) = self.listeners.get_mut(slot) else { return };
        for (topic, position) in std::mem::take(listener).places {
            self.take_out(topic, position);
        }
    }

    /// Whether signals are delivered to the session.
    pub(super) fn is_listener(&self, slot: usize) -> bool {
        self.listeners.get(slot).is_some_and(|listener| !listener.places.is_empty())
    }

    /// Suspends all deliveries to a session; its names are put aside, if that was not done already.
    pub(super) fn park(&mut self, slot: usize) {
        if self.listeners.len() <= slot {
            self.listeners.resize_with(slot + 1, Listener::default);
        }
        if self.listeners[slot].parked.is_some() {
            return;
        }
        let bytes = self.listeners[slot].bytes;
        let places = self.listeners[slot].places.keys();
        let names = places.map(|&topic| self.topics[topic].name.clone()).collect();
        self.leave(slot);
        self.listeners[slot] = Listener { places: HashMap::new(), parked: Some(names), bytes };
    }

    /// Starts the deliveries again that were suspended, if they were.
    pub(super) fn unpark(&mut self, key: K, slot: usize)
    where
        K: Copy,
    {
        let parked = self.listeners.get_mut(slot).filter(|listener| listener.parked.is_some());
        let Some(listener) = parked else { return };
        for name in std::mem::take(listener).parked.unwrap_or_default() {
            // They were not too many before.
            let _ = self.listen(&name, key, slot, usize::MAX);
        }
    }

    /// Those who listen to `name`, if anybody does.
    pub(super) fn listeners(&self, name: &[u8]) -> Option<&Group<K>> {
        Some(&self.topics.get(*self.by_name.get(name)?)?.listeners)
    }

    fn take_out(&mut self, topic: usize, position: usize) {
        let listeners = &mut self.topics[topic].listeners;
        if let Some(moved) = listeners.remove(position) {
            self.listeners[moved].places.insert(topic, position);
        }
        if listeners.is_empty() {
            let topic = self.topics.remove(topic);
            self.by_name.remove(&topic.name);
        }
    }

    /// Whether listeners and their places agree, where `session` tells a session's key if it may listen.
    ///
    /// # Panics
    /// When they do not.
    pub(super) fn check_invariants(&self, session: impl Fn(usize) -> Option<K>)
    where
        K: Copy + Eq,
    {
        assert_eq!(self.by_name.len(), self.topics.len());
        for (name, &topic) in &self.by_name {
            assert_eq!(*name, self.topics[topic].name);
        }
        for (topic, Topic { listeners, .. }) in &self.topics {
            assert!(!listeners.is_empty(), "a name that nobody listens to is kept");
            listeners
                .check_invariants(|slot| Some((session(slot)?, *self.listeners[slot].places.get(&topic)?)));
        }
        let places: usize = self.listeners.iter().map(|listener| listener.places.len()).sum();
        let members: usize = self.topics.iter().map(|(_, topic)| topic.listeners.keys().len()).sum();
        assert_eq!(places, members);
        for listener in &self.listeners {
            let names = listener.places.keys().map(|&topic| &self.topics[topic].name);
            let names = names.chain(listener.parked.iter().flatten());
            assert_eq!(listener.bytes, names.map(|name| name.len() + NAME_COST).sum::<usize>());
        }
    }
}
