//! What monitors are shown.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::talk::{line, monitor};
use crate::{check, clacksd};

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
