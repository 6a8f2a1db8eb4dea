//! SIGHUP: new certificates, users and limits without a restart.

use crate::certificates::Authority;
use crate::support::DEADLINE;
use crate::world::{PASSWORD, World, write_configuration, write_identity};
use eventdispatcher::connections::clacks::client::{BlockingClient, ClientError};
use eventdispatcher::connections::clacks::credentials::Password;
use nix::sys::signal::Signal;
use std::fs;

#[test]
fn a_new_certificate_is_shown_without_a_restart() {
    let world = World::new("");
    let mut before = world.options().connect_blocking().unwrap();
    before.store(b"a", b"1").unwrap();

    let next = Authority::new();
    write_identity(world.folder.path(), &next.server("localhost"));
    world.server.signal(Signal::SIGHUP);
    world.server.logs("c.xml: read again, 0 clients may not stay");
    fs::write(world.path("next.pem"), &next.pem).unwrap();
    let error = world.options().connect_blocking().unwrap_err();
    assert!(error.to_string().contains("no trusted root has signed it"), "{error}");
    let mut after = world.options().ca_file(world.path("next.pem")).connect_blocking().unwrap();
    assert_eq!(after.retrieve(b"a").unwrap().as_deref(), Some(&b"1"[..]));
    // Who was there goes on.
    before.store(b"a", b"2").unwrap();
    assert_eq!(after.retrieve(b"a").unwrap().as_deref(), Some(&b"2"[..]));
}

#[test]
fn a_file_that_can_not_be_used_changes_nothing() {
    let world = World::new("<user username='u' password='p' read='1'/>");
    let mut before = world.options().connect_blocking().unwrap();
    let check = |wanted: &str| {
        world.server.signal(Signal::SIGHUP);
        world.server.logs(wanted);
        world.options().user("u").password(Password::new("p")).connect_blocking().unwrap().flush().unwrap();
    };
    let write = |settings| write_configuration(world.folder.path(), settings, &["127.0.0.1"], 0);
    write("<maxline>x</maxline>");
    check("<maxline> is \"x\"");
    // The certificate of one with the key of another.
    write("");
    fs::write(world.path("cert.pem"), world.authority.server("localhost").chain).unwrap();
    check("<ssl> can't be used: ");
    fs::write(world.path("cert.pem"), "").unwrap();
    check("it is empty");
    fs::remove_file(world.path("c.xml")).unwrap();
    check("c.xml: there is no such file");
    world.server.logs("SIGHUP: everything stays as it is");
    before.flush().unwrap();
}

/// Reads until the server ends the connection.
fn end_of(client: &mut BlockingClient) -> ClientError {
    loop {
        match client.next_event(DEADLINE) {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it was not sent away"),
            Err(error) => return error,
        }
    }
}

#[test]
fn users_change_without_a_restart() {
    let user = |name: &str, password: &str, rights: &str| {
        format!("<user><username>{name}</username><password>{password}</password>{rights}</user>")
    };
    let (read, all) = ("<read>1</read>", "<read>1</read><write>1</write><manage>1</manage>");
    let world =
        World::new(&[user("gone", "p", read), user("changed", "p", read), user("kept", "p", all)].concat());
    let login = |name: &str, password: &str| {
        world.options().user(name).password(Password::new(password)).connect_blocking()
    };
    let (mut gone, mut changed, mut kept) =
        (login("gone", "p").unwrap(), login("changed", "p").unwrap(), login("kept", "p").unwrap());
    let mut main = login("admin", PASSWORD).unwrap();
    kept.monitor(true).unwrap();

    let settings = [
        user("changed", "other", read),
        user("kept", "p", read),
        user("new", "p", "<write>1</write>"),
        "<appname>renamed</appname><maxline>2000</maxline><socketchmod>600</socketchmod>".to_owned(),
    ];
    write_configuration(world.folder.path(), &settings.concat(), &["127.0.0.1"], 4242);
    world.server.signal(Signal::SIGHUP);
    let said = world.server.logs("<socketchmod> has changed, which takes a restart");
    assert!(said.contains("c.xml: read again, 2 clients may not stay"), "{said}");
    assert!(said.contains("<port> has changed, which takes a restart to have an effect"), "{said}");
    assert!(!said.contains("<ip> has changed"), "{said}");

    for client in [&mut gone, &mut changed] {
        assert!(matches!(end_of(client), ClientError::Quit), "it is sent away");
    }
    assert!(matches!(login("gone", "p"), Err(ClientError::LoginFailed)));
    assert!(matches!(login("changed", "p"), Err(ClientError::LoginFailed)));
    login("changed", "other").unwrap();
    assert!(matches!(kept.store(b"a", b"1"), Err(ClientError::PermissionDenied)));
    kept.retrieve(b"a").unwrap();
    let new = login("new", "p").unwrap();
    assert!(new.server().starts_with("renamed "), "{}", new.server());
    // The permission to monitor has gone, and with it what was going on.
    main.store(b"unseen", b"1").unwrap();
    kept.flush().unwrap();
    while let Some(event) = kept.next_event(std::time::Duration::ZERO).unwrap() {
        assert!(!format!("{event:?}").contains("unseen"), "{event:?}");
    }
    let error = login("admin", PASSWORD).unwrap().store(b"a", &[b'x'; 3000]).unwrap_err();
    assert!(matches!(error, ClientError::Refused(_) | ClientError::Disconnected(_)), "{error:?}");
}
