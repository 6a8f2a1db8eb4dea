//! A loop with connections that write down what happens to them, and the other sides that a test makes itself.

use eventdispatcher::codec::Lines;
use eventdispatcher::{Closed, Communicator, Cx, Handler, HandlerResult, Timeout};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::certificates::{Authority, Identity};

/// How long to wait for what must come, on the slowest machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// What happened, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen(Rc<RefCell<Vec<String>>>);

impl Seen {
    pub(crate) fn all(&self) -> Vec<String> {
        self.0.borrow().clone()
    }

    pub(crate) fn add(&self, event: impl Into<String>) {
        self.0.borrow_mut().push(event.into());
    }

    pub(crate) fn count(&self) -> usize {
        self.0.borrow().len()
    }

    pub(crate) fn has(&self, start: &str) -> bool {
        self.0.borrow().iter().any(|event| event.starts_with(start))
    }

    pub(crate) fn last(&self) -> String {
        self.0.borrow().last().cloned().unwrap_or_default()
    }
}

/// Writes down what it is called with, and asks `act` what to do.
pub(crate) struct Log<A> {
    pub(crate) seen: Seen,
    pub(crate) act: A,
}

pub(crate) fn log<A>(seen: &Seen, act: A) -> Log<A>
where
    A: FnMut(&str, &Cx<'_, Lines>) -> HandlerResult + 'static,
{
    Log { seen: seen.clone(), act }
}

impl<A: FnMut(&str, &Cx<'_, Lines>) -> HandlerResult + 'static> Log<A> {
    fn note(&mut self, event: &str, cx: &Cx<'_, Lines>) -> HandlerResult {
        self.seen.add(event);
        (self.act)(event, cx)
    }
}

impl<A: FnMut(&str, &Cx<'_, Lines>) -> HandlerResult + 'static> Handler<Lines> for Log<A> {
    fn connected(&mut self, cx: &Cx<'_, Lines>) -> HandlerResult {
        self.note("connected", cx)
    }
    fn upgraded(&mut self, cx: &Cx<'_, Lines>) -> HandlerResult {
        self.note("upgraded", cx)
    }
    fn message(&mut self, line: &str, cx: &Cx<'_, Lines>) -> HandlerResult {
        self.note(line, cx)
    }
    fn drained(&mut self, cx: &Cx<'_, Lines>) -> HandlerResult {
        self.note("drained", cx)
    }
    fn timeout(&mut self, what: Timeout, cx: &Cx<'_, Lines>) -> HandlerResult {
        cx.close();
        self.note(&format!("timeout: {what}"), cx)
    }
    fn eof(&mut self, cx: &Cx<'_, Lines>) -> HandlerResult {
        cx.close();
        self.note("eof", cx)
    }
    fn closed(&mut self, why: &Closed, cx: &Cx<'_, Lines>) {
        let _ = self.note(&format!("closed: {why}"), cx);
    }
}

/// Does nothing.
pub(crate) fn quiet(_: &str, _: &Cx<'_, Lines>) -> HandlerResult {
    Ok(())
}

/// Answers each line with itself.
pub(crate) fn echo(event: &str, cx: &Cx<'_, Lines>) -> HandlerResult {
    if event != "connected" && event != "eof" && !event.starts_with("closed") {
        cx.reply(event)?;
    }
    Ok(())
}

/// Turns until `done`, or says what was seen instead.
pub(crate) fn run_until(communicator: &Communicator, seen: &Seen, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < deadline, "seen: {:?}, {:?}", seen.all(), communicator.connections());
        communicator.turn(Some(Duration::from_millis(10))).unwrap();
    }
}

/// Turns until another side that a thread plays has ended; what it gave.
pub(crate) fn run_with<R>(communicator: &Communicator, seen: &Seen, other: JoinHandle<R>) -> R {
    run_until(communicator, seen, || other.is_finished());
    other.join().unwrap()
}

/// Another side that does what the test wants, through rustls itself.
pub(crate) type RawClient = StreamOwned<ClientConnection, TcpStream>;
pub(crate) type RawServer = StreamOwned<ServerConnection, TcpStream>;

pub(crate) fn plain(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    limited(stream)
}

fn limited(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

pub(crate) fn raw_session(authority: &Authority) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    ClientConnection::new(Arc::new(config), name).unwrap()
}

pub(crate) fn raw_client(address: SocketAddr, authority: &Authority) -> RawClient {
    StreamOwned::new(raw_session(authority), plain(address))
}

/// Accepts one client.
pub(crate) fn raw_server(listener: &TcpListener, identity: &Identity) -> RawServer {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(identity.chain.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap(),
        )
        .unwrap();
    let (stream, _) = listener.accept().unwrap();
    StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), limited(stream))
}

/// Sends so that everything leaves in as few records as it can.
pub(crate) fn send(to: &mut impl Write, bytes: impl AsRef<[u8]>) {
    to.write_all(bytes.as_ref()).unwrap();
    to.flush().unwrap();
}

/// One line, without its end.
pub(crate) fn line(from: &mut impl Read) -> String {
    let (mut line, mut byte) = (Vec::new(), [0]);
    loop {
        from.read_exact(&mut byte).unwrap();
        if byte == *b"\n" {
            return String::from_utf8(line).unwrap();
        }
        line.extend(byte);
    }
}
