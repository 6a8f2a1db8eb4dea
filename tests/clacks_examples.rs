//! The story that the programs in `examples/clacks` tell, with a server and all of them as processes.
#![cfg(all(feature = "clacks", feature = "cli"))]

#[path = "support/program.rs"]
mod program;

use program::{Done, Running};
use std::env;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// A server in a folder of its own, found as a user's programs find it.
struct Story {
    runtime: TempDir,
    /// None once it was killed.
    server: Option<Running>,
}

impl Story {
    fn begin() -> Self {
        let runtime = TempDir::new().expect("a temporary folder can be made");
        let mut command = program::command(env!("CARGO_BIN_EXE_clacksd"), &[""; 0]);
        command.env("XDG_RUNTIME_DIR", runtime.path());
        let mut server = Running::start(&mut command);
        let line = server.line();
        assert!(line.starts_with("clacksd: listening on "), "{line:?}");
        Self { runtime, server: Some(server) }
    }

    fn example(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = program::command(example(name), arguments);
        command.env("XDG_RUNTIME_DIR", self.runtime.path());
        command
    }

    /// Runs an example to its end.
    fn run(&self, name: &str, arguments: &[&str]) -> Done {
        program::run(&mut self.example(name, arguments), b"")
    }

    /// Starts an example that goes on.
    fn start(&self, name: &str) -> Running {
        Running::start(&mut self.example(name, &[]))
    }
}

/// Where cargo has put an example: beside the folder that this test is in.
fn example(name: &str) -> PathBuf {
    let test = env::current_exe().expect("a test knows where it is");
    let target = test.ancestors().nth(2).expect("tests are in target/…/deps");
    let path = target.join("examples").join(format!("clacks_{name}"));
    assert!(path.exists(), "{} is not there: `cargo build --examples` makes it", path.display());
    path
}

/// Reads on until the monitor shows that somebody has sent `command`, or that the server has done something. Gives who.
fn wait_for(monitor: &mut Running, command: &str) -> String {
    loop {
        if let Some((who, what)) = monitor.line().split_once(' ')
            && what.trim_start() == command
        {
            return who.to_owned();
        }
    }
}

/// The invented value of the first measurements.
fn value(count: u32) -> String {
    format!("{:.2}", 20.0 + 3.0 * (f64::from(count) / 10.0).sin())
}

#[test]
fn a_sensor_is_watched_tracked_read_and_set() {
    let story = Story::begin();
    let mut monitor = story.start("debug_monitor");
    assert!(monitor.line().starts_with("connected to "));
    wait_for(&mut monitor, "MONITOR");

    story.run("read_once", &[]).failure(1, "read_once: there is no value yet\n");

    // So long that the sensor measures only if it hears of the change.
    assert_eq!(story.run("set_cycle_time", &["3600"]).success(), "");
    wait_for(&mut monitor, "SETANDSTORE sensor/cycle-time=3600");
    let mut tracker = story.start("tracker");
    wait_for(&mut monitor, "LISTEN sensor/value");
    let sensor = story.start("fake_sensor");
    let cid = wait_for(&mut monitor, "LISTEN sensor/cycle-time");
    wait_for(&mut monitor, "RETRIEVE sensor/cycle-time");
    assert_eq!(story.run("set_cycle_time", &["0.01"]).success(), "");

    for count in 1..=3 {
        assert_eq!(tracker.line(), value(count));
    }
    assert_eq!(wait_for(&mut monitor, &format!("SETANDSTORE sensor/value={}", value(3))), cid);
    assert_eq!(wait_for(&mut monitor, "INCREMENT sensor/count"), cid);

    drop(sensor);
    wait_for(&mut monitor, &format!("{cid} (0 bytes discarded from outbuffer)"));
    let read = story.run("read_once", &[]);
    let (read_value, count) =
        read.success().trim_end().split_once(", number ").expect("a value and a number");
    let count = count.parse().expect(count);
    assert!(count >= 3, "{read:?}");
    assert_eq!(read_value, format!("value {}", value(count)));
}

#[test]
fn a_sensor_begins_with_the_kept_cycle_time_and_all_end_with_the_server() {
    let mut story = Story::begin();
    assert_eq!(story.run("set_cycle_time", &["0.01"]).success(), "");
    let mut tracker = story.start("tracker");
    let sensor = story.start("fake_sensor");
    assert!(tracker.line().starts_with("20."));
    let monitor = story.start("debug_monitor");

    story.server = None;
    for (name, program) in [("debug_monitor", monitor), ("tracker", tracker), ("fake_sensor", sensor)] {
        let done = program.done();
        assert_eq!(done.code(), Some(1), "{done:?}");
        assert!(done.stderr.starts_with(&format!("{name}: ")), "{done:?}");
    }
}

#[test]
fn without_a_server_the_examples_say_so() {
    let runtime = TempDir::new().unwrap();
    for name in ["debug_monitor", "tracker", "fake_sensor", "read_once", "set_cycle_time"] {
        let mut command = program::command(example(name), &["1"]);
        let done = program::run(command.env("XDG_RUNTIME_DIR", runtime.path()), b"");
        done.failure(1, &format!("{name}: no server found: can't open the folder "));
    }
}

#[test]
fn a_cycle_time_is_a_number_above_0() {
    for (arguments, complaint) in [
        (&[][..], "say how many seconds a cycle is to take"),
        (&["0"], "\"0\" is no number of seconds above 0"),
        (&["-1"], "\"-1\" is no number of seconds above 0"),
        (&["soon"], "\"soon\" is no number of seconds above 0"),
        (&["inf"], "\"inf\" is no number of seconds above 0"),
    ] {
        let done = program::run(&mut program::command(example("set_cycle_time"), arguments), b"");
        done.failure(1, &format!("set_cycle_time: {complaint}\n"));
    }
}
