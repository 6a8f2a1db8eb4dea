use super::super::MAX_LENGTH;
use super::{BASE, parse, problems_with, surroundings};

#[track_caller]
fn check(text: &str, wanted: &[&str]) {
    assert_eq!(problems_with(text.as_bytes(), &[]), wanted.join("\n"), "\nfor {text}");
}

/// The same for what stands in the second line, after [`BASE`] in the first.
#[track_caller]
fn check_with_base(inner: &str, wanted: &[&str]) {
    check(&format!("<clacks>{BASE}\n{inner}</clacks>"), wanted);
}

#[test]
fn what_is_missing_is_told_where_it_is_missed() {
    check(
        "<!-- a -->\n <clacks/>",
        &[
            "c.xml:2:2: <username> is missing: the main user needs a name",
            "c.xml:2:2: <password> is missing: the main user needs one",
            "c.xml:2:2: <socket> or <ip> is missing: without one there is no way in",
        ],
    );
    check_with_base(
        "\t<ip>::1</ip>",
        &[
            "c.xml:2:2: <port> is missing: <ip> needs one",
            "c.xml:2:2: <cert> of <ssl> is missing: <ip> needs one",
            "c.xml:2:2: <key> of <ssl> is missing: <ip> needs one",
        ],
    );
    check_with_base(
        "<port>1</port><ip>::1</ip><ssl><key>k</key></ssl>",
        &["c.xml:2:15: <cert> of <ssl> is missing: <ip> needs one"],
    );
    // What is there, but wrong, is not missing.
    check_with_base(
        "<ip>*</ip><port>x</port><ssl><cert/><key/></ssl>",
        &[
            "c.xml:2:1: <ip> is \"*\": expected is an IPv4 or IPv6 address, or a host name",
            "c.xml:2:11: <port> is \"x\": expected is 0 to 65535",
            "c.xml:2:30: <cert> of <ssl> is empty: give it a value or take it out",
            "c.xml:2:37: <key> of <ssl> is empty: give it a value or take it out",
        ],
    );
    check_with_base(
        "<master><ip>a</ip></master>",
        &["c.xml:2:9: <port> of <master> is missing: <ip> needs one"],
    );
    check_with_base(
        "<master><port>1</port></master>",
        &["c.xml:2:1: <ip> of <master> is missing: <port> needs one"],
    );
    check_with_base(
        "<user><read>1</read></user>",
        &[
            "c.xml:2:1: <username> of <user> is missing: each user needs a name",
            "c.xml:2:1: <password> of <user> is missing: each user needs one",
        ],
    );
}

#[test]
fn what_has_no_effect_is_a_warning() {
    check_with_base(
        "<port>1</port><ssl/>",
        &[
            "c.xml:2:1: warning: <port> has no effect without <ip>",
            "c.xml:2:15: warning: <ssl> has no effect without <ip>",
        ],
    );
    check_with_base(
        "<master><socket>s</socket><ip>a</ip><port>1</port></master>",
        &["c.xml:2:27: warning: <ip> and <port> of <master> have no effect beside its <socket>"],
    );
    check_with_base(
        "<master><socket>s</socket><ca>c</ca></master>",
        &["c.xml:2:27: warning: <ca> of <master> has no effect without an <ip>, or beside a <socket>"],
    );
    check_with_base(
        "<socket>a</socket><socket>base.sock</socket><socket>a</socket>",
        &[
            "c.xml:2:19: warning: <socket> is listed already: this one has no effect",
            "c.xml:2:45: warning: <socket> is listed already: this one has no effect",
        ],
    );
    check_with_base(
        "<ip>::1</ip><ip>[::1]</ip><port>1</port><ssl><cert>c</cert><key>k</key></ssl>",
        &["c.xml:2:13: warning: <ip> is listed already: this one has no effect"],
    );
    check_with_base(
        "<persistencefile>a</persistencefile><x/>hello <throttle fast='1'>a<b/></throttle>",
        &[
            "c.xml:2:1: warning: <persistencefile> is unknown and has no effect: is <persistancefile> meant?",
            "c.xml:2:37: warning: <x> is unknown and has no effect",
            "c.xml:2:41: warning: text between the elements of <clacks> has no effect",
            "c.xml:2:57: warning: <fast> of <throttle> is unknown and has no effect",
            "c.xml:2:66: warning: text between the elements of <throttle> has no effect",
            "c.xml:2:67: warning: <b> of <throttle> is unknown and has no effect",
        ],
    );
    check_with_base(
        "<a:appname xmlns:a='b'>x</a:appname><appname a='1'>x</appname>",
        &[
            "c.xml:2:1: warning: <a:appname> is unknown and has no effect: is <appname> meant?",
            "c.xml:2:46: warning: <a> of <appname> is unknown and has no effect",
        ],
    );
    check(
        &format!("<config>{BASE}</config>"),
        &["c.xml:1:1: warning: the root is <config>: expected is <clacks>"],
    );
    check_with_base(
        "<debugfile>\n/a\n</debugfile><persistancefile>PC_DATA/x</persistancefile>",
        &[
            "c.xml:2:1: warning: <debugfile> begins or ends with white space, which is part of it",
            "c.xml:4:13: warning: <persistancefile> holds \"PC_DATA\": \
             no environment variable of that name is set",
        ],
    );
    check_with_base(
        "<throttle><maxsleep/><step>x</step></throttle><readfailtimeout>x</readfailtimeout>",
        &[],
    );
}

