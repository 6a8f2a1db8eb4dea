//! The side of the browsers.

use super::daemon::Shared;
use super::http::{Answer, Http, Request};
use eventdispatcher::{Communicator, Cx, Handler, HandlerResult, Listening, Timeouts};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// So many browsers are served at once.
const BROWSERS: usize = 1000;
/// A connection on which nothing happens is closed.
const IDLE: Duration = Duration::from_secs(60);
/// A name is never longer, in bytes.
const NAME_MAX: usize = 64;

/// Begins to listen for browsers.
pub(crate) fn listen(
    daemon: &Shared,
    address: SocketAddr,
    communicator: &Communicator,
) -> io::Result<Listening> {
    let daemon = daemon.clone();
    let listening = communicator.listen_tcp(address, move |client| {
        client.serve(Http::default(), Browser(daemon.clone()))?;
        Ok(())
    })?;
    communicator.set_most_clients(listening, BROWSERS);
    communicator.set_timeouts(listening, Timeouts { idle: Some(IDLE), ..Timeouts::default() });
    Ok(listening)
}

struct Browser(Shared);

impl Handler<Http> for Browser {
    fn message(&mut self, request: Result<Request<'_>, &str>, cx: &Cx<'_, Http>) -> HandlerResult {
        let request = match request {
            Ok(request) => request,
            Err(status) => return answer(Answer { status, body: "", stays: false }, cx),
        };
        let stays = request.stays;
        if request.method != "GET" {
            return answer(Answer { status: "405 Method Not Allowed", body: "", stays }, cx);
        }
        if request.path == "/" {
            let body = self.0.borrow().overview();
            return answer(Answer { status: "200 OK", body: &body, stays }, cx);
        }
        match request.path.strip_prefix("/status/").filter(|name| is_name(name)) {
            Some(name) => {
                if !self.0.borrow_mut().ask(name, cx.id(), stays, cx) {
                    return answer(Answer { status: "503 Service Unavailable", body: "", stays }, cx);
                }
                // Answers go out in the order of the requests: the next one is read after this one.
                cx.read(cx.id(), false);
                Ok(())
            }
            None => answer(Answer { status: "404 Not Found", body: "", stays }, cx),
        }
    }
}

fn answer(answer: Answer<'_>, cx: &Cx<'_, Http>) -> HandlerResult {
    cx.reply(answer)?;
    if !answer.stays {
        cx.close();
    }
    Ok(())
}

fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=NAME_MAX).contains(&text.len()) && text.bytes().all(allowed)
}
