//! New certificates while the program runs, and sessions that are resumed.

use crate::certificates::{Authority, Identity, fitting};
use crate::stage::{Seen, echo, log, run_until};
use eventdispatcher::Communicator;
use eventdispatcher::codec::Lines;
use eventdispatcher::tls::{ConfigProblem, TlsClient, TlsInfo, TlsServer, TlsVersion};
use eventdispatcher::{Cx, Id, Listening};
use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Mutex, Once};

/// What was logged, by all tests.
static LOGGED: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }
    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            LOGGED.lock().unwrap().push(record.args().to_string());
        }
    }
    fn flush(&self) {}
}

fn warned(text: &str) -> bool {
    LOGGED.lock().unwrap().iter().any(|line| line.contains(text))
}

fn listen_to_the_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Logger).unwrap();
        log::set_max_level(log::LevelFilter::Warn);
    });
}

/// A server that echoes, and clients that come one after the other and stay.
struct House {
    communicator: Communicator,
    listening: Listening,
    seen: Seen,
}

impl House {
    fn new(server: &TlsServer) -> Self {
        let communicator = Communicator::new().unwrap();
        let listening = communicator
            .listen_tls("127.0.0.1:0".parse().unwrap(), server, |client| {
                client.serve(Lines::new(), log(&Seen::default(), echo))?;
                Ok(())
            })
            .unwrap();
        Self { communicator, listening, seen: Seen::default() }
    }

    /// One more client, which has got an answer; or why it did not.
    fn visit(&self, client: &TlsClient) -> Result<(Id<Lines>, TlsInfo), String> {
        let (seen, info) = (Seen::default(), Rc::new(RefCell::new(None)));
        let got = info.clone();
        let handler = log(&seen, move |event: &str, cx: &Cx<'_, Lines>| {
            if event == "connected" {
                *got.borrow_mut() = cx.tls_info(cx.id());
                cx.reply("hello")?;
            }
            Ok(())
        });
        let address = self.listening.address();
        let id = self.communicator.connect_tls(address, "localhost", client, Lines::new(), handler).unwrap();
        run_until(&self.communicator, &seen, || seen.has("hello") || seen.has("closed"));
        if seen.has("closed") {
            return Err(seen.last());
        }
        let info = info.borrow().as_deref().cloned();
        Ok((id, info.unwrap()))
    }
}

fn write(folder: &Path, identity: &Identity) {
    fs::write(folder.join("chain.pem"), &identity.chain).unwrap();
    fs::write(folder.join("key.pem"), &identity.key).unwrap();
}

#[test]
fn a_new_certificate_is_used_by_new_handshakes_and_a_bad_one_by_none() {
    listen_to_the_log();
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let (first, second) = (authority.server("localhost"), authority.server("localhost"));
    write(folder.path(), &first);
    let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
    let server = TlsServer::from_files(&chain, &key).unwrap();
    let client = authority.trust().build().unwrap();
    let house = House::new(&server);
    let shown = |house: &House| house.visit(&client).unwrap().1.peer_certificate().unwrap().to_vec();
    let (old, info) = house.visit(&client).unwrap();
    assert_eq!(info.peer_certificate(), Some(first.der.as_slice()));

    // Only one of the two files is there yet.
    fs::write(&chain, &second.chain).unwrap();
    let error = server.reload().unwrap_err();
    assert!(matches!(error.problem(), ConfigProblem::KeyMismatch(_)), "{error:?}");
    assert_eq!(error.path(), Some(key.as_path()));
    assert!(error.to_string().starts_with(&key.display().to_string()), "{error}");
    assert!(warned(&format!("the old one stays in use: {error}")), "{LOGGED:?}");
    assert_eq!(shown(&house), first.der);

    fs::write(&key, &second.key).unwrap();
    server.reload().unwrap();
    assert_eq!(shown(&house), second.der);

    fs::remove_file(&chain).unwrap();
    assert!(matches!(server.reload().unwrap_err().problem(), ConfigProblem::Unreadable(_)));
    assert_eq!(shown(&house), second.der);

    // Who was there before any of this is there still.
    house.communicator.send(old, "old").unwrap();
    run_until(&house.communicator, &house.seen, || {
        house.communicator.connection(old).is_some_and(|info| info.items_in == 2)
    });
    server.replace(Authority::serve(&first)).unwrap();
    assert_eq!(shown(&house), first.der);
    server.reload().unwrap();
}

