//! The command line `clacks`, as a process, against a server on a thread of the test.
#![cfg(all(feature = "clacks", feature = "cli"))]

mod bench;
mod cache;
mod clients;
mod failures;
mod pages;
#[path = "../support/program.rs"]
mod program;
mod raw;
#[path = "../support/server.rs"]
mod server;
mod signals;
mod transfer;

use program::Done;
use server::{PASSWORD, TestServer};
use std::ffi::OsStr;
use std::process::Command;

const CLACKS: &str = env!("CARGO_BIN_EXE_clacks");
/// What the program calls itself.
const VERSION: &str = concat!("clacks ", env!("CARGO_PKG_VERSION"));

/// `clacks` with arguments, that knows nothing.
fn bare(arguments: &[impl AsRef<OsStr>]) -> Command {
    program::command(CLACKS, arguments)
}

impl TestServer {
    /// `clacks` with arguments, for the user `admin`.
    fn clacks(&self, arguments: &[impl AsRef<OsStr>]) -> Command {
        self.clacks_as("admin", arguments)
    }

    fn clacks_as(&self, user: &str, arguments: &[impl AsRef<OsStr>]) -> Command {
        let mut command = bare(arguments);
        command.env("CLACKS_SOCKET", self.socket()).env("CLACKS_USER", user).env("CLACKS_PASSWORD", PASSWORD);
        command
    }

    /// Runs `clacks` to its end.
    fn run(&self, arguments: &[impl AsRef<OsStr>]) -> Done {
        program::run(&mut self.clacks(arguments), b"")
    }

    /// Runs `clacks` to its end with `stdin`.
    fn run_with(&self, arguments: &[impl AsRef<OsStr>], stdin: &[u8]) -> Done {
        program::run(&mut self.clacks(arguments), stdin)
    }
}
