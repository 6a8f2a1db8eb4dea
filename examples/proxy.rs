//! Passes streams on, from TCP or a Unix socket to TCP or a Unix socket, and may take TLS off on the way.
//!
//! `proxy LISTEN TARGET [CERTIFICATE KEY]`: an address is `host:port`, or the path of a socket file. With a certificate and its
//! key, both PEM files, clients must speak TLS; SIGHUP reads the files again.
//!
//! Whatever the two sides do, no more than a little over 256 KiB waits in memory for each direction of a connection: who
//! sends faster than the other side reads is slowed down.

use eventdispatcher::codec::Raw;
use eventdispatcher::tls::{TlsConfigError, TlsServer};
use eventdispatcher::{
    Closed, Communicator, Cx, Handler, HandlerResult, Id, Incoming, Key, Limits, Signal, TcpBind, TcpConnect,
    Transport, UnixBind, communicator,
};
use std::error::Error;
use std::io;
use std::net::ToSocketAddrs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// As much waits for a side that is slow before the other one is not read.
const WAITING: usize = 256 << 10;
const CLIENTS_MAX: usize = 10_000;

enum Address {
    Tcp(String, u16),
    Unix(PathBuf),
}

impl Address {
    fn parse(text: &str) -> Result<Self, String> {
        if text.contains('/') {
            return Ok(Self::Unix(text.into()));
        }
        let parts = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let (host, port) =
            parts.ok_or_else(|| format!("{text}: neither host:port nor a path with a slash"))?;
        Ok(Self::Tcp(host.trim_matches(['[', ']']).to_owned(), port))
    }

    fn connect(&self, communicator: &Communicator, side: Side) -> io::Result<Id<Raw>> {
        match self {
            Self::Tcp(host, port) => {
                let to = TcpConnect::to(host, *port).deadline(Duration::from_secs(10));
                communicator.connect_tcp(to, Raw, side)
            }
            Self::Unix(path) => communicator.connect_unix(path, Raw, side),
        }
    }
}

/// What both ends of a pipe do: nothing but saying why they end.
struct Side(&'static str);

impl Handler<Raw> for Side {
    fn message(&mut self, _: &[u8], _: &Cx<'_, Raw>) -> HandlerResult {
        Ok(()) // everything goes through the pipe
    }
    fn closed(&mut self, why: &Closed, cx: &Cx<'_, Raw>) {
        if !matches!(why, Closed::Eof | Closed::Pipe | Closed::Local) {
            eprintln!("proxy: {} {}: {why}", self.0, cx.id());
        }
    }
}

/// Joins a client with the target.
fn pass_on<T: Transport>(client: Incoming<'_, T>, target: &Address) -> HandlerResult {
    let communicator = client.communicator();
    let far = target.connect(communicator, Side("target"))?;
    communicator.set_limits(far, limits());
    let joined = client.serve(Raw, Side("client")).map(|near| communicator.join(near, far));
    if !matches!(joined, Ok(Ok(()))) {
        communicator.remove(far);
    }
    Ok(joined??)
}

fn limits() -> Limits {
    Limits { high_water: WAITING, low_water: WAITING / 4, ..Limits::default() }
}

fn serve<T: Transport>(client: Incoming<'_, T>, target: &Address, tls: Option<&TlsServer>) -> HandlerResult {
    match tls {
        Some(tls) => pass_on(client.tls(tls)?, target),
        None => pass_on(client, target),
    }
}

fn listen(
    communicator: &Communicator,
    at: &Address,
    target: Address,
    tls: Option<TlsServer>,
) -> Result<Key, Box<dyn Error>> {
    match at {
        Address::Tcp(host, port) => {
            let mut addresses = (host.as_str(), *port).to_socket_addrs()?;
            let bound = TcpBind::new(addresses.next().ok_or("it has no address")?).bind()?;
            println!("proxy: listening on {}", bound.address());
            Ok(communicator.listen(bound, move |client| serve(client, &target, tls.as_ref()))?)
        }
        Address::Unix(path) => {
            let bound = UnixBind::new(path).mode(0o600).bind()?;
            println!("proxy: listening on {}", path.display());
            Ok(communicator.listen(bound, move |client| serve(client, &target, tls.as_ref()))?)
        }
    }
}

fn run(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let (at, target, files) = match arguments {
        [at, target] => (at, target, None),
        [at, target, certificate, key] => (at, target, Some((certificate, key))),
        _ => return Err("usage: proxy LISTEN TARGET [CERTIFICATE KEY]".into()),
    };
    let tls = files.map(|(certificate, key)| TlsServer::from_files(certificate, key)).transpose()?;
    let communicator = communicator();
    let listener = listen(&communicator, &Address::parse(at)?, Address::parse(target)?, tls.clone())?;
    communicator.set_most_clients(listener, CLIENTS_MAX);
    communicator.set_limits(listener, limits());
    communicator.signals([Signal::INT, Signal::TERM], |_, communicator| communicator.close_all())?;
    communicator.signals([Signal::HUP], move |_, _| {
        match tls.as_ref().map_or(Ok(()), TlsServer::reload) {
            Ok(()) => println!("proxy: read again"),
            Err(error) => complain(&error),
        }
    })?;
    Ok(communicator.run()?)
}

fn complain(error: &TlsConfigError) {
    eprintln!("proxy: the old certificate stays: {error}");
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("proxy: {error}");
            ExitCode::FAILURE
        }
    }
}
