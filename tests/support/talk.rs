//! What tests that talk to a server line by line have in common. Whatever is not as expected is a panic.

use super::{Clacksd, Client, show};

const CLACKSD: Option<&str> = option_env!("CARGO_BIN_EXE_clacksd");

/// A server with these settings, and the users `admin` and `rw`.
pub(crate) fn clacksd(settings: &str) -> Clacksd {
    Clacksd::start(CLACKSD.expect("cargo builds clacksd before it runs this test"), &configuration(settings))
}

fn configuration(settings: &str) -> String {
    format!(
        "<clacks><socket>wire.sock</socket><username>admin</username><password>adminpass</password>\
         <user username='rwuser' password='rwpass' read='1' write='1'/>{settings}</clacks>"
    )
}

/// A client that sees all that happens.
#[track_caller]
pub(crate) fn monitor(server: &mut Clacksd) -> Client {
    let mut monitor = server.join("monitor", "admin").unwrap();
    monitor.send(b"MONITOR\r\n").unwrap();
    assert!(line(&mut monitor).ends_with("=MONITOR"));
    monitor
}

/// The next line, as text.
#[track_caller]
pub(crate) fn line(client: &mut Client) -> String {
    client.line().unwrap().map_or("<EOF>".to_owned(), |line| String::from_utf8_lossy(&line).into_owned())
}

/// The next line that has `text` in it.
#[track_caller]
pub(crate) fn line_with(client: &mut Client, text: &str) -> String {
    loop {
        let line = line(client);
        if line.contains(text) {
            return line;
        }
        assert_ne!(line, "<EOF>", "before a line with {text:?}");
    }
}

#[track_caller]
pub(crate) fn check_lines(client: &mut Client, wanted: &[&str]) {
    for wanted in wanted {
        let line = line(client);
        assert!(line == *wanted, "{} came instead of {}", show(line.as_bytes()), show(wanted.as_bytes()));
    }
}

/// The server is well: it answers, and nothing in it panicked.
#[track_caller]
pub(crate) fn check_well(server: &mut Clacksd) {
    let mut client = server.join("well", "rw").unwrap();
    client.send(b"STORE well=1\r\nRETRIEVE well\r\n").unwrap();
    check_lines(&mut client, &["RETRIEVED well=1"]);
    server.alive().unwrap();
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

/// How many bytes were lost with the client that is gone, as monitors are told.
#[track_caller]
pub(crate) fn discarded(monitor: &mut Client) -> usize {
    let line = line_with(monitor, "DEBUG DISCONNECTED=");
    let count = line.split('(').nth(1).and_then(|rest| rest.split(' ').next());
    count.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{line:?} has no count"))
}
