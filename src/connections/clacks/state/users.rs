//! Who may log in, and what they may do.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

/// What a client may do.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Permissions(u8);

impl Permissions {
    /// Nothing that needs a permission.
    pub const NONE: Self = Self(0);
    /// Reading the cache, listening.
    pub const READ: Self = Self(1);
    /// Changing the cache, sending signals.
    pub const WRITE: Self = Self(2);
    /// Looking at and ending other clients, emptying the cache, stopping the server.
    pub const MANAGE: Self = Self(4);
    /// Being another server.
    pub const INTERCLACKS: Self = Self(8);
    /// Everything: the main user of the configuration.
    pub const ALL: Self = Self(15);

    /// These and the others.
    #[must_use]
    pub const fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Is all of `needed` allowed?
    pub const fn allow(self, needed: Self) -> bool {
        self.0 & needed.0 == needed.0
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Self::READ, "read"),
            (Self::WRITE, "write"),
            (Self::MANAGE, "manage"),
            (Self::INTERCLACKS, "interclacks"),
        ];
        f.debug_set().entries(names.iter().filter(|(p, _)| self.allow(*p)).map(|(_, name)| name)).finish()
    }
}

/// The users of a server.
#[derive(Default)]
pub struct Users {
    users: Vec<User>,
    /// The longest token, to which all are filled up with zeros: comparing takes the same time for each.
    token_max: usize,
}

struct User {
    name: Arc<str>,
    token: Vec<u8>,
    token_len: usize,
    permissions: Permissions,
}

impl Users {
    /// Adds a user. If two have the same name and password, the later one counts.
    pub fn add(&mut self, name: &str, password: &str, permissions: Permissions) {
        let token = token(name, password).into_bytes();
        let token_len = token.len();
        self.token_max = self.token_max.max(token_len);
        self.users.push(User { name: name.into(), token, token_len, permissions });
        for user in &mut self.users {
            user.token.resize(self.token_max, 0);
        }
    }

    /// The user whose token it is. How long this takes depends on the length of the token and on the number
    /// of users, not on what is in any token.
    pub fn check(&self, token: &[u8]) -> Option<(&Arc<str>, Permissions)> {
        let mut filled = token.to_vec();
        filled.resize(self.token_max, 0);
        let mut found = Choice::from(0);
        let mut which = 0u64;
        for (position, user) in (0u64..).zip(&self.users) {
            let same = user.token.ct_eq(&filled) & (user.token_len as u64).ct_eq(&(token.len() as u64));
            found |= same;
            which = u64::conditional_select(&which, &position, same);
        }
        let user = self.users.get(usize::try_from(which).ok()?).filter(|_| bool::from(found))?;
        Some((&user.name, user.permissions))
    }
}

impl Users {
    /// What the user may do in `new`, if that has the same user with the same password.
    pub(super) fn in_others(&self, name: &str, new: &Self) -> Option<Permissions> {
        let old = self.users.iter().rfind(|user| &*user.name == name)?;
        let new = new.users.iter().rfind(|user| &*user.name == name)?;
        let token = |user: &User| user.token.get(..user.token_len).unwrap_or_default().to_vec();
        bool::from(token(old).ct_eq(&token(new))).then_some(new.permissions)
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.users.iter().map(|user| (&user.name, user.permissions))).finish()
    }
}

/// What a client of that name and password sends to log in: both in base64, with a colon between.
pub fn token(name: &str, password: &str) -> String {
    format!("{}:{}", STANDARD.encode(name), STANDARD.encode(password))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_user_and_nothing_else_does() {
        let mut users = Users::default();
        assert_eq!(users.check(b""), None, "there is nobody");
        users.add("admin", "adminpass", Permissions::ALL);
        users.add("ro", "a much longer password than the others have", Permissions::READ);
        users.add("", "", Permissions::NONE);
        assert_eq!(token("admin", "adminpass"), "YWRtaW4=:YWRtaW5wYXNz");
        let check = |token: &str, expected| {
            assert_eq!(users.check(token.as_bytes()).map(|(name, _)| &**name), expected, "{token}");
        };
        check("YWRtaW4=:YWRtaW5wYXNz", Some("admin"));
        check(&token("ro", "a much longer password than the others have"), Some("ro"));
        check(":", Some(""));
        for wrong in ["", "YWRtaW4=", "YWRtaW4=:", "YWRtaW4=:YWRtaW5wYXNz\0", "YWRtaW4=:YWRtaW5wYXN", ":\0"] {
            check(wrong, None);
        }
        check(&"x".repeat(10_000), None);
        check(&(token("ro", "a much longer password than the others have") + "x"), None);
    }

    #[test]
    fn of_two_users_with_one_token_the_later_one_counts() {
        let mut users = Users::default();
        users.add("a", "b", Permissions::ALL);
        users.add("a", "b", Permissions::READ);
        assert_eq!(users.check(token("a", "b").as_bytes()), Some((&"a".into(), Permissions::READ)));
    }

    #[test]
    fn permissions_are_shown_by_name_and_tokens_not_at_all() {
        let mut users = Users::default();
        users.add("me", "secret", Permissions::READ.with(Permissions::MANAGE));
        assert_eq!(format!("{users:?}"), r#"{"me": {"read", "manage"}}"#);
    }
}
