//! What the system trusts. It is named by an environment variable, so each case has a process of its own: this very test,
//! which finds the variables.

use crate::certificates::Authority;
use crate::stage::{Seen, echo, log, run_until};
use eventdispatcher::codec::Lines;
use eventdispatcher::tls::TlsClient;
use eventdispatcher::{Communicator, Cx};
use std::process::Command;
use std::{env, fs};

/// Set in such a process: the folder with the server's certificate.
const FOLDER: &str = "EVENTDISPATCHER_TEST_FOLDER";

/// What a client sees that trusts the system.
fn visit(folder: &str) -> String {
    let client = match TlsClient::new() {
        Ok(client) => client,
        Err(error) => return error.to_string(),
    };
    let file = |name: &str| format!("{folder}/{name}");
    let server = eventdispatcher::tls::TlsServer::from_files(file("chain"), file("key")).unwrap();
    let (communicator, seen) = (Communicator::new().unwrap(), Seen::default());
    let listening = communicator
        .listen_tls("127.0.0.1:0".parse().unwrap(), &server, |client| {
            client.serve(Lines::new(), log(&Seen::default(), echo))?;
            Ok(())
        })
        .unwrap();
    let ask = log(&seen, |event: &str, cx: &Cx<'_, Lines>| {
        if event == "connected" {
            cx.reply("trusted")?;
        }
        Ok(())
    });
    communicator.connect_tls(listening.address(), "localhost", &client, Lines::new(), ask).unwrap();
    run_until(&communicator, &seen, || seen.has("trusted") || seen.has("closed"));
    seen.last()
}

#[test]
fn the_roots_of_the_system_are_trusted() {
    if let Ok(folder) = env::var(FOLDER) {
        println!("<{}>", visit(&folder));
        return;
    }
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let identity = authority.server("localhost");
    let file = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    file("chain", &identity.chain);
    file("key", &identity.key);
    file("own", &authority.pem);
    file("other", &Authority::new().pem);
    file("none", "");
    let check = |roots: &str, expected: &str| {
        let output = Command::new(env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "roots::the_roots_of_the_system_are_trusted"])
            .env(FOLDER, folder.path())
            .env("SSL_CERT_FILE", folder.path().join(roots))
            .env_remove("SSL_CERT_DIR")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains(&format!("<{expected}")), "{roots}: {text}");
    };
    check("own", "trusted>");
    check(
        "other",
        "closed: could not connect: TLS: the other side's certificate is refused: no trusted root has signed it>",
    );
    check("none", "the system has no trusted roots: none was found>");
    check("missing", "the system has no trusted roots: failed to read PEM from file");
}
