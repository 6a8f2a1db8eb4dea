use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use super::super::{Configuration, Master, Surroundings, Tls, User};
use super::{BASE, base, parse, problems_with, surroundings};
use crate::connections::clacks::credentials::Password;

/// The configuration of `text`, which has no problem at all.
fn flawless(text: &str) -> Configuration {
    match parse(text) {
        Ok(loaded) if loaded.problems().is_empty() => loaded.configuration,
        Ok(loaded) => panic!("{text}\n{}", loaded.problems()),
        Err(problems) => panic!("{text}\n{problems}"),
    }
}

#[test]
fn the_least_configuration_has_the_defaults() {
    assert_eq!(flawless(&format!("<clacks>{BASE}</clacks>")), base());
    let tls = "<clacks><username>a</username><password>b</password><ip>::1</ip><port>1</port>\
               <ssl><cert>c</cert><key>d</key></ssl></clacks>";
    let mut wanted = Configuration::new("a", Password::new("b"));
    wanted.tls =
        Some(Tls { addresses: vec!["::1".into()], port: 1, certificate: "c".into(), key: "d".into() });
    assert_eq!(flawless(tls), wanted);
}

#[test]
fn xml_may_be_written_in_all_its_ways() {
    let mut wanted = base();
    wanted.app_name = "A & B".into();
    for text in [
        "\u{feff}<?xml version='1.0' encoding='utf-8'?>\r\n<clacks>BASE<appname>A &amp; B</appname></clacks>\r\n",
        "<?xml version='1.0' encoding='ISO-8859-1'?><clacks>BASE<appname><![CDATA[A & B]]></appname></clacks>",
        "<!-- é --><clacks appname='A &#38; B'>BASE</clacks><?end?>",
        "<clacks>BASE<appname>A <!-- a comment -->&#x26;<?x?> B</appname></clacks>",
        "<clacks xmlns='http://example.com/'>BASE<appname>\n\tA & B\n</appname></clacks>",
    ] {
        let text = text.replace("BASE", BASE).replace("A & B\n", "A &amp; B\n");
        assert_eq!(flawless(&text), wanted, "{text}");
    }
}

#[test]
fn the_configuration_of_the_recorded_cases_is_read() {
    let text = include_str!("../../../../../tests/data/clacks-wire.xml");
    let mut wanted = Configuration::new("admin", Password::new("adminpass"));
    wanted.app_name = "Wire case server".into();
    wanted.sockets.push("wire.sock".into());
    wanted.ping_timeout = Duration::from_secs(8);
    wanted.auth_timeout = Duration::from_secs(3);
    wanted.deleted_cache_time = Duration::from_secs(6);
    wanted.cache_clean_interval = Duration::from_secs(3);
    for (name, password, read, write, manage) in [
        ("rwuser", "rwpass", true, true, false),
        ("rouser", "ropass", true, false, false),
        ("wouser", "wopass", false, true, false),
        ("mguser", "mgpass", false, false, true),
    ] {
        let (name, password) = (name.into(), Password::new(password));
        wanted.users.push(User { name, password, password_hash: None, read, write, manage });
    }
    assert_eq!(flawless(text), wanted);
}

