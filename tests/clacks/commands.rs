//! Opening a session, and each command.

use crate::world::run;

#[test]
fn a_client_is_greeted_and_logs_in() {
    run("
        + a
        a< CLACKS {server}
        a< OVERHEAD M Authentication required
        a> CLACKS me
        a> OVERHEAD A {admin}
        a< OVERHEAD O Welcome!
        log {a}: logged in as admin
    ");
}

/// As docs/clacks/protocol.md says it.
#[test]
fn names_end_where_the_value_begins_whatever_they_hold() {
    run("
        + a rw
        + b rw
        a> STORE a b=7
        a> INCREMENT a b=2
        a> RETRIEVE a b
        a< RETRIEVED a b=9
        a> STORE ==x
        a> RETRIEVE =
        a< RETRIEVED ==x
        a> INCREMENT a=b=3
        a> RETRIEVE a=b
        a< RETRIEVED a=b=3
        a> KEYLIST
        a< KEYLISTSTART
        a< KEY =
        a< KEY a b
        a< KEY a=b
        a< KEYLISTEND
        b> LISTEN a b
        a> SET a b=c=d
        b< SET a b=c=d
        a> NOTIFY a b
        b< NOTIFY a b
    ");
}

#[test]
fn of_a_clients_name_1024_bytes_are_kept() {
    let mut world = run("+ a admin");
    world.send("a", format!("CLACKS a;{}", "x".repeat(2000)).as_bytes());
    world.send("a", b"CLIENTLIST");
    let list = world.take("a");
    let shown = format!(";CLIENTINFO=a_{};", "x".repeat(1022));
    assert!(list.get(1).is_some_and(|line| line.contains(&shown)), "{list:?}");
}

#[test]
fn a_failed_login_closes_and_nothing_more_is_executed() {
    for token in ["nonsense", "", "{admin}x", "x{admin}", "YWRtaW4=", "YWRtaW4=:", ":"] {
        let mut world = run("
            + a
            a< CLACKS {server}
            a< OVERHEAD M Authentication required
        ");
        if token.is_empty() {
            // No login at all: the line has no value, and is ignored before one.
            world.run("a> OVERHEAD A \n a> OVERHEAD A");
            continue;
        }
        // Only a name that is a user's is told.
        let whose = if token == "YWRtaW4=:" { " for admin" } else { "" };
        world.run(&format!(
            "
            a> OVERHEAD A {token}
            a> FLUSH x
            a> OVERHEAD A {{admin}}
            a< OVERHEAD F Login failed!
            a< <EOF>
            log {{a}}: login failed{whose}, closed
            - a
            "
        ));
    }
}

#[test]
fn before_the_login_every_other_command_is_ignored() {
    run("
        + m admin
        m> MONITOR
        m< DEBUG {m}=MONITOR
        + a
        a< CLACKS {server}
        a< OVERHEAD M Authentication required
        m< DEBUG CONNECTED={a}
        m> UNMONITOR
        a> STORE early=1
        a> SET early=1
        a> RETRIEVE early
        a> KEYLIST
        a> FLUSH f
        a> PING
        a> FOO
        a> OVERHEAD G hi
        a> OVERHEAD I 1
        a> OVERHEAD C 1
        a> CLIENTLIST
        a> MONITOR
        a> QUIT
        a> OVERHEAD A {admin}
        a< OVERHEAD O Welcome!
        a> RETRIEVE early
        a< NOTRETRIEVED early
    ");
}

#[test]
fn other_flags_beside_a_login_mean_nothing() {
    run("
        + b admin
        + a
        a< CLACKS {server}
        a< OVERHEAD M Authentication required
        a> OVERHEAD ACGNU {admin}
        a< OVERHEAD O Welcome!
    ");
}

#[test]
fn a_second_login_changes_the_permissions_and_keeps_the_names() {
    run("
        + a admin
        + b admin
        a> LISTEN x
        a> OVERHEAD A {ro}
        a< OVERHEAD O Welcome!
        a> STORE re=2
        a< OVERHEAD E permission_denied
        b> SET x=1
        a< SET x=1
        a> OVERHEAD A {admin}
        a< OVERHEAD O Welcome!
        a> STORE re=2
        a> OVERHEAD A wrong
        a< OVERHEAD F Login failed!
        a< <EOF>
    ");
}

#[test]
fn a_second_login_ends_what_the_new_user_could_not_end() {
    run("
        + a admin
        + b admin
        a> LISTEN x
        a> MONITOR
        a< DEBUG {a}=MONITOR
        a> OVERHEAD A {ro}
        a< OVERHEAD O Welcome!
        b> SETANDSTORE x=1
        a< SET x=1
        a> OVERHEAD A {admin}
        a< OVERHEAD O Welcome!
        link a
        b> SETANDSTORE x=2
        a< SETANDSTORE x=2
        a> OVERHEAD A {ro}
        a< OVERHEAD O Welcome!
        b> SETANDSTORE x=3
        a< SET x=3
    ");
}

/// For every permission, who may and who may not.
#[test]
fn a_command_without_its_permission_is_refused_and_has_no_effect() {
    let cases = [
        ("NOTIFY p", "rw wo", "ro mg"),
        ("SET p=1", "rw wo", "ro mg"),
        ("STORE p=1", "rw wo", "ro mg"),
        ("SETANDSTORE p=1", "rw wo", "ro mg"),
        ("REMOVE p", "rw wo", "ro mg"),
        ("INCREMENT p", "rw wo", "ro mg"),
        ("DECREMENT p=2", "rw wo", "ro mg"),
        ("OVERHEAD G hi", "rw wo", "ro mg"),
        ("OVERHEAD M hi", "rw wo ro mg", ""),
        ("OVERHEAD D hi", "rw wo ro mg", ""),
        ("LISTEN p", "rw ro", "wo mg"),
        ("UNLISTEN p", "rw ro", "wo mg"),
        ("CLEARCACHE", "mg", "rw ro wo"),
        ("UNMONITOR", "mg", "rw ro wo"),
        ("CLIENTDISCONNECT nobody", "mg", "rw ro wo"),
        ("OVERHEAD S 0", "mg", "rw ro wo"),
        ("OVERHEAD C 0", "mg", "rw ro wo"),
        ("OVERHEAD GC 0", "", "rw ro wo mg"),
        ("KEYSYNC 1 1 U p=1", "", "rw ro wo mg"),
        ("OVERHEAD I 1", "", "rw ro wo mg"),
        ("OVERHEAD I 0", "", "rw ro wo mg"),
        ("OVERHEAD L 1", "", "rw ro wo mg"),
        ("PING", "rw ro wo mg", ""),
        ("NOPING", "rw ro wo mg", ""),
        ("NOP", "rw ro wo mg", ""),
        ("CLACKS me", "rw ro wo mg", ""),
    ];
    for (line, may, may_not) in cases {
        for user in may.split_whitespace() {
            run(&format!("+ a {user}\n a> {line}"));
        }
        for user in may_not.split_whitespace() {
            let mut world = run("+ l admin\n l> LISTEN p\n l> STORE p=7");
            world.run(&format!("+ a {user}\n a> {line}\n a< OVERHEAD E permission_denied"));
            world.run("l> RETRIEVE p\n l< RETRIEVED p=7");
        }
    }
    for user in ["wo", "mg"] {
        for line in ["RETRIEVE p", "KEYLIST"] {
            run(&format!("+ a {user}\n a> {line}\n a< OVERHEAD E permission_denied"));
        }
    }
    for user in ["rw", "ro", "wo"] {
        for line in ["MONITOR", "CLIENTLIST", "OVERHEAD C 1", "OVERHEAD S 5"] {
            let world = run(&format!("+ a {user}\n a> {line}\n a< OVERHEAD E permission_denied"));
            assert_eq!(world.out.shutdown, None);
        }
    }
}

#[test]
fn signals_reach_every_other_listener() {
    run("
        + a admin
        + b admin
        + c admin
        a> LISTEN x
        b> LISTEN x
        c> LISTEN y
        a> SET x=1
        b< SET x=1
        a> NOTIFY x
        b< NOTIFY x
        a> SETANDSTORE x=2
        b< SET x=2
        a> SET x=
        b< SET x=
        b> SET x=a=b c
        a< SET x=a=b c
        c> NOTIFY x
        a< NOTIFY x
        b< NOTIFY x
        a> RETRIEVE x
        a< RETRIEVED x=2
    ");
}

#[test]
fn names_match_exactly() {
    run("
        + a admin
        + b admin
        b> LISTEN two words
        b> LISTEN eq=sign
        b> LISTEN *
        b> LISTEN ä
        a> NOTIFY two words
        a> SET two words=1
        a> NOTIFY eq=sign
        a> SET eq=sign=1
        a> NOTIFY *
        a> NOTIFY two
        a> NOTIFY Ä
        a> SET x=1
        a> SET ä=ö
        b< NOTIFY two words
        b< SET two words=1
        b< NOTIFY eq=sign
        b< NOTIFY *
        b< SET ä=ö
    ");
}

#[test]
fn listening_twice_counts_once_and_ends_with_one_unlisten() {
    run("
        + a admin
        + b admin
        b> LISTEN d
        b> LISTEN d
        a> SET d=1
        b< SET d=1
        b> UNLISTEN d
        b> UNLISTEN d
        a> SET d=2
        b> LISTEN d
        - b
        a> SET d=3
    ");
}

#[test]
fn deliveries_and_answers_are_in_the_order_of_their_causes() {
    run("
        + a admin
        + b admin
        b> LISTEN o
        b> LISTEN p
        a> SET o=1
        a> NOTIFY p
        b> FLUSH 1
        a> SETANDSTORE o=2
        a> STORE o=5
        b> RETRIEVE o
        a> NOTIFY o
        b< SET o=1
        b< NOTIFY p
        b< FLUSHED 1
        b< SET o=2
        b< RETRIEVED o=5
        b< NOTIFY o
    ");
}

#[test]
fn values_are_kept_as_they_are() {
    for value in ["hello world", "a=b=c", "", "=", "  two  ", "\ttab\t", "007", "1.50", "-0", "ä\0\u{1}"] {
        let mut world = run("+ a admin");
        world.send("a", format!("STORE v={value}").as_bytes());
        world.send("a", b"RETRIEVE v");
        assert_eq!(world.take("a"), [format!("RETRIEVED v={value}")]);
    }
    let mut world = run("+ a admin");
    world.send("a", b"STORE \xff=\xfe\x80");
    world.send("a", b"RETRIEVE \xff");
    assert_eq!(world.queue("a").lines.pop_front().as_deref(), Some(&b"RETRIEVED \xff=\xfe\x80"[..]));
}

#[test]
fn removed_keys_are_gone_for_clients() {
    run("
        + a ro
        + b rw
        b> STORE b=1
        b> STORE a=1
        b> STORE ==x
        b> REMOVE a
        b> REMOVE never
        a> RETRIEVE a
        a< NOTRETRIEVED a
        a> RETRIEVE not=here
        a< NOTRETRIEVED not=here
        a> RETRIEVE =
        a< RETRIEVED ==x
        a> KEYLIST
        a< KEYLISTSTART
        a< KEY =
        a< KEY b
        a< KEYLISTEND
        b> INCREMENT a
        a> RETRIEVE a
        a< RETRIEVED a=1
    ");
}

#[test]
fn counters_count() {
    run("
        + a admin
        a> INCREMENT n
        a> INCREMENT n=2.5
        a> DECREMENT n
        a> RETRIEVE n
        a< RETRIEVED n=2.5
        a> STORE n=abc
        a> DECREMENT n=3
        a> RETRIEVE n
        a< RETRIEVED n=-3
        a> INCREMENT a=b=3
        a> RETRIEVE a=b
        a< RETRIEVED a=b=3
        a> INCREMENT n=
        a< OVERHEAD E unknown_command INCREMENT n=
    ");
}

#[test]
fn an_emptied_cache_has_not_even_tombstones() {
    let world = run("
        + a admin
        a> STORE a=1
        a> REMOVE b
        a> CLEARCACHE
        a> KEYLIST
        a< KEYLISTSTART
        a< KEYLISTEND
        a> RETRIEVE a
        a< NOTRETRIEVED a
    ");
    assert_eq!((world.state.store().live(), world.state.store().tombstones()), (0, 0));
}

#[test]
fn retrieving_refreshes_the_access_time() {
    let world = run("
        + a admin
        a> STORE k=1
        @ 5
        a> RETRIEVE k
        a< RETRIEVED k=1
    ");
    let entry = world.state.store().get(b"k").expect("stored");
    assert_eq!(entry.access_time - entry.cache_time, 5.0);
}

#[test]
fn lines_that_are_no_commands_are_named() {
    run("
        + a ro
        a> FOO bar baz
        a< OVERHEAD E unknown_command FOO bar baz
        a> CLEARCACHEX
        a< OVERHEAD E unknown_command CLEARCACHEX
        a> QUITTING now
        a< OVERHEAD E unknown_command QUITTING now
        a> STORE x
        a< OVERHEAD E unknown_command STORE x
        a> TIMEOUT
        a< OVERHEAD E unknown_command TIMEOUT
        a> OVERHEAD M
        a< OVERHEAD E unknown_command OVERHEAD M
        a> NOP
        a> FLUSHED x
    ");
    let mut world = run("+ a ro");
    world.send("a", b"");
    assert!(world.take("a").is_empty(), "an empty line means nothing");
    world.send("a", b" ");
    assert_eq!(world.take("a"), ["OVERHEAD E unknown_command  "]);
}

#[test]
fn a_client_is_listed_with_its_state() {
    let mut world = run("+ a admin\n + m admin\n + s admin\n + n ro");
    world.run("n> NOPING\n m> MONITOR\n m< DEBUG {m}=MONITOR\n m> UNMONITOR\n link s");
    world.run("@ 0.5\n + c\n c< CLACKS {server}\n c< OVERHEAD M Authentication required");
    world.run("a> CLACKS new;name;and = sign\n a> PING");
    world.queue("n").traffic.unread = 7;
    world.queue("m").traffic.stalled_since = Some(world.now.monotonic);
    world.flush();
    world.run(
        "
        a> CLIENTLIST
        a< CLIENTLISTSTART
        a< CLIENT CID={a};HOST=unixdomainsocket;PORT=1795000123;CLIENTINFO=new_name_and = sign;OUTBUFFER_LENGTH=17;INBUFFER_LENGTH=0;INTERCLACKS=0;MONITOR=0;LASTPING=1795000123.5;LASTINTERCLACKSPING=0;WRITEFAILTIME=0;
        a< CLIENT CID={m};HOST=unixdomainsocket;PORT=1795000123;CLIENTINFO=wire_m;OUTBUFFER_LENGTH=0;INBUFFER_LENGTH=0;INTERCLACKS=0;MONITOR=0;LASTPING=1795000123;LASTINTERCLACKSPING=0;WRITEFAILTIME=1795000123.5;
        a< CLIENT CID={s};HOST=unixdomainsocket;PORT=1795000123;CLIENTINFO=wire_s;OUTBUFFER_LENGTH=0;INBUFFER_LENGTH=0;INTERCLACKS=1;MONITOR=0;LASTPING=1795000123;LASTINTERCLACKSPING=1795000123;WRITEFAILTIME=0;
        a< CLIENT CID={n};HOST=unixdomainsocket;PORT=1795000123;CLIENTINFO=wire_n;OUTBUFFER_LENGTH=0;INBUFFER_LENGTH=7;INTERCLACKS=0;MONITOR=0;LASTPING=0;LASTINTERCLACKSPING=0;WRITEFAILTIME=0;
        a< CLIENT CID={c};HOST=unixdomainsocket;PORT=1795000123;CLIENTINFO=UNKNOWN;OUTBUFFER_LENGTH=0;INBUFFER_LENGTH=0;INTERCLACKS=0;MONITOR=0;LASTPING=1795000123.5;LASTINTERCLACKSPING=0;WRITEFAILTIME=0;
        a< CLIENTLISTEND
        ",
    );
}

#[test]
fn a_client_is_disconnected_by_its_cid() {
    run("
        + a mg
        + b ro
        + c ro
        a> CLIENTDISCONNECT {b}
        b< 
        b< QUIT
        b< <EOF>
        log {a}: logged in as mguser
        log {b}: logged in as rouser
        log {c}: logged in as rouser
        log {a}: disconnects {b}
        b> FLUSH x
        a> CLIENTDISCONNECT {b}
        a> CLIENTDISCONNECT {a}
        a< 
        a< QUIT
        a< <EOF>
        - b
        c> FLUSH x
        c< FLUSHED x
    ");
}

#[test]
fn nothing_is_executed_or_delivered_after_quit() {
    run("
        + a admin
        + b admin
        a> LISTEN x
        a> QUIT
        a> STORE afterquit=1
        b> SET x=1
        b> OVERHEAD G hi
        b> RETRIEVE afterquit
        a< <EOF>
        b< NOTRETRIEVED afterquit
        b> CLIENTDISCONNECT {a}
    ");
}

#[test]
fn a_server_that_stops_says_quit_to_all() {
    let mut world = run("
        + a admin
        + b
        b< CLACKS {server}
        b< OVERHEAD M Authentication required
    ");
    world.state.disconnect_all(&mut world.out);
    world.run("a> PING\n a< \n a< QUIT\n a< <EOF>\n b< \n b< QUIT\n b< <EOF>");
}

#[test]
fn cids_tell_where_a_client_comes_from() {
    use eventdispatcher::connections::clacks::{Now, Output as _, Peer, Traffic};

    let mut world = run("+ a admin\n a> MONITOR\n a< DEBUG {a}=MONITOR");
    let queue = |world: &mut crate::world::World| {
        let key = crate::world::Key(world.out.queues.len());
        world.out.queues.push(crate::world::Queue::new(Traffic::default()));
        key
    };
    for (address, cid) in [("192.0.2.1:4711", "192.0.2.1:4711:2"), ("[2001:db8::1]:80", "2001:db8::1:80:3")] {
        let key = queue(&mut world);
        let peer = Peer::Tcp(address.parse().expect("an address"));
        let client = world.state.connected(key, peer, Now::default(), &mut world.out);
        assert_eq!(world.take("a"), [format!("DEBUG CONNECTED={cid}")]);
        world.state.disconnected(client, 5, &mut world.out);
        let gone = format!("DEBUG DISCONNECTED={cid} (5 bytes discarded from outbuffer)");
        assert_eq!(world.take("a"), [gone]);
        world.state.disconnected(client, 5, &mut world.out);
        assert!(world.take("a").is_empty(), "gone only once");
        assert!(world.out.has_room(key));
    }
}
