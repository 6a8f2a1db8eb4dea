use std::collections::HashSet;
use std::path::PathBuf;

use super::notes::Notes;
use super::reader::{Content, Given, Reading, label};
use super::settings::Kind;
use super::value::{Value, quote};
use super::{Configuration, Master, Tls, User};
use crate::connections::clacks::credentials::Password;
use crate::connections::clacks::line::LINE_ROOM;
use crate::connections::clacks::persistence::JournalSync;

/// Where a setting in effect begins: its path (`ssl/cert`) and the byte.
pub(super) type Mark = (String, usize);

/// Makes a configuration of what is given, and notes what does not fit together. With errors in
/// `notes` the result is of no use.
pub(super) fn assemble(reading: Reading, notes: &mut Notes) -> (Configuration, Vec<Mark>) {
    let mut draft = Draft {
        configuration: Configuration::new("", Password::new("")),
        marks: marks(&reading.given),
        notes,
        seen: HashSet::new(),
        dropped: HashSet::new(),
        ip: Vec::new(),
        port: None,
        certificate: None,
        key: None,
        users: Vec::new(),
    };
    for given in reading.given {
        draft.take(given);
    }
    draft.finish(reading.root)
}

struct Draft<'n> {
    configuration: Configuration,
    marks: Vec<Mark>,
    notes: &'n mut Notes,
    /// The values of the repeatable settings so far.
    seen: HashSet<(&'static str, String)>,
    /// Where those begin that were there already.
    dropped: HashSet<usize>,
    ip: Vec<String>,
    port: Option<u16>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    users: Vec<(User, usize)>,
}

