//! Links of the program: from its configuration, with its environment.
#![cfg(all(feature = "clacks", feature = "cli"))]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use support::daemon::{Program, command};
use support::{Client, DEADLINE};
use tempfile::TempDir;

const CLACKSD: Option<&str> = option_env!("CARGO_BIN_EXE_clacksd");

/// A configuration with these settings, whose socket is `<name>.sock` beside it.
fn configure(folder: &Path, name: &str, settings: &str) -> (PathBuf, PathBuf) {
    let (file, socket) = (folder.join(format!("{name}.xml")), folder.join(format!("{name}.sock")));
    let text = format!(
        "<clacks><socket>{}</socket><username>admin</username><password>adminpass</password>\
         <interclacksreconnecttimeout>0</interclacksreconnecttimeout>{settings}</clacks>",
        socket.display()
    );
    fs::write(&file, text).expect("the configuration can be written");
    (file, socket)
}

fn clacksd(file: &Path) -> Command {
    let mut command = command(CLACKSD.expect("cargo builds clacksd before it runs this test"));
    command.arg(file);
    command
}

fn start(command: &mut Command) -> Program {
    let program = Program::start(command);
    program.says("listening on");
    program
}

fn join(socket: &Path) -> Client {
    let mut client = Client::connect(socket).expect("it listens");
    client.log_in("user", "admin").expect("admin may log in");
    client
}

#[track_caller]
fn wait_for(client: &mut Client, key: &str, value: &str) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        client.send(format!("RETRIEVE {key}\r\n").as_bytes()).expect("it reads");
        let line = client.line().expect("a line comes").expect("it lives");
        if line == format!("RETRIEVED {key}={value}").as_bytes() {
            return;
        }
        assert!(Instant::now() < deadline, "{key}: {}", String::from_utf8_lossy(&line));
    }
}

#[test]
fn a_slave_links_to_the_master_of_its_configuration_whatever_their_clocks_show() {
    let folder = TempDir::new().expect("a temporary folder can be made");
    let (master_file, master_socket) = configure(folder.path(), "master", "");
    let settings = format!("<master><socket>{}</socket></master>", master_socket.display());
    let (slave_file, slave_socket) = configure(folder.path(), "slave", &settings);

    let mut slave = clacksd(&slave_file);
    let slave = start(slave.env("CLACKS_SIMULATED_TIME_OFFSET", "-250.5"));
    slave.logs("off by -250.5 seconds");
    let mut below = join(&slave_socket);
    below.send(b"STORE k=older\r\nSTORE below=1\r\n").expect("it reads");
    below.barrier().expect("it answers");

    let mut master = clacksd(&master_file);
    let master = start(master.env("CLACKS_SIMULATED_TIME_OFFSET", "1000"));
    let mut above = join(&master_socket);
    above.send(b"KEYSYNC 5 5 U k=oldest\r\n").expect("it reads");
    wait_for(&mut above, "below", "1");
    wait_for(&mut above, "k", "older");
    above.send(b"STORE above=1\r\n").expect("it reads");
    wait_for(&mut below, "above", "1");
    slave.logs("linked, is this server's master");
    master.logs("linked, is a slave of this server");

    // What it sends to others is the time as it takes it.
    above.send(b"OVERHEAD I 1\r\n").expect("it reads");
    let time = loop {
        let line = above.line().expect("a line comes").expect("it lives");
        if let Some(time) = String::from_utf8_lossy(&line).strip_prefix("OVERHEAD T ") {
            break time.parse::<f64>().expect("a time");
        }
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs_f64();
    assert!((-1000.5..-900.0).contains(&(now - time)), "{time} at {now}");
}

#[test]
fn a_master_that_is_not_there_is_said_once_and_a_wrong_offset_ends_it() {
    let folder = TempDir::new().expect("a temporary folder can be made");
    let missing = folder.path().join("missing.sock");
    let settings = format!("<master><socket>{}</socket></master>", missing.display());
    let (file, socket) = configure(folder.path(), "slave", &settings);
    let slave = start(&mut clacksd(&file));
    let text = slave.logs("missing.sock: can't connect to");
    assert_eq!(text.matches("can't connect to").count(), 1, "{text}");
    let mut user = join(&socket);
    user.send(b"STORE k=1\r\n").expect("it reads");
    wait_for(&mut user, "k", "1");
    drop(slave);

    let mut wrong = clacksd(&file);
    wrong.env("CLACKS_SIMULATED_TIME_OFFSET", "soon");
    let ended = Program::start(&mut wrong).ended();
    assert_eq!(ended.status.code(), Some(1));
    assert!(
        ended.stderr.contains("CLACKS_SIMULATED_TIME_OFFSET is \"soon\": a number of seconds is wanted"),
        "{}",
        ended.stderr
    );
    assert!(!socket.exists(), "no socket is left behind");
}

/// What is said of these settings of `<master>`.
#[track_caller]
fn check(settings: &str, code: i32, said: &str) {
    let folder = TempDir::new().expect("a temporary folder can be made");
    let (file, _) = configure(folder.path(), "slave", settings);
    let ended = Program::start(clacksd(&file).arg("--check")).ended();
    assert_eq!(ended.status.code(), Some(code), "{settings}: {}", ended.stderr);
    assert!(ended.stderr.contains(said), "{settings}: {}", ended.stderr);
}

#[test]
fn what_is_doubtful_about_a_master_is_said() {
    check("<master><ip>localhost</ip><port>1</port></master>", 0, "is not verified");
    check("<master><ip>localhost</ip><port>1</port><ca>/nowhere.pem</ca></master>", 1, "can't be read");
}
