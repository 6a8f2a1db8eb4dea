//! `set`, `notify`, `listen`, `monitor`.

use crate::program::Running;
use crate::server::TestServer;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::os::unix::process::ExitStatusExt as _;

#[test]
fn what_is_listened_to_is_printed_as_it_comes() {
    let server = TestServer::start();
    let mut monitor = server.monitor();
    let mut listener = Running::start(&mut server.clacks(&["listen", "x", "y"]));
    monitor.wait_for("LISTEN y");
    for (arguments, line) in [
        (&["set", "x", "hello"][..], "x=hello"),
        (&["notify", "y"], "y"),
        (&["set", "y", ""], "y="),
        (&["set", "x", "a = b"], "x=a = b"),
        (&["set", "x", "-5"], "x=-5"),
    ] {
        assert_eq!(server.run(arguments).success(), "");
        assert_eq!(listener.line(), line);
    }
    server.run(&["set", "z", "nobody listens"]).success();
    server.run_with(&["set", "x", "-"], b"from a pipe\n").success();
    assert_eq!(listener.line(), "x=from a pipe");
}

#[test]
fn each_signal_is_one_line_whatever_its_value() {
    let server = TestServer::start();
    let mut monitor = server.monitor();
    let mut listener = Running::start(&mut server.clacks(&["listen", "--count", "3", "x"]));
    monitor.wait_for("LISTEN x");
    server.run(&["set", "x", "two\nx=lines"]).success();
    server.run(&["set", "x", "PAGECAMELCLACKSB64:"]).success();
    assert_eq!(listener.line(), "x=PAGECAMELCLACKSB64:dHdvCng9bGluZXM=");
    assert_eq!(listener.line(), "x=PAGECAMELCLACKSB64:", "what was encoded without need is decoded");
    server.run(&["set", "x", "end"]).success();
    assert_eq!(listener.done().success(), "x=end\n");
}

#[test]
fn signals_are_json_on_demand() {
    let server = TestServer::start();
    let mut monitor = server.monitor();
    let mut listener = Running::start(&mut server.clacks(&["listen", "--json", "x\"y", "--count=5"]));
    monitor.wait_for("LISTEN x\"y");
    let mut client = server.client();
    client.notify(b"x\"y").unwrap();
    client.set(b"x\"y", "größer\t\u{1b}\\".as_bytes()).unwrap();
    client.set(b"x\"y", b"\xff\x00").unwrap();
    client.set(b"x\"y", b"PAGECAMELCLACKSB64:YQpi").unwrap();
    client.set(b"x\"y", b"PAGECAMELCLACKSYAMLB64: LS0tIAphOiBiCg==").unwrap();
    for expected in [
        json!({"event": "notify", "name": "x\"y"}),
        json!({"event": "set", "name": "x\"y", "value": "größer\t\u{1b}\\"}),
        json!({"event": "set", "name": "x\"y", "value_base64": "/wA="}),
        json!({"event": "set", "name": "x\"y", "value": "a\nb"}),
        json!({"event": "set", "name": "x\"y", "value_yaml": "--- \na: b"}),
    ] {
        let line = listener.line();
        assert_eq!(serde_json::from_str::<Value>(&line).expect(&line), expected);
    }
    assert_eq!(listener.done().success(), "");
}

#[test]
fn a_monitor_sees_what_others_do() {
    let server = TestServer::start();
    let mut other = server.monitor();
    let mut text = Running::start(&mut server.clacks(&["monitor"]));
    let mut json = Running::start(&mut server.clacks(&["monitor", "--json"]));
    let cids = [other.wait_for("MONITOR"), other.wait_for("MONITOR")];
    server.run(&["set", "x", "a=b"]).success();
    let cid = other.wait_for("SET x=a=b");
    assert!(!cids.contains(&cid));

    while text.line() != format!("{cid} SET x=a=b") {}
    while text.line() != format!("DISCONNECTED {cid} (0 bytes discarded from outbuffer)") {}
    let expected = json!({"host": cid, "command": "SET x=a=b"});
    while serde_json::from_str::<Value>(&json.line()).expect("each line is JSON") != expected {}
}

#[test]
fn ctrl_c_ends_a_listener() {
    let server = TestServer::start();
    let mut monitor = server.monitor();
    let listener = Running::start(&mut server.clacks(&["listen", "x"]));
    monitor.wait_for("LISTEN x");
    listener.signal(Signal::SIGINT);
    assert_eq!(listener.done().status.signal(), Some(Signal::SIGINT as i32));
}