#[test]
fn what_is_given_again_is_an_error() {
    check_with_base(
        "<username>b</username><ssl/><ssl/>",
        &[
            "c.xml:2:1: <username> is given again: keep one of them",
            "c.xml:2:23: warning: <ssl> has no effect without <ip>",
            "c.xml:2:29: <ssl> is given again: keep one of them",
        ],
    );
    check(
        &format!("<clacks appname='a'>{BASE}\n<appname>b</appname></clacks>"),
        &["c.xml:2:1: <appname> is given again: keep one of them"],
    );
    check_with_base(
        "<user><username>u</username><password>p</password><read>1</read><read>1</read></user>",
        &["c.xml:2:65: <read> of <user> is given again: keep one of them"],
    );
    check_with_base(
        "<hosts><here><appname>a</appname></here><here/></hosts>",
        &["c.xml:2:41: <here> of <hosts> is given again: keep one of them"],
    );
}

#[test]
fn a_value_is_text() {
    check_with_base(
        "<appname>x<b>y</b><c/></appname>\n<ssl><cert>a<b/></cert></ssl>\n<throttle><step><a/></step></throttle>",
        &[
            "c.xml:2:11: <appname> holds an element: write < in text as &lt;",
            "c.xml:3:1: warning: <ssl> has no effect without <ip>",
            "c.xml:3:13: <cert> of <ssl> holds an element: write < in text as &lt;",
        ],
    );
}

#[test]
fn users_are_checked() {
    let user = |name: &str, flags: &str| {
        format!("<user><username>{name}</username><password>p</password>{flags}</user>\n")
    };
    let users = [
        user("a", "<read>1</read>"),
        user("admin", "<read>1</read>"),
        user("a", "<write>1</write>"),
        user("idle", "<read>0</read>"),
        user("unclear", "<read>yes</read>"),
        user("A", "<manage>1</manage>"),
    ];
    check_with_base(
        &users.concat(),
        &[
            "c.xml:3:1: the user \"admin\" is the main user already: choose another name",
            "c.xml:4:1: the user \"a\" is there already: choose another name",
            "c.xml:5:1: warning: <user> has no permission: give it <read>, <write> or <manage>",
            "c.xml:6:57: <read> of <user> is \"yes\": expected is 0 or 1",
        ],
    );
}

