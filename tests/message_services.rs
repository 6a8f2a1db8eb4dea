//! The two services of `examples/messages` as processes that talk to each other, one of them restarting in the middle, with
//! `ed-signal` and `ed-stop` as their operators.

#[path = "tls/certificates.rs"]
#[allow(dead_code, reason = "made for the tests of TLS itself")]
mod certificates;
#[path = "support/program.rs"]
mod program;

use certificates::Authority;
use nix::sys::signal::Signal;
use program::{Done, Running, run};
use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// Where cargo has put an example: beside the folder that this test is in.
fn example(name: &str) -> PathBuf {
    let test = env::current_exe().expect("a test knows where it is");
    let target = test.ancestors().nth(2).expect("tests are in target/…/deps");
    let path = target.join("examples").join(name);
    assert!(path.exists(), "{} is not there: `cargo build --examples` makes it", path.display());
    path
}

/// How the cart reaches the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Unix,
    Tcp,
    Tls,
}

/// Two services, and a folder for their sockets and certificates.
struct Market {
    folder: TempDir,
    way: Way,
    /// The addresses of the store: those that it has got the first time.
    tcp: String,
    tls: String,
}

impl Market {
    fn new(way: Way) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let identity = authority.server("127.0.0.1");
        for (name, text) in
            [("roots.pem", &authority.pem), ("chain.pem", &identity.chain), ("key.pem", &identity.key)]
        {
            fs::write(folder.path().join(name), text).unwrap();
        }
        Self { folder, way, tcp: "127.0.0.1:0".to_owned(), tls: "127.0.0.1:0".to_owned() }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn start_store(&mut self) -> Running {
        let path = self.path("store.sock");
        let (chain, key) = (self.path("chain.pem"), self.path("key.pem"));
        let mut store = Running::start(&mut program::command(
            example("message_store"),
            &[&path, &self.tcp, &self.tls, &chain, &key],
        ));
        assert_eq!(store.line(), format!("listening on {path}"));
        let tcp = store.line().strip_prefix("listening on ").unwrap().to_owned();
        assert!(self.tcp.ends_with(":0") || tcp == self.tcp, "{tcp}");
        let line = store.line();
        let tls = line.strip_prefix("listening on ").and_then(|line| line.strip_suffix(" with TLS")).unwrap();
        (self.tcp, self.tls) = (tcp, tls.to_owned());
        store
    }

    fn start_cart(&self) -> Running {
        let (path, store, roots) = (self.path("cart.sock"), self.path("store.sock"), self.path("roots.pem"));
        let mut arguments = vec![&path];
        match self.way {
            Way::Unix => arguments.push(&store),
            Way::Tcp => arguments.push(&self.tcp),
            Way::Tls => arguments.extend([&self.tls, &roots]),
        }
        let mut cart = Running::start(&mut program::command(example("message_cart"), &arguments));
        assert_eq!(cart.line(), format!("listening on {path}"));
        cart
    }

    /// An `ed-signal` to the store, in the same way as the cart.
    fn signal_store(&self, arguments: &[&str]) -> Command {
        let mut command = ed_signal();
        match self.way {
            Way::Unix => command.args(["--host", &self.path("store.sock")]),
            Way::Tcp => command.args(["--type", "tcp", "--host", &self.tcp]),
            Way::Tls => {
                command.args(["--type", "tcp", "--host", &self.tls, "--roots", &self.path("roots.pem")])
            }
        };
        command.args(arguments);
        command
    }

    fn signal_cart(&self, arguments: &[&str]) -> Command {
        let mut command = ed_signal();
        command.args(["--host", &self.path("cart.sock")]).args(arguments);
        command
    }
}

fn ed_signal() -> Command {
    let mut command = program::command(env!("CARGO_BIN_EXE_ed-signal"), &[""; 0]);
    command.env_remove("ED_SIGNAL").args(["--config-dir", "/nowhere"]);
    command
}

fn ed_stop(arguments: &[&str]) -> Done {
    let mut command = program::command(env!("CARGO_BIN_EXE_ed-stop"), arguments);
    run(command.env_remove("ED_STOP"), b"")
}

/// What a message was answered with, without whom the answer is for.
fn answer(done: &Done) -> &str {
    done.success().trim_end().rsplit('/').next().unwrap_or_default()
}

