//! The example `proxy`, as a user runs it.
#![cfg(feature = "tls")]

#[path = "support/example.rs"]
mod example;
#[path = "support/program.rs"]
mod program;

use eventdispatcher::codec::{Lines, Raw};
use eventdispatcher::tls::{Tls, TlsClient};
use eventdispatcher::{Blocking, tcp_stream};
use example::example;
use nix::sys::signal::Signal;
use program::{Running, command, run};
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use tempfile::tempdir;

const DEADLINE: Duration = Duration::from_secs(60);

fn proxy(arguments: &[&str]) -> (Running, String) {
    let mut proxy = Running::start(&mut command(example("proxy"), arguments));
    let line = proxy.line();
    let address = line.strip_prefix("proxy: listening on ").unwrap_or_else(|| panic!("{line}")).to_owned();
    (proxy, address)
}

fn stop(proxy: Running) {
    proxy.signal(Signal::SIGTERM);
    assert_eq!(proxy.done().success(), "");
}

/// Each line in capitals, to everybody who comes, until the listener goes with the process.
fn capitals(listener: UnixListener) {
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut answers = stream.try_clone().unwrap();
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    if writeln!(answers, "{}", line.to_uppercase()).is_err() {
                        break;
                    }
                }
            });
        }
    });
}

#[test]
fn tcp_reaches_a_unix_socket_and_a_unix_socket_reaches_tcp() {
    let folder = tempdir().unwrap();
    let (inner, outer) = (folder.path().join("inner"), folder.path().join("outer"));
    capitals(UnixListener::bind(&inner).unwrap());
    // Two proxies in a row: Unix to TCP by name, TCP to Unix.
    let (second, address) = proxy(&["127.0.0.1:0", inner.to_str().unwrap()]);
    let port = address.rsplit_once(':').unwrap().1;
    let (first, path) = proxy(&[outer.to_str().unwrap(), &format!("localhost:{port}")]);
    assert_eq!(Path::new(&path), outer);
    let mut client = UnixStream::connect(&outer).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client.write_all(b"how are you?\nand you?\n").unwrap();
    // The end goes through, and the answers come back behind it.
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "HOW ARE YOU?\nAND YOU?\n");
    stop(first);
    stop(second);
    assert!(!outer.exists());
}

/// A certificate for localhost, and its key, in files.
fn certify(folder: &Path) -> String {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(folder.join("certificate.pem"), made.cert.pem()).unwrap();
    fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    made.cert.pem()
}

fn tls_client(address: &str, roots: &str) -> Result<String, String> {
    let client = TlsClient::builder().roots_pem(roots).build().unwrap();
    let stream = tcp_stream(TcpStream::connect(address).unwrap()).unwrap();
    let mut stream = Blocking::new(Tls::client(stream, "localhost", &client).unwrap(), Lines::new()).unwrap();
    stream.send("hello", DEADLINE).map_err(|error| error.to_string())?;
    stream.receive(DEADLINE, str::to_owned).map_err(|error| error.to_string())
}

