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
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
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
    Udp,
    Dgram,
    Seqpacket,
}

impl Way {
    const ALL: [Self; 6] = [Self::Unix, Self::Tcp, Self::Tls, Self::Udp, Self::Dgram, Self::Seqpacket];

    fn name(self) -> &'static str {
        match self {
            Self::Unix => "unix",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Udp => "udp",
            Self::Dgram => "dgram",
            Self::Seqpacket => "seqpacket",
        }
    }

    fn is_datagram(self) -> bool {
        matches!(self, Self::Udp | Self::Dgram)
    }
}

enum Silent {
    Udp(UdpSocket),
    Unix(UnixDatagram),
    Nobody,
}

impl Silent {
    /// Waits for a datagram, and goes.
    fn hear_one(self) {
        let mut datagram = [0; 512];
        let patience = Some(Duration::from_secs(30));
        let heard = match &self {
            Self::Udp(socket) => socket.set_read_timeout(patience).and_then(|()| socket.recv(&mut datagram)),
            Self::Unix(socket) => socket.set_read_timeout(patience).and_then(|()| socket.recv(&mut datagram)),
            Self::Nobody => return,
        };
        let text = String::from_utf8_lossy(&datagram[..heard.unwrap()]);
        assert!(text.contains("ADD count=1;name=fig"), "{text}");
    }
}

/// Two services, and a folder for their sockets and certificates.
struct Market {
    folder: TempDir,
    way: Way,
    /// The addresses of the store: those that it has got the first time.
    addresses: Vec<String>,
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
        let path = |name: &str| folder.path().join(name).display().to_string();
        let addresses = Way::ALL.map(|way| match way {
            Way::Tcp | Way::Tls | Way::Udp => format!("{}:127.0.0.1:0", way.name()),
            _ => format!("{0}:{1}", way.name(), path(way.name())),
        });
        Self { folder, way, addresses: addresses.to_vec() }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Where the store is for its `way`, without the name of that.
    fn place(&self, way: Way) -> &str {
        let address = self.addresses.iter().find_map(|address| address.strip_prefix(way.name()));
        address.unwrap().strip_prefix(':').unwrap()
    }

    fn start_store(&mut self) -> Running {
        let (chain, key) = (self.path("chain.pem"), self.path("key.pem"));
        let mut arguments = vec!["--tls", &chain, &key];
        arguments.extend(self.addresses.iter().map(String::as_str));
        let mut store = Running::start(&mut program::command(example("message_store"), &arguments));
        for address in &mut self.addresses {
            let line = store.line();
            let place = line.strip_prefix("listening on ").unwrap();
            assert!(address.ends_with(":0") || address == place, "{address} is not {place}");
            *address = place.to_owned();
        }
        store
    }

    fn start_cart(&self) -> Running {
        let (path, roots) = (self.path("cart.sock"), self.path("roots.pem"));
        let store = format!("{}:{}", self.way.name(), self.place(self.way));
        let mut arguments = vec![&path, &store];
        arguments.extend((self.way == Way::Tls).then_some(&roots));
        let mut cart = Running::start(&mut program::command(example("message_cart"), &arguments));
        assert_eq!(cart.line(), format!("listening on {path}"));
        cart
    }

    /// Somebody at the store's address who takes datagrams and does not answer. Connections show by themselves that nobody is there.
    fn take_the_place_of_the_store(&self) -> Silent {
        let place = self.place(self.way);
        match self.way {
            Way::Udp => Silent::Udp(UdpSocket::bind(place).unwrap()),
            Way::Dgram => Silent::Unix(UnixDatagram::bind(place).unwrap()),
            _ => Silent::Nobody,
        }
    }

    /// The store for the tools, in the same way as for the cart, if they have that.
    fn host(&self) -> String {
        match self.way {
            Way::Unix | Way::Seqpacket => self.place(Way::Unix).to_owned(),
            Way::Tcp | Way::Udp | Way::Dgram => format!("{}:{}", self.way.name(), self.place(self.way)),
            Way::Tls => format!("tcp:{}", self.place(Way::Tls)),
        }
    }

    /// An `ed-signal` to the store.
    fn signal_store(&self, arguments: &[&str]) -> Command {
        let mut command = ed_signal();
        command.args(["--host", &self.host()]);
        if self.way == Way::Tls {
            command.args(["--roots", &self.path("roots.pem")]);
        }
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
    let stopped = if way == Way::Tls {
        run(&mut market.signal_store(&["STOP"]), b"").success();
        ed_stop(&["--timeout", "20", &pid])
    } else {
        ed_stop(&["--soft", &market.host(), &pid])
    };
    let how = if way == Way::Tls { "" } else { "has ended after the message STOP" };
    assert!(stopped.success().contains(how), "{stopped:?}");
    assert_eq!(store.line(), "kept 1 names");
    assert_eq!(store.done().success(), "");
    // Nobody is there now, and that is said.
    let gone = run(&mut market.signal_store(&["--reply", "HELP"]), b"");
    gone.failure(1, "ed-signal: not sent to ");

    // Who asks the cart meanwhile is answered when the store is there again.
    let silent = market.take_the_place_of_the_store();
    let waiting = Running::start(market.signal_cart(&["PUT", "item=fig"]).arg("--reply"));
    silent.hear_one();
    let mut store = market.start_store();
    assert_eq!(answer(&waiting.done()), "IN_CART count=1;item=fig");
    if !way.is_datagram() {
        assert_eq!(cart.line(), "connected");
    }
    assert_eq!(ask(market.signal_store(&["ADD", "name=fig", "count=1"])), "COUNT count=2;name=fig");

    // One that is suspended does not answer in time; it is waked to end.
    store.signal(Signal::SIGSTOP);
    let late = run(&mut market.signal_store(&["--reply", "--timeout", "0.2", "HELP"]), b"");
    if way == Way::Tls {
        // There is no handshake.
        late.failure(1, "ed-signal: not sent to ");
    } else {
        late.failure(3, "ed-signal: sent to ");
    }
    let stopped = ed_stop(&["--timeout", "20", &store.pid().to_string()]);
    assert!(stopped.success().contains("has ended after SIGINT"), "{stopped:?}");
    assert_eq!(store.line(), "kept 1 names");
    store.done().success();

    run(&mut market.signal_cart(&["STOP"]), b"").success();
    let done = cart.done();
    assert_eq!(done.code(), Some(0), "{done:?}");
    // Of a datagram nobody is told that it is lost: only the answer does not come.
    let said = match way.is_datagram() {
        true => done.stderr.contains("fig: ") && done.stderr.contains("asks again"),
        false => done.stderr.contains("the store is away: "),
    };
    assert!(said, "{done:?}");
    run(&mut market.signal_cart(&["stop"]), b"").failure(2, "ed-signal: ");
    ed_stop(&["--soft"]).failure(2, "error: ");
}

#[test]
fn one_service_restarts_while_another_asks_it_through_a_socket_file() {
    check(Way::Unix);
}

#[test]
fn one_service_restarts_while_another_asks_it_by_udp() {
    check(Way::Udp);
}

#[test]
fn one_service_restarts_while_another_asks_it_in_unix_datagrams() {
    check(Way::Dgram);
}

#[test]
fn one_service_restarts_while_another_asks_it_in_packets() {
    check(Way::Seqpacket);
}

#[test]
fn one_service_restarts_while_another_asks_it_over_tcp() {
    check(Way::Tcp);
}

#[test]
fn one_service_restarts_while_another_asks_it_over_tls() {
    check(Way::Tls);
}