#[test]
fn the_section_of_a_host_replaces_whole_settings() {
    let variables = [
        ("PC_RUN", "/run/clacks"),
        ("PC_RUN_SSL", "/etc/ssl/clacks"),
        ("PC_STATE", "/var/lib/clacks"),
        ("PC_SITE_NAME", "Example"),
    ];
    let read = |hostname: &str| {
        let text = include_bytes!("../../../../../tests/data/clacks-large.xml");
        let loaded = Configuration::parse(text, "c.xml", &surroundings(hostname, &variables)).unwrap();
        assert_eq!(loaded.problems().to_string(), "", "for {hostname}");
        loaded.configuration
    };

    let mut wanted = Configuration::new("clacks", Password::new("s3cret<&>"));
    wanted.app_name = "Example clacks".into();
    wanted.tls = Some(Tls {
        addresses: vec!["127.0.0.1".into(), "::1".into()],
        port: 49888,
        certificate: "/etc/ssl/clacks/clacks.crt".into(),
        key: "/etc/ssl/clacks/clacks.key".into(),
    });
    wanted.sockets.push("/run/clacks/clacks.sock".into());
    wanted.socket_mode = Some(0o660);
    wanted.socket_commands = vec![
        "chgrp clacks /run/clacks/clacks.sock".into(),
        "logger \"clacks & co. are up\" > /dev/null".into(),
    ];
    let user = |name: &str, password, read, write, manage| {
        let (name, password) = (name.into(), Password::new(password));
        User { name, password, password_hash: None, read, write, manage }
    };
    wanted.users = vec![
        user("dashboard", "dash-secret", true, false, false),
        user("sensor", "sensor-secret", false, true, false),
        user("operator", "operator-secret", true, true, true),
    ];
    wanted.persistence_file = Some("/var/lib/clacks/clacks.dat".into());
    wanted.persistence_interval = Duration::from_secs(5);
    wanted.ping_timeout = Duration::from_secs(600);
    wanted.interclacks_ping_timeout = Duration::from_secs(90);
    wanted.auth_timeout = Duration::from_millis(7_500);
    wanted.interclacks_reconnect_timeout = Duration::ZERO;
    wanted.stalled_write_timeout = Duration::from_secs(45);
    wanted.interclacks_stalled_write_timeout = Duration::from_secs(100);
    wanted.deleted_cache_time = Duration::from_secs(7_200);
    wanted.stale_cache_time = Duration::from_secs(604_800);
    wanted.cache_clean_interval = Duration::from_secs(30);
    wanted.max_line = 1 << 20;
    wanted.max_out_buffer = 8 << 20;
    wanted.max_clients = 250;
    wanted.master = Some(Master::Tls { host: "hub.example.com".into(), port: 49888, ca: None });
    assert_eq!(read("elsewhere"), wanted);
    assert_eq!(read("hub.example.com"), wanted, "a host is the one of exactly that name");

    let mut hub = wanted.clone();
    hub.app_name = "Example hub".into();
    hub.tls.as_mut().unwrap().addresses = vec!["0.0.0.0".into(), "::".into()];
    hub.master = None;
    hub.users = vec![user("backup", "backup-secret", true, false, false)];
    hub.max_clients = 5_000;
    assert_eq!(read("hub"), hub);

    let mut edge = wanted;
    edge.sockets = vec!["/run/clacks/edge/a.sock".into(), "/run/clacks/edge/b.sock".into()];
    edge.master = Some(Master::Socket("/srv/shared/hub.sock".into()));
    edge.debug_file = Some("/var/lib/clacks/clacks.debug".into());
    edge.socket_commands.clear();
    assert_eq!(read("edge-1"), edge);
}

#[test]
fn variables_do_not_shift_places() {
    let variables = [
        ("PC_NAME", "a rather long name"),
        ("PC_PORT", "65536"),
        ("PC_USER", "<user>\n<username>u</username>\n<password>p</password><read>2</read></user>"),
        ("PC_AMP", "a & b"),
        ("PC_SECRET", "PC_PORT PC_UNSET"),
    ];
    let text = format!(
        "<clacks>{BASE}\n<appname>PC_NAME, PC_NAME</appname><maxline>1</maxline><port>PC_PORT</port>"
    );
    let mut wanted = "c.xml:2:36: <maxline> is \"1\": expected is 1024 to 1073741824 bytes\n\
                  c.xml:2:56: <port> is \"65536\": expected is 0 to 65535\n\
                  c.xml:2:56: warning: <port> has no effect without <ip>"
        .to_owned();
    assert_eq!(problems_with(format!("{text}</clacks>").as_bytes(), &variables), wanted);
    wanted += "\nc.xml:2:76: <read> of <user> is \"2\": expected is 0 or 1 (in the value of PC_USER)\n\
                 c.xml:2:83: warning: <x> is unknown and has no effect";
    assert_eq!(problems_with(format!("{text}PC_USER<x/></clacks>").as_bytes(), &variables), wanted);
    assert_eq!(
        problems_with(b"<clacks>\n <appname>PC_AMP</appname></clacks>", &variables),
        "c.xml:2:11: & begins nothing that XML knows: write it as &amp; (in the value of PC_AMP)"
    );
    let text = "<clacks><username>u</username><password>PC_SECRET</password><socket>s</socket></clacks>";
    let loaded = Configuration::parse(text.as_bytes(), "c.xml", &surroundings("", &variables)).unwrap();
    assert_eq!(loaded.configuration.password.expose(), "PC_PORT PC_UNSET");
    assert_eq!(loaded.problems().to_string(), "");
}

#[test]
fn a_variable_that_is_no_text_is_told() {
    let environment = vec![("PC_X".into(), OsString::from_vec(vec![b'a', 0xff]))];
    let surroundings = Surroundings { hostname: String::new(), environment };
    let problems = Configuration::parse(b"<a>\n PC_X</a>", "c.xml", &surroundings).unwrap_err();
    assert_eq!(
        problems.to_string(),
        "c.xml:2:2: the text is no UTF-8 from here on: save the file as UTF-8 (in the value of PC_X)"
    );
    assert!(
        Configuration::parse(format!("<clacks>{BASE}</clacks>").as_bytes(), "c.xml", &surroundings).is_ok()
    );
}
