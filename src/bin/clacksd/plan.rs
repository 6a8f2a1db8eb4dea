//! What is to be served, from the arguments, the configuration or nothing at all.

use crate::arguments::Arguments;
use eventdispatcher::connections::clacks::configuration::{
    Configuration, Loaded, Master, Severity, Surroundings, Tls,
};
use eventdispatcher::connections::clacks::credentials::{PrivateFolder, default_user, read_password_file};
use eventdispatcher::tls::TlsServer;
use std::path::{Path, PathBuf};

/// A configuration to serve, and how a user gets in.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) configuration: Configuration,
    /// Where it comes from, for messages.
    pub(crate) source: String,
    /// What is doubtful about it, in lines.
    pub(crate) warnings: String,
    /// A command to try.
    pub(crate) hint: Option<String>,
}

/// Where the operator's messages are taken.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) path: PathBuf,
    /// Messages are lines of a stream, and no datagrams.
    pub(crate) is_stream: bool,
    /// The configuration says so; else it is only a habit.
    pub(crate) is_asked_for: bool,
}

impl Plan {
    /// # Errors
    /// Everything that is wrong, a line each.
    pub(crate) fn of(arguments: &Arguments) -> Result<Self, String> {
        let mut plan = match &arguments.configuration {
            Some(file) => Self::from_file(file, arguments)?,
            None => Self::private(arguments)?,
        };
        if !arguments.socket.is_empty() {
            let sockets = &mut plan.configuration.sockets;
            sockets.clear();
            for socket in &arguments.socket {
                if !sockets.contains(socket) {
                    sockets.push(socket.clone());
                }
            }
        }
        Ok(plan)
    }

    /// Where messages are taken: nowhere if there is no name for it.
    pub(crate) fn control(&self) -> Option<Control> {
        let is_stream = self.configuration.is_control_stream;
        if let Some(path) = &self.configuration.control {
            return Some(Control { path: path.clone(), is_stream, is_asked_for: true });
        }
        let mut path = self.configuration.sockets.first()?.clone().into_os_string();
        path.push(".control");
        Some(Control { path: path.into(), is_stream, is_asked_for: false })
    }

    fn from_file(file: &Path, arguments: &Arguments) -> Result<Self, String> {
        let mut loaded = Configuration::load(file, &Surroundings::of_process())
            .map_err(|problems| problems.render("clacksd"))?;
        if !arguments.socket.is_empty() {
            loaded.configuration.sockets.clear(); // nobody listens there
        }
        loaded.check_files();
        if !loaded.problems().has_errors() {
            check_certificate(&mut loaded);
        }
        check_master(&mut loaded);
        let warnings = loaded.problems().render("clacksd");
        if loaded.problems().has_errors() {
            return Err(warnings);
        }
        let source = loaded.file().to_owned();
        let mut configuration = loaded.configuration;
        let hint = match &arguments.user {
            Some((name, password)) => {
                if configuration.users.iter().any(|user| user.name == *name) {
                    return Err(format!(
                        "--user: {name:?} is another user in {source} already: choose another name"
                    ));
                }
                set_user(&mut configuration, name, password)?;
                hint(&configuration, arguments, &password.to_string_lossy())
            }
            None => None,
        };
        Ok(Self { configuration, source, warnings, hint })
    }

    /// A server for one user, in a folder that nobody else can look into.
    fn private(arguments: &Arguments) -> Result<Self, String> {
        if let (Some((name, password)), false) = (&arguments.user, arguments.socket.is_empty()) {
            let read = read_password_file(password).map_err(|error| error.to_string())?;
            let configuration = Configuration::new(name.clone(), read);
            let hint = hint(&configuration, arguments, &password.to_string_lossy());
            let source = "the command line".to_owned();
            return Ok(Self { configuration, source, warnings: String::new(), hint });
        }
        let folder =
            PrivateFolder::create(PrivateFolder::default_path()).map_err(|error| error.to_string())?;
        let password = folder.password_or_new().map_err(|error| error.to_string())?;
        let mut configuration = Configuration::new(default_user(), password);
        configuration.sockets = vec![folder.socket()];
        configuration.socket_mode = Some(0o600);
        let hint = match &arguments.user {
            Some((name, password)) => {
                set_user(&mut configuration, name, password)?;
                hint(&configuration, arguments, &password.to_string_lossy())
            }
            None if arguments.socket.is_empty() => Some("clacks set greeting hello".to_owned()),
            None => arguments.socket.first().map(|socket| {
                format!("clacks --socket {} set greeting hello", quote(&socket.to_string_lossy()))
            }),
        };
        let source = folder.path().display().to_string();
        Ok(Self { configuration, source, warnings: String::new(), hint })
    }
}

/// Says what is wrong with the certificate and its key, if they can be read.
fn check_certificate(loaded: &mut Loaded) {
    let Some(Tls { certificate, key, .. }) = &loaded.configuration.tls else { return };
    if let Err(error) = TlsServer::from_files(certificate, key) {
        loaded.report(Severity::Error, "ssl", format!("<ssl> can't be used: {error}"));
    }
}

/// Says what is wrong or doubtful with the link to a master.
fn check_master(loaded: &mut Loaded) {
    let Configuration { master, password_hash, .. } = &loaded.configuration;
    let is_unverified = matches!(master, Some(Master::Tls { ca: None, .. }));
    if master.is_some() && password_hash.is_some() {
        let what = "<master> needs the <password> of the main user: a hash is not enough to log in there";
        loaded.report(Severity::Error, "master", what);
    }
    if is_unverified {
        let what =
            "the certificate of the <master> is not verified, anybody on the way could be it: give its <ca>";
        loaded.report(Severity::Warning, "master/ip", what);
    }
}

fn set_user(configuration: &mut Configuration, name: &str, file: &Path) -> Result<(), String> {
    configuration.password = read_password_file(file).map_err(|error| error.to_string())?;
    configuration.password_hash = None;
    name.clone_into(&mut configuration.username);
    Ok(())
}

/// How to reach a server that is not where `clacks` looks by itself.
fn hint(configuration: &Configuration, arguments: &Arguments, password_file: &str) -> Option<String> {
    let socket = arguments.socket.first().or(configuration.sockets.first())?;
    Some(format!(
        "clacks --socket {} --user {} --password-file {} set greeting hello",
        quote(&socket.to_string_lossy()),
        quote(&configuration.username),
        quote(password_file)
    ))
}

/// As a shell needs it.
fn quote(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
