//! Where a server is and who logs in: as the program says, as the environment says, or as found in the private folder.

use super::super::credentials::{
    CredentialsError, Password, PrivateFolder, default_user, read_password_file,
};
use super::blocking::BlockingClient;
use super::error::ClientError;
use super::evented::{Client, ClientHandler};
use super::login::Login;
use super::manners::Manners;
#[cfg(feature = "tls")]
use super::route::HostPort;
use super::route::Route;
use crate::communicator::{Communicator, Reconnect};
#[cfg(feature = "tls")]
use crate::connections::tls::TlsClientBuilder;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// How to reach a server. What is not said is found where a `clacksd` without any settings leaves it for the programs of
/// its user: in the [`PrivateFolder`].
///
/// ```no_run
/// use eventdispatcher::connections::clacks::client::ClientOptions;
///
/// let mut client = ClientOptions::from_environment()?.named("example").connect_blocking()?;
/// client.store(b"temperature", b"21.5")?;
/// # Ok::<(), eventdispatcher::connections::clacks::client::ClientError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct ClientOptions {
    place: Option<Place>,
    #[cfg(feature = "tls")]
    tls: TlsClientBuilder,
    user: Option<String>,
    password: Option<PasswordFrom>,
    name: Option<String>,
    manners: Manners,
}

#[derive(Debug, Clone)]
enum Place {
    Socket(PathBuf),
    #[cfg(feature = "tls")]
    Host(String),
}

#[derive(Debug, Clone)]
enum PasswordFrom {
    Given(Password),
    File(PathBuf),
}

impl ClientOptions {
    /// Nothing is said.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the environment says: `CLACKS_SOCKET`, the path of the server's socket, or else `CLACKS_HOST`, as
    /// [`host`](Self::host); `CLACKS_CA`, the path of a file as [`ca_file`](Self::ca_file); `CLACKS_USER`; `CLACKS_PASSWORD`, or else
    /// `CLACKS_PASSWORD_FILE`, the path of a file with the password in its first line. An empty variable says nothing.
    ///
    /// # Errors
    /// When a user or password is no UTF-8 text.
    pub fn from_environment() -> Result<Self, ClientError> {
        Self::from_variables(std::env::var_os)
    }

    fn from_variables(get: impl Fn(&'static str) -> Option<OsString>) -> Result<Self, ClientError> {
        let said = |name| get(name).filter(|value| !value.is_empty());
        let text = |name| match said(name).map(OsString::into_string) {
            None => Ok(None),
            Some(Ok(text)) => Ok(Some(text)),
            Some(Err(_)) => Err(ClientError::Environment(name)),
        };
        let password = text("CLACKS_PASSWORD")?.map(|password| PasswordFrom::Given(Password::new(password)));
        let file = said("CLACKS_PASSWORD_FILE").map(|path| PasswordFrom::File(path.into()));
        let place = said("CLACKS_SOCKET").map(|path| Place::Socket(path.into()));
        #[cfg(feature = "tls")]
        let place = match place {
            None => text("CLACKS_HOST")?.map(Place::Host),
            place => place,
        };
        let options = Self::default();
        #[cfg(feature = "tls")]
        let options = match said("CLACKS_CA") {
            Some(path) => options.ca_file(PathBuf::from(path)),
            None => options,
        };
        Ok(Self { place, user: text("CLACKS_USER")?, password: password.or(file), ..options })
    }

    /// Sets the path of the server's socket file.
    #[must_use]
    pub fn socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.place = Some(Place::Socket(path.into()));
        self
    }