#[test]
fn values_that_do_not_fit_are_told() {
    let long = "x".repeat(108);
    check_with_base(
        &format!("<socket>{long}</socket>\n<socketchmod>rw</socketchmod>\n<pingtimeout>0</pingtimeout>"),
        &[
            "c.xml:2:1: <socket> is 108 bytes long: the path of a socket has 107 at most",
            "c.xml:3:1: <socketchmod> is \"rw\": expected is an octal mode, 0 to 777",
            "c.xml:4:1: <pingtimeout> is \"0\": expected is a number of seconds, \
             0.01 to 1000000000, decimals allowed",
        ],
    );
    check_with_base(
        "<maxline>16M</maxline><maxclients>0</maxclients>",
        &[
            "c.xml:2:1: <maxline> is \"16M\": expected is 1024 to 1073741824 bytes",
            "c.xml:2:23: <maxclients> is \"0\": expected is 1 to 1000000 clients",
        ],
    );
    check_with_base(
        "<maxline>2000</maxline><maxoutbuffer>3023</maxoutbuffer>",
        &["c.xml:2:24: <maxoutbuffer> is 3023 bytes and <maxline> 2000: at least 3024 are needed, \
           for a line that is accepted must fit into the output of others, with what is put before it"],
    );
    check_with_base(
        "<maxline>100000000</maxline>",
        &[
            "c.xml:2:1: <maxoutbuffer> is 67108864 bytes and <maxline> 100000000: at least 100001024 are needed, \
           for a line that is accepted must fit into the output of others, with what is put before it",
        ],
    );
    check_with_base(
        "<debugfile>a</debugfile><persistancefile>a</persistancefile>",
        &["c.xml:2:1: <debugfile> is the <persistancefile> too: choose another name"],
    );
    check_with_base(
        "<persistancefile>a</persistancefile><journal>2</journal><journalsync>sometimes</journalsync>",
        &[
            "c.xml:2:37: <journal> is \"2\": expected is 0 or 1",
            "c.xml:2:57: <journalsync> is \"sometimes\": expected is none or interval or always",
        ],
    );
    check_with_base(
        "<journal>1</journal><journalsync>always</journalsync>",
        &[
            "c.xml:2:1: warning: <journal> has no effect without <persistancefile>",
            "c.xml:2:21: warning: <journalsync> has no effect without <persistancefile>",
        ],
    );
    check_with_base(
        "<persistancefile>a</persistancefile><journal>0</journal><journalsync>always</journalsync>",
        &["c.xml:2:57: warning: <journalsync> has no effect: <journal> is 0"],
    );
    check(
        "<clacks ssl='x' username='' password='b'>\n<socket> </socket></clacks>",
        &[
            "c.xml:1:9: <ssl> is a group of settings: it must be an element",
            "c.xml:1:9: warning: <ssl> has no effect without <ip>",
            "c.xml:1:17: <username> is empty: give it a value or take it out",
            "c.xml:2:1: <socket> is empty: give it a value or take it out",
        ],
    );
}

#[test]
fn what_another_machine_uses_is_but_a_warning_here() {
    check_with_base(
        "<hosts a='b'>text\n<there><port>x</port>\n<port>PC_X</port>\n<foo/><hosts/></there>\n<hosts/>\n\
         <here><port>x</port><ssl/><bar/><hosts><here><foo/></here></hosts></here></hosts>\n<port>y</port>",
        &[
            "c.xml:2:8: warning: <a> of <hosts> must be an element",
            "c.xml:2:14: warning: text between the elements of <hosts> has no effect",
            "c.xml:3:8: warning: <port> is \"x\": expected is 0 to 65535",
            "c.xml:4:1: warning: <port> is given again: keep one of them",
            "c.xml:5:1: warning: <foo> is unknown and has no effect",
            "c.xml:5:7: warning: <hosts> in the section of a host has no effect",
            "c.xml:7:7: <port> is \"x\": expected is 0 to 65535",
            "c.xml:7:7: warning: <port> has no effect without <ip>",
            "c.xml:7:21: warning: <ssl> has no effect without <ip>",
            "c.xml:7:27: warning: <bar> is unknown and has no effect",
            "c.xml:7:33: warning: <hosts> in the section of a host has no effect",
            "c.xml:8:1: warning: <port> is \"y\": expected is 0 to 65535",
        ],
    );
}

