//! Where the server listens: on what the service manager hands over, and on what the configuration names.

use eventdispatcher::connections::clacks::Server;
use eventdispatcher::connections::clacks::configuration::{Configuration, Tls};
use eventdispatcher::tls::TlsServer;
use eventdispatcher::{Communicator, UnixBind, systemd::Inherited};
use mio::net::TcpListener;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, listen as start_listening, socket_with, sockopt,
};
use std::collections::HashSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{self, IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// So many clients may wait to be accepted, if the system has no lower limit.
const MOST_WAITING: i32 = 4096;

/// The server listens.
#[derive(Debug)]
pub(crate) struct Listening {
    /// Where, for people.
    pub(crate) places: Vec<String>,
    /// The socket files that it has made.
    pub(crate) sockets: Vec<PathBuf>,
    /// What clients over TCP are shown.
    pub(crate) tls: Option<TlsServer>,
}

/// Listens everywhere.
///
/// # Errors
/// The first place where it can't.
pub(crate) fn listen(
    communicator: &Communicator,
    server: &Server,
    configuration: &Configuration,
) -> Result<Listening, String> {
    let tls = configuration.tls.as_ref();
    let certificate = tls.map(|tls| TlsServer::from_files(&tls.certificate, &tls.key)).transpose();
    let mut listening =
        Listening { places: Vec::new(), sockets: Vec::new(), tls: certificate.map_err(|e| e.to_string())? };
    let taken = take_inherited(communicator, server, &mut listening)?;

    for path in configuration.sockets.iter().filter(|path| !taken.has(path)) {
        let mut bind = UnixBind::new(path);
        if let Some(mode) = configuration.socket_mode {
            bind = bind.mode(mode);
        }
        server.listen_unix(communicator, bind).map_err(|error| error.to_string())?;
        listening.places.push(path.display().to_string());
        listening.sockets.push(path.clone());
    }
    if let (Some(tls), Some(certificate)) = (tls, listening.tls.clone()) {
        let places = places(tls)?;
        let all: Vec<SocketAddr> = places.iter().flat_map(|place| place.addresses.clone()).collect();
        for place in &places {
            let mut failed = None;
            let mut bound = 0;
            for address in place.addresses.iter().filter(|address| !taken.addresses.contains(address)) {
                match tcp_listener(*address, is_for_ipv6_only(*address, &all)) {
                    Ok(listener) => {
                        let at = serve_tls(communicator, server, listener, &certificate);
                        let at = at.map_err(|error| format!("can't listen on {address}: {error}"))?;
                        listening.places.push(format!("{at} (TLS)"));
                        bound += 1;
                    }
                    Err(error) => {
                        // A name may have addresses that this machine can't use, such as those of IPv6.
                        let text = format!("can't listen on {address}: {error}");
                        if place.addresses.len() == 1 || error.kind() != ErrorKind::AddrNotAvailable {
                            return Err(text);
                        }
                        log::warn!("{text}");
                        failed = Some(text);
                    }
                }
            }
            if let (0, Some(failed)) = (bound, failed) {
                return Err(failed);
            }
        }
    }
    Ok(listening)
}

/// Where the service manager listens already.
#[derive(Default)]
struct Taken {
    paths: Vec<PathBuf>,
    addresses: Vec<SocketAddr>,
}

impl Taken {
    /// Whether that socket file, by this name or another, is the manager's.
    fn has(&self, path: &Path) -> bool {
        let file = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
        let this = file(path);
        self.paths.iter().any(|taken| taken == path || this.is_some() && file(taken) == this)
    }
}

/// Serves on the sockets of the service manager. Their names and modes are its business.
fn take_inherited(
    communicator: &Communicator,
    server: &Server,
    listening: &mut Listening,
) -> Result<Taken, String> {
    let mut taken = Taken::default();
    for inherited in Inherited::take().map_err(|error| error.to_string())? {
        let name = inherited.name().to_owned();
        let failed = |error: io::Error| format!("the service manager's socket {name}: {error}");
        if let Some(address) = inherited.tcp_address() {
            let Some(certificate) = &listening.tls else {
                return Err(format!("the service manager's socket {name}: {address} needs <ip> and <ssl>"));
            };
            let listener = inherited.into_tcp_listener().map_err(failed)?;
            server.accept_tls(communicator, listener, &address.to_string(), certificate).map_err(failed)?;
            listening.places.push(format!("{address} (TLS)"));
            taken.addresses.push(address);
        } else {
            let path = inherited.unix_path();
            let shown = path.as_ref().map_or(name.clone(), |path| path.display().to_string());
            let listener = inherited.into_unix_listener().map_err(failed)?;
            server.accept_unix(communicator, listener, &shown).map_err(failed)?;
            listening.places.push(shown);
            taken.paths.extend(path);
        }
    }
    Ok(taken)
}

/// A configured name or address, and what it stands for.
struct Place {
    addresses: Vec<SocketAddr>,
}

/// All that the configured names stand for, each address once.
fn places(tls: &Tls) -> Result<Vec<Place>, String> {
    let mut seen = HashSet::new();
    let resolve = |name: &String| {
        let found = (name.as_str(), tls.port).to_socket_addrs();
        let found = found.map_err(|error| format!("<ip>: {name} can't be resolved: {error}"))?;
        Ok(Place { addresses: found.filter(|address| seen.insert(*address)).collect() })
    };
    tls.addresses.iter().map(resolve).collect()
}

fn serve_tls(
    communicator: &Communicator,
    server: &Server,
    listener: net::TcpListener,
    certificate: &TlsServer,
) -> io::Result<SocketAddr> {
    let address = listener.local_addr()?;
    let listener = TcpListener::from_std(listener);
    server.accept_tls(communicator, listener, &address.to_string(), certificate)?;
    Ok(address)
}

/// Whether clients over IPv4 are those of other addresses in the list: `::` would take them as well.
fn is_for_ipv6_only(address: SocketAddr, all: &[SocketAddr]) -> bool {
    address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && all.iter().any(SocketAddr::is_ipv4)
}

fn tcp_listener(address: SocketAddr, ipv6_only: bool) -> io::Result<net::TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let made = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    // Else a restart would wait until the connections of the last run are forgotten.
    sockopt::set_socket_reuseaddr(&made, true)?;
    if ipv6_only {
        sockopt::set_ipv6_v6only(&made, true)?;
    }
    bind(&made, &address)?;
    start_listening(&made, MOST_WAITING)?;
    Ok(made.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wildcard_of_ipv6_leaves_ipv4_to_those_who_ask_for_it() {
        let check = |all: &[&str], wanted: &[bool]| {
            let all: Vec<SocketAddr> = all.iter().map(|address| address.parse().unwrap()).collect();
            let got: Vec<bool> = all.iter().map(|address| is_for_ipv6_only(*address, &all)).collect();
            assert_eq!(got, wanted, "{all:?}");
        };
        check(&["[::]:1"], &[false]);
        check(&["[::]:1", "[::1]:1"], &[false, false]);
        check(&["[::]:1", "0.0.0.0:1"], &[true, false]);
        check(&["127.0.0.1:1", "[::]:1"], &[false, true]);
    }

    #[test]
    fn both_wildcards_can_be_listened_on_at_once() {
        let v4 = tcp_listener("0.0.0.0:0".parse().unwrap(), false).unwrap();
        let port = v4.local_addr().unwrap().port();
        match tcp_listener(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port), true) {
            Ok(v6) => assert_eq!(v6.local_addr().unwrap().port(), port),
            // A machine without IPv6.
            Err(error) => assert_eq!(error.raw_os_error(), Some(nix::libc::EAFNOSUPPORT), "{error}"),
        }
    }
}