impl Draft<'_> {
    fn take(&mut self, given: Given) {
        let Given { setting, at, content } = given;
        let configuration = &mut self.configuration;
        match (setting.name, content) {
            (_, Content::Value(Value::Seconds(time))) => {
                if let Kind::Seconds { field, .. } = setting.kind {
                    *field(configuration) = time;
                }
            }
            ("port", Content::Value(Value::Number(port))) => self.port = u16::try_from(port).ok(),
            ("socketchmod", Content::Value(Value::Number(mode))) => {
                configuration.socket_mode = u32::try_from(mode).ok();
            }
            ("journal", Content::Value(Value::Flag(on))) => configuration.journal = on,
            (_, Content::Value(Value::Number(number))) => {
                if let Kind::Number { field, .. } = setting.kind {
                    *field(configuration) = number;
                }
            }
            ("passwordhash", Content::Value(Value::Hash(hash))) => configuration.password_hash = Some(hash),
            (name, Content::Value(Value::Text(text))) => match name {
                "appname" => configuration.app_name = text,
                "ip" | "socket" if !self.seen.insert((setting.name, text.clone())) => {
                    self.notes.warning(at, format!("<{name}> is listed already: this one has no effect"));
                    self.dropped.insert(at);
                }
                "ip" => self.ip.push(text),
                "socket" => configuration.sockets.push(text.into()),
                "username" => configuration.username = text,
                "password" => configuration.password = Password::new(text),
                "persistancefile" => configuration.persistence_file = Some(text.into()),
                "journalsync" => {
                    configuration.journal_sync = match &*text {
                        "none" => JournalSync::None,
                        "always" => JournalSync::Always,
                        _ => JournalSync::Interval,
                    };
                }
                "debugfile" => configuration.debug_file = Some(text.into()),
                "control" => configuration.control = Some(text.into()),
                "controltype" => configuration.is_control_stream = text == "stream",
                _ => {}
            },
            ("ssl", Content::Group(mut group)) => {
                self.certificate = text(&mut group, "cert").map(PathBuf::from);
                self.key = text(&mut group, "key").map(PathBuf::from);
            }
            ("socketcommands", Content::Group(group)) => {
                configuration.socket_commands = group.into_iter().filter_map(Given::into_text).collect();
            }
            ("user", Content::Group(group)) => self.user(group, at),
            ("master", Content::Group(group)) => self.master(group, at),
            _ => {}
        }
    }

    fn user(&mut self, mut group: Vec<Given>, at: usize) {
        let hashed = first(&group, "passwordhash");
        for (name, why) in [("username", "each user needs a name"), ("password", "each user needs one")] {
            if first(&group, name).is_none() && (name != "password" || hashed.is_none()) {
                self.notes.error(at, format!("{} is missing: {why}", label(name, Some("user"))));
            }
        }
        if let (Some(at), Some(_)) = (hashed, first(&group, "password")) {
            self.notes.error(at, "<passwordhash> of <user> is given beside <password>: give one of them");
        }
        let mut flags = Vec::new();
        for name in ["read", "write", "manage"] {
            let flag = group.iter().find(|given| given.setting.name == name).map(|given| &given.content);
            flags.push(match flag {
                Some(Content::Value(Value::Flag(flag))) => Some(*flag),
                Some(_) => None,
                None => Some(false),
            });
        }
        if flags.iter().all(|flag| *flag == Some(false)) {
            self.notes.warning(at, "<user> has no permission: give it <read>, <write> or <manage>");
        }
        let granted = |i: usize| flags.get(i).copied().flatten() == Some(true);
        if let Some(name) = text(&mut group, "username") {
            let password = Password::new(text(&mut group, "password").unwrap_or_default());
            let password_hash = group.into_iter().find_map(|given| match given.content {
                Content::Value(Value::Hash(hash)) => Some(hash),
                _ => None,
            });
            let user = User {
                name,
                password,
                password_hash,
                read: granted(0),
                write: granted(1),
                manage: granted(2),
            };
            self.users.push((user, at));
        }
    }

    fn master(&mut self, mut group: Vec<Given>, at: usize) {
        let (socket, ip, port) = (first(&group, "socket"), first(&group, "ip"), first(&group, "port"));
        match (socket, ip, port) {
            (Some(_), None, None) | (None, None, None) | (None, Some(_), Some(_)) => {}
            (Some(_), Some(extra), _) | (Some(_), None, Some(extra)) => {
                self.notes.warning(extra, "<ip> and <port> of <master> have no effect beside its <socket>");
            }
            (None, Some(ip), None) => {
                self.notes.error(ip, "<port> of <master> is missing: <ip> needs one");
            }
            (None, None, Some(_)) => {
                self.notes.error(at, "<ip> of <master> is missing: <port> needs one");
            }
        }
        if let Some(ca) = first(&group, "ca")
            && (socket.is_some() || ip.is_none())
        {
            self.notes.warning(ca, "<ca> of <master> has no effect without an <ip>, or beside a <socket>");
        }
        let port = group.iter().find_map(|given| match given.content {
            Content::Value(Value::Number(port)) => u16::try_from(port).ok(),
            _ => None,
        });
        let ca = text(&mut group, "ca").map(PathBuf::from);
        self.configuration.master = match (text(&mut group, "socket"), text(&mut group, "ip"), port) {
            (Some(socket), ..) => Some(Master::Socket(socket.into())),
            (None, Some(host), Some(port)) => Some(Master::Tls { host, port, ca }),
            _ => None,
        };
    }

    fn finish(mut self, root: usize) -> (Configuration, Vec<Mark>) {
        for (name, why) in
            [("username", "the main user needs a name"), ("password", "the main user needs one")]
        {
            if self.mark(name).is_none() && (name != "password" || self.mark("passwordhash").is_none()) {
                self.notes.error(root, format!("<{name}> is missing: {why}"));
            }
        }
        if let Some(at) = self.mark("passwordhash") {
            if self.mark("password").is_some() {
                self.notes.error(at, "<passwordhash> is given beside <password>: give one of them");
            } else if self.configuration.master.is_some() {
                self.notes
                    .error(at, "<passwordhash> does not do beside <master>: a link needs the <password>");
            }
        }
        if self.mark("socket").is_none() && self.mark("ip").is_none() {
            self.notes.error(root, "<socket> or <ip> is missing: without one there is no way in");
        }
        self.check_tls();
        self.check_users();
        self.check_files();
        self.check_limits();
        self.marks.retain(|(_, at)| !self.dropped.contains(at));
        (self.configuration, self.marks)
    }

    fn check_tls(&mut self) {
        let Some(ip) = self.mark("ip") else {
            for name in ["port", "ssl"] {
                if let Some(at) = self.mark(name) {
                    self.notes.warning(at, format!("<{name}> has no effect without <ip>"));
                }
            }
            return;
        };
        if self.mark("port").is_none() {
            self.notes.error(ip, "<port> is missing: <ip> needs one");
        }
        for name in ["cert", "key"] {
            if self.mark(&format!("ssl/{name}")).is_none() {
                self.notes.error(ip, format!("{} is missing: <ip> needs one", label(name, Some("ssl"))));
            }
        }
        let addresses = std::mem::take(&mut self.ip);
        if let (Some(port), Some(certificate), Some(key)) =
            (self.port, self.certificate.take(), self.key.take())
        {
            self.configuration.tls = Some(Tls { addresses, port, certificate, key });
        }
    }

    fn check_users(&mut self) {
        let mut names = HashSet::new();
        for (user, at) in &self.users {
            let name = quote(&user.name);
            if user.name == self.configuration.username {
                self.notes
                    .error(*at, format!("the user {name} is the main user already: choose another name"));
            } else if !names.insert(&user.name) {
                self.notes.error(*at, format!("the user {name} is there already: choose another name"));
            }
        }
        self.configuration.users =
            std::mem::take(&mut self.users).into_iter().map(|(user, _)| user).collect();
    }

    fn check_files(&mut self) {
        if self.mark("persistancefile").is_none() {
            for name in ["journal", "journalsync"] {
                if let Some(at) = self.mark(name) {
                    self.notes.warning(at, format!("<{name}> has no effect without <persistancefile>"));
                }
            }
        } else if !self.configuration.journal
            && let Some(at) = self.mark("journalsync")
        {
            self.notes.warning(at, "<journalsync> has no effect: <journal> is 0");
        }
        let Configuration { debug_file, persistence_file, .. } = &self.configuration;
        if let Some(at) = self.mark("debugfile")
            && debug_file.is_some()
            && debug_file == persistence_file
        {
            self.notes.error(at, "<debugfile> is the <persistancefile> too: choose another name");
        }
        let Configuration { control, sockets, .. } = &self.configuration;
        if let Some(at) = self.mark("control")
            && control.as_ref().is_some_and(|control| sockets.contains(control))
        {
            self.notes.error(at, "<control> is a <socket> too: choose another name");
        }
    }

    fn check_limits(&mut self) {
        let Configuration { max_line, max_out_buffer, .. } = self.configuration;
        // What comes out of a line is longer than it was, and the answer to a FLUSH must have room behind it.
        let least = max_line.saturating_add(LINE_ROOM.into());
        if max_out_buffer < least
            && let Some(at) = self.mark("maxoutbuffer").or_else(|| self.mark("maxline"))
        {
            self.notes.error(
                at,
                format!(
                    "<maxoutbuffer> is {max_out_buffer} bytes and <maxline> {max_line}: at least {least} are needed, \
                     for a line that is accepted must fit into the output of others, with what is put before it"
                ),
            );
        }
    }

    /// Where a setting is given first, with a value that can be used or not.
    fn mark(&self, path: &str) -> Option<usize> {
        self.marks.iter().find(|(mark, _)| mark == path).map(|&(_, at)| at)
    }
}

/// Where everything in the root, and in the groups that are there once, is given.
fn marks(given: &[Given]) -> Vec<Mark> {
    let mut marks = Vec::new();
    for Given { setting, at, content } in given {
        marks.push((setting.name.into(), *at));
        if let Content::Group(group) = content
            && !setting.repeatable
        {
            marks.extend(
                group.iter().map(|inner| (format!("{}/{}", setting.name, inner.setting.name), inner.at)),
            );
        }
    }
    marks
}

fn first(group: &[Given], name: &str) -> Option<usize> {
    group.iter().find(|given| given.setting.name == name).map(|given| given.at)
}

/// Takes the text of that name out of `group`.
fn text(group: &mut Vec<Given>, name: &str) -> Option<String> {
    let at = group.iter().position(|given| given.setting.name == name)?;
    group.swap_remove(at).into_text()
}

impl Given {
    fn into_text(self) -> Option<String> {
        match self.content {
            Content::Value(Value::Text(text)) => Some(text),
            _ => None,
        }
    }
}
