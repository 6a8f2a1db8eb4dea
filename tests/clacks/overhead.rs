//! Each flag of `OVERHEAD`, and links between servers.

use std::time::Duration;

use crate::world::run;

#[test]
fn gnu_reaches_every_client_the_sender_included() {
    run("
        + a rw
        + b ro
        + c
        c< CLACKS {server}
        c< OVERHEAD M Authentication required
        a> OVERHEAD GNU Terry Pratchett
        a> OVERHEAD UNG Terry Pratchett
        a< OVERHEAD GN Terry Pratchett
        a< OVERHEAD GN Terry Pratchett
        b< OVERHEAD GN Terry Pratchett
        b< OVERHEAD GN Terry Pratchett
    ");
}

#[test]
fn only_lines_with_g_are_forwarded_in_alphabetical_flags() {
    run("
        + a admin
        + b admin
        a> OVERHEAD G hello world
        a> OVERHEAD NG x
        a> OVERHEAD MG x
        a> OVERHEAD GD x
        a> OVERHEAD GND x
        a> OVERHEAD GC 0
        a> OVERHEAD GX x
        a> OVERHEAD GG1! x
        a> OVERHEAD GZ x
        b< OVERHEAD G hello world
        b< OVERHEAD GN x
        b< OVERHEAD GM x
        b< OVERHEAD DG x
        b< OVERHEAD DGN x
        b< OVERHEAD CG 0
        b< OVERHEAD G x
        b< OVERHEAD G x
        b< OVERHEAD G x
        a> OVERHEAD U x
        a> OVERHEAD N x
        a> OVERHEAD M x
        a> OVERHEAD D x
        a> OVERHEAD O x
        a> OVERHEAD F x
        a> OVERHEAD X x
        a> OVERHEAD g x
        a> OVERHEAD Z x
        a> OVERHEAD C 0
        a> OVERHEAD L 1
    ");
}

#[test]
fn flags_that_command_other_clients_are_not_forwarded() {
    for flags in ["GE", "GO", "GF", "GI", "GL", "GS", "GT", "FGU", "GMDNE"] {
        let world = run(&format!(
            "
            + a admin
            + b admin
            a> OVERHEAD {flags} 1
            a< OVERHEAD E permission_denied
            "
        ));
        assert_eq!(world.out.shutdown, None);
    }
}

#[test]
fn an_error_is_logged() {
    run("
        + a ro
        log {a}: logged in as rouser
        a> OVERHEAD E oops\u{1}
        log {a}: reports: oops\\x01
        a> OVERHEAD ED dropped
    ")
    .run("a> OVERHEAD E again\n log {a}: reports: again");
}

#[test]
fn all_connections_are_closed() {
    run("
        + a mg
        + b ro
        + c
        c< CLACKS {server}
        c< OVERHEAD M Authentication required
        a> OVERHEAD C 1
        a> FLUSH x
        a< 
        a< QUIT
        a< <EOF>
        b< 
        b< QUIT
        b< <EOF>
        c< 
        c< QUIT
        c< <EOF>
        - a
        - b
        - c
        + d admin
        d> FLUSH x
        d< FLUSHED x
    ");
}

#[test]
fn with_g_linked_servers_close_their_connections_too() {
    run("
        + a admin
        + s admin
        link s
        a> OVERHEAD GC 1
        a< 
        a< QUIT
        a< <EOF>
        s< OVERHEAD GC 1
        s< 
        s< QUIT
        s< <EOF>
    ");
}

#[test]
fn a_discarded_line_has_no_effect() {
    let world = run("
        + a admin
        + b admin
        a> OVERHEAD CD 1
        a> OVERHEAD SD 5
        a> OVERHEAD GCD 1
        b< OVERHEAD CDG 1
    ");
    assert_eq!(world.out.shutdown, None);
}

#[test]
fn the_server_stops_in_so_many_seconds() {
    for (value, seconds) in [("5", 5.0), ("0.5", 0.5), ("5 seconds", 5.0), ("1e300", f64::from(u32::MAX))] {
        let world = run(&format!("+ a mg\n a> OVERHEAD S {value}"));
        assert_eq!(world.out.shutdown, Some(Duration::from_secs_f64(seconds)), "{value}");
    }
    for value in ["0", "-1", "soon", "nan", "-inf"] {
        let world = run(&format!("+ a mg\n a> OVERHEAD S {value}"));
        assert_eq!(world.out.shutdown, None, "{value}");
    }
}

#[test]
fn the_clock_of_the_sender_moves_its_times() {
    let check = |clock: &str, offset: f64| {
        let world = run(&format!(
            "+ s admin\n s> OVERHEAD T {clock}\n s> KEYSYNC 100 50 U k=v\n s> KEYSYNC 100 0 U z=v"
        ));
        let entry = world.state.store().get(b"k").expect("merged");
        assert_eq!((entry.cache_time, entry.access_time), (100.0 + offset, 50.0 + offset), "{clock}");
        let entry = world.state.store().get(b"z").expect("merged");
        assert_eq!((entry.cache_time, entry.access_time), (100.0 + offset, 0.0), "{clock}");
    };
    check("1795000123", 0.0);
    check("1795000113", 10.0);
    check("1795000133.5", -10.5);
    for no_time in ["inf", "nan", "1e400", "x", "12x", " ", "-0.5", "-1795000113"] {
        check(no_time, 0.0);
        // It does not lift what is known already either.
        check(&format!("1795000113\n s> OVERHEAD T {no_time}"), 10.0);
    }
}

#[test]
fn entries_of_another_server_are_merged() {
    run("
        + a admin
        a> KEYSYNC 4000000000 4000000000 U k=first
        a> KEYSYNC 4000000000 4000000000 U k=second
        a> RETRIEVE k
        a< RETRIEVED k=first
        a> KEYSYNC 4000000001 0 D k=REMOVED
        a> RETRIEVE k
        a< NOTRETRIEVED k
        a> KEYSYNC 4000000000 4000000000 U k=back
        a> RETRIEVE k
        a< NOTRETRIEVED k
        a> KEYSYNC 4000000002 4000000002 S k=back
        a> RETRIEVE k
        a< RETRIEVED k=back
        a> KEYSYNC 1 1 U x
        a< OVERHEAD E unknown_command KEYSYNC 1 1 U x
    ");
}

#[test]
fn what_is_shared_goes_to_linked_servers_as_it_came() {
    run("
        + s admin
        + t admin
        + a admin
        + l admin
        link s
        link t
        l> LISTEN x
        a> STORE x=1
        a> SET x=2
        a> SETANDSTORE x=3
        a> NOTIFY x
        a> INCREMENT x
        a> DECREMENT x=2
        a> REMOVE x
        a> KEYSYNC 1 1 U old=1
        a> CLEARCACHE
        s> SET x=s
        l< SET x=2
        l< SET x=3
        l< NOTIFY x
        l< SET x=s
        s< STORE x=1
        s< SET x=2
        s< SETANDSTORE x=3
        s< NOTIFY x
        s< INCREMENT x
        s< DECREMENT x=2
        s< REMOVE x
        s< KEYSYNC 1 1 U old=1
        s< CLEARCACHE
        t< STORE x=1
        t< SET x=2
        t< SETANDSTORE x=3
        t< NOTIFY x
        t< INCREMENT x
        t< DECREMENT x=2
        t< REMOVE x
        t< KEYSYNC 1 1 U old=1
        t< CLEARCACHE
        t< SET x=s
        a> RETRIEVE x
        a< NOTRETRIEVED x
        a> KEYLIST
        a< KEYLISTSTART
        a< KEYLISTEND
        a> LISTEN x
        a> UNLISTEN x
        a> PING
        a> NOPING
        a> FLUSH f
        a< FLUSHED f
        a> FOO
        a< OVERHEAD E unknown_command FOO
        a> UNMONITOR
        a> CLIENTDISCONNECT nobody
        a> OVERHEAD M m
        a> OVERHEAD G g
        l< OVERHEAD G g
        s< OVERHEAD G g
        t< OVERHEAD G g
        s> OVERHEAD G up
        a< OVERHEAD G up
        l< OVERHEAD G up
        t< OVERHEAD G up
    ");
}

#[test]
fn what_is_refused_goes_nowhere() {
    run("
        + s admin
        + a ro
        link s
        a> STORE x=1
        a< OVERHEAD E permission_denied
        a> OVERHEAD G x
        a< OVERHEAD E permission_denied
    ");
}

#[test]
fn a_linked_server_that_listens_gets_a_signal_once() {
    run("
        + s admin
        + a admin
        s> LISTEN x
        link s
        s> LISTEN x
        s> LISTEN y
        s> LISTEN z
        s> UNLISTEN z
        a> SET x=1
        a> SETANDSTORE x=2
        s< SET x=1
        s< SETANDSTORE x=2
        s> OVERHEAD I 0
        a> SETANDSTORE x=3
        a> SET y=1
        a> SET z=1
        a> STORE k=1
        s< SET x=3
        s< SET y=1
    ");
}

#[test]
fn a_link_is_made_and_ended_by_1_and_0_only() {
    run("
        + s admin
        + a admin
        s> OVERHEAD I 2
        a> STORE k=1
        link s
        link s
        a> STORE k=2
        s< STORE k=2
        s> OVERHEAD I x
        a> STORE k=3
        s< STORE k=3
        s> TIMEOUT
        s< <EOF>
        a> STORE k=4
    ");
}

#[test]
fn a_linked_server_for_which_a_line_is_too_long_is_told_of_with_what_to_look_at() {
    run(
        "
        + a admin
        a> STORE short=1
        a> STORE long=12345678901234567890
        a> STORE middle=1234567890
        + s admin
        link s
        s> OVERHEAD E line_too_long
        a> OVERHEAD E line_too_long
        log {a}: logged in as admin
        log {s}: logged in as admin
        log {s}: a line is too long for this linked server, whose maxline must be lower: give both the same, or remove what is long; the longest entry was sent in 57 bytes: long
        log {a}: reports: line_too_long
        ",
    );
}
