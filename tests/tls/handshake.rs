//! Who gets in, who does not, and what is known of those who do.

use crate::certificates::{Authority, Identity, fitting};
use crate::stage::{Seen, echo, log, quiet, run_until};
use eventdispatcher::codec::Lines;
use eventdispatcher::tls::{
    CertificateFault, Tls, TlsClient, TlsClientBuilder, TlsError, TlsInfo, TlsServerBuilder, TlsVersion,
};
use eventdispatcher::{Closed, Communicator, Cx, Handler, HandlerResult};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd};
use std::cell::RefCell;
use std::rc::Rc;

const BOTH: [TlsVersion; 2] = [TlsVersion::Tls12, TlsVersion::Tls13];

/// Speaks one line over TLS; what both sides know of the handshake, the client first.
fn speak(unix: bool, client: &TlsClient, server: TlsServerBuilder, name: &str) -> (TlsInfo, TlsInfo) {
    let (communicator, seen, server) =
        (Communicator::new().unwrap(), Seen::default(), server.build().unwrap());
    let infos = Rc::new(RefCell::new(Vec::new()));
    let served = infos.clone();
    let answer = move |event: &str, cx: &Cx<'_, Lines>| {
        if event == "connected" {
            served.borrow_mut().push(cx.tls_info(cx.id()).unwrap());
        }
        echo(event, cx)
    };
    let asked = infos.clone();
    let ask = log(&seen, move |event: &str, cx: &Cx<'_, Lines>| {
        match event {
            "connected" => {
                asked.borrow_mut().insert(0, cx.tls_info(cx.id()).unwrap());
                cx.reply("hello")?;
            }
            "hello" => cx.close_all(),
            _ => {}
        }
        Ok(())
    });
    if unix {
        let (ours, theirs) = eventdispatcher::unix_pair().unwrap();
        let (ours, theirs) =
            (Tls::client(ours, name, client).unwrap(), Tls::server(theirs, &server).unwrap());
        communicator.stream(theirs, Lines::new(), log(&Seen::default(), answer)).unwrap();
        communicator.stream(ours, Lines::new(), ask).unwrap();
    } else {
        let listening = communicator
            .listen_tls("127.0.0.1:0".parse().unwrap(), &server, move |incoming| {
                incoming.serve(Lines::new(), log(&Seen::default(), answer.clone()))?;
                Ok(())
            })
            .unwrap();
        communicator.connect_tls(listening.address(), name, client, Lines::new(), ask).unwrap();
    }
    run_until(&communicator, &seen, || communicator.is_empty());
    assert_eq!(seen.all(), ["connected", "hello", "closed: closed by this program"]);
    let infos = infos.borrow();
    assert_eq!(infos.len(), 2);
    ((*infos[0]).clone(), (*infos[1]).clone())
}

#[test]
fn both_versions_are_spoken_over_tcp_and_unix_sockets() {
    let authority = Authority::new();
    let identity = authority.server("localhost");
    for (unix, version) in [(false, BOTH[0]), (false, BOTH[1]), (true, BOTH[0]), (true, BOTH[1])] {
        let client = authority.trust().versions([version]).build().unwrap();
        let (ours, theirs) = speak(unix, &client, Authority::serve(&identity), "localhost");
        for info in [&ours, &theirs] {
            assert_eq!(info.version, version);
            assert_eq!(info.server_name.as_deref(), Some("localhost"));
            assert!(info.cipher.starts_with("TLS"), "{info}");
            assert_eq!(info.alpn, None);
            assert!(!info.resumed);
        }
        assert_eq!(ours.peer_certificate(), Some(identity.der.as_slice()));
        assert!(ours.verified);
        assert_eq!((theirs.peer_certificate(), theirs.verified), (None, false));
    }
}

#[test]
fn the_server_chooses_one_of_the_protocols_that_both_speak() {
    let authority = Authority::new();
    let serve = || Authority::serve(&authority.server("localhost"));
    let offer = |protocols: &[&str]| authority.trust().alpn(protocols).build().unwrap();
    let check = |offered: &[&str], served: &[&str], chosen: Option<&str>| {
        let (ours, theirs) = speak(false, &offer(offered), serve().alpn(served), "localhost");
        assert_eq!(ours.alpn.as_deref(), chosen.map(str::as_bytes), "{offered:?} {served:?}");
        assert_eq!(theirs.alpn, ours.alpn);
    };
    check(&["a", "b"], &["b", "a"], Some("b"));
    check(&["a", "b"], &["c", "a"], Some("a"));
    check(&[], &["a"], None);
    check(&["a"], &[], None);
}

#[test]
fn an_address_can_be_what_the_certificate_is_for() {
    let authority = Authority::new();
    for address in ["127.0.0.1", "::1"] {
        let client = authority.trust().build().unwrap();
        let (ours, theirs) = speak(false, &client, Authority::serve(&authority.server(address)), address);
        assert_eq!(ours.server_name.as_deref(), Some(address));
        assert!(ours.verified);
        assert_eq!(theirs.server_name, None, "only names are told to the server");
    }
}