#[test]
fn a_client_can_be_reloaded_too() {
    let (old, new, folder) = (Authority::new(), Authority::new(), tempfile::tempdir().unwrap());
    let roots = folder.path().join("roots.pem");
    fs::write(&roots, &old.pem).unwrap();
    let client = TlsClient::builder().roots_file(&roots).build().unwrap();
    let house = House::new(&Authority::serve(&new.server("localhost")).build().unwrap());
    assert!(house.visit(&client).unwrap_err().ends_with("no trusted root has signed it"));
    fs::write(&roots, "").unwrap();
    client.reload().unwrap_err();
    fs::write(&roots, &new.pem).unwrap();
    client.reload().unwrap();
    house.visit(&client).unwrap();
    client.replace(old.trust()).unwrap();
    house.visit(&client).unwrap_err();
}

#[test]
fn a_session_is_resumed_until_the_server_is_reloaded() {
    let authority = Authority::new();
    let (identity, who) = (authority.server("localhost"), authority.client("a.client"));
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        let server = Authority::serve(&identity).client_roots_pem(&authority.pem).build().unwrap();
        let client = authority.trust().versions([version]).certificate_pem(&who.chain, &who.key);
        let client = client.build().unwrap();
        let house = House::new(&server);
        for resumed in [false, true, true] {
            let (_, info) = house.visit(&client).unwrap();
            assert_eq!(info.resumed, resumed, "{version}");
            assert_eq!((info.peer_certificate(), info.verified), (Some(identity.der.as_slice()), true));
        }
        server.reload().unwrap();
        for resumed in [false, true] {
            assert_eq!(house.visit(&client).unwrap().1.resumed, resumed, "{version}");
        }
        // What was allowed before counts no more.
        server.replace(Authority::serve(&identity).client_roots_pem(Authority::new().pem)).unwrap();
        let visited = house.visit(&client).unwrap_err();
        assert!(visited.ends_with("the other side refuses to go on: UnknownCA"), "{visited}");
    }
}

#[test]
fn a_client_that_verifies_nothing_is_warned_of() {
    listen_to_the_log();
    TlsClient::builder().dangerously_without_verification().build().unwrap();
    assert!(warned("TLS certificates of servers are NOT verified"), "{LOGGED:?}");
}

#[test]
fn what_can_not_work_is_refused_when_it_is_made() {
    let (authority, _, _) = fitting();
    let serve = || Authority::serve(&authority.server("localhost"));
    let server = |builder: eventdispatcher::tls::TlsServerBuilder, text: &str| {
        assert_eq!(builder.build().unwrap_err().to_string(), text);
    };
    server(TlsServer::builder(), "a TLS server needs a certificate and its key");
    let text = "certificates of clients can't be verified without roots";
    server(serve().client_certificates_optional(), text);
    server(serve().versions([]), "no version of TLS is left to speak");
    let text = "the name of an application protocol (ALPN) has 1 to 255 bytes";
    server(serve().alpn([""]), text);
    server(serve().alpn(["x".repeat(256)]), text);
    let client = authority.trust().versions([]).build().unwrap_err();
    assert!(matches!(client.problem(), ConfigProblem::NoVersion));
    let missing = TlsClient::builder().roots_file("/nowhere/roots.pem").build().unwrap_err();
    assert_eq!(missing.path(), Some(Path::new("/nowhere/roots.pem")));
    let text = "/nowhere/roots.pem: can't be read: No such file or directory (os error 2)";
    assert_eq!(missing.to_string(), text);
    assert_eq!(std::io::Error::from(missing).to_string(), text);
}
