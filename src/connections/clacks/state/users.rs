//! Who may log in, and what they may do.

use std::fmt;
use std::sync::Arc;

use crate::connections::clacks::credentials::PasswordHash;
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
    proof: Proof,
    permissions: Permissions,
}

/// What shows that it is the user.
enum Proof {
    /// All of what the client sends, filled up, and how long it is.
    Token(Vec<u8>, usize),
    /// The hash of the password.
    Hash(PasswordHash),
}

/// What a token is worth.
#[derive(Debug)]
pub(super) enum Checked<'a> {
    /// It is this user's.
    Right(&'a Arc<str>, Permissions),
    /// It is nobody's; this is the user whose name it has, if there is one.
    Wrong(Option<&'a Arc<str>>),
    /// The password must be compared with a hash.
    Compare(Attempt),
}

/// A password that is to be compared with a hash, which takes so long that it is not done in the loop.
pub struct Attempt {
    /// Whose hash it is; without, there is no such user, and the comparison is for nothing but the time that it takes.
    pub(super) user: Option<Arc<str>>,
    pub(super) hash: PasswordHash,
    pub(super) password: Vec<u8>,
}

impl Users {
    /// Adds a user. If two have the same name and password, the later one counts.
    pub fn add(&mut self, name: &str, password: &str, permissions: Permissions) {
        let token = token(name, password).into_bytes();
        let length = token.len();
        self.token_max = self.token_max.max(length);
        self.users.push(User { name: name.into(), proof: Proof::Token(token, length), permissions });
        for user in &mut self.users {
            if let Proof::Token(token, _) = &mut user.proof {
                token.resize(self.token_max, 0);
            }
        }
    }

    /// Adds a user of whose password only a hash is known.
    pub fn add_hashed(&mut self, name: &str, hash: PasswordHash, permissions: Permissions) {
        self.users.push(User { name: name.into(), proof: Proof::Hash(hash), permissions });
    }

    /// The token of the first user that may be another server: the main user's. It is what linked servers prove themselves
    /// with to each other. Of a password that is only known as a hash there is none.
    pub(super) fn link_token(&self) -> Option<&[u8]> {
        let user = self.users.iter().find(|user| user.permissions.allow(Permissions::INTERCLACKS))?;
        match &user.proof {
            Proof::Token(token, length) => token.get(..*length),
            Proof::Hash(_) => None,
        }
    }

    /// Whether it is that token. How long this takes depends on the length only.
    pub(super) fn is_link_token(&self, token: &[u8]) -> bool {
        self.link_token().is_some_and(|own| own.ct_eq(token).into())
    }

    /// Whose token it is. How long this takes depends on the length of the token and on the number
    /// of users, not on what is in any token.
    pub(super) fn check(&self, token: &[u8]) -> Checked<'_> {
        let mut filled = token.to_vec();
        filled.resize(self.token_max, 0);
        let mut found = Choice::from(0);
        let mut which = 0u64;
        for (position, user) in (0u64..).zip(&self.users) {
            let Proof::Token(known, length) = &user.proof else { continue };
            let same = known.ct_eq(&filled) & (*length as u64).ct_eq(&(token.len() as u64));
            found |= same;
            which = u64::conditional_select(&which, &position, same);
        }
        let user = usize::try_from(which).ok().and_then(|which| self.users.get(which));
        if let Some(user) = user.filter(|_| bool::from(found)) {
            return Checked::Right(&user.name, user.permissions);
        }
        let Some((name, password)) = read(token) else { return Checked::Wrong(None) };
        // Whether there is such a user, and how the password is known, shall not show in the time that it takes.
        let known = self.users.iter().find(|user| user.name.as_bytes() == name);
        let hashes = self.users.iter().filter_map(|user| match &user.proof {
            Proof::Hash(hash) => Some((&user.name, hash)),
            Proof::Token(..) => None,
        });
        let own = hashes.clone().find(|(user, _)| user.as_bytes() == name);
        match own.or_else(|| hashes.clone().next()) {
            Some((_, hash)) => Checked::Compare(Attempt {
                user: own.map(|(user, _)| user.clone()),
                hash: hash.clone(),
                password,
            }),
            None => Checked::Wrong(known.map(|user| &user.name)),
        }
    }

    /// What the user of that name may do.
    pub(super) fn permissions_of(&self, name: &str) -> Option<Permissions> {
        self.users.iter().rfind(|user| &*user.name == name).map(|user| user.permissions)
    }

    /// What the user may do in `new`, if that has the same user with the same password.
    pub(super) fn in_others(&self, name: &str, new: &Self) -> Option<Permissions> {
        let old = self.users.iter().rfind(|user| &*user.name == name)?;
        let new = new.users.iter().rfind(|user| &*user.name == name)?;
        let is_same = match (&old.proof, &new.proof) {
            (Proof::Token(old, old_length), Proof::Token(new, new_length)) => {
                old.get(..*old_length) == new.get(..*new_length)
            }
            (Proof::Hash(old), Proof::Hash(new)) => old == new,
            _ => false,
        };
        is_same.then_some(new.permissions)
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt").field("user", &self.user).finish_non_exhaustive()
    }
}

