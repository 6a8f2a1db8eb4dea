//! `clients` and `disconnect`.

use crate::arguments::{Cid, Connection, Json};
use crate::failure::Failure;
use crate::json::Object;
use crate::output::{Output, visible};
use eventdispatcher::connections::clacks::client::ClientInfo;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime};

pub(crate) fn list(json: &Json, connection: &Connection) -> Result<(), Failure> {
    let clients = connection.call("clients")?.client_list()?;
    let mut output = Output::new();
    if json.json {
        for client in &clients {
            output.line(&[object(client).as_bytes()])?;
        }
    } else if output.is_terminal() {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        output.text(table(&clients, now).as_bytes())?;
    } else {
        for client in &clients {
            let fields = client.fields.iter().map(|(_, value)| visible(value.as_bytes(), b""));
            output.line(&[&fields.collect::<Vec<_>>().join(&b'\t')])?;
        }
    }
    output.flush()
}

pub(crate) fn disconnect(cid: &Cid, connection: &Connection) -> Result<(), Failure> {
    let mut client = connection.call("disconnect")?;
    // The server does not tell whether there was one.
    let is_there = |client: &ClientInfo| client.get("CID").is_some_and(|known| *known == *cid.cid);
    if !client.client_list()?.iter().any(is_there) {
        return Err(Failure::NotFound(format!("there is no client {:?}", cid.cid)));
    }
    Ok(client.disconnect(cid.cid.as_bytes())?)
}

/// The fields by their names on the wire, in lower case.
fn object(client: &ClientInfo) -> String {
    let fields = client.fields.iter();
    let object = fields.fold(Object::new(), |object, (name, value)| {
        let key = name.to_lowercase();
        match &**name {
            "INTERCLACKS" | "MONITOR" => object.plain(&key, value != "0" && !value.is_empty()),
            "PORT"
            | "OUTBUFFER_LENGTH"
            | "INBUFFER_LENGTH"
            | "LASTPING"
            | "LASTINTERCLACKSPING"
            | "WRITEFAILTIME" => match value.parse::<f64>() {
                Ok(number) if number.is_finite() => object.plain(&key, number),
                _ => object.text(&key, value.as_bytes()),
            },
            _ => object.text(&key, value.as_bytes()),
        }
    });
    object.line()
}

/// What matters, for a person. `now` is the time since 1970.
fn table(clients: &[ClientInfo], now: Duration) -> String {
    let mut rows = vec![["CID", "NAME", "TO SEND", "RECEIVED", "LAST PING", ""].map(str::to_owned)];
    rows.extend(clients.iter().map(|client| {
        let field = |name| client.get(name).unwrap_or_default();
        let marks = [("MONITOR", "monitor"), ("INTERCLACKS", "server")];
        let marks = marks.iter().filter(|(name, _)| !matches!(field(name), "" | "0"));
        [
            field("CID").to_owned(),
            field("CLIENTINFO").to_owned(),
            field("OUTBUFFER_LENGTH").to_owned(),
            field("INBUFFER_LENGTH").to_owned(),
            match field("LASTPING").parse::<f64>() {
                Ok(at) if at > 0.0 => format!("{:.0} s ago", (now.as_secs_f64() - at).max(0.0)),
                _ => "not expected".to_owned(),
            },
            marks.map(|(_, mark)| *mark).collect::<Vec<_>>().join(", "),
        ]
    }));
    align(&rows)
}

/// Columns that are as wide as their widest cell.
fn align<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(fields: &[(&str, &str)]) -> ClientInfo {
        ClientInfo { fields: fields.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect() }
    }

    #[test]
    fn a_table_shows_what_matters() {
        let clients = [
            client(&[
                ("CID", "unixdomainsocket:99:1"),
                ("CLIENTINFO", "größer"),
                ("OUTBUFFER_LENGTH", "0"),
                ("INBUFFER_LENGTH", "12"),
                ("MONITOR", "1"),
                ("LASTPING", "95.25"),
            ]),
            client(&[("CID", "u:99:2"), ("CLIENTINFO", ""), ("LASTPING", "0"), ("INTERCLACKS", "1")]),
        ];
        assert_eq!(
            table(&clients, Duration::from_secs(100)),
            "\
CID                    NAME    TO SEND  RECEIVED  LAST PING
unixdomainsocket:99:1  größer  0        12        5 s ago       monitor
u:99:2                                            not expected  server
"
        );
    }

    #[test]
    fn an_object_has_numbers_and_flags() {
        let client = client(&[
            ("CID", "u:1:2"),
            ("PORT", ""),
            ("CLIENTINFO", "7"),
            ("OUTBUFFER_LENGTH", "7"),
            ("MONITOR", "0"),
            ("INTERCLACKS", "1"),
            ("LASTPING", "1700000000.25"),
        ]);
        assert_eq!(
            object(&client),
            r#"{"cid":"u:1:2","port":"","clientinfo":"7","outbuffer_length":7,"monitor":false,"interclacks":true,"lastping":1700000000.25}"#
        );
    }
}
