//! `ed-verify` as a process.
#![cfg(feature = "cli")]

use eventdispatcher::dispatcher::definitions::built_in_files;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn ed_verify() -> Command {
    Command::new(env!("CARGO_BIN_EXE_ed-verify"))
}

/// Runs it in a folder, and compares all that it says.
fn check(folder: &Path, arguments: &[&str], code: i32, out: &[&str], err: &[&str]) {
    let Output { status, stdout, stderr } = ed_verify().current_dir(folder).args(arguments).output().unwrap();
    let lines = |bytes| String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect::<Vec<_>>();
    let (stdout, stderr) = (lines(stdout), lines(stderr));
    assert_eq!(
        (status.code(), &stdout[..]),
        (Some(code), &out.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>()[..]),
        "{arguments:?}: {stderr:?}"
    );
    assert_eq!(stderr.len(), err.len(), "{arguments:?}: {stderr:?}");
    for (got, expected) in stderr.iter().zip(err) {
        assert!(
            got.starts_with("ed-verify: ") && got.contains(expected),
            "{arguments:?}: {got} instead of {expected}"
        );
    }
}

#[test]
fn all_that_is_wrong_is_said_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::create_dir(path.join("more")).unwrap();
    for (file, text) in [
        ("GOOD.conf", "[a]\ntype=integer\n"),
        ("BAD_TYPE.conf", "[a]\ntype=float\n"),
        ("BAD_KEY.conf", "[a]\ntipe=integer\n\nmaximun=3\n"),
        ("lower.conf", "[a]\n"),
        ("README", "not read"),
        ("more/GOOD.conf", "[a\n"),
        ("more/OTHER.conf", "[b]\nflags=required\n"),
    ] {
        fs::write(path.join(file), text).unwrap();
    }
    let key = ["BAD_KEY.conf:2:1: tipe means nothing", "BAD_KEY.conf:4:1: maximun means nothing"];
    let all = [key[0], key[1], "BAD_TYPE.conf:2:", "lower.conf: nobody reads it: the command name \"lower\""];
    check(path, &["."], 1, &[], &all);
    check(path, &["--path", "."], 1, &[], &all);
    check(path, &["GOOD.conf", "more/OTHER.conf"], 0, &[], &[]);
    check(path, &["-v", "GOOD.conf"], 0, &["GOOD: right, in GOOD.conf"], &[]);
    check(path, &["more"], 1, &[], &["more/GOOD.conf:1:1: a section is"]);
    let found =
        ["GOOD: right, in ./GOOD.conf", "OTHER: right, in more/OTHER.conf", "ALIVE: right, in the library"];
    let path_option = "--path-to-message-definitions";
    check(path, &[path_option, ".::nowhere:more", "-v", "GOOD", "OTHER", "ALIVE"], 0, &found, &[]);
    check(
        path,
        &["--path", ".", "GONE", "gone", "gone.conf", "GONE.conf"],
        1,
        &[],
        &[
            "GONE is defined nowhere",
            "gone is neither",
            "gone.conf: nobody reads it",
            "GONE.conf: No such file",
        ],
    );
    check(path, &["--path", "nowhere"], 1, &[], &["there is no file to check in nowhere"]);
    fs::create_dir(path.join("empty")).unwrap();
    check(path, &["GOOD.conf", "empty"], 1, &[], &["there is no file to check in empty"]);
    check(path, &["--path", "empty"], 1, &[], &["there is no file to check in empty"]);
    // Whoever opened it would wait for a writer.
    nix::unistd::mkfifo(&path.join("PIPE.conf"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    check(path, &["PIPE.conf"], 1, &[], &["PIPE.conf: this is no ordinary file"]);
}

#[test]
fn the_files_of_the_library_are_right() {
    let folder = tempfile::tempdir().unwrap();
    for (command, text) in built_in_files() {
        fs::write(folder.path().join(format!("{command}.conf")), text).unwrap();
    }
    check(folder.path(), &["."], 0, &[], &[]);
}

#[test]
fn help_and_pages_are_there() {
    for (option, expected) in [
        ("--help", "COMMAND|FILE.conf"),
        ("--man", ".TH ed-verify"),
        ("--completions=fish", "complete -c ed-verify"),
    ] {
        let output = ed_verify().arg(option).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.contains(expected), "{option}: {text}");
    }
    assert_eq!(ed_verify().arg("--no-such-option").output().unwrap().status.code(), Some(2));
}
