//! What linked servers say to each other, from raw sockets: the test is the slave, or the master.

use std::os::unix::net::UnixListener;
use std::time::Duration;

use eventdispatcher::connections::clacks::{ServerLimits, Settings};
use tempfile::TempDir;

use crate::node::{Node, Plan, User};
use crate::support::{Client, accept_in_time, text};

/// A slave of the server, that is the test.
fn slave_of(node: &Node, cache: &str) -> User {
    let mut slave = node.join("slave");
    slave.send("OVERHEAD I 1");
    slave.0.receives(&header(cache)).unwrap();
    slave
}

/// What a new slave gets, with the lines of the cache.
fn header(cache: &str) -> String {
    format!(
        "CLACKS <SERVER> in interclacks master mode\r\nOVERHEAD M Authentication required\r\n\
         OVERHEAD A <TOKEN:admin>\r\nOVERHEAD L 1\r\nOVERHEAD T <TIME>\r\n{cache}OVERHEAD L 0\r\nPING\r\n"
    )
}

/// A server that is a slave, and the test, which is its master.
struct Master {
    listener: UnixListener,
    node: Node,
    _folder: TempDir,
}

impl Master {
    fn new(plan: Plan) -> Self {
        let folder = TempDir::new().unwrap();
        let socket = folder.path().join("master.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let node = Node::running(Plan { master: Some(socket), ..plan });
        Self { listener, node, _folder: folder }
    }

    /// The slave comes, and says who it is.
    #[track_caller]
    fn accept(&self) -> User {
        let mut link = Client::new(accept_in_time(&self.listener).unwrap()).unwrap();
        let hello =
            "CLACKS <SERVER> in interclacks client mode\r\nOVERHEAD A <TOKEN:admin>\r\nOVERHEAD I 1\r\n";
        link.receives(hello).unwrap();
        User(link)
    }

    /// The slave comes and is linked; it is still to be sent the cache.
    #[track_caller]
    fn link(&self) -> User {
        let mut link = self.accept();
        link.0
            .send(&text::to_send("CLACKS test\r\nOVERHEAD M hello\r\nOVERHEAD A <TOKEN:admin>\r\n"))
            .unwrap();
        link.gets("OVERHEAD O Welcome!");
        link
    }
}

#[test]
fn a_slave_gets_the_cache_in_key_order_with_tombstones() {
    let node = Node::running(Plan::default());
    let mut user = node.join("a");
    for line in ["STORE b=2", "STORE a=1=1", "STORE gone=x", "REMOVE gone", "STORE empty=", "RETRIEVE a"] {
        user.say(line);
    }
    let cache = "KEYSYNC <TIME> <TIME> U a=1=1\r\nKEYSYNC <TIME> <TIME> U b=2\r\nKEYSYNC <TIME> <TIME> U empty=\r\n\
                 KEYSYNC <TIME> 0 D gone=REMOVED\r\n";
    let mut slave = slave_of(&node, cache);
    // Asked again, it is sent again.
    slave.send("OVERHEAD I 1");
    slave.0.receives(&header(cache)).unwrap();
    // Who is no slave any more gets nothing.
    slave.say("OVERHEAD I 0");
    user.say("STORE b=3");
    slave.0.barrier().unwrap();
}

#[test]
fn entries_of_a_slave_are_taken_by_their_time_and_passed_on() {
    let node = Node::running(Plan::default());
    let mut user = node.join("a");
    let mut other = slave_of(&node, "");
    let mut slave = slave_of(&node, "");
    user.say("STORE k=now");
    other.gets("STORE k=now");
    slave.gets("STORE k=now");
    for (line, value) in [
        ("KEYSYNC 5 5 U k=old", Some("now")),
        ("KEYSYNC 4000000000 0 U k=new", Some("new")),
        ("KEYSYNC 3999999999.5 0 D k=REMOVED", Some("new")),
        ("KEYSYNC 4000000001.5 0 D k=REMOVED", None),
        ("KEYSYNC 4000000002 17 S k=any mode", Some("any mode")),
    ] {
        slave.send(line);
        // It is passed on, also if it is old, and not to where it came from.
        other.gets(line);
        slave.0.barrier().unwrap();
        assert_eq!(user.value("k").as_deref(), value, "{line}");
    }
}

#[test]
fn the_offset_of_a_slaves_clock_is_added() {
    let node = Node::running(Plan::default().clock(1000.0));
    let mut other = slave_of(&node, "");
    let mut slave = slave_of(&node, "");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    slave.send(&format!("OVERHEAD T {now}"));
    slave.send(&format!("KEYSYNC {now} 0 U k=v"));
    // To others it is told by the clock of this server.
    let line = other.gets_with("KEYSYNC ");
    let words: Vec<_> = line.split(' ').collect();
    let time: f64 = words[1].parse().unwrap();
    let expected = now as f64 + 1000.0;
    assert!((expected - 1.0..expected + 60.0).contains(&time), "{line}");
    assert_eq!(words[2..], ["0", "U", "k=v"], "no access time is none everywhere");
}

#[test]
fn a_command_that_is_shared_goes_to_all_links_but_the_one_it_came_from() {
    let node = Node::running(Plan::default());
    let mut listener = node.join("listener");
    listener.say("LISTEN x");
    let mut one = slave_of(&node, "");
    let mut two = slave_of(&node, "");
    for line in [
        "STORE x=1",
        "SET x=2",
        "SETANDSTORE x=3",
        "NOTIFY x",
        "INCREMENT x=4",
        "DECREMENT x",
        "REMOVE x",
        "CLEARCACHE",
        "OVERHEAD G hello",
    ] {
        one.send(line);
        two.gets(line);
        one.0.barrier().unwrap();
    }
    for line in ["SET x=2", "SET x=3", "NOTIFY x", "OVERHEAD G hello"] {
        listener.gets(line);
    }
    for line in
        ["LISTEN x", "UNLISTEN x", "RETRIEVE x", "PING", "NOP", "NOPING", "OVERHEAD M m", "OVERHEAD T 5"]
    {
        one.say(line);
        two.0.barrier().unwrap();
    }
}

#[test]
fn a_link_ends_with_timeout_and_with_silence() {
    let settings = Settings { interclacks_ping_timeout: Duration::from_secs(1), ..Settings::default() };
    let node = Node::running(Plan { settings, ..Plan::default() });
    let mut slave = slave_of(&node, "");
    slave.send("TIMEOUT");
    slave.gets_with_end();
    let mut slave = slave_of(&node, "");
    // That would keep any other client.
    slave.send("NOPING");
    slave.gets("PING");
    slave.gets("PING");
    slave.gets("");
    slave.gets("TIMEOUT");
    slave.gets("<EOF>");
}

impl User {
    /// Waits for the end; PINGs may come before.
    #[track_caller]
    fn gets_with_end(&mut self) {
        while let Some(line) = self.0.line().unwrap() {
            assert_eq!(line, b"PING");
        }
    }
}

#[test]
fn who_may_not_be_a_server_is_none() {
    let node = Node::running(Plan::default());
    let mut client = Client::connect(&node.socket()).unwrap();
    client.log_in("rw", "rw").unwrap();
    let mut user = User(client);
    for line in ["OVERHEAD I 1", "OVERHEAD L 1", "KEYSYNC 4000000000 0 U k=v"] {
        user.send(line);
        user.gets("OVERHEAD E permission_denied");
    }
    assert_eq!(user.value("k"), None);
    // Only the master of a server may lock it.
    let mut slave = slave_of(&node, "");
    slave.say("OVERHEAD L 1");
    user.say("STORE k=1");
    slave.gets("STORE k=1");
}

#[test]
fn during_the_masters_cache_clients_wait_and_nothing_of_theirs_is_lost() {
    let master = Master::new(Plan::default());
    let mut user = master.node.join("user");
    user.say("STORE mine=1");
    user.say("STORE both=mine");
    let mut link = master.link();
    link.say("OVERHEAD L 1");
    user.send("INCREMENT theirs\r\nRETRIEVE theirs\r\nQUIT");
    // A client that comes meanwhile is greeted, and waits too.
    let mut late = Client::connect(&master.node.socket()).unwrap();
    late.receives("CLACKS <SERVER>\r\nOVERHEAD M Authentication required\r\n").unwrap();
    late.send(&text::to_send("OVERHEAD A <TOKEN:admin>\r\nRETRIEVE theirs\r\n")).unwrap();
    link.say("KEYSYNC 4000000000 0 U both=theirs");
    link.say("KEYSYNC 1 0 U mine=theirs");
    link.say("KEYSYNC 4000000000 0 U theirs=41");
    link.say("KEYSYNC 1 0 D unknown=REMOVED");
    link.send("OVERHEAD L 0");
    // What the master does not have as it is, it gets; then the clients have their turn.
    link.0.receives("OVERHEAD T <TIME>\r\nKEYSYNC <TIME> <TIME> U mine=1\r\nPING\r\n").unwrap();
    link.gets("INCREMENT theirs");
    user.gets("RETRIEVED theirs=42");
    user.gets("<EOF>");
    late.receives("OVERHEAD O Welcome!\r\nRETRIEVED theirs=42\r\n").unwrap();
    // What the slave's clients do goes up from now on, what the master's do comes down.
    let mut user = master.node.join("user");
    user.say("LISTEN x");
    link.say("SETANDSTORE x=5");
    user.gets("SET x=5");
    user.say("REMOVE x");
    link.gets("REMOVE x");
}

#[test]
fn a_master_that_is_lost_in_mid_sync_holds_nobody() {
    let master = Master::new(Plan::default());
    let mut user = master.node.join("user");
    for _ in 0..2 {
        let mut link = master.link();
        link.say("OVERHEAD L 1");
        link.say("KEYSYNC 4000000000 0 U half=1");
        user.send("RETRIEVE half");
        drop(link);
        user.gets("RETRIEVED half=1");
    }
    // The next one gets what was left.
    let mut link = master.link();
    link.send("OVERHEAD L 1\r\nOVERHEAD L 0");
    link.0.receives("OVERHEAD T <TIME>\r\nKEYSYNC 4000000000 <TIME> U half=1\r\nPING\r\n").unwrap();
}

#[test]
fn a_lock_ends_in_time() {
    let settings = Settings { interclacks_ping_timeout: Duration::from_secs(1), ..Settings::default() };
    let master = Master::new(Plan { settings, ..Plan::default() });
    let mut user = master.node.join("user");
    let mut link = master.link();
    link.say("OVERHEAD L 1");
    user.send("STORE k=1\r\nRETRIEVE k");
    // The master is there, but never comes to an end.
    link.gets("PING");
    link.send("PING");
    link.gets("PING");
    link.send("PING");
    user.gets("RETRIEVED k=1");
    // The change is not told: it is in the cache that the master is still to get.
    link.send("OVERHEAD L 0");
    assert!(link.gets_with("KEYSYNC").ends_with(" U k=1"));
}

#[test]
fn a_master_without_the_token_is_none() {
    let master = Master::new(Plan::default());
    let mut user = master.node.join("user");
    let mut link = master.accept();
    link.send("CLACKS test\r\nSTORE sneaky=1\r\nOVERHEAD L 1\r\nOVERHEAD A bm8=:bm8=");
    link.gets("OVERHEAD F Login failed!");
    link.gets("<EOF>");
    assert_eq!(user.value("sneaky"), None);
    // A user of the configuration is no server either.
    let mut link = master.accept();
    link.0.send(&text::to_send("OVERHEAD A <TOKEN:rw>\r\nSTORE sneaky=1\r\n")).unwrap();
    link.gets("OVERHEAD F Login failed!");
    link.gets("<EOF>");
    assert_eq!(user.value("sneaky"), None);
    // One that refuses the slave is left alone until the next try.
    let mut link = master.accept();
    link.send("OVERHEAD F Login failed!");
    link.gets("<EOF>");
    master.link();
}

#[test]
fn changes_during_the_exchange_are_told_once_and_in_order() {
    // There is room for a few lines only, so that the cache is sent in many parts.
    let limits = ServerLimits { max_out_buffer: 512 << 10, ..ServerLimits::default() };
    let node = Node::running(Plan { entries: 20_000, limits, ..Plan::default() });
    let mut user = node.join("user");
    user.say("STORE a=before");
    let mut slave = node.join("slave");
    slave.send("OVERHEAD I 1");
    // The slave does not read yet: the cache is under way.
    slave.gets_with("OVERHEAD L 1");
    user.say("STORE a=meanwhile");
    user.say("STORE zz=meanwhile");
    user.say("SETANDSTORE zzz=meanwhile");
    let mut seen = Vec::new();
    loop {
        let line = String::from_utf8(slave.0.line().unwrap().unwrap()).unwrap();
        let is_entry = line.contains(" U key");
        if line == "OVERHEAD L 0" {
            break;
        } else if !is_entry && !line.starts_with("OVERHEAD T") {
            let words = line.split(' ').enumerate();
            let words = words.filter(|(at, _)| !line.starts_with("KEYSYNC") || ![1, 2].contains(at));
            seen.push(words.map(|(_, word)| word).collect::<Vec<_>>().join(" "));
        }
    }
    let of_key = |key: &str| seen.iter().filter(|line| line.contains(key)).collect::<Vec<_>>();
    assert_eq!(of_key(" a="), ["KEYSYNC U a=before", "STORE a=meanwhile"]);
    assert_eq!(of_key(" zz="), ["KEYSYNC U zz=meanwhile"]);
    assert_eq!(of_key(" zzz="), ["SET zzz=meanwhile", "KEYSYNC U zzz=meanwhile"]);
}
