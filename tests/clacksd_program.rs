//! clacksd as its operators meet it: arguments, environment, files, signals, messages, exit codes.
#![cfg(all(feature = "clacks", feature = "cli"))]

mod support;

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use eventdispatcher::connections::clacks::{credentials, token};
use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use tempfile::TempDir;

use support::daemon::{Ended, Program, command};
use support::{Client, DEADLINE, show};

const CLACKSD: Option<&str> = option_env!("CARGO_BIN_EXE_clacksd");

/// The least that a configuration needs.
const LEAST: &str = "<clacks><socket>here.sock</socket><username>u</username><password>p</password></clacks>";

/// A user other than this one: nobody.
const OTHER: u32 = 65_534;

/// clacksd in the folder `folder`, which is also where it looks for its private folder.
fn clacksd(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = command(CLACKSD.expect("cargo builds clacksd before it runs this test"));
    command.current_dir(folder).env("XDG_RUNTIME_DIR", folder).args(arguments);
    command
}

#[track_caller]
fn run(folder: &Path, arguments: &[&str]) -> Ended {
    Program::start(&mut clacksd(folder, arguments)).ended()
}

/// It ends with 1, says this, in which `{}` is the folder, and nothing else.
#[track_caller]
fn check_failure(folder: &Path, arguments: &[&str], wanted: &str) {
    let wanted = wanted.replace("{}", &folder.display().to_string());
    run(folder, arguments).check(1, "", &wanted);
}

fn temporary() -> TempDir {
    TempDir::new().expect("a temporary folder can be made")
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{path:?}: {error}")).permissions().mode()
        & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("a mode of one's own file can be set");
}

/// A new connection, greeted and no more.
#[track_caller]
fn greeted(socket: &Path) -> (Client, String) {
    let mut client = Client::connect(socket).unwrap();
    let greeting = text(client.line());
    assert_eq!(text(client.line()), "OVERHEAD M Authentication required");
    (client, greeting)
}

#[track_caller]
fn logged_in(socket: &Path, name: &str, password: &str) -> Client {
    let (mut client, _) = greeted(socket);
    client.send(format!("OVERHEAD A {}\r\n", token(name, password)).as_bytes()).unwrap();
    assert_eq!(text(client.line()), "OVERHEAD O Welcome!");
    client
}

#[track_caller]
fn text(line: Result<Option<Vec<u8>>, String>) -> String {
    line.unwrap().map_or("<EOF>".to_owned(), |line| String::from_utf8(line).unwrap())
}

/// The server says goodbye, and closes.
#[track_caller]
fn check_goodbye(mut client: Client) {
    assert_eq!([text(client.line()), text(client.line()), text(client.line())], ["", "QUIT", "<EOF>"]);
}

/// An orderly end: exit code 0, and no socket left.
#[track_caller]
fn check_orderly(server: Program, socket: &Path) -> Ended {
    let ended = server.ended();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(!socket.exists(), "the socket is left over");
    ended
}

/// What waits for a server that listens: it said where, and nothing before that.
#[track_caller]
fn listening(server: &Program, socket: &Path) {
    server.says(&format!("clacksd: listening on {}\n", socket.display()));
}

// ---- without any argument ------------------------------------------------------------------------------------

#[test]
fn without_an_argument_it_serves_its_user_in_a_private_folder() {
    #[track_caller]
    fn check(variable: &str, name: &str) {
        let around = temporary();
        let folder = around.path().join(name);
        let (socket, password) = (folder.join("clacks.sock"), folder.join("password"));
        let start = || {
            // With the most careless umask.
            let mut command = command("sh");
            command.args(["-c", "umask 0; exec \"$0\"", CLACKSD.unwrap()]).env(variable, around.path());
            Program::start(&mut command)
        };

        let server = start();
        let said = server.says("try: ");
        let shown = socket.display();
        assert_eq!(said, format!("clacksd: listening on {shown}\nclacksd: try: clacks set greeting hello\n"));
        assert_eq!((mode(&folder), mode(&password), mode(&socket)), (0o700, 0o600, 0o600), "{variable}");
        assert!(fs::symlink_metadata(&socket).unwrap().file_type().is_socket());
        let secret = fs::read_to_string(&password).unwrap();
        let mut client = logged_in(&socket, &credentials::default_user(), secret.trim_end());
        // With all permissions.
        client.send(b"STORE a=1\r\nRETRIEVE a\r\nMONITOR\r\nOVERHEAD I 0\r\n").unwrap();
        assert_eq!(text(client.line()), "RETRIEVED a=1");
        assert!(text(client.line()).ends_with("=MONITOR"));
        assert!(text(client.line()).ends_with("=OVERHEAD I 0"));
        client.barrier().unwrap();
        server.signal(Signal::SIGTERM);
        check_goodbye(client);
        check_orderly(server, &socket);

        let server = start();
        server.says("try: ");
        assert_eq!(fs::read_to_string(&password).unwrap(), secret, "the password was made anew");
        assert_eq!((mode(&folder), mode(&password), mode(&socket)), (0o700, 0o600, 0o600), "{variable}");
        logged_in(&socket, &credentials::default_user(), secret.trim_end());
        server.signal(Signal::SIGTERM);
        check_orderly(server, &socket);
        let left: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["password"]);
    }
    check("XDG_RUNTIME_DIR", "clacks");
    check("TMPDIR", &format!("clacks-{}", geteuid()));
}

