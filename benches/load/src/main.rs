//! One load for servers of several protocols: clacks, Redis, memcached, MQTT and NATS, over Unix sockets, TCP or TLS.
//!
//! Every scenario is run against each server in turn, in several interleaved rounds. A round in which other processes took part of
//! the machine is dirty: it is measured again some times, and marked if that does not help.

mod connection;
mod counter;
mod crew;
mod failure;
mod machine;
mod plan;
mod poller;
mod protocol;
mod rounds;
mod sample;
mod scenarios;
mod table;
mod tally;
mod target;
mod tls;

use plan::{Plan, USAGE};
use rounds::Patience;
use rustix::process::{Resource, getrlimit, setrlimit};
use std::process::ExitCode;
use table::Comparison;

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--help") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let plan = match Plan::parse(std::env::args().skip(1)) {
        Ok(plan) => plan,
        Err(error) => {
            eprintln!("load: {error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    allow_descriptors();
    if let Some(title) = &plan.title {
        println!("### {title}\n");
    }
    if run(&plan) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints the tables, row by row as they come, and says whether every server did what it should.
fn run(plan: &Plan) -> bool {
    let mut comparison = Comparison::new(plan);
    let mut patience = Patience(plan.patience);
    let mut measured = Vec::new();
    let mut is_good = true;
    for scenario in &plan.scenarios {
        let outcomes = rounds::run(scenario, plan, &mut patience);
        for (target, outcome) in plan.targets.iter().zip(&outcomes) {
            if let Some(failure) = &outcome.failure {
                eprintln!("load: {}: {}: {failure}", scenario.title, target.name);
                is_good = false;
            }
        }
        if scenario.has_columns() {
            println!("{}\n", table::of_servers(plan, scenario, &outcomes));
            continue;
        }
        if measured.is_empty() {
            println!("{}", comparison.head());
        }
        println!("{}", comparison.row(scenario, &outcomes));
        measured.push((scenario, outcomes));
    }
    if !measured.is_empty() {
        println!("{}", comparison.foot());
        if plan.tells_cpu {
            println!("\n{}", comparison.cpu(&measured));
        }
        println!();
    }
    is_good
}

/// As many descriptors as are allowed: scenarios have up to 10,000 connections.
fn allow_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        eprintln!("load: the limit of descriptors stays as it is: {error}");
    }
}
