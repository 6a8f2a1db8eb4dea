//! `watch`: a live table of names, values and rates.

use crate::arguments::{Connection, Watch};
use crate::failure::Failure;
use crate::output::{Output, visible};
use crate::session::{Flow, Session};
use eventdispatcher::connections::clacks::Command;
use eventdispatcher::connections::clacks::client::{Client, Event};
use std::cell::RefCell;
use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;
use std::time::Duration;

/// So many names are remembered at most; further ones are counted together.
const NAMES_MAX: usize = 10_000;
/// The longest value and name that are kept, in bytes: what a line of a terminal shows.
const SHOWN_MAX: usize = 200;

pub(crate) fn watch(watch: &Watch, connection: &Connection) -> Result<(), Failure> {
    let table = Rc::new(RefCell::new(Table::default()));
    let session = Session::default();
    let (drawn, ending, seen) = (table.clone(), session.clone(), table);
    let mut left = watch.count;
    let interval = watch.interval;
    session.run(
        &connection.options("watch")?,
        |client| {
            if watch.names.is_empty() {
                client.monitor(true)?;
            } else {
                watch.names.iter().try_for_each(|name| client.listen(name.as_bytes()))?;
            }
            let drawing = client.clone();
            client.communicator().every(interval, move |_| {
                let done = drawn.borrow_mut().draw(interval);
                left = left.map(|left| left.saturating_sub(1));
                match done {
                    Ok(()) if left == Some(0) => ending.end(Ok(()), &drawing),
                    Ok(()) => {}
                    Err(failure) => ending.end(Err(failure), &drawing),
                }
            });
            Ok(())
        },
        move |event, _: &Client| {
            let mut table = seen.borrow_mut();
            match event {
                Event::Set { name, value } => table.count(name, Some(value)),
                Event::Notify { name } => table.count(name, None),
                Event::Debug { command, .. } => match Command::parse(command) {
                    Command::Set(pair) | Command::Store(pair) | Command::SetAndStore(pair) => {
                        table.count(pair.name, Some(pair.value));
                    }
                    Command::Notify(name) | Command::Remove(name) | Command::Retrieve(name) => {
                        table.count(name, None);
                    }
                    Command::Increment(step) | Command::Decrement(step) => table.count(step.key, None),
                    _ => {}
                },
                _ => {}
            }
            Ok(Flow::GoOn)
        },
    )
}

/// What was seen of each name.
#[derive(Default)]
struct Table {
    rows: HashMap<Vec<u8>, Row>,
    /// Of names for which there was no room.
    others: Row,
}

#[derive(Default)]
struct Row {
    value: Vec<u8>,
    total: u64,
    /// Since the last drawing.
    recent: u64,
}

impl Row {
    fn count(&mut self, value: Option<&[u8]>) {
        self.total += 1;
        self.recent += 1;
        if let Some(value) = value {
            self.value.clear();
            self.value.extend(value.iter().take(SHOWN_MAX));
        }
    }
}

impl Table {
    fn count(&mut self, name: &[u8], value: Option<&[u8]>) {
        let name = name.get(..SHOWN_MAX).unwrap_or(name);
        if let Some(row) = self.rows.get_mut(name) {
            row.count(value);
        } else if self.rows.len() < NAMES_MAX {
            self.rows.entry(name.to_vec()).or_default().count(value);
        } else {
            self.others.count(None);
        }
    }

    /// In a terminal the table replaces the one before; else it follows it.
    fn draw(&mut self, interval: Duration) -> Result<(), Failure> {
        let mut output = Output::new();
        let (lines, columns) = if output.is_terminal() { size() } else { (usize::MAX, usize::MAX) };
        if output.is_terminal() {
            output.bytes(b"\x1b[H\x1b[2J")?;
        }
        for line in self.lines(interval, lines.saturating_sub(1)) {
            let line = String::from_utf8_lossy(&visible(&line, b"")).into_owned();
            let cut: String = line.chars().take(columns).collect();
            output.line(&[cut.as_bytes()])?;
        }
        if !output.is_terminal() {
            output.bytes(b"\n")?;
        }
        for row in self.rows.values_mut().chain([&mut self.others]) {
            row.recent = 0;
        }
        output.flush()
    }

    /// The busiest first; then the first in order of names.
    fn lines(&self, interval: Duration, most: usize) -> Vec<Vec<u8>> {
        let mut rows: Vec<_> = self.rows.iter().map(|(name, row)| (&name[..], row)).collect();
        rows.sort_unstable_by(|(a, one), (b, other)| other.recent.cmp(&one.recent).then(a.cmp(b)));
        if self.others.total > 0 {
            rows.insert(0, (b"(others)", &self.others));
        }
        let line = |rate: &str, total: &str, name: &[u8], value: &[u8]| {
            let mut line = format!("{rate:>10} {total:>12}  ").into_bytes();
            line.extend_from_slice(name);
            if !value.is_empty() {
                line.push(b'=');
                line.extend_from_slice(value);
            }
            line
        };
        let head = line("PER SECOND", "TOTAL", b"NAME", b"VALUE");
        let rows = rows.iter().map(|(name, row)| {
            let rate = row.recent as f64 / interval.as_secs_f64();
            line(&format!("{rate:.1}"), &row.total.to_string(), name, &row.value)
        });
        std::iter::once(head).chain(rows).take(most.max(1)).collect()
    }
}

/// Lines and columns of the terminal.
fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(std::io::stdout()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_row.into(), size.ws_col.into()),
        _ => (24, 80),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(table: &Table, most: usize) -> Vec<String> {
        let lines = table.lines(Duration::from_secs(2), most);
        lines
            .iter()
            .map(|line| String::from_utf8_lossy(line).split_whitespace().collect::<Vec<_>>().join(" "))
            .collect()
    }

    #[test]
    fn the_busiest_names_come_first() {
        let mut table = Table::default();
        table.count(b"b", Some(b"1"));
        table.count(b"a", None);
        for value in [&b"1"[..], b"2", b"3"] {
            table.count(b"c", Some(value));
        }
        let head = "PER SECOND TOTAL NAME=VALUE";
        assert_eq!(shown(&table, 10), [head, "1.5 3 c=3", "0.5 1 a", "0.5 1 b=1"]);
        assert_eq!(shown(&table, 2), [head, "1.5 3 c=3"]);
        assert_eq!(shown(&table, 0), [head]);
    }

    #[test]
    fn what_it_remembers_is_bounded() {
        let mut table = Table::default();
        for number in 0..NAMES_MAX + 5 {
            table.count(number.to_string().as_bytes(), Some(&[b'x'; 1000]));
        }
        assert_eq!(table.rows.len(), NAMES_MAX);
        assert_eq!(shown(&table, 2)[1], "2.5 5 (others)");
        assert!(table.rows.values().all(|row| row.value.len() == SHOWN_MAX));
    }
}
