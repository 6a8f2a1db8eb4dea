//! What the kernel tells of all processes.

mod bed;

use bed::{DEADLINE, Log, assert_log, settle, until};
use eventdispatcher::{Communicator, Key, process_events::Happened};
use std::io::{ErrorKind, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

/// Set for a copy of this program that runs where the kernel tells nothing.
const SHUT_OUT: &str = "EVENTS_OF_PROCESSES_SHUT_OUT";

/// Writes down what happens to processes. `None` where the kernel does not tell this process, with a clear
/// error.
#[track_caller]
fn watch(
    communicator: &Communicator,
    mut call: impl FnMut(u32, Happened<'_>, &Communicator) + 'static,
) -> Option<Key> {
    match communicator.process_events(move |event, communicator| {
        call(event.task.process, event.happened, communicator);
    }) {
        Ok(key) => Some(key),
        Err(error) => {
            let expected = match error.kind() {
                ErrorKind::PermissionDenied => "the kernel does not tell of processes: ",
                _ => "the kernel has no process connector",
            };
            assert!(error.to_string().starts_with(expected), "{error}");
            assert!(!(nix::unistd::getuid().is_root() && in_first_namespaces()), "{error}");
            assert!(communicator.is_empty());
            None
        }
    }
}

/// Their numbers are part of the kernel's interface.
fn in_first_namespaces() -> bool {
    [("user", "user:[4026531837]"), ("pid", "pid:[4026531836]")].iter().all(|(name, first)| {
        std::fs::read_link(format!("/proc/self/ns/{name}")).is_ok_and(|link| link.as_os_str() == *first)
    })
}

#[test]
fn the_whole_life_of_a_process_is_told() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let told = log.clone();
    let own = std::process::id();
    let watched = watch(&communicator, move |process, happened, _| {
        told.say(match happened {
            Happened::Fork { parent } if parent.process == own => format!("{process} fork"),
            Happened::Exec => format!("{process} exec"),
            Happened::User { real, effective } => format!("{process} user {real} {effective}"),
            Happened::Group { real, effective } => format!("{process} group {real} {effective}"),
            Happened::Session => format!("{process} session"),
            Happened::Name(name) => format!("{process} name {}", String::from_utf8_lossy(name)),
            Happened::CoreDump { parent } => {
                format!("{process} dumps {}", parent.is_none_or(|parent| parent.process == own))
            }
            Happened::Exit { status, .. } => format!("{process} exit {status}"),
            _ => return,
        });
    });
    if watched.is_none() {
        return;
    }
    let info = communicator.connection(watched.unwrap()).unwrap();
    assert_eq!((info.kind, communicator.len()), ("process events", 1));
    let life = |command: &mut Command, expected: &[&str]| {
        let mut child = command.stdin(Stdio::null()).spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        let end = expected.last().unwrap();
        until(&communicator, || log.has(&format!("{pid} {end}")));
        let of_it = |line: String| line.strip_prefix(&format!("{pid} ")).map(str::to_owned);
        let found: Vec<_> = log.take().into_iter().filter_map(of_it).collect();
        // A name is told at the start of a program, too, by some kernels.
        let mut found = found.iter().map(String::as_str);
        for expected in expected {
            assert!(found.any(|found| found == *expected), "{expected}: {found:?}");
        }
    };
    life(Command::new("true").arg("x"), &["fork", "exec", "exit exit status: 0"]);
    let script = "printf another > /proc/self/comm; exit 3";
    let named = ["fork", "exec", "name another", "exit exit status: 3"];
    life(Command::new("sh").args(["-c", script]), &named);
    let killed = Command::new("sh").args(["-c", "ulimit -c 0; kill -SEGV $$"]).status().unwrap();
    let ends = format!("exit {killed}");
    life(Command::new("sh").args(["-c", "ulimit -c 0; kill -SEGV $$"]), &["dumps true", &ends]);
    life(Command::new("setsid").arg("true"), &["session", "exec", "exit exit status: 0"]);
    if nix::unistd::getuid().is_root() {
        let nobody = ["fork", "group 65534 65534", "user 65534 65534", "exec", "exit exit status: 0"];
        life(Command::new("true").uid(65534).gid(65534), &nobody);
    }
}

#[test]
fn it_is_said_when_events_were_lost_and_it_goes_on() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let told = log.clone();
    let own = std::process::id();
    let Some(key) = watch(&communicator, move |process, happened, _| match happened {
        Happened::Lost => told.say("lost"),
        Happened::Name(name) if process == own => told.say(String::from_utf8_lossy(name)),
        _ => {}
    }) else {
        return;
    };
    communicator.enable(key, false);
    let mut name = std::fs::OpenOptions::new().write(true).open("/proc/thread-self/comm").unwrap();
    for n in 0..30_000 {
        name.write_all(format!("n{n}").as_bytes()).unwrap();
    }
    communicator.enable(key, true);
    until(&communicator, || log.has("lost"));
    settle(&communicator);
    let kept = log.take().iter().filter(|line| line.starts_with('n')).count();
    assert!((100..30_000).contains(&kept), "{kept}");
    name.write_all(b"goes on").unwrap();
    until(&communicator, || log.has("goes on"));
}

