//! Cases that were recorded from the reference server.

use serde_json::Value;

use crate::world::{SERVER, START, World, token_of};

/// Cases of what is not part of the state (sockets), or where this server is the one that connects, or time passes.
const NOT_HERE: [&str; 6] = [
    "slave_",
    "auth_timeout",
    "long_line_",
    "clientlist_cid_equals_monitor_cid",
    "monitor_connect_auth_disconnect",
    "unfinished_line_at_close_is_dropped",
];

/// Where we are another server on purpose: what each connection gets.
const WE_DIFFER: [(&str, &[(&str, &str)]); 18] = [
    // Nothing is executed after a failed login.
    (
        "auth_failed_then_commands_same_packet",
        &[(
            "a",
            "CLACKS <SERVER>\r\nOVERHEAD M Authentication required\r\nOVERHEAD F Login failed!\r\n<EOF>",
        )],
    ),
    // What is sent is in the order of its causes.
    (
        "auth_order_of_answers_in_one_packet",
        &[(
            "a",
            "CLACKS <SERVER>\r\nOVERHEAD M Authentication required\r\nOVERHEAD O Welcome!\r\nRETRIEVED one=1\r\n\
             FLUSHED f1\r\nOVERHEAD E unknown_command FOO\r\n",
        )],
    ),
    (
        "perm_denied_order_in_one_packet",
        &[(
            "a",
            "OVERHEAD E permission_denied\r\nNOTRETRIEVED x\r\nOVERHEAD E unknown_command FOO\r\nFLUSHED f\r\n\
             OVERHEAD E permission_denied\r\n",
        )],
    ),
    (
        "monitor_and_listen_together",
        &[(
            "m",
            "DEBUG <CID>=MONITOR\r\nDEBUG <CID>=SET ch=1\r\nSET ch=1\r\nDEBUG <CID>=NOTIFY ch\r\nNOTIFY ch\r\n\
             DEBUG <CID>=STORE ch=2\r\nDEBUG <CID>=SET ch=own\r\nDEBUG <CID>=RETRIEVE ch\r\nRETRIEVED ch=2\r\n",
        )],
    ),
    // So the monitor's queue holds the line about the CLIENTLIST when that is answered.
    (
        "clientlist_states",
        &[(
            "a",
            "CLIENTLISTSTART\r\nCLIENT CID=<CID>;HOST=unixdomainsocket;PORT=<PORT>;CLIENTINFO=wire_a;\
             OUTBUFFER_LENGTH=17;INBUFFER_LENGTH=0;INTERCLACKS=0;MONITOR=0;LASTPING=<TIME>;\
             LASTINTERCLACKSPING=0;WRITEFAILTIME=0;\r\n\
             CLIENT CID=<CID>;HOST=unixdomainsocket;PORT=<PORT>;CLIENTINFO=wire_m;OUTBUFFER_LENGTH=48;\
             INBUFFER_LENGTH=0;INTERCLACKS=0;MONITOR=1;LASTPING=<TIME>;LASTINTERCLACKSPING=0;WRITEFAILTIME=0;\r\n\
             CLIENT CID=<CID>;HOST=unixdomainsocket;PORT=<PORT>;CLIENTINFO=wire_s;OUTBUFFER_LENGTH=0;\
             INBUFFER_LENGTH=0;INTERCLACKS=1;MONITOR=0;LASTPING=<TIME>;LASTINTERCLACKSPING=<TIME>;\
             WRITEFAILTIME=0;\r\n\
             CLIENT CID=<CID>;HOST=unixdomainsocket;PORT=<PORT>;CLIENTINFO=wire_p;OUTBUFFER_LENGTH=0;\
             INBUFFER_LENGTH=7;INTERCLACKS=0;MONITOR=0;LASTPING=<TIME>;LASTINTERCLACKSPING=0;WRITEFAILTIME=0;\r\n\
             CLIENTLISTEND\r\n",
        )],
    ),
    // Matching is exact, and an argument has at least one byte.
    ("prefix_match_quit", &[("a", "OVERHEAD E unknown_command QUITTING now\r\n")]),
    (
        "incr_empty_step_is_part_of_the_key",
        &[(
            "a",
            "OVERHEAD E unknown_command INCREMENT e=\r\nNOTRETRIEVED e\r\nNOTRETRIEVED e=\r\n\
             OVERHEAD E unknown_command DECREMENT f==\r\nKEYLISTSTART\r\nKEYLISTEND\r\n",
        )],
    ),
    (
        "listen_odd_names",
        &[
            ("a", "OVERHEAD E unknown_command NOTIFY \r\n"),
            (
                "b",
                "OVERHEAD E unknown_command LISTEN \r\nNOTIFY two words\r\nSET two words=1\r\nNOTIFY eq=sign\r\n\
                 NOTIFY *\r\nSET ä=ö\r\n",
            ),
        ],
    ),
    // NOP and FLUSHED are commands, though they do nothing.
    (
        "unknown_server_side_words",
        &[(
            "a",
            "OVERHEAD E unknown_command TIMEOUT\r\nOVERHEAD E unknown_command DEBUG x=y\r\n\
             OVERHEAD E unknown_command RETRIEVED x=1\r\nOVERHEAD E unknown_command KEY x\r\n\
             OVERHEAD E unknown_command CLIENT x\r\n",
        )],
    ),
    // Keys are listed while they live.
    (
        "keylist_order_and_removed",
        &[(
            "a",
            "KEYLISTSTART\r\nKEYLISTEND\r\nKEYLISTSTART\r\nKEY 10\r\nKEY 9\r\nKEY B\r\nKEY a b\r\nKEY a::b\r\n\
             KEY b\r\nKEY ä\r\nKEYLISTEND\r\n",
        )],
    ),
    (
        "keysync_delete_unknown",
        &[("a", "NOTRETRIEVED k\r\nKEYLISTSTART\r\nKEYLISTEND\r\nCACHE: KEYSYNC <T0-1> 0 D k=REMOVED\r\n")],
    ),
    // Answers leave in the order of the commands: the login's is before the cache.
    (
        "interclacks_handshake_as_the_perl_slave_does",
        &[(
            "s",
            "CLACKS <SERVER>\r\nOVERHEAD M Authentication required\r\nOVERHEAD O Welcome!\r\n\
             CLACKS <SERVER> in interclacks master mode\r\nOVERHEAD M Authentication required\r\n\
             OVERHEAD A <TOKEN:admin>\r\nOVERHEAD L 1\r\nOVERHEAD T <TIME>\r\n\
             KEYSYNC <TIME> <TIME> U k=1\r\nOVERHEAD L 0\r\nPING\r\n",
        )],
    ),
    // Keys are listed while they live.
    (
        "interclacks_forwarding_of_client_commands",
        &[(
            "a",
            "NOTRETRIEVED x\r\nKEYLISTSTART\r\nKEYLISTEND\r\nFLUSHED f\r\nOVERHEAD E unknown_command FOO\r\n",
        )],
    ),
    // What is refused goes nowhere, and nothing comes twice.
    (
        "interclacks_denied_reads_are_forwarded",
        &[(
            "s",
            "CLACKS <SERVER> in interclacks master mode\r\nOVERHEAD M Authentication required\r\n\
             OVERHEAD A <TOKEN:admin>\r\nOVERHEAD L 1\r\nOVERHEAD T <TIME>\r\nOVERHEAD L 0\r\nPING\r\n",
        )],
    ),
    (
        "interclacks_peer_that_listens_gets_it_twice",
        &[(
            "s",
            "CLACKS <SERVER> in interclacks master mode\r\nOVERHEAD M Authentication required\r\n\
             OVERHEAD A <TOKEN:admin>\r\nOVERHEAD L 1\r\nOVERHEAD T <TIME>\r\nOVERHEAD L 0\r\nPING\r\n\
             SET x=1\r\nSETANDSTORE x=2\r\nNOTIFY x\r\n",
        )],
    ),
    // What could harm other clients is not forwarded, and nothing goes to who has not logged in.
    ("overhead_error_flag", &[("a", "OVERHEAD E permission_denied\r\n"), ("b", "")]),
    (
        "overhead_forward_reaches_unauthenticated",
        &[("a", ""), ("b", "CLACKS <SERVER>\r\nOVERHEAD M Authentication required\r\n")],
    ),
    // Nothing is executed after QUIT.
    ("quit_commands_after_in_same_packet", &[("a", "<EOF>"), ("b", "NOTRETRIEVED afterquit\r\n")]),
];

