//! Every row of the protocol's tables, over real sockets and byte for byte: opening a session, permissions, commands,
//! numbers, OVERHEAD, monitoring. Each is played with a packet for each line, in as few packets as can be, and in as
//! many: the same comes out.
#![cfg(all(feature = "clacks", feature = "cli"))]

mod support;

use std::time::{SystemTime, UNIX_EPOCH};

use support::Clacksd;
use support::script::play;
use support::talk::{check_lines, line, monitor};

const CLACKSD: Option<&str> = option_env!("CARGO_BIN_EXE_clacksd");

fn clacksd() -> Clacksd {
    let program = CLACKSD.expect("cargo builds clacksd before it runs this test");
    // Nothing in a script takes so long.
    let configuration = include_str!("data/clacks-wire.xml")
        .replace("<pingtimeout>8<", "<pingtimeout>600<")
        .replace("<authtimeout>3<", "<authtimeout>600<")
        .replace("<deletedcachetime>6<", "<deletedcachetime>600<");
    let mut server = Clacksd::start(program, &configuration);
    // CIDs are listed as text, and count: up to 999 they are of one length from now on.
    (0..100).for_each(|_| drop(server.connect().unwrap()));
    server
}

#[track_caller]
fn check(script: &str) {
    play(&mut clacksd(), script);
}

#[test]
fn lines() {
    check(
        "
# a line ends with LF, CR LF, and any number of CRs
+ a rw
a> STORE \\ra=1\\r\\r
a> RETR\\rIEVE a
a< RETRIEVED a=1
a>> FLUSH x
a>> \\r\\r
a> y
a< FLUSHED xy

# an empty line means nothing
+ a rw
a>\x20
a> \\r
a> \\r\\r\\r
a> FLUSH x
a< FLUSHED x

# bytes that are no text pass through
+ a rw
+ b rw
b> LISTEN \\xff\\x00
a> STORE \\xfe\\x01=\\xc3\\x28\\x00\\x80
a> RETRIEVE \\xfe\\x01
a< RETRIEVED \\xfe\\x01=\\xc3\\x28\\x00\\x80
a> SET \\xff\\x00=\\xf5
b< SET \\xff\\x00=\\xf5
a> KEYLIST
a< KEYLISTSTART
a< KEY \\xfe\\x01
a< KEYLISTEND

# a name ends at the first equals sign behind its first byte, the value is the rest
+ a rw
+ b rw
b> LISTEN k
b> LISTEN =
a> STORE k==a=b= c\x20
a> RETRIEVE k
a< RETRIEVED k==a=b= c\x20
a> STORE k=
a> RETRIEVE k
a< RETRIEVED k=
a> STORE ==x
a> RETRIEVE =
a< RETRIEVED ==x
a> SET ==x
b< SET ==x
a> SET k==x
b< SET k==x
a> NOTIFY k=x
a> NOTIFY =
b< NOTIFY =
a> SETANDSTORE ==y
b< SET ==y
a> RETRIEVE =
a< RETRIEVED ==y
a> STORE ===
a> RETRIEVE =
a< RETRIEVED ===
a> STORE two words=x
a> RETRIEVE two words
a< RETRIEVED two words=x

# values with line breaks and structured values are not looked into
+ a rw
a> STORE a=PAGECAMELCLACKSB64:YQpi
a> STORE b=PAGECAMELCLACKSYAMLB64: LS0tIHt9Cg==
a> RETRIEVE a
a> RETRIEVE b
a< RETRIEVED a=PAGECAMELCLACKSB64:YQpi
a< RETRIEVED b=PAGECAMELCLACKSYAMLB64: LS0tIHt9Cg==

# answers and deliveries come in the order of their causes
+ a rw
+ b rw
a> LISTEN n
b> SET n=1
a< SET n=1
b> LISTEN n
a> RETRIEVE x
a< NOTRETRIEVED x
a> SET n=2
b< SET n=2
a> CLEARCACHE
a< OVERHEAD E permission_denied
a> KEYLIST
a< KEYLISTSTART
a< KEYLISTEND
a> FLUSH 1
a< FLUSHED 1
a> NOTIFY n
b< NOTIFY n
",
    );
}

