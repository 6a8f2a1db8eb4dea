use std::path::Path;

use super::super::Configuration;
use super::super::settings::Kind;
use super::{BASE, all_settings, parse, surroundings};
use crate::connections::clacks::credentials::{Password, PasswordHash};

#[test]
fn every_setting_is_read_and_has_the_default_that_the_table_says() {
    // For settings that need others: how all of it is written, with {} for the setting.
    let base = format!("{BASE}{{}}");
    let tls = format!("{BASE}<ip>::1</ip>{{}}<ssl><cert>c</cert><key>k</key></ssl>");
    let certificate = format!("{BASE}<ip>::1</ip><port>1</port><ssl>{{}}<key>k</key></ssl>");
    let key = format!("{BASE}<ip>::1</ip><port>1</port><ssl>{{}}<cert>c</cert></ssl>");
    let user = format!("{BASE}<user><username>u</username><password>p</password>{{}}</user>");
    let template = |path: &str| {
        match path {
            "username" => "<password>p</password><socket>s</socket>{}",
            "password" => "<username>u</username><socket>s</socket>{}",
            "passwordhash" => "<username>u</username><socket>s</socket>{}",
            "user/passwordhash" => "BASE<user><username>u</username>{}</user>",
            "ip" => {
                "<username>u</username><password>p</password><ip>::1</ip>{}<port>1</port>\
                 <ssl><cert>c</cert><key>k</key></ssl>"
            }
            "port" => &tls,
            "ssl/cert" => &certificate,
            "ssl/key" => &key,
            "socketcommands/item" => "BASE<socketcommands>{}</socketcommands>",
            "user/username" => "BASE<user><password>p</password>{}</user>",
            "user/password" => "BASE<user><username>u</username>{}</user>",
            "user/read" | "user/write" | "user/manage" => &user,
            "throttle/maxsleep" | "throttle/step" => "BASE<throttle>{}</throttle>",
            "master/socket" => "BASE<master>{}</master>",
            "master/ip" => "BASE<master>{}<port>1</port></master>",
            "master/ca" => "BASE<master><ip>a</ip><port>1</port>{}</master>",
            "master/port" => "BASE<master><ip>a</ip>{}</master>",
            _ => &base,
        }
        .replace("BASE", BASE)
    };
    let read = |path: &str, value: Option<&str>| {
        let name = path.rsplit('/').next().unwrap();
        let element = value.map(|value| format!("<{name}>{value}</{name}>")).unwrap_or_default();
        let text = format!("<clacks>{}</clacks>", template(path).replace("{}", &element));
        parse(&text).unwrap_or_else(|problems| panic!("{text}\n{problems}")).configuration
    };
    // What a server that runs takes; all else it must say that it does not.
    const TAKEN: &[&str] = &[
        "appname",
        "authtimeout",
        "cachecleaninterval",
        "deletedcachetime",
        "failedloginpause",
        "interclackspingtimeout",
        "interclacksstalledwritetimeout",
        "maxclients",
        "maxline",
        "maxoutbuffer",
        "password",
        "passwordhash",
        "pingtimeout",
        "ssl",
        "stalecachetime",
        "stalledwritetimeout",
        "user",
        "username",
    ];
    let check = |path: &str, one: Configuration, other: Configuration| {
        assert_ne!(one, other, "{path} has no effect");
        let name = path.split('/').next().unwrap();
        let restart = if TAKEN.contains(&name) { vec![] } else { vec![name] };
        assert_eq!(one.needs_restart(&other), restart, "{path}");
    };
    for (path, setting) in all_settings() {
        // Without it there must be a password, which it can't stand beside.
        if setting.name == "passwordhash" {
            let hash = |name| PasswordHash::of(&Password::new(name)).unwrap();
            let (one, other) = (hash("one"), hash("other"));
            let (one, other) = (read(&path, Some(one.expose())), read(&path, Some(other.expose())));
            check(&path, one, other);
            continue;
        }
        let sample = match &setting.kind {
            Kind::Group(_) | Kind::Hosts => continue,
            Kind::Ignored => {
                assert_eq!(read(&path, Some("x")), read(&path, None), "{path} has an effect");
                continue;
            }
            Kind::Host => "192.0.2.1",
            Kind::Seconds { .. } => "0.25",
            Kind::Number { .. } => "40000000",
            Kind::Mode => "640",
            Kind::Flag if setting.default == "1" => "0",
            Kind::Flag => "1",
            Kind::Word(words) => words.iter().find(|word| **word != setting.default).unwrap(),
            Kind::Port { .. } => "42",
            _ => "sample",
        };
        // The greatest number of clients is less than any sensible number of bytes.
        let sample = if path == "maxclients" { "42" } else { sample };
        let sample = if path == "maxline" { "4000000" } else { sample };
        if setting.default.starts_with("required") || path == "master/ip" {
            let other = format!("{sample}1");
            check(&path, read(&path, Some(sample)), read(&path, Some(&other)));
            continue;
        }
        let missing = read(&path, None);
        check(&path, read(&path, Some(sample)), missing.clone());
        if !matches!(setting.default, "none" | "as the umask says" | "beside the first socket") {
            assert_eq!(read(&path, Some(setting.default)), missing, "{path} has another default");
        }
    }
}

#[test]
fn the_documentation_says_what_the_table_says() {
    let text = include_str!("../../../../../docs/clacks/configuration.md");
    let cell = |text: &str| text.trim().replace('`', "");
    let rows: Vec<Vec<String>> = text
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(cell).collect())
        .collect();
    let wanted: Vec<Vec<String>> = all_settings()
        .into_iter()
        .map(|(path, setting)| {
            let name = if setting.repeatable { format!("{path} *") } else { path };
            vec![name, setting.kind.type_text().into(), setting.default.into(), setting.kind.to_string()]
        })
        .collect();
    for (row, wanted) in rows.iter().zip(&wanted) {
        assert_eq!(row.len(), 5, "{row:?} has name, type, default, range and meaning");
        assert_eq!(&row[..4], wanted, "in this order");
        assert!(row[4].len() > 10, "{row:?} has no meaning");
    }
    assert_eq!(rows.len(), wanted.len(), "rows of the table");
}

#[test]
fn the_example_of_the_documentation_is_flawless() {
    let text = include_str!("../../../../../docs/clacks/configuration.md");
    let example = text.split("```xml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let surroundings = surroundings("here", &[("PC_RUN", "/run/clacks")]);
    let loaded = Configuration::parse(example.as_bytes(), "c.xml", &surroundings).unwrap();
    assert_eq!(loaded.problems().to_string(), "");
    assert_eq!(loaded.configuration.sockets, [Path::new("/run/clacks/clacks.sock")]);
}
