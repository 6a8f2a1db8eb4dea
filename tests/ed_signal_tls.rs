//! `ed-signal` as a process, with TLS.

#[path = "tls/certificates.rs"]
#[allow(dead_code, reason = "made for the tests of TLS itself")]
mod certificates;
#[path = "support/program.rs"]
mod program;

use certificates::{Authority, Identity};
use eventdispatcher::connections::messages::{Dispatcher, Hooks, Service};
use eventdispatcher::dispatcher::{Message, Messages};
use eventdispatcher::tls::TlsServer;
use eventdispatcher::{Communicator, Remote};
use program::{Done, run};
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use tempfile::TempDir;

fn ed_signal(arguments: &[&str]) -> Command {
    let mut command = program::command(env!("CARGO_BIN_EXE_ed-signal"), arguments);
    command.env_remove("ED_SIGNAL").args(["--config-dir", "/nowhere"]);
    command
}

fn signal(arguments: &[&str]) -> Done {
    run(&mut ed_signal(arguments), b"")
}

/// A service in a thread, which counts its messages, and answers `GET` with how many there were.
struct Counting {
    address: SocketAddr,
    remote: Remote,
    thread: Option<JoinHandle<u64>>,
}

#[derive(Default)]
struct Count(u64);

impl Hooks for Count {}

impl Counting {
    fn start(server: TlsServer) -> Self {
        let (give, take) = channel();
        let thread = thread::spawn(move || {
            let communicator = Communicator::new().unwrap();
            let mut dispatcher = Dispatcher::new();
            dispatcher.on("SILENCE", |_: &mut Count, _, _| Ok(())).unwrap();
            dispatcher
                .on("COUNT", |count: &mut Count, _, _| {
                    count.0 += 1;
                    Ok(())
                })
                .unwrap();
            dispatcher
                .on("GET", |count: &mut Count, message, call| {
                    call.answer(message, Message::build("GOT").with("count", count.0))
                })
                .unwrap();
            let service = Service::new(Count::default(), dispatcher).shared();
            let clients = service.clone();
            let listening = communicator
                .listen_tls("127.0.0.1:0".parse().unwrap(), &server, move |client| {
                    client.serve(Messages::new(), clients.clone())?;
                    Ok(())
                })
                .unwrap();
            give.send((listening.address(), communicator.remote().unwrap())).unwrap();
            communicator.run().unwrap();
            service.borrow().state.0
        });
        let (address, remote) = take.recv().unwrap();
        Self { address, remote, thread: Some(thread) }
    }

    /// How many messages it has got.
    fn end(mut self) -> u64 {
        self.remote.post(Communicator::close_all).unwrap();
        self.thread.take().unwrap().join().unwrap()
    }
}

fn server(identity: &Identity) -> TlsServer {
    Authority::serve(identity).build().unwrap()
}

/// A file with the certificate of an authority.
fn roots(folder: &TempDir, name: &str, authority: &Authority) -> String {
    let path = folder.path().join(name);
    fs::write(&path, &authority.pem).unwrap();
    path.display().to_string()
}