#[test]
fn sessions() {
    check(
        "
# the server greets
+ a
a< CLACKS Wire case server <SERVER>
a< OVERHEAD M Authentication required

# greeting, login and commands may come in one packet
+ a
a< CLACKS <SERVER>
a< OVERHEAD M Authentication required
a> CLACKS me
a> OVERHEAD A <TOKEN:rw>
a> STORE a=1
a> RETRIEVE a
a< OVERHEAD O Welcome!
a< RETRIEVED a=1

# a semicolon of a client's name becomes an underscore
+ a admin
a> CLACKS a;b=c; d
+ b admin
b> CLACKS wire_b
a> CLIENTLIST
a< CLIENTLISTSTART
a< CLIENT CID=<CID>;HOST=unixdomainsocket;PORT=<PORT>;CLIENTINFO=wire_director;OUTBUFFER_LENGTH=<NUMBER>;INBUFFER_LENGTH=<NUMBER>;INTERCLACKS=0;MONITOR=0;LASTPING=<TIME>;LASTINTERCLACKSPING=0;WRITEFAILTIME=0;
a< CLIENT CID=<CID>;HOST=unixdomainsocket;PORT=<PORT>;CLIENTINFO=a_b=c_ d;OUTBUFFER_LENGTH=<NUMBER>;INBUFFER_LENGTH=<NUMBER>;INTERCLACKS=0;MONITOR=0;LASTPING=<TIME>;LASTINTERCLACKSPING=0;WRITEFAILTIME=0;
a< CLIENT CID=<CID>;HOST=unixdomainsocket;PORT=<PORT>;CLIENTINFO=wire_b;OUTBUFFER_LENGTH=<NUMBER>;INBUFFER_LENGTH=<NUMBER>;INTERCLACKS=0;MONITOR=0;LASTPING=<TIME>;LASTINTERCLACKSPING=0;WRITEFAILTIME=0;
a< CLIENTLISTEND

# before the login everything else is ignored
+ a
a< CLACKS <SERVER>
a< OVERHEAD M Authentication required
a> STORE early=1
a> FLUSH x
a> CLEARCACHE
a> QUIT
a> OVERHEAD G hello
a> OVERHEAD C 1
a> OVERHEAD S 1
a> OVERHEAD A
a> overhead A <TOKEN:rw>
a> FOO
a> OVERHEAD A <TOKEN:rw>
a< OVERHEAD O Welcome!
a> RETRIEVE early
a< NOTRETRIEVED early

# nothing is executed after a failed login
+ a
a< CLACKS <SERVER>
a< OVERHEAD M Authentication required
a> OVERHEAD A <TOKEN:rw>x
a> OVERHEAD A <TOKEN:rw>
a> STORE late=1
a< OVERHEAD F Login failed!
a< <EOF>
+ b rw
b> RETRIEVE late
b< NOTRETRIEVED late

# a second login exchanges the permissions and keeps what is listened to
+ a ro
+ b rw
a> LISTEN n
a> STORE a=1
a< OVERHEAD E permission_denied
a> OVERHEAD A <TOKEN:wo>
a< OVERHEAD O Welcome!
a> STORE a=1
a> RETRIEVE a
a< OVERHEAD E permission_denied
b> SET n=1
a< SET n=1
a> OVERHEAD A <TOKEN:rw>
a< OVERHEAD O Welcome!
a> RETRIEVE a
a< RETRIEVED a=1
a> OVERHEAD A nonsense
a> STORE a=2
a< OVERHEAD F Login failed!
a< <EOF>
b> RETRIEVE a
b< RETRIEVED a=1

# QUIT ends the session, once everything before it was answered
+ a rw
+ b rw
b> LISTEN n
a> STORE a=1
a> RETRIEVE a
a> SET n=1
a> QUIT
a> STORE a=2
a< RETRIEVED a=1
a< <EOF>
b< SET n=1
b> RETRIEVE a
b< RETRIEVED a=1

# an unfinished line at the end is dropped
+ a rw
a> STORE a=1
a> RETRIEVE a
a< RETRIEVED a=1
a>> STORE a=2
a)
a< <EOF>
+ b rw
b> RETRIEVE a
b< RETRIEVED a=1

# who is gone does not listen any more
+ a rw
+ b rw
a> LISTEN n
- a
b> LISTEN n
b> SET n=1
b> RETRIEVE x
b< NOTRETRIEVED x
",
    );
}

#[test]
fn logins_that_fail() {
    let wrong = [
        "x",
        ":",
        "<TOKEN:rw> ",
        " <TOKEN:rw>",
        "x<TOKEN:rw>",
        "cnd1c2Vy:",
        ":cndwYXNz",
        "cnd1c2Vy",
        "cnd1c2Vy:cm9wYXNz",    // rwuser with the password of rouser
        "cndwYXNz:cnd1c2Vy",    // the other way round
        "cnd1c2VyOnJ3cGFzcw==", // both in one
        "rwuser:rwpass",
        "cnd1c2Vy:cndwYXNz:cndwYXNz",
        "CND1C2VY:CNDWYXNZ",
        "cnd1c2Vy:cndwYXNz=",
        "cnd1c2Vy :cndwYXNz",
    ];
    let mut script = String::new();
    for token in wrong {
        script.push_str(&format!(
            "\n# the token {token:?}\n+ a\na< CLACKS <SERVER>\na< OVERHEAD M Authentication required\n\
             a> OVERHEAD A {token}\na< OVERHEAD F Login failed!\na< <EOF>\n"
        ));
    }
    check(&script);
}

// ---- permissions ---------------------------------------------------------------------------------------------

/// A permission that a command needs.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Needs {
    Nothing,
    Read,
    Write,
    Manage,
    Interclacks,
}

/// The users of the configuration, and what they may do.
const USERS: [(&str, &[Needs]); 5] = [
    ("admin", &[Needs::Nothing, Needs::Read, Needs::Write, Needs::Manage, Needs::Interclacks]),
    ("rw", &[Needs::Nothing, Needs::Read, Needs::Write]),
    ("ro", &[Needs::Nothing, Needs::Read]),
    ("wo", &[Needs::Nothing, Needs::Write]),
    ("mg", &[Needs::Nothing, Needs::Manage]),
];