/// One connection of a case.
struct Connection {
    name: String,
    /// The beginning of a line.
    partial: Vec<u8>,
    received: Vec<u8>,
}

struct Replay {
    world: World,
    connections: Vec<Connection>,
}

impl Replay {
    /// Who has no greeting in the record was logged in before it began.
    fn connect(&mut self, name: &str, is_logged_in: bool, user: &str) {
        if self.connections.iter().any(|connection| connection.name == name) {
            return;
        }
        if is_logged_in {
            self.world.log_in(name, user);
        } else {
            self.world.connect(name);
        }
        self.connections.push(Connection {
            name: name.to_owned(),
            partial: Vec::new(),
            received: Vec::new(),
        });
    }

    fn send(&mut self, name: &str, text: &str) {
        self.world.flush();
        let connection = self.connections.iter_mut().find(|connection| connection.name == name);
        let connection = connection.expect("a connection of the case");
        connection.partial.extend(bytes(text).into_iter().filter(|&b| b != b'\r'));
        while let Some(at) = connection.partial.iter().position(|&b| b == b'\n') {
            let line: Vec<u8> = connection.partial.drain(..=at).collect();
            self.world.queue(name).traffic.unread = connection.partial.len();
            self.world.send(name, &line[..at]);
        }
        self.world.queue(name).traffic.unread = connection.partial.len();
        self.receive();
    }

