//! `clients`, `disconnect`, `ping`, `shutdown`.

use crate::VERSION;
use crate::program::Running;
use crate::server::TestServer;
use nix::sys::signal::Signal;
use serde_json::Value;

#[test]
fn clients_are_listed_for_programs() {
    let server = TestServer::start();
    let _monitor = server.monitor();
    let list = server.run(&["clients"]);
    let rows: Vec<Vec<&str>> = list.success().lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(rows.len(), 2, "{rows:?}");
    let own = format!("{VERSION} clients");
    for (row, (name, monitors)) in rows.iter().zip([("the test", "1"), (&*own, "0")]) {
        assert!(row[0].starts_with("unixdomainsocket:"), "{row:?}");
        assert_eq!((row.len(), row[3], row[7]), (11, name, monitors));
    }

    let list = server.run(&["clients", "--json"]);
    let objects: Vec<Value> =
        list.success().lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let name = own;
    let own = &objects[1];
    assert_eq!(own["clientinfo"], *name);
    assert_eq!((&own["monitor"], &objects[0]["monitor"]), (&Value::Bool(false), &Value::Bool(true)));
    assert!(own["lastping"].as_f64().is_some_and(|time| time > 1e9), "{own}");
}

#[test]
fn a_client_is_disconnected_and_knows() {
    let server = TestServer::start();
    let mut monitor = server.monitor();
    let listener = Running::start(&mut server.clacks(&["listen", "x"]));
    let cid = monitor.wait_for("LISTEN x");
    assert_eq!(server.run(&["disconnect", &cid]).success(), "");
    listener.done().failure(3, "clacks: the server ended the connection\n");
    let gone = server.run(&["disconnect", &cid]);
    gone.failure(1, &format!("clacks: there is no client \"{cid}\"\n"));
}

#[test]
fn ping_prints_times_and_a_summary() {
    let server = TestServer::start();
    let pinged = server.run(&["ping", "-c", "3", "-i", "0"]);
    let lines: Vec<&str> = pinged.success().lines().collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    let times: Vec<f64> = (1..=3)
        .zip(&lines)
        .map(|(count, line)| {
            let time = line.strip_prefix(&format!("{count}: ")).and_then(|line| line.strip_suffix(" ms"));
            time.and_then(|time| time.parse().ok()).unwrap_or_else(|| panic!("{line:?} has no time"))
        })
        .collect();
    let (min, max) =
        times.iter().fold((f64::MAX, 0.0_f64), |(min, max), &time| (min.min(time), max.max(time)));
    let summary = lines[3].strip_prefix("3 round trips, min/avg/max ").expect(lines[3]);
    let summary = summary.strip_suffix(" ms").expect(summary);
    let summary: Vec<f64> = summary.split('/').map(|time| time.parse().expect(time)).collect();
    assert_eq!((summary[0], summary[2]), (min, max));
    assert!((min..=max).contains(&summary[1]), "{summary:?}");
}

#[test]
fn ctrl_c_ends_ping_with_its_summary() {
    let server = TestServer::start();
    let mut pinging = Running::start(&mut server.clacks(&["ping", "--interval", "3600"]));
    assert!(pinging.line().starts_with("1: "));
    pinging.signal(Signal::SIGINT);
    let done = pinging.done();
    assert!(done.success().starts_with("1 round trips, min/avg/max "), "{done:?}");
}

#[test]
fn shutdown_stops_the_server() {
    let mut server = TestServer::start();
    let mut monitor = server.monitor();
    let listener = Running::start(&mut server.clacks(&["listen", "x"]));
    monitor.wait_for("LISTEN x");
    server.run(&["shutdown", "0"]).failure(2, "clacks: invalid value '0' for '[SECONDS]'");
    assert_eq!(server.run(&["shutdown"]).success(), "");
    listener.done().failure(3, "clacks: the server ended the connection\n");
    server.join();
    server.run(&["flush"]).failure(3, &format!("clacks: can't connect to {}", server.socket().display()));
}

#[test]
fn the_status_is_told_to_people_and_to_programs() {
    let server = TestServer::start();
    server.run(&["store", "a", "1"]).success();
    let status = server.run(&["status"]);
    let lines: Vec<&str> = status.success().lines().collect();
    assert!(lines.contains(&"entries=1") && lines.contains(&"stores=1"), "{lines:?}");
    let status = server.run(&["status", "--json"]);
    let status: Value = serde_json::from_str(status.success()).unwrap();
    assert_eq!((&status["entries"], &status["logins"]), (&Value::from(1), &Value::from(3)));
    assert!(status["server"].as_str().is_some_and(|name| !name.is_empty()), "{status}");
    server.run(&["--user", "reader", "status"]).failure(1, "clacks: ");
}