#[test]
fn a_private_folder_that_can_not_be_trusted_is_refused() {
    let around = temporary();
    let (here, folder) = (around.path(), around.path().join("clacks"));
    let password = folder.join("password");
    let check = |wanted: &str| check_failure(here, &[], wanted);

    fs::write(&folder, "").unwrap();
    check("clacksd: {}/clacks is no folder: remove it\n");
    fs::remove_file(&folder).unwrap();
    symlink("/", &folder).unwrap();
    check("clacksd: {}/clacks is a symbolic link: remove it\n");
    fs::remove_file(&folder).unwrap();

    fs::create_dir(&folder).unwrap();
    fs::write(&password, "hush\n").unwrap();
    set_mode(&password, 0o640);
    check(
        "clacksd: {}/clacks/password has mode 640, so that others may know the password: remove it for a new one\n",
    );
    set_mode(&password, 0o600);
    fs::write(&password, "\n").unwrap();
    check("clacksd: {}/clacks/password has no password in its first line\n");
    fs::remove_file(&password).unwrap();

    if geteuid().is_root() {
        chown(&folder, Some(OTHER), None).unwrap();
        check("clacksd: {}/clacks belongs to user 65534, not to user 0\n");
        let theirs = fs::symlink_metadata(&folder).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&theirs), OTHER, "nothing was changed");
    } else {
        println!("only root can give a folder away: not tested");
    }

    let nowhere = here.join("nowhere");
    let mut command = clacksd(here, &[]);
    Program::start(command.env("XDG_RUNTIME_DIR", &nowhere)).ended().check(
        1,
        "",
        &format!(
            "clacksd: can't make the folder {}/clacks: No such file or directory (os error 2)\n",
            nowhere.display()
        ),
    );
    // What is no absolute path counts as not set.
    let mut command = clacksd(here, &[]);
    let server = Program::start(command.env("XDG_RUNTIME_DIR", "relative").env("TMPDIR", here));
    listening(&server, &here.join(format!("clacks-{}/clacks.sock", geteuid())));
}

// ---- its end -------------------------------------------------------------------------------------------------

#[test]
fn each_signal_ends_it_in_order() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let folder = temporary();
        let socket = folder.path().join("s");
        let server = Program::start(&mut clacksd(folder.path(), &["--socket", "s"]));
        server.says("try: ");
        let secret = fs::read_to_string(folder.path().join("clacks/password")).unwrap();
        let user = credentials::default_user();
        let (silent, _) = greeted(&socket);
        let idle = logged_in(&socket, &user, secret.trim_end());
        let mut listening = logged_in(&socket, &user, secret.trim_end());
        listening.send(b"LISTEN a\r\n").unwrap();
        listening.barrier().unwrap();
        let mut talking = logged_in(&socket, &user, secret.trim_end());
        talking.send(b"SET a=1\r\nSTORE unfinished=").unwrap();
        assert_eq!(text(listening.line()), "SET a=1");

        server.signal(signal);
        for client in [silent, idle, listening, talking] {
            check_goodbye(client);
        }
        let ended = check_orderly(server, &socket);
        assert!(
            ended.stderr.contains(&format!("{signal}: ends in order; one more signal ends at once\n")),
            "{ended:?}"
        );
        assert!(ended.stderr.ends_with("ended in order\n"), "{ended:?}");
    }
}

#[test]
fn without_a_configuration_sighup_reads_the_password_again() {
    let folder = temporary();
    let socket = folder.path().join("s");
    let server = Program::start(&mut clacksd(folder.path(), &["--socket", "s"]));
    server.says("try: ");
    let file = folder.path().join("clacks/password");
    let user = credentials::default_user();
    let old = logged_in(&socket, &user, fs::read_to_string(&file).unwrap().trim_end());
    fs::write(&file, "another\n").unwrap();
    server.signal(Signal::SIGHUP);
    check_goodbye(old);
    let mut new = logged_in(&socket, &user, "another");
    fs::write(&file, "").unwrap();
    server.signal(Signal::SIGHUP);
    server.logs("SIGHUP: everything stays as it is\n");
    new.barrier().unwrap();
    server.signal(Signal::SIGTERM);
    check_goodbye(new);
    check_orderly(server, &socket);
}

#[test]
fn without_a_configuration_it_ends_with_its_terminal() {
    let folder = temporary();
    let socket = folder.path().join("s");
    // No other process must have the terminal's other end.
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let mut open = fs::File::options();
    open.read(true).write(true).custom_flags(OFlag::O_NOCTTY.bits());
    let terminal = open.open(ptsname_r(&master).unwrap()).unwrap();
    let mut command = command("setsid");
    command.args(["--ctty", CLACKSD.unwrap(), "--socket", "s"]).current_dir(folder.path());
    let server = Program::start_with(command.env("XDG_RUNTIME_DIR", folder.path()), terminal.into());
    server.says("try: ");
    drop(master);
    let ended = check_orderly(server, &socket);
    assert!(ended.stderr.contains("the terminal has gone: ends in order\n"), "{ended:?}");
}

