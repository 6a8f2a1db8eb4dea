//! As much of HTTP/1.1 as a page needs: requests without a body, answers with one.

use eventdispatcher::codec::{Codec, DecodeError, Decoded, EncodeError};
use std::io::Write;

/// A request's head is never longer, in bytes.
const HEAD_MAX: usize = 8192;
/// It never has more lines.
const LINES_MAX: usize = 64;

/// How the bytes of a browser become requests, and answers bytes.
#[derive(Debug, Default)]
pub(crate) struct Http {
    /// How much of a head was there when it was looked at last.
    seen: usize,
}

/// What a browser asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    /// It wants to ask more on the same connection.
    pub(crate) stays: bool,
}

/// What it gets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer<'a> {
    pub(crate) status: &'a str,
    pub(crate) body: &'a str,
    /// It may ask more on the same connection.
    pub(crate) stays: bool,
}

impl Codec for Http {
    type In<'a> = Result<Request<'a>, &'static str>;
    type Out<'a> = Answer<'a>;

    fn decode<'a>(&'a mut self, input: &'a [u8]) -> Result<Decoded<Self::In<'a>>, DecodeError> {
        // A head is taken apart when it is complete, so that nothing is looked at twice.
        let from = self.seen.saturating_sub(3);
        let end = input.get(from..).and_then(|new| new.windows(4).position(|four| four == b"\r\n\r\n"));
        let Some(end) = end.map(|at| from + at + 4).filter(|end| *end <= HEAD_MAX) else {
            if input.len() >= HEAD_MAX {
                return Ok(Decoded::Item(Err("431 Request Header Fields Too Large"), input.len()));
            }
            self.seen = input.len();
            return Ok(Decoded::More);
        };
        self.seen = 0;
        let mut lines = [httparse::EMPTY_HEADER; LINES_MAX];
        let mut request = httparse::Request::new(&mut lines);
        let head = input.get(..end).unwrap_or_default();
        let (Ok(httparse::Status::Complete(_)), Some(method), Some(path)) =
            (request.parse(head), request.method, request.path)
        else {
            return Ok(Decoded::Item(Err("400 Bad Request"), end));
        };
        let mut stays = request.version == Some(1);
        for line in request.headers.iter() {
            let has_body = line.name.eq_ignore_ascii_case("content-length") && line.value != b"0";
            if has_body || line.name.eq_ignore_ascii_case("transfer-encoding") {
                return Ok(Decoded::Item(Err("413 Content Too Large"), end));
            }
            if line.name.eq_ignore_ascii_case("connection") {
                stays = !line.value.eq_ignore_ascii_case(b"close");
            }
        }
        Ok(Decoded::Item(Ok(Request { method, path, stays }), end))
    }

    fn encode(answer: Answer<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let Answer { status, body, stays } = answer;
        let connection = if stays { "keep-alive" } else { "close" };
        let written = write!(
            out,
            "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n{body}",
            body.len()
        );
        written.map_err(|error| EncodeError::invalid(error.to_string()))
    }
}