#[test]
fn its_own_call_may_switch_it_off_or_take_it_away() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let mut name = std::fs::OpenOptions::new().write(true).open("/proc/thread-self/comm").unwrap();
    let own = std::process::id();
    for what in ["off", "remove", "close", "panic"] {
        let key = std::rc::Rc::new(std::cell::Cell::new(None));
        let (told, itself) = (log.clone(), key.clone());
        let Some(added) = watch(&communicator, move |process, happened, communicator| {
            let Happened::Name(name) = happened else { return };
            if process != own || !name.starts_with(what.as_bytes()) {
                return;
            }
            told.say(String::from_utf8_lossy(name));
            let key: Key = itself.get().unwrap();
            match what {
                "off" => communicator.enable(key, false),
                "remove" => communicator.remove(key),
                "close" => communicator.close(key),
                _ => panic!("in an event, as it should"),
            };
        }) else {
            return;
        };
        key.set(Some(added));
        name.write_all(format!("{what} 1").as_bytes()).unwrap();
        name.write_all(format!("{what} 2").as_bytes()).unwrap();
        until(&communicator, || log.len() == 1);
        settle(&communicator);
        assert_log(&log, &[&format!("{what} 1")]);
        assert_eq!(communicator.enable(added, true), what == "off");
        if what == "off" {
            until(&communicator, || log.len() == 1);
            assert_log(&log, &["off 2"]);
        }
        communicator.remove(added);
    }
    assert!(communicator.is_empty());
}

#[test]
fn where_the_kernel_does_not_tell_the_error_says_so() {
    if std::env::var_os(SHUT_OUT).is_some() {
        let error = Communicator::new().unwrap().process_events(|_, _| ()).unwrap_err();
        println!("refused: {:?}: {error}", error.kind());
        return;
    }
    // A namespace of users of its own: there it has all privileges, and none of them counts for this.
    let tests = std::env::current_exe().unwrap();
    let this = ["--exact", "where_the_kernel_does_not_tell_the_error_says_so", "--nocapture"];
    let begin = Instant::now();
    let output = Command::new("unshare").arg("-U").arg(tests).args(this).env(SHUT_OUT, "1").output().unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if errors.contains("unshare") {
        return; // such namespaces are forbidden here, and so is asking from inside of one
    }
    assert_eq!(output.status, ExitStatus::default(), "{text}{errors}");
    assert!(
        text.contains("refused: PermissionDenied: the kernel does not tell of processes: "),
        "{text}{errors}"
    );
    assert!(begin.elapsed() < DEADLINE);
}
