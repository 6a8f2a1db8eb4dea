//! What peers can have logged.

use crate::world::World;
use eventdispatcher::connections::messages::{Dispatcher, Hooks};
use std::cell::RefCell;
use std::sync::Once;
use std::time::Instant;

thread_local! {
    /// What was logged in this thread.
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Info
    }
    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            LINES.with_borrow_mut(|lines| lines.push(record.args().to_string()));
        }
    }
    fn flush(&self) {}
}

/// What a service logs for `input`.
fn logged(input: &str) -> Vec<String> {
    struct Plain;
    impl Hooks for Plain {}
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Logger).unwrap();
        log::set_max_level(log::LevelFilter::Info);
    });
    LINES.take();
    World::new(Plain, Dispatcher::with_built_in()).finish(input);
    LINES.take()
}

#[test]
fn what_peers_send_is_logged_but_not_more_than_so_many_lines_in_a_second() {
    let all = [
        ("LEAK", "LEAK: 1 connections hold"),
        ("LOG_ROTATE", "LOG_ROTATE: this service has no log files"),
        ("RESTART", "RESTART has no effect"),
        ("FOO", "FOO is unknown here"),
        ("ALIVE serial=", "ALIVE refused: serial is empty"),
        ("UNKNOWN command=X", "UNKNOWN command=X"),
        ("INVALID command=X;message=m\\nn", "INVALID command=X message=m\\nn"),
        ("no message", "no message: "),
    ];
    for (line, expected) in all {
        let start = Instant::now();
        let lines = logged(&format!("{line}\n").repeat(3_000));
        assert!(lines.first().is_some_and(|first| first.contains(expected)), "{line}: {lines:?}");
        // Of each second one line more says how many were dropped.
        let seconds = start.elapsed().as_secs() as usize + 2;
        assert!(lines.len() <= 21 * seconds, "{line}: {} lines in {seconds} s", lines.len());
    }
}
