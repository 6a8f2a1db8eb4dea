//! clacksd and passwords of which it knows only a hash, and logins that fail.
#![cfg(all(feature = "clacks", feature = "cli"))]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

use eventdispatcher::connections::clacks::credentials::{Password, PasswordHash};
use eventdispatcher::connections::clacks::token;
use support::daemon::{Program, command};
use support::{Client, DEADLINE};
use tempfile::TempDir;

const CLACKSD: Option<&str> = option_env!("CARGO_BIN_EXE_clacksd");

/// Takes 128 MiB and some tenths of a second to compare with; of the password `slow`.
const SLOW: &str =
    "$argon2id$v=19$m=131072,t=4,p=1$c29tZXNhbHRzb21lc2FsdA$RNJEp/HGPWccsD6RZkh13siYfCLJiOTatJSpI8lg9RQ";

fn clacksd() -> Command {
    command(CLACKSD.expect("cargo builds clacksd before it runs this test"))
}

/// A server, and where it listens.
fn serve(users: &str) -> (TempDir, Program) {
    let folder = TempDir::new().unwrap();
    let text = format!("<clacks><socket>s</socket>{users}</clacks>");
    fs::write(folder.path().join("c.xml"), text).unwrap();
    let server = Program::start(clacksd().current_dir(folder.path()).arg("c.xml"));
    server.says("clacksd: listening on s\n");
    (folder, server)
}

fn line(client: &mut Client) -> String {
    client.line().unwrap().map_or("<EOF>".to_owned(), |line| String::from_utf8(line).unwrap())
}

fn greeted(folder: &TempDir) -> Client {
    let mut client = Client::connect(&folder.path().join("s")).unwrap();
    assert!(line(&mut client).starts_with("CLACKS "));
    assert_eq!(line(&mut client), "OVERHEAD M Authentication required");
    client
}

/// What comes after this token, in one packet with a command.
fn log_in(folder: &TempDir, name: &str, password: &str) -> Vec<String> {
    let mut client = greeted(folder);
    let lines = format!("OVERHEAD A {}\r\nSTORE a=1\r\nRETRIEVE a\r\nQUIT\r\n", token(name, password));
    client.send(lines.as_bytes()).unwrap();
    let mut got = Vec::new();
    loop {
        got.push(line(&mut client));
        if got.last().is_some_and(|line| line == "<EOF>") {
            return got;
        }
    }
}

#[test]
fn a_printed_hash_stands_for_the_password() {
    let hash = |input: &[u8]| {
        let mut process = clacksd()
            .arg("--hash-password")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        process.stdin.take().unwrap().write_all(input).unwrap();
        let done = process.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (done.status.code(), text(done.stdout), text(done.stderr))
    };
    let (code, printed, errors) = hash("hüsh hush\nmore\n".as_bytes());
    assert_eq!((code, &*errors), (Some(0), ""));
    assert!(printed.starts_with("$argon2id$v=19$") && printed.ends_with('\n'), "{printed}");
    let complaint = "clacksd: there is no password in the first line\n";
    assert_eq!(hash(b"\n"), (Some(1), String::new(), complaint.to_owned()));
    let long = hash(&[b'x'; 5000]);
    assert_eq!((long.0, &*long.2), (Some(1), "clacksd: a password has 4096 bytes at most\n"));

    let (folder, server) = serve(&format!(
        "<username>admin</username><passwordhash>{printed}</passwordhash>\
         <user><username>plain</username><password>p</password><read>1</read><write>1</write></user>\
         <user><username>ro</username><passwordhash>{}</passwordhash><read>1</read></user>",
        PasswordHash::of(&Password::new("secret")).unwrap().expose()
    ));
    let welcome = ["OVERHEAD O Welcome!", "RETRIEVED a=1", "<EOF>"];
    assert_eq!(log_in(&folder, "admin", "hüsh hush"), welcome);
    assert_eq!(log_in(&folder, "plain", "p"), welcome);
    let reader = ["OVERHEAD O Welcome!", "OVERHEAD E permission_denied", "RETRIEVED a=1", "<EOF>"];
    assert_eq!(log_in(&folder, "ro", "secret"), reader);
    let refused = ["OVERHEAD F Login failed!", "<EOF>"];
    assert_eq!(log_in(&folder, "admin", "hush"), refused);
    assert_eq!(log_in(&folder, "nobody", "secret"), refused);
    let said = server.logs("failure 2 from there");
    assert!(said.contains(": login failed for admin, closed\n"), "{said}");
    for secret in ["secret", "argon2", "hush"] {
        assert!(!said.contains(secret), "{said}");
    }
}

#[test]
fn a_login_that_takes_its_time_holds_nobody_up() {
    let (folder, server) = serve(&format!(
        "<username>admin</username><password>p</password>\
         <user><username>slow</username><passwordhash>{SLOW}</passwordhash><read>1</read></user>"
    ));
    let mut quick = greeted(&folder);
    quick.send(format!("OVERHEAD A {}\r\n", token("admin", "p")).as_bytes()).unwrap();
    assert_eq!(line(&mut quick), "OVERHEAD O Welcome!");
    let mut slow: Vec<Client> = (0..3).map(|_| greeted(&folder)).collect();
    for client in &mut slow {
        client.send(format!("OVERHEAD A {}\r\nFLUSH x\r\n", token("slow", "slow")).as_bytes()).unwrap();
    }
    // One that does not wait for its answer.
    drop(slow.pop());
    let last = slow.pop().unwrap();
    last.stream().set_nonblocking(true).unwrap();
    let (began, mut served) = (Instant::now(), 0);
    let mut got = Vec::new();
    while !got.ends_with(b"FLUSHED x\r\n") {
        assert!(began.elapsed() < DEADLINE, "the login has no end");
        let mut bytes = [0; 100];
        match last.stream().read(&mut bytes) {
            Ok(count) => got.extend_from_slice(&bytes[..count]),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
        quick.barrier().unwrap();
        served += 1;
    }
    assert!(served > 10, "{served} flushes in {:?}", began.elapsed());
    assert_eq!(line(&mut slow[0]), "OVERHEAD O Welcome!");
    assert_eq!(line(&mut slow[0]), "FLUSHED x");
    drop(server);
}

#[test]
fn a_password_is_given_once_or_as_a_hash() {
    let folder = TempDir::new().unwrap();
    let hash = PasswordHash::of(&Password::new("x")).unwrap();
    let hash = format!("<passwordhash>{}</passwordhash>", hash.expose());
    let check = |users: &str, wanted: &str| {
        let text = format!("<clacks><socket>s</socket>{users}</clacks>");
        fs::write(folder.path().join("c.xml"), text).unwrap();
        let ended = Program::start(clacksd().current_dir(folder.path()).args(["--check", "c.xml"])).ended();
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        assert!(ended.stderr.contains(wanted) && !ended.stderr.contains("m=19456"), "{ended:?}");
    };
    let both = format!("<password>p</password>{hash}");
    check(
        &format!("<username>a</username>{both}"),
        "<passwordhash> is given beside <password>: give one of them",
    );
    check(
        &format!(
            "<username>a</username><password>p</password><user><username>b</username>{both}<read>1</read></user>"
        ),
        "<passwordhash> of <user> is given beside <password>: give one of them",
    );
    check(
        &format!("<username>a</username>{hash}<master><socket>m</socket></master>"),
        "<passwordhash> does not do beside <master>: a link needs the <password>",
    );
    check(
        "<username>a</username><passwordhash>secret</passwordhash>",
        "<passwordhash> is no hash in the form",
    );
    check("<username>a</username>", "<password> is missing: the main user needs one");
}