    /// Sets the server's host: a name or an address, with or without `:` and a port, which is 49888 unless said; an address of
    /// IPv6 with a port is in brackets. The connection is TLS, and the server must have a certificate for that name or address,
    /// signed by one that the system trusts or that is in a [`ca_file`](Self::ca_file).
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.place = Some(Place::Host(host.into()));
        self
    }

    /// Trusts the certificates of this PEM file, instead of those of the system. May be called several times.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls = self.tls.roots_file(path.into());
        self
    }

    /// Does not verify the server's certificate: **anybody on the way can be the server**, and gets the password. A
    /// warning is logged.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn dangerously_without_verification(mut self) -> Self {
        self.tls = self.tls.dangerously_without_verification();
        self
    }

    /// Sets the user's name; it is that of the process's user unless set.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Sets the password.
    #[must_use]
    pub fn password(mut self, password: Password) -> Self {
        self.password = Some(PasswordFrom::Given(password));
        self
    }

    /// Sets the file that the password is read from, when connecting.
    #[must_use]
    pub fn password_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.password = Some(PasswordFrom::File(path.into()));
        self
    }

    /// Sets the name that the server's list of clients shows, as [`Login::named`].
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets how long the login, and each request after it, may take; 30 s unless set.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.manners.timeout = timeout;
        self
    }

    /// Sets whose name the client passes on once an hour, with `OVERHEAD GNU`: every client hears it, this one too, and no
    /// monitor shows it. A [`BlockingClient`] does so together with its commands. Unless set it is Terry Pratchett's, as
    /// with the reference client; `None` is nobody's.
    #[must_use]
    pub fn remember(mut self, name: Option<&str>) -> Self {
        self.manners.remember(name);
        self
    }

    /// The way to the server.
    ///
    /// # Errors
    /// When none is said and there is no private folder, when what is said is no host, or trusted certificates can't be read.
    pub fn route(&self) -> Result<Route, ClientError> {
        match &self.place {
            Some(Place::Socket(path)) => Ok(Route::socket(path.clone())),
            #[cfg(feature = "tls")]
            Some(Place::Host(host)) => {
                let host = HostPort::parse(host)?;
                let tls = self.tls.clone().build().map_err(|error| ClientError::Tls(error.to_string()))?;
                Ok(Route::tls(host, tls, self.manners.timeout))
            }
            None => {
                private_folder().map(|folder| Route::socket(folder.socket())).map_err(ClientError::NoServer)
            }
        }
    }

    /// Who logs in.
    ///
    /// # Errors
    /// When the password can't be read.
    pub fn login(&self) -> Result<Login, ClientError> {
        let password = match &self.password {
            Some(PasswordFrom::Given(password)) => Ok(password.clone()),
            Some(PasswordFrom::File(path)) => read_password_file(path),
            None => private_folder().and_then(|folder| folder.password()),
        };
        let password = password.map_err(ClientError::NoPassword)?;
        let login = Login::new(self.user.clone().unwrap_or_else(default_user), password.expose());
        Ok(match &self.name {
            Some(name) => login.named(name),
            None => login,
        })
    }

    /// Connects on a communicator, along the [route](Self::route).
    ///
    /// # Errors
    /// When there is no server or no password.
    pub fn connect(
        &self,
        communicator: &Communicator,
        handler: impl ClientHandler,
    ) -> Result<Client, ClientError> {
        let (route, login) = (self.route()?, self.login()?);
        let transport = route.connect()?;
        Client::start(communicator, transport, &route.to_string(), &login, self.manners.clone(), handler)
            .map_err(ClientError::Connect)
    }

    /// Connects on a communicator, along the [route](Self::route), and again whenever that is lost:
    /// [`Client::lasting`]. There need not be a server yet.
    ///
    /// # Errors
    /// As [`route`](Self::route), and when there is no password.
    pub fn connect_lasting(
        &self,
        communicator: &Communicator,
        reconnect: Reconnect,
        handler: impl ClientHandler,
    ) -> Result<Client, ClientError> {
        let (route, login) = (self.route()?, self.login()?);
        Ok(Client::start_lasting(communicator, route, &login, reconnect, self.manners.clone(), handler))
    }

    /// Connects for one call at a time, along the [route](Self::route).
    ///
    /// # Errors
    /// When there is no server, no password, or the login fails.
    pub fn connect_blocking(&self) -> Result<BlockingClient, ClientError> {
        BlockingClient::begin(self.route()?.connect()?, &self.login()?, self.manners.clone())
    }
}

fn private_folder() -> Result<PrivateFolder, CredentialsError> {
    PrivateFolder::open(PrivateFolder::default_path())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    fn options(variables: &[(&str, &[u8])]) -> Result<ClientOptions, ClientError> {
        ClientOptions::from_variables(|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| OsString::from_vec(value.to_vec()))
        })
    }

    fn place(options: &ClientOptions) -> String {
        options.place.as_ref().map_or_else(String::new, |place| format!("{place:?}"))
    }

    #[cfg(feature = "tls")]
    #[test]
    fn a_socket_of_the_environment_goes_before_its_host() {
        let host: (&str, &[u8]) = ("CLACKS_HOST", b"example.org");
        assert_eq!(place(&options(&[host]).unwrap()), "Host(\"example.org\")");
        let both = options(&[host, ("CLACKS_SOCKET", b"/s")]).unwrap();
        assert_eq!(place(&both), "Socket(\"/s\")");
        assert_eq!(place(&both.host("own")), "Host(\"own\")");
        let error = options(&[host, ("CLACKS_CA", b"/nowhere/ca")]).unwrap().route().unwrap_err();
        assert!(error.to_string().contains("/nowhere/ca"), "{error}");
    }

    #[test]
    fn the_environment_says_where_and_who() {
        let said = options(&[
            ("CLACKS_SOCKET", b"/run/\xff.sock"),
            ("CLACKS_USER", b"ada"),
            ("CLACKS_PASSWORD", b"hush"),
            ("CLACKS_PASSWORD_FILE", b"/nowhere"),
        ])
        .unwrap();
        assert_eq!(place(&said), "Socket(\"/run/\\xFF.sock\")");
        let login = said.named("me").login().expect("the password itself goes before its file");
        assert_eq!(format!("{login:?}"), r#"Login { user: "ada", name: "me", .. }"#);
    }

    #[test]
    fn what_the_program_says_goes_before_the_environment() {
        let said = options(&[("CLACKS_SOCKET", b"/env"), ("CLACKS_PASSWORD", b"hush")]).unwrap();
        assert_eq!(place(&said.clone().socket("/own")), "Socket(\"/own\")");
        let error = said.password_file("/nowhere/p").login().unwrap_err();
        assert_eq!(
            error.to_string(),
            "no password to log in with: can't open /nowhere/p: No such file or directory (os error 2)"
        );
    }

    #[test]
    fn an_empty_variable_says_nothing() {
        let said = options(&[("CLACKS_USER", b""), ("CLACKS_PASSWORD", b"hush")]).unwrap();
        assert!(format!("{:?}", said.login().unwrap()).contains(&format!("{:?}", default_user())));
    }

    #[test]
    fn a_variable_that_is_no_text_is_named() {
        for name in ["CLACKS_USER", "CLACKS_PASSWORD"] {
            let error = options(&[(name, b"\xff")]).unwrap_err();
            assert_eq!(error.to_string(), format!("the environment variable {name} is no UTF-8 text"));
        }
    }
}
