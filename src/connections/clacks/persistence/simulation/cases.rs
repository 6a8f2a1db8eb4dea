//! Single cases.

use super::super::disk::Disk as _;
use super::*;

fn world(change: impl FnOnce(&mut PersistenceOptions)) -> World {
    let mut options = PersistenceOptions::new(FILE);
    change(&mut options);
    World::start(&MemoryDisk::new(1), &options, JournalLimits::DEFAULT)
}

/// One key, one turn.
fn turn(world: &mut World, key: &str, value: &str) {
    world.set(key, value);
    world.turn();
}

fn segments(world: &World) -> Vec<String> {
    world.disk.names().into_iter().filter(|name| name.contains("_journal.")).collect()
}

#[test]
fn a_server_with_nothing_to_do_has_nothing_to_wait_for() {
    for journal in [true, false] {
        let mut world = world(|options| options.journal = journal);
        world.settle();
        turn(&mut world, "a", "1");
        assert!(world.keeper.next().is_some(), "a change is saved");
        world.settle();
        assert!(!world.store.is_dirty());
        assert_eq!(world.again().get("a").as_deref(), Some("1"), "journal {journal}");
    }
}

#[test]
fn without_a_journal_there_is_what_was_saved() {
    let mut world = world(|options| options.journal = false);
    turn(&mut world, "a", "1");
    world.wait(Duration::from_millis(9_999));
    world.work(100);
    assert_eq!(world.again().get("a"), None, "not before its time");
    let mut world = world.again();
    turn(&mut world, "a", "1");
    world.wait(Duration::from_secs(10));
    world.work(100);
    turn(&mut world, "a", "2");
    assert_eq!(world.again().get("a").as_deref(), Some("1"));
    assert_eq!(segments(&world), [""; 0]);
}

#[test]
fn a_value_that_was_asked_for_is_saved_and_no_change_for_the_journal() {
    let mut world = world(|_| ());
    turn(&mut world, "a", "1");
    world.settle();
    let before = segments(&world).iter().map(|name| world.disk.content(name).unwrap().len()).sum::<usize>();
    world.store.retrieve(b"a", NOW + 5.0);
    world.turn();
    let after = segments(&world).iter().map(|name| world.disk.content(name).unwrap().len()).sum::<usize>();
    assert_eq!(before, after);
    world.settle();
    assert_eq!(world.again().store.get(b"a").unwrap().access_time, NOW + 5.0);
}

#[test]
fn damage_in_the_middle_is_reported_and_nothing_behind_it_is_guessed() {
    let mut world = world(|_| ());
    for n in 0..10 {
        turn(&mut world, "a", &n.to_string());
    }
    let segment = "folder/cache_journal.1";
    world.disk.damage(segment, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    let next = world.again();
    assert_eq!(next.get("a").as_deref(), Some("3"));
    let troubles = next.troubles();
    assert!(
        matches!(troubles[..], [text] if text.starts_with(&format!("{segment}: it is damaged at byte "))),
        "{troubles:?}"
    );
    assert!(next.disk.names().contains(&format!("{segment}_refused")), "{:?}", next.disk.names());
    assert_eq!(next.again().get("a").as_deref(), Some("3"), "it was saved at once");
    assert_eq!(next.again().troubles(), [""; 0]);
}

#[test]
fn an_unfinished_turn_is_dropped_without_alarm() {
    let mut world = world(|_| ());
    turn(&mut world, "a", "1");
    turn(&mut world, "a", "2");
    world.disk.damage("folder/cache_journal.1", |bytes| bytes.truncate(bytes.len() - 1));
    let next = world.again();
    assert_eq!((next.get("a").as_deref(), next.troubles()), (Some("1"), vec![]));
}

#[test]
fn a_journal_of_another_file_is_set_aside() {
    let mut world = world(|_| ());
    turn(&mut world, "a", "1");
    world.settle();
    turn(&mut world, "a", "2");
    world.disk.damage(FILE, |bytes| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        *bytes = text.replace("data: 1", "data: 3").into_bytes();
    });
    let next = world.again();
    assert_eq!(next.get("a").as_deref(), Some("3"));
    assert!(next.troubles()[0].contains("it belongs to another persistence file"), "{:?}", next.troubles());
    assert_eq!(next.again().troubles(), [""; 0]);
}

