//! Links over TLS: the master's certificate is verified where there is something to verify it with.

use std::time::Instant;

use eventdispatcher::connections::clacks::Uplink;
use eventdispatcher::tls::{TlsClient, TlsClientBuilder};
use rcgen::{CertifiedKey, KeyPair};

use crate::node::{Node, Plan};
use crate::support::DEADLINE;

fn certificate() -> CertifiedKey<KeyPair> {
    rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate can be made")
}

fn master(certificate: &CertifiedKey<KeyPair>) -> Node {
    let tls = (certificate.cert.pem(), certificate.signing_key.serialize_pem());
    Node::running(Plan { tls: Some(tls), ..Plan::default() })
}

/// A slave of the master at this port, to which it connects under that name.
fn slave(
    name: &'static str,
    port: u16,
    trust: impl FnOnce(TlsClientBuilder) -> TlsClientBuilder + Send + 'static,
) -> Node {
    let uplink = move || {
        let client = trust(TlsClient::builder()).build().expect("the roots can be used");
        Uplink::tls(name, port, client)
    };
    Node::running(Plan { uplink: Some(Box::new(uplink)), ..Plan::default() })
}

#[track_caller]
fn check_linked(master: &Node, slave: &Node) {
    master.wait_for_links(1);
    slave.wait_for_links(1);
    let (mut above, mut below) = (master.join("m"), slave.join("s"));
    above.say("STORE down=1");
    below.waits_for("down", Some("1"));
    below.say("STORE up=1");
    above.waits_for("up", Some("1"));
}

#[test]
fn a_slave_links_over_tls_and_verifies_its_master() {
    let certificate = certificate();
    let root = certificate.cert.pem();
    let mut master = master(&certificate);
    let port = master.port.expect("it listens");
    // The name is looked up.
    let slave = slave("localhost", port, move |tls| tls.roots_pem(root));
    check_linked(&master, &slave);
    // A lost link is found out, whatever it goes through.
    master.kill();
    slave.wait_for_links(0);
}

#[test]
fn without_a_root_nothing_is_verified_and_the_link_is_made() {
    let master = master(&certificate());
    let port = master.port.expect("it listens");
    let slave = slave("127.0.0.1", port, TlsClientBuilder::dangerously_without_verification);
    check_linked(&master, &slave);
}

/// Waits until so many slaves have broken off the handshake.
#[track_caller]
fn wait_for_broken_handshakes(master: &Node, count: u64) {
    let mut user = master.join("status");
    let deadline = Instant::now() + DEADLINE;
    loop {
        user.send("STATUS");
        let line = user.gets_with("not_established");
        let broken = line.rsplit(['=', ' ']).next().and_then(|number| number.parse::<u64>().ok());
        user.0.drain().expect("the server answers");
        if broken.expect("a count") >= count {
            return;
        }
        assert!(Instant::now() < deadline, "{line}");
    }
}

#[test]
fn a_master_with_another_certificate_gets_nothing() {
    let master = master(&certificate());
    let port = master.port.expect("it listens");
    let other = certificate().cert.pem();
    let slave = slave("localhost", port, move |tls| tls.roots_pem(other));
    // It tries again, and breaks off again, before it has said who it is.
    wait_for_broken_handshakes(&master, 2);
    master.wait_for_links(0);
    let mut user = slave.join("user");
    user.say("STORE k=1");
    assert_eq!(user.value("k").as_deref(), Some("1"), "it serves its clients without a master");
}

#[test]
fn a_master_with_a_certificate_for_another_name_gets_nothing() {
    let certificate = certificate();
    let root = certificate.cert.pem();
    let master = master(&certificate);
    let port = master.port.expect("it listens");
    let _slave = slave("127.0.0.1", port, move |tls| tls.roots_pem(root));
    wait_for_broken_handshakes(&master, 2);
    master.wait_for_links(0);
}
