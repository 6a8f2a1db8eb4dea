//! What the user is told, and with which exit code, when something does not go as it should.

use crate::program::{self, Running};
use crate::server::TestServer;
use crate::{PASSWORD, bare};
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::process::Stdio;
use std::thread;
use tempfile::TempDir;

#[test]
fn the_private_folder_has_all_that_is_needed() {
    let server = TestServer::start();
    let run = |arguments: &[&str]| {
        program::run(bare(arguments).env("XDG_RUNTIME_DIR", server.runtime_folder()), b"")
    };
    assert_eq!(run(&["store", "x", "1"]).success(), "");
    assert_eq!(run(&["get", "x"]).success(), "1\n");
}

#[test]
fn where_and_who_can_be_said_in_two_ways() {
    let server = TestServer::start();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("password");
    fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    let (socket, file) = (server.socket(), file.to_str().unwrap());
    let socket = socket.to_str().unwrap();

    let options = ["--socket", socket, "flush", "--user", "admin", "--password-file", file];
    assert_eq!(program::run(&mut bare(&options), b"").success(), "");
    let mut command = bare(&["flush"]);
    command.env("CLACKS_SOCKET", socket).env("CLACKS_USER", "admin").env("CLACKS_PASSWORD_FILE", file);
    assert_eq!(program::run(&mut command, b"").success(), "");
    // The command line goes before the environment.
    let options = ["flush", "--socket", socket, "--user", "admin", "--password-file", file];
    let mut command = bare(&options);
    command.env("CLACKS_SOCKET", "/nowhere").env("CLACKS_USER", "x").env("CLACKS_PASSWORD", "wrong");
    assert_eq!(program::run(&mut command, b"").success(), "");
}

#[test]
fn without_a_server_the_user_learns_how_to_start_one() {
    let folder = TempDir::new().unwrap();
    let runtime = folder.path().to_str().unwrap();
    let check = |arguments: &[&str], stderr: &str| {
        let mut command = bare(arguments);
        command.env("XDG_RUNTIME_DIR", runtime).env("CLACKS_PASSWORD", "x");
        let done = program::run(&mut command, b"");
        done.failure(3, stderr);
        assert!(done.stderr.contains("start one with `clacksd`"), "{done:?}");
    };
    for command in [&["flush"][..], &["listen", "x"], &["ping"], &["monitor"]] {
        check(
            command,
            &format!(
                "clacks: no server found: can't open the folder {runtime}/clacks: No such file or directory"
            ),
        );
    }
    fs::create_dir(folder.path().join("clacks")).unwrap();
    let nothing = format!("clacks: can't connect to {runtime}/clacks/clacks.sock: No such file or directory");
    check(&["flush"], &nothing);
    check(&["listen", "x"], &nothing);
    // What a server that was killed leaves.
    drop(UnixListener::bind(folder.path().join("clacks/clacks.sock")).unwrap());
    let refused = format!("clacks: can't connect to {runtime}/clacks/clacks.sock: Connection refused");
    check(&["flush"], &refused);
    check(&["listen", "x"], &refused);
}

#[test]
fn who_has_named_a_host_is_not_asked_for_a_socket() {
    // Where nobody listens any more.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let server = TestServer::start();
    for arguments in [
        &["--host", &address, "flush"][..],
        &["--host", &address, "listen", "x"],
        &["copy", "--to-host", &address],
    ] {
        let mut command = bare(arguments);
        command.env("CLACKS_USER", "admin").env("CLACKS_PASSWORD", PASSWORD);
        if arguments[0] == "copy" {
            command.env("CLACKS_SOCKET", server.socket());
        }
        let done = program::run(&mut command, b"");
        done.failure(3, "clacks: ");
        assert!(done.stderr.contains("refused") && !done.stderr.contains("--socket"), "{done:?}");
    }
    let mut command = bare(&["flush"]);
    let done = program::run(command.env("CLACKS_HOST", &address).env("CLACKS_PASSWORD", "x"), b"");
    done.failure(3, "clacks: ");
    assert!(!done.stderr.contains("CLACKS_SOCKET"), "{done:?}");
}

