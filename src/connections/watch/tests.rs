use super::*;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::rc::Rc;
use std::time::Duration;

/// A folder, and what is told of it, without the folder's own name.
struct Stage {
    folder: tempfile::TempDir,
    communicator: Communicator,
    key: Option<Key>,
    told: Rc<RefCell<Vec<String>>>,
}

impl Stage {
    fn new() -> Self {
        let (communicator, told) = (Communicator::new().unwrap(), Rc::default());
        Self { folder: tempfile::tempdir().unwrap(), communicator, key: None, told }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn watch(&mut self, what: impl FnOnce(Watch, &Self) -> Watch) {
        let told = self.told.clone();
        let root = self.folder.path().to_str().unwrap().to_owned();
        let call = move |event: &WatchEvent<'_>, _: &Communicator| {
            let text = event.to_string().replace(&format!("{root}/"), "").replace(&root, ".");
            told.borrow_mut().push(if event.directory { format!("{text}/") } else { text });
        };
        self.key = Some(self.communicator.watch(what(Watch::new(), self), call).unwrap());
    }

    /// What was told since the last time. The system queues an event before the call that causes it returns.
    fn told(&self) -> Vec<String> {
        for _ in 0..1000 {
            self.communicator.turn(Some(Duration::ZERO)).unwrap();
            if self.communicator.wait_hint() != Some(Duration::ZERO) {
                self.communicator.turn(Some(Duration::ZERO)).unwrap();
                return self.told.take();
            }
        }
        panic!("it never rests: {:?}", self.told);
    }

    #[track_caller]
    fn expect(&self, told: &[&str]) {
        assert_eq!(self.told(), told);
    }

    /// Truncated and written: the system makes one of two equal events in a row.
    fn write(&self, name: &str) {
        fs::write(self.path(name), "text").unwrap();
    }

