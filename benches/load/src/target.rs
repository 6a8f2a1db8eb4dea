//! A server to be measured.

use crate::protocol::Protocol;
use std::fs;
use std::path::PathBuf;

/// A server to be measured.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) protocol: Protocol,
    pub(crate) address: Address,
    pub(crate) user: String,
    pub(crate) password: String,
    /// Its process; without it, whoever has the other end of the socket.
    pub(crate) process: Option<i32>,
    pub(crate) role: Role,
    /// A server that follows this one: ingest ends only once the last signal has arrived there.
    pub(crate) follower: Option<PathBuf>,
}

/// Where it is.
#[derive(Debug, Clone)]
pub(crate) enum Address {
    Unix(PathBuf),
    /// Host and port.
    Tcp(String),
    /// Host and port. The certificate is not verified: it is one that was made for the measurement.
    Tls(String),
}

/// What it is in the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// One of those of which the best is compared with.
    Peer,
    /// What is compared with by itself.
    Reference,
    /// What is compared.
    Subject,
}

impl Target {
    /// Reads `NAME;proto=…;unix=…`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut fields = text.split(';');
        let name = fields.next().unwrap_or_default().to_owned();
        let (mut protocol, mut address) = (None, None);
        let (mut user, mut password) = (String::new(), String::new());
        let (mut process, mut role, mut follower) = (None, Role::Peer, None);
        for field in fields {
            let bad = || format!("{name}: {field:?} is not understood");
            let (key, value) = field.split_once('=').ok_or_else(bad)?;
            match key {
                "proto" => protocol = Some(Protocol::named(value).ok_or_else(bad)?),
                "unix" => address = Some(Address::Unix(value.into())),
                "tcp" => address = Some(Address::Tcp(value.to_owned())),
                "tls" => address = Some(Address::Tls(value.to_owned())),
                "user" => value.clone_into(&mut user),
                "pass" => value.clone_into(&mut password),
                "pidfile" => {
                    let text =
                        fs::read_to_string(value).map_err(|error| format!("{name}: {value}: {error}"))?;
                    process =
                        Some(text.trim().parse().map_err(|_| format!("{name}: {value}: no process id"))?);
                }
                "role" => {
                    role = match value {
                        "peer" => Role::Peer,
                        "reference" => Role::Reference,
                        "subject" => Role::Subject,
                        _ => return Err(bad()),
                    }
                }
                "follower" => follower = Some(value.into()),
                _ => return Err(bad()),
            }
        }
        let protocol = protocol.ok_or_else(|| format!("{name}: proto= is missing"))?;
        let address = address.ok_or_else(|| format!("{name}: unix=, tcp= or tls= is missing"))?;
        Ok(Self { name, protocol, address, user, password, process, role, follower })
    }
}