#[test]
fn tls_stands_in_front_with_certificates_that_can_be_exchanged() {
    let folder = tempdir().unwrap();
    let inner = folder.path().join("inner");
    capitals(UnixListener::bind(&inner).unwrap());
    let first = certify(folder.path());
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (mut proxy, address) =
        proxy(&["127.0.0.1:0", inner.to_str().unwrap(), &file("certificate.pem"), &file("key.pem")]);
    assert_eq!(tls_client(&address, &first).as_deref(), Ok("HELLO"));
    // Who does not speak TLS gets nowhere.
    let mut plain = TcpStream::connect(&address).unwrap();
    plain.set_read_timeout(Some(DEADLINE)).unwrap();
    plain.write_all(b"hello\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.windows(5).any(|part| part == b"HELLO"), "{answer:?}");

    let second = certify(folder.path());
    proxy.signal(Signal::SIGHUP);
    assert_eq!(proxy.line(), "proxy: read again");
    assert_eq!(tls_client(&address, &second).as_deref(), Ok("HELLO"));
    assert!(tls_client(&address, &first).is_err());
    proxy.signal(Signal::SIGTERM);
    let done = proxy.done();
    assert_eq!(done.code(), Some(0));
    assert!(done.stderr.lines().all(|line| line.starts_with("proxy: client ")), "{}", done.stderr);
}

/// What the process holds at most, in bytes.
fn memory(proxy: &Running) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", proxy.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

#[test]
fn a_slow_side_costs_little_memory_and_loses_nothing() {
    const BYTES: usize = 64 << 20;
    let folder = tempdir().unwrap();
    let certificate = certify(folder.path());
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for tls in [false, true] {
        let to = target.local_addr().unwrap().to_string();
        let files = [file("certificate.pem"), file("key.pem")];
        let mut arguments = vec!["127.0.0.1:0", &to];
        if tls {
            arguments.extend(files.iter().map(String::as_str));
        }
        let (proxy, address) = proxy(&arguments);
        let stream = TcpStream::connect(&address).unwrap();
        let roots = certificate.clone();
        let (tell, progress) = mpsc::channel();
        let sender = thread::spawn(move || {
            let piece = vec![b'x'; 1 << 20];
            if tls {
                let client = TlsClient::builder().roots_pem(roots).build().unwrap();
                let stream = Tls::client(tcp_stream(stream).unwrap(), "localhost", &client).unwrap();
                let mut stream = Blocking::new(stream, Raw).unwrap();
                (0..BYTES / piece.len()).for_each(|_| {
                    stream.send(&piece, DEADLINE).unwrap();
                    let _ = tell.send(());
                });
                // Stays until the other side has everything.
                let _ = stream.receive(DEADLINE, |_| ());
            } else {
                let mut stream = stream;
                (0..BYTES / piece.len()).for_each(|_| {
                    stream.write_all(&piece).unwrap();
                    let _ = tell.send(());
                });
                stream.shutdown(Shutdown::Write).unwrap();
            }
        });
        let (mut slow, _) = target.accept().unwrap();
        slow.set_read_timeout(Some(DEADLINE)).unwrap();
        let before = memory(&proxy);
        // Until the sender has to wait, far from its end.
        let mut sent = 0;
        while progress.recv_timeout(Duration::from_millis(500)).is_ok() {
            sent += 1;
        }
        assert!(sent < BYTES >> 20 && !sender.is_finished(), "{sent} MiB are nowhere");
        let grown = memory(&proxy) - before;
        assert!(grown < 8 << 20, "it holds {grown} bytes more than before");
        let mut got = 0;
        let mut buffer = vec![0; 1 << 20];
        while got < BYTES {
            match slow.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    assert!(buffer[..count].iter().all(|byte| *byte == b'x'));
                    got += count;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("after {got} bytes: {error}"),
            }
        }
        assert_eq!(got, BYTES);
        let grown = memory(&proxy) - before;
        assert!(grown < 8 << 20, "it held {grown} bytes more than before");
        drop(slow);
        sender.join().unwrap();
        proxy.signal(Signal::SIGTERM);
        assert_eq!(proxy.done().code(), Some(0));
    }
}

#[test]
fn what_can_not_work_is_said() {
    for (arguments, text) in [
        (&[][..], "usage: proxy LISTEN TARGET [CERTIFICATE KEY]"),
        (&["127.0.0.1:0"], "usage: "),
        (&["nowhere", "127.0.0.1:1"], "nowhere: neither host:port nor a path with a slash"),
        (&["127.0.0.1:0", "127.0.0.1:port"], "127.0.0.1:port: neither"),
        (&["/no/such/folder/socket", "127.0.0.1:1"], "can't listen on /no/such/folder/socket: "),
        (&["127.0.0.1:0", "127.0.0.1:1", "/no/such/file", "/no/such/key"], ""),
    ] {
        run(&mut command(example("proxy"), arguments), b"").failure(1, &format!("proxy: {text}"));
    }
    // A target that is not there ends the client, and nothing else.
    let (proxy, address) = proxy(&["127.0.0.1:0", "/no/such/socket"]);
    for _ in 0..2 {
        let mut client = TcpStream::connect(&address).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
    stop(proxy);
}
