//! The example `tail`, as a user runs it.

#[path = "support/example.rs"]
mod example;
#[path = "support/program.rs"]
mod program;

use example::example;
use nix::sys::signal::Signal;
use program::{Running, command, run};
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use tempfile::tempdir;

fn tail(arguments: &[&str], paths: &[&Path]) -> Running {
    Running::start(command(example("tail"), arguments).args(paths))
}

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[track_caller]
fn expect(tail: &mut Running, lines: &[&str]) {
    for line in lines {
        assert_eq!(tail.line(), *line);
    }
}

#[test]
fn a_file_is_followed_through_every_kind_of_rotation() {
    let folder = tempdir().unwrap();
    let (path, old) = (folder.path().join("log"), folder.path().join("log.1"));
    append(&path, "there before\n");
    let mut tail = tail(&["--all"], &[&path]);
    expect(&mut tail, &["there before"]);
    append(&path, "one\ntwo\n");
    expect(&mut tail, &["one", "two"]);
    // Renamed, written to a last time under its other name, and made anew.
    let mut still_open = OpenOptions::new().append(true).open(&path).unwrap();
    fs::rename(&path, &old).unwrap();
    still_open.write_all(b"late\n").unwrap();
    append(&path, "new\n");
    expect(&mut tail, &["late", "new"]);
    // Replaced by an editor: another file takes its name in one step.
    let other = folder.path().join("other");
    append(&other, "replaced\n");
    fs::rename(&other, &path).unwrap();
    expect(&mut tail, &["replaced"]);
    // Removed, missing for a while, there again.
    fs::remove_file(&path).unwrap();
    append(&path, "again\n");
    expect(&mut tail, &["again"]);
    // Copied and cut off.
    fs::write(&path, "").unwrap();
    append(&path, "cut\n");
    expect(&mut tail, &["cut"]);
    tail.signal(Signal::SIGTERM);
    let done = tail.done();
    assert_eq!((done.code(), done.text()), (Some(0), ""), "{done:?}");
}

#[test]
fn only_what_is_new_is_printed_and_a_missing_file_is_waited_for() {
    let folder = tempdir().unwrap();
    let (there, missing) = (folder.path().join("there"), folder.path().join("folder/missing"));
    append(&there, "old\n");
    let (complaints, errors) = std::io::pipe().unwrap();
    let mut tail = Running::start(command(example("tail"), &[&there, &missing]).stderr(errors));
    let mut complaint = String::new();
    BufReader::new(complaints).read_line(&mut complaint).unwrap();
    assert!(complaint.starts_with(&format!("tail: {} is waited for: ", missing.display())), "{complaint}");
    fs::create_dir(folder.path().join("folder")).unwrap();
    append(&missing, "first\n");
    expect(&mut tail, &[&format!("==> {} <==", missing.display()), "first"]);
    append(&there, "new\n");
    expect(&mut tail, &["", &format!("==> {} <==", there.display()), "new"]);
    append(&there, "more\n");
    expect(&mut tail, &["more"]);
    tail.signal(Signal::SIGINT);
    let done = tail.done();
    assert_eq!((done.code(), done.text()), (Some(0), ""), "{done:?}");
}

#[test]
fn much_comes_whole_and_in_order_though_the_reader_is_slow() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("much");
    let text: String = (0..400_000).map(|n| format!("line {n}\n")).collect();
    fs::write(&path, &text).unwrap();
    let mut tail = tail(&["--all"], &[&path]);
    // Nothing is read for now: the pipe fills, then its queue.
    append(&path, "last\n");
    for (n, line) in text.lines().enumerate() {
        assert_eq!(tail.line(), line, "line {n}");
    }
    expect(&mut tail, &["last"]);
    tail.signal(Signal::SIGTERM);
    assert_eq!(tail.done().success(), "");
}

#[test]
fn it_ends_when_nobody_reads_what_it_prints() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("log");
    append(&path, "first\n");
    let mut tail = tail(&["--all"], &[&path]);
    expect(&mut tail, &["first"]);
    tail.close_stdout();
    append(&path, "second\n");
    assert_eq!(tail.done().success(), "");
}

#[test]
fn how_it_is_used_is_said() {
    run(&mut command(example("tail"), &[""; 0]), b"").failure(1, "tail: usage: tail [--all] FILE...\n");
}
