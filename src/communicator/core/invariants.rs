//! What must be true of the core between any two of its steps.

use super::{Core, Due, Key, Who};
use crate::communicator::slot::{Phase, Ready};
use crate::communicator::timers::NEVER;
use std::fmt::Debug;

/// What is not in the core while its owner works on it.
#[derive(Debug, Default)]
pub(crate) struct Outside {
    /// Who was taken to be called, and is not called yet.
    pub(crate) turn: Vec<Who>,
    /// Who was taken to be written for, and is not written for yet.
    pub(crate) dirty: Vec<Key>,
    /// Whose driver is out for writing.
    pub(crate) writing: Vec<Key>,
    /// Whose driver was not placed yet.
    pub(crate) unplaced: Vec<Key>,
}

impl<D: Debug, F: Debug> Core<D, F> {
    pub(crate) fn check_invariants(&self, outside: &Outside) {
        assert_eq!(self.live, self.slots.iter().filter(|(_, slot)| !slot.gone).count(), "live slots");
        if let Some(key) = self.running {
            let slot = &self.slots[key.slot as usize];
            assert!(slot.generation == key.generation && slot.driver.is_none(), "{key} runs: {slot:?}");
        }
        for (index, slot) in &self.slots {
            let key = Key { slot: index as u32, generation: slot.generation };
            let running = self.running == Some(key);
            if slot.gone {
                assert!(running, "{key} is gone and does not run: {slot:?}");
                assert!(
                    slot.driver.is_none() && slot.rest.guard.is_none() && slot.rest.timers.is_empty(),
                    "{key}: {slot:?}"
                );
                continue;
            }
            let unplaced = outside.unplaced.contains(&key);
            let out = running || unplaced || outside.writing.contains(&key);
            assert_eq!(slot.driver.is_none(), out, "{key}: its driver: {slot:?}");
            self.check_lists(key, &outside.turn);
            if !unplaced {
                self.check_times(key);
            }
            self.check_output(key, outside);
            match slot.phase {
                Phase::Waiting => assert!(slot.permanent.is_some(), "{key}: {slot:?}"),
                Phase::Connecting | Phase::Open => assert!(slot.rest.end.is_none(), "{key}: {slot:?}"),
                Phase::Ending => assert!(slot.rest.end.is_some(), "{key}: {slot:?}"),
                Phase::Lingering => {
                    assert!(
                        slot.rest.end.is_none() && slot.finishing && slot.rest.timers.is_empty(),
                        "{key}: {slot:?}"
                    );
                }
            }
            assert_eq!(slot.is_piped, slot.rest.pipe_to.is_some(), "{key}: {slot:?}");
            if slot.upgrade.is_some() {
                assert!(slot.phase == Phase::Open, "{key}: {slot:?}");
                assert!(slot.ready.has(Ready::UPGRADE) || running, "{key}: its layer is forgotten: {slot:?}");
            }
            if let Some(permanent) = &slot.permanent {
                let waits = slot.phase == Phase::Waiting;
                let told = slot.rest.end.is_none();
                assert!(
                    matches!(slot.phase, Phase::Waiting | Phase::Connecting | Phase::Open),
                    "{key}: {slot:?}"
                );
                // After the last attempt it is closed before its call ends.
                let right = permanent.retry_at.is_some() == (waits && told) || running;
                assert!(right, "{key}: its next attempt: {slot:?}");
                assert!(
                    told || slot.ready.has(Ready::LOST) || running,
                    "{key}: its loss is forgotten: {slot:?}"
                );
                let open = slot.phase == Phase::Open || !told;
                assert!(open || permanent.greeting.is_empty(), "{key}: {slot:?}");
                assert!(
                    !slot.is_away() || !told || !slot.rest.out.is_half(),
                    "{key}: half an item waits: {slot:?}"
                );
                if permanent.arrived.is_some() {
                    let known = slot.ready.has(Ready::ARRIVED) || running || !told;
                    assert!(slot.is_away() && known, "{key}: what has arrived is forgotten: {slot:?}");
                }
            }
            if slot.rest.children > 0 {
                let children =
                    self.slots.iter().filter(|(_, child)| !child.gone && child.rest.parent == Some(key));
                assert_eq!(slot.rest.children, children.count(), "{key}: its children");
            }
            if let Some(parent) = slot.rest.parent.and_then(|parent| self.slot(parent)) {
                assert!(parent.rest.children > 0, "{key} does not count: {parent:?}");
            }
        }
        self.check_timers();
    }

