use roxmltree::{Document, Error, Node, ParsingOptions};

use super::notes::Notes;
use super::settings::{Kind, SETTINGS, Setting, is_known, nearest};
use super::source::offset_of;
use super::value::{self, Value, quote};

/// A setting that the configuration gives.
pub(super) struct Given {
    pub(super) setting: &'static Setting,
    /// The byte at which it begins.
    pub(super) at: usize,
    pub(super) content: Content,
}

/// What a [`Given`] holds.
pub(super) enum Content {
    Value(Value),
    Group(Vec<Given>),
}

/// What a configuration gives for one machine.
pub(super) struct Reading {
    /// The byte at which the root element begins.
    pub(super) root: usize,
    pub(super) given: Vec<Given>,
}

/// Reads `text` for the machine `hostname`. `None` when it is no XML; all problems are in `notes`.
///
/// As in the reference server, whose reader is Perl's XML::Simple, an attribute counts as an element
/// of its name, and the section of the machine in `<hosts>` replaces whole settings of the root: all
/// values of a repeatable one, and all of a group.
pub(super) fn read(text: &str, hostname: &str, notes: &mut Notes) -> Option<Reading> {
    if let Some((at, encoding)) = foreign_encoding(text) {
        notes.error(
            at,
            format!(
                "the encoding {} is not supported: save the file as UTF-8 and say so here",
                quote(encoding)
            ),
        );
        return None;
    }
    let options = ParsingOptions { allow_dtd: false, ..ParsingOptions::default() };
    let document = match Document::parse_with_options(text, options) {
        Ok(document) => document,
        Err(error) => {
            let (at, what) = explain(&error, text);
            notes.error(at, what);
            return None;
        }
    };
    let mut reader = Reader { text, notes };
    let root = document.root_element();
    let at = root.range().start;
    let name = reader.name(root);
    if name != "clacks" {
        reader.notes.warning(at, format!("the root is <{}>: expected is <clacks>", shown(name)));
    }
    let own = reader.hosts(root, hostname);
    let replaced = |name: &str| own.iter().any(|given| given.setting.name == name);
    let mut given = reader.members(root, None, SETTINGS, &replaced);
    given.retain(|given| !replaced(given.setting.name));
    given.extend(own);
    Some(Reading { root: at, given })
}

struct Reader<'t, 'n> {
    text: &'t str,
    notes: &'n mut Notes,
}

/// An attribute or a child element.
struct Member<'t, 'd> {
    name: &'t str,
    at: usize,
    content: MemberContent<'t, 'd>,
}

#[derive(Clone, Copy)]
enum MemberContent<'t, 'd> {
    Attribute(&'d str),
    Element(Node<'d, 't>),
}

impl<'t> Reader<'t, '_> {
    /// The settings that the sections of `hostname` give. Those of other machines are looked
    /// through too: what is wrong in them is worth a warning here and an error there.
    fn hosts(&mut self, root: Node<'_, 't>, hostname: &str) -> Vec<Given> {
        let mut own: Vec<Given> = Vec::new();
        let mut seen = false;
        let text = self.text;
        for hosts in
            root.children().filter(|node| node.is_element() && qualified_name(text, *node) == "hosts")
        {
            self.stray_text(hosts, Some("hosts"));
            for attribute in hosts.attributes() {
                let name = shown(attribute.name());
                self.notes
                    .warning(attribute.range().start, format!("<{name}> of <hosts> must be an element"));
            }
            for section in hosts.children().filter(Node::is_element) {
                let name = self.name(section);
                let ours = name == hostname;
                if ours && seen {
                    self.notes.error(section.range().start, given_again(name, Some("hosts")));
                } else if ours {
                    seen = true;
                    own = self.members(section, None, SETTINGS, &|_| false);
                } else {
                    let before = self.notes.set_lenient(true);
                    self.members(section, None, SETTINGS, &|_| false);
                    self.notes.set_lenient(before);
                }
            }
        }
        own.retain(|given| !matches!(given.setting.kind, Kind::Hosts));
        own
    }

