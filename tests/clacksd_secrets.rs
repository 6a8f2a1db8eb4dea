//! Where passwords could be seen: in what is dumped, in the list of processes.
#![cfg(all(feature = "clacks", feature = "cli"))]

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use eventdispatcher::connections::clacks::client::{ClientOptions, Login};
use eventdispatcher::connections::clacks::credentials::Password;
use eventdispatcher::connections::clacks::{self, Users};
use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use support::daemon::{Program, command, status};
use tempfile::TempDir;

const CLACKSD: Option<&str> = option_env!("CARGO_BIN_EXE_clacksd");
const CLACKS: Option<&str> = option_env!("CARGO_BIN_EXE_clacks");
const PASSWORD: &str = "correct-horse-battery-staple";

/// A folder that others may enter, with the password in a file that they can't read.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
    fs::write(folder.path().join("secret"), PASSWORD).unwrap();
    fs::set_permissions(folder.path().join("secret"), Permissions::from_mode(0o600)).unwrap();
    folder
}

/// In a folder, and allowed to leave a core dump of any size there.
fn in_folder(folder: &Path, script: &str) -> Command {
    let mut command = command("sh");
    command.args(["-c", &format!("ulimit -c unlimited; {script}"), CLACKSD.unwrap()]).current_dir(folder);
    command
}

#[test]
fn a_server_that_dies_leaves_no_core_dump() {
    let folder = folder();
    let control = in_folder(folder.path(), "kill -ABRT $$").stderr(Stdio::null()).status().unwrap();
    if !control.core_dumped() {
        println!("this system keeps no core dumps: not tested");
        return;
    }
    let server = Program::start(&mut in_folder(folder.path(), "exec \"$0\" --socket s --user admin:secret"));
    server.says("try: ");
    server.signal(Signal::SIGABRT);
    let ended = server.ended().status;
    assert_eq!(ended.signal(), Some(Signal::SIGABRT as i32));
    assert!(!ended.core_dumped(), "its memory was dumped");
}

#[test]
fn nobody_else_of_its_user_can_look_into_its_memory() {
    if !geteuid().is_root() {
        println!("only root can become someone else: not tested");
        return;
    }
    let folder = folder();
    let script = "exec \"$0\" --socket s --user admin:secret --run-as 65534:65534";
    let server = Program::start(&mut in_folder(folder.path(), script));
    server.says("try: ");
    // What belongs to a process that may be looked into belongs to its user.
    let control = Program::start(command("sleep").arg("1000").uid_of_nobody());
    let owner = |pid: u32, name: &str| fs::metadata(format!("/proc/{pid}/{name}")).unwrap().uid();
    for name in ["mem", "environ", "maps", "fd"] {
        assert_eq!(owner(server.pid(), name), 0, "{name}");
        assert_eq!(owner(control.pid(), name), 65534, "{name}");
    }
    assert_eq!(status(&format!("/proc/{}/status", server.pid()), "Uid"), 65534);
}

/// For a process of another user.
trait UidOfNobody {
    fn uid_of_nobody(&mut self) -> &mut Self;
}

impl UidOfNobody for Command {
    fn uid_of_nobody(&mut self) -> &mut Self {
        std::os::unix::process::CommandExt::uid(self, 65534)
    }
}

#[test]
fn the_list_of_processes_shows_no_password() {
    let folder = folder();
    let server = Program::start(&mut in_folder(
        folder.path(),
        "exec \"$0\" --socket s --user admin:secret --log-level trace",
    ));
    server.says("try: ");
    let mut listen = command(CLACKS.unwrap());
    listen.args(["listen", "a"]).current_dir(folder.path()).env("CLACKS_SOCKET", "s");
    listen.env("CLACKS_USER", "admin").env("CLACKS_PASSWORD_FILE", "secret");
    let listening = Program::start(&mut listen);
    server.logs("logged in");
    for program in [&server, &listening] {
        for name in ["cmdline", "comm", "status"] {
            let shown = fs::read(format!("/proc/{}/{name}", program.pid())).unwrap();
            let shown = String::from_utf8_lossy(&shown);
            assert!(!shown.is_empty() && !shown.contains(PASSWORD), "{name}: {shown}");
        }
    }
    // There is no way to give one as an argument.
    for program in [CLACKSD.unwrap(), CLACKS.unwrap()] {
        let refused = command(program).args(["--password", PASSWORD]).output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains("--password"), "{said}");
    }
}

#[test]
fn nothing_shows_a_password_when_it_is_printed_for_debugging() {
    let encoded = STANDARD.encode(PASSWORD);
    let mut users = Users::default();
    users.add("admin", PASSWORD, clacks::Permissions::ALL);
    let login = Login::new("admin", PASSWORD);
    let options = ClientOptions::new().user("admin").password(Password::new(PASSWORD));
    let shown = [
        format!("{users:?}"),
        format!("{login:#?}"),
        format!("{options:#?}"),
        format!("{:?}", options.login().unwrap()),
        format!("{:?}", Password::new(PASSWORD)),
    ];
    for shown in shown {
        assert!(!shown.contains(PASSWORD) && !shown.contains(&encoded), "{shown}");
    }
}
