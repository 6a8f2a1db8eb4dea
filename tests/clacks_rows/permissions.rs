//! Who may do what.

use crate::check;

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
