//! `ed-signal` as a process, against real services.
#![cfg(feature = "cli")]

use eventdispatcher::connections::messages::{Call, DatagramMessages, Dispatcher, Hooks, Service};
use eventdispatcher::dispatcher::{Message, MessageRef, Messages};
use eventdispatcher::{Communicator, HandlerResult, UdpBind, UnixBind};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};

fn ed_signal() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ed-signal"));
    command.env_remove("ED_SIGNAL").args(["--config-dir", "/nowhere"]);
    command
}

/// Runs it; gives the exit code, and what it said on standard output and error.
fn run(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn check(command: &mut Command, code: i32, out: &str, err: &str) {
    let (got, stdout, stderr) = run(command);
    assert!(
        got == code && stdout == out && stderr.contains(err) && stderr.is_empty() == err.is_empty(),
        "{command:?}: exit {got} instead of {code}\nsaid {stdout:?} instead of {out:?}\nand {stderr:?} instead of {err:?}"
    );
}

/// What is before each message that it sends.
fn sender() -> String {
    let (code, out, _) = run(ed_signal().args(["--dry-run", "X"]));
    assert_eq!(code, 0);
    let (sender, command) = out.split_once(' ').unwrap();
    assert!(sender.starts_with('<') && sender.ends_with(":ed_signal"), "{sender}");
    assert_eq!(command, "X");
    format!("{sender} ")
}

#[test]
fn the_bytes_are_those_of_the_c_tool() {
    let sender = sender();
    let host = nix::unistd::gethostname().unwrap().into_string().unwrap();
    let server: String = host.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    assert!(
        sender == format!("<{server}:ed_signal ") || sender == format!("<_{server}:ed_signal "),
        "{sender} {host}"
    );
    let check_bytes = |arguments: &[&str], expected: &str| {
        check(ed_signal().arg("-n").args(arguments), 0, &format!("{sender}{expected}"), "");
    };
    check_bytes(&["./LOG_ROTATE"], "./LOG_ROTATE");
    check_bytes(&["/STOP"], "STOP");
    check_bytes(&["snap:cluckd/STOP"], "snap:cluckd/STOP");
    check_bytes(&["*:communicatord/STOP"], "*:communicatord/STOP");
    check_bytes(&["-m", "svc/X", "a=1"], "svc/X a=1");
    check_bytes(
        &["-s", "srv", "-S", "svc", "HELLO", "-p", "a=1", "b=x;y", "c", "-c", "s3cret"],
        "srv:svc/HELLO a=1;b=\"x;y\";c=;secret_code=s3cret",
    );
    check_bytes(&["X", "b=1=2", "a=say \"hi\"", "b=\"x\"", "c="], "X a=say \"hi\";b=\"\\\"x\\\"\";c=");
    check_bytes(&["-t", "tcp", "X", "a=1"], "X a=1\n");
    check_bytes(&["-t", "unix", "-H", "s", "X"], "X\n");
    check_bytes(&["-H", "dgram:s", "X"], "X");
    let json = run(ed_signal().args(["-n", "--json", "svc/X", "a=1;2", "b=7"])).1;
    assert!(
        json.ends_with("\"service\":\"svc\",\"command\":\"X\",\"parameters\":{\"a\":\"1;2\",\"b\":7}}"),
        "{json}"
    );
    // Any bytes are a value.
    let value = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"a=\xff");
    let output = ed_signal().args(["-n", "X"]).arg(value).output().unwrap();
    assert_eq!(output.stdout, [sender.as_bytes(), b"X a=\xff"].concat());
}

#[test]
fn a_wrong_command_line_is_said_to_be_wrong() {
    let check_usage = |arguments: &[&str], err: &str| {
        let (code, out, stderr) = run(ed_signal().args(arguments));
        assert!(code == 2 && out.is_empty() && stderr.contains(err), "{arguments:?}: {code} {out} {stderr}");
    };
    check_usage(&[], "there is no message");
    check_usage(&["stop"], "lower-case");
    check_usage(&["a b/STOP"], "service name \"a b\"");
    check_usage(&["web-1:svc/STOP"], "server name \"web-1\"");
    check_usage(&["srv:/STOP"], "has to name a service");
    check_usage(&["-s", "srv", "STOP"], "has to name a service");
    check_usage(&["-s", "a", "b:c/STOP"], "the server is said twice");
    check_usage(&["-S", "a", "c/STOP"], "the service is said twice");
    check_usage(&["X", "novalue"], "expected NAME=VALUE");
    check_usage(&["X", "a-b=1"], "parameter name \"a-b\"");
    check_usage(&["X", "-t", "fifo"], "fifo");
    check_usage(&["X", "-H", "1.2.3.4:99999"], "\"99999\" is no port");
    check_usage(&["X", "-H", "/run/x", "-t", "udp"], "is a path");
    check_usage(&["X", "-t", "tcp", "-c", "s"], "only datagrams");
    check_usage(&["X", "-e", "yes"], "only a TCP connection");
    check_usage(&["X", "--roots", "ca.pem"], "only a TCP connection");
    check_usage(&["X", "-t", "tcp", "-e", "no", "--roots", "ca.pem"], "--encrypt says not to");
    check_usage(&["X", "-t", "tcp", "-e", "unverified", "--roots", "ca.pem"], "--encrypt says not to");
    check_usage(&["X", "--timeout", "0"], "must be more");
    check_usage(&["X", "--no-such-option"], "no-such-option");
}