/// The name and the password in a token.
fn read(token: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let at = token.iter().position(|byte| *byte == b':')?;
    let (name, password) = token.split_at_checked(at)?;
    Some((STANDARD.decode(name).ok()?, STANDARD.decode(password.get(1..)?).ok()?))
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
    use crate::connections::clacks::credentials::Password;

    fn owner(users: &Users, token: &str) -> Option<(String, Permissions)> {
        match users.check(token.as_bytes()) {
            Checked::Right(name, permissions) => Some((name.to_string(), permissions)),
            _ => None,
        }
    }

    #[test]
    fn who_is_known_by_a_hash_and_who_is_not_known_are_compared_alike() {
        let mut users = Users::default();
        users.add("plain", "p", Permissions::READ);
        let wrong = |users: &Users, token: &str| match users.check(token.as_bytes()) {
            Checked::Wrong(user) => user.map(ToString::to_string),
            other => panic!("{token}: {other:?}"),
        };
        assert_eq!(wrong(&users, &token("plain", "x")).as_deref(), Some("plain"));
        assert_eq!(wrong(&users, &token("nobody", "x")), None);

        let hash = PasswordHash::of(&Password::new("secret")).unwrap();
        users.add_hashed("hashed", hash, Permissions::WRITE);
        assert_eq!(owner(&users, &token("plain", "p")), Some(("plain".to_owned(), Permissions::READ)));
        let check = |name: &str, password: &str, user: Option<&str>, right: bool| {
            let Checked::Compare(attempt) = users.check(token(name, password).as_bytes()) else {
                panic!("{name} is not compared");
            };
            assert_eq!((attempt.user.as_deref(), attempt.compare()), (user, right), "{name} {password}");
        };
        check("hashed", "secret", Some("hashed"), true);
        check("hashed", "Secret", Some("hashed"), false);
        check("nobody", "secret", None, false);
        check("plain", "secret", None, false);
        for no_token in ["", "x", "x:y", "=:=", "YWRtaW4="] {
            assert_eq!(wrong(&users, no_token), None, "{no_token}");
        }
    }

    #[test]
    fn a_token_names_its_user_and_nothing_else_does() {
        let mut users = Users::default();
        assert_eq!(owner(&users, ""), None, "there is nobody");
        users.add("admin", "adminpass", Permissions::ALL);
        users.add("ro", "a much longer password than the others have", Permissions::READ);
        users.add("", "", Permissions::NONE);
        assert_eq!(token("admin", "adminpass"), "YWRtaW4=:YWRtaW5wYXNz");
        let check = |token: &str, expected| {
            assert_eq!(owner(&users, token).map(|(name, _)| name).as_deref(), expected, "{token}");
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
        assert_eq!(owner(&users, &token("a", "b")), Some(("a".to_owned(), Permissions::READ)));
    }

    #[test]
    fn permissions_are_shown_by_name_and_tokens_not_at_all() {
        let mut users = Users::default();
        users.add("me", "secret", Permissions::READ.with(Permissions::MANAGE));
        assert_eq!(format!("{users:?}"), r#"{"me": {"read", "manage"}}"#);
    }
}