#[test]
fn two_servers_do_not_keep_the_same_cache() {
    let folder = temporary();
    let configuration = |name: &str| {
        let text = LEAST.replace("here.sock", name);
        let text = text.replace("</clacks>", "<persistancefile>cache</persistancefile></clacks>");
        fs::write(folder.path().join(format!("{name}.xml")), text).unwrap();
        format!("{name}.xml")
    };
    let (first, second) = (configuration("first"), configuration("second"));
    let server = Program::start(&mut clacksd(folder.path(), &[&first]));
    server.says("listening on first");
    let pid = server.pid();
    let wanted =
        format!("clacksd: cache: can't be used: another server (process {pid}) has locked cache_lock\n");
    run(folder.path(), &[&second]).check(1, "", &wanted);
    let mut client = logged_in(&folder.path().join("first"), "u", "p");
    client.send(b"STORE k=v\r\n").unwrap();
    client.barrier().unwrap();
    server.signal(Signal::SIGKILL);
    server.ended();
    // The lock has ended with it.
    let server = Program::start(&mut clacksd(folder.path(), &[&second]));
    server.says("listening on second");
    let mut client = logged_in(&folder.path().join("second"), "u", "p");
    client.send(b"RETRIEVE k\r\n").unwrap();
    assert_eq!(text(client.line()), "RETRIEVED k=v");
    client.send(b"STATUS\r\n").unwrap();
    let mut status = Vec::new();
    while status.last().is_none_or(|line| line != "STATUSEND") {
        status.push(text(client.line()));
    }
    let counts = |name: &str| {
        let start = format!("STATUS {name}=");
        status.iter().find_map(|line| line.strip_prefix(&start)?.parse::<u64>().ok())
    };
    assert_eq!((counts("saves_failed"), counts("not_kept")), (Some(0), Some(0)), "{status:?}");
    assert!(counts("journal_bytes") > Some(0) && counts("saves").is_some(), "{status:?}");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let folder = temporary();
    let socket = folder.path().join("s");
    let server = Program::start(&mut clacksd(folder.path(), &["--socket", "s"]));
    server.says("try: ");
    let secret = fs::read_to_string(folder.path().join("clacks/password")).unwrap();
    let mut client = logged_in(&socket, &credentials::default_user(), secret.trim_end());
    // So much output waits for it that the server can't write it all: it lingers.
    let value = "x".repeat(1 << 20);
    client.send(format!("STORE a={value}\r\nRETRIEVE a\r\n").as_bytes()).unwrap();
    let mut watching = logged_in(&socket, &credentials::default_user(), secret.trim_end());
    watching.send(b"RETRIEVE a\r\n").unwrap();
    assert!(text(watching.line()).starts_with("RETRIEVED a="));

    server.signal(Signal::SIGTERM);
    check_goodbye(watching);
    server.logs("ends in order");
    let second = Instant::now();
    server.signal(Signal::SIGINT);
    let ended = server.ended();
    assert!(second.elapsed() < Duration::from_secs(8), "it lingered for {:?}", second.elapsed());
    assert_eq!(ended.status.signal(), Some(Signal::SIGINT as i32), "{ended:?}");
    assert!(!socket.exists(), "the socket is left over");
}

#[test]
fn a_server_that_ends_in_order_waits_for_ten_seconds_for_who_takes_nothing() {
    let folder = temporary();
    let socket = folder.path().join("s");
    let server = Program::start(&mut clacksd(folder.path(), &["--socket", "s"]));
    server.says("try: ");
    let secret = fs::read_to_string(folder.path().join("clacks/password")).unwrap();
    let join = || logged_in(&socket, &credentials::default_user(), secret.trim_end());
    let mut watching = join();
    watching.send(format!("STORE a={}\r\n", "x".repeat(4 << 20)).as_bytes()).unwrap();
    let _quitting = ["QUIT\r\n", ""].map(|end| {
        let mut client = join();
        client.send(format!("RETRIEVE a\r\n{end}").as_bytes()).unwrap();
        client
    });
    // One is closed and still written to, the other one is open.
    let is_client = |line: &&Vec<u8>| line.starts_with(b"CLIENT CID=");
    loop {
        watching.send(b"CLIENTLIST\r\n").unwrap();
        if watching.drain().unwrap().iter().filter(is_client).count() == 2 {
            break;
        }
    }
    let begin = Instant::now();
    server.signal(Signal::SIGTERM);
    let ended = server.ended();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let after = begin.elapsed();
    assert!((9..19).contains(&after.as_secs()), "it ended after {after:?}");
    assert_eq!(ended.stderr.matches("the other side took no more").count(), 2, "{ended:?}");
}

#[test]
fn a_client_can_stop_it() {
    let folder = temporary();
    let socket = folder.path().join("s");
    let server = Program::start(&mut clacksd(folder.path(), &["--socket", "s"]));
    server.says("try: ");
    let secret = fs::read_to_string(folder.path().join("clacks/password")).unwrap();
    let mut client = logged_in(&socket, &credentials::default_user(), secret.trim_end());
    let (other, _) = greeted(&socket);
    // 0 is ignored, an hour is too long to see: the shorter time counts.
    client.send(b"OVERHEAD S 0\r\nOVERHEAD S 3600\r\n").unwrap();
    client.barrier().unwrap();
    let asked = Instant::now();
    client.send(b"OVERHEAD S 0.3\r\n").unwrap();
    check_goodbye(client);
    assert!(asked.elapsed() >= Duration::from_millis(300), "{:?} is too early", asked.elapsed());
    check_goodbye(other);
    let ended = check_orderly(server, &socket);
    assert!(ended.stderr.contains("stops the server in 300ms"), "{ended:?}");
}