fn ask(mut command: Command) -> String {
    answer(&run(command.arg("--reply"), b"")).to_owned()
}

fn check(way: Way) {
    let mut market = Market::new(way);
    let mut store = market.start_store();
    let mut cart = market.start_cart();
    assert_eq!(cart.line(), "connected");

    let put = |arguments: &[&str]| ask(market.signal_cart(&[&["PUT"], arguments].concat()));
    assert_eq!(put(&["item=pear", "serial=1"]), "IN_CART count=1;item=pear;serial=1");
    assert_eq!(ask(market.signal_store(&["ADD", "name=pear", "count=2"])), "COUNT count=3;name=pear");
    assert_eq!(put(&["item=pear"]), "IN_CART count=4;item=pear");
    assert!(ask(market.signal_store(&["ADD", "name=pear"])).starts_with("FAILED why="));
    assert!(ask(market.signal_cart(&["HELP"])).contains(",LOG_ROTATE,PUT,QUITTING,"));
    assert_eq!(ask(market.signal_store(&["NO_SUCH"])), "UNKNOWN command=NO_SUCH");

    // It ends in order, while clients are connected.
    let pid = store.pid().to_string();
    let stopped = match way {
        Way::Unix => ed_stop(&["--soft", &market.path("store.sock"), &pid]),
        Way::Tcp => ed_stop(&["--soft", &market.tcp, &pid]),
        Way::Tls => {
            run(&mut market.signal_store(&["STOP"]), b"").success();
            ed_stop(&["--timeout", "20", &pid])
        }
    };
    let how = if way == Way::Tls { "" } else { "has ended after the message STOP" };
    assert!(stopped.success().contains(how), "{stopped:?}");
    assert_eq!(store.line(), "kept 1 names");
    assert_eq!(store.done().success(), "");
    // Nobody is there now, and that is said.
    let gone = run(&mut market.signal_store(&["--reply", "HELP"]), b"");
    gone.failure(1, "ed-signal: not sent to ");

    // Who asks the cart meanwhile is answered when the store is there again.
    let waiting = Running::start(market.signal_cart(&["PUT", "item=fig"]).arg("--reply"));
    let mut store = market.start_store();
    assert_eq!(answer(&waiting.done()), "IN_CART count=1;item=fig");
    assert_eq!(cart.line(), "connected");
    assert_eq!(ask(market.signal_store(&["ADD", "name=fig", "count=1"])), "COUNT count=2;name=fig");

    // One that hangs does not answer in time, and goes on afterwards with what it had to do.
    store.signal(Signal::SIGSTOP);
    let late = run(&mut market.signal_store(&["--reply", "--timeout", "0.2", "HELP"]), b"");
    if way == Way::Tls {
        // There is no handshake.
        late.failure(1, "ed-signal: not sent to ");
    } else {
        late.failure(3, "ed-signal: sent to ");
        let alive = ed_stop(&["--timeout", "0.2", &store.pid().to_string()]);
        alive.failure(1, "ed-stop: process ");
        assert!(alive.stderr.contains("is still alive after SIGINT, SIGTERM"), "{alive:?}");
    }
    store.signal(Signal::SIGCONT);
    if way == Way::Tls {
        let stopped = ed_stop(&["--timeout", "20", &store.pid().to_string()]);
        assert!(stopped.success().contains("has ended after SIGINT"), "{stopped:?}");
    }
    assert_eq!(store.line(), "kept 1 names");
    store.done().success();

    run(&mut market.signal_cart(&["STOP"]), b"").success();
    let done = cart.done();
    assert_eq!(done.code(), Some(0), "{done:?}");
    assert!(done.stderr.contains("the store is away: "), "{done:?}");
    run(&mut market.signal_cart(&["stop"]), b"").failure(2, "ed-signal: ");
    ed_stop(&["--soft"]).failure(2, "error: ");
}

#[test]
fn one_service_restarts_while_another_asks_it_through_a_socket_file() {
    check(Way::Unix);
}

#[test]
fn one_service_restarts_while_another_asks_it_over_tcp() {
    check(Way::Tcp);
}

#[test]
fn one_service_restarts_while_another_asks_it_over_tls() {
    check(Way::Tls);
}
