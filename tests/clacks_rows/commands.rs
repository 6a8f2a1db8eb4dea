//! What each command does, and what is none.

use crate::check;

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
