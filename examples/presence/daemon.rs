//! What all parts of the daemon share: its settings, its links to the server, and who waits for an answer.

use super::flap::{DATA, Flaps, SIGN_OFF, write_data};
use super::http::{Answer, Http};
use super::link::Link;
use super::settings::Settings;
use super::template::Template;
use super::{browser, say};
use eventdispatcher::{Communicator, Id, Listening, TimerId};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

/// So many browsers wait for an answer at once.
const WAITING_MAX: usize = 1000;

pub(crate) type Shared = Rc<RefCell<Daemon>>;

pub(crate) struct Daemon {
    path: PathBuf,
    pub(crate) settings: Settings,
    template: Template,
    pub(crate) links: Vec<Link>,
    /// By the number that goes to the server and comes back.
    waiting: BTreeMap<u32, Waiting>,
    next_number: u32,
    /// Which link is asked next.
    next_link: usize,
    http: Option<Listening>,
    /// What a timer needs to come back here.
    itself: std::rc::Weak<RefCell<Daemon>>,
}

/// A browser that waits for an answer.
struct Waiting {
    browser: Id<Http>,
    /// It may ask more afterwards.
    stays: bool,
    name: String,
    timeout: TimerId,
    /// Who has asked the server; nobody, if none is online.
    asked_by: Option<Id<Flaps>>,
}

/// # Settings
impl Daemon {
    pub(crate) fn start(path: PathBuf, communicator: &Communicator) -> Result<Shared, String> {
        let settings = Settings::read(&path)?;
        let template = Template::read(&settings.template)?;
        let daemon = Rc::new_cyclic(|itself| {
            RefCell::new(Self {
                path,
                settings,
                template,
                links: Vec::new(),
                waiting: BTreeMap::new(),
                next_number: 0,
                next_link: 0,
                http: None,
                itself: itself.clone(),
            })
        });
        let address = daemon.borrow().settings.http;
        let listening = browser::listen(&daemon, address, communicator).map_err(|error| error.to_string())?;
        daemon.borrow_mut().http = Some(listening);
        say(&format!("pages on {}", listening.address()));
        make_links(&daemon, communicator);
        Ok(daemon)
    }

    pub(crate) fn reload_template(&mut self) {
        match Template::read(&self.settings.template) {
            Ok(template) => {
                self.template = template;
                say("the template is a new one");
            }
            Err(error) => say(&format!("the template stays as it is: {error}")),
        }
    }

    /// Tells the server that nothing more will come.
    pub(crate) fn sign_off(&mut self, communicator: &Communicator) {
        for mut link in self.links.drain(..) {
            if link.online {
                let _ = link.send(communicator, SIGN_OFF, b""); // it is about to be closed all the same
            }
            communicator.close(link.id);
        }
    }
}

/// Reads the settings again, and makes the links anew. When anything is wrong with the new ones, all stays as it is.
pub(crate) fn reload(daemon: &Shared, communicator: &Communicator) {
    let prepare = || {
        let (path, old) = (daemon.borrow().path.clone(), daemon.borrow().settings.http);
        let settings = Settings::read(&path)?;
        let template = Template::read(&settings.template)?;
        let listening = if settings.http == old {
            None
        } else {
            let listening = browser::listen(daemon, settings.http, communicator);
            Some(listening.map_err(|error| error.to_string())?)
        };
        Ok::<_, String>((settings, template, listening))
    };
    let (settings, template, listening) = match prepare() {
        Ok(prepared) => prepared,
        Err(error) => return say(&format!("the settings stay as they are: {error}")),
    };
    {
        let mut daemon = daemon.borrow_mut();
        (daemon.settings, daemon.template) = (settings, template);
        if let Some(new) = listening {
            // Who is connected to the old one stays.
            if let Some(old) = daemon.http.replace(new) {
                communicator.close(old);
            }
            say(&format!("pages on {}", new.address()));
        }
        daemon.sign_off(communicator);
        for waiting in daemon.waiting.values_mut() {
            waiting.asked_by = None; // the new links will ask
        }
        say("the settings are new ones");
    }
    make_links(daemon, communicator);
}

fn make_links(daemon: &Shared, communicator: &Communicator) {
    let accounts = daemon.borrow().settings.accounts.clone();
    let links: Vec<Link> = accounts.iter().map(|account| Link::new(daemon, account, communicator)).collect();
    daemon.borrow_mut().links = links;
}

/// # Questions and answers
impl Daemon {
    /// Notes that a browser waits, and asks the server. `false`: too many wait.
    pub(crate) fn ask(
        &mut self,
        name: &str,
        browser: Id<Http>,
        stays: bool,
        communicator: &Communicator,
    ) -> bool {
        if self.waiting.len() >= WAITING_MAX {
            return false;
        }
        while self.waiting.contains_key(&self.next_number) {
            self.next_number = self.next_number.wrapping_add(1);
        }
        let number = self.next_number;
        self.next_number = number.wrapping_add(1);
        let itself = self.itself.clone();
        let timeout = communicator.after(self.settings.timeout, move |communicator| {
            if let Some(daemon) = itself.upgrade() {
                daemon.borrow_mut().end(number, "504 Gateway Timeout", None, communicator);
            }
        });
        let waiting = Waiting { browser, stays, name: name.to_owned(), timeout, asked_by: None };
        self.waiting.insert(number, waiting);
        self.ask_again(communicator);
        true
    }

    /// Asks the server whatever nobody has asked it yet, by turns with the links that are online.
    pub(crate) fn ask_again(&mut self, communicator: &Communicator) {
        let unasked = self.waiting.iter_mut().filter(|(_, waiting)| waiting.asked_by.is_none());
        for (number, waiting) in unasked {
            let count = self.links.len();
            let found = (0..count)
                .map(|n| self.next_link.wrapping_add(n) % count)
                .find(|&index| self.links.get(index).is_some_and(|link| link.online));
            let Some(index) = found else { return };
            self.next_link = index + 1;
            if let Some(link) = self.links.get_mut(index)
                && link.send(communicator, DATA, &write_data(*number, &waiting.name)).is_ok()
            {
                waiting.asked_by = Some(link.id);
            }
        }
    }

    /// What a link has asked that is gone, somebody else has to ask.
    pub(crate) fn forget_link(&mut self, id: Id<Flaps>) {
        for waiting in self.waiting.values_mut().filter(|waiting| waiting.asked_by == Some(id)) {
            waiting.asked_by = None;
        }
    }

    /// The server has answered.
    pub(crate) fn answered(&mut self, number: u32, status: &str, communicator: &Communicator) {
        self.end(number, "200 OK", Some(status), communicator);
    }

    /// Gives a browser its answer. It may be gone, and the answer too late.
    fn end(&mut self, number: u32, status: &str, found: Option<&str>, communicator: &Communicator) {
        let Some(Waiting { browser, stays, name, timeout, .. }) = self.waiting.remove(&number) else {
            return;
        };
        communicator.cancel(timeout);
        let body = found.map(|found| self.template.fill(&name, found)).unwrap_or_default();
        let _ = communicator.send(browser, Answer { status, body: &body, stays });
        if stays {
            communicator.read(browser, true);
        } else {
            communicator.close(browser);
        }
    }

    /// A page about the links.
    pub(crate) fn overview(&self) -> String {
        let line = |link: &Link| {
            format!("<li>{}: {}</li>\n", link.user, if link.online { "online" } else { "offline" })
        };
        let lines: String = self.links.iter().map(line).collect();
        format!("<ul>\n{lines}</ul>\n{} wait for an answer\n", self.waiting.len())
    }
}