/// What the services have been told.
#[derive(Default)]
struct Notes(Vec<String>);

impl Hooks for Notes {}

impl Notes {
    fn note(&mut self, message: MessageRef<'_>, _: &mut Call<'_, Self>) -> HandlerResult {
        self.0.push(String::from_utf8(message.to_text()?)?);
        Ok(())
    }
}

/// A service that can be stopped, in a thread.
fn service(tcp: &str, unix: &Path) -> (SocketAddr, JoinHandle<Vec<String>>) {
    let (address, unix) = (tcp.parse().unwrap(), unix.to_owned());
    let (give, take) = channel();
    let thread = thread::spawn(move || {
        let communicator = Communicator::new().unwrap();
        let mut dispatcher = Dispatcher::with_built_in();
        dispatcher.on("NOTE", Notes::note).unwrap();
        dispatcher
            .on("GET", |_: &mut Notes, message, call| {
                call.reply(Message::build("NEWS").with("serial", "other").finish()?.view())?;
                call.answer(message, Message::build("GOT").with("b", "x\ty").with("a", 1))
            })
            .unwrap();
        dispatcher.on("SILENCE", Notes::note).unwrap();
        dispatcher.on("FAIL", |_: &mut Notes, _, _| Err("no".into())).unwrap();
        let service = Service::new(Notes::default(), dispatcher).shared();
        let clients = service.clone();
        let listening = communicator
            .listen_tcp(address, move |client| {
                client.serve(Messages::new(), clients.clone())?;
                Ok(())
            })
            .unwrap();
        let clients = service.clone();
        communicator
            .listen_unix(&unix, move |client| {
                client.serve(Messages::new(), clients.clone())?;
                Ok(())
            })
            .unwrap();
        give.send(listening.address()).unwrap();
        communicator.run().unwrap();
        std::mem::take(&mut service.borrow_mut().state.0)
    });
    (take.recv().unwrap(), thread)
}

#[test]
fn a_service_gets_messages_and_answers_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let (address, thread) = service("127.0.0.1:0", &path);
    let sender = sender();
    let to = format!("{}:ed_signal/", sender.trim_start_matches('<').split(':').next().unwrap());
    let (tcp, unix) = (address.to_string(), path.display().to_string());
    for way in [
        &["-t", "tcp", "-H", &tcp][..],
        &["-H", &format!("tcp:{tcp}")],
        &["-H", &unix],
        &["-t", "unix", "-H", &unix],
    ] {
        let signal = |arguments: &[&str]| {
            let mut command = ed_signal();
            command.args(way).args(arguments);
            command
        };
        check(&mut signal(&["NOTE", "a=b c"]), 0, "", "");
        check(&mut signal(&["-r", "GET"]), 0, "NEWS serial=other\n", "");
        check(&mut signal(&["-r", "GET", "serial=7"]), 0, &format!("{to}GOT a=1;b=x\ty;serial=7\n"), "");
        check(&mut signal(&["-r", "FOO"]), 0, &format!("{to}UNKNOWN command=FOO\n"), "");
        let (code, json, _) = run(&mut signal(&["-r", "--json", "GET", "serial=7"]));
        assert!(
            code == 0 && json.contains("\"parameters\":{\"a\":1,\"b\":\"x\\ty\",\"serial\":7}}\n"),
            "{json}"
        );
        let (code, list, _) = run(&mut signal(&["--reply", "HELP"]));
        assert!(code == 0 && list.contains("/COMMANDS list=ABSOLUTELY,ALIVE,COMMANDS,FAIL,GET,"), "{list}");
        // Sent, but not answered.
        check(&mut signal(&["-r", "--timeout", "0.1", "SILENCE"]), 3, "", "but no answer in time");
        check(&mut signal(&["-r", "FAIL"]), 3, "", "but the other side has closed the connection");
    }
    check(ed_signal().args(["-H", &unix, "STOP"]), 0, "", "");
    let notes = thread.join().unwrap();
    assert_eq!(notes.iter().filter(|note| **note == format!("{sender}NOTE a=b c")).count(), 4, "{notes:?}");
    check(ed_signal().args(["-H", &unix, "STOP"]), 1, "", "not sent to");
    check(ed_signal().args(["-t", "tcp", "-H", &tcp, "STOP"]), 1, "", "refused");
}

