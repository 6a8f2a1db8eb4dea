//! What is to be sent where, from the command line and the configuration.

use crate::arguments::{Arguments, Encrypt};
use crate::messaging::address::{Address, Kind};
use crate::messaging::encryption::Encryption;
use crate::messaging::sender;
use crate::messaging::settings::{Setting, Settings};
use clap::ValueEnum;
use eventdispatcher::dispatcher::{Message, NameError, SECRET_CODE};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const HOST: &str = "127.0.0.1:4041";
const KEYS: [&str; 5] = ["encrypt", "host", "roots", "secret_code", "type"];

/// What is to be sent where.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) message: Message,
    pub(crate) address: Address,
    pub(crate) encryption: Encryption,
}

/// Why nothing can be sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The command line.
    Usage(String),
    /// Something else.
    Other(String),
}

impl Plan {
    /// # Errors
    /// What is wrong with the command line or the configuration.
    pub(crate) fn of(arguments: &Arguments) -> Result<Self, Problem> {
        let settings = Settings::of_tool(&arguments.config_dir, "ed-signal").map_err(Problem::Other)?;
        if let Some(unknown) = settings.all().iter().find(|setting| !KEYS.contains(&&*setting.name)) {
            return Err(Problem::Other(format!("{}: {:?} is no setting", unknown.place, unknown.name)));
        }
        let mut message = message(arguments)?;
        let address = address(arguments, &settings)?;
        let encryption = encryption(arguments, &settings, &address)?;
        set_secret(&mut message, arguments, &settings, &address)?;
        Ok(Self { message, address, encryption })
    }
}

fn usage(what: impl ToString) -> Problem {
    Problem::Usage(what.to_string())
}

fn message(arguments: &Arguments) -> Result<Message, Problem> {
    let (text, words) = match (&arguments.message, &arguments.words[..]) {
        (Some(message), words) => (message.as_str(), words),
        (None, [first, words @ ..]) => {
            (first.to_str().ok_or_else(|| usage("the message is no text"))?, words)
        }
        (None, []) => return Err(usage("there is no message to send")),
    };
    let (to, command) = text.split_once('/').unwrap_or(("", text));
    let (server, service) = to.split_once(':').unwrap_or(("", to));
    let once = |what: &str, said: &str, option: &Option<String>| match (said, option) {
        (said, None) => Ok(said.to_owned()),
        ("", Some(option)) => Ok(option.clone()),
        (_, Some(_)) => Err(usage(format!("the {what} is said twice: in the message and by --{what}"))),
    };
    let server = once("server", server, &arguments.server)?;
    let service = once("service", service, &arguments.service)?;
    if service.is_empty() && !server.is_empty() {
        return Err(usage(format!("a message to the server {server} has to name a service")));
    }
    let built = Message::build(command)
        .sent_from(&sender::server_name(), "ed_signal")
        .server(&server)
        .service(&service);
    let mut message = built.finish().map_err(|error: NameError| usage(error))?;
    let words = words.iter().map(|word| (word, false));
    for (word, may_be_bare) in words.chain(arguments.param.iter().map(|word| (word, true))) {
        let (name, value) = parameter(word, may_be_bare)?;
        message.set(name, value).map_err(usage)?;
    }
    Ok(message)
}

fn parameter(word: &OsStr, may_be_bare: bool) -> Result<(&str, &[u8]), Problem> {
    let bytes = word.as_bytes();
    let (name, value) = match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None if may_be_bare => (bytes, &b""[..]),
        None => return Err(usage(format!("{word:?} is no parameter: expected NAME=VALUE"))),
    };
    let name =
        std::str::from_utf8(name).map_err(|_| usage(format!("{word:?} has a name that is no text")))?;
    Ok((name, value))
}

