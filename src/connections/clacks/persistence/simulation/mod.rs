//! Servers that are killed, or lose their power, on a disk that fails: what was acknowledged must be there, and nothing
//! half. Deterministic: `ED_SEED=7` replays one seed, `ED_SEEDS=5000` runs the seeds below that.

mod cases;
mod disk;
mod random;

use super::keeper::{JournalLimits, Keeper, Task};
use super::options::{JournalSync, PersistenceOptions};
use super::paths::Paths;
use super::recovery::{Note, recover};
use super::saver::Saver;
use crate::connections::clacks::number::Operand;
use crate::connections::clacks::store::{Entry, Retention, Store, Sweep};
use crate::seeds;
use disk::MemoryDisk;
use random::Random;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

const FILE: &str = "folder/cache";
const NOW: f64 = 1_800_000_000.0;

type Entries = BTreeMap<Vec<u8>, Entry>;

fn entries(store: &Store) -> Entries {
    let plain = |entry: &Entry| {
        let mut plain = Entry::new(entry.value.to_vec(), entry.cache_time, entry.access_time);
        plain.deleted = entry.deleted;
        plain
    };
    store.entries_from(None).map(|(key, entry)| (key.to_vec(), plain(entry))).collect()
}

/// A server without its clients.
struct World {
    disk: MemoryDisk,
    options: PersistenceOptions,
    limits: JournalLimits,
    saver: Saver,
    keeper: Keeper,
    store: Store,
    /// What the threads have to do, and after which turn they were told.
    tasks: VecDeque<(Task, usize)>,
    now: Duration,
    /// The cache at the beginning and after each turn.
    history: Vec<Entries>,
    /// The last turn of which everything was on the disk itself.
    synced: usize,
    /// The last turn that was put down before a trouble began.
    kept: usize,
    notes: Vec<Note>,
}

impl World {
    fn start(disk: &MemoryDisk, options: &PersistenceOptions, limits: JournalLimits) -> Self {
        disk.restart();
        Self::start_on(disk, options, limits)
    }

    /// As [`start`](Self::start), on a disk that may fail at once.
    fn start_on(disk: &MemoryDisk, options: &PersistenceOptions, limits: JournalLimits) -> Self {
        let paths = Paths { file: options.file.clone() };
        let mut recovery = recover(disk, &paths, NOW);
        let mut store = std::mem::replace(&mut recovery.store, Store::new(None));
        let shared: Arc<MemoryDisk> = Arc::new(disk.clone());
        let mut saver = Saver::new(shared.clone(), paths);
        let mut keeper = Keeper::new(shared, options, limits, &mut recovery);
        let history = vec![entries(&store)];
        keeper.start(&mut saver, Duration::ZERO, &mut store);
        Self {
            disk: disk.clone(),
            options: options.clone(),
            limits,
            saver,
            keeper,
            store,
            tasks: VecDeque::new(),
            now: Duration::ZERO,
            history,
            synced: 0,
            kept: 0,
            notes: recovery.notes,
        }
    }

    /// The end of a turn: from here on replies leave.
    fn turn(&mut self) {
        self.keeper.turn(self.now, &mut self.store);
        self.history.push(entries(&self.store));
        if !self.keeper.is_in_trouble() {
            self.kept = self.history.len() - 1;
            if self.options.sync == JournalSync::Always {
                self.synced = self.kept;
            }
        }
        self.collect();
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.keeper.tick(self.now, &mut self.store);
        self.collect();
    }

    /// Tells the threads what to do.
    fn collect(&mut self) {
        while let Some(task) = self.keeper.task() {
            self.tasks.push_back((task, self.history.len() - 1));
        }
    }

    /// The threads do so many things.
    fn work(&mut self, count: usize) {
        for _ in 0..count {
            self.collect();
            let Some((task, turn)) = self.tasks.pop_front() else { return };
            match task {
                Task::Save(job) => {
                    if let Some(done) = self.saver.work(job) {
                        self.keeper.done(done, self.now, &mut self.store);
                    }
                }
                Task::Sync(sync) => {
                    let synced = sync.work(&self.disk);
                    let good = synced.is_good();
                    self.keeper.synced(synced, self.now, &mut self.store);
                    if good && !self.keeper.is_in_trouble() {
                        self.synced = self.synced.max(turn.min(self.kept));
                    }
                }
            }
        }
    }

    /// Waits, and works, until nothing is left to be done.
    fn settle(&mut self) {
        for _ in 0..100 {
            self.work(10_000);
            match self.keeper.next() {
                Some(next) => self.wait(next.saturating_sub(self.now)),
                None => return,
            }
        }
        panic!("it never settles: {:?}", self.keeper.next());
    }

    /// Ends in order.
    fn finish(&mut self) {
        self.keeper.finish(self.now, &mut self.store);
        self.work(10_000);
        assert!(self.keeper.is_over());
    }

    /// The next process on the same disk.
    fn again(&self) -> Self {
        Self::start(&self.disk, &self.options, self.limits)
    }

    fn set(&mut self, key: &str, value: &str) {
        self.store.store(key.as_bytes(), value.as_bytes(), NOW).unwrap();
    }

    fn get(&self, key: &str) -> Option<String> {
        let entry = self.store.get(key.as_bytes()).filter(|entry| !entry.deleted)?;
        Some(String::from_utf8(entry.value.to_vec()).unwrap())
    }