    fn mkdir(&self, name: &str) {
        fs::create_dir_all(self.path(name)).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    fn remove(&self, name: &str) {
        let path = self.path(name);
        if path.is_dir() && !path.is_symlink() {
            fs::remove_dir_all(path).unwrap();
        } else {
            fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn a_file_is_followed_through_its_whole_life() {
    let mut stage = Stage::new();
    stage.write("file");
    stage.watch(|watch, stage| watch.file(stage.path("file")));
    stage.expect(&["exists file"]);
    stage.write("other");
    stage.expect(&[]);
    stage.write("file");
    stage.expect(&["modified file", "written file"]);
    fs::set_permissions(stage.path("file"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    stage.expect(&["attributes file"]);
    stage.remove("file");
    stage.expect(&["removed file"]);
    stage.write("file");
    stage.expect(&["created file", "modified file", "written file"]);
    // As editors save.
    stage.rename("other", "file");
    stage.expect(&["created file"]);
    stage.write("file");
    stage.expect(&["modified file", "written file"]);
    stage.rename("file", "away");
    stage.expect(&["removed file"]);
}

#[test]
fn the_use_of_files_is_told_to_who_asks_for_it() {
    for uses in [true, false] {
        let mut stage = Stage::new();
        stage.mkdir("tree/inner");
        stage.write("tree/inner/file");
        stage.write("file");
        stage.watch(|watch, stage| {
            let watch = watch.tree(stage.path("tree")).file(stage.path("file"));
            if uses { watch.uses() } else { watch }
        });
        stage.expect(&["exists tree/", "exists file", "exists tree/inner/", "exists tree/inner/file"]);
        for name in ["tree/inner/file", "file"] {
            fs::read_dir(stage.path("tree/inner")).unwrap().for_each(drop);
            assert_eq!(fs::read(stage.path(name)).unwrap(), b"text");
            let told = ["opened", "read", "closed"].map(|what| format!("{what} {name}"));
            assert_eq!(stage.told(), if uses { &told[..] } else { &[] });
            fs::File::options().append(true).open(stage.path(name)).unwrap();
            let told = [format!("opened {name}"), format!("written {name}")];
            assert_eq!(stage.told(), told[usize::from(!uses)..]);
        }
    }
}

#[test]
fn what_is_not_there_yet_is_found_when_its_folders_come() {
    let mut stage = Stage::new();
    stage.watch(|watch, stage| watch.file(stage.path("a/b/file")).tree(stage.path("a/c")));
    stage.expect(&[]);
    stage.mkdir("a");
    stage.expect(&[]);
    stage.mkdir("a/b");
    stage.write("a/b/file");
    stage.mkdir("a/c/d");
    let told = stage.told();
    assert!(told.contains(&"created a/b/file".to_owned()), "{told:?}");
    assert!(
        told.contains(&"created a/c/".to_owned()) && told.contains(&"created a/c/d/".to_owned()),
        "{told:?}"
    );
    stage.remove("a");
    let told = stage.told();
    for gone in ["removed a/b/file", "removed a/c/d/", "removed a/c/"] {
        assert_eq!(told.iter().filter(|told| *told == gone).count(), 1, "{told:?}");
    }
    stage.mkdir("elsewhere/b");
    stage.write("elsewhere/b/file");
    stage.rename("elsewhere", "a");
    stage.expect(&["created a/b/file"]);
    stage.rename("a", "elsewhere");
    stage.expect(&["removed a/b/file"]);
    stage.write("elsewhere/b/file");
    stage.expect(&[]);
}

#[test]
fn a_folder_tells_what_is_directly_in_it_and_of_its_own_end() {
    let mut stage = Stage::new();
    stage.mkdir("folder/inner");
    stage.write("folder/file");
    stage.watch(|watch, stage| watch.directory(stage.path("folder")));
    let mut told = stage.told();
    told.sort();
    assert_eq!(told, ["exists folder/", "exists folder/file", "exists folder/inner/"]);
    stage.write("folder/inner/deep");
    stage.expect(&[]);
    stage.rename("folder/file", "folder/renamed");
    stage.expect(&["renamed folder/file to folder/renamed"]);
    stage.rename("folder/renamed", "outside");
    stage.expect(&["removed folder/renamed"]);
    stage.rename("outside", "folder/back");
    stage.expect(&["created folder/back"]);
    // Both of these crash the C++ library.
    stage.rename("folder", "other");
    stage.expect(&["removed folder/"]);
    stage.rename("other", "folder");
    let mut told = stage.told();
    told.sort();
    assert_eq!(told, ["created folder/", "created folder/back", "created folder/inner/"]);
    stage.remove("folder");
    let told = stage.told();
    assert_eq!(told.last().unwrap(), "removed folder/");
    assert_eq!(told.iter().filter(|told| told.starts_with("removed")).count(), 3, "{told:?}");
    stage.mkdir("folder");
    stage.expect(&["created folder/"]);
}

#[test]
fn a_tree_is_followed_without_a_gap_and_nothing_is_told_twice() {
    let mut stage = Stage::new();
    stage.mkdir("tree");
    stage.watch(|watch, stage| watch.tree(stage.path("tree")));
    stage.expect(&["exists tree/"]);
    let mut expected = BTreeSet::new();
    // Everything is there before the first event is looked at.
    for a in 0..5 {
        for b in 0..5 {
            stage.mkdir(&format!("tree/{a}/{b}"));
            fs::File::create(stage.path(&format!("tree/{a}/{b}/file"))).unwrap();
            expected.extend([format!("created tree/{a}/"), format!("created tree/{a}/{b}/")]);
            expected.insert(format!("created tree/{a}/{b}/file"));
        }
    }
    let told = stage.told();
    let created: Vec<&String> = told.iter().filter(|told| told.starts_with("created")).collect();
    assert_eq!(created.len(), expected.len(), "{created:?}");
    assert!(created.into_iter().all(|told| expected.contains(told)));
    stage.rename("tree/0", "tree/moved");
    stage.expect(&["renamed tree/0 to tree/moved/"]);
    stage.remove("tree/moved/3/file");
    stage.expect(&["removed tree/moved/3/file"]);
    stage.rename("tree/moved/4", "out");
    stage.expect(&["removed tree/moved/4/"]);
    stage.write("out/file");
    stage.expect(&[]);
    stage.rename("out", "tree/in");
    stage.expect(&["created tree/in/", "created tree/in/file"]);
    stage.write("tree/in/file");
    stage.expect(&["modified tree/in/file", "written tree/in/file"]);
}

/// One step in each turn, so that something can happen in between.
impl Stage {
    fn in_steps(&self) {
        let budget = crate::Budget { callbacks: 1, ..crate::Budget::default() };
        assert!(self.communicator.set_budget(self.key.unwrap(), budget));
    }

    /// Until this was told.
    #[track_caller]
    fn until(&self, told: &str) {
        for _ in 0..1000 {
            if self.told.borrow().iter().any(|other| other == told) {
                return;
            }
            self.communicator.turn(Some(Duration::ZERO)).unwrap();
        }
        panic!("not told: {told}, but {:?}", self.told);
    }

    fn step(&self) {
        self.communicator.turn(Some(Duration::ZERO)).unwrap();
    }
}

#[test]
fn a_folder_that_is_renamed_before_it_was_looked_at_is_followed_all_the_same() {
    // What is done between which steps; each leaves `tree/end/inner/file`.
    type Act = fn(&Stage);
    let make: Act = |stage| {
        stage.mkdir("tree/new/inner");
        fs::File::create(stage.path("tree/new/inner/file")).unwrap();
    };
    let cases: [(&str, &[Act]); 6] = [
        (
            "at once",
            &[|stage| {
                stage.mkdir("tree/new/inner");
                fs::File::create(stage.path("tree/new/inner/file")).unwrap();
                stage.rename("tree/new", "tree/end");
            }],
        ),
        (
            "twice at once",
            &[|stage| {
                stage.mkdir("tree/new/inner");
                fs::File::create(stage.path("tree/new/inner/file")).unwrap();
                stage.rename("tree/new", "tree/middle");
                stage.rename("tree/middle", "tree/end");
            }],
        ),
        (
            "another one has its name",
            &[|stage| {
                stage.mkdir("tree/new/inner");
                fs::File::create(stage.path("tree/new/inner/file")).unwrap();
                stage.rename("tree/new", "tree/end");
                stage.mkdir("tree/new");
            }],
        ),
        ("before it is read", &[make, |_| (), |stage| stage.rename("tree/new", "tree/end")]),
        (
            "before it is read, twice",
            &[
                make,
                |_| (),
                |stage| stage.rename("tree/new", "tree/middle"),
                |stage| {
                    stage.rename("tree/middle", "tree/end");
                },
            ],
        ),
        ("while it is read", &[make, |_| (), |_| (), |stage| stage.rename("tree/new", "tree/end")]),
    ];
    for (name, acts) in cases {
        let mut stage = Stage::new();
        stage.mkdir("tree");
        stage.watch(|watch, stage| watch.tree(stage.path("tree")));
        stage.expect(&["exists tree/"]);
        stage.in_steps();
        for act in acts {
            act(&stage);
            stage.step();
        }
        let told = stage.told();
        let files = told.iter().filter(|told| told.contains("file")).count();
        assert_eq!(files, 1, "{name}: {told:?}");
        for (path, word) in [("tree/end/inner/file", "modified"), ("tree/end/other", "created")] {
            stage.write(path);
            let told = stage.told();
            assert!(told.contains(&format!("{word} {path}")), "{name}: {told:?}");
            assert!(told.iter().all(|told| told.ends_with(path)), "{name}: {told:?}");
        }
    }
}

/// What is there, as far as it was told.
fn add_up(told: &[String]) -> BTreeSet<PathBuf> {
    let mut known: BTreeSet<PathBuf> = BTreeSet::new();
    for told in told {
        let told = told.trim_end_matches('/');
        let (what, path) = told.split_once(' ').unwrap();
        match what {
            "exists" | "created" => drop(known.insert(path.into())),
            "removed" => known.retain(|known| !known.starts_with(path)),
            "renamed" => {
                let (from, to) = path.split_once(" to ").unwrap();
                known.retain(|known| !known.starts_with(to));
                let moved =
                    known.iter().filter_map(|known| Some(Path::new(to).join(known.strip_prefix(from).ok()?)));
                let moved: Vec<PathBuf> = moved.map(|path| path.components().collect()).collect();
                known.retain(|known| !known.starts_with(from));
                known.extend(moved);
                known.insert(to.into());
            }
            _ => {}
        }
    }
    known
}

fn all_below(folder: &Path, name: &Path, found: &mut BTreeSet<PathBuf>) {
    found.insert(name.to_owned());
    for entry in fs::read_dir(folder.join(name)).into_iter().flatten().flatten() {
        let name = name.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            all_below(folder, &name, found);
        } else {
            found.insert(name);
        }
    }
}

#[test]
fn whatever_happens_to_a_tree_what_is_told_adds_up_to_it() {
    let seeds = std::env::var("ED_SEEDS").ok().map_or(150, |seeds| seeds.parse::<u64>().expect("a number"));
    for seed in 0..seeds {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut below = move |end: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random >> 11) % end
        };
        let mut stage = Stage::new();
        stage.mkdir("tree/a");
        stage.watch(|watch, stage| watch.tree(stage.path("tree")));
        stage.in_steps();
        let mut done = Vec::new();
        for _ in 0..60 {
            // A few names, so that they come again.
            let mut name = || {
                let depth = 1 + below(3);
                (0..depth).fold("tree".to_owned(), |path, _| {
                    format!("{path}/{}", ["a", "b", "c"][below(3) as usize])
                })
            };
            let (one, other) = (name(), name());
            match below(9) {
                0 | 1 => drop(fs::create_dir(stage.path(&one))),
                2 => drop(fs::create_dir_all(stage.path(&one))),
                3 => drop(fs::File::create_new(stage.path(&one))),
                4 | 5 => drop(fs::rename(stage.path(&one), stage.path(&other))),
                6 => drop(fs::remove_dir_all(stage.path(&one))),
                7 => drop(fs::remove_file(stage.path(&one))),
                _ => drop(fs::rename(stage.path(&one), stage.path("tree/d"))),
            }
            done.push((one, other));
            for _ in 0..below(5) {
                stage.step();
            }
        }
        let told = stage.told();
        let mut there = BTreeSet::new();
        all_below(stage.folder.path(), Path::new("tree"), &mut there);
        assert_eq!(add_up(&told), there, "seed {seed}: {told:#?}");
        // And all of it is followed.
        for folder in there.iter().filter(|path| stage.folder.path().join(path).is_dir()) {
            let file = folder.join("new").to_str().unwrap().to_owned();
            fs::File::create(stage.path(&file)).unwrap();
            assert!(stage.told().contains(&format!("created {file}")), "seed {seed}: {file}");
        }
    }
}

#[test]
fn what_was_renamed_away_since_it_was_looked_at_may_be_made_anew() {
    let mut stage = Stage::new();
    for name in ["folder/log", "folder/other"] {
        stage.mkdir("folder");
        fs::File::create(stage.path(name)).unwrap();
    }
    stage.watch(|watch, stage| watch.directory(stage.path("folder")));
    stage.in_steps();
    stage.until("exists folder/log");
    stage.rename("folder/log", "folder/log.1");
    fs::File::create(stage.path("folder/log")).unwrap();
    let told = stage.told();
    assert!(told.contains(&"renamed folder/log to folder/log.1".to_owned()), "{told:?}");
    assert!(told.contains(&"created folder/log".to_owned()), "{told:?}");
}

#[test]
fn names_that_change_twice_at_once_tell_nothing_anew() {
    let mut stage = Stage::new();
    stage.mkdir("tree/one/inner");
    stage.write("tree/one/inner/file");
    stage.watch(|watch, stage| watch.tree(stage.path("tree")));
    stage.told();
    stage.rename("tree/one", "tree/two");
    stage.rename("tree/two", "tree/three");
    stage.expect(&["renamed tree/one to tree/two/", "renamed tree/two to tree/three/"]);
    stage.write("tree/three/inner/file");
    stage.expect(&["modified tree/three/inner/file", "written tree/three/inner/file"]);
    stage.write("tree/three/new");
    assert_eq!(stage.told()[0], "created tree/three/new");
}

#[test]
fn a_pattern_tells_only_of_names_that_match() {
    let mut stage = Stage::new();
    for name in ["a.conf", "b.txt", ".c.conf"] {
        stage.write(name);
    }
    stage.watch(|watch, stage| watch.pattern(stage.path("*.conf")));
    stage.expect(&["exists a.conf"]);
    stage.rename("a.conf", "a.bak");
    stage.expect(&["removed a.conf"]);
    stage.rename("a.bak", "d.conf");
    stage.expect(&["created d.conf"]);
    stage.rename("d.conf", "e.conf");
    stage.expect(&["renamed d.conf to e.conf"]);
    stage.write("b.txt");
    stage.expect(&[]);
    stage.remove("e.conf");
    stage.expect(&["removed e.conf"]);
}

#[test]
fn a_link_is_watched_itself_or_for_what_it_points_to() {
    for (follows, changed) in [(true, true), (false, false)] {
        let mut stage = Stage::new();
        stage.mkdir("one");
        stage.mkdir("two");
        stage.write("one/file");
        stage.write("two/file");
        symlink("one/file", stage.path("link")).unwrap();
        stage.watch(
            |watch, stage| {
                if follows { watch.file(stage.path("link")) } else { watch.link(stage.path("link")) }
            },
        );
        stage.expect(&["exists link"]);
        stage.write("one/file");
        assert_eq!(stage.told().contains(&"written link".to_owned()), changed);
        symlink("two/file", stage.path("new")).unwrap();
        stage.rename("new", "link");
        let told = stage.told();
        assert!(told.contains(&"created link".to_owned()), "{told:?}");
        stage.write("two/file");
        assert_eq!(stage.told().contains(&"written link".to_owned()), changed);
        stage.write("one/file");
        assert_eq!(stage.told(), Vec::<String>::new(), "the old one is still watched");
        stage.remove("link");
        stage.expect(&["removed link"]);
    }
}

#[test]
fn a_link_among_the_folders_above_may_be_changed() {
    let mut stage = Stage::new();
    for name in ["one", "two"] {
        stage.mkdir(name);
        stage.write(&format!("{name}/file"));
    }
    symlink("one", stage.path("current")).unwrap();
    stage.watch(|watch, stage| watch.file(stage.path("current/file")));
    stage.expect(&["exists current/file"]);
    symlink("two", stage.path("new")).unwrap();
    stage.rename("new", "current");
    stage.told();
    stage.write("two/file");
    stage.expect(&["modified current/file", "written current/file"]);
    stage.write("one/file");
    stage.expect(&[]);
}

#[test]
fn lost_events_are_said_and_everything_is_looked_at_again() {
    let mut stage = Stage::new();
    stage.write("watched");
    stage.mkdir("tree");
    stage.watch(|watch, stage| watch.file(stage.path("watched")).tree(stage.path("tree")));
    stage.told();
    let most: usize =
        fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    let (one, other) = (stage.path("tree/a"), stage.path("tree/b"));
    fs::write(&one, "").unwrap();
    // Two events each; equal ones that follow each other would count as one.
    for _ in 0..most / 4 + 10 {
        fs::rename(&one, &other).unwrap();
        fs::rename(&other, &one).unwrap();
    }
    stage.remove("watched");
    stage.mkdir("tree/new/deep");
    let told = stage.told();
    let lost = told.iter().position(|told| told == "events were lost").expect("no word of the loss");
    let mut after = told[lost + 1..].to_vec();
    after.sort();
    assert_eq!(
        after,
        ["exists tree/", "exists tree/a", "exists tree/new/", "exists tree/new/deep/", "removed watched"]
    );
    stage.remove("tree/new/deep");
    stage.expect(&["removed tree/new/deep/"]);
}

#[test]
fn more_folders_than_may_be_watched_are_said() {
    let mut stage = Stage::new();
    for n in 0..10 {
        stage.mkdir(&format!("tree/{n}"));
    }
    let above = stage.path("tree").ancestors().count();
    stage.watch(|watch, stage| watch.tree(stage.path("tree")).most(above + 4));
    let told = stage.told();
    assert_eq!(told.iter().filter(|told| told.starts_with("unwatched tree/")).count(), 6, "{told:?}");
    assert_eq!(told.iter().filter(|told| told.starts_with("exists")).count(), 11, "{told:?}");
}

#[test]
fn it_can_be_switched_off_removed_and_given_a_priority_from_inside() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..5 {
        fs::write(folder.path().join(n.to_string()), "").unwrap();
    }
    let communicator = Communicator::new().unwrap();
    let (seen, own) = (Rc::new(RefCell::new(0)), Rc::new(RefCell::new(None)));
    let (count, key) = (seen.clone(), own.clone());
    let id = communicator
        .watch(Watch::new().directory(folder.path()), move |_, communicator| {
            *count.borrow_mut() += 1;
            let key: Key = key.borrow().unwrap();
            match *count.borrow() {
                2 => {
                    communicator.set_priority(key, 7);
                    communicator.enable(key, false);
                    communicator.after(Duration::ZERO, move |communicator| {
                        communicator.enable(key, true);
                    });
                }
                4 => assert!(communicator.remove(key)),
                _ => {}
            }
        })
        .unwrap();
    *own.borrow_mut() = Some(id);
    communicator.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!((*seen.borrow(), communicator.priority(id)), (2, Some(7)));
    communicator.run().unwrap();
    assert_eq!(*seen.borrow(), 4);
}