/// A command of `a`, what it needs, and how its effect shows: the script after it where it is allowed, and where
/// it is not. `o` is somebody else, who listens to `n`; the key `k` has the value 1.
const COMMANDS: [(&str, Needs, &str, &str); 41] = [
    ("NOTIFY n", Needs::Write, "o< NOTIFY n", ""),
    ("SET n=2", Needs::Write, "o< SET n=2", ""),
    (
        "SETANDSTORE n=2",
        Needs::Write,
        "o< SET n=2\no> RETRIEVE n\no< RETRIEVED n=2",
        "o> RETRIEVE n\no< NOTRETRIEVED n",
    ),
    ("STORE k=2", Needs::Write, "o> RETRIEVE k\no< RETRIEVED k=2", "o> RETRIEVE k\no< RETRIEVED k=1"),
    ("REMOVE k", Needs::Write, "o> RETRIEVE k\no< NOTRETRIEVED k", "o> RETRIEVE k\no< RETRIEVED k=1"),
    ("INCREMENT k", Needs::Write, "o> RETRIEVE k\no< RETRIEVED k=2", "o> RETRIEVE k\no< RETRIEVED k=1"),
    ("INCREMENT k=5", Needs::Write, "o> RETRIEVE k\no< RETRIEVED k=6", "o> RETRIEVE k\no< RETRIEVED k=1"),
    ("DECREMENT k", Needs::Write, "o> RETRIEVE k\no< RETRIEVED k=0", "o> RETRIEVE k\no< RETRIEVED k=1"),
    ("DECREMENT k=5", Needs::Write, "o> RETRIEVE k\no< RETRIEVED k=-4", "o> RETRIEVE k\no< RETRIEVED k=1"),
    ("LISTEN m", Needs::Read, "o> SET m=1\na< SET m=1", "o> SET m=1"),
    ("UNLISTEN n", Needs::Read, "", ""),
    ("RETRIEVE k", Needs::Read, "a< RETRIEVED k=1", ""),
    ("RETRIEVE none", Needs::Read, "a< NOTRETRIEVED none", ""),
    ("KEYLIST", Needs::Read, "a< KEYLISTSTART\na< KEY k\na< KEYLISTEND", ""),
    ("CLEARCACHE", Needs::Manage, "o> RETRIEVE k\no< NOTRETRIEVED k", "o> RETRIEVE k\no< RETRIEVED k=1"),
    (
        "MONITOR",
        Needs::Manage,
        "a< DEBUG <CID>=MONITOR\no> PING\na< DEBUG <CID>=PING\na> UNMONITOR",
        "o> PING",
    ),
    ("UNMONITOR", Needs::Manage, "", ""),
    (
        "CLIENTLIST",
        Needs::Manage,
        "a< CLIENTLISTSTART\na< CLIENT <SERVER>CLIENTINFO=wire_director;<SERVER>\n\
         a< CLIENT <SERVER>CLIENTINFO=wire_a;<SERVER>\na< CLIENT <SERVER>CLIENTINFO=wire_o;<SERVER>\n\
         a< CLIENTLISTEND",
        "",
    ),
    ("CLIENTDISCONNECT {o}", Needs::Manage, "o<\no< QUIT\no< <EOF>", "o> FLUSH here\no< FLUSHED here"),
    ("CLIENTDISCONNECT nobody", Needs::Manage, "", ""),
    (
        "KEYSYNC 99999999999 0 U k=2",
        Needs::Interclacks,
        "o> RETRIEVE k\no< RETRIEVED k=2",
        "o> RETRIEVE k\no< RETRIEVED k=1",
    ),
    ("OVERHEAD G hello", Needs::Write, "o< OVERHEAD G hello", ""),
    (
        "OVERHEAD GNU Terry Pratchett",
        Needs::Write,
        "a< OVERHEAD GN Terry Pratchett\no< OVERHEAD GN Terry Pratchett",
        "",
    ),
    ("OVERHEAD C 0", Needs::Manage, "", ""),
    ("OVERHEAD S 0", Needs::Manage, "", ""),
    ("OVERHEAD I 0", Needs::Interclacks, "", ""),
    ("OVERHEAD L 0", Needs::Interclacks, "", ""),
    ("OVERHEAD D dropped", Needs::Nothing, "", ""),
    ("OVERHEAD E it hurts", Needs::Nothing, "", ""),
    ("OVERHEAD M by the way", Needs::Nothing, "", ""),
    ("OVERHEAD N unseen", Needs::Nothing, "", ""),
    ("OVERHEAD T 12345", Needs::Nothing, "", ""),
    ("OVERHEAD Z nothing", Needs::Nothing, "", ""),
    ("FLUSH id", Needs::Nothing, "a< FLUSHED id", ""),
    ("FLUSHED id", Needs::Nothing, "", ""),
    ("PING", Needs::Nothing, "", ""),
    ("NOPING", Needs::Nothing, "", ""),
    ("NOP", Needs::Nothing, "", ""),
    ("CLACKS wire_a", Needs::Nothing, "", ""),
    ("FOO bar", Needs::Nothing, "a< OVERHEAD E unknown_command FOO bar", ""),
    ("QUIT", Needs::Nothing, "a< <EOF>", ""),
];