    /// What `node` gives of `settings`. What `replaced` names has no effect.
    fn members(
        &mut self,
        node: Node<'_, 't>,
        group: Option<&'static str>,
        settings: &'static [Setting],
        replaced: &dyn Fn(&str) -> bool,
    ) -> Vec<Given> {
        self.stray_text(node, group);
        let in_host = group.is_none() && node.parent_element().is_some();
        let mut given = Vec::new();
        let mut seen = vec![false; settings.len()];
        let attributes = node.attributes().map(|attribute| Member {
            name: attribute.name(),
            at: attribute.range().start,
            content: MemberContent::Attribute(attribute.value()),
        });
        let text = self.text;
        let elements = node.children().filter(Node::is_element).map(|node| Member {
            name: qualified_name(text, node),
            at: node.range().start,
            content: MemberContent::Element(node),
        });
        for member in attributes.chain(elements) {
            let found = settings.iter().zip(&mut seen).find(|(setting, _)| setting.name == member.name);
            let Some((setting, seen)) = found else {
                self.unknown(&member, group, settings);
                continue;
            };
            if in_host && matches!(setting.kind, Kind::Hosts) {
                self.notes.warning(member.at, "<hosts> in the section of a host has no effect");
                continue;
            }
            let lenient = self.notes.lenient() || replaced(setting.name);
            let before = self.notes.set_lenient(lenient);
            if std::mem::replace(seen, true) && !setting.repeatable {
                // XML::Simple makes a list of the two, and the reference server then takes the
                // list's address for the value: nobody can depend on either.
                self.notes.error(member.at, given_again(setting.name, group));
            } else {
                let content = self.content(&member, setting, group);
                given.push(Given { setting, at: member.at, content });
            }
            self.notes.set_lenient(before);
        }
        given
    }

    fn content(
        &mut self,
        member: &Member<'t, '_>,
        setting: &'static Setting,
        group: Option<&str>,
    ) -> Content {
        match (&setting.kind, member.content) {
            (Kind::Group(settings), MemberContent::Element(node)) => {
                Content::Group(self.members(node, Some(setting.name), settings, &|_| false))
            }
            // Looked through by `hosts`.
            (Kind::Hosts, MemberContent::Element(_)) => Content::Value(Value::Ignored),
            (kind, MemberContent::Attribute(text)) => {
                Content::Value(self.value(kind, text, member.at, setting, group))
            }
            (kind, MemberContent::Element(node)) => {
                for attribute in node.attributes() {
                    let name = shown(attribute.name());
                    let what = format!("<{name}> of <{}> is unknown and has no effect", setting.name);
                    self.notes.warning(attribute.range().start, what);
                }
                if let Some(child) = node.children().find(Node::is_element)
                    && !matches!(kind, Kind::Ignored)
                {
                    // Its name may be part of a password.
                    let what =
                        format!("{} holds an element: write < in text as &lt;", label(setting.name, group));
                    self.notes.error(child.range().start, what);
                }
                let text: String =
                    node.children().filter(Node::is_text).filter_map(|node| node.text()).collect();
                Content::Value(self.value(kind, &text, member.at, setting, group))
            }
        }
    }

    fn value(&mut self, kind: &Kind, text: &str, at: usize, setting: &Setting, group: Option<&str>) -> Value {
        let label = label(setting.name, group);
        if !self.notes.lenient() {
            for doubt in value::doubts(kind, text) {
                self.notes.warning(at, format!("{label} {doubt}"));
            }
        }
        value::parse(kind, text).unwrap_or_else(|what| {
            self.notes.error(at, format!("{label} {what}"));
            Value::Invalid
        })
    }

    fn unknown(&mut self, member: &Member<'t, '_>, group: Option<&str>, settings: &[Setting]) {
        let mut what = format!("{} is unknown and has no effect", label(shown(member.name), group));
        if let Some(name) = nearest(member.name, settings) {
            what += &format!(": is <{name}> meant?");
        }
        self.notes.warning(member.at, what);
    }

    /// Warns of text between elements. It is not shown: it may be a password in the wrong place.
    fn stray_text(&mut self, node: Node<'_, 't>, group: Option<&str>) {
        let stray =
            |node: &Node<'_, '_>| node.is_text() && !value::trim(node.text().unwrap_or_default()).is_empty();
        if let Some(text) = node.children().find(stray) {
            let range = text.range();
            let raw = self.text.get(range.clone()).unwrap_or_default();
            let at = range.start + (raw.len() - raw.trim_start().len());
            let name = shown(group.unwrap_or_else(|| self.name(node)));
            self.notes.warning(at, format!("text between the elements of <{name}> has no effect"));
        }
    }

    fn name(&self, node: Node<'_, 't>) -> &'t str {
        qualified_name(self.text, node)
    }
}

