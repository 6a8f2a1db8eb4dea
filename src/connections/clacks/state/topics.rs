//! Who listens to what.

use std::collections::HashMap;
use std::sync::Arc;

use slab::Slab;

use super::group::Group;

/// The names that somebody listens to.
///
/// A listener is taken out by its position, which it knows, so neither a client with many names nor a name with
/// many clients is expensive to end.
#[derive(Debug)]
pub(super) struct Topics<K> {
    by_name: HashMap<Arc<[u8]>, usize>,
    topics: Slab<Topic<K>>,
    /// By the session's slot: the topics it listens to, and its position among their listeners.
    places: Vec<HashMap<usize, usize>>,
}

#[derive(Debug)]
struct Topic<K> {
    name: Arc<[u8]>,
    listeners: Group<K>,
}

impl<K> Default for Topics<K> {
    fn default() -> Self {
        Self { by_name: HashMap::new(), topics: Slab::new(), places: Vec::new() }
    }
}

impl<K> Topics<K> {
    /// Starts deliveries of `name` to a session. Once is enough.
    pub(super) fn listen(&mut self, name: &[u8], key: K, slot: usize) {
        if self.places.len() <= slot {
            self.places.resize_with(slot + 1, HashMap::new);
        }
        let topic = match self.by_name.get(name) {
            Some(&topic) => topic,
            None => {
                let name: Arc<[u8]> = name.into();
                let topic = self.topics.insert(Topic { name: name.clone(), listeners: Group::default() });
                self.by_name.insert(name, topic);
                topic
            }
        };
        let listeners = &mut self.topics[topic].listeners;
        self.places[slot].entry(topic).or_insert_with(|| listeners.push(key, slot));
    }

    /// Ends deliveries of `name` to a session, if there were any.
    pub(super) fn unlisten(&mut self, name: &[u8], slot: usize) {
        if let Some(&topic) = self.by_name.get(name)
            && let Some(places) = self.places.get_mut(slot)
            && let Some(position) = places.remove(&topic)
        {
            self.take_out(topic, position);
        }
    }

    /// Ends all deliveries to a session.
    pub(super) fn leave(&mut self, slot: usize) {
        let Some(places) = self.places.get_mut(slot) else { return };
        for (topic, position) in std::mem::take(places) {
            self.take_out(topic, position);
        }
    }

    /// Those who listen to `name`, if anybody does.
    pub(super) fn listeners(&self, name: &[u8]) -> Option<&Group<K>> {
        Some(&self.topics.get(*self.by_name.get(name)?)?.listeners)
    }

    /// How many names a session listens to.
    pub(super) fn count(&self, slot: usize) -> usize {
        self.places.get(slot).map_or(0, HashMap::len)
    }

    /// The names that a session listens to.
    pub(super) fn names(&self, slot: usize) -> impl Iterator<Item = &Arc<[u8]>> {
        self.places.get(slot).into_iter().flat_map(HashMap::keys).map(|&topic| &self.topics[topic].name)
    }

    fn take_out(&mut self, topic: usize, position: usize) {
        let listeners = &mut self.topics[topic].listeners;
        if let Some(moved) = listeners.remove(position) {
            self.places[moved].insert(topic, position);
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
            listeners.check_invariants(|slot| Some((session(slot)?, *self.places[slot].get(&topic)?)));
        }
        let places: usize = self.places.iter().map(HashMap::len).sum();
        let listeners: usize = self.topics.iter().map(|(_, topic)| topic.listeners.keys().len()).sum();
        assert_eq!(places, listeners);
    }
}
