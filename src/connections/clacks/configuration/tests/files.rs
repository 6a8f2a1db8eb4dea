use std::fs::{self, Permissions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::super::{Configuration, MAX_LENGTH, Place, Severity, Surroundings, find};
use super::{BASE, base, parse, surroundings};

#[test]
fn a_file_is_looked_for_in_the_folders_of_the_variable_or_as_given_and_in_configs() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for name in ["one", "two", "one/c.xml"] {
        fs::create_dir(path(name)).unwrap();
    }
    fs::write(path("two/c.xml"), format!("<clacks>{BASE}</clacks>")).unwrap();
    fs::write(path("two/bad.xml"), "<clacks>").unwrap();
    let folders = format!("{}:{}:{}", path("none").display(), path("one").display(), path("two").display());
    let variables = [("PC_CONFIG_PATHS", folders.as_str())];
    let with = surroundings("", &variables);

    // A folder of that name is passed over.
    assert_eq!(find(Path::new("c.xml"), &with).unwrap(), path("two/c.xml"));
    assert_eq!(Configuration::load(Path::new("c.xml"), &with).unwrap().configuration, base());
    assert_eq!(find(&path("two/bad.xml"), &with).unwrap(), path("two/bad.xml"), "a full path is one");
    assert_eq!(
        Configuration::load(Path::new("bad.xml"), &with).unwrap_err().to_string(),
        format!("{}:1:9: the file ends before every element is closed", path("two/bad.xml").display())
    );
    assert_eq!(
        find(Path::new("x.xml"), &with).unwrap_err().to_string(),
        format!(
            "x.xml: there is no such file: tried {:?}, {:?}, {:?}",
            path("none/x.xml"),
            path("one/x.xml"),
            path("two/x.xml")
        )
    );

    let wire = Path::new("tests/data/clacks-wire.xml");
    assert!(find(wire, &with).is_err(), "the variable's folders are the only ones");
    for variables in [&[][..], &[("PC_CONFIG_PATHS", "")]] {
        let without = surroundings("", variables);
        assert_eq!(find(wire, &without).unwrap(), wire);
        assert_eq!(
            find(Path::new("x.xml"), &without).unwrap_err().to_string(),
            "x.xml: there is no such file: tried \"x.xml\", \"configs/x.xml\""
        );
    }
}

#[test]
fn a_folder_or_a_device_in_place_of_a_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let shown = folder.path().to_string_lossy();
    for setting in ["persistancefile", "debugfile"] {
        for no_file in [&*shown, "/dev/null"] {
            let text = format!(
                "<clacks username='a' password='b'><socket>s</socket>\n<{setting}>{no_file}</{setting}></clacks>"
            );
            let mut loaded =
                Configuration::parse(text.as_bytes(), "c.xml", &Surroundings::default()).unwrap();
            loaded.check_files();
            let wanted = format!("c.xml:2:1: <{setting}>: {no_file:?} is there, and is no regular file");
            assert_eq!(loaded.problems().to_string(), wanted);
        }
    }
    let error = Configuration::load(folder.path(), &Surroundings::default()).unwrap_err();
    assert_eq!(error.to_string(), format!("{shown}: this is a folder, and no file"));
}

#[test]
fn what_needs_a_folder_that_is_not_there_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    for missing in ["no", "file"] {
        let missing = folder.path().join(missing).display().to_string();
        for (setting, is_error) in
            [("socket", true), ("persistancefile", true), ("control", true), ("debugfile", false)]
        {
            let text = format!(
                "<clacks username='a' password='b'><ip>::1</ip><port>1</port><ssl><cert>/proc/version</cert>\
                 <key>/proc/version</key></ssl>\n  <{setting}>{missing}/x</{setting}></clacks>"
            );
            let mut loaded =
                Configuration::parse(text.as_bytes(), "c.xml", &Surroundings::default()).unwrap();
            loaded.check_files();
            let kind = if is_error { "" } else { "warning: " };
            let wanted = format!("c.xml:2:3: {kind}<{setting}>: there is no folder {missing:?}");
            let all = loaded.problems().to_string();
            assert!(all.lines().any(|line| line == wanted), "{wanted} is not in {all}");
            assert_eq!(
                loaded.problems().iter().filter(|problem| problem.what().contains("folder")).count(),
                1
            );
        }
    }
}

#[test]
fn a_cache_that_can_not_be_read_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache");
    std::os::unix::fs::symlink(&path, &path).unwrap(); // not even by root
    let text = format!("<clacks>{BASE}<persistancefile>{}</persistancefile></clacks>", path.display());
    let mut loaded = Configuration::parse(text.as_bytes(), "c.xml", &Surroundings::default()).unwrap();
    loaded.check_files();
    let all = loaded.problems().to_string();
    assert!(all.contains(&format!("<persistancefile>: {:?} can't be read: ", path.display())), "{all}");
    fs::remove_file(&path).unwrap();
    let mut loaded = Configuration::parse(text.as_bytes(), "c.xml", &Surroundings::default()).unwrap();
    loaded.check_files();
    assert!(!loaded.problems().to_string().contains("cache"), "{}", loaded.problems());
}