#[test]
fn every_command_needs_its_permission_and_has_no_effect_without() {
    for (user, may) in USERS {
        let mut script = String::new();
        for (command, needs, allowed, denied) in COMMANDS {
            let after = if may.contains(&needs) {
                allowed.to_owned()
            } else {
                format!("a< OVERHEAD E permission_denied\n{denied}")
            };
            script.push_str(&format!(
                "\n# {command} of {user}\n+ a {user}\n+ o admin\no> LISTEN n\no> STORE k=1\na> {command}\n{after}\n"
            ));
        }
        check(&script);
    }
}

// ---- commands ------------------------------------------------------------------------------------------------

#[test]
fn signals() {
    check(
        "
# each listener gets a signal once, its sender none
+ a rw
+ b rw
+ c rw
a> LISTEN n
b> LISTEN n
b> LISTEN n
c> LISTEN other
a> NOTIFY n
b< NOTIFY n
a> SET n=1
b< SET n=1
a> SETANDSTORE n=2
b< SET n=2
c> NOTIFY n
a< NOTIFY n
b< NOTIFY n
c> RETRIEVE n
c< RETRIEVED n=2

# names are matched exactly
+ a rw
+ b rw
b> LISTEN name
b> LISTEN a b
b> LISTEN *
a> NOTIFY Name
a> NOTIFY name2
a> NOTIFY nam
a> NOTIFY  name
a> NOTIFY a b
a> NOTIFY *
b< NOTIFY a b
b< NOTIFY *
a> SET name =1
a> SET name=1
b< SET name=1

# deliveries end with UNLISTEN
+ a rw
+ b rw
b> LISTEN n
b> LISTEN m
b> UNLISTEN n
b> UNLISTEN n
b> UNLISTEN never
a> SET n=1
a> SET m=1
b< SET m=1
b> LISTEN n
a> SET n=2
b< SET n=2

# SET does not store, STORE does not signal
+ a rw
+ b rw
b> LISTEN n
a> SET n=1
b< SET n=1
a> STORE n=2
a> REMOVE n
a> INCREMENT n
a> RETRIEVE n
a< RETRIEVED n=1
",
    );
}

#[test]
fn the_cache() {
    check(
        "
# values are kept until they are removed
+ a rw
a> RETRIEVE k
a< NOTRETRIEVED k
a> STORE k=1
a> STORE k=2
a> RETRIEVE k
a< RETRIEVED k=2
a> REMOVE k
a> RETRIEVE k
a< NOTRETRIEVED k
a> REMOVE k
a> REMOVE never
a> RETRIEVE never
a< NOTRETRIEVED never
a> STORE k=3
a> RETRIEVE k
a< RETRIEVED k=3

# keys are listed in byte order, removed ones are not
+ a rw
a> KEYLIST
a< KEYLISTSTART
a< KEYLISTEND
a> STORE b=
a> STORE a=
a> STORE B=
a> STORE 10=
a> STORE 9=
a> STORE ä=
a> STORE a b=
a> STORE ===
a> STORE gone=
a> REMOVE gone
a> REMOVE never
a> KEYLIST
a< KEYLISTSTART
a< KEY 10
a< KEY 9
a< KEY =
a< KEY B
a< KEY a
a< KEY a b
a< KEY b
a< KEY ä
a< KEYLISTEND

# CLEARCACHE drops everything
+ a admin
a> STORE a=1
a> STORE b=2
a> REMOVE b
a> CLEARCACHE
a> KEYLIST
a< KEYLISTSTART
a< KEYLISTEND
a> INCREMENT a
a> RETRIEVE a
a< RETRIEVED a=1
a> RETRIEVE b
a< NOTRETRIEVED b

# an entry of another server counts if it is newer
+ a admin
a> KEYSYNC 100 50 U k=old
a> RETRIEVE k
a< RETRIEVED k=old
a> KEYSYNC 100 50 U k=same
a> KEYSYNC 99.5 50 U k=older
a> RETRIEVE k
a< RETRIEVED k=old
a> KEYSYNC 100.5 0 S k=newer=x
a> RETRIEVE k
a< RETRIEVED k=newer=x
a> KEYSYNC 101 0 D k=REMOVED
a> RETRIEVE k
a< NOTRETRIEVED k
a> STORE k=now
a> KEYSYNC 101 0 U k=past
a> RETRIEVE k
a< RETRIEVED k=now
a> KEYSYNC 99999999999 0 U k=future
a> RETRIEVE k
a< RETRIEVED k=future

# FLUSH comes back after what was sent before
+ a rw
+ b rw
b> LISTEN n
a> SET n=1
a> STORE n=1
a> FLUSH an id of any length
a< FLUSHED an id of any length
b< SET n=1
",
    );
}

