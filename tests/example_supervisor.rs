//! The example `supervisor`, as a user runs it.

#[path = "support/example.rs"]
mod example;
#[path = "support/program.rs"]
mod program;

use example::example;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getuid};
use program::{Running, command, run};
use std::fs;
use std::path::Path;
use tempfile::{TempDir, tempdir};

/// A folder with scripts, and the supervisor of them.
struct Stage {
    folder: TempDir,
    services: String,
}

impl Stage {
    fn new() -> Self {
        Self { folder: tempdir().unwrap(), services: String::new() }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// A program of this name that does what the script says.
    fn service(&mut self, name: &str, script: &str) {
        let path = self.path(name);
        fs::write(&path, script).unwrap();
        self.services += &format!("{name} sh {path} # a comment\n\n");
    }

    fn start(&self, times: &[&str]) -> Running {
        let path = self.path("services");
        fs::write(&path, &self.services).unwrap();
        Running::start(command(example("supervisor"), &[path.as_str()]).args(times))
    }
}

/// What a script begins with that shall `wait` for signals: it reads what nobody writes. A program that waits in its place could
/// be just about to start when a signal comes, and lose it.
const WAITS: &str =
    "p=$(mktemp -u); mkfifo $p; exec 3<>$p; rm $p; wait_for_ever() { while :; do read x <&3; done; }\n";

/// Reads on to this line; what may come with a number behind it is given without.
#[track_caller]
fn expect(supervisor: &mut Running, expected: &str) -> String {
    loop {
        let line = supervisor.line();
        if let Some(rest) = line.strip_prefix(expected) {
            return rest.to_owned();
        }
    }
}

fn is_running(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}

#[test]
fn what_ends_is_started_again_after_a_pause_that_grows() {
    let mut stage = Stage::new();
    stage.service("fails", "echo trying; echo badly >&2; exit 3\n");
    let mut supervisor = stage.start(&["10", "40", "5000"]);
    for pause in [10, 20, 40, 40] {
        expect(&mut supervisor, "fails: started as ");
        // The two streams of a program come in any order.
        let mut lines = [supervisor.line(), supervisor.line()];
        lines.sort();
        assert_eq!(lines, ["fails| badly", "fails| trying"]);
        assert_eq!(supervisor.line(), "fails: ended, exit status: 3");
        assert_eq!(supervisor.line(), format!("fails: again in {pause} ms"));
    }
    supervisor.signal(Signal::SIGTERM);
    let done = supervisor.done();
    assert_eq!((done.code(), &*done.stderr), (Some(0), ""), "{done:?}");
}

#[test]
fn one_that_is_killed_comes_back_and_the_others_are_left_alone() {
    let mut stage = Stage::new();
    let waits = format!("{WAITS} trap 'exit 0' TERM; echo ready; wait_for_ever\n");
    stage.service("one", &waits);
    stage.service("other", &waits);
    let mut supervisor = stage.start(&["1", "5", "60000"]);
    let one = expect(&mut supervisor, "one: started as ");
    let other = expect(&mut supervisor, "other: started as ");
    expect(&mut supervisor, "other| ready");
    kill(Pid::from_raw(one.parse().unwrap()), Signal::SIGKILL).unwrap();
    assert_eq!(expect(&mut supervisor, "one: ended, "), "signal: 9 (SIGKILL)");
    let again = expect(&mut supervisor, "one: started as ");
    assert_ne!(again, one);
    expect(&mut supervisor, "one| ready");
    assert!(is_running(&other));
    supervisor.signal(Signal::SIGINT);
    let text = supervisor.done().success().to_owned();
    assert!(text.contains(&format!("supervisor: SIGINT from user {}\n", getuid())), "{text}");
    for (name, pid) in [("one", again), ("other", other)] {
        assert!(text.contains(&format!("{name}: ended, exit status: 0\n")), "{text}");
        assert!(!is_running(&pid));
    }
}

#[test]
fn signals_are_passed_on() {
    let mut stage = Stage::new();
    let script = format!(
        "{WAITS} for s in HUP USR1 USR2; do trap \"echo got $s\" $s; done; trap 'exit 0' TERM\n\
         echo ready; wait_for_ever\n"
    );
    stage.service("listens", &script);
    let mut supervisor = stage.start(&[]);
    expect(&mut supervisor, "listens| ready");
    for (signal, name) in [(Signal::SIGHUP, "HUP"), (Signal::SIGUSR1, "USR1"), (Signal::SIGUSR2, "USR2")] {
        supervisor.signal(signal);
        expect(&mut supervisor, &format!("listens| got {name}"));
    }
    supervisor.signal(Signal::SIGTERM);
    supervisor.done().success();
}

#[test]
fn one_that_does_not_end_when_it_is_asked_is_killed() {
    let mut stage = Stage::new();
    stage.service("deaf", "trap '' TERM; echo ready; while :; do sleep 1000; done\n");
    for (stop, signals) in [("30", 1), ("3600000", 2)] {
        let mut supervisor = stage.start(&["1", "1", stop]);
        expect(&mut supervisor, "deaf| ready");
        supervisor.signal(Signal::SIGTERM);
        expect(&mut supervisor, "supervisor: SIGTERM");
        if signals == 2 {
            supervisor.signal(Signal::SIGTERM); // it need not wait
        }
        let text = supervisor.done().success().to_owned();
        assert!(text.contains("deaf: ended, signal: 9 (SIGKILL)\n"), "{text}");
        assert!(!text.contains("again"), "{text}");
    }
}

#[test]
fn what_can_not_be_started_is_said_and_tried_again() {
    let mut stage = Stage::new();
    let program = stage.path("not there yet").replace(' ', "_");
    stage.services = format!("late {program}\n");
    let mut supervisor = stage.start(&["1", "20", "100"]);
    let error = expect(&mut supervisor, "late: can't be started: ");
    assert!(error.contains("not_there_yet"), "{error}");
    let script = format!("#!/bin/sh\n{WAITS} trap 'exit 0' TERM; echo here; wait_for_ever\n");
    let made = format!("{program}.new");
    fs::write(&made, script).unwrap();
    fs::set_permissions(&made, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    fs::rename(&made, &program).unwrap();
    expect(&mut supervisor, "late| here");
    supervisor.signal(Signal::SIGTERM);
    supervisor.done().success();
}

#[test]
fn a_bad_file_is_refused_with_its_place() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("services");
    for (text, error) in [
        ("", "there is nothing to start"),
        ("# nothing\n\n", "there is nothing to start"),
        ("a true\nb\n", "line 2: b: a program is missing"),
        ("a true\na true\n", "line 2: there is a a already"),
    ] {
        fs::write(&path, text).unwrap();
        let refused = format!("supervisor: {}: {error}\n", path.display());
        run(&mut command(example("supervisor"), &[&path]), b"").failure(1, &refused);
    }
    let none = run(&mut command(example("supervisor"), &[""; 0]), b"");
    none.failure(1, "supervisor: usage: supervisor FILE [FIRST LAST STOP]\n");
    let times = [path.to_str().unwrap(), "fast"];
    fs::write(&path, "a true\n").unwrap();
    run(&mut command(example("supervisor"), &times), b"")
        .failure(1, "supervisor: fast: not a number of milliseconds");
}