#[test]
fn a_socket_that_is_somebody_elses_by_now_is_left_alone() {
    let folder = temporary();
    let socket = folder.path().join("s");
    let server = Program::start(&mut clacksd(folder.path(), &["--socket", "s"]));
    server.says("try: ");
    fs::remove_file(&socket).unwrap();
    let other = UnixListener::bind(&socket).unwrap();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.ended().status.code(), Some(0));
    UnixStream::connect(&socket).expect("the other server's socket is still there");
    drop(other);
}

// ---- what it is told -----------------------------------------------------------------------------------------

#[test]
fn a_configuration_is_served() {
    let folder = temporary();
    let here = folder.path();
    fs::write(here.join("wire.xml"), include_str!("data/clacks-wire.xml")).unwrap();
    let server = Program::start(&mut clacksd(here, &["wire.xml"]));
    assert_eq!(server.says("\n"), "clacksd: listening on wire.sock\n");
    let (_, greeting) = greeted(&here.join("wire.sock"));
    assert_eq!(greeting, concat!("CLACKS Wire case server ", env!("CARGO_PKG_VERSION")));
    for name in ["admin", "rwuser", "rouser", "wouser", "mguser"] {
        let password = format!("{}pass", name.strip_suffix("user").unwrap_or(name));
        logged_in(&here.join("wire.sock"), name, &password);
    }
    server.signal(Signal::SIGTERM);
    let ended = check_orderly(server, &here.join("wire.sock"));
    assert_eq!(ended.stdout, "clacksd: listening on wire.sock\n");
    assert!(!here.join("clacks").exists(), "nobody asked for a private folder");
}

#[test]
fn arguments_win_over_the_configuration() {
    let folder = temporary();
    let here = folder.path();
    fs::write(here.join("c.xml"), LEAST).unwrap();
    fs::write(here.join("secret file"), "from the file\nnot this\n").unwrap();
    let sockets = ["--socket", "one.sock", "--socket", "two.sock", "--socket", "one.sock"];
    let arguments = [&["c.xml", "--user", "me:secret file"][..], &sockets].concat();
    let server = Program::start(&mut clacksd(here, &arguments));
    assert_eq!(
        server.says("try: "),
        "clacksd: listening on one.sock\nclacksd: listening on two.sock\n\
         clacksd: try: clacks --socket one.sock --user me --password-file 'secret file' set greeting hello\n"
    );
    for socket in ["one.sock", "two.sock"] {
        logged_in(&here.join(socket), "me", "from the file");
    }
    assert!(!here.join("here.sock").exists());
    let (mut client, _) = greeted(&here.join("one.sock"));
    client.send(format!("OVERHEAD A {}\r\n", token("u", "p")).as_bytes()).unwrap();
    assert_eq!([text(client.line()), text(client.line())], ["OVERHEAD F Login failed!", "<EOF>"]);

    // The permissions of somebody else do not become those of the main user.
    let other = LEAST.replace("</clacks>", "<user username='me' password='x' read='1'/></clacks>");
    fs::write(here.join("other.xml"), other).unwrap();
    check_failure(
        here,
        &["other.xml", "--user", "me:secret file"],
        "clacksd: --user: \"me\" is another user in other.xml already: choose another name\n",
    );
}

#[test]
fn a_socket_and_a_user_need_no_private_folder() {
    let folder = temporary();
    let here = folder.path();
    fs::write(here.join("secret"), "hush\n").unwrap();
    let mut command = clacksd(here, &["--socket", "a b.sock", "--user", "it's:secret"]);
    let server = Program::start(command.env("XDG_RUNTIME_DIR", "/nowhere"));
    assert_eq!(
        server.says("try: "),
        "clacksd: listening on a b.sock\n\
         clacksd: try: clacks --socket 'a b.sock' --user 'it'\\''s' --password-file secret set greeting hello\n"
    );
    logged_in(&here.join("a b.sock"), "it's", "hush");

    // Only one of them: the other one is in the folder.
    let server = Program::start(&mut clacksd(here, &["--socket", "c.sock"]));
    assert_eq!(
        server.says("try: "),
        "clacksd: listening on c.sock\nclacksd: try: clacks --socket c.sock set greeting hello\n"
    );
    let secret = fs::read_to_string(here.join("clacks/password")).unwrap();
    logged_in(&here.join("c.sock"), &credentials::default_user(), secret.trim_end());
    assert_eq!(mode(&here.join("c.sock")), 0o600);
    let server = Program::start(&mut clacksd(here, &["--user", "me:secret"]));
    server.says("try: clacks --socket");
    logged_in(&here.join("clacks/clacks.sock"), "me", "hush");
}