    fn troubles(&self) -> Vec<&str> {
        self.notes.iter().filter(|note| note.is_trouble).map(|note| &*note.text).collect()
    }
}

/// What clients may do in one turn.
fn change(store: &mut Store, random: &mut Random, time: f64) {
    for _ in 0..random.below(6) {
        let key = format!("key {}", random.below(12)).into_bytes();
        match random.below(20) {
            0 => store.clear(),
            1 => {
                let retention = Retention { stale_before: time - 5.0, deleted_before: time - 3.0 };
                store.sweep(&mut Sweep::default(), 100, &retention, |_, _| ());
            }
            2..5 => store.remove(&key, time).unwrap(),
            5..10 => store.increment(&key, Operand::ONE, time).unwrap(),
            _ => {
                let value = vec![b'a' + random.below(26) as u8; random.below(200) as usize];
                store.store(&key, &value, time).unwrap();
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Ending {
    /// The process is killed between two turns.
    Killed,
    /// The process is killed in the middle of something.
    Cut,
    PowerLost,
    InOrder,
}

/// One server after the other on one disk.
fn simulate(seed: u64) {
    let mut random = Random::new(seed);
    let disk = MemoryDisk::new(seed);
    let mut options = PersistenceOptions::new(FILE);
    options.sync = [JournalSync::None, JournalSync::Interval, JournalSync::Always][random.below(3) as usize];
    options.interval = Duration::from_millis(500 + random.below(3000));
    let limits = JournalLimits { fold: 500 + random.below(20_000), stop: 50_000 };
    let mut time = NOW;
    let mut earlier = vec![Entries::new()];
    for life in 0..6 {
        disk.restart();
        let fails_at_once = random.percent(30);
        if fails_at_once {
            disk.set_faults([0, 2, 5, 15][random.below(4) as usize]);
            disk.set_room([None, Some(0), Some(random.below(3000) as usize)][random.below(3) as usize]);
            if random.percent(20) {
                disk.set_fuse(1 + random.below(15));
            }
            if random.percent(40) {
                disk.set_room(None);
                disk.refuse(Some("cache_")); // the journal can be written, and the file can't
            }
        }
        let mut world = World::start_on(&disk, &options, limits);
        let with_faults = fails_at_once || random.percent(40);
        let ending = match random.below(10) {
            _ if disk.is_killed() => Ending::Cut,
            0..3 => Ending::Killed,
            3..6 => Ending::Cut,
            6..9 => Ending::PowerLost,
            _ => Ending::InOrder,
        };
        // It may have been killed in its first save.
        let turns = if disk.is_killed() { 0 } else { random.below(60) };
        let fuse_at = random.below(turns + 1);
        for turn in 0..turns {
            if with_faults && random.percent(10) {
                disk.set_faults([0, 0, 3, 10][random.below(4) as usize]);
                disk.set_room(
                    [None, None, Some(0), Some(random.below(3000) as usize)][random.below(4) as usize],
                );
            }
            if ending == Ending::Cut && turn == fuse_at {
                disk.set_fuse(1 + random.below(30));
            }
            time += 1.0;
            change(&mut world.store, &mut random, time);
            world.turn();
            if disk.is_killed() {
                break;
            }
            world.work(random.below(4) as usize);
            if random.percent(30) {
                world.wait(Duration::from_millis(random.below(2000)));
            }
            if disk.is_killed() {
                break;
            }
        }
        let last = world.history.len() - 1;
        let healthy = !world.keeper.is_in_trouble();
        let mut least = if healthy { last } else { world.kept };
        match ending {
            Ending::Killed => {}
            // It may have been killed in the middle of the last turn, of which nobody has heard.
            Ending::Cut => least = world.kept.min(last.saturating_sub(usize::from(disk.is_killed()))),
            Ending::PowerLost => {
                least = world.synced;
                disk.lose_power();
            }
            Ending::InOrder => {
                disk.restart();
                world.finish();
                assert!(
                    !world.keeper.is_in_trouble(),
                    "seed {seed}, life {life}: the disk is as good as new"
                );
                least = last;
                // What could not be removed goes at the next start.
                assert!(
                    with_faults
                        || !disk
                            .names()
                            .iter()
                            .any(|name| name.contains("_journal.") && !name.contains("_refused")),
                    "seed {seed}, life {life}: the file alone is the cache: {:?}",
                    disk.names()
                );
            }
        }
        // Looks without doing anything, so that the next server finds it as it is.
        let next = recover(&disk, &Paths { file: options.file.clone() }, NOW);
        let there = entries(&next.store);
        let found = world.history.iter().rposition(|state| *state == there);
        // What the life before has left could perhaps not even be synchronised.
        let may_be_earlier = ending == Ending::PowerLost && fails_at_once && world.synced == 0;
        let found = found.or((may_be_earlier && earlier.contains(&there)).then_some(0));
        earlier.append(&mut world.history);
        assert!(
            found.is_some_and(|found| found >= least),
            "seed {seed}, life {life}, {ending:?}, {:?}: turn {least} of {last} at least is expected, and {found:?} found\n{:#?}",
            options.sync,
            next.notes,
        );
    }
}

#[test]
fn nothing_acknowledged_is_missing_and_nothing_is_half_whatever_happens() {
    seeds::each(400, simulate);
}
