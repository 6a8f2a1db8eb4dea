//! A service that gets its sockets from a manager: this test starts itself as one.

use eventdispatcher::codec::Lines;
use eventdispatcher::{Communicator, Notify, on_item, systemd::Inherited};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Command, Stdio};

const ROLE: &str = "EVENTDISPATCHER_TEST_IS_SERVICE";

/// Answers one line on each socket.
fn service() {
    let communicator = Communicator::new().unwrap();
    let echo = || on_item::<Lines, _>(|line, cx| Ok(cx.reply(line)?));
    let mut sockets = Inherited::take().unwrap().into_iter();
    let (web, control, other) = (sockets.next().unwrap(), sockets.next().unwrap(), sockets.next().unwrap());
    assert!(sockets.next().is_none());
    assert!(Inherited::take().unwrap().is_empty(), "taken twice");
    assert_eq!((web.name(), control.name(), other.name()), ("web", "control", "unknown"));
    assert!(other.into_tcp_listener().is_err(), "/dev/null is no socket");
    communicator
        .listen(web.into_tcp_listener().unwrap(), move |client| {
            client.serve(Lines::new(), echo())?;
            Ok(())
        })
        .unwrap();
    communicator
        .listen(control.into_unix_listener().unwrap(), move |client| {
            client.communicator().close_all();
            client.serve(Lines::new(), echo())?;
            Ok(())
        })
        .unwrap();
    // What it starts does not get them: 3 is the folder that `ls` reads.
    let open = Command::new("ls").args(["/proc/self/fd/"]).stdin(Stdio::null()).output().unwrap();
    let open = String::from_utf8(open.stdout).unwrap();
    assert!(open.lines().all(|fd| fd != "4" && fd != "5"), "{open}");
    let notify = Notify::from_env().unwrap();
    communicator.watchdog(Notify::from_env().unwrap()).unwrap().unwrap();
    notify.ready().unwrap();
    communicator.run().unwrap();
    notify.stopping().unwrap();
}

/// The test of this name again, behind what a shell does first.
fn itself(first: &str, test: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{first}; LISTEN_PID=$$ exec \"$@\""), "sh"]);
    command.arg(std::env::current_exe().unwrap()).args([test, "--nocapture", "--test-threads=1"]);
    command.env(ROLE, "1");
    command
}

/// The numbers of the sockets that are made meanwhile must not be taken for those that were announced.
#[test]
fn descriptors_that_were_announced_and_are_not_open_are_an_error() {
    if std::env::var_os(ROLE).is_some() {
        let error = Inherited::take().unwrap_err().to_string();
        let expected =
            format!("LISTEN_FDS: descriptor {} (unknown): ", std::env::var("FIRST_MISSING").unwrap());
        assert!(error.starts_with(&expected), "{error}");
        return;
    }
    for (open, announced, first_missing) in [
        ("exec 3<&- 4<&- 5<&- 6<&-", "4", "3"),
        ("exec 3</dev/null 4<&- 5<&- 6<&-", "4", "4"),
        ("exec 3</dev/null 4</dev/null 5</dev/null 6<&- 7<&-", "4", "6"),
        ("exec 3</dev/null 4</dev/null 5</dev/null 6<&- 7</dev/null", "5", "6"),
    ] {
        let status = itself(open, "descriptors_that_were_announced")
            .env("LISTEN_FDS", announced)
            .env("FIRST_MISSING", first_missing)
            .status()
            .unwrap();
        assert!(status.success(), "{open}: {status}");
    }
}

#[test]
fn a_service_listens_on_the_sockets_of_its_manager_and_tells_how_it_is() {
    if std::env::var_os(ROLE).is_some() {
        return service();
    }
    let folder = tempfile::tempdir().unwrap();
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = web.local_addr().unwrap();
    let path = folder.path().join("control");
    let control = UnixListener::bind(&path).unwrap();
    let notify = folder.path().join("notify");
    let manager = UnixDatagram::bind(&notify).unwrap();
    // The shell puts the sockets where the service looks for them, and knows its own number.
    let mut child = itself("exec 3<&0 4>&1 5</dev/null <&5 >&2", "a_service_listens")
        .stdin(OwnedFd::from(web))
        .stdout(OwnedFd::from(control))
        .envs([("LISTEN_FDS", "3"), ("LISTEN_FDNAMES", "web:control"), ("WATCHDOG_USEC", "600000000")])
        .env("NOTIFY_SOCKET", &notify)
        .spawn()
        .unwrap();
    // One that fails closes nothing that would wake this one.
    manager.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    let heard = || {
        let mut text = [0; 100];
        let length = manager.recv(&mut text).unwrap();
        String::from_utf8(text[..length].to_vec()).unwrap()
    };
    assert_eq!([heard(), heard()], ["WATCHDOG=1", "READY=1"]);
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"over tcp\n").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "over tcp\n");
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(b"over unix\n").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    answer.clear();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "over unix\n");
    assert_eq!(heard(), "STOPPING=1");
    assert!(child.wait().unwrap().success());
    assert!(path.exists(), "the socket file is the manager's");
}
