//! What the server sends.

use super::Raw;
use crate::failure::Failure;
use eventdispatcher::connections::clacks::client::ClientError;
use eventdispatcher::connections::clacks::{ClacksLines, Flags, Line, ServerLine};
use eventdispatcher::{Closed, Cx, Handler, HandlerResult, Timeout, TimerId};
use std::time::Duration;

/// The FLUSH that ends the session; its answer is not shown.
pub(super) const BARRIER: &[u8] = b"end-of-input-of-clacks-raw";

const PING: u64 = 0;
const LOGIN: u64 = 1;
/// How often the server gets a sign of life; it waits for 180 s at least.
const PING_INTERVAL: Duration = Duration::from_secs(120);

pub(super) struct Server {
    raw: Raw,
    timeout: Duration,
    /// The timer for the login, while there is no answer to it.
    login: Option<TimerId>,
    is_welcome: bool,
    /// What the server said before it ended the connection.
    last_words: Option<ClientError>,
}

impl Server {
    pub(super) fn new(raw: Raw, timeout: Duration) -> Self {
        Self { raw, timeout, login: None, is_welcome: false, last_words: None }
    }

    /// Takes a line as far as it is of interest here. Whether the user is to see it.
    fn look(&mut self, line: &[u8], cx: &Cx<'_, ClacksLines>) -> bool {
        match ServerLine::parse(line) {
            ServerLine::Flushed(BARRIER) => {
                self.raw.end(Ok(()), cx);
                return false;
            }
            ServerLine::Quit => self.last_words = Some(ClientError::Quit),
            ServerLine::Timeout => self.last_words = Some(ClientError::TimedOutByServer),
            ServerLine::Overhead(overhead) if overhead.flags.contains(Flags::AUTH_FAILED) => {
                self.last_words = Some(ClientError::LoginFailed);
            }
            ServerLine::Overhead(overhead) if !self.is_welcome && overhead.flags.contains(Flags::ERROR) => {
                let words = String::from_utf8_lossy(overhead.value).into_owned();
                self.last_words = Some(ClientError::Refused(words));
            }
            ServerLine::Overhead(overhead) if !self.is_welcome && overhead.flags.contains(Flags::AUTH_OK) => {
                self.is_welcome = true;
                if let Some(timer) = self.login.take() {
                    cx.cancel(timer);
                }
                return false;
            }
            _ => {}
        }
        self.is_welcome
    }
}

impl Handler<ClacksLines> for Server {
    fn connected(&mut self, cx: &Cx<'_, ClacksLines>) -> HandlerResult {
        self.login = cx.after(self.timeout, LOGIN);
        cx.after(PING_INTERVAL, PING);
        Ok(())
    }

    fn message(&mut self, line: Line<'_>, cx: &Cx<'_, ClacksLines>) -> HandlerResult {
        match line {
            Line::Line(line) => {
                if self.look(line, cx)
                    && let Err(failure) = self.raw.print(line)
                {
                    self.raw.end(Err(failure), cx);
                }
                Ok(())
            }
            Line::Over(_) | Line::TooLong => Err("the server sent a line without end".into()),
        }
    }

    fn drained(&mut self, cx: &Cx<'_, ClacksLines>) -> HandlerResult {
        if let Some(input) = self.raw.input() {
            cx.read(input, true);
        }
        Ok(())
    }

    fn timeout(&mut self, what: Timeout, cx: &Cx<'_, ClacksLines>) -> HandlerResult {
        match what {
            Timeout::Timer(PING) => {
                cx.reply(&[b"PING"])?;
                cx.after(PING_INTERVAL, PING);
            }
            Timeout::Timer(LOGIN) => self.raw.end(Err(ClientError::TimedOut.into()), cx),
            what => return Err(what.into()),
        }
        Ok(())
    }

    fn closed(&mut self, why: &Closed, cx: &Cx<'_, ClacksLines>) {
        let has_quit = self.raw.0.borrow().has_quit;
        let result = match self.last_words.take() {
            None if has_quit && why.is_orderly() => Ok(()),
            Some(words) => Err(words.into()),
            None => Err(Failure::Client(ClientError::Disconnected(why.to_string()))),
        };
        self.raw.end(result, cx);
    }
}