    /// Nobody who may be called, or has something to write, is forgotten; nobody stands in a list twice.
    fn check_lists(&self, key: Key, turn: &[Who]) {
        let slot = &self.slots[key.slot as usize];
        let who = Who::Connection(key);
        let places = self.ready.iter().map(|(_, who)| who).chain(turn).filter(|other| **other == who).count();
        assert_eq!(places, usize::from(slot.listed), "{key}: places among the ready: {slot:?}");
        assert!(slot.callable().is_empty() || slot.listed, "{key} is ready and forgotten: {slot:?}");
        let places = self.dirty.iter().filter(|other| **other == key).count();
        assert_eq!(places, usize::from(slot.dirty), "{key}: places among the dirty: {slot:?}");
    }

    fn check_output(&self, key: Key, outside: &Outside) {
        let slot = &self.slots[key.slot as usize];
        slot.rest.out.check_invariants();
        if slot.write_error.is_some() && slot.permanent.is_none() {
            assert!(slot.rest.out.is_empty(), "{key}: can't be written to: {slot:?}");
        }
        let taken = outside.writing.contains(&key) || outside.dirty.contains(&key);
        let held = slot.rest.output_rate.until.is_some();
        if taken || held || slot.blocked || slot.write_error.is_some() || slot.upgrade.is_some() {
            return;
        }
        let held = slot.is_held();
        let unfinished = slot.finishing && !slot.finished && slot.rest.flush_at.is_none();
        let waits = !held && (slot.rest.out.untaken() > 0 || unfinished);
        let waits = waits || slot.greets();
        let may = slot.phase == Phase::Open || (slot.phase == Phase::Lingering && self.running != Some(key));
        assert!(!(waits && may) || slot.dirty, "{key}: its output is forgotten: {slot:?}");
        // `drained` is owed: something must still be written, after which it is said.
        let owed = slot.pressed && slot.phase == Phase::Open && slot.rest.out.is_empty() && !held;
        assert!(!owed || slot.dirty, "{key} never hears that it is drained: {slot:?}");
    }

    fn check_times(&self, key: Key) {
        let slot = &self.slots[key.slot as usize];
        let first = slot.limits_in_time().map(|(_, at)| at).min();
        if let Some(first) = first {
            let (_, at) =
                slot.rest.guard.unwrap_or_else(|| panic!("{key}: nothing guards {first}: {slot:?}"));
            assert!(at <= first, "{key}: guarded at {at}, over at {first}: {slot:?}");
        }
        if let Some((handle, at)) = slot.rest.guard {
            let found = self.timers.get(handle);
            assert!(
                matches!(found, Some((deadline, Due::Guard(of))) if deadline == at && *of == key),
                "{key}: {found:?}"
            );
        }
        for (n, &handle) in slot.rest.timers.iter().enumerate() {
            let found = self.timers.get(handle).or_else(|| self.dates.get(handle));
            let Some((_, Due::Own(own))) = found else { panic!("{key}: {found:?}") };
            assert!(own.key == key && own.place as usize == n, "{key} at {n}: {own:?}");
        }
        for (n, handle) in slot.rest.due.iter().enumerate() {
            let found = self.timers.get(*handle).or_else(|| self.dates.get(*handle));
            let over = matches!(found, Some((NEVER, Due::Own(own))) if own.key == key && own.over);
            assert!(over && !slot.rest.due[..n].contains(handle), "{key}: {found:?} {slot:?}");
        }
        assert_eq!(slot.ready.has(Ready::TIMERS), !slot.rest.due.is_empty(), "{key}: {slot:?}");
    }

    fn check_timers(&self) {
        self.timers.check_invariants();
        self.dates.check_invariants();
        let mut calls = 0;
        for (handle, due) in self.timers.iter().chain(self.dates.iter()) {
            match due {
                Due::Call(_) => calls += 1,
                Due::Guard(key) => {
                    let guard = self.slot(*key).and_then(|slot| slot.rest.guard);
                    assert_eq!(guard.map(|guard| guard.0), Some(handle), "a guard without {key}");
                }
                Due::Own(own) => {
                    let slot = self.slot(own.key);
                    let stands =
                        slot.is_some_and(|slot| slot.rest.timers.get(own.place as usize) == Some(&handle));
                    assert!(stands, "a timer without its connection: {own:?}");
                }
            }
        }
        assert_eq!(self.calls, calls, "timers that keep the loop running");
    }
}
