//! `store`, `get`, `del`, `incr`, `decr`, `keys`, `clear`.

use crate::server::TestServer;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

#[test]
fn a_value_is_kept_until_it_is_removed() {
    let server = TestServer::start();
    assert_eq!(server.run(&["store", "temperature", "21.5"]).success(), "");
    assert_eq!(server.run(&["get", "temperature"]).success(), "21.5\n");
    assert_eq!(server.run(&["get", "--exact", "temperature"]).success(), "21.5");
    assert_eq!(server.run(&["del", "temperature"]).success(), "");
    server.run(&["get", "temperature"]).failure(1, "clacks: there is no value under \"temperature\"\n");
}

#[test]
fn numbers_are_counted_up_and_down() {
    let server = TestServer::start();
    for (arguments, value) in [
        (&["incr", "n"][..], "1"),
        (&["incr", "n", "5"], "6"),
        (&["incr", "n", "-2"], "4"),
        (&["incr", "n", "-0.5"], "3.5"),
        (&["decr", "n"], "2.5"),
        (&["decr", "n", "-1e3"], "1002.5"),
        (&["decr", "n", "1002.5"], "0"),
        (&["store", "n", "-7"], "-7"),
        (&["store", "n", "--", "-x"], "-x"),
    ] {
        assert_eq!(server.run(arguments).success(), "");
        assert_eq!(server.run(&["get", "n"]).success(), format!("{value}\n"), "after {arguments:?}");
    }
    for step in ["abc", "", "1x", "inf"] {
        let complaint = format!("clacks: invalid value '{step}' for '[STEP]': it is no number\n");
        server.run(&["incr", "n", step]).failure(2, &complaint);
    }
}

#[test]
fn keys_are_listed_and_chosen_by_patterns() {
    let server = TestServer::start();
    let mut client = server.client();
    assert_eq!(server.run(&["keys"]).success(), "");
    for key in ["room/2/light", "room/1/light", "room/1/heat", "größe", "a b"] {
        client.store(key.as_bytes(), b"1").unwrap();
    }
    for (arguments, keys) in [
        (&["keys"][..], &["a b", "größe", "room/1/heat", "room/1/light", "room/2/light"][..]),
        (&["keys", "room/*/light"], &["room/1/light", "room/2/light"]),
        (&["keys", "gr??e"], &["größe"]),
        (&["keys", "room/[!1]/*"], &["room/2/light"]),
        (&["keys", "nothing"], &[]),
    ] {
        let lines: String = keys.iter().map(|key| format!("{key}\n")).collect();
        assert_eq!(server.run(arguments).success(), lines, "{arguments:?}");
    }
    server.run(&["keys", "a["]).failure(2, "clacks: the pattern has a [ without its ]\n");

    assert_eq!(server.run(&["clear"]).success(), "");
    assert_eq!(server.run(&["keys"]).success(), "");
}

#[test]
fn values_come_from_standard_input_and_back() {
    let server = TestServer::start();
    let binary: Vec<u8> = (0..=255).collect();
    for (stdin, got) in [
        (&b"hello\n"[..], &b"hello\n"[..]),
        (b"hello", b"hello\n"),
        (b"", b"\n"),
        (b"\n\n", b"\n\n"),
        (b"two\nlines\n", b"two\nlines\n"),
        (b"\r\n", b"\r\n"),
        (&binary, &[&binary[..], b"\n"].concat()),
    ] {
        assert_eq!(server.run_with(&["store", "v", "-"], stdin).success(), "");
        assert_eq!(server.run(&["get", "v"]).stdout, got, "{:?}", stdin.escape_ascii().to_string());
        assert_eq!(server.run_with(&["store", "v", "-", "--exact"], stdin).success(), "");
        assert_eq!(server.run(&["get", "v", "--exact"]).stdout, stdin);
    }
    assert_eq!(server.run_with(&["store", "v", "-"], b"plain\n").success(), "");
    assert_eq!(server.client().retrieve(b"v").unwrap().as_deref(), Some(&b"plain"[..]), "nothing is encoded");
}

#[test]
fn arguments_need_not_be_text() {
    let server = TestServer::start();
    let (key, value) = (OsStr::from_bytes(b"k\xff"), OsStr::from_bytes(b"v\xfe=\x01"));
    server.run(&["store".as_ref(), key, value]).success();
    assert_eq!(server.run(&["get".as_ref(), key]).stdout, b"v\xfe=\x01\n");
    assert_eq!(server.run(&["keys".as_ref(), OsStr::from_bytes(b"?\xff")]).stdout, b"k\xff\n");
}

#[test]
fn encoded_values_are_shown_as_they_are_on_demand() {
    let server = TestServer::start();
    server.run(&["store", "v", "a\nb"]).success();
    assert_eq!(server.run(&["get", "v"]).success(), "a\nb\n");
    assert_eq!(server.run(&["get", "v", "--raw-values"]).success(), "PAGECAMELCLACKSB64:YQpi\n");
    server.run(&["store", "--raw-values", "w", "PAGECAMELCLACKSB64:YQpi"]).success();
    assert_eq!(server.run(&["get", "w"]).success(), "a\nb\n");
    let refused = server.run(&["store", "--raw-values", "w", "a\nb"]);
    refused.failure(2, "clacks: the value holds a line end, which must be encoded\n");
}

#[test]
fn structured_values_are_given_and_shown_as_yaml() {
    let server = TestServer::start();
    let wire = "PAGECAMELCLACKSYAMLB64: LS0tIAphOiBiCg==";
    server.run(&["store", "--yaml", "v", "{a: b}"]).success();
    assert_eq!(server.run(&["get", "--raw-values", "v"]).success(), format!("{wire}\n"));
    assert_eq!(server.run(&["get", "v"]).success(), "--- \na: b\n");
    assert_eq!(server.run(&["get", "--exact", "v"]).success(), "--- \na: b");
    assert_eq!(server.run_with(&["store", "--yaml", "v", "-"], b"- 1\n- two\n").success(), "");
    assert_eq!(server.run(&["get", "v"]).success(), "--- \n- 1\n- two\n");
    // A text that only looks like one stays a text, and what can't be read is shown as it is.
    server.run(&["store", "v", wire]).success();
    assert_eq!(server.run(&["get", "v"]).success(), format!("{wire}\n"));
    for odd in ["PAGECAMELCLACKSYAMLB64: ?", "PAGECAMELCLACKSYAMLB64:LS0tICox"] {
        server.run(&["store", "--raw-values", "v", odd]).success();
        assert_eq!(server.run(&["get", "v"]).success(), format!("{odd}\n"));
    }
    let no_yaml = server.run(&["store", "--yaml", "v", "[a"]);
    no_yaml.failure(2, "clacks: the structured value can't be used: line ");
    let both = server.run(&["store", "--yaml", "--raw-values", "v", "1"]);
    both.failure(2, "clacks: the argument '--yaml' cannot be used with '--raw-values'\n");
}

#[test]
fn a_value_that_no_line_can_hold_is_refused() {
    let server = TestServer::start();
    let long = vec![b'x'; (16 << 20) + 1];
    let refused = server.run_with(&["store", "v", "-"], &long);
    refused.failure(2, "clacks: the value is longer than a line may be: 16777216 bytes\n");
    server.run(&["store", "a=b", "1"]).failure(2, "clacks: \"a=b\" is no name");
    server.run(&["store", "", "1"]).failure(2, "clacks: \"\" is no name");
}

#[test]
fn flush_returns_when_the_server_is_done() {
    let server = TestServer::start();
    assert_eq!(server.run(&["flush"]).success(), "");
}