#[test]
fn clients() {
    check(
        "
# CLIENTDISCONNECT ends another client
+ a admin
+ b rw
+ c rw
a> CLIENTDISCONNECT {b}
b<
b< QUIT
b< <EOF>
a> CLIENTDISCONNECT nobody
a> CLIENTDISCONNECT unixdomainsocket:1:1
a> FLUSH 1
a< FLUSHED 1
c> FLUSH 2
c< FLUSHED 2

# … or oneself
+ a admin
a> CLIENTDISCONNECT {a}
a> STORE late=1
a<
a< QUIT
a< <EOF>
+ b rw
b> RETRIEVE late
b< NOTRETRIEVED late

# … or one that has not logged in
+ a admin
+ b
b< CLACKS <SERVER>
b< OVERHEAD M Authentication required
b> CLACKS wire_b
a> CLIENTDISCONNECT {b}
b<
b< QUIT
b< <EOF>

# a later CLACKS renames the client
+ a admin
a> CLACKS another name
a> CLIENTLIST
a< CLIENTLISTSTART
a< CLIENT <SERVER>CLIENTINFO=wire_director;<SERVER>
a< CLIENT CID=<CID>;HOST=unixdomainsocket;PORT=<PORT>;CLIENTINFO=another name;<SERVER>
a< CLIENTLISTEND

# NOPING and MONITOR show in the list
+ a admin
a> NOPING
a> MONITOR
a< DEBUG <CID>=MONITOR
a> CLIENTLIST
a< DEBUG <CID>=CLIENTLIST
a< CLIENTLISTSTART
a< CLIENT <SERVER>CLIENTINFO=wire_director;OUTBUFFER_LENGTH=<NUMBER>;INBUFFER_LENGTH=<NUMBER>;INTERCLACKS=0;MONITOR=0;LASTPING=<TIME>;LASTINTERCLACKSPING=0;WRITEFAILTIME=0;
a< CLIENT <SERVER>CLIENTINFO=wire_a;OUTBUFFER_LENGTH=<NUMBER>;INBUFFER_LENGTH=<NUMBER>;INTERCLACKS=0;MONITOR=1;LASTPING=0;LASTINTERCLACKSPING=0;WRITEFAILTIME=0;
a< CLIENTLISTEND
",
    );
}

#[test]
fn cids_tell_when_and_count() {
    let mut server = clacksd();
    let mut monitor = monitor(&mut server);
    let mut serials = Vec::new();
    for _ in 0..3 {
        let client = server.connect().unwrap();
        let said = line(&mut monitor);
        let cid = said.strip_prefix("DEBUG CONNECTED=unixdomainsocket:").expect(&said);
        let (time, serial) = cid.split_once(':').expect(&said);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert!(time.parse::<u64>().unwrap().abs_diff(now) <= 60, "{said}");
        serials.push(serial.parse::<u64>().unwrap());
        drop(client);
        assert_eq!(
            line(&mut monitor),
            format!("DEBUG DISCONNECTED=unixdomainsocket:{cid} (0 bytes discarded from outbuffer)")
        );
    }
    assert!(serials.iter().zip(&serials[1..]).all(|(one, next)| next - one == 1), "{serials:?}");
}

/// Lines that are almost commands.
const UNKNOWN: [&str; 64] = [
    "foo",
    "ping",
    "Ping",
    "PINGX",
    "PING ",
    " PING",
    "PING x",
    "NOPINGX",
    "NOPING x",
    "NOPX",
    "NOP x",
    "QUITTING",
    "QUIT ",
    "QUIT x",
    "TIMEOUT",
    "TIMEOUT x",
    "KEYLISTX",
    "KEYLIST ",
    "KEYLIST x",
    "CLIENTLISTX",
    "CLIENTLIST x",
    "CLEARCACHEX",
    "CLEARCACHE x",
    "MONITORX",
    "MONITOR x",
    "UNMONITORX",
    "UNMONITOR x",
    "NOTIFY",
    "NOTIFY ",
    "SET",
    "SET ",
    "SET x",
    "SET =x",
    "SETX x=1",
    "set x=1",
    "LISTEN",
    "LISTEN ",
    "UNLISTEN ",
    "STORE",
    "STORE ",
    "STORE x",
    "STORE =",
    "STORE =x",
    "SETANDSTORE x",
    "SETANDSTORE =x",
    "RETRIEVE",
    "RETRIEVE ",
    "REMOVE ",
    "INCREMENT ",
    "INCREMENT x=",
    "INCREMENT x==",
    "DECREMENT ",
    "DECREMENT x=",
    "FLUSH",
    "FLUSH ",
    "FLUSHED",
    "CLACKS",
    "CLACKS ",
    "CLIENTDISCONNECT",
    "CLIENTDISCONNECT ",
    "OVERHEAD",
    "OVERHEAD G",
    "OVERHEAD G ",
    "OVERHEAD  x",
];

#[test]
fn what_is_no_command_is_told() {
    let mut script = String::new();
    for line in UNKNOWN {
        script.push_str(&format!(
            "\n# {line:?}\n+ a admin\na> {line}\na< OVERHEAD E unknown_command {line}\n\
             a> KEYLIST\na< KEYLISTSTART\na< KEYLISTEND\n"
        ));
    }
    for line in [
        "KEYSYNC",
        "KEYSYNC 1 2 U",
        "KEYSYNC 1 2 U k",
        "KEYSYNC x 2 U k=v",
        "KEYSYNC 1 2  k=v",
        "KEYSYNC 1 2 U =v",
    ] {
        script
            .push_str(&format!("\n# {line:?}\n+ a admin\na> {line}\na< OVERHEAD E unknown_command {line}\n"));
    }
    check(&script);
}