    fn receive(&mut self) {
        for connection in &mut self.connections {
            for line in std::mem::take(&mut self.world.queue(&connection.name).lines) {
                connection.received.extend_from_slice(&line);
                if line != b"<EOF>" {
                    connection.received.extend_from_slice(b"\r\n");
                }
            }
        }
    }

    /// What a connection got, with the volatile parts as in the record.
    fn received(&self, name: &str) -> String {
        let connection = self.connections.iter().find(|connection| connection.name == name);
        let received = connection.map(|connection| &*connection.received).unwrap_or_default();
        let mut text = String::new();
        for chunk in received.utf8_chunks() {
            text.push_str(chunk.valid());
            chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
        }
        for connection in &self.connections {
            text = text.replace(&self.world.cid(&connection.name), "<CID>");
        }
        text
    }

    /// The cache as a linked server would get it.
    fn cache(&self) -> String {
        let entries = self.world.state.store().entries_from(None).map(|(key, entry)| {
            let (mode, access_time, value) = match entry.deleted {
                true => ("D", 0.0, "REMOVED".into()),
                false => ("U", entry.access_time, String::from_utf8_lossy(&entry.value)),
            };
            let key = String::from_utf8_lossy(key);
            format!("KEYSYNC {} {access_time} {mode} {key}={value}\r\n", entry.cache_time)
        });
        entries.collect()
    }
}

/// The bytes of a text in which `\xff` stands for what is not UTF-8.
fn bytes(text: &str) -> Vec<u8> {
    let mut pieces = text.split("\\x");
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let (hex, rest) = piece.split_at(2);
        bytes.push(u8::from_str_radix(hex, 16).expect("two hexadecimal digits"));
        bytes.extend_from_slice(rest.as_bytes());
    }
    bytes
}

