//! The recorded cases, as steps that can be taken one after the other.

use std::collections::BTreeSet;

use serde_json::Value;

/// What every connection receives first.
pub(crate) const GREETING: &str = "CLACKS <SERVER>\r\nOVERHEAD M Authentication required\r\n";

/// A text and the connection that sends or receives it.
pub(crate) type Said = (String, String);

/// One line of the recording.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) sent: Vec<Said>,
    pub(crate) received: Vec<Said>,
    /// Why ours behaves otherwise, where it does.
    pub(crate) we_differ: Option<String>,
}

impl Case {
    /// All cases of the recording.
    pub(crate) fn all() -> Vec<Self> {
        include_str!("../data/clacks-wire.json").lines().map(Self::parse).collect()
    }

    /// The case of this name.
    pub(crate) fn named(name: &str) -> Self {
        let found = Self::all().into_iter().find(|case| case.name == name);
        found.unwrap_or_else(|| panic!("{name} is not in the recording"))
    }

    fn parse(line: &str) -> Self {
        let object: Value = serde_json::from_str(line).expect("the recording is JSON");
        let text = |value: &Value| value.as_str().expect("the recording has strings here").to_owned();
        let said = |key: &str| {
            let list = object[key].as_array().expect("the recording has lists here");
            list.iter().map(|said| (text(&said[0]), text(&said[1]))).collect()
        };
        Self {
            name: text(&object["case"]),
            sent: said("sent"),
            received: said("received"),
            we_differ: object.get("we_differ").map(text),
        }
    }

    /// The connections of the case in the order in which they were opened: `a`, the others that send,
    /// those that only receive.
    pub(crate) fn connections(&self) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let said = self.sent.iter().chain(&self.received).map(|(name, _)| name.clone());
        let mut names: Vec<_> = said.filter(|name| seen.insert(name.clone())).collect();
        names.sort_by_key(|name| name != "a");
        names
    }

    /// Whether the case says what `connection` receives.
    pub(crate) fn observes(&self, connection: &str) -> bool {
        self.received.iter().any(|(name, _)| name == connection)
    }

    /// What belongs together. The recording has all that was sent and all that was received, in
    /// order; what was received because of one text follows the answer to its sender and names no
    /// connection twice, so the steps are found from the end.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let greetings = self.received.iter().take_while(|(_, text)| text == GREETING).count();
        let (greetings, mut rest) = self.received.split_at(greetings);
        let mut steps = Vec::new();
        // What was in the cache at the end is no answer to anything.
        if let Some((cache, before)) = rest.split_last().filter(|((_, text), _)| text.starts_with("CACHE: "))
        {
            steps.push(Step { acts: Vec::new(), received: vec![cache.clone()] });
            rest = before;
        }
        for (sender, text) in self.sent.iter().rev() {
            let mut names = BTreeSet::new();
            let received = rest.iter().rposition(|(name, _)| name == sender || !names.insert(name));
            let start = match received {
                Some(at) if rest[at].0 == *sender => at,
                Some(at) => at + 1,
                None => 0,
            };
            let received;
            (rest, received) = rest.split_at(start);
            steps.push(Step::new(Act::Send(sender.clone(), text.clone()), received.to_vec()));
        }
        assert!(rest.is_empty(), "{}: {rest:?} belong to no step", self.name);
        steps.push(Step { acts: Vec::new(), received: greetings.to_vec() });
        steps.reverse();
        steps
    }
}

/// Something happens, then something is received.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) acts: Vec<Act>,
    /// What those receive who are named, and nothing else.
    pub(crate) received: Vec<Said>,
}

impl Step {
    pub(crate) fn new(act: Act, received: Vec<Said>) -> Self {
        Self { acts: vec![act], received }
    }

    /// Whether it is said what `connection` receives.
    pub(crate) fn names(&self, connection: &str) -> bool {
        self.received.iter().any(|(name, _)| name == connection)
    }
}

/// What a client does.
#[derive(Debug)]
pub(crate) enum Act {
    /// Connects, no more.
    Open(String),
    /// Connects and logs in as the main user.
    Join(String),
    Send(String, String),
    /// Ends its sending side, goes on receiving.
    HalfClose(String),
    Close(String),
}

#[test]
fn each_step_has_what_its_text_caused() {
    fn check(case: &str, steps: &[&str]) {
        let found = Case::named(case).steps();
        let names = |step: &Step| step.received.iter().map(|(name, _)| name.as_str()).collect::<String>();
        assert_eq!(found.iter().map(names).collect::<Vec<_>>(), steps, "{case}: {found:#?}");
    }
    // The greetings, then a step for each text.
    check("greeting", &["a"]);
    check("auth_ok_admin", &["a", "", "a"]);
    check("before_auth_commands_are_ignored", &["a", "a", "a", "ab"]);
    check("listen_no_echo_to_sender", &["", "a", "b", "ab", "ab", "ab", "ba"]);
    check("listen_twice_is_once", &["", "b", "b", "ab", "b", "ab", "b"]);
    check("overhead_close_all", &["c", "abc"]);
    check("monitor_off", &["", "m", "m", "m", "m"]);
    check("clientlist_states", &["", "", "", "", "a"]);
    check("clientdisconnect_other", &["", "b", "a"]);
}
