//! Clients over TLS, and the certificates that they take.

use crate::certificates::{Authority, Identity};
use crate::program;
use crate::support::DEADLINE;
use crate::support::daemon::Program;
use crate::world::{World, clacksd, write_configuration};
use eventdispatcher::connections::clacks::client::{Client, ClientError, Event};
use eventdispatcher::{Communicator, Pauses, Reconnect};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use std::cell::RefCell;
use std::fs;
use std::rc::Rc;
use std::time::{Duration, Instant};

#[test]
fn all_kinds_of_clients_work_over_tls() {
    let world = World::new("");
    let mut blocking = world.options().named("blocking").connect_blocking().unwrap();
    blocking.store(b"key", b"value").unwrap();
    let clients = blocking.client_list().unwrap();
    assert_eq!(clients[0].get("HOST"), Some("127.0.0.1"), "{clients:?}");

    let communicator = Communicator::new().unwrap();
    let answer = Rc::new(RefCell::new(None));
    let got = answer.clone();
    world
        .options()
        .connect(&communicator, move |event: &Event, client: &Client| {
            if let Event::Connected { .. } = event {
                let got = got.clone();
                client.retrieve(b"key", move |value, client| {
                    *got.borrow_mut() = value.unwrap();
                    client.communicator().stop();
                })?;
            }
            Ok(())
        })
        .unwrap();
    communicator.after(DEADLINE, Communicator::stop);
    communicator.run().unwrap();
    assert_eq!(answer.borrow().as_deref(), Some(&b"value"[..]));

    let ca = world.path("ca.pem");
    let ca = ca.to_str().unwrap();
    let get = program::run(&mut world.clacks(&["--ca", ca, "get", "key"]), b"");
    assert_eq!(get.success(), "value\n");
    let mut command = world.clacks(&["get", "key"]);
    assert_eq!(program::run(command.env("CLACKS_CA", ca), b"").success(), "value\n");
    let raw = program::run(&mut world.clacks(&["--ca", ca, "raw"]), b"RETRIEVE key\n");
    assert!(raw.success().contains("RETRIEVED key=value\n"), "{raw:?}");
}

#[test]
fn a_lasting_client_comes_back_to_a_server_that_is_restarted() {
    let world = World::new("");
    // By its name, which is resolved at each attempt.
    write_configuration(world.folder.path(), "", &["127.0.0.1"], world.address().port());
    let options = world.options();
    let World { folder, mut server, .. } = world;
    let communicator = Communicator::new().unwrap();
    let seen = Rc::new(RefCell::new(Vec::new()));
    let see = seen.clone();
    let client = options
        .connect_lasting(
            &communicator,
            Reconnect::new(Pauses::every(Duration::from_millis(5))),
            move |event: &Event, _: &Client| {
                see.borrow_mut().push(event.clone());
                Ok(())
            },
        )
        .unwrap();
    client.listen(b"news").unwrap();
    let until = |wanted: &dyn Fn(&Event) -> bool| {
        let end = Instant::now() + DEADLINE;
        while !seen.borrow().iter().any(wanted) {
            assert!(Instant::now() < end, "it did not come: {seen:?}, {:#?}", communicator.connections());
            communicator.turn(Some(Duration::from_millis(5))).unwrap();
        }
        seen.borrow_mut().clear();
    };
    until(&|event| matches!(event, Event::Connected { .. }));
    for round in ["1", "2"] {
        server.signal(nix::sys::signal::Signal::SIGTERM);
        assert_eq!(server.ended().status.code(), Some(0));
        server = Program::start(&mut clacksd(folder.path()));
        until(&|event| matches!(event, Event::Reconnected { listening: 1, .. }));
        let mut other = options.connect_blocking().unwrap();
        other.set(b"news", round.as_bytes()).unwrap();
        until(&|event| matches!(event, Event::Set { value, .. } if value == round.as_bytes()));
    }
    client.close();
}

#[test]
fn every_configured_address_is_served() {
    let world = World::with("", &["127.0.0.1", "127.0.0.2", "::1"], |authority| {
        let names = ["127.0.0.1", "127.0.0.2", "::1"].map(str::to_owned);
        authority.issue("localhost", ExtendedKeyUsagePurpose::ServerAuth, |params| {
            let more = rcgen::CertificateParams::new(names).unwrap().subject_alt_names;
            params.subject_alt_names.extend(more);
        })
    });
    assert_eq!(world.addresses.len(), 3);
    for address in &world.addresses {
        let mut client = world.options().host(address.to_string()).connect_blocking().unwrap();
        client.flush().unwrap();
    }
}

