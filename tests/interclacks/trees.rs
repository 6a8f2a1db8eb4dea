//! Masters, slaves, chains and stars, with links that are cut and servers that restart.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use eventdispatcher::connections::clacks::Settings;

use crate::node::{Node, Plan, User};

/// Servers of a tree, each the slave of the one that is named, and a user of each.
fn tree(masters: &[Option<usize>]) -> (Vec<Node>, Vec<User>) {
    let mut nodes: Vec<Node> = Vec::new();
    for master in masters {
        let plan = master.map_or_else(Plan::default, |at| Plan::slave_of(&nodes[at].socket()));
        nodes.push(Node::running(plan));
    }
    for (at, node) in nodes.iter().enumerate() {
        let slaves = masters.iter().filter(|master| **master == Some(at)).count();
        node.wait_for_links(slaves + usize::from(masters[at].is_some()));
    }
    let users = nodes.iter().map(|node| node.join("user")).collect();
    (nodes, users)
}

/// What one does, all others see.
#[track_caller]
fn check_all_share(users: &mut [User]) {
    for user in users.iter_mut() {
        user.say("LISTEN signal");
        user.say("LISTEN fence");
    }
    for speaker in 0..users.len() {
        let name = format!("by{speaker}");
        users[speaker].say(&format!("STORE {name}=1"));
        users[speaker].say(&format!("INCREMENT {name}=41"));
        users[speaker].say(&format!("SETANDSTORE {name}::set=x"));
        users[speaker].say("SET signal=1");
        users[speaker].say("NOTIFY fence");
        for (at, user) in users.iter_mut().enumerate() {
            if at != speaker {
                user.gets("SET signal=1");
                user.gets("NOTIFY fence");
            }
            assert_eq!(user.value(&name).as_deref(), Some("42"), "at {at}");
            assert_eq!(user.value(&format!("{name}::set")).as_deref(), Some("x"), "at {at}");
        }
        users[speaker].say(&format!("REMOVE {name}"));
        users[speaker].say("NOTIFY fence");
        for (at, user) in users.iter_mut().enumerate() {
            if at != speaker {
                user.gets("NOTIFY fence");
            }
            assert_eq!(user.value(&name), None, "at {at}");
        }
    }
    for user in users {
        user.say("UNLISTEN signal");
        user.say("UNLISTEN fence");
    }
}

#[test]
fn two_servers_share_all() {
    let (_nodes, mut users) = tree(&[None, Some(0)]);
    check_all_share(&mut users);
}

#[test]
fn three_servers_in_a_row_share_all() {
    let (_nodes, mut users) = tree(&[None, Some(0), Some(1)]);
    check_all_share(&mut users);
}

#[test]
fn five_servers_share_all_in_a_star_and_in_a_row() {
    let (_star, mut users) = tree(&[None, Some(0), Some(0), Some(0), Some(0)]);
    check_all_share(&mut users);
    let (_row, mut users) = tree(&[None, Some(0), Some(1), Some(2), Some(3)]);
    check_all_share(&mut users);
}

#[test]
fn signals_with_overhead_reach_the_whole_tree_and_end_it() {
    let (_nodes, mut users) = tree(&[None, Some(0), Some(1)]);
    users[1].send("OVERHEAD GNU Terry Pratchett");
    for user in &mut users {
        user.gets("OVERHEAD GN Terry Pratchett");
    }
    users[2].send("OVERHEAD GC 1");
    for user in &mut users {
        user.gets("");
        user.gets("QUIT");
        user.gets("<EOF>");
    }
}

#[test]
fn who_was_away_gets_what_happened_and_tells_what_it_did() {
    let mut master = Node::running(Plan::default());
    let mut slave = Node::running(Plan::slave_of(&master.socket()));
    let below = Node::running(Plan::slave_of(&slave.socket()));
    below.wait_for_links(1);
    slave.wait_for_links(2);
    let (mut above_user, mut user, mut below_user) = (master.join("m"), slave.join("s"), below.join("b"));
    user.say("STORE kept=1");
    user.say("STORE removed=1");
    below_user.waits_for("removed", Some("1"));
    above_user.waits_for("removed", Some("1"));

    // The server in the middle is away. Both sides go on.
    slave.kill();
    master.wait_for_links(0);
    below.wait_for_links(0);
    above_user.say("STORE above=1");
    above_user.say("STORE both=older");
    below_user.say("STORE below=1");
    below_user.say("REMOVE removed");
    below_user.say("STORE both=newer");

    // It comes back with nothing.
    slave.start(Plan::slave_of(&master.socket()));
    let mut user = slave.join("s");
    for user in [&mut above_user, &mut user, &mut below_user] {
        user.waits_for("kept", Some("1"));
        user.waits_for("above", Some("1"));
        user.waits_for("below", Some("1"));
        user.waits_for("both", Some("newer"));
        user.waits_for("removed", None);
    }

    // The master comes back with nothing.
    master.kill();
    slave.wait_for_links(1);
    master.start(Plan::default());
    let mut above_user = master.join("m");
    above_user.waits_for("both", Some("newer"));
    above_user.waits_for("below", Some("1"));
    assert_eq!(above_user.value("removed"), None);
}