#[test]
fn a_message_goes_to_who_has_the_right_certificate_only() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, other) = (Authority::new(), Authority::new());
    let (trusted, foreign) = (roots(&folder, "ours.pem", &ours), roots(&folder, "other.pem", &other));
    let named = Counting::start(server(&ours.server("localhost")));
    let numbered = Counting::start(server(&ours.server("127.0.0.1")));
    let name = format!("localhost:{}", named.address.port());
    let number = numbered.address.to_string();

    for host in [&name, &number] {
        let to = ["-t", "tcp", "-H", host];
        let check = |more: &[&str], code, err: &str| {
            let done = signal(&[&to[..], more, &["COUNT"]].concat());
            assert_eq!(done.code(), Some(code), "{host} {more:?}: {done:?}");
            assert!(done.stderr.contains(err) && done.stderr.is_empty() == err.is_empty(), "{done:?}");
        };
        check(&["-e", "yes", "--roots", &trusted], 0, "");
        check(&["--roots", &trusted], 0, "");
        check(&["-e", "unverified"], 0, "");
        check(&["-e", "true", "--roots", &foreign], 1, "not sent to tcp:");
        check(&["-e", "1", "--roots", "/nowhere/roots.pem"], 1, "/nowhere/roots.pem");
    }
    // The name is part of what is checked.
    let wrong = format!("127.0.0.1:{}", named.address.port());
    signal(&["-t", "tcp", "-H", &wrong, "--roots", &trusted, "COUNT"])
        .failure(1, "ed-signal: not sent to tcp:");
    let wrong = format!("localhost:{}", numbered.address.port());
    signal(&["-t", "tcp", "-H", &wrong, "--roots", &trusted, "COUNT"])
        .failure(1, "ed-signal: not sent to tcp:");

    let to = ["-t", "tcp", "-H", &name, "--roots", &trusted, "-r"];
    let done = signal(&[&to[..], &["GET", "serial=7"]].concat());
    assert!(done.success().ends_with(":ed_signal/GOT count=3;serial=7\n"), "{done:?}");
    let done = signal(&[&to[..], &["--timeout", "0.1", "SILENCE"]].concat());
    done.failure(3, "ed-signal: sent to tcp:localhost:");
    assert_eq!((named.end(), numbered.end()), (3, 3));
}

#[test]
fn the_roots_of_the_system_are_those_unless_others_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let trusted = roots(&folder, "roots.pem", &authority);
    let service = Counting::start(server(&authority.server("localhost")));
    let host = format!("localhost:{}", service.address.port());
    let to = ["-t", "tcp", "-H", &host];

    let done = run(ed_signal(&to).env("SSL_CERT_FILE", &trusted).args(["-e", "yes", "COUNT"]), b"");
    done.success();
    let other = roots(&folder, "other.pem", &Authority::new());
    let done = run(ed_signal(&to).env("SSL_CERT_FILE", &other).args(["-e", "yes", "COUNT"]), b"");
    done.failure(1, "ed-signal: not sent to tcp:localhost:");

    fs::write(folder.path().join("ed-signal.conf"), format!("type=tcp\nencrypt=yes\nroots={trusted}\n"))
        .unwrap();
    let configured = |more: &[&str]| {
        let mut command = program::command(env!("CARGO_BIN_EXE_ed-signal"), &["-H", &host]);
        command.env_remove("ED_SIGNAL").arg("--config-dir").arg(folder.path()).args(more);
        run(&mut command, b"")
    };
    configured(&["COUNT"]).success();
    configured(&["--roots", &other, "COUNT"]).failure(1, "ed-signal: not sent to");
    configured(&["-e", "unverified", "COUNT"]).success();
    assert_eq!(service.end(), 3);
}

#[test]
fn a_service_that_refuses_us_has_got_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let trusted = roots(&folder, "roots.pem", &authority);
    // One that wants to see a certificate. With TLS 1.3 it says so after the handshake of the client.
    let demanding = Authority::serve(&authority.server("localhost")).client_roots_pem(&authority.pem);
    let service = Counting::start(demanding.build().unwrap());
    let host = format!("localhost:{}", service.address.port());
    signal(&["-t", "tcp", "-H", &host, "--roots", &trusted, "COUNT"]).failure(1, "ed-signal: not sent to");
    assert_eq!(service.end(), 0);

    // One that speaks no TLS at all.
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = plain.local_addr().unwrap().to_string();
    let thread = thread::spawn(move || drop(plain.accept().unwrap()));
    signal(&["-t", "tcp", "-H", &host, "--roots", &trusted, "COUNT"]).failure(1, "ed-signal: not sent to");
    thread.join().unwrap();

    // One that never finishes the handshake.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = silent.local_addr().unwrap().to_string();
    let done = signal(&["-t", "tcp", "-H", &host, "-e", "unverified", "--timeout", "0.1", "COUNT"]);
    done.failure(1, "ed-signal: not sent to");
}