#[test]
fn a_configuration_is_checked() {
    let folder = temporary();
    let here = folder.path();
    let write = |text: &str| fs::write(here.join("c.xml"), text).unwrap();
    let check = || run(here, &["--check", "c.xml"]);

    write(include_str!("data/clacks-wire.xml"));
    check().check(0, "clacksd: c.xml: can be used\n", "");
    assert!(!here.join("wire.sock").exists(), "it was only to be checked");

    // Warnings are no reason not to use it.
    write(&LEAST.replace("</clacks>", "\n<pingtimout>1</pingtimout>\n<journal>1</journal></clacks>"));
    check().check(
        0,
        "clacksd: c.xml: can be used\n",
        "clacksd: c.xml:2:1: warning: <pingtimout> is unknown and has no effect: is <pingtimeout> meant?\n\
         clacksd: c.xml:3:1: warning: <journal> has no effect without <persistancefile>\n",
    );

    // Everything that is wrong, and not the first of it.
    write(
        "<clacks>\n  <username>u</username>\n  <ip>127.0.0.1</ip>\n  <maxline>1</maxline>\n\
         \x20 <user><username>u</username><read>2</read></user>\n  <socketchmod>abc</socketchmod>\n</clacks>\n",
    );
    let problems = "clacksd: c.xml:1:1: <password> is missing: the main user needs one\n\
         clacksd: c.xml:3:3: <port> is missing: <ip> needs one\n\
         clacksd: c.xml:3:3: <cert> of <ssl> is missing: <ip> needs one\n\
         clacksd: c.xml:3:3: <key> of <ssl> is missing: <ip> needs one\n\
         clacksd: c.xml:4:3: <maxline> is \"1\": expected is 1024 to 1073741824 bytes\n\
         clacksd: c.xml:5:3: <password> of <user> is missing: each user needs one\n\
         clacksd: c.xml:5:3: the user \"u\" is the main user already: choose another name\n\
         clacksd: c.xml:5:31: <read> of <user> is \"2\": expected is 0 or 1\n\
         clacksd: c.xml:6:3: <socketchmod> is \"abc\": expected is an octal mode, 0 to 777\n";
    check().check(1, "", problems);
    // To serve it fails in the same way.
    run(here, &["c.xml"]).check(1, "", problems);

    for (bad, wanted) in [
        ("", "clacksd: c.xml:1:1: "),
        ("<clacks>\n<socket>a</sock></clacks>", "clacksd: c.xml:2:10: "),
        ("<!DOCTYPE a []><clacks/>", "clacksd: c.xml:1:1: "),
        ("<clacks>&nothing;</clacks>", "clacksd: c.xml:1:9: "),
    ] {
        write(bad);
        let ended = check();
        assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(1), ""), "{bad}: {ended:?}");
        assert!(ended.stderr.starts_with(wanted) && ended.stderr.lines().count() == 1, "{bad}: {ended:?}");
    }
}

#[test]
fn a_configuration_is_found_and_its_variables_are_replaced() {
    let folder = temporary();
    let here = folder.path();
    for (place, name) in [("configs", "third"), ("a", "first"), ("b", "second")] {
        fs::create_dir(here.join(place)).unwrap();
        let text = LEAST.replace("here.sock", "PC_RUN/PC_RUN_NAME.sock");
        let text = text.replace("</clacks>", &format!("<appname>{name}</appname></clacks>"));
        fs::write(here.join(place).join("c.xml"), text).unwrap();
    }
    fs::remove_file(here.join("a/c.xml")).unwrap();
    fs::write(here.join("a/only.xml"), LEAST).unwrap();

    let check = |paths: &str, wanted: &str| {
        let mut command = clacksd(here, &["c.xml"]);
        command.env("PC_RUN", here).env("PC_RUN_NAME", "it").env("PC_CONFIG_PATHS", paths);
        let server = Program::start(&mut command);
        let socket = here.join("it.sock");
        listening(&server, &socket);
        assert_eq!(greeted(&socket).1, format!("CLACKS {wanted} {}", env!("CARGO_PKG_VERSION")), "{paths:?}");
    };
    check("", "third");
    check("a:b", "second");
    check("nowhere:configs:b", "third");
    fs::write(here.join("c.xml"), "<clacks/>").unwrap();
    check("b", "second");

    let mut command = clacksd(here, &["--check", "c.xml"]);
    Program::start(command.env("PC_CONFIG_PATHS", "a:nowhere")).ended().check(
        1,
        "",
        "clacksd: c.xml: there is no such file: tried \"a/c.xml\", \"nowhere/c.xml\"\n",
    );
}

#[test]
fn socket_commands_run_once_the_sockets_are_there_with_their_mode() {
    for umask in ["0777", "0"] {
        let folder = temporary();
        let here = folder.path();
        let commands = "<socketchmod>620</socketchmod>\n<socketcommands>\
             <item>echo first; stat -c 'mode %a' here.sock; false</item>\
             <item>echo second &amp;&amp; kill -9 $$</item>\
             <item>echo third</item></socketcommands></clacks>";
        fs::write(here.join("c.xml"), LEAST.replace("</clacks>", commands)).unwrap();
        let mut command = command("sh");
        command
            .args(["-c", &format!("umask {umask}; exec \"$0\" c.xml"), CLACKSD.unwrap()])
            .current_dir(here);
        let server = Program::start(&mut command);
        assert_eq!(
            server.says("third\n"),
            "clacksd: listening on here.sock\nfirst\nmode 620\nsecond\nthird\n"
        );
        server.logs("socket command \"echo third\": done\n");
        server.signal(Signal::SIGTERM);
        let log = check_orderly(server, &here.join("here.sock")).stderr;
        assert!(log.contains("here.sock; false\": exit status: 1\n"), "{log}");
        assert!(log.contains("kill -9 $$\": signal: 9 (SIGKILL)\n"), "{log}");
    }
}