/// A service that takes datagrams at both addresses, until STOP; the UDP address comes back, and the notes.
fn datagram_service(unix: &Path, secret: &'static str) -> (SocketAddr, JoinHandle<Vec<String>>) {
    let (told, tells) = channel();
    let unix = unix.to_owned();
    let thread = thread::spawn(move || {
        let communicator = Communicator::new().unwrap();
        let mut dispatcher = Dispatcher::with_built_in();
        dispatcher.on("NOTE", Notes::note).unwrap();
        let service = Service::new(Notes::default(), dispatcher).shared();
        let udp = UdpBind::new("127.0.0.1:0".parse().unwrap()).bind().unwrap();
        let address = udp.local_address().unwrap();
        let handler = DatagramMessages::new().secret(secret).serve(service.clone());
        communicator.datagrams(udp, handler).unwrap();
        let unix = UnixBind::new(unix).bind_datagrams().unwrap();
        let handler = DatagramMessages::new().secret(secret).serve(service.clone());
        communicator.datagrams(unix, handler).unwrap();
        told.send(address).unwrap();
        communicator.run().unwrap();
        drop(communicator);
        std::mem::take(&mut service.borrow_mut().state.0)
    });
    (tells.recv().unwrap(), thread)
}

#[test]
fn a_service_of_datagrams_gets_messages_and_answers_them() {
    let folder = tempfile::tempdir().unwrap();
    let unix = folder.path().join("service");
    let (udp, thread) = datagram_service(&unix, "s3");
    let hosts = [udp.to_string(), format!("dgram:{}", unix.display()), unix.display().to_string()];
    for host in &hosts {
        let tool = |secret: &str| {
            let mut command = ed_signal();
            command.args(["--host", host, "--reply", "--timeout", "20", "-c", secret]);
            command
        };
        let (code, out, err) = run(tool("s3").args(["ALIVE", "serial=7"]));
        assert!(code == 0 && out.contains("/ABSOLUTELY reply_timestamp="), "{host}: {code} {out:?} {err:?}");
        assert!(out.ends_with(";secret_code=s3;serial=7\n"), "{host}: {out:?}");
        let mut wrong = ed_signal();
        wrong.args(["--host", host, "--reply", "--timeout", "0.2", "-c", "s4", "ALIVE"]);
        check(&mut wrong, 3, "", "no answer in time");
        check(ed_signal().args(["--host", host, "-c", "s3", "NOTE", "a=1"]), 0, "", "");
    }
    check(ed_signal().args(["--host", &hosts[0], "-c", "s3", "STOP"]), 0, "", "");
    assert_eq!(thread.join().unwrap().len(), hosts.len());
    assert!(!unix.exists());
    check(ed_signal().args(["--host", &hosts[0], "STOP"]), 1, "", "refused");
}

/// Takes one datagram, and answers it.
fn answer_udp(answers: &'static [&'static str], from_another_port: bool) -> (String, JoinHandle<String>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let thread = thread::spawn(move || {
        let mut buffer = [0; 2000];
        let (length, peer) = socket.recv_from(&mut buffer).unwrap();
        let other = UdpSocket::bind("127.0.0.1:0").unwrap();
        for answer in answers {
            let socket = if from_another_port { &other } else { &socket };
            socket.send_to(answer.as_bytes(), peer).unwrap();
        }
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    });
    (address, thread)
}

#[test]
fn a_datagram_is_sent_and_answered() {
    let sender = sender();
    let (address, thread) = answer_udp(&[], false);
    check(ed_signal().args(["-H", &address, "-c", "s3", "./LOG_ROTATE"]), 0, "", "");
    assert_eq!(thread.join().unwrap(), format!("{sender}./LOG_ROTATE secret_code=s3"));
    for other in [false, true] {
        let (address, thread) = answer_udp(&["", "GOT a=1", "LATE"], other);
        check(ed_signal().args(["-H", &address, "-r", "GET"]), 0, "GOT a=1\n", "");
        thread.join().unwrap();
        let (address, thread) = answer_udp(&["GOT serial=8", "GOT serial=7"], other);
        check(ed_signal().args(["-H", &address, "-r", "GET", "serial=7"]), 0, "GOT serial=7\n", "");
        thread.join().unwrap();
    }
    let (address, thread) = answer_udp(&["GOT serial=8"], false);
    let command = &mut ed_signal();
    check(
        command.args(["-H", &address, "-r", "--timeout", "0.2", "GET", "serial=7"]),
        3,
        "",
        "no answer in time",
    );
    thread.join().unwrap();
}

