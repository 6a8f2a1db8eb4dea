//! A network behind a virtual cable that can be cut: a pair of virtual interfaces, one of them in a namespace of its own.

use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{self, Command, Stdio};

/// Removed with this value.
pub(crate) struct Cable {
    name: String,
    link: String,
    /// The addresses of this end and of the other one.
    pub(crate) here: Ipv4Addr,
    pub(crate) there: Ipv4Addr,
}

impl Cable {
    /// None: this process may not make one, which is said where everybody sees it.
    pub(crate) fn new() -> Option<Self> {
        let id = process::id();
        // Other processes may have cables, too. These addresses are for tests of networks.
        let [_, high, low, _] = (id << 10).to_be_bytes();
        let address = |last: u8| Ipv4Addr::new(198, 18 + (high & 1), low, (high & 0xfc) | last);
        let cable =
            Self { name: format!("ed{id}"), link: format!("ed{id}a"), here: address(1), there: address(2) };
        let (name, link, far) = (&*cable.name, &*cable.link, format!("ed{id}b"));
        let made = ip(&["netns", "add", name])
            && ip(&["link", "add", link, "type", "veth", "peer", "name", &far, "netns", name])
            && ip(&["address", "add", &format!("{}/30", cable.here), "dev", link])
            && ip(&["link", "set", link, "up"])
            && ip(&["-n", name, "address", "add", &format!("{}/30", cable.there), "dev", &far])
            && ip(&["-n", name, "link", "set", &far, "up"]);
        if !made {
            // Not captured, unlike what is printed.
            let said = writeln!(
                std::io::stderr(),
                "NOT TESTED: no network namespace can be made here (it needs root and ip)"
            );
            said.expect("there is a stderr");
        }
        made.then_some(cable)
    }

    /// A program at the other end.
    pub(crate) fn program(&self, name: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, name]);
        command
    }

    /// From now on nothing gets through, and nobody is told.
    pub(crate) fn cut(&self) {
        assert!(ip(&["link", "set", &self.link, "down"]), "the interface can't be taken down");
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        ip(&["link", "delete", &self.link]);
        ip(&["netns", "delete", &self.name]);
    }
}

fn ip(arguments: &[&str]) -> bool {
    let done = Command::new("ip").args(arguments).stderr(Stdio::null()).status();
    done.is_ok_and(|status| status.success())
}
