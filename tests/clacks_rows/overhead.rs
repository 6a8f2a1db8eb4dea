//! `OVERHEAD` and its flags.

use crate::support::talk::check_lines;
use crate::{check, clacksd};

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