#[test]
fn bad_xml_is_one_error_in_its_place() {
    for (text, wanted) in [
        ("", "1:1: there is no element: expected is <clacks>"),
        ("<!-- -->\n", "1:1: there is no element: expected is <clacks>"),
        (
            "<clacks>\n <port>1</prot>\n</clacks>",
            "2:9: an end tag of another name: the open element is <port>",
        ),
        ("<clacks>\n <port>1</ip>", "2:9: an end tag for <ip>, but the open element is <port>"),
        ("<clacks>\n <x>1</ip>", "2:6: an end tag for <ip>, but the open element is an unknown one"),
        ("<clacks>\n <port>1\n", "3:1: the file ends before every element is closed"),
        ("<clacks>\n <port>1</po", "2:13: the file ends in the middle of something"),
        ("<a>\n &b;</a>", "2:2: & begins nothing that XML knows: write it as &amp;"),
        ("<a>\n x & y</a>", "2:4: & begins nothing that XML knows: write it as &amp;"),
        ("<a>1 < 2</a>", "1:7: no name of XML begins here: write a < that begins no element as &lt;"),
        ("<a b='<'/>", "1:7: < in the value of an attribute: write it as &lt;"),
        ("<a b='1' b='1'/>", "1:10: an attribute of the same name is there already: keep one of them"),
        ("<a>x:\u{1}</a>", "1:6: the character U+0001 is not allowed in XML"),
        ("<a><!-- -- --></a>", "1:4: a comment that begins here has -- in it or at its end"),
        ("<a>]]></a>", "1:7: ]]> is not allowed in text: write > as &gt;"),
        ("<a b=1/>", "1:6: expected is a quote"),
        ("<a b/>", "1:5: expected is ="),
        ("<?xml v='1.0'?><a/>", "1:7: expected is version"),
        ("<a/><?xml version='1.0'?>", "1:5: an XML declaration may stand at the start of the file only"),
        ("<a:b/>", "1:2: the prefix of a name is not declared: take it out"),
        ("<a/><b/>", "1:5: what begins here is no XML, or has no place here"),
        ("just text", "1:1: what begins here is no XML, or has no place here"),
        (
            "<!-- -->\n<!DOCTYPE a [<!ENTITY b 'c'>]><a/>",
            "2:1: a document type is not allowed: take <!DOCTYPE out",
        ),
        (
            "<?xml version='1.0' encoding=\"ISO-8859-1\"?><a>é</a>",
            "1:21: the encoding \"ISO-8859-1\" is not supported: save the file as UTF-8 and say so here",
        ),
    ] {
        check(text, &[&format!("c.xml:{wanted}")]);
    }
    for (text, wanted) in [
        (&b"<a>\n\xc3\xa9\xff</a>"[..], "2:2: the text is no UTF-8 from here on: save the file as UTF-8"),
        (b"\xff\xfe<\0", "1:1: the text is no UTF-8 from here on: save the file as UTF-8"),
    ] {
        assert_eq!(problems_with(text, &[]), format!("c.xml:{wanted}"));
    }
}

#[test]
fn a_text_that_is_too_long_is_refused() {
    let long = vec![b' '; MAX_LENGTH + 1];
    assert_eq!(
        problems_with(&long, &[]),
        format!("c.xml: the configuration is longer than {MAX_LENGTH} bytes")
    );
    let value = "v".repeat(MAX_LENGTH);
    assert_eq!(
        problems_with(b"<a>\n PC_X</a>", &[("PC_X", &value)]),
        format!(
            "c.xml:2:2: with the values of variables the configuration is longer than {MAX_LENGTH} bytes \
             (in the value of PC_X)"
        )
    );
}

#[test]
fn passwords_are_never_shown() {
    const SECRET: &str = "hush-hush";
    for text in [
        "<clacks><username>a</username><password>hush-hush</password><socket>s</socket></clacks>",
        "<clacks><username>a</username><password> hush-hush </password><socket>s</socket></clacks>",
        "<clacks><username>a</username><password>hush-hush<b/></password><socket>s</socket>hush-hush</clacks>",
        "<clacks username='a' password='hush-hush'><password>hush-hush</password><socket>s</socket></clacks>",
        "<clacks username='a' password='hush-hush' socket='s'><user username='b' password='hush-hush'/></clacks>",
        "<clacks username='a' password='b' socket='s'><user>hush-hush</user></clacks>",
        "<clacks><password>hush&hush-hush;</password></clacks>",
        "<clacks><password>hush-hush & x</password></clacks>",
        "<clacks><password>hush-hush < x</password></clacks>",
        "<clacks><password>x<hush-hush>x</password></clacks>",
        "<clacks><password>x</hush-hush>x</password></clacks>",
        "<clacks><password>x<hush-hush/>x</password></clacks>",
        "<clacks><password>x<hush-hush hush-hush='hush-hush'>x</hush-hush></password></clacks>",
        "<clacks><password>hush-hush",
        "<clacks><password>hush-hush]]></password></clacks>",
        "<clacks><password>hush-hush\u{1}</password></clacks>",
        "<clacks password='hush-hush<'/>",
    ] {
        let surroundings = surroundings("here", &[("PC_SECRET", SECRET)]);
        assert!(!format!("{surroundings:?}").contains(SECRET));
        let shown = match parse(text) {
            Ok(loaded) => format!("{loaded:?} {:?} {}", loaded.configuration, loaded.problems()),
            Err(problems) => format!("{problems:?} {problems}"),
        };
        assert!(!shown.contains(SECRET), "{text} shows it: {shown}");
    }
}
