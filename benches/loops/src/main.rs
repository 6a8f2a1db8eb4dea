//! What a loop costs: per ready descriptor, and per timer. This library beside bare mio, calloop and tokio.
//!
//! Usage: `loops [dispatch|timers] [ROUNDS] [ROW]`, where only rows that begin with ROW are measured. Prints the median of interleaved rounds, in nanoseconds of the thread's own CPU
//! time per operation, so that other processes disturb little.

mod dispatch;
mod measure;
mod timers;

use measure::Table;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_else(|| "all".to_owned());
    let rounds = match arguments.next().as_deref().map_or(Ok(5), str::parse::<usize>) {
        Ok(rounds @ 1..) => rounds,
        _ => return usage(),
    };
    let only = arguments.next().unwrap_or_default();
    if !matches!(&*what, "all" | "dispatch" | "timers") || arguments.next().is_some() {
        return usage();
    }
    if what != "timers" {
        dispatch::run(rounds, &only);
    }
    if what != "dispatch" {
        timers::run(rounds, &only);
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("usage: loops [dispatch|timers] [ROUNDS] [ROW]");
    ExitCode::from(2)
}

/// Rows by columns, each the median of its rounds.
fn print(title: &str, table: &Table) {
    println!("\n{title}\n");
    print!("{table}");
}
