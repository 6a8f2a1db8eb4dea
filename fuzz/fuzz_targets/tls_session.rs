//! A client and a server that speak TLS, and somebody between them who carries bytes, in whatever pieces, and may change, drop,
//! repeat and invent some. The input is a program of two bytes each step. Whatever happens, each side gets a beginning of what the
//! other one has sent, and all of it when nobody has tampered; and both end.
#![no_main]

use eventdispatcher::codec::Raw;
use eventdispatcher::tls::{Tls, TlsClient, TlsServer};
use eventdispatcher::{Communicator, Cx, Handler, HandlerResult, Id, unix_pair};
use libfuzzer_sys::fuzz_target;
use mio::net::UnixStream;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::panic;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

const STEPS_MAX: usize = 300;

static ENDS: LazyLock<(TlsServer, TlsClient)> = LazyLock::new(|| {
    // As in every program whose main function is Rust's.
    signal_hook::flag::register(signal_hook::consts::SIGPIPE, Arc::default()).expect("a signal");
    // With debug assertions rustls panics at some bad input, which is caught: the fuzzer would take that for the end.
    let abort = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let of_rustls = panic.location().is_some_and(|place| place.file().contains("/rustls-"));
        if !of_rustls {
            abort(panic);
        }
    }));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let server = TlsServer::builder().certificate_pem(&certificate, key).build().expect("a server");
    (server, TlsClient::builder().roots_pem(certificate).build().expect("a client"))
});

/// What one side has got.
#[derive(Clone, Default)]
struct Ear(Rc<RefCell<Vec<u8>>>);

impl Handler<Raw> for Ear {
    fn message(&mut self, bytes: &[u8], _: &Cx<'_, Raw>) -> HandlerResult {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(())
    }
}

/// One side: its connection, its end of the wire in our hands, what it has sent and got.
struct Side {
    id: Id<Raw>,
    wire: UnixStream,
    sent: Vec<u8>,
    got: Ear,
    /// On its way from here.
    way: VecDeque<u8>,
    ended: bool,
}

impl Side {
    /// Takes what has come out of it.
    fn drain(&mut self) -> bool {
        let mut bytes = [0; 4096];
        let before = self.way.len();
        loop {
            match self.wire.read(&mut bytes) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(count) => self.way.extend(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.ended |= error.kind() != ErrorKind::WouldBlock;
                    break;
                }
            }
        }
        self.way.len() > before
    }

    /// How many of them it has taken.
    fn give(&mut self, bytes: &[u8]) -> usize {
        match self.wire.write(bytes) {
            Ok(taken) => taken,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            // Who has ended takes nothing more.
            Err(_) => bytes.len(),
        }
    }
}

/// Carries so many bytes from the one to the other.
fn carry(from: &mut Side, to: &mut Side, count: usize) -> bool {
    let count = count.min(from.way.len()).min(16 << 10);
    let bytes: Vec<u8> = from.way.iter().take(count).copied().collect();
    let taken = to.give(&bytes);
    from.way.drain(..taken);
    taken > 0
}

fuzz_target!(|program: &[u8]| {
    let communicator = Communicator::new().expect("a poll");
    let side = |server: bool| {
        let (ours, wire) = unix_pair().expect("a pair");
        let got = Ear::default();
        let id = if server {
            let tls = Tls::server(ours, &ENDS.0).expect("a session");
            communicator.stream(tls, Raw, got.clone())
        } else {
            let tls = Tls::client(ours, "localhost", &ENDS.1).expect("a session");
            communicator.stream(tls, Raw, got.clone())
        };
        let id = id.expect("a connection");
        Side { id, wire, sent: Vec::new(), got, way: VecDeque::new(), ended: false }
    };
    let (mut client, mut server) = (side(false), side(true));
    let turn = || communicator.turn(Some(Duration::ZERO)).expect("a turn");
    let (mut tampered, mut number) = (false, 0_u8);
    for step in program.chunks(2).take(STEPS_MAX) {
        let (what, amount) = (step[0], usize::from(*step.get(1).unwrap_or(&0)));
        let (one, other) =
            if what & 1 == 0 { (&mut client, &mut server) } else { (&mut server, &mut client) };
        match (what >> 1) % 16 {
            0..4 => drop(carry(one, other, amount + 1)),
            4 | 5 => drop(carry(one, other, usize::MAX)),
            6..9 => {
                let bytes: Vec<u8> =
                    (0..amount * amount / 4).map(|n| (n as u8).wrapping_add(number)).collect();
                number = number.wrapping_add(7);
                if communicator.send(one.id, &bytes).is_ok() {
                    one.sent.extend_from_slice(&bytes);
                }
            }
            9 => turn(),
            10 => {
                tampered = true;
                if let Some(byte) = one.way.get_mut(amount) {
                    *byte ^= what | 1;
                }
            }
            11 => {
                tampered = true;
                let count = amount.min(one.way.len());
                one.way.drain(..count);
            }
            12 => {
                tampered = true;
                let again: Vec<u8> = one.way.iter().take(amount).copied().collect();
                one.way.extend(again);
            }
            13 => {
                tampered = true;
                one.way.extend([22, 3, 3, 0, amount as u8, what]);
            }
            14 if amount < 20 => drop(communicator.close(one.id)),
            15 if amount < 20 => drop(communicator.shutdown_write(one.id)),
            _ => turn(),
        }
        (client.drain(), server.drain());
    }
    let sent_all = [communicator.is_alive(client.id), communicator.is_alive(server.id)];
    let mut idle = 0;
    while idle < 4 {
        turn();
        let mut moved = client.drain() | server.drain();
        moved |= carry(&mut client, &mut server, usize::MAX);
        moved |= carry(&mut server, &mut client, usize::MAX);
        idle = if moved { 0 } else { idle + 1 };
    }
    for (one, other) in [(&client, &server), (&server, &client)] {
        let got = other.got.0.borrow();
        assert!(one.sent.starts_with(&got), "other bytes than were sent");
        if !tampered && sent_all == [true; 2] {
            assert_eq!(got.len(), one.sent.len(), "not all has arrived");
        }
    }
    // The wires are cut.
    drop((client, server));
    let mut turns = 0;
    while !communicator.is_empty() {
        turn();
        turns += 1;
        assert!(turns < 1000, "it does not end: {:?}", communicator.connections());
    }
});