#[test]
fn a_slave_finds_its_master_whenever_that_begins() {
    let mut master = Node::new();
    let slave = Node::running(Plan::slave_of(&master.socket()));
    slave.join("s").say("STORE k=v");
    master.start(Plan::default());
    master.wait_for_links(1);
    master.join("m").waits_for("k", Some("v"));
}

/// The newer one wins by the right time, whatever the clocks say.
#[track_caller]
fn check_clocks(clocks: [f64; 3]) {
    let [above, middle, below] = clocks;
    let master = Node::running(Plan::default().clock(above));
    let mut slave = Node::running(Plan::default().clock(middle));
    let under = Node::running(Plan::slave_of(&slave.socket()).clock(below));
    under.wait_for_links(1);
    let (mut first, mut second) = (master.join("m"), under.join("u"));
    // By the right time, so many seconds ago.
    let at = |ago: f64, clock: f64| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
        now.as_secs_f64() - ago + clock
    };
    first.say(&format!("KEYSYNC {} 0 U a=older", at(400.0, above)));
    second.say(&format!("KEYSYNC {} 0 U b=older", at(400.0, below)));
    second.say(&format!("KEYSYNC {} 0 U a=newer", at(390.0, below)));
    first.say(&format!("KEYSYNC {} 0 U b=newer", at(390.0, above)));
    first.say(&format!("KEYSYNC {} 0 U c=older", at(200.0, above)));
    second.say("REMOVE c");
    slave.kill();
    slave.start(Plan::slave_of(&master.socket()).clock(middle));
    for (node, links) in [(&master, 1), (&slave, 2), (&under, 1)] {
        node.wait_for_links(links);
        let mut user = node.join("user");
        user.waits_for("a", Some("newer"));
        user.waits_for("b", Some("newer"));
        user.waits_for("c", None);
    }
}

#[test]
fn clocks_may_differ() {
    check_clocks([0.0, 0.0, 0.0]);
    check_clocks([1000.0, 0.0, 0.0]);
    check_clocks([0.0, 0.0, 1000.0]);
    check_clocks([-500.5, 86_400.25, 3.125]);
}

#[test]
fn a_loop_is_refused_and_the_rest_goes_on() {
    // Each of the three is to be the slave of the next.
    let mut nodes = [Node::new(), Node::new(), Node::new()];
    let sockets = [nodes[1].socket(), nodes[2].socket(), nodes[0].socket()];
    for (node, master) in nodes.iter_mut().zip(&sockets) {
        node.start(Plan::slave_of(master));
    }
    let mut watcher = nodes[0].join("watcher");
    watcher.say("LISTEN x");
    // They refuse each other again and again, and what a client does there has an end.
    let mut speaker = nodes[1].join("speaker");
    for n in 0..50 {
        speaker.say(&format!("STORE n={n}"));
        speaker.say(&format!("SET x={n}"));
    }
    assert_eq!(speaker.value("n").as_deref(), Some("49"));

    // One is put right: now it is a tree.
    nodes[2].kill();
    nodes[2].start(Plan::default());
    nodes[2].wait_for_links(1);
    nodes[1].wait_for_links(2);
    speaker.say("STORE done=1");
    nodes[2].join("user").waits_for("done", Some("1"));
    nodes[0].join("user").waits_for("done", Some("1"));

    // A server that is its own master is none.
    let mut own = Node::new();
    let socket = own.socket();
    own.start(Plan::slave_of(&socket));
    let mut user = own.join("user");
    user.say("STORE k=1");
    assert_eq!(user.value("k").as_deref(), Some("1"));
}

#[test]
fn links_live_as_long_as_they_are_heard_of() {
    let settings = Settings { interclacks_ping_timeout: Duration::from_millis(900), ..Settings::default() };
    let master = Node::running(Plan { settings: settings.clone(), ..Plan::default() });
    let slave = Node::running(Plan { settings, ..Plan::slave_of(&master.socket()) });
    slave.wait_for_links(1);
    let mut monitor = slave.join("monitor");
    monitor.send("MONITOR");
    // Three PINGs are longer than the time without one that ends a link.
    for _ in 0..4 {
        monitor.gets_with("=PING");
    }
    slave.wait_for_links(1);
    let mut user = master.join("m");
    user.say("STORE alive=1");
    monitor.gets_with("=STORE alive=1");
}