/// Puts numbers and names into what stands for them in the record.
fn fill(text: &str) -> String {
    let mut text = text.replace("<SERVER>", SERVER).replace("<TIME>", &START.to_string());
    text = text.replace("<PORT>", &START.to_string());
    for user in ["admin", "rw", "ro", "wo", "mg"] {
        text = text.replace(&format!("<TOKEN:{user}>"), &token_of(user));
    }
    while let Some((before, rest)) = text.split_once("<T0") {
        let (offset, after) = rest.split_once('>').expect("an end of the time");
        let offset: i64 = if offset.is_empty() { 0 } else { offset.parse().expect("a number of seconds") };
        text = format!("{before}{}{after}", START as i64 + offset);
    }
    text
}

fn pairs(case: &Value, field: &str) -> Vec<(String, String)> {
    let text = |pair: &Value, at: usize| pair[at].as_str().expect("a text").to_owned();
    let pairs = case[field].as_array().expect("a list").iter();
    pairs.map(|pair| (text(pair, 0), text(pair, 1))).collect()
}

fn replay(case: &Value) {
    let name = case["case"].as_str().expect("a name");
    let (sent, received) = (pairs(case, "sent"), pairs(case, "received"));
    let user = match name.split('_').collect::<Vec<_>>()[..] {
        ["perm", user @ ("ro" | "rw" | "wo" | "mg"), ..] => user,
        // The record has no word for it, but the refusals show it.
        ["perm", "denied", ..] | ["monitor", "lines"] => "ro",
        ["interclacks", "denied", ..] => "wo",
        _ => "admin",
    };

    let mut replay = Replay { world: World::default(), connections: Vec::new() };
    let is_logged_in =
        |name: &str| !received.iter().any(|(to, text)| to == name && text.starts_with("CLACKS <SERVER>\r\n"));
    let all = sent.iter().chain(&received).map(|(name, _)| name.as_str());
    for connection in ["a"].into_iter().chain(all) {
        replay.connect(connection, is_logged_in(connection), if connection == "a" { user } else { "admin" });
    }
    replay.receive();
    for (at, (from, text)) in sent.iter().enumerate() {
        if name == "listen_ends_with_connection" && at == 1 {
            replay.world.lose("b");
        }
        let text = match text.contains("<CID of b>") {
            true => text.replace("<CID of b>", &replay.world.cid("b")),
            false => fill(text),
        };
        replay.send(from, &text);
    }

    let ours = WE_DIFFER.iter().find(|(case, _)| *case == name).map(|(_, ours)| *ours);
    assert!(ours.is_some() || case["we_differ"].is_null(), "{name}: how do we differ?");
    for Connection { name: connection, .. } in &replay.connections {
        let ours = ours.and_then(|ours| ours.iter().find(|(to, _)| to == connection));
        let recorded = || received.iter().filter(|(to, _)| to == connection).map(|(_, text)| text.as_str());
        let expected = match ours {
            Some((_, text)) => (*text).to_owned(),
            None if recorded().next().is_none() => continue,
            None => recorded().collect(),
        };
        let expected = fill(&expected);
        let (expected, cache) = match expected.split_once("CACHE: ") {
            Some((expected, cache)) => (expected, Some(cache)),
            None => (expected.as_str(), None),
        };
        assert_eq!(replay.received(connection), expected, "{name}, connection {connection}");
        if let Some(cache) = cache {
            assert_eq!(replay.cache(), cache, "{name}, cache");
        }
    }
}

#[test]
fn recorded_cases_are_answered_as_the_reference_server_does() {
    let mut replayed = Vec::new();
    for line in include_str!("../data/clacks-wire.json").lines() {
        let case: Value = serde_json::from_str(line).expect("a case");
        let name = case["case"].as_str().expect("a name").to_owned();
        if !NOT_HERE.iter().any(|prefix| name.starts_with(prefix)) {
            replay(&case);
            replayed.push(name);
        }
    }
    assert!(replayed.len() >= 85, "only {} cases", replayed.len());
    for (name, _) in WE_DIFFER {
        assert!(replayed.iter().any(|replayed| replayed == name), "no case {name}");
    }
}