#[test]
fn a_client_that_shows_a_certificate_is_known_to_the_server() {
    let authority = Authority::new();
    let identity = authority.client("a.client");
    let serve = || Authority::serve(&authority.server("localhost")).client_roots_pem(&authority.pem);
    for version in BOTH {
        let client = authority.trust().versions([version]).certificate_pem(&identity.chain, &identity.key);
        for server in [serve(), serve().client_certificates_optional()] {
            let (_, theirs) = speak(false, &client.clone().build().unwrap(), server, "localhost");
            assert_eq!(theirs.peer_certificate(), Some(identity.der.as_slice()));
            assert!(theirs.verified);
        }
        let client = authority.trust().versions([version]).build().unwrap();
        let (_, theirs) = speak(false, &client, serve().client_certificates_optional(), "localhost");
        assert_eq!((theirs.peer_certificate(), theirs.verified), (None, false));
    }
}

#[test]
fn who_explicitly_verifies_nothing_gets_in_and_knows_it() {
    let (own, other) = (Authority::new(), Authority::new());
    for version in BOTH {
        let client = own.trust().versions([version]).dangerously_without_verification().build().unwrap();
        let (ours, _) = speak(false, &client, Authority::serve(&other.server("b.example")), "a.example");
        assert!(!ours.verified && ours.peer_certificate().is_some());
        assert!(ours.to_string().ends_with("certificate NOT verified"), "{ours}");
    }
}

/// What came of a handshake that must fail: the errors of the client and the server, and what the client's handler saw.
struct Failed {
    client: String,
    server: String,
    seen: Vec<String>,
}

/// Keeps why it ended.
struct Keep {
    seen: Seen,
    why: Rc<RefCell<Option<TlsError>>>,
}

impl Handler<Lines> for Keep {
    fn connected(&mut self, cx: &Cx<'_, Lines>) -> HandlerResult {
        self.seen.add("connected");
        Ok(cx.reply("hello")?)
    }
    fn message(&mut self, line: &str, _: &Cx<'_, Lines>) -> HandlerResult {
        self.seen.add(line);
        Ok(())
    }
    fn closed(&mut self, why: &Closed, cx: &Cx<'_, Lines>) {
        self.seen.add(why.to_string());
        if let Closed::Connect(error) | Closed::Io(error) = why {
            *self.why.borrow_mut() = TlsError::of(error).cloned();
        }
        for info in cx.connections() {
            if info.kind == "tcp listener" {
                cx.remove(info.key);
            }
        }
    }
}

fn fail(client: TlsClientBuilder, server: TlsServerBuilder, name: &str) -> (Failed, Option<TlsError>) {
    let (communicator, seen, served) = (Communicator::new().unwrap(), Seen::default(), Seen::default());
    let (client, server) = (client.build().unwrap(), server.build().unwrap());
    let log_served = served.clone();
    let listening = communicator
        .listen_tls("127.0.0.1:0".parse().unwrap(), &server, move |incoming| {
            incoming.serve(Lines::new(), log(&log_served, quiet))?;
            Ok(())
        })
        .unwrap();
    let why = Rc::new(RefCell::new(None));
    let keep = Keep { seen: seen.clone(), why: why.clone() };
    communicator.connect_tls(listening.address(), name, &client, Lines::new(), keep).unwrap();
    run_until(&communicator, &seen, || communicator.is_empty());
    let seen = seen.all();
    let server = served.all();
    assert_eq!(server.len(), 1, "the server is told once, and nothing reaches it: {server:?}");
    let failed = Failed { client: seen.last().cloned().unwrap_or_default(), server: server[0].clone(), seen };
    let why = why.borrow().clone();
    (failed, why)
}

#[test]
fn a_server_whose_certificate_is_not_in_order_is_refused_and_told_why() {
    let (own, other) = (Authority::new(), Authority::new());
    let purpose = ExtendedKeyUsagePurpose::ServerAuth;
    let (good, foreign) = (own.server("localhost"), other.server("localhost"));
    let expired = own.issue("localhost", purpose.clone(), |p| p.not_after = date_time_ymd(2001, 1, 1));
    let early = own.issue("localhost", purpose, |p| p.not_before = date_time_ymd(4000, 1, 1));
    let of_client = own.client("localhost");
    let wrong_name = CertificateFault::WrongName {
        expected: "b.example".to_owned(),
        presented: vec!["localhost".to_owned()],
    };
    for version in BOTH {
        let check = |identity, name: &str, fault: CertificateFault, alert: &str| {
            let (failed, why) = fail(own.trust().versions([version]), Authority::serve(identity), name);
            assert_eq!(why, Some(TlsError::Certificate(fault.clone())));
            let text = format!("could not connect: TLS: the other side's certificate is refused: {fault}");
            assert_eq!(failed.client, text);
            let text = format!("closed: could not connect: TLS: the other side refuses to go on: {alert}");
            assert_eq!(failed.server, text, "{version}: {fault}");
        };
        check(&good, "b.example", wrong_name.clone(), "BadCertificate");
        check(&foreign, "localhost", CertificateFault::UnknownIssuer, "UnknownCA");
        check(&expired, "localhost", CertificateFault::Expired, "CertificateExpired");
        check(&early, "localhost", CertificateFault::NotYetValid, "CertificateExpired");
        check(&of_client, "localhost", CertificateFault::WrongPurpose, "UnsupportedCertificate");
    }
}

