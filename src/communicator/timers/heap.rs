//! Entries in order: a 4-ary heap. Whoever keeps an entry's place is told of each that moves.

use super::Entry;

#[derive(Debug, Default)]
pub(super) struct Heap(Vec<Entry>);

impl Heap {
    pub(super) fn first(&self) -> Option<&Entry> {
        self.0.first()
    }

    pub(super) fn insert(&mut self, entry: Entry, moved: &mut impl FnMut(&Entry, usize)) {
        self.0.push(entry);
        self.sift_up(self.0.len() - 1, moved);
    }

    pub(super) fn remove(&mut self, place: usize, moved: &mut impl FnMut(&Entry, usize)) {
        self.0.swap_remove(place);
        if place < self.0.len() {
            let place = self.sift_up(place, moved);
            self.sift_down(place, moved);
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    fn put(&mut self, place: usize, entry: Entry, moved: &mut impl FnMut(&Entry, usize)) {
        self.0[place] = entry;
        moved(&entry, place);
    }

    fn sift_up(&mut self, mut place: usize, moved: &mut impl FnMut(&Entry, usize)) -> usize {
        let entry = self.0[place];
        while place > 0 {
            let parent = (place - 1) / 4;
            if !entry.before(&self.0[parent]) {
                break;
            }
            self.put(place, self.0[parent], moved);
            place = parent;
        }
        self.put(place, entry, moved);
        place
    }

    fn sift_down(&mut self, mut place: usize, moved: &mut impl FnMut(&Entry, usize)) {
        let entry = self.0[place];
        let start = place;
        loop {
            let first = 4 * place + 1;
            let Some(least) = (first..(first + 4).min(self.0.len()))
                .reduce(|a, b| if self.0[b].before(&self.0[a]) { b } else { a })
            else {
                break;
            };
            if !self.0[least].before(&entry) {
                break;
            }
            self.put(place, self.0[least], moved);
            place = least;
        }
        if place != start {
            self.put(place, entry, moved);
        }
    }

    #[cfg(test)]
    pub(super) fn entries(&self) -> &[Entry] {
        &self.0
    }

    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        for place in 1..self.0.len() {
            assert!(!self.0[place].before(&self.0[(place - 1) / 4]), "the heap is out of order at {place}");
        }
    }
}