fn address(arguments: &Arguments, settings: &Settings) -> Result<Address, Problem> {
    let usual = settings.get("host");
    let (host, place) = match (&arguments.host, usual) {
        (Some(host), _) => (host.clone(), None),
        (None, Some(setting)) => (setting.value.clone(), Some(setting.place.clone())),
        (None, None) => (HOST.to_owned(), None),
    };
    let (host, place) = match host.rsplit_once('@').filter(|_| !has_kind(&host)) {
        Some((file, variable)) => {
            (variable_of(file, variable).map_err(Problem::Other)?, Some(format!("{file}: {variable}")))
        }
        None => (host, place),
    };
    // A type in the configuration is not meant for a host of the command line that is of another one.
    let is_clear = arguments.host.is_some() && (has_kind(&host) || host.contains('/'));
    let kind = match (arguments.kind, settings.get("type")) {
        (None, Some(setting)) if !is_clear => Some(value_of(setting)?),
        (kind, _) => kind,
    };
    Address::parse(&host, kind, Kind::Udp).map_err(|error| match place {
        Some(place) => Problem::Other(format!("{place}: {error}")),
        None => Problem::Usage(error),
    })
}

/// Whether a host says itself how to reach it: then it is no file with a variable.
fn has_kind(host: &str) -> bool {
    host.split_once(':').is_some_and(|(kind, _)| Kind::from_str(kind, false).is_ok())
}

fn variable_of(file: &str, variable: &str) -> Result<String, String> {
    let settings = Settings::read(Path::new(file))?.ok_or_else(|| format!("there is no file {file}"))?;
    let setting = settings.get(&variable.replace('-', "_"));
    setting.map(|setting| setting.value.clone()).ok_or_else(|| format!("{file} does not say {variable}"))
}

fn encryption(arguments: &Arguments, settings: &Settings, address: &Address) -> Result<Encryption, Problem> {
    let is_tcp = matches!(address, Address::Tcp(..));
    let encrypt = match (arguments.encrypt, settings.get("encrypt")) {
        (Some(encrypt), _) => encrypt,
        // Who names what is to be trusted wants it to be checked.
        (None, _) if arguments.roots.is_some() => Encrypt::Yes,
        (None, Some(setting)) => {
            let encrypt = value_of(setting)?;
            if is_tcp { encrypt } else { Encrypt::No }
        }
        (None, None) => Encrypt::No,
    };
    if encrypt != Encrypt::No && !is_tcp {
        return Err(usage("only a TCP connection can be encrypted: see --type"));
    }
    let usual_roots = || settings.get("roots").map(|setting| setting.value.clone().into());
    Ok(match (encrypt, &arguments.roots) {
        (Encrypt::No, None) => Encryption::Off,
        (Encrypt::Unverified, None) => Encryption::Unverified,
        (Encrypt::Yes, roots) => Encryption::Verified(roots.clone().or_else(usual_roots)),
        (Encrypt::No | Encrypt::Unverified, Some(_)) => {
            return Err(usage("--roots is to check a certificate, and --encrypt says not to"));
        }
    })
}

fn set_secret(
    message: &mut Message,
    arguments: &Arguments,
    settings: &Settings,
    address: &Address,
) -> Result<(), Problem> {
    let is_stream = address.is_datagram() == Some(false);
    let secret = match (&arguments.secret_code, settings.get("secret_code")) {
        (Some(_), _) if is_stream => {
            return Err(usage("only datagrams carry a secret code"));
        }
        (Some(secret), _) => secret.as_bytes(),
        (None, Some(setting)) if !is_stream => setting.value.as_bytes(),
        (None, _) => return Ok(()),
    };
    message.set(SECRET_CODE, secret).map(drop).map_err(usage)
}

/// What a setting says, if that is one of the possible values.
fn value_of<T: ValueEnum>(setting: &Setting) -> Result<T, Problem> {
    T::from_str(&setting.value, false)
        .map_err(|_| Problem::Other(format!("{}: {:?} is no {}", setting.place, setting.value, setting.name)))
}