#[test]
fn a_socket_command_that_takes_its_time_holds_nobody_up() {
    let folder = temporary();
    let here = folder.path();
    // It waits for the standard input of the server, which is a pipe from here.
    let commands = "<socketcommands><item>echo begins; read a</item></socketcommands></clacks>";
    fs::write(here.join("c.xml"), LEAST.replace("</clacks>", commands)).unwrap();
    let mut command = command("sh");
    let script = "mkfifo wait; exec 3<>wait; exec \"$0\" c.xml <&3";
    command.args(["-c", script, CLACKSD.unwrap()]).current_dir(here);
    let server = Program::start(&mut command);
    server.says("begins");
    let client = logged_in(&here.join("here.sock"), "u", "p");
    server.signal(Signal::SIGTERM);
    check_goodbye(client);
    fs::write(here.join("wait"), "go on\n").unwrap();
    check_orderly(server, &here.join("here.sock"));
}

#[test]
fn as_much_is_logged_as_was_asked_for_and_never_a_password() {
    fn log(level: &str) -> String {
        let folder = temporary();
        let here = folder.path();
        fs::write(here.join("secret"), "a-very-secret-password\n").unwrap();
        let arguments = ["--socket", "s", "--user", "me:secret", "--log-level", level];
        let server = Program::start(&mut clacksd(here, &arguments));
        server.says("try: ");
        let mut monitor = logged_in(&here.join("s"), "me", "a-very-secret-password");
        monitor.send(b"MONITOR\r\n").unwrap();
        let mut client = logged_in(&here.join("s"), "me", "a-very-secret-password");
        client.send(b"OVERHEAD E it hurts\r\n").unwrap();
        client.send(format!("OVERHEAD AG {}\r\n", token("me", "a-very-secret-password")).as_bytes()).unwrap();
        assert_eq!(text(client.line()), "OVERHEAD O Welcome!");
        client.send(format!("OVERHEAD A {}\r\n", token("me", "a-very-secret-passwort")).as_bytes()).unwrap();
        assert_eq!([text(client.line()), text(client.line())], ["OVERHEAD F Login failed!", "<EOF>"]);
        let shown = monitor.drain().unwrap().into_iter().map(|line| show(&line)).collect::<String>();
        server.signal(Signal::SIGTERM);
        let ended = check_orderly(server, &here.join("s"));
        for secret in ["a-very-secret", "YS12ZXJ5"] {
            assert!(!ended.stderr.contains(secret), "{level}: {ended:?}");
            assert!(!shown.contains(secret), "{shown}");
        }
        ended.stderr
    }
    let check = |level: &str, there: &[&str], absent: &[&str]| {
        let log = log(level);
        assert!(there.iter().all(|text| log.contains(text)), "{level}: {there:?} is not in {log}");
        assert!(!absent.iter().any(|text| log.contains(text)), "{level}: {absent:?} is in {log}");
    };
    assert_eq!(log("off"), "");
    assert_eq!(log("error"), "");
    check("warn", &["login failed", "reports: it hurts"], &["logged in as", "added"]);
    check("info", &["login failed", "logged in as me", "ended in order"], &["added"]);
    check("debug", &["logged in as me", "added"], &["still here"]);
    check("trace", &["added", "still here"], &[]);
}

#[test]
fn help_and_version_are_told() {
    let folder = temporary();
    let version = concat!("clacksd ", env!("CARGO_PKG_VERSION"), "\n");
    run(folder.path(), &["--version"]).check(0, version, "");
    run(folder.path(), &["-V"]).check(0, version, "");
    let ended = run(folder.path(), &["--help"]);
    assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(0), ""));
    for word in ["[CONFIG.xml]", "--check", "--socket", "--user", "--log-level", "Exit status", "SIGTERM"] {
        assert!(ended.stdout.contains(word), "{word} is not in {}", ended.stdout);
    }
    for (page, word) in [
        ("man", ".TH clacksd"),
        ("bash", "_clacksd"),
        ("zsh", "#compdef clacksd"),
        ("fish", "complete -c clacksd"),
    ] {
        let ended = run(folder.path(), &["--print", page]);
        assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(0), ""));
        for word in [word, "log", "socket"] {
            assert!(ended.stdout.contains(word), "{word} is not in {}", ended.stdout);
        }
    }
    assert!(!folder.path().join("clacks").exists());
}

#[test]
fn a_wrong_command_line_is_explained() {
    let folder = temporary();
    let check = |arguments: &[&str], wanted: &str| {
        let ended = run(folder.path(), arguments);
        assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(2), ""), "{arguments:?}: {ended:?}");
        assert!(ended.stderr.contains(wanted), "{arguments:?}: {wanted:?} is not in {}", ended.stderr);
    };
    check(&["--nope"], "unexpected argument '--nope'");
    check(&["a.xml", "b.xml"], "unexpected argument 'b.xml'");
    check(&["--check"], "<CONFIG.xml>");
    check(&["--socket"], "--socket");
    check(&["--socket", ""], "--socket");
    check(&["--user"], "--user");
    check(&["--user", "me"], "must be a name, a colon and the path of a file");
    check(&["--user", ":file"], "must be a name, a colon and the path of a file");
    check(&["--user", "a:b", "--user", "c:d"], "--user");
    check(&["--log-level", "loud"], "[possible values: off, error, warn, info, debug, trace]");
    check(&[""], "CONFIG.xml");
    assert!(!folder.path().join("clacks").exists());
}

// ---- what keeps it from serving ------------------------------------------------------------------------------

