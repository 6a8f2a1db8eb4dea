//! `listen`.

use crate::arguments::{Connection, Listen, Values};
use crate::failure::Failure;
use crate::json::Object;
use crate::output::Lines;
use crate::session::{Flow, Session};
use eventdispatcher::connections::clacks::client::Event;
use std::borrow::Cow;
use std::os::unix::ffi::OsStrExt;

pub(crate) fn listen(listen: Listen, connection: &Connection) -> Result<(), Failure> {
    let Listen { names, stream, values } = listen;
    let mut lines = Lines::new(stream.count);
    Session::default().run(
        &connection.options("listen")?,
        |client| Ok(names.iter().try_for_each(|name| client.listen(name.as_bytes()))?),
        move |event, _| match event {
            Event::Notify { name } if stream.json => {
                lines.print(&[Object::new().text("event", b"notify").text("name", name).line().as_bytes()])
            }
            Event::Set { name, value } if stream.json => {
                let object = Object::new().text("event", b"set").text("name", name);
                let value = values.decode(value);
                let name = if value.is_yaml { "value_yaml" } else { "value" };
                lines.print(&[object.text(name, &value.bytes).line().as_bytes()])
            }
            Event::Notify { name } => lines.print(&[name]),
            Event::Set { name, value } => lines.print(&[name, b"=", &one_line(value, &values)]),
            _ => Ok(Flow::GoOn),
        },
    )
}

/// A value that is not decoded if it would be more than one line then: whoever reads lines could not tell where the next
/// signal begins.
fn one_line<'a>(value: &'a [u8], values: &Values) -> Cow<'a, [u8]> {
    let decoded = values.decode(value).bytes;
    let is_one_line = !decoded.iter().any(|byte| matches!(byte, b'\r' | b'\n'));
    if is_one_line { Cow::Owned(decoded) } else { Cow::Borrowed(value) }
}
