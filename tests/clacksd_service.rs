//! clacksd as a service: what it tells its manager, and as who it runs.
#![cfg(all(feature = "clacks", feature = "cli"))]

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use support::daemon::{Program, command};
use support::{Client, DEADLINE};
use tempfile::TempDir;

const CLACKSD: Option<&str> = option_env!("CARGO_BIN_EXE_clacksd");

const CONFIGURATION: &str = "<clacks><socket>s</socket><username>u</username><password>p</password></clacks>";

fn clacksd(folder: &Path) -> Command {
    let mut command = command(CLACKSD.expect("cargo builds clacksd before it runs this test"));
    fs::write(folder.join("c.xml"), CONFIGURATION).unwrap();
    command.current_dir(folder).arg("c.xml");
    command
}

/// A service manager that listens.
struct Manager(UnixDatagram);

impl Manager {
    /// Waits for a word, and gives those that came before it.
    #[track_caller]
    fn hears(&self, wanted: &str) -> Vec<String> {
        let mut before = Vec::new();
        loop {
            let mut bytes = [0; 500];
            let length = match self.0.recv(&mut bytes) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                received => received.unwrap_or_else(|error| panic!("no {wanted} but {before:?}: {error}")),
            };
            let word = String::from_utf8(bytes[..length].to_vec()).unwrap();
            if word.starts_with(wanted) {
                return before;
            }
            before.push(word);
        }
    }
}

#[test]
fn its_manager_is_told_how_it_is() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("notify");
    let manager = Manager(UnixDatagram::bind(&path).unwrap());
    manager.0.set_read_timeout(Some(DEADLINE)).unwrap();
    let server =
        Program::start(clacksd(folder.path()).env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000"));
    let before = manager.hears("READY=1");
    assert_eq!(before, ["WATCHDOG=1", "STATUS=serving 0 clients"]);
    assert!(folder.path().join("s").exists(), "it is ready before it listens");
    manager.hears("WATCHDOG=1");
    manager.hears("WATCHDOG=1");

    let client = Client::connect(&folder.path().join("s")).unwrap();
    server.signal(Signal::SIGHUP);
    manager.hears("RELOADING=1\nMONOTONIC_USEC=");
    manager.hears("READY=1");
    // The manager waits for this also when the files can't be used.
    fs::write(folder.path().join("c.xml"), "<clacks>").unwrap();
    server.signal(Signal::SIGHUP);
    manager.hears("RELOADING=1");
    manager.hears("READY=1");

    server.signal(Signal::SIGTERM);
    manager.hears("STOPPING=1");
    drop(client);
    assert_eq!(server.ended().status.code(), Some(0));
}

#[test]
fn it_serves_on_the_sockets_that_it_is_given() {
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("s");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let before = fs::metadata(&socket).unwrap().ino();
    let inner = clacksd(folder.path());
    // The shell puts the socket where a service looks for it, and knows its own number.
    let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ exec \"$0\" \"$@\"";
    let mut command = command("sh");
    command.current_dir(folder.path()).args(["-c", script]);
    command.arg(inner.get_program()).args(inner.get_args());
    command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "clacks");
    let server = Program::start_with(&mut command, std::os::fd::OwnedFd::from(listener).into());
    server.says(&format!("clacksd: listening on {}\n", socket.display()));
    let mut client = Client::connect(&socket).unwrap();
    assert!(client.line().unwrap().is_some_and(|line| line.starts_with(b"CLACKS ")));
    server.signal(Signal::SIGTERM);
    assert_eq!(server.ended().status.code(), Some(0));
    assert_eq!(fs::metadata(&socket).unwrap().ino(), before, "the file is the manager's");
}

#[test]
fn root_becomes_somebody_else_once_it_listens() {
    let folder = TempDir::new().unwrap();
    let who = "65534:65533";
    let mut command = clacksd(folder.path());
    command.args(["--run-as", who]);
    if !geteuid().is_root() {
        let ended = Program::start(&mut command).ended();
        assert_eq!(ended.status.code(), Some(1));
        assert!(ended.stderr.starts_with("clacksd: --run-as: "), "{ended:?}");
        return;
    }
    let server = Program::start(&mut command);
    server.says("listening on s\n");
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    for line in [
        "Uid:\t65534\t65534\t65534\t65534\n",
        "Gid:\t65533\t65533\t65533\t65533\n",
        "CapEff:\t0000000000000000\n",
    ] {
        assert!(status.contains(line), "{line:?}: {status}");
    }
    let socket = fs::metadata(folder.path().join("s")).unwrap();
    assert_eq!((socket.uid(), socket.gid()), (65534, 65533));
    server.signal(Signal::SIGTERM);
    assert_eq!(server.ended().status.code(), Some(0));

    let mut command = clacksd(folder.path());
    let ended = Program::start(command.args(["--run-as", "no-such-user"])).ended();
    ended.check(1, "", "clacksd: --run-as: the user \"no-such-user\" does not exist\n");
}

/// The folder of the cache is the other user's, who puts a link where root would write.
#[test]
fn root_writes_nothing_and_gives_nothing_away_through_a_link_of_the_other_user() {
    if !geteuid().is_root() {
        return; // nobody else can become somebody else
    }
    let folder = TempDir::new().unwrap();
    let home = folder.path().join("home");
    fs::create_dir(&home).unwrap();
    let victim = folder.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    std::os::unix::fs::symlink(&victim, home.join("cache_lock")).unwrap();
    for path in [&home, &folder.path().to_path_buf()] {
        std::os::unix::fs::chown(path, Some(65534), Some(65534)).unwrap();
    }
    let mut command = clacksd(folder.path());
    let keeps = "<persistancefile>home/cache</persistancefile></clacks>";
    fs::write(folder.path().join("c.xml"), CONFIGURATION.replace("</clacks>", keeps)).unwrap();
    command.args(["--run-as", "65534:65534"]);
    let server = Program::start(&mut command);
    server.says("listening on s\n");
    let found = fs::metadata(&victim).unwrap();
    assert_eq!((found.uid(), fs::read_to_string(&victim).unwrap().as_str()), (0, "precious"));
    server.signal(Signal::SIGTERM);
    assert_eq!(server.ended().status.code(), Some(0));
}