/// What a client that trusts the server's authority says of a certificate.
fn check_refused(identity: impl FnOnce(&Authority) -> Identity, wanted: &str) {
    let world = World::with("", &["127.0.0.1"], identity);
    let ca = world.path("ca.pem");
    let done = program::run(&mut world.clacks(&["--ca", ca.to_str().unwrap(), "flush"]), b"");
    assert_eq!(done.code(), Some(3), "{done:?}");
    assert!(done.stderr.contains(wanted), "{wanted:?}: {done:?}");
    let evented = program::run(&mut world.clacks(&["--ca", ca.to_str().unwrap(), "listen", "x"]), b"");
    assert_eq!(evented.code(), Some(3), "{evented:?}");
    assert!(evented.stderr.contains(wanted), "{wanted:?}: {evented:?}");
    // Who insists is warned.
    let done = program::run(&mut world.clacks(&["--no-verify", "flush"]), b"");
    let warning = "clacks: warning: the server's certificate is NOT verified (--no-verify)\n";
    assert_eq!((done.code(), &*done.stderr), (Some(0), warning), "{done:?}");
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    check_refused(
        |authority| authority.server("elsewhere.example"),
        "the other side's certificate is refused: it is not for localhost but for elsewhere.example",
    );
}

#[test]
fn an_expired_certificate_is_refused() {
    check_refused(
        |authority| {
            authority.issue("localhost", ExtendedKeyUsagePurpose::ServerAuth, |params| {
                params.not_before = date_time_ymd(2000, 1, 1);
                params.not_after = date_time_ymd(2001, 1, 1);
            })
        },
        "the other side's certificate is refused: it has expired",
    );
}

#[test]
fn a_certificate_of_an_unknown_authority_is_refused() {
    check_refused(
        |_| Authority::new().server("localhost"),
        "the other side's certificate is refused: no trusted root has signed it",
    );
}

/// Two authorities may have one name, as self-signed certificates for one machine do.
#[test]
fn a_root_of_the_signers_name_with_another_kind_of_key_is_somebody_else() {
    let of_that_name = || {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "one name");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    };
    let world = World::with("", &["127.0.0.1"], |_| {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let (key, signer) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let made = params.signed_by(&key, &Issuer::new(of_that_name(), signer)).unwrap();
        Identity { chain: made.pem(), key: key.serialize_pem(), der: made.der().to_vec() }
    });
    let other = of_that_name().self_signed(&KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap()).unwrap();
    fs::write(world.path("ca.pem"), other.pem()).unwrap();
    let ca = world.path("ca.pem");
    for arguments in [&["flush"][..], &["listen", "x"]] {
        let done = program::run(world.clacks(arguments).arg("--ca").arg(&ca), b"");
        done.failure(3, "clacks: TLS: the other side's certificate is refused: no trusted root has signed it\nclacks: if it is");
        assert!(
            done.stderr.contains("--ca FILE or CLACKS_CA=FILE") && !done.stderr.contains("--socket"),
            "{done:?}"
        );
    }
}

#[test]
fn the_password_does_not_reach_a_server_that_is_refused() {
    let world = World::with("", &["127.0.0.1"], |_| Authority::new().server("localhost"));
    let error = world.options().connect_blocking().unwrap_err();
    assert!(matches!(error, ClientError::Connect(_)), "{error:?}");
    let said = world.server.logs("TLS");
    assert!(!said.contains("logged in"), "{said}");
}

#[test]
fn what_can_not_be_trusted_is_named() {
    let world = World::new("");
    let check = |ca: &str, code: i32, wanted: &str| {
        let done = program::run(&mut world.clacks(&["--ca", ca, "flush"]), b"");
        assert_eq!(done.code(), Some(code), "{done:?}");
        assert!(done.stderr.contains(wanted), "{wanted:?}: {done:?}");
    };
    check("/nowhere/ca.pem", 2, "/nowhere/ca.pem");
    let garbage = world.path("garbage.pem");
    fs::write(&garbage, "garbage").unwrap();
    check(garbage.to_str().unwrap(), 2, "garbage.pem");
    let mut command = world.clacks(&["flush"]);
    let done = program::run(command.env("CLACKS_HOST", "name.invalid:1"), b"");
    assert_eq!(done.code(), Some(3), "{done:?}");
    assert!(done.stderr.starts_with("clacks: name.invalid:1: "), "{done:?}");
}
