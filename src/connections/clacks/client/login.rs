//! Who logs in.

use super::super::state::token;
use std::fmt;

/// A user, and the name that the client gives itself. The password is in no `Debug` text.
#[derive(Clone)]
pub struct Login {
    user: String,
    password: String,
    name: String,
}

impl Login {
    /// A user with a password; the client is called after this library and its version until
    /// [named](Self::named) otherwise.
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            user: user.into(),
            password: password.into(),
            name: concat!("eventdispatcher ", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }

    /// Sets the name that the server's list of clients shows. Line ends in it become spaces.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = name.replace(['\r', '\n'], " ");
        self
    }

    /// The lines that begin a session, for programs that speak the protocol themselves. They hold the password: they are
    /// not for logs.
    pub fn lines(&self) -> [String; 2] {
        [format!("CLACKS {}", self.name), format!("OVERHEAD A {}", token(&self.user, &self.password))]
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).field("name", &self.name).finish_non_exhaustive()
    }
}