// ---- numbers -------------------------------------------------------------------------------------------------

/// The key is set to the first (unless that is empty), the second is done to it: then it is the third.
const NUMBERS: [(&str, &[&str], &str); 71] = [
    ("", &["INCREMENT n"], "1"),
    ("", &["DECREMENT n"], "-1"),
    ("STORE n=5\na> REMOVE n", &["INCREMENT n"], "1"),
    ("STORE n=", &["INCREMENT n"], "1"),
    ("STORE n=abc", &["INCREMENT n"], "1"),
    ("STORE n=12abc", &["INCREMENT n"], "1"),
    ("STORE n=0x10", &["INCREMENT n"], "1"),
    ("STORE n=1_000", &["INCREMENT n"], "1"),
    ("STORE n=1e", &["INCREMENT n"], "1"),
    ("STORE n= 5", &["INCREMENT n"], "6"),
    ("STORE n=5 ", &["INCREMENT n"], "6"),
    ("STORE n=+5", &["INCREMENT n"], "6"),
    ("STORE n=-5", &["INCREMENT n"], "-4"),
    ("STORE n=.5", &["INCREMENT n"], "1.5"),
    ("STORE n=5.", &["INCREMENT n"], "6"),
    ("STORE n=007", &["INCREMENT n"], "8"),
    ("STORE n=1e3", &["INCREMENT n"], "1001"),
    ("STORE n=1E3", &["DECREMENT n"], "999"),
    ("STORE n=0 but true", &["INCREMENT n=5"], "5"),
    ("STORE n=inf", &["INCREMENT n"], "Inf"),
    ("STORE n=Infinity", &["DECREMENT n"], "Inf"),
    ("STORE n=-inf", &["INCREMENT n"], "-Inf"),
    ("STORE n=nan", &["INCREMENT n"], "NaN"),
    ("STORE n=1e400", &["INCREMENT n"], "Inf"),
    ("STORE n=-1e400", &["INCREMENT n"], "-Inf"),
    ("STORE n=1", &["INCREMENT n=inf"], "Inf"),
    ("STORE n=1", &["DECREMENT n=Infinity"], "-Inf"),
    ("STORE n=1", &["INCREMENT n=nan"], "NaN"),
    ("STORE n=1", &["INCREMENT n=1e400"], "Inf"),
    ("STORE n=inf", &["DECREMENT n=inf"], "NaN"),
    ("STORE n=7", &["INCREMENT n=abc"], "7"),
    ("STORE n=7", &["INCREMENT n=0x10"], "7"),
    ("STORE n=7", &["INCREMENT n=--2"], "7"),
    ("STORE n=7", &["INCREMENT n=."], "7"),
    ("STORE n=7", &["INCREMENT n=3abc"], "10"),
    ("STORE n=7", &["INCREMENT n= 5"], "12"),
    ("STORE n=7", &["INCREMENT n=-2"], "5"),
    ("STORE n=7", &["DECREMENT n=-2"], "9"),
    ("STORE n=7", &["DECREMENT n=1e2x"], "-93"),
    ("STORE n=0.1", &["INCREMENT n=0.2"], "0.3"),
    ("STORE n=1", &["DECREMENT n=0.9"], "0.1"),
    ("", &["INCREMENT n=0.333333333333333333"], "0.333333333333333"),
    ("", &["INCREMENT n=0.1"; 10], "1"),
    (
        "",
        &[
            "INCREMENT n=0.1",
            "INCREMENT n=0.1",
            "INCREMENT n=0.1",
            "INCREMENT n=0.1",
            "INCREMENT n=0.1",
            "INCREMENT n=0.1",
            "INCREMENT n=0.1",
            "INCREMENT n=0.1",
            "INCREMENT n=0.1",
            "INCREMENT n=0.1",
            "DECREMENT n",
        ],
        "-1.11022302462516e-16",
    ),
    ("STORE n=1e15", &["INCREMENT n=0"], "1000000000000000"),
    ("STORE n=1e15", &["INCREMENT n"], "1000000000000001"),
    ("STORE n=1e16", &["INCREMENT n"], "10000000000000001"),
    ("STORE n=999999999999999.5", &["INCREMENT n=0"], "1e+15"),
    ("STORE n=1e15", &["INCREMENT n=0.3"], "1e+15"),
    ("STORE n=1e20", &["INCREMENT n=0"], "1e+20"),
    ("STORE n=1e-5", &["INCREMENT n=0"], "1e-05"),
    ("STORE n=0.0001", &["INCREMENT n=0"], "0.0001"),
    ("STORE n=123456789012345678", &["INCREMENT n"], "123456789012345679"),
    ("STORE n=1234567.891", &["INCREMENT n=0"], "1234567.891"),
    ("STORE n=9223372036854775807", &["INCREMENT n"], "9223372036854775808"),
    ("STORE n=18446744073709551614", &["INCREMENT n"], "18446744073709551615"),
    ("STORE n=18446744073709551615", &["INCREMENT n"], "1.84467440737096e+19"),
    ("STORE n=18446744073709551615", &["DECREMENT n"], "18446744073709551614"),
    ("STORE n=-9223372036854775808", &["DECREMENT n"], "-9.22337203685478e+18"),
    ("STORE n=-9223372036854775808", &["INCREMENT n"], "-9223372036854775807"),
    ("STORE n=0", &["DECREMENT n=9223372036854775808"], "-9223372036854775808"),
    ("STORE n=0", &["DECREMENT n=18446744073709551615"], "-1.84467440737096e+19"),
    ("STORE n=-0", &["INCREMENT n=0"], "0"),
    ("STORE n=-0.0", &["DECREMENT n=0"], "0"),
    ("STORE n=1", &["INCREMENT n=-1"], "0"),
    ("STORE n=-0", &["INCREMENT n=-0.0"], "0"),
    ("STORE n=5", &["DECREMENT n=5.0"], "0"),
    ("STORE n=2.50", &["INCREMENT n=0"], "2.5"),
    ("STORE n=\\x095", &["INCREMENT n"], "6"),
    ("STORE n=5", &["SET n=7"], "5"),
    ("STORE n=5", &["SETANDSTORE n=7", "INCREMENT n"], "8"),
];

