//! No descriptor is left behind, whatever becomes of a connection, and none is inherited by children. One test, for
//! the descriptors are those of the whole process.

use eventdispatcher::codec::Lines;
use eventdispatcher::tls::{TlsClient, TlsServer};
use eventdispatcher::{Communicator, Cx, Handler, HandlerResult, Timeouts};
use std::cell::Cell;
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Answers, and starts TLS when it is asked to.
struct Server(TlsServer);

impl Handler<Lines> for Server {
    fn message(&mut self, line: &str, cx: &Cx<'_, Lines>) -> HandlerResult {
        cx.reply(line)?;
        if line == "STARTTLS" {
            cx.start_tls_server(cx.id(), &self.0)?;
        }
        Ok(())
    }
}

/// Ends when it has an answer, or after it has started TLS.
struct Client(&'static str, TlsClient);

impl Handler<Lines> for Client {
    fn connected(&mut self, cx: &Cx<'_, Lines>) -> HandlerResult {
        Ok(cx.reply(self.0)?)
    }
    fn upgraded(&mut self, cx: &Cx<'_, Lines>) -> HandlerResult {
        Ok(cx.reply("hello")?)
    }
    fn message(&mut self, line: &str, cx: &Cx<'_, Lines>) -> HandlerResult {
        if line == "STARTTLS" {
            cx.start_tls_client(cx.id(), "localhost", &self.1)?;
        } else {
            cx.close();
        }
        Ok(())
    }
}

/// The open descriptors, and whether each closes at exec.
fn descriptors() -> Vec<(u32, bool)> {
    let names = fs::read_dir("/proc/self/fdinfo").unwrap();
    let mut found: Vec<_> = names
        .filter_map(|name| {
            let name = name.unwrap();
            let info = fs::read_to_string(name.path()).ok()?; // gone: the one that lists
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
            let flags = u32::from_str_radix(flags.trim(), 8).ok()?;
            Some((name.file_name().to_str()?.parse().ok()?, flags & 0o2_000_000 != 0))
        })
        .collect();
    found.sort_unstable();
    found
}

#[test]
fn descriptors_are_closed_and_not_inherited() {
    let (given, most) = (descriptors(), Cell::new(0));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let server = TlsServer::builder()
        .certificate_pem(made.cert.pem(), made.signing_key.serialize_pem())
        .build()
        .unwrap();
    let trusting = TlsClient::builder().roots_pem(made.cert.pem()).build().unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let wary = TlsClient::builder().roots_pem(other.cert.pem()).build().unwrap();

    let communicator = Communicator::new().unwrap();
    let address = "127.0.0.1:0".parse().unwrap();
    let answers = server.clone();
    let over_tls = communicator
        .listen_tls(address, &server, move |client| {
            client.serve(Lines::new(), Server(answers.clone()))?;
            Ok(())
        })
        .unwrap();
    let either = communicator
        .listen_tcp(address, move |client| {
            client.detect_tls(&server).serve(Lines::new(), Server(server.clone()))?;
            Ok(())
        })
        .unwrap();
    for listening in [over_tls, either] {
        let soon = Duration::from_millis(50);
        let timeouts = Timeouts { connect: Some(soon), linger: soon, ..Timeouts::default() };
        communicator.set_timeouts(listening, timeouts);
    }
    let settle = || {
        let deadline = Instant::now() + Duration::from_secs(20);
        while communicator.len() > 2 {
            assert!(Instant::now() < deadline, "{:?}", communicator.connections());
            communicator.turn(Some(Duration::from_millis(10))).unwrap();
            let now = descriptors();
            most.set(most.get().max(now.len()));
            let inherited: Vec<_> = now
                .iter()
                .filter(|&&(number, closes)| !closes && !given.contains(&(number, closes)))
                .collect();
            assert!(inherited.is_empty(), "{inherited:?}");
        }
    };
    let before = descriptors();
    for listening in [over_tls, either] {
        for client in [&trusting, &wary] {
            let handler = Client("hello", client.clone());
            communicator
                .connect_tls(listening.address(), "localhost", client, Lines::new(), handler)
                .unwrap();
        }
        // Half a handshake, none at all, and what is none.
        let strangers: Vec<_> = [&b"\x16\x03\x01\x02"[..], b"", b"\xff\xfe\n"]
            .into_iter()
            .map(|bytes| {
                let mut stranger = TcpStream::connect(listening.address()).unwrap();
                stranger.write_all(bytes).unwrap();
                stranger
            })
            .collect();
        let plain = |client: &TlsClient| {
            let handler = Client("STARTTLS", client.clone());
            communicator.connect_tcp(either.address(), Lines::new(), handler).unwrap();
        };
        plain(&trusting);
        plain(&wary);
        settle();
        drop(strangers);
        assert_eq!(descriptors(), before);
        assert!(most.take() >= before.len() + 6, "the connections were there");
    }
}
