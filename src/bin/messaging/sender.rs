//! Under which name a program of this package sends.

use eventdispatcher::dispatcher::{NameError, Part};

/// The name of this computer, as a message can carry it: what no name of a server has becomes `_`.
pub(crate) fn server_name() -> String {
    let host = nix::unistd::gethostname().unwrap_or_default();
    legal(&host.to_string_lossy())
}

fn legal(host: &str) -> String {
    let is_legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut name: String = host.chars().map(|c| if is_legal(c) { c } else { '_' }).collect();
    if name.starts_with(|first: char| first.is_ascii_digit()) {
        name.insert(0, '_');
    }
    if check(&name).is_ok() { name } else { String::new() }
}

fn check(name: &str) -> Result<(), NameError> {
    Part::SentFromServer.check(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_host_has_a_legal_name() {
        for (host, name) in [
            ("vm", "vm"),
            ("web-1", "web_1"),
            ("web.example.org", "web_example_org"),
            ("1st", "_1st"),
            ("bücher", "b_cher"),
            ("", ""),
        ] {
            assert_eq!(legal(host), name);
            assert_eq!(check(&legal(host)), Ok(()));
        }
    }
}