#[test]
fn numbers() {
    let mut script = String::new();
    for (before, commands, after) in NUMBERS {
        let before = if before.is_empty() { String::new() } else { format!("a> {before}\n") };
        let commands: String = commands.iter().map(|command| format!("a> {command}\n")).collect();
        script.push_str(&format!(
            "\n# {before:?} {commands:?}\n+ a rw\n{before}{commands}a> RETRIEVE n\na< RETRIEVED n={after}\n"
        ));
    }
    script.push_str(
        "
# the step is split off at the last equals sign
+ a rw
a> INCREMENT a=b=3
a> RETRIEVE a
a< NOTRETRIEVED a
a> KEYLIST
a< KEYLISTSTART
a< KEY a=b
a< KEYLISTEND
a> INCREMENT x=
a< OVERHEAD E unknown_command INCREMENT x=
a> RETRIEVE x
a< NOTRETRIEVED x
a> INCREMENT =5
a> RETRIEVE =5
a< RETRIEVED =5=1
",
    );
    check(&script);
}

// ---- OVERHEAD ------------------------------------------------------------------------------------------------

#[test]
fn overhead() {
    check(
        "
# what is forwarded reaches everybody who has logged in, the sender only with U
+ a rw
+ b ro
+ c
c< CLACKS <SERVER>
c< OVERHEAD M Authentication required
a> OVERHEAD G hello
b< OVERHEAD G hello
a> OVERHEAD GU hello
a< OVERHEAD G hello
b< OVERHEAD G hello
a> OVERHEAD GNU Terry Pratchett
a< OVERHEAD GN Terry Pratchett
b< OVERHEAD GN Terry Pratchett

# new flags are in alphabetical order, without U and what is none
+ a rw
+ b rw
a> OVERHEAD UNMG x y = z
a< OVERHEAD GMN x y = z
b< OVERHEAD GMN x y = z
a> OVERHEAD ZG x
b< OVERHEAD G x
a> OVERHEAD GGNN x
b< OVERHEAD GN x
a> OVERHEAD GDM dropped by who gets it
b< OVERHEAD DGM dropped by who gets it
a> OVERHEAD Gxy5 x
b< OVERHEAD G x
a> OVERHEAD U x
a> OVERHEAD UN x

# only what harms nobody is forwarded
+ a admin
+ b rw
a> OVERHEAD GF x
a< OVERHEAD E permission_denied
a> OVERHEAD GO x
a< OVERHEAD E permission_denied
a> OVERHEAD GE x
a< OVERHEAD E permission_denied
a> OVERHEAD GL 1
a< OVERHEAD E permission_denied
a> OVERHEAD GI 1
a< OVERHEAD E permission_denied
a> OVERHEAD GS 1
a< OVERHEAD E permission_denied
a> OVERHEAD GT 1
a< OVERHEAD E permission_denied
a> OVERHEAD GUNF x
a< OVERHEAD E permission_denied
b> OVERHEAD GC 1
b< OVERHEAD E permission_denied

# D drops everything else that a line says
+ a admin
+ b rw
a> OVERHEAD DS 1
a> OVERHEAD DC 1
a> OVERHEAD DI 1
a> OVERHEAD DE x
a> CLIENTLIST
a< CLIENTLISTSTART
a< CLIENT <SERVER>CLIENTINFO=wire_director;<SERVER>
a< CLIENT <SERVER>CLIENTINFO=wire_a;<SERVER>INTERCLACKS=0;<SERVER>
a< CLIENT <SERVER>CLIENTINFO=wire_b;<SERVER>INTERCLACKS=0;<SERVER>
a< CLIENTLISTEND

# flags without an effect of their own
+ a rw
a> OVERHEAD M by the way
a> OVERHEAD N x
a> OVERHEAD E it hurts
a> OVERHEAD T 12345.5
a> OVERHEAD T not a time
a> OVERHEAD Z x
a> OVERHEAD O x
a> OVERHEAD F x
a> OVERHEAD xyz x
a> OVERHEAD gnu x

# S with a value that is no time ahead is ignored
+ a admin
a> OVERHEAD S 0
a> OVERHEAD S -1
a> OVERHEAD S x
a> OVERHEAD S nan

# C needs a value that is true
+ a admin
a> OVERHEAD C 0

# a login with other flags is a login and no more
+ a rw
+ b rw
a> OVERHEAD AGN <TOKEN:ro>
a< OVERHEAD O Welcome!
a> STORE a=1
a< OVERHEAD E permission_denied

# the time stamp moves the times of entries
+ a admin
a> OVERHEAD T 0
a> KEYSYNC 0 0 U k=as of now
a> STORE other=1
a> OVERHEAD T <T0>
a> KEYSYNC <T0-1000> 0 U k=old
a> RETRIEVE k
a< RETRIEVED k=as of now
",
    );
}