#[test]
fn with_the_journal_the_backup_is_as_good_as_the_file() {
    let mut world = world(|_| ());
    for n in 0..3 {
        turn(&mut world, &format!("k{n}"), "1");
        world.settle();
    }
    turn(&mut world, "last", "1");
    let wanted = world.history.last().unwrap().clone();
    world.disk.damage(FILE, |bytes| bytes.truncate(bytes.len() - 1));
    let next = world.again();
    assert_eq!(next.history[0], wanted, "{:?}", next.notes);
    let names = next.disk.names();
    assert!(names.contains(&format!("{FILE}_refused")), "{names:?}");
    assert_eq!(next.disk.content(FILE), next.disk.content(&format!("{FILE}_bck")), "both are made anew");
}

#[test]
fn the_journal_is_folded_into_the_file_and_does_not_grow_for_ever() {
    let limits = JournalLimits { fold: 10_000, stop: 50_000 };
    let mut world = World::start(&MemoryDisk::new(1), &PersistenceOptions::new(FILE), limits);
    for n in 0..2_000 {
        turn(&mut world, &format!("k{}", n % 10), &"x".repeat(100));
        world.wait(Duration::ZERO);
        world.work(20);
        let bytes: usize = segments(&world).iter().map(|name| world.disk.content(name).unwrap().len()).sum();
        assert!(bytes < 25_000, "two parts of 10,000 bytes each, and {bytes} are there");
    }
}

#[test]
fn a_journal_that_can_not_be_folded_ends_before_it_fills_the_disk_and_heals() {
    let limits = JournalLimits { fold: 10_000, stop: 50_000 };
    let mut world = World::start(&MemoryDisk::new(1), &PersistenceOptions::new(FILE), limits);
    world.disk.refuse(Some("cache_"));
    for n in 0..1_000 {
        turn(&mut world, &format!("k{n}"), &"x".repeat(100));
        world.wait(Duration::from_millis(50));
        world.work(20);
    }
    let bytes: usize = segments(&world).iter().map(|name| world.disk.content(name).unwrap().len()).sum();
    assert!((50_000..52_000).contains(&bytes), "{bytes}");
    assert!(world.keeper.is_in_trouble());
    world.disk.refuse(None);
    world.settle();
    assert!(!world.keeper.is_in_trouble());
    turn(&mut world, "last", "1");
    assert_eq!(world.again().history[0], *world.history.last().unwrap());
}

#[test]
fn a_save_that_fails_loses_nothing_as_long_as_the_journal_can_be_written() {
    let mut world = world(|_| ());
    world.disk.refuse(Some("cache_"));
    for n in 0..50 {
        turn(&mut world, &format!("k{n}"), "1");
        world.wait(Duration::from_secs(5));
        world.work(20);
    }
    assert!(!world.keeper.is_in_trouble());
    assert!(segments(&world).len() <= 2, "an attempt more is no file more: {:?}", segments(&world));
    assert_eq!(world.again().history[0], *world.history.last().unwrap());
}

#[test]
fn a_cache_of_many_slices_is_saved_while_it_changes() {
    let mut world = world(|options| options.interval = Duration::from_secs(1));
    for n in 0..3_000 {
        world.set(&format!("{n:05}"), &"v".repeat(200));
    }
    world.turn();
    world.wait(Duration::from_secs(1));
    let mut slices = 0;
    while world.store.is_dirty() || world.keeper.is_busy() && slices < 100 {
        turn(&mut world, &format!("{:05}", slices * 31 % 3_000), "changed");
        turn(&mut world, &format!("{slices} is new"), "1");
        world.work(1);
        slices += 1;
        if slices == 5 || slices == 12 {
            assert_eq!(world.again().history[0], *world.history.last().unwrap(), "killed in the middle");
            world = world.again();
            world.store.mark_dirty();
            world.turn();
            world.wait(Duration::from_secs(1));
        }
        if slices > 30 {
            break;
        }
    }
    assert_eq!(world.again().history[0], *world.history.last().unwrap());
}