#[test]
fn a_file_that_is_too_long_is_not_read_to_its_end() {
    let endless = Path::new("/dev/zero");
    assert_eq!(
        Configuration::load(endless, &Surroundings::default()).unwrap_err().to_string(),
        format!("/dev/zero: the configuration is longer than {MAX_LENGTH} bytes")
    );
}

#[test]
fn a_fifo_is_read_and_not_waited_for_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("c.xml");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let load = |path: &Path| Configuration::load(path, &Surroundings::default());
    let nobody = format!("{}: can't be read: it is a FIFO that nobody writes to", fifo.display());
    assert_eq!(load(&fifo).unwrap_err().to_string(), nobody);

    // More than it holds at a time.
    let mut writer = fs::File::options().read(true).write(true).open(&fifo).unwrap(); // does not wait for a reader
    let text = format!("<clacks>{}{BASE}</clacks>", " ".repeat(1 << 17));
    let writer = std::thread::spawn(move || writer.write_all(text.as_bytes()));
    assert_eq!(load(&fifo).unwrap().configuration, base());
    writer.join().unwrap().unwrap();

    // What the shell makes of `<(…)`; the writer has not begun.
    let (reader, mut writer) = std::io::pipe().unwrap();
    let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
    let loading = std::thread::spawn(move || load(Path::new(&path)).map(|loaded| loaded.configuration));
    writer.write_all(format!("<clacks>{BASE}</clacks>").as_bytes()).unwrap();
    drop(writer);
    assert_eq!(loading.join().unwrap().unwrap(), base());
}

#[test]
fn files_that_can_not_be_used_are_told_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let write = |name: &str, text: &str, mode| {
        fs::write(path(name), text).unwrap();
        fs::set_permissions(path(name), Permissions::from_mode(mode)).unwrap();
    };
    write("cert", "c", 0o644);
    write("key", "k", 0o640);
    write("open.key", "k", 0o644);
    write("empty", "", 0o600);
    let check = |certificate: &str, key: &str, wanted: &[String]| {
        let text = format!(
            "<clacks username='a' password='b'>\n<ip>::1</ip><port>1</port>\n\
             <ssl>\n<cert>{}</cert>\n<key>{}</key></ssl>\n\
             <socket>relative.sock</socket>\n<socket>{}</socket>\n<socket>{}</socket>\n\
             <debugfile>{}</debugfile></clacks>",
            path(certificate),
            path(key),
            path("a.sock"),
            path("no/b.sock"),
            path("cert/debug"),
        );
        let mut loaded = parse(&text).unwrap();
        assert_eq!(loaded.problems().to_string(), "");
        loaded.check_files();
        let mut lines = wanted.to_vec();
        lines.push(format!("c.xml:8:1: <socket>: there is no folder {:?}", path("no")));
        lines.push(format!("c.xml:9:1: warning: <debugfile>: there is no folder {:?}", path("cert")));
        assert_eq!(loaded.problems().to_string(), lines.join("\n"));
    };
    check("cert", "key", &[]);
    check(
        "cert",
        "open.key",
        &[format!(
            "c.xml:5:1: warning: <key> of <ssl>: everybody can read {:?}: take that permission away",
            path("open.key")
        )],
    );
    check(
        "none",
        "empty",
        &[
            format!(
                "c.xml:4:1: <cert> of <ssl>: {:?} can't be read: No such file or directory (os error 2)",
                path("none")
            ),
            format!("c.xml:5:1: <key> of <ssl>: {:?} can't be read: it is empty", path("empty")),
        ],
    );
    check(
        "",
        "key",
        &[format!("c.xml:4:1: <cert> of <ssl>: {:?} can't be read: it is no regular file", path(""))],
    );
}

#[test]
fn the_caller_can_report_what_it_does_not_support() {
    let text = format!(
        "<clacks>{BASE}\n<port>1</port>\n  <ip>::1</ip>\n<ssl><cert>c</cert>\n<key>k</key></ssl></clacks>"
    );
    let mut loaded = parse(&text).unwrap();
    let place = loaded.place("ip").unwrap();
    assert_eq!((place.line(), place.column(), place.variable()), (3, 3, None));
    assert_eq!(loaded.place("ssl/key").map(Place::line), Some(5));
    assert_eq!(loaded.place("master"), None);
    loaded.report(Severity::Warning, "ip", "<ip> is not served");
    loaded.report(Severity::Warning, "port", "<port> neither");
    loaded.report(Severity::Error, "master", "where is it?");
    assert_eq!(
        loaded.problems().render("p"),
        "p: c.xml: where is it?\n\
         p: c.xml:2:1: warning: <port> neither\n\
         p: c.xml:3:3: warning: <ip> is not served\n"
    );
}
