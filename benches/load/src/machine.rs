//! What the machine and its processes have spent.

use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// What was spent in a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spent {
    pub(crate) seconds: f64,
    /// CPU time of the server, if it is known which process that is.
    pub(crate) server_ns: Option<f64>,
    /// Cores that processes other than server and generator took.
    pub(crate) others: f64,
}

/// What was spent until a moment.
#[derive(Debug)]
pub(crate) struct Account {
    opened: Instant,
    process: Option<i32>,
    server_ns: u64,
    own_ns: u64,
    busy_s: f64,
}

impl Account {
    /// From now on.
    pub(crate) fn open(process: Option<i32>) -> Self {
        Self {
            opened: Instant::now(),
            process,
            server_ns: process.map_or(0, process_ns),
            own_ns: own_ns(),
            busy_s: busy_s(),
        }
    }

    /// Until now.
    pub(crate) fn close(&self) -> Spent {
        let seconds = self.opened.elapsed().as_secs_f64();
        let server_ns = self.process.map(|process| process_ns(process).saturating_sub(self.server_ns) as f64);
        let own_s = own_ns().saturating_sub(self.own_ns) as f64 / 1e9;
        let others = (busy_s() - self.busy_s - own_s - server_ns.unwrap_or(0.0) / 1e9).max(0.0) / seconds;
        Spent { seconds, server_ns, others }
    }
}

/// The CPU time of all threads of a process, in nanoseconds.
pub(crate) fn process_ns(process: i32) -> u64 {
    threads(process, "schedstat").filter_map(|text| text.split(' ').next()?.parse::<u64>().ok()).sum()
}

/// How often threads of a process have waited.
pub(crate) fn wake_ups(process: i32) -> u64 {
    threads(process, "status").filter_map(|text| field(&text, "voluntary_ctxt_switches:")).sum()
}

/// The memory of a process that is in use, in bytes.
pub(crate) fn memory(process: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    field(&status, "VmRSS:").unwrap_or(0) * 1024
}

/// Waits until other processes leave the machine alone, at most so long. Says how long it took.
pub(crate) fn wait_until_quiet(longest: Duration) -> Duration {
    const LOOK: Duration = Duration::from_millis(250);
    let began = Instant::now();
    while began.elapsed() + LOOK < longest {
        let before = busy_s();
        thread::sleep(LOOK);
        if busy_s() - before < 0.12 * LOOK.as_secs_f64() {
            break;
        }
    }
    began.elapsed()
}

fn threads(process: i32, file: &'static str) -> impl Iterator<Item = String> {
    fs::read_dir(format!("/proc/{process}/task"))
        .into_iter()
        .flatten()
        .filter_map(move |thread| fs::read_to_string(thread.ok()?.path().join(file)).ok())
}

fn field(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_whitespace().next()?.parse().ok()
}

/// The CPU time of this process.
fn own_ns() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Seconds in which the cores of the machine were not idle, all added up.
fn busy_s() -> f64 {
    /// Of `/proc/stat`, for each architecture of Linux.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .map_while(|word| word.parse::<f64>().ok());
    // user nice system idle iowait irq softirq steal; guest times are in user and nice already.
    ticks.enumerate().filter(|(at, _)| !matches!(at, 3 | 4 | 8..)).map(|(_, ticks)| ticks).sum::<f64>()
        / TICKS_PER_SECOND
}
