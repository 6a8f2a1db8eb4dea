//! The operator's messages to clacksd: `ed-signal` and `ed-stop` as processes against the server as a process.
#![cfg(all(feature = "clacks", feature = "cli"))]

#[path = "support/program.rs"]
mod program;

use eventdispatcher::connections::clacks::token;
use program::{Done, Running, command, run};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// A server with a configuration in a folder of its own.
struct Served {
    folder: TempDir,
    server: Running,
}

const USERS: &str = "<username>admin</username><password>top</password>";

impl Served {
    fn start(settings: &str) -> Self {
        Self::with(settings, &[])
    }

    fn with(settings: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_configuration(folder.path(), settings);
        let mut command = command(env!("CARGO_BIN_EXE_clacksd"), &["c.xml"]);
        command.current_dir(folder.path()).args(arguments);
        let mut server = Running::start(&mut command);
        assert_eq!(server.line(), "clacksd: listening on c.sock");
        Self { folder, server }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Sends a message to the socket of that name.
    fn signal(&self, socket: &str, message: &[&str]) -> Done {
        let mut command = command(env!("CARGO_BIN_EXE_ed-signal"), &["--config-dir", "/nowhere", "--host"]);
        run(command.env_remove("ED_SIGNAL").arg(self.path(socket)).args(message), b"")
    }

    /// What a message is answered with, without whom the answer is for.
    fn ask(&self, message: &[&str]) -> String {
        let done = self.signal("c.sock.control", &[&["--reply"], message].concat());
        done.success().trim_end().split_once('/').expect("an answer has a receiver").1.to_owned()
    }

    /// A client of the protocol, logged in.
    fn client(&self, name: &str, password: &str) -> (BufReader<UnixStream>, String) {
        let stream = UnixStream::connect(self.path("c.sock")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut client = BufReader::new(stream);
        let text = format!("CLACKS test\r\nOVERHEAD A {}\r\n", token(name, password));
        client.get_mut().write_all(text.as_bytes()).unwrap();
        line(&mut client);
        line(&mut client);
        let answer = line(&mut client);
        (client, answer)
    }
}

fn write_configuration(folder: &Path, settings: &str) {
    let text = format!("<clacks><socket>c.sock</socket>{USERS}{settings}</clacks>");
    fs::write(folder.join("c.xml"), text).unwrap();
}

fn line(client: &mut BufReader<UnixStream>) -> String {
    let mut line = String::new();
    client.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

#[test]
fn stop_ends_the_server_in_order() {
    let served = Served::start("");
    let control = served.folder.path().join("c.sock.control");
    assert_eq!(fs::metadata(&control).unwrap().permissions().mode() & 0o777, 0o600);
    let (mut client, welcome) = served.client("admin", "top");
    assert_eq!(welcome, "OVERHEAD O Welcome!");
    served.signal("c.sock.control", &["STOP"]).success();
    assert_eq!([line(&mut client), line(&mut client), line(&mut client)], ["", "QUIT", ""]);
    let folder = served.folder;
    assert_eq!(served.server.done().code(), Some(0));
    assert!(!folder.path().join("c.sock").exists() && !control.exists());

    // So does ed-stop, which waits for the end.
    for kind in ["datagram", "stream"] {
        ed_stop_ends_it(kind);
    }
}

fn ed_stop_ends_it(kind: &str) {
    let control = format!("<control>operator.sock</control><controltype>{kind}</controltype>");
    let served = Served::start(&control);
    let lone = UnixStream::connect(served.path("operator.sock"));
    assert_eq!(lone.is_ok(), kind == "stream", "{lone:?}");
    let (soft, pid) = (served.path("operator.sock"), served.server.pid().to_string());
    assert!(!served.folder.path().join("c.sock.control").exists());
    let stopped = run(&mut command(env!("CARGO_BIN_EXE_ed-stop"), &["--soft", &soft, &pid]), b"");
    assert!(stopped.success().contains("has ended after the message STOP"), "{stopped:?}");
    let done = served.server.done();
    assert_eq!(done.code(), Some(0));
    assert!(done.stderr.contains("takes messages on operator.sock"), "{done:?}");
}

#[test]
fn the_built_in_commands_are_answered_in_datagrams_and_over_a_stream() {
    check_built_in("");
    check_built_in("<controltype>stream</controltype>");
}

fn check_built_in(settings: &str) {
    let served = Served::start(settings);
    assert!(served.ask(&["ALIVE", "serial=7"]).starts_with("ABSOLUTELY reply_timestamp="));
    let help = served.ask(&["HELP"]);
    for command in ["ALIVE", "HELP", "LOG_ROTATE", "RESTART", "STATUS", "STOP"] {
        assert!(help.split(['=', ',']).any(|listed| listed == command), "{help}");
    }
    assert_eq!(served.ask(&["FOO"]), "UNKNOWN command=FOO");
    assert_eq!(
        served.ask(&["LOG_ROTATE"]),
        "FAILED why=the log is written to standard error: see --log-file"
    );

    let (mut client, _) = served.client("admin", "top");
    client.get_mut().write_all(b"STORE k=v\r\nSET s=1\r\nRETRIEVE k\r\n").unwrap();
    assert_eq!(line(&mut client), "RETRIEVED k=v");
    let status = served.ask(&["STATUS", "serial=9"]);
    let (command, values) = status.split_once(' ').unwrap();
    assert_eq!(command, "STATUS_REPORT");
    for value in ["clients=1", "entries=1", "stores=1", "signals=1", "hits=1", "misses=0", "serial=9"] {
        assert!(values.split(';').any(|reported| reported == value), "{value}: {values}");
    }
}

#[test]
fn log_rotate_opens_the_log_anew() {
    let served = Served::with("", &["--log-file", "log"]);
    served.ask(&["ALIVE"]);
    fs::rename(served.path("log"), served.path("log.1")).unwrap();
    assert_eq!(served.ask(&["LOG_ROTATE"]), "LOG_ROTATED file=log");
    served.ask(&["NO_SUCH_COMMAND"]);
    let (old, new) = (served.path("log.1"), served.path("log"));
    let (old, new) = (fs::read_to_string(old).unwrap(), fs::read_to_string(new).unwrap());
    assert!(old.contains("takes messages on") && !old.contains("NO_SUCH_COMMAND"), "{old}");
    assert!(new.contains("opened anew") && new.contains("NO_SUCH_COMMAND"), "{new}");

    // Where nothing can be opened, it goes on as before.
    fs::rename(served.path("log"), served.path("log.2")).unwrap();
    fs::create_dir(served.path("log")).unwrap();
    let answer = served.ask(&["LOG_ROTATE"]);
    assert!(answer.starts_with("FAILED why=log: "), "{answer}");
    assert!(fs::read_to_string(served.path("log.2")).unwrap().contains("LOG_ROTATE: log: "));

    let failed = command(env!("CARGO_BIN_EXE_clacksd"), &["--log-file", "/nowhere/log"]);
    run(&mut { failed }, b"").failure(1, "clacksd: --log-file: /nowhere/log: ");
}

#[test]
fn restart_reads_the_configuration_again() {
    let served = Served::start("");
    assert_eq!(served.client("display", "new").1, "OVERHEAD F Login failed!");
    let user = "<user><username>display</username><password>new</password><read>1</read></user>";
    write_configuration(served.folder.path(), user);
    assert_eq!(served.ask(&["RESTART"]), "RESTARTED needs_restart=");
    assert_eq!(served.client("display", "new").1, "OVERHEAD O Welcome!");

    write_configuration(served.folder.path(), "<control>other.sock</control><debugfile>d</debugfile>");
    let answer = served.ask(&["RESTART"]);
    assert_eq!(answer, "RESTARTED needs_restart=debugfile,control");
    assert_eq!(served.client("display", "new").1, "OVERHEAD F Login failed!");

    write_configuration(served.folder.path(), "<maxclients>many</maxclients>");
    let answer = served.ask(&["RESTART"]);
    assert!(answer.starts_with("FAILED why=c.xml:1:") && !answer.ends_with("\\n"), "{answer}");
    assert_eq!(served.client("admin", "top").1, "OVERHEAD O Welcome!");
}

#[test]
fn what_is_asked_for_must_work_and_what_is_a_habit_need_not() {
    let folder = tempfile::tempdir().unwrap();
    let start = |settings: &str| {
        write_configuration(folder.path(), settings);
        let mut command = command(env!("CARGO_BIN_EXE_clacksd"), &["c.xml"]);
        command.current_dir(folder.path());
        Running::start(&mut command)
    };
    start("<control>/nowhere/x.sock</control>").done().code().filter(|code| *code == 1).expect("it fails");
    let same = start("<control>c.sock</control>").done();
    assert_eq!(same.code(), Some(1));
    assert!(same.stderr.contains("<control> is a <socket> too"), "{same:?}");

    fs::create_dir(folder.path().join("c.sock.control")).unwrap();
    let mut server = start("");
    assert_eq!(server.line(), "clacksd: listening on c.sock");
    server.signal(nix::sys::signal::Signal::SIGTERM);
    let done = server.done();
    assert_eq!(done.code(), Some(0));
    assert!(done.stderr.contains("takes no messages: "), "{done:?}");
}