/// One that has signed itself as authorities do: what the usual tools make for a server.
fn self_signed(change: impl FnOnce(&mut CertificateParams)) -> Identity {
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let made = params.self_signed(&key).unwrap();
    Identity { chain: made.pem(), key: key.serialize_pem(), der: made.der().to_vec() }
}

#[test]
fn an_authoritys_own_certificate_is_taken_where_this_very_one_is_trusted() {
    let (own, other) = (self_signed(|_| ()), self_signed(|_| ()));
    let trust = |identity: &Identity| TlsClient::builder().roots_pem(&identity.chain);
    for version in BOTH {
        let client = trust(&own).roots_pem(&other.chain).versions([version]).build().unwrap();
        let (ours, _) = speak(false, &client, Authority::serve(&own), "localhost");
        assert!(ours.verified);
        let check = |client: TlsClientBuilder, identity: &Identity, name: &str, wanted: &str| {
            let (failed, _) = fail(client.versions([version]), Authority::serve(identity), name);
            let begin = "could not connect: TLS: the other side's certificate is refused: ";
            assert_eq!(failed.client, format!("{begin}{wanted}"));
        };
        let name = "it is not for b.example but for localhost";
        check(trust(&own), &own, "b.example", name);
        let very = "it is an authority's own, which only who trusts this very one may take";
        check(trust(&own), &other, "localhost", very);
        let expired = self_signed(|params| params.not_after = date_time_ymd(2001, 1, 1));
        check(trust(&expired), &expired, "localhost", "it has expired");
        let nameless = self_signed(|params| params.subject_alt_names.clear());
        let wanted = "it is not for localhost: it has no name or address for which it is (subjectAltName)";
        check(trust(&nameless), &nameless, "localhost", wanted);
    }
}

#[test]
fn a_client_whose_certificate_is_not_in_order_is_refused_and_told_why() {
    let (own, other) = (Authority::new(), Authority::new());
    let serve = || Authority::serve(&own.server("localhost")).client_roots_pem(&own.pem);
    let purpose = ExtendedKeyUsagePurpose::ClientAuth;
    let foreign = other.client("a.client");
    let expired = own.issue("a.client", purpose, |p| p.not_after = date_time_ymd(2001, 1, 1));
    for version in BOTH {
        let check = |client: TlsClientBuilder, server, fault: &str, alert: &str| {
            let (failed, why) = fail(client.versions([version]), server, "localhost");
            assert_eq!(why, Some(TlsError::Alert(alert.to_owned())), "{version}: {}", failed.client);
            let text =
                format!("closed: could not connect: TLS: the other side's certificate is refused: {fault}");
            assert_eq!(failed.server, text);
            // In TLS 1.3 a client is through before the server has seen its certificate.
            let through = failed.seen.len() > 1;
            assert_eq!(through, version == TlsVersion::Tls13, "{:?}", failed.seen);
        };
        check(own.trust(), serve(), "there is none, and one is required", "CertificateRequired");
        let client = own.trust().certificate_pem(&foreign.chain, &foreign.key);
        check(client.clone(), serve(), "no trusted root has signed it", "UnknownCA");
        // Optional is no reason to take a bad one.
        check(client, serve().client_certificates_optional(), "no trusted root has signed it", "UnknownCA");
        let client = own.trust().certificate_pem(&expired.chain, &expired.key);
        check(client, serve(), "it has expired", "CertificateExpired");
    }
}

#[test]
fn who_has_nothing_in_common_does_not_come_together() {
    let (authority, _, _) = fitting();
    let serve = || Authority::serve(&authority.server("localhost"));
    let (old, new) = ([TlsVersion::Tls12], [TlsVersion::Tls13]);
    let check = |client: TlsClientBuilder, server: TlsServerBuilder, alert: &str| {
        let (failed, why) = fail(client, server, "localhost");
        assert_eq!(why, Some(TlsError::Alert(alert.to_owned())), "{}", failed.client);
        let text = "closed: could not connect: TLS: nothing in common with the other side: ";
        assert!(failed.server.starts_with(text), "{}", failed.server);
    };
    check(authority.trust().versions(old), serve().versions(new), "ProtocolVersion");
    check(authority.trust().versions(new), serve().versions(old), "ProtocolVersion");
    check(authority.trust().alpn(["a"]), serve().alpn(["b"]), "NoApplicationProtocol");
}