#[test]
fn without_a_password_the_user_learns_how_to_say_one() {
    let server = TestServer::start();
    let socket = server.socket();
    let socket = socket.to_str().unwrap();
    for (options, complaint) in [
        (
            &[][..],
            "clacks: no password to log in with: can't open the folder /nonexistent/clacks: No such file",
        ),
        (
            &["--password-file", "/nonexistent/p"],
            "clacks: no password to log in with: can't open /nonexistent/p: No such file",
        ),
    ] {
        let done = program::run(&mut bare(&[&["flush", "--socket", socket], options].concat()), b"");
        done.failure(3, complaint);
        assert!(done.stderr.contains("--password-file FILE"), "{done:?}");
    }
}

#[test]
fn refusals_are_told() {
    let server = TestServer::start();
    let login_failed = "clacks: login failed: the server does not know this user and password\n";
    for arguments in [&["get", "x"][..], &["listen", "x"], &["monitor"], &["ping"]] {
        let mut command = server.clacks(arguments);
        program::run(command.env("CLACKS_PASSWORD", "wrong"), b"").failure(1, login_failed);
    }
    let denied = "clacks: permission denied: this user may not do that\n";
    for arguments in [
        &["set", "x", "1"][..],
        &["notify", "x"],
        &["store", "x", "1"],
        &["del", "x"],
        &["incr", "x"],
        &["decr", "x"],
        &["clear"],
        &["monitor"],
        &["clients"],
        &["disconnect", "u:1:1"],
        &["shutdown"],
    ] {
        program::run(&mut server.clacks_as("reader", arguments), b"").failure(1, denied);
    }
    assert_eq!(program::run(&mut server.clacks_as("reader", &["keys"]), b"").success(), "");
}

#[test]
fn wrong_usage_is_told() {
    for (arguments, complaint) in [
        (&["frobnicate"][..], "clacks: unrecognized subcommand 'frobnicate'\n"),
        (&["set", "x"], "clacks: the following required arguments were not provided:\n  <VALUE>\n"),
        (&["listen"], "clacks: the following required arguments were not provided:\n  <NAME>...\n"),
        (&["get", "x", "--frob"], "clacks: unexpected argument '--frob' found\n"),
        (&["listen", "x", "--count", "0"], "clacks: invalid value '0' for '--count <N>'"),
        (&["--timeout", "0", "flush"], "clacks: invalid value '0' for '--timeout <SECONDS>'"),
        (
            &["--timeout", "-1", "flush"],
            "clacks: invalid value '-1' for '--timeout <SECONDS>': it must be 0 to 1000000000 seconds\n",
        ),
        (
            &["--timeout", "1e30", "flush"],
            "clacks: invalid value '1e30' for '--timeout <SECONDS>': it must be 0 to 1000000000 seconds\n",
        ),
        (
            &["--timeout", "nan", "flush"],
            "clacks: invalid value 'nan' for '--timeout <SECONDS>': it is no number\n",
        ),
        (&["ping", "-i", "-0.5"], "clacks: invalid value '-0.5' for '--interval <SECONDS>': it must be 0 to"),
        (&["watch", "-i", "-1"], "clacks: invalid value '-1' for '--interval <SECONDS>': it must be 0 to"),
        (
            &["bench", "--seconds", "-1"],
            "clacks: invalid value '-1' for '--seconds <SECONDS>': it must be 0 to",
        ),
        (
            &["copy"],
            "clacks: the following required arguments were not provided:\n  <--to-host <HOST[:PORT]>|--to-socket <PATH>>\n",
        ),
        (
            &["copy", "--to-host", "a", "--to-socket", "b"],
            "clacks: the argument '--to-host <HOST[:PORT]>' cannot be used with",
        ),
        (&["--host", "example.org:", "flush"], "clacks: \"example.org:\" is neither HOST nor HOST:PORT\n"),
        (&["--no-verify", "--ca", "x", "flush"], "clacks: the argument '--no-verify' cannot be used with"),
        (
            &["--host", "a", "--socket", "b", "flush"],
            "clacks: the argument '--host <HOST[:PORT]>' cannot be used with",
        ),
        (&[], "Signals and the shared cache of a clacks server, from the shell\n"),
    ] {
        program::run(&mut bare(arguments), b"").failure(2, complaint);
    }
    let mut command = bare(&["flush"]);
    command.env("CLACKS_SOCKET", "/nowhere");
    command.env("CLACKS_USER", std::os::unix::ffi::OsStrExt::from_bytes(b"\xff") as &std::ffi::OsStr);
    program::run(&mut command, b"")
        .failure(2, "clacks: the environment variable CLACKS_USER is no UTF-8 text\n");
}

