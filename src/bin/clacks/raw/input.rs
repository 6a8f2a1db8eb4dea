//! What the user types.

use super::{INPUT_WAITS, Raw, server};
use crate::failure::Failure;
use eventdispatcher::codec::{ByteLines, DecodeError};
use eventdispatcher::{Closed, Cx, Handler, HandlerResult, SendError};

pub(super) struct Input(pub(super) Raw);

impl Input {
    fn send(&self, line: &[u8], cx: &Cx<'_, ByteLines>) -> HandlerResult {
        let Some(server) = self.0.server() else { return Ok(()) };
        // The server drops them wherever they stand.
        let clean: Vec<u8> = line.iter().copied().filter(|&byte| byte != b'\r').collect();
        self.0.0.borrow_mut().has_quit |= clean == b"QUIT";
        match cx.send(server, &[&clean]) {
            // That it has ended is told by itself.
            Ok(()) | Err(SendError::Gone) => {}
            Err(error) => return Err(error.into()),
        }
        if cx.queued_bytes(server) >= INPUT_WAITS {
            cx.read(cx.id(), false);
        }
        Ok(())
    }
}

impl Handler<ByteLines> for Input {
    fn message(&mut self, line: &[u8], cx: &Cx<'_, ByteLines>) -> HandlerResult {
        self.send(line, cx)
    }

    fn eof(&mut self, cx: &Cx<'_, ByteLines>) -> HandlerResult {
        // With its answer, those to all that was sent are there.
        self.send(&[b"FLUSH ", server::BARRIER].concat(), cx)?;
        cx.close();
        Ok(())
    }

    fn closed(&mut self, why: &Closed, cx: &Cx<'_, ByteLines>) {
        match why {
            Closed::Local => {}
            Closed::Decode(DecodeError::TooLong { limit }) => {
                let text = format!("a line is longer than a line may be: {limit} bytes");
                self.0.end(Err(Failure::Usage(text)), cx);
            }
            why => self.0.end(Err(Failure::Input(std::io::Error::other(why.to_string()))), cx),
        }
    }
}
