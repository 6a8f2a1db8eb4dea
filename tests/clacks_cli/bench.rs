//! `bench`.

use crate::program::{self, Running};
use crate::server::TestServer;
use nix::sys::signal::Signal;
use serde_json::Value;

#[test]
fn all_scenarios_are_measured_and_nothing_is_left_behind() {
    let server = TestServer::start();
    let options = ["bench", "--json", "--seconds", "0.2", "--size", "100", "--listeners", "3"];
    let done =
        server.run(&[&options[..], &["--clients", "2", "--depth", "1,8", "--generators", "2"]].concat());
    let rows: Vec<Value> =
        done.success().lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let scenarios: Vec<&str> = rows.iter().filter_map(|row| row["scenario"].as_str()).collect();
    assert_eq!(
        scenarios,
        ["fan-out", "ingest-set", "ingest-store", "cache", "cache", "latency-set", "latency-retrieve"]
    );
    for row in &rows {
        let number = |name: &str| row[name].as_f64().unwrap_or_else(|| panic!("{name} is missing: {row}"));
        assert!(number("messages") > 0.0, "{row}");
        assert_eq!((number("size"), number("generators")), (100.0, 2.0), "{row}");
        // Both generators together, each for its own time.
        let rate = number("messages") / number("seconds");
        assert!(number("messages_per_s") >= rate * 0.99, "{row}");
        let megabytes = number("messages_per_s") * 100.0 / 1e6;
        assert!((number("mb_per_s") - megabytes).abs() <= 0.051, "{row}");
        let latencies = ["p50_us", "p90_us", "p99_us", "p99_9_us", "max_us"].map(number);
        assert!(latencies.is_sorted() && latencies[0] > 0.0, "{row}");
    }
    assert_eq!(rows[0]["listeners"], 3);
    assert_eq!((&rows[3]["clients"], &rows[3]["depth"]), (&2.into(), &1.into()));
    assert_eq!(rows[4]["depth"], 8);

    assert_eq!(server.run(&["keys"]).success(), "");
    assert_eq!(server.run(&["clients"]).success().lines().count(), 1);
}

#[test]
fn one_scenario_makes_a_table() {
    let server = TestServer::start();
    let done = server.run(&["bench", "fan-out", "--seconds", "0.1", "--size", "1"]);
    let lines: Vec<&str> = done.success().lines().collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(lines[0], "values of 1 bytes, 1 generator(s); latencies in µs");
    let columns: Vec<&str> = lines[1].split_whitespace().collect();
    assert_eq!(columns, ["messages/s", "MB/s", "p50", "p90", "p99", "p99.9", "max"]);
    assert!(lines[2].starts_with("fan-out to 10 listeners "), "{lines:?}");
}

#[test]
fn an_interrupted_bench_removes_its_keys() {
    let server = TestServer::start();
    let mut client = server.client();
    let bench = Running::start(&mut server.clacks(&["bench", "cache", "--seconds", "3600"]));
    while client.key_list().unwrap().is_empty() {}
    bench.signal(Signal::SIGINT);
    let done = bench.done();
    assert_eq!((done.code(), &*done.stderr), (Some(1), "clacks: interrupted\n"), "{done:?}");
    assert_eq!(client.key_list().unwrap(), Vec::<Vec<u8>>::new());
}

#[test]
fn what_stops_a_bench_is_told() {
    let mut server = TestServer::start();
    for scenario in ["ingest", "cache"] {
        let arguments = ["bench", "--json", scenario, "--seconds", "3600"];
        let denied = program::run(&mut server.clacks_as("reader", &arguments), b"");
        denied.failure(1, "clacks: permission denied: this user may not do that\n");
    }
    let mut wrong = server.clacks(&["bench", "--json"]);
    let wrong = program::run(wrong.env("CLACKS_PASSWORD", "wrong"), b"");
    wrong.failure(1, "clacks: login failed: the server does not know this user and password\n");
    for option in [["--size", "0"], ["--listeners", "0"], ["--depth", "1,x"], ["--generators", "0"]] {
        let done = server.run(&["bench", option[0], option[1]]);
        assert_eq!(done.code(), Some(2), "{done:?}");
        assert!(done.stderr.contains("it must be a number from 1 to"), "{done:?}");
    }

    let mut client = server.client();
    let bench = Running::start(&mut server.clacks(&["bench", "--json", "cache", "--seconds", "3600"]));
    while client.key_list().unwrap().is_empty() {}
    server.kill();
    bench.done().failure(3, "clacks: disconnected: ");
}