/// How a setting is called in a message.
pub(super) fn label(name: &str, group: Option<&str>) -> String {
    match group {
        Some(group) => format!("<{name}> of <{group}>"),
        None => format!("<{name}>"),
    }
}

fn given_again(name: &str, group: Option<&str>) -> String {
    format!("{} is given again: keep one of them", label(name, group))
}

/// The name of an element as it stands in the text, with its prefix.
fn qualified_name<'t>(text: &'t str, node: Node<'_, 't>) -> &'t str {
    let range = node.range();
    let tag = text.get(range.start + 1..range.end).unwrap_or_default();
    let end = tag.find([' ', '\t', '\r', '\n', '/', '>']).unwrap_or(tag.len());
    tag.get(..end).unwrap_or_default()
}

/// A name from the file as it stands in a message.
fn shown(name: &str) -> &str {
    const LONGEST: usize = 60;
    name.char_indices().nth(LONGEST).and_then(|(end, _)| name.get(..end)).unwrap_or(name)
}

/// The encoding that the XML declaration names, and where, when the text is not in the one that
/// is read.
fn foreign_encoding(text: &str) -> Option<(usize, &str)> {
    if text.is_ascii() {
        return None;
    }
    let start = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let declaration = text.get(start..)?.strip_prefix("<?xml")?.split("?>").next()?;
    let (before, after) = declaration.split_once("encoding")?;
    let quoted = value::trim(value::trim(after).strip_prefix('=')?);
    let quote = quoted.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    let encoding = quoted.split(quote).nth(1)?;
    let known = encoding.eq_ignore_ascii_case("utf-8") || encoding.eq_ignore_ascii_case("utf8");
    (!known).then_some((start + "<?xml".len() + before.len(), encoding))
}

/// Where and why a text is no XML. What stands in the text is not shown, as it may be a password.
fn explain(error: &Error, text: &str) -> (usize, String) {
    let position = error.pos();
    let mut at = offset_of(text, position.row as usize, position.col as usize);
    let what = match error {
        Error::UnexpectedCloseTag(open, close, _) => {
            // Names that mean nothing may be part of a password.
            let name = |name: &str| is_known(name).then(|| format!("<{name}>"));
            let open = name(open).unwrap_or_else(|| "an unknown one".into());
            match name(close) {
                Some(close) => format!("an end tag for {close}, but the open element is {open}"),
                None => format!("an end tag of another name: the open element is {open}"),
            }
        }
        Error::UnclosedRootNode => {
            at = text.len();
            "the file ends before every element is closed".into()
        }
        Error::UnexpectedEndOfStream => {
            at = text.len();
            "the file ends in the middle of something".into()
        }
        Error::NoRootNode => "there is no element: expected is <clacks>".into(),
        Error::DtdDetected => {
            at = text.find("<!DOCTYPE").unwrap_or_default();
            "a document type is not allowed: take <!DOCTYPE out".into()
        }
        Error::UnknownEntityReference(..) | Error::MalformedEntityReference(_) => {
            "& begins nothing that XML knows: write it as &amp;".into()
        }
        Error::InvalidAttributeValue(_) | Error::InvalidChar(b'"' | b'\'', b'<', _) => {
            "< in the value of an attribute: write it as &lt;".into()
        }
        Error::DuplicatedAttribute(..) => {
            "an attribute of the same name is there already: keep one of them".into()
        }
        Error::UnknownNamespace(..) => "the prefix of a name is not declared: take it out".into(),
        Error::InvalidName(_) => {
            "no name of XML begins here: write a < that begins no element as &lt;".into()
        }
        Error::NonXmlChar(character, _) => {
            format!("the character U+{:04X} is not allowed in XML", u32::from(*character))
        }
        Error::InvalidComment(_) => "a comment that begins here has -- in it or at its end".into(),
        Error::InvalidCharacterData(_) => "]]> is not allowed in text: write > as &gt;".into(),
        Error::UnexpectedDeclaration(_) => {
            "an XML declaration may stand at the start of the file only".into()
        }
        Error::InvalidChar(expected, ..) => format!("expected is {}", char::from(*expected)),
        Error::InvalidChar2(expected, ..) => format!("expected is {expected}"),
        Error::InvalidString(expected, _) => format!("expected is {expected}"),
        _ => "what begins here is no XML, or has no place here".into(),
    };
    (at, what)
}
