//! The cache compared with a sorted map.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Entry, Retention, Store, Sweep};
use crate::connections::clacks::number::{Number, Operand};
use crate::connections::clacks::protocol::KeySync;

#[derive(Debug, Clone)]
enum Step {
    Store(Vec<u8>, Vec<u8>),
    Retrieve(Vec<u8>),
    Remove(Vec<u8>),
    Increment(Vec<u8>, Vec<u8>),
    Decrement(Vec<u8>, Vec<u8>),
    Merge(Vec<u8>, Vec<u8>, u8, bool, i8),
    Sweep(usize, u8, u8),
    Clear,
    LookAhead(Vec<Vec<u8>>),
}

fn any_step() -> impl Strategy<Value = Step> {
    let key = || vec(prop_oneof![Just(b'a'), Just(b'b'), Just(0u8), Just(255u8)], 1..3);
    let value = || prop_oneof![vec(any::<u8>(), 0..40), "[0-9]{1,3}".prop_map(String::into_bytes)];
    prop_oneof![
        6 => (key(), value()).prop_map(|(k, v)| Step::Store(k, v)),
        3 => key().prop_map(Step::Retrieve),
        3 => key().prop_map(Step::Remove),
        3 => (key(), value()).prop_map(|(k, v)| Step::Increment(k, v)),
        3 => (key(), value()).prop_map(|(k, v)| Step::Decrement(k, v)),
        6 => (key(), value(), any::<u8>(), any::<bool>(), any::<i8>())
            .prop_map(|(k, v, t, d, o)| Step::Merge(k, v, t, d, o)),
        3 => (0usize..5, 0u8..100, 0u8..100).prop_map(|(b, s, d)| Step::Sweep(b, s, d)),
        1 => Just(Step::Clear),
        4 => vec(key(), 0..9).prop_map(Step::LookAhead),
    ]
}

/// The cache as anybody would write it first.
#[derive(Default)]
struct Model(BTreeMap<Vec<u8>, Entry>);

impl Model {
    fn count(&mut self, key: &[u8], now: f64, result: impl FnOnce(Operand) -> Number) {
        let number = result(self.0.get(key).map_or(Operand::ZERO, Entry::operand));
        let mut entry = Entry::new(number.text().to_vec(), now, now);
        entry.number = Some(Box::new(number));
        self.0.insert(key.to_vec(), entry);
    }

    fn merge(&mut self, key: &[u8], entry: Entry) {
        // The newest; of those a value rather than a tombstone; of those the smallest.
        let rank = |entry: &Entry| (entry.cache_time, !entry.deleted);
        let wins = |own: &Entry| match rank(&entry).partial_cmp(&rank(own)) {
            Some(Ordering::Equal) => *entry.value < *own.value,
            order => order == Some(Ordering::Greater),
        };
        if self.0.get(key).is_none_or(wins) {
            self.0.insert(key.to_vec(), entry);
        }
    }
}

proptest! {
    #[test]
    fn the_cache_does_what_a_sorted_map_does(steps in vec(any_step(), 1..80)) {
        let mut store = Store::default();
        let mut model = Model::default();
        let mut sweep = Sweep::default();
        for (now, step) in (1u32..).zip(&steps) {
            let now = f64::from(now);
            match step {
                Step::Store(key, value) => {
                    store.store(key, value, now).unwrap();
                    model.0.insert(key.clone(), Entry::new(value.clone(), now, now));
                }
                Step::Retrieve(key) => {
                    let entry = model.0.get_mut(key).filter(|entry| !entry.deleted);
                    let value = entry.map(|entry| {
                        entry.access_time = now;
                        &*entry.value
                    });
                    prop_assert_eq!(store.retrieve(key, now), value);
                }
                Step::Remove(key) => {
                    store.remove(key, now).unwrap();
                    model.0.insert(key.clone(), Entry::tombstone(now, now));
                }
                Step::Increment(key, step) => {
                    store.increment(key, Operand::step(step), now).unwrap();
                    model.count(key, now, |value| Number::sum(value, Operand::step(step)));
                }
                Step::Decrement(key, step) => {
                    store.decrement(key, Operand::step(step), now).unwrap();
                    model.count(key, now, |value| Number::difference(value, Operand::step(step)));
                }
                Step::Merge(key, value, time, deleted, offset) => {
                    let (time, offset, deleted) = (f64::from(*time), f64::from(*offset), *deleted);
                    let entry = KeySync { cache_time: time, access_time: time, deleted, key, value };
                    store.merge(&entry, offset).unwrap();
                    let access_time = if time == 0.0 { 0.0 } else { time + offset };
                    model.merge(key, match deleted {
                        true => Entry::tombstone(time + offset, access_time),
                        false => Entry::new(value.clone(), time + offset, access_time),
                    });
                }
                Step::Sweep(budget, stale, deleted) => {
                    let (stale_before, deleted_before) = (now - f64::from(*stale), now - f64::from(*deleted));
                    let retention = Retention { stale_before, deleted_before };
                    let after = sweep.after.clone();
                    let mut purged = Vec::new();
                    let visit = |key: &[u8], why| purged.push((key.to_vec(), why));
                    let done = store.sweep(&mut sweep, *budget, &retention, visit);
                    let is_behind = |key: &&Vec<u8>| after.as_ref().is_none_or(|after| ***key > **after);
                    let behind: Vec<_> = model.0.keys().filter(is_behind).cloned().collect();
                    let budget = (*budget).max(1);
                    prop_assert_eq!(done, behind.len() <= budget);
                    let mut expected = Vec::new();
                    for key in behind.into_iter().take(budget) {
                        if let Some(why) = model.0[&key].purge(&retention) {
                            model.0.remove(&key);
                            expected.push((key, why));
                        }
                    }
                    prop_assert_eq!(purged, expected);
                }
                Step::Clear => {
                    store.clear();
                    model.0.clear();
                }
                Step::LookAhead(keys) => store.look_ahead(&keys.iter().map(|key| &key[..]).collect::<Vec<_>>()),
            }
            store.check_invariants();
            let same = store.entries_from(None).eq(model.0.iter().map(|(key, entry)| (&**key, entry)));
            prop_assert!(same, "{store:?}");
            let live = model.0.iter().filter(|(_, entry)| !entry.deleted).map(|(key, _)| &**key);
            prop_assert_eq!(store.keys_from(None).collect::<Vec<_>>(), live.collect::<Vec<_>>());
        }
    }
}
