//! `export`, `import`, `copy` and `watch`.

use crate::program::{self, Running};
use crate::server::{PASSWORD, TestServer};
use nix::sys::signal::Signal;

#[test]
fn entries_go_out_and_come_back() {
    let server = TestServer::start();
    let mut client = server.client();
    // More than are under way at a time.
    let entries: Vec<(String, String)> =
        (0..2500).map(|n| (format!("key{n:04}"), format!("v={n}"))).collect();
    client.store_many(entries.iter().map(|(key, value)| (key, value))).unwrap();
    client.store(b"other", b"").unwrap();
    client.store(b"=", b"=x").unwrap();
    server.run(&["store", "lines", "one\ntwo"]).success();

    let exported = server.run(&["export", "key*"]);
    let expected: String = entries.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
    assert_eq!(exported.success(), expected);
    let all = server.run(&["export"]).success().to_owned();
    assert_eq!(all.lines().count(), 2503, "a line each");
    assert!(
        all.starts_with("===x\n")
            && all.contains("\nother=\n")
            && all.contains("\nlines=PAGECAMELCLACKSB64:"),
        "{all}"
    );

    let other = TestServer::start();
    assert_eq!(other.run_with(&["import"], all.as_bytes()).success(), "");
    assert_eq!(other.run(&["export"]).success(), all);
    assert_eq!(other.run(&["get", "lines"]).success(), "one\ntwo\n");

    let file = server.runtime_folder().join("entries");
    std::fs::write(&file, "a=1\nb=2\nno entry\nc=3\n").unwrap();
    let bad = other.run(&["import", file.to_str().unwrap()]);
    bad.failure(2, &format!("clacks: {}:3: this is no entry: KEY=VALUE is expected\n", file.display()));
    other.run(&["import", "/nowhere/x"]).failure(2, "clacks: can't open /nowhere/x: ");
    program::run(&mut other.clacks_as("reader", &["import"]), b"a=1\n")
        .failure(1, "clacks: permission denied");
}

#[test]
fn a_bad_line_ends_an_import_behind_the_batches_before_it() {
    let server = TestServer::start();
    let lines = |count: usize| (0..count).map(|n| format!("{n:04}=\n")).collect::<String>() + "no entry\n";
    server
        .run_with(&["import"], lines(999).as_bytes())
        .failure(2, "clacks: standard input:1000: this is no entry");
    assert_eq!(server.run(&["keys"]).success(), "");
    server
        .run_with(&["import"], lines(1500).as_bytes())
        .failure(2, "clacks: standard input:1501: this is no entry");
    assert_eq!(server.run(&["keys"]).success().lines().count(), 1000);
    let help = server.run(&["import", "--help"]).success().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains("It is not all or nothing: entries are stored in batches of 1000"), "{help}");
}

#[test]
fn entries_are_copied_to_another_server() {
    let (from, to) = (TestServer::start(), TestServer::start());
    from.run_with(&["import"], b"a=1\nb=2\nab=3\n").success();
    to.run_with(&["import"], b"a=old\nown=4\n").success();
    let socket = to.socket();
    let copied = from.run(&["copy", "a*", "--to-socket", socket.to_str().unwrap()]);
    assert_eq!(copied.success(), "");
    assert_eq!(to.run(&["export"]).success(), "a=1\nab=3\nown=4\n");
    // By whatever name it goes.
    let link = from.runtime_folder().join("link");
    std::os::unix::fs::symlink(from.socket(), &link).unwrap();
    for same in [from.socket(), link] {
        let wanted = format!(
            "clacks: can't copy from a server to itself: {} is where it comes from\n",
            same.display()
        );
        from.run(&["copy", "--to-socket", same.to_str().unwrap()]).failure(2, &wanted);
    }
    let itself = ["--host", "localhost:1", "copy", "--to-host", "localhost:1"];
    from.run(&itself)
        .failure(2, "clacks: can't copy from a server to itself: localhost:1 is where it comes from\n");

    let password = from.runtime_folder().join("p");
    std::fs::write(&password, "wrong\n").unwrap();
    let to_file =
        ["copy", "--to-socket", socket.to_str().unwrap(), "--to-password-file", password.to_str().unwrap()];
    from.run(&to_file).failure(1, "clacks: login failed");
    std::fs::write(&password, PASSWORD).unwrap();
    assert_eq!(from.run(&to_file).success(), "");
    assert_eq!(to.run(&["export"]).success(), "a=1\nab=3\nb=2\nown=4\n");
}

#[test]
fn a_table_shows_what_happens() {
    let server = TestServer::start();
    let mut monitor = server.monitor();
    let watch = ["watch", "--interval", "0.05"];
    let mut all = Running::start(&mut server.clacks(&watch));
    monitor.wait_for("MONITOR");
    let mut some = Running::start(&mut server.clacks(&[&watch[..], &["x"]].concat()));
    monitor.wait_for("LISTEN x");
    let mut client = server.client();
    client.set(b"x", b"1").unwrap();
    client.store(b"y", b"2").unwrap();
    let wait_for = |running: &mut Running, end: &str| loop {
        if running.line().ends_with(end) {
            return;
        }
    };
    wait_for(&mut all, " x=1");
    wait_for(&mut all, " y=2");
    wait_for(&mut some, " 1  x=1");
    for mut running in [all, some] {
        running.close_stdout();
        running.signal(Signal::SIGINT);
        drop(running.done());
    }
    let done = server.run(&["watch", "--interval", "0.01", "--count", "2", "x"]);
    let head = "PER SECOND        TOTAL  NAME=VALUE\n\n";
    assert_eq!(done.success(), head.repeat(2));
    program::run(&mut server.clacks_as("reader", &["watch"]), b"").failure(1, "clacks: permission denied");
}

#[test]
fn an_entry_of_the_longest_line_can_be_read_again() {
    let server = TestServer::start();
    // 16 MiB are the longest line unless set.
    let value = "x".repeat((16 << 20) - "STORE big=".len());
    server.run_with(&["store", "big", "-"], value.as_bytes()).success();
    assert!(server.run(&["get", "big"]).success().trim_end() == value, "the value is another one");
    let exported = server.run(&["export", "big"]);
    assert!(
        exported.success().trim_end().strip_prefix("big=") == Some(&*value),
        "the exported value is another one"
    );
    // By a client on a communicator, too.
    let raw = server.run_with(&["raw"], b"RETRIEVE big\nFLUSH end\n");
    assert!(raw.success().contains(&format!("RETRIEVED big={value}")), "the line is another one");
}