#[test]
fn what_can_not_be_read_is_named() {
    let folder = temporary();
    let here = folder.path();
    let check = |arguments: &[&str], wanted: &str| check_failure(here, arguments, wanted);
    check(
        &["nope.xml"],
        "clacksd: nope.xml: there is no such file: tried \"nope.xml\", \"configs/nope.xml\"\n",
    );
    check(
        &["--check", "/dev/null/x"],
        "clacksd: /dev/null/x: there is no such file: tried \"/dev/null/x\"\n",
    );
    fs::create_dir(here.join("folder")).unwrap();
    check(&["folder"], "clacksd: folder: there is no such file: tried \"folder\", \"configs/folder\"\n");
    fs::write(here.join("binary"), b"<clacks>\xff</clacks>").unwrap();
    check(&["binary"], "clacksd: binary:1:9: the text is no UTF-8 from here on: save the file as UTF-8\n");

    fs::write(here.join("c.xml"), LEAST).unwrap();
    for configuration in [&["c.xml"][..], &["--socket", "s"], &[]] {
        let check = |user: &str, wanted: &str| check(&[configuration, &["--user", user]].concat(), wanted);
        check("me:nope", "clacksd: can't open nope: No such file or directory (os error 2)\n");
        check("me:folder", "clacksd: can't read folder: Is a directory (os error 21)\n");
        check("me:/dev/null", "clacksd: /dev/null has no password in its first line\n");
        check("me:/dev/zero", "clacksd: /dev/zero is too long to be a password file\n");
        check("me:binary", "clacksd: binary is no UTF-8 text\n");
    }
}

#[test]
fn what_can_not_be_listened_on_is_named() {
    let folder = temporary();
    let here = folder.path();
    let check = |socket: &str, wanted: &str| {
        check_failure(here, &["--socket", "first.sock", "--socket", socket], wanted);
        assert!(!here.join("first.sock").exists(), "{socket}: the first socket is left over");
    };
    check("nowhere/s", "clacksd: can't listen on nowhere/s: No such file or directory (os error 2)\n");
    fs::write(here.join("file"), "precious").unwrap();
    check("file", "clacksd: can't listen on file: there is something else than a socket\n");
    assert_eq!(fs::read_to_string(here.join("file")).unwrap(), "precious");
    check("file/s", "clacksd: can't listen on file/s: Not a directory (os error 20)\n");
    check(".", "clacksd: can't listen on .: there is something else than a socket\n");
    symlink("file", here.join("link")).unwrap();
    check("link", "clacksd: can't listen on link: there is something else than a socket\n");
    check(
        &"x".repeat(108),
        &format!("clacksd: can't listen on {}: File name too long (os error 36)\n", "x".repeat(108)),
    );
    fs::create_dir(here.join("clacks/clacks.sock")).unwrap();
    check_failure(
        here,
        &[],
        "clacksd: can't listen on {}/clacks/clacks.sock: there is something else than a socket\n",
    );
    // Nobody, not even root, can make a socket here.
    check("/proc/s", "clacksd: can't listen on /proc/s: No such file or directory (os error 2)\n");

    // A configuration says where.
    fs::write(here.join("c.xml"), LEAST.replace("here.sock", &"x".repeat(108))).unwrap();
    check_failure(
        here,
        &["c.xml"],
        "clacksd: c.xml:1:9: <socket> is 108 bytes long: the path of a socket has 107 at most\n",
    );
    fs::write(here.join("c.xml"), LEAST.replace("here.sock", "nowhere/s")).unwrap();
    check_failure(here, &["c.xml"], "clacksd: c.xml:1:9: <socket>: there is no folder \"nowhere\"\n");
    // That socket does not count then.
    run(here, &["--check", "c.xml", "--socket", "s"]).check(0, "clacksd: c.xml: can be used\n", "");
}

/// What the server would fail for, or serve for hours and keep nothing, is an error from the beginning.
#[test]
fn a_folder_that_is_not_there_is_found_by_the_check_and_at_the_start() {
    let folder = temporary();
    let here = folder.path();
    let kept = LEAST.replace("</clacks>", "\n<persistancefile>kep/x.dat</persistancefile></clacks>");
    for (text, problems) in [
        (
            LEAST.replace("here.sock", "PC_RUN/s"),
            "clacksd: c.xml:1:9: warning: <socket> holds \"PC_RUN\": no environment variable of that name is set\n\
             clacksd: c.xml:1:9: <socket>: there is no folder \"PC_RUN\"\n",
        ),
        (kept, "clacksd: c.xml:2:1: <persistancefile>: there is no folder \"kep\"\n"),
    ] {
        fs::write(here.join("c.xml"), text).unwrap();
        for arguments in [&["c.xml", "--check"][..], &["c.xml"]] {
            let mut command = clacksd(here, arguments);
            Program::start(command.env_remove("PC_RUN")).ended().check(1, "", problems);
        }
    }
    assert!(!here.join("here.sock").exists());
}

#[test]
fn a_live_server_is_not_disturbed_and_a_dead_ones_socket_is_replaced() {
    let folder = temporary();
    let here = folder.path();
    let socket = here.join("clacks/clacks.sock");
    let first = Program::start(&mut clacksd(here, &[]));
    listening(&first, &socket);
    let secret = fs::read_to_string(here.join("clacks/password")).unwrap();
    let mut client = logged_in(&socket, &credentials::default_user(), secret.trim_end());
    client.send(b"STORE a=1\r\n").unwrap();
    check_failure(
        here,
        &[],
        "clacksd: can't listen on {}/clacks/clacks.sock: another process answers there\n",
    );
    client.send(b"RETRIEVE a\r\n").unwrap();
    assert_eq!(text(client.line()), "RETRIEVED a=1");
    logged_in(&socket, &credentials::default_user(), secret.trim_end());

    first.signal(Signal::SIGKILL);
    assert_eq!(text(client.line()), "<EOF>");
    assert_eq!(first.ended().status.signal(), Some(9));
    assert!(socket.exists(), "nobody has taken it away");
    let second = Program::start(&mut clacksd(here, &[]));
    listening(&second, &socket);
    logged_in(&socket, &credentials::default_user(), secret.trim_end());
    second.signal(Signal::SIGTERM);
    check_orderly(second, &socket);
}

