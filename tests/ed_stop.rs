//! `ed-stop` as a process, against real ones.
#![cfg(feature = "cli")]

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

/// A process to stop. It ends with this value.
struct Victim(Child);

impl Victim {
    /// Runs a command that prints a line when it can be stopped.
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self(child)
    }

    /// One that ignores some signals.
    fn ignoring(signals: &str) -> Self {
        let mut command = Command::new("env");
        command.arg("--default-signal");
        if !signals.is_empty() {
            command.arg(format!("--ignore-signal={signals}"));
        }
        Self::start(command.args(["sh", "-c", "echo ready; exec sleep 1000"]))
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }

    fn is_alive(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ed_stop() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ed-stop"));
    command.env_remove("ED_STOP");
    command
}

/// Runs it; gives the exit code, and what it said on standard output and error.
fn run(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn check(command: &mut Command, code: i32, out: &str, err: &str) {
    let (got, stdout, stderr) = run(command);
    assert!(
        got == code && stdout.contains(out) && stderr.contains(err) && stderr.is_empty() == err.is_empty(),
        "{command:?}: exit {got} instead of {code}\nsaid {stdout:?} instead of {out:?}\nand {stderr:?} instead of {err:?}"
    );
}

#[test]
fn a_process_is_asked_ever_more_urgently() {
    let check_steps = |ignored: &str, options: &[&str], code, out: &str, err: &str| {
        let mut victim = Victim::ignoring(ignored);
        let pid = victim.pid();
        let out = out.replace("PID", &pid);
        check(
            ed_stop().args(["--timeout", "0.2"]).args(options).arg(&pid),
            code,
            &out,
            &err.replace("PID", &pid),
        );
        assert_eq!(victim.is_alive(), code != 0, "ignoring {ignored}");
    };
    check_steps("", &[], 0, "ed-stop: process PID has ended after SIGINT, in ", "");
    check_steps("INT", &[], 0, "process PID has ended after SIGTERM, in ", "");
    let alive = "ed-stop: process PID is still alive after SIGINT, SIGTERM; --kill would send SIGKILL\n";
    check_steps("INT,TERM", &[], 1, "", alive);
    check_steps("INT,TERM", &["--kill"], 0, "process PID has ended after SIGKILL, in ", "");
}

#[test]
fn who_is_suspended_is_waked_to_end() {
    let victim = Victim::ignoring("");
    kill(Pid::from_raw(victim.pid().parse().unwrap()), Signal::SIGSTOP).unwrap();
    check(ed_stop().args(["-t", "20", &victim.pid()]), 0, "has ended after SIGINT", "");
}

#[test]
fn what_has_ended_already_is_no_error() {
    let mut child = Command::new("true").spawn().unwrap();
    let id = Pid::from_raw(child.id().try_into().unwrap());
    // Stays a zombie.
    waitid(Id::Pid(id), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();
    check(ed_stop().arg(child.id().to_string()), 0, "has ended already", "");
    child.wait().unwrap();
    // No process has a number so high.
    check(ed_stop().arg("4194305"), 0, "ed-stop: 4194305 is not running\n", "");
}

#[test]
fn what_must_not_be_stopped_is_refused() {
    check(ed_stop().arg("1"), 1, "", "process 1 is the system itself");
    check(ed_stop().arg("0"), 1, "", "0 is no number of a process");
    check(ed_stop().arg("99999999999"), 1, "", "is no number of a process");
    let own = format!("exec {} $$", env!("CARGO_BIN_EXE_ed-stop"));
    check(Command::new("sh").arg("-c").arg(own), 1, "", "that is this process itself");
    // A thread of this process, not this process.
    let thread = std::thread::spawn(move || {
        let id = nix::unistd::gettid().to_string();
        check(ed_stop().arg(id), 1, "", "is a thread, not a process");
    });
    thread.join().unwrap();
}

/// A folder with a `systemctl` that says that the main process of every unit is `answer`, and writes down its arguments.
fn systemctl(answer: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("systemctl");
    let log = folder.path().join("arguments");
    let script = format!("#!/bin/sh\nprintf '%s|' \"$@\" >{}\n{answer}\n", log.display());
    fs::write(&file, script).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn with_path(folder: &Path) -> Command {
    let mut command = ed_stop();
    command.env("PATH", format!("{}:/usr/bin:/bin", folder.display()));
    command
}

#[test]
fn a_name_is_that_of_a_unit() {
    let mut victim = Victim::ignoring("");
    let folder = systemctl(&format!("echo {}", victim.pid()));
    let out = format!("ed-stop: cluckd (process {}) has ended after SIGINT", victim.pid());
    check(with_path(folder.path()).args(["--service", "cluckd"]), 0, &out, "");
    assert!(!victim.is_alive());
    let arguments = fs::read_to_string(folder.path().join("arguments")).unwrap();
    assert_eq!(arguments, "show|--property|MainPID|--value|--|cluckd|");
}

#[test]
fn a_name_is_no_command() {
    let folder = systemctl("echo 0");
    let name = "x; touch injected";
    check(with_path(folder.path()).current_dir(folder.path()).arg(name), 0, "is not running", "");
    let arguments = fs::read_to_string(folder.path().join("arguments")).unwrap();
    assert!(arguments.ends_with(&format!("|--|{name}|")), "{arguments}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn systemd_may_not_be_there_or_make_no_sense() {
    for nothing in ["", "exit 1", "echo; echo 0"] {
        let folder = systemctl(nothing);
        check(with_path(folder.path()).arg("no-such-service"), 0, "no-such-service is not running\n", "");
    }
    let folder = systemctl("echo twelve");
    check(with_path(folder.path()).arg("x"), 1, "", "systemctl answers \"twelve\"");
    let empty = tempfile::tempdir().unwrap();
    check(ed_stop().env("PATH", empty.path()).arg("no-such-service"), 0, "is not running", "");
}

#[test]
fn a_path_is_that_of_a_pid_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.pid");
    let path = file.display().to_string();
    check(ed_stop().arg(&path), 0, "is not running", "");
    for garbage in ["", "abc", "12 13", "-"] {
        fs::write(&file, garbage).unwrap();
        check(ed_stop().arg(&path), 1, "", "holds no number of a process");
    }
    for number in ["0", "-1", "-2147483648"] {
        fs::write(&file, number).unwrap();
        check(ed_stop().arg(&path), 1, "", "is no number of a process");
    }
    let mut victim = Victim::ignoring("");
    fs::write(&file, format!("{}\n", victim.pid())).unwrap();
    // Left behind by another process of the same number.
    File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_modified(SystemTime::now() - Duration::from_secs(3600))
        .unwrap();
    check(ed_stop().arg(&path), 1, "", "so it means another one");
    assert!(victim.is_alive());
    File::options().write(true).open(&file).unwrap().set_modified(SystemTime::now()).unwrap();
    check(ed_stop().arg(&path), 0, "has ended after SIGINT", "");
}

#[test]
fn a_name_may_be_that_of_a_program() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("ed-stop-victim-1");
    fs::copy("/bin/sh", &program).unwrap();
    let mut victim = Victim::start(Command::new(&program).args(["-c", "echo ready; read line"]));
    let hint = format!("is not running as a service; process {} is a program of this name", victim.pid());
    check(ed_stop().arg("ed-stop-victim-1"), 0, &hint, "");
    assert!(victim.is_alive());
    check(ed_stop().args(["-p", "ed-stop-victim-1"]), 0, "has ended after SIGINT", "");
    assert!(!victim.is_alive());
    check(ed_stop().args(["-p", "ed-stop-victim-1"]), 0, "is not running", "");

    // A script, once with a name that the system cuts.
    for name in ["ed-victim-2", "ed-stop-victim-3-of-many"] {
        let script = folder.path().join(name);
        fs::write(&script, "#!/bin/sh\necho ready\nread line\n").unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let mut victim = Victim::start(&mut Command::new(&script));
        // Not what has the name among its arguments only.
        let mut other = Victim::start(Command::new("sh").args(["-c", "echo ready; read line", name]));
        check(ed_stop().args(["--process-name", name]), 0, "has ended after SIGINT", "");
        assert!(!victim.is_alive() && other.is_alive(), "{name}");
    }

    let (mut one, mut two) = (
        Victim::start(Command::new(&program).args(["-c", "echo ready; read line"])),
        Victim::start(Command::new(&program).args(["-c", "echo ready; read line"])),
    );
    check(
        ed_stop().args(["-p", "ed-stop-victim-1"]),
        1,
        "",
        "several processes are called ed-stop-victim-1: ",
    );
    assert!(one.is_alive() && two.is_alive());
}

#[test]
fn a_process_is_first_asked_by_a_message() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let mut victim = Victim::start(Command::new("sh").args(["-c", "echo ready; read line"]));
    let stdin = victim.0.stdin.take();
    let thread = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        // Ends by itself.
        drop(stdin);
        line
    });
    check(ed_stop().arg("--soft").arg(&socket).arg(victim.pid()), 0, "has ended after the message STOP", "");
    let line = thread.join().unwrap();
    assert!(line.starts_with('<') && line.ends_with(":ed_stop STOP\n"), "{line}");

    // Who does not listen is asked by a signal.
    let victim = Victim::ignoring("");
    let command = &mut ed_stop();
    check(command.arg("--soft").arg(&socket).arg(victim.pid()), 0, "has ended after SIGINT", "not sent to");
    // Who listens and does nothing, too.
    let _listener = UnixListener::bind(folder.path().join("deaf")).unwrap();
    let victim = Victim::ignoring("");
    let command = &mut ed_stop();
    command.args(["--timeout", "0.1", "--soft"]).arg(folder.path().join("deaf"));
    check(command.arg(victim.pid()), 0, "has ended after SIGINT", "");
}

#[test]
fn options_may_be_in_the_environment() {
    let mut victim = Victim::ignoring("INT,TERM");
    check(ed_stop().env("ED_STOP", "--timeout 0.1 --kill").arg(victim.pid()), 0, "after SIGKILL", "");
    assert!(!victim.is_alive());
    check(ed_stop().env("ED_STOP", "--timeout '").arg("4194305"), 2, "", "ED_STOP has a quote");
}

#[test]
fn a_wrong_command_line_is_said_to_be_wrong() {
    for arguments in [&[][..], &["-5"], &["a", "b"], &["--timeout", "0", "a"], &[""]] {
        let (code, _, stderr) = run(ed_stop().args(arguments));
        assert_eq!(code, 2, "{arguments:?}");
        assert!(stderr.contains("error:"), "{stderr}");
    }
}

#[test]
fn help_and_pages_are_there() {
    for (option, expected) in [("--help", "SIGKILL"), ("--man", ".TH ed-stop"), ("--version", "ed-stop ")] {
        check(ed_stop().arg(option), 0, expected, "");
    }
    check(ed_stop().args(["--completions", "bash"]), 0, "complete -F ", "");
    // A pipe that nobody reads.
    let mut child = ed_stop().arg("4194305").stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}