#[test]
fn a_start_whose_first_save_fails_keeps_what_changes_then() {
    let mut world = world(|_| ());
    turn(&mut world, "a", "1");
    world.settle();
    turn(&mut world, "b", "1");
    for n in 0..3 {
        world.disk.restart();
        world.disk.refuse(Some("cache_"));
        world = World::start_on(&world.disk, &world.options, world.limits);
        assert_eq!(world.troubles(), [""; 0]);
        turn(&mut world, &format!("k{n}"), "1");
        assert!(!world.keeper.is_in_trouble() && world.keeper.is_behind());
        let wanted = world.history.last().unwrap().clone();
        let next = world.again();
        assert_eq!(next.history[0], wanted, "{n}: {:?}", next.notes);
        if n == 1 {
            // It is saved, and kept by a journal of its own again.
            world = next;
            turn(&mut world, "c", "1");
        }
    }
}

#[test]
fn behind_damage_nothing_is_kept_before_the_cache_is_saved() {
    let mut world = world(|_| ());
    for n in 0..10 {
        turn(&mut world, "a", &n.to_string());
    }
    world.disk.damage("folder/cache_journal.1", |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    for _ in 0..2 {
        world.disk.restart();
        world.disk.refuse(Some("cache_"));
        world = World::start_on(&world.disk, &world.options, world.limits);
        assert_eq!(world.get("a").as_deref(), Some("3"));
        assert!(world.keeper.is_in_trouble(), "a new part of the journal can't follow");
        turn(&mut world, "a", "new");
    }
    world.disk.refuse(None);
    world.settle();
    assert!(!world.keeper.is_in_trouble());
    let next = world.again();
    assert_eq!((next.get("a").as_deref(), next.troubles()), (Some("new"), vec![]));
    assert!(
        next.disk.names().contains(&"folder/cache_journal.1_refused".to_owned()),
        "{:?}",
        next.disk.names()
    );
}

#[test]
fn files_that_can_not_be_used_are_all_kept() {
    let mut world = world(|_| ());
    for n in 0..3 {
        turn(&mut world, "a", &n.to_string());
        world.settle();
    }
    let backup = format!("{FILE}_bck");
    for (n, suffix) in ["", ".2", ".3"].into_iter().enumerate() {
        let damaged = [FILE, &backup].map(|path| {
            world.disk.damage(path, |bytes| bytes.push(b'0' + n as u8));
            world.disk.content(path)
        });
        world = world.again();
        let kept = [FILE, &backup].map(|path| world.disk.content(&format!("{path}_refused{suffix}")));
        assert_eq!(kept, damaged, "{:?}", world.disk.names());
        turn(&mut world, "a", "again");
        world.settle();
    }
}

#[test]
fn an_unfinished_file_that_is_all_there_is_is_not_written_over() {
    let mut world = world(|options| options.journal = false);
    turn(&mut world, "a", "1");
    world.finish();
    let whole = world.disk.content(FILE).unwrap();
    world.disk.rename(FILE.as_ref(), "folder/cache_".as_ref()).unwrap();
    for is_first in [true, false] {
        world.disk.restart();
        world.disk.set_room(Some(0));
        world = World::start_on(&world.disk, &world.options, world.limits);
        assert_eq!(world.get("a").as_deref(), Some("1"));
        assert_eq!(world.keeper.is_behind(), is_first);
        assert_eq!(world.disk.content(FILE).as_ref(), Some(&whole), "{:?}", world.disk.names());
    }
    assert_eq!(world.again().get("a").as_deref(), Some("1"));
}

#[test]
fn without_a_descriptor_the_journal_goes_on_to_the_disk() {
    let mut world = world(|options| options.sync = JournalSync::Interval);
    world.disk.run_out_of_descriptors();
    for n in 0..100 {
        turn(&mut world, &format!("k{n}"), "1");
        world.wait(Duration::from_millis(500));
        world.work(20);
        assert!(!world.keeper.is_in_trouble(), "turn {n}");
        assert!(world.synced + 4 > n, "turn {n}: {} are synchronised", world.synced);
    }
    assert!(world.keeper.is_behind(), "no save can succeed");
    let wanted = world.history[world.synced].clone();
    world.disk.lose_power();
    let there = world.again().history[0].clone();
    let found = world.history.iter().rposition(|state| *state == there);
    assert!(found >= Some(world.synced), "{found:?} is found, and {wanted:?} expected");
}