/// Servers of other protocols greet, or complain.
#[test]
fn what_is_no_message_is_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let thread = thread::spawn(move || {
        for greeting in ["CLACKS net 0.1.0\r\n".to_owned(), format!("{}\n", "a b ".repeat(25))] {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(greeting.as_bytes()).unwrap();
            stream.read_to_end(&mut Vec::new()).unwrap();
        }
    });
    let unix = path.display().to_string();
    let mut command = ed_signal();
    let wanted =
        format!("ed-signal: sent to {unix}, but the answer \"CLACKS net 0.1.0\" can't be read: no message: ");
    check(command.args(["-H", &unix, "-r", "STATUS"]), 3, "", &wanted);
    let wanted = format!("the answer \"{}\" can't be read", "a b ".repeat(15));
    check(ed_signal().args(["-H", &unix, "-r", "--json", "STATUS"]), 3, "", &wanted);
    thread.join().unwrap();
    let (udp, thread) = answer_udp(&["what is this?"], false);
    let wanted = format!("sent to udp:{udp}, but the answer \"what is this?\" can't be read");
    check(ed_signal().args(["-H", &udp, "-r", "STATUS"]), 3, "", &wanted);
    thread.join().unwrap();
}

#[test]
fn a_datagram_to_nobody_is_not_sent() {
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for reply in [&["X"][..], &["-r", "X"]] {
        check(ed_signal().args(["-H", &closed]).args(reply), 1, "", "refused");
        check(
            ed_signal().args(["-H", "dgram:/nowhere/socket"]).args(reply),
            1,
            "",
            "not sent to /nowhere/socket",
        );
    }
    let long = format!("a={}", "x".repeat(1024));
    for dry in [&["X"][..], &["-n", "X"]] {
        check(ed_signal().args(["-H", &closed]).args(dry).arg(&long), 1, "", "a datagram no more than 1024");
    }
}

#[test]
fn a_socket_file_tells_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let socket = UnixDatagram::bind(&path).unwrap();
    let sender = sender();
    let receive = || {
        let mut buffer = [0; 200];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    for way in ["", "dgram:"] {
        let host = format!("{way}{}", path.display());
        check(ed_signal().args(["-H", &host, "X"]), 0, "", "");
        assert_eq!(receive(), format!("{sender}X"));
        check(ed_signal().args(["-H", &host, "-r", "--timeout", "0.1", "X"]), 3, "", "no answer in time");
        receive();
        let socket = socket.try_clone().unwrap();
        let thread = thread::spawn(move || {
            let mut buffer = [0; 200];
            let (_, peer) = socket.recv_from(&mut buffer).unwrap();
            socket.send_to_addr(b"GOT a=1", &peer).unwrap();
        });
        check(ed_signal().args(["-H", &host, "-r", "GET"]), 0, "GOT a=1\n", "");
        thread.join().unwrap();
    }
    check(ed_signal().args(["-t", "unix", "-H"]).arg(&path).arg("X"), 1, "", "not sent to");
}

#[test]
fn who_accepts_and_says_nothing_is_not_waited_for_for_ever() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let command = &mut ed_signal();
    check(
        command.args(["-t", "tcp", "-H", &address, "-r", "--timeout", "0.1", "X"]),
        3,
        "",
        "no answer in time",
    );
    let thread = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        drop(stream);
        stream = listener.accept().unwrap().0;
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        // Not even text; a terminal would not get it so.
        stream.write_all(b"\n\nGOT a=\xff\x1b[2J\n").unwrap();
    });
    let output = ed_signal().args(["-t", "tcp", "-H", &address, "-r", "X"]).output().unwrap();
    assert_eq!(output.stdout, b"GOT a=\xff\x1b[2J\n");
    thread.join().unwrap();
}

#[test]
fn who_accepts_nobody_is_not_waited_for_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let bound = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(bound.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
    listen(&bound, Backlog::new(0).unwrap()).unwrap();
    // It takes one that nobody has accepted yet.
    let waits = UnixStream::connect(&path).unwrap();
    for reply in [&[][..], &["-r"]] {
        let mut command = ed_signal();
        command.arg("-H").arg(&path).args(["--timeout", "0.1", "X"]).args(reply);
        check(&mut command, 1, "", "it accepts no connection");
    }
    drop(waits);
}

