//! A clacksd over TLS, and what its clients trust.

use crate::certificates::{Authority, Identity};
use crate::program;
use crate::support::daemon::{Program, command};
use eventdispatcher::connections::clacks::client::ClientOptions;
use eventdispatcher::connections::clacks::credentials::Password;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const CLACKSD: Option<&str> = option_env!("CARGO_BIN_EXE_clacksd");
const CLACKS: Option<&str> = option_env!("CARGO_BIN_EXE_clacks");

pub(crate) const PASSWORD: &str = "adminpass";

/// A server process in a folder of its own, with a certificate of an authority of its own.
pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) authority: Authority,
    pub(crate) server: Program,
    /// Where it listens with TLS.
    pub(crate) addresses: Vec<SocketAddr>,
}

impl World {
    /// With a certificate for `localhost` on 127.0.0.1, and `settings` in the configuration.
    pub(crate) fn new(settings: &str) -> Self {
        Self::with(settings, &["127.0.0.1"], |authority| authority.server("localhost"))
    }

    pub(crate) fn with(
        settings: &str,
        addresses: &[&str],
        identity: impl FnOnce(&Authority) -> Identity,
    ) -> Self {
        let folder = TempDir::new().unwrap();
        let authority = Authority::new();
        fs::write(folder.path().join("ca.pem"), &authority.pem).unwrap();
        write_identity(folder.path(), &identity(&authority));
        write_configuration(folder.path(), settings, addresses, 0);
        let server = Program::start(&mut clacksd(folder.path()));
        let said = server.says("clacksd: listening on here.sock\n");
        // What it says is one write, which may come in pieces all the same.
        let said =
            if said.matches("(TLS)").count() < addresses.len() { server.says("(TLS)\n") } else { said };
        let addresses = said
            .lines()
            .filter_map(|line| line.strip_prefix("clacksd: listening on ")?.strip_suffix(" (TLS)"))
            .map(|address| address.parse().unwrap())
            .collect();
        Self { folder, authority, server, addresses }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// `localhost` and the port.
    pub(crate) fn localhost(&self) -> String {
        format!("localhost:{}", self.address().port())
    }

    /// For the main user, who trusts the server's authority.
    pub(crate) fn options(&self) -> ClientOptions {
        ClientOptions::new()
            .host(self.localhost())
            .ca_file(self.path("ca.pem"))
            .user("admin")
            .password(Password::new(PASSWORD))
            .timeout(crate::support::DEADLINE)
    }

    /// `clacks` for the main user, which trusts nobody yet.
    pub(crate) fn clacks(&self, arguments: &[&str]) -> Command {
        let mut command = program::command(CLACKS.unwrap(), arguments);
        command.env("CLACKS_USER", "admin").env("CLACKS_PASSWORD", PASSWORD).env_remove("CLACKS_CA");
        command.env("CLACKS_HOST", self.localhost());
        command
    }
}

pub(crate) fn clacksd(folder: &Path) -> Command {
    let mut command = command(CLACKSD.unwrap());
    command.current_dir(folder).args(["c.xml", "--log-level", "debug"]);
    command
}

pub(crate) fn write_identity(folder: &Path, identity: &Identity) {
    fs::write(folder.join("cert.pem"), &identity.chain).unwrap();
    fs::write(folder.join("key.pem"), &identity.key).unwrap();
}

pub(crate) fn write_configuration(folder: &Path, settings: &str, addresses: &[&str], port: u16) {
    let addresses: String = addresses.iter().map(|address| format!("<ip>{address}</ip>")).collect();
    let text = format!(
        "<clacks><socket>here.sock</socket>{addresses}<port>{port}</port>\
         <ssl><cert>cert.pem</cert><key>key.pem</key></ssl>\
         <username>admin</username><password>{PASSWORD}</password>{settings}</clacks>"
    );
    fs::write(folder.join("c.xml"), text).unwrap();
}