#[test]
fn a_lost_connection_ends_a_listener() {
    let mut server = TestServer::start();
    let mut monitor = server.monitor();
    let listener = Running::start(&mut server.clacks(&["listen", "x"]));
    monitor.wait_for("LISTEN x");
    let monitoring = Running::start(&mut server.clacks(&["monitor"]));
    monitor.wait_for("MONITOR");
    server.kill();
    listener.done().failure(3, "clacks: disconnected: ended by the other side\n");
    let monitoring = monitoring.done();
    assert_eq!(monitoring.code(), Some(3));
    assert_eq!(monitoring.stderr, "clacks: disconnected: ended by the other side\n");
}

#[test]
fn a_server_that_says_nothing_is_not_waited_for_longer_than_told() {
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("silent");
    let listener = UnixListener::bind(&socket).unwrap();
    for arguments in [&["flush"][..], &["listen", "x"], &["ping"]] {
        let mut command = bare(arguments);
        command.args(["--timeout", "0.05", "--socket"]).arg(&socket).env("CLACKS_PASSWORD", "x");
        program::run(&mut command, b"").failure(3, "clacks: no answer in time\n");
    }
    drop(listener);
}

#[test]
fn what_is_no_clacks_server_is_recognized() {
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("other");
    let listener = UnixListener::bind(&socket).unwrap();
    let other = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"220 mail.example.org ESMTP\r\n").unwrap();
        let mut rest = Vec::new();
        // It is closed when the program ends.
        let _ = stream.read_to_end(&mut rest);
    });
    let mut command = bare(&["flush"]);
    command.arg("--socket").arg(&socket).env("CLACKS_PASSWORD", "x");
    let done = program::run(&mut command, b"");
    done.failure(3, "clacks: this is no clacks server: it says \"220 mail.example.org ESMTP\"\n");
    other.join().unwrap();
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let server = TestServer::start();
    let mut client = server.client();
    // More than a pipe holds.
    for key in 0..2000 {
        client.store(format!("{key:0100}").as_bytes(), b"").unwrap();
    }
    let mut listing = Running::start(&mut server.clacks(&["keys"]));
    listing.close_stdout();
    let done = listing.done();
    assert_eq!((done.code(), &*done.stderr), (Some(0), ""), "{done:?}");

    let mut monitor = server.monitor();
    let mut listener = Running::start(&mut server.clacks(&["listen", "x"]));
    monitor.wait_for("LISTEN x");
    listener.close_stdout();
    client.notify(b"x").unwrap();
    let done = listener.done();
    assert_eq!((done.code(), &*done.stderr), (Some(0), ""), "{done:?}");
}

#[test]
fn output_that_is_lost_is_a_failure() {
    let server = TestServer::start();
    server.client().store(b"x", b"1").unwrap();
    for arguments in [&["get", "x"][..], &["keys"], &["clients"], &["ping", "-c1"], &["man"], &["--version"]]
    {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let done = program::run(server.clacks(arguments).stdout(Stdio::from(full)), b"");
        done.failure(1, "clacks: can't write to standard output: No space left on device");
    }
}