#[test]
fn the_configuration_says_the_usual() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let config = |text: &str| fs::write(folder.path().join("ed-signal.conf"), text).unwrap();
    let signal = || {
        let mut command = ed_signal();
        command.arg("--config-dir").arg(folder.path()).args(["-t", "unix"]);
        command
    };
    let receive = || {
        let mut line = String::new();
        BufReader::new(listener.accept().unwrap().0).read_line(&mut line).unwrap();
        line
    };
    let sender = sender();

    config(&format!("# usual\nhost={}\nsecret_code=s3\nencrypt=no\n", path.display()));
    check(signal().args(["X", "a=1"]), 0, "", "");
    assert_eq!(receive(), format!("{sender}X a=1\n"));
    fs::create_dir(folder.path().join("eventdispatcher.d")).unwrap();
    fs::write(folder.path().join("eventdispatcher.d/50-ed-signal.conf"), "host=/nowhere/else\n").unwrap();
    check(signal().arg("X"), 1, "", "not sent to /nowhere/else");
    let usual = format!("-H '{}' -S svc", path.display());
    check(signal().env("ED_SIGNAL", &usual).arg("X"), 0, "", "");
    assert_eq!(receive(), format!("{sender}svc/X\n"));
    check(signal().env("ED_SIGNAL", &usual).args(["-H", "/nowhere/at/all", "X"]), 1, "", "/nowhere/at/all");
    check(signal().env("ED_SIGNAL", "-H '"), 2, "", "ED_SIGNAL has a quote");

    let daemon = folder.path().join("daemon.conf");
    fs::write(&daemon, format!("local-listen = {}\nport = x:y\n", path.display())).unwrap();
    let at = |variable: &str| format!("{}@{variable}", daemon.display());
    for variable in ["local_listen", "local-listen"] {
        check(signal().args(["-H", &at(variable), "X"]), 0, "", "");
        assert_eq!(receive(), format!("{sender}X\n"));
    }
    check(signal().args(["-H", &at("remote"), "X"]), 1, "", "daemon.conf does not say remote");
    check(signal().args(["-H", "/nowhere/x.conf@a", "X"]), 1, "", "there is no file /nowhere/x.conf");
    check(ed_signal().args(["-H", &at("port"), "X"]), 1, "", "daemon.conf: port: \"y\" is no port");

    for (text, problem) in [
        ("hots=1\n", "ed-signal.conf:1: \"hots\" is no setting"),
        ("\ntype=fifo\n", "ed-signal.conf:2: \"fifo\" is no type"),
        ("host\n", "ed-signal.conf:1: expected \"name=value\""),
    ] {
        config(text);
        check(ed_signal().arg("--config-dir").arg(folder.path()).arg("X"), 1, "", problem);
    }
    fs::remove_dir_all(folder.path().join("eventdispatcher.d")).unwrap();
    config("type=tcp\nencrypt=yes\nhost=127.0.0.1:1\nsecret_code=s3\n");
    let usual = || {
        let mut command = ed_signal();
        command.arg("--config-dir").arg(folder.path());
        command
    };
    check(usual().arg("X"), 1, "", "not sent to tcp:127.0.0.1:1");
    config("type=tcp\nencrypt=maybe\n");
    check(usual().arg("X"), 1, "", "ed-signal.conf:2: \"maybe\" is no encrypt");
    config("type=tcp\nencrypt=yes\nhost=127.0.0.1:1\nsecret_code=s3\n");
    check(usual().args(["-e", "0", "X"]), 1, "", "refused");
    // It is not meant for what the command line says.
    check(usual().args(["-n", "-t", "udp", "X"]), 0, &format!("{sender}X secret_code=s3"), "");
    check(usual().args(["-n", "-H", "udp:[::1]:9", "X"]), 0, &format!("{sender}X secret_code=s3"), "");
    check(usual().args(["-n", "-H", "./file", "-t", "unix", "X"]), 0, &format!("{sender}X\n"), "");
}

#[test]
fn help_and_pages_are_there() {
    for (option, expected) in [
        ("--help", "LOG_ROTATE"),
        ("--man", ".TH ed-signal"),
        ("--version", "ed-signal "),
        ("--completions=zsh", "#compdef"),
    ] {
        let (code, out, _) = run(Command::new(env!("CARGO_BIN_EXE_ed-signal")).arg(option));
        assert!(code == 0 && out.contains(expected), "{option}: {code} {out}");
    }
    // A pipe that nobody reads.
    let mut child = ed_signal().args(["-n", "X"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}