/// Everybody is sent away, so each has a server of its own.
#[test]
fn overhead_that_closes_everybody() {
    for line in ["OVERHEAD C 1", "OVERHEAD C true", "OVERHEAD GC 1", "OVERHEAD CU x", "OVERHEAD CN all"] {
        for user in ["admin", "mg"] {
            let mut server = clacksd();
            let mut clients: Vec<_> = (0..3).map(|_| server.join("client", "ro").unwrap()).collect();
            let mut closing = server.join("closing", user).unwrap();
            let denied = user == "mg" && line.contains('G'); // to forward needs write
            closing.send(format!("{line}\r\nSTORE late=1\r\n").as_bytes()).unwrap();
            if denied {
                check_lines(&mut closing, &["OVERHEAD E permission_denied", "OVERHEAD E permission_denied"]);
                clients.iter_mut().for_each(|client| client.barrier().unwrap());
                continue;
            }
            clients.push(closing);
            for client in &mut clients {
                check_lines(client, &["", "QUIT", "<EOF>"]);
            }
            let mut next = server.join("next", "ro").unwrap();
            next.send(b"RETRIEVE late\r\n").unwrap();
            check_lines(&mut next, &["NOTRETRIEVED late"]);
        }
    }
}

// ---- monitoring ----------------------------------------------------------------------------------------------

#[test]
fn monitoring() {
    check(
        "
# a monitor sees what clients send, its own lines too
+ m admin
+ a ro
m> MONITOR
m< DEBUG <CID>=MONITOR
a> RETRIEVE k
m< DEBUG <CID>=RETRIEVE k
a< NOTRETRIEVED k
a> STORE k=1
m< DEBUG <CID>=STORE k=1
a< OVERHEAD E permission_denied
a> FOO bar
m< DEBUG <CID>=FOO bar
a< OVERHEAD E unknown_command FOO bar
a> OVERHEAD M hello
m< DEBUG <CID>=OVERHEAD M hello
a> OVERHEAD D dropped
m< DEBUG <CID>=OVERHEAD D dropped
a> PING
m< DEBUG <CID>=PING
m> MONITOR
m< DEBUG <CID>=MONITOR
m> NOP
m< DEBUG <CID>=NOP

# the line is shown before what it does
+ m admin
+ a rw
m> LISTEN n
m> MONITOR
m< DEBUG <CID>=MONITOR
a> SET n=1
m< DEBUG <CID>=SET n=1
m< SET n=1
m> RETRIEVE k
m< DEBUG <CID>=RETRIEVE k
m< NOTRETRIEVED k

# logins, names and what is not to be logged are not shown
+ m admin
+ a rw
m> MONITOR
m< DEBUG <CID>=MONITOR
a> CLACKS another name
a> OVERHEAD N unseen
a> OVERHEAD GNU Terry Pratchett
a< OVERHEAD GN Terry Pratchett
m< OVERHEAD GN Terry Pratchett
a> OVERHEAD A <TOKEN:ro>
a< OVERHEAD O Welcome!
a> OVERHEAD AM <TOKEN:ro>
a< OVERHEAD O Welcome!
a> OVERHEAD A wrong
a< OVERHEAD F Login failed!
a< <EOF>
m< DEBUG DISCONNECTED=<CID> (0 bytes discarded from outbuffer)

# what comes before a login is not shown, that somebody is there is
+ m admin
m> MONITOR
m< DEBUG <CID>=MONITOR
+ a
a< CLACKS <SERVER>
a< OVERHEAD M Authentication required
m< DEBUG CONNECTED=<CID>
a> STORE k=1
a> FOO
a> OVERHEAD A <TOKEN:rw>
a< OVERHEAD O Welcome!
a> STORE k=2
m< DEBUG <CID>=STORE k=2
a> QUIT
m< DEBUG <CID>=QUIT
a< <EOF>
m< DEBUG DISCONNECTED=<CID> (0 bytes discarded from outbuffer)

# all monitors see everything, until UNMONITOR, which is not shown
+ m admin
+ n mg
m> MONITOR
m< DEBUG <CID>=MONITOR
n> MONITOR
m< DEBUG <CID>=MONITOR
n< DEBUG <CID>=MONITOR
m> UNMONITOR
n< DEBUG <CID>=UNMONITOR
m> NOP
n< DEBUG <CID>=NOP
n> UNMONITOR
n> NOP
m> UNMONITOR

# bytes and long values are shown as they are
+ m admin
+ a rw
m> MONITOR
m< DEBUG <CID>=MONITOR
a> STORE \\xff=a=\\x01 =b
m< DEBUG <CID>=STORE \\xff=a=\\x01 =b
",
    );
}