#[test]
fn what_is_not_permitted_is_named() {
    let folder = temporary();
    let here = folder.path();
    // As a user who is not root; root may do everything.
    let as_other = |arguments: &[&str]| {
        let mut command = clacksd(here, arguments);
        if geteuid().is_root() {
            command.uid(OTHER).gid(OTHER);
        }
        match command.output() {
            Ok(output) => Some(output),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                println!("the program is where user {OTHER} can't run it: not tested");
                None
            }
            Err(error) => panic!("{error}"),
        }
    };
    let check = |arguments: &[&str], wanted: &str| {
        let Some(output) = as_other(arguments) else { return };
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.as_str()), (Some(1), wanted), "{arguments:?}");
    };
    let denied = "Permission denied (os error 13)\n";
    fs::write(here.join("secret"), "hush\n").unwrap();
    fs::write(here.join("c.xml"), LEAST).unwrap();
    fs::create_dir(here.join("closed")).unwrap();
    let live = UnixListener::bind(here.join("live.sock")).unwrap();
    for path in ["secret", "c.xml", "closed", "live.sock"] {
        set_mode(&here.join(path), 0);
    }
    set_mode(here, 0o555);
    let shown = here.display();
    check(&[], &format!("clacksd: can't make the folder {shown}/clacks: {denied}"));
    check(&["c.xml"], &format!("clacksd: c.xml: can't be read: {denied}"));
    check(&["closed/c.xml"], &format!("clacksd: closed/c.xml: can't be looked at: {denied}"));
    check(&["--socket", "s", "--user", "me:secret"], &format!("clacksd: can't open secret: {denied}"));
    set_mode(&here.join("secret"), 0o444);
    for socket in ["s", "closed/s", "live.sock"] {
        check(
            &["--socket", socket, "--user", "me:secret"],
            &format!("clacksd: can't listen on {socket}: {denied}"),
        );
    }
    set_mode(here, 0o755);
    set_mode(&here.join("closed"), 0o755);
    drop(live);
}

#[test]
fn nobody_needs_to_read_what_it_says() {
    let folder = temporary();
    let here = folder.path();
    fs::write(here.join("c.xml"), LEAST).unwrap();
    fs::write(here.join("warn.xml"), LEAST.replace("</clacks>", "<x/></clacks>")).unwrap();
    let closed = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        Stdio::from(writer)
    };
    let check = |arguments: &[&str], code: i32| {
        let mut command = clacksd(here, arguments);
        let status = command.stdin(Stdio::null()).stdout(closed()).stderr(closed()).status().unwrap();
        assert_eq!(status.code(), Some(code), "{arguments:?}");
    };
    check(&["--check", "c.xml"], 0);
    check(&["--check", "warn.xml"], 0);
    check(&["--check", "nope.xml"], 1);
    check(&["--socket", "nowhere/s"], 1);
    check(&["--help"], 0);
    check(&["--version"], 0);
    check(&["--nope"], 2);

    let mut command = clacksd(here, &["c.xml", "--log-level", "trace"]);
    let mut server = command.stdin(Stdio::null()).stdout(closed()).stderr(closed()).spawn().unwrap();
    let socket = here.join("here.sock");
    let deadline = Instant::now() + DEADLINE;
    while UnixStream::connect(&socket).is_err() {
        assert!(Instant::now() < deadline && server.try_wait().unwrap().is_none(), "it does not listen");
        std::thread::yield_now();
    }
    logged_in(&socket, "u", "p").send(b"OVERHEAD S 0.01\r\n").unwrap();
    assert_eq!(server.wait().unwrap().code(), Some(0));
}

#[test]
fn a_debug_file_tells_of_each_client() {
    let folder = temporary();
    let text = LEAST.replace("</clacks>", "<debugfile>state</debugfile></clacks>");
    fs::write(folder.path().join("c.xml"), text).unwrap();
    let server = Program::start(&mut clacksd(folder.path(), &["c.xml"]));
    listening(&server, Path::new("here.sock"));
    let file = folder.path().join("state");
    let deadline = Instant::now() + DEADLINE;
    let read = || fs::read_to_string(&file).unwrap_or_default();
    // The first one is written at once, the next with the client some seconds later.
    while !read().contains("\nclients=0\n") {
        assert!(Instant::now() < deadline, "{:?}", read());
        std::thread::yield_now();
    }
    let mut client = logged_in(&folder.path().join("here.sock"), "u", "p");
    client.send(b"CLACKS me\r\n").unwrap();
    while !read().contains("\nCLIENTINFO=me\n") {
        assert!(Instant::now() < deadline, "{:?}", read());
        client.is_silent_for(Duration::from_millis(100)).unwrap();
    }
    let told = read();
    assert!(told.contains("\n[unixdomainsocket:") && told.contains("\nUSER=u\n"), "{told}");
}
