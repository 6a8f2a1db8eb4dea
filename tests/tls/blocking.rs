//! Calls that wait, over TLS.

use crate::certificates::{Authority, fitting};
use crate::stage::{DEADLINE, Seen, echo, log};
use eventdispatcher::codec::Lines;
use eventdispatcher::tls::{CertificateFault, Tls, TlsClient, TlsError, TlsServer};
use eventdispatcher::{Blocking, BlockingError, Communicator, Cx};
use mio::net::TcpStream;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// An echo server that also starts TLS when it is asked to, on a thread of its own, as long as the sender lives.
fn serve(server: &TlsServer, tls: bool) -> (SocketAddr, Stop) {
    let (server, (sender, receiver)) = (server.clone(), mpsc::channel());
    let thread = thread::spawn(move || {
        let communicator = Communicator::new().unwrap();
        let address = "127.0.0.1:0".parse().unwrap();
        let listening = if tls {
            communicator.listen_tls(address, &server, |client| {
                client.serve(Lines::new(), log(&Seen::default(), echo))?;
                Ok(())
            })
        } else {
            communicator.listen_tcp(address, move |client| {
                let server = server.clone();
                let answer = move |event: &str, cx: &Cx<'_, Lines>| match event {
                    "STARTTLS" => {
                        cx.reply("GO ON")?;
                        Ok(cx.start_tls_server(cx.id(), &server)?)
                    }
                    "upgraded" => Ok(()),
                    line => echo(line, cx),
                };
                client.serve(Lines::new(), log(&Seen::default(), answer))?;
                Ok(())
            })
        };
        sender.send((listening.unwrap().address(), communicator.remote().unwrap())).unwrap();
        communicator.run().unwrap();
    });
    let (address, remote) = receiver.recv().unwrap();
    (address, Stop(Some((remote, thread))))
}

/// Stops the server at the end of the test.
struct Stop(Option<(eventdispatcher::Remote, thread::JoinHandle<()>)>);

impl Drop for Stop {
    fn drop(&mut self) {
        if let Some((remote, thread)) = self.0.take() {
            let _ = remote.post(Communicator::stop);
            let _ = thread.join();
        }
    }
}

fn connect(address: SocketAddr, name: &str, client: &TlsClient) -> Blocking<Tls<TcpStream>, Lines> {
    let stream = TcpStream::connect(address).unwrap();
    Blocking::new(Tls::client(stream, name, client).unwrap(), Lines::new()).unwrap()
}

#[test]
fn a_call_goes_over_tls_as_over_anything_else() {
    let (_, server, client) = fitting();
    let (address, _stop) = serve(&server, true);
    let mut blocking = connect(address, "localhost", &client);
    assert!(blocking.transport().info().is_none());
    blocking.send("hello", DEADLINE).unwrap();
    assert!(blocking.transport().info().is_some_and(|info| info.verified));
    assert_eq!(blocking.receive(DEADLINE, str::to_owned).unwrap(), "hello");
    let result = blocking.receive(Duration::from_millis(10), str::to_owned);
    assert!(matches!(result, Err(BlockingError::TimedOut)), "{result:?}");
}

#[test]
fn much_goes_both_ways_though_the_other_side_answers_at_once() {
    let (_, server, client) = fitting();
    let (address, _stop) = serve(&server, true);
    let mut blocking = connect(address, "localhost", &client);
    let line = "x".repeat(1000);
    for _ in 0..3000 {
        blocking.queue(&line).unwrap();
    }
    blocking.flush(DEADLINE).unwrap();
    for number in 0..3000 {
        assert!(blocking.receive(DEADLINE, |got| got == line).unwrap(), "line {number}");
    }
}

#[test]
fn a_handshake_that_fails_says_why() {
    let (_, server, _) = fitting();
    let (address, _stop) = serve(&server, true);
    let other = Authority::new().trust().build().unwrap();
    let error = connect(address, "localhost", &other).send("hello", DEADLINE).unwrap_err();
    let BlockingError::Connect(why) = &error else { panic!("{error:?}") };
    assert_eq!(TlsError::of(why), Some(&TlsError::Certificate(CertificateFault::UnknownIssuer)));
}

#[test]
fn tls_starts_in_mid_stream() {
    let (_, server, client) = fitting();
    let (address, _stop) = serve(&server, false);
    let mut plain = Blocking::new(TcpStream::connect(address).unwrap(), Lines::new()).unwrap();
    plain.send("plain", DEADLINE).unwrap();
    assert_eq!(plain.receive(DEADLINE, str::to_owned).unwrap(), "plain");
    plain.send("STARTTLS", DEADLINE).unwrap();
    assert_eq!(plain.receive(DEADLINE, str::to_owned).unwrap(), "GO ON");
    let mut inside = plain.upgrade(DEADLINE, |stream| Tls::client(stream, "localhost", &client)).unwrap();
    inside.send("inside", DEADLINE).unwrap();
    assert_eq!(inside.receive(DEADLINE, str::to_owned).unwrap(), "inside");
    assert!(inside.transport().info().is_some());
}
