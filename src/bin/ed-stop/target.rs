//! Which process is meant.

use crate::process::Process;
use nix::unistd::{SysconfVar, sysconf};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

/// systemd answers within this time, or not at all.
const SYSTEMD_TIME: Duration = Duration::from_secs(20);

/// A file that is longer holds no number of a process.
const PID_FILE_MAX: u64 = 64;

/// The system keeps so many bytes of the name that a process has for itself.
const OWN_NAME_MAX: usize = 15;

/// A process has started before its number was written to a file; the clocks that tell are no finer than this.
const CLOCK_SLACK: Duration = Duration::from_secs(2);

/// Finds the process that is meant by a number or a name. `Err`: there is no telling; `Ok(None)`: it is not running.
///
/// # Errors
/// When the name means nothing, or too much.
pub(crate) fn find(target: &str, by_process_name: bool) -> Result<Option<Process>, String> {
    let found = if target.bytes().all(|byte| byte.is_ascii_digit()) {
        let pid = target.parse().map_err(|_| format!("{target:?} is no number of a process"))?;
        Process::open(pid)?
    } else if target.contains('/') {
        of_pid_file(Path::new(target))?
    } else {
        match of_unit(target)? {
            Some(process) => Some(process),
            None => match of_usual_pid_file(target)? {
                None if by_process_name => of_program(target)?,
                found => found,
            },
        }
    };
    match &found {
        Some(process) if process.pid() == 1 => Err("process 1 is the system itself".to_owned()),
        Some(process) if process.pid().unsigned_abs() == std::process::id() => {
            Err("that is this process itself".to_owned())
        }
        _ => Ok(found),
    }
}

/// The main process of a unit of systemd. Where there is no systemd, there is none.
fn of_unit(name: &str) -> Result<Option<Process>, String> {
    let spawned = Command::new("systemctl")
        .args(["show", "--property", "MainPID", "--value", "--", name])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("systemctl can't be started: {error}")),
    };
    let in_time = match i32::try_from(child.id()).map(Process::open) {
        Ok(Ok(Some(systemctl))) => systemctl.wait(SYSTEMD_TIME)?,
        _ => true,
    };
    if !in_time {
        // It may have ended by now.
        let _ = child.kill();
    }
    let output = child.wait_with_output().map_err(|error| format!("systemctl can't be read: {error}"))?;
    if !in_time {
        return Err("systemctl gives no answer".to_owned());
    }
    if !output.status.success() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    match text.trim() {
        "" | "0" => Ok(None),
        digits => match digits.parse() {
            Ok(pid) => Process::open(pid),
            Err(_) => Err(format!("systemctl answers {digits:?}, which is no number of a process")),
        },
    }
}

fn of_usual_pid_file(name: &str) -> Result<Option<Process>, String> {
    let run = Path::new("/run");
    for file in [run.join(format!("{name}.pid")), run.join(name).join(format!("{name}.pid"))] {
        if file.exists()
            && let Some(process) = of_pid_file(&file)?
        {
            return Ok(Some(process));
        }
    }
    Ok(None)
}

/// The process whose number is in a file.
///
/// # Errors
/// Also when the file was left behind: its number is another process's by now, one that has started after it was written.
fn of_pid_file(file: &Path) -> Result<Option<Process>, String> {
    let failed = |error: io::Error| format!("{}: {error}", file.display());
    let opened = match fs::File::open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let written = opened.metadata().and_then(|found| found.modified()).map_err(failed)?;
    let mut text = String::new();
    opened.take(PID_FILE_MAX).read_to_string(&mut text).map_err(failed)?;
    let pid = text.trim().parse().map_err(|_| format!("{} holds no number of a process", file.display()))?;
    let Some(process) = Process::open(pid)? else { return Ok(None) };
    let file_age = SystemTime::now().duration_since(written).unwrap_or_default();
    if process_age(pid).is_some_and(|age| age + CLOCK_SLACK < file_age) {
        let file = file.display();
        return Err(format!("{file} was written before process {pid} has started, so it means another one"));
    }
    Ok(Some(process))
}

/// For how long a process has been running.
fn process_age(pid: i32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold anything; behind it comes the third field.
    let started: f64 = stat.rsplit_once(')')?.1.split_whitespace().nth(22 - 3)?.parse().ok()?;
    let ticks = sysconf(SysconfVar::CLK_TCK).ok()??;
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    Duration::try_from_secs_f64(uptime - started / ticks as f64).ok()
}

/// The process that runs a program of this name.
fn of_program(name: &str) -> Result<Option<Process>, String> {
    match programs(name)?[..] {
        [] => Ok(None),
        [pid] => Process::open(pid),
        ref found => {
            let pids: Vec<_> = found.iter().map(ToString::to_string).collect();
            Err(format!("several processes are called {name}: {}; say which", pids.join(", ")))
        }
    }
}

/// The processes that run a program of this name.
pub(crate) fn programs(name: &str) -> Result<Vec<i32>, String> {
    let failed = |error| format!("/proc: {error}");
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if pid.unsigned_abs() != std::process::id() && runs(&entry.path(), name) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Whether the process in a folder of /proc runs a program of this name: its file is called so, or it calls itself so, as
/// scripts do. One that has ended runs nothing.
fn runs(folder: &Path, name: &str) -> bool {
    let arguments = fs::read(folder.join("cmdline")).unwrap_or_default();
    if arguments.is_empty() {
        return false;
    }
    let is_called = |path: &Path| {
        // What runs may have been replaced by a newer version meanwhile.
        let base = path.file_name().and_then(|base| base.to_str()).unwrap_or_default();
        base.strip_suffix(" (deleted)").unwrap_or(base) == name
    };
    if fs::read_link(folder.join("exe")).is_ok_and(|program| is_called(&program)) {
        return true;
    }
    let own = fs::read_to_string(folder.join("comm")).unwrap_or_default();
    let own = own.strip_suffix('\n').unwrap_or(&own);
    if own.len() < OWN_NAME_MAX {
        return own == name;
    }
    // It may have been cut.
    let mut words = arguments.split(|byte| *byte == 0).take(2);
    name.starts_with(own) && words.any(|word| is_called(Path::new(OsStr::from_bytes(word))))
}
