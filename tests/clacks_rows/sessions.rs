//! Lines, and opening and ending a session.

use crate::check;

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
