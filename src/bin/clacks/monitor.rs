//! `monitor`.

use crate::arguments::{Connection, Stream};
use crate::failure::Failure;
use crate::json::Object;
use crate::output::Lines;
use crate::session::{Flow, Session};
use eventdispatcher::connections::clacks::client::Event;

pub(crate) fn monitor(stream: &Stream, connection: &Connection) -> Result<(), Failure> {
    let (json, mut lines) = (stream.json, Lines::new(stream.count));
    Session::default().run(
        &connection.options("monitor")?,
        |client| Ok(client.monitor(true)?),
        move |event, _| match event {
            Event::Debug { host, command } if json => {
                let object = Object::new().text("host", host).text("command", command);
                lines.print(&[object.line().as_bytes()])
            }
            Event::Debug { host, command } => lines.print(&[host, b" ", command]),
            _ => Ok(Flow::GoOn),
        },
    )
}
