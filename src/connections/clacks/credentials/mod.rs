//! Who logs in, and with what: passwords, the files that they are kept in, and the private folder in
//! which a server and a client of the same user find each other without any configuration.

mod error;
mod folder;
mod hash;
mod password;

pub use error::CredentialsError;
pub use folder::PrivateFolder;
pub use hash::PasswordHash;
pub use password::{MAX_PASSWORD_FILE, Password, read_password_file};

use nix::unistd::{User, geteuid};

/// The name to log in with if none is said: that of the process's user, or `clacks` if it has none.
pub fn default_user() -> String {
    match User::from_uid(geteuid()) {
        Ok(Some(user)) if !user.name.is_empty() => user.name,
        _ => "clacks".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_user_is_the_one_of_the_process() {
        let name = default_user();
        match User::from_uid(geteuid()) {
            Ok(Some(_)) => assert_eq!(User::from_name(&name).unwrap().unwrap().uid, geteuid()),
            _ => assert_eq!(name, "clacks"),
        }
    }
}
