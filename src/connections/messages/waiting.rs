//! A request and its answer without a loop.

use super::requests::refuses;
use crate::connections::blocking::LONGEST;
use crate::connections::{Blocking, BlockingError, Transport};
use crate::dispatcher::{Message, MessageRef, Messages, SERIAL};
use std::time::{Duration, Instant};

impl<T: Transport> Blocking<T, Messages> {
    /// Sends a request and waits for its answer.
    ///
    /// If the request has a `serial`, the answer is the message that repeats it, or an INVALID or UNKNOWN about the
    /// request's command, or a SERVICE_UNAVAILABLE about it, that has none; else it is the first message that comes. What comes
    /// before the answer is lost: see [`send_and_take`](Self::send_and_take). Lines that are no message are logged.
    ///
    /// ```
    /// use eventdispatcher::{Blocking, dispatcher::{Message, Messages}};
    /// use std::time::Duration;
    ///
    /// let (ours, theirs) = eventdispatcher::unix_pair()?;
    /// let mut service = Blocking::new(theirs, Messages::new())?;
    /// service.queue(Message::new("ABSOLUTELY")?.view())?;
    /// service.flush(Duration::from_secs(5))?;
    ///
    /// let mut client = Blocking::new(ours, Messages::new())?;
    /// let answer = client.send_and_wait(Message::new("ALIVE")?.view(), Duration::from_secs(5))?;
    /// assert_eq!(answer.command(), "ABSOLUTELY");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Blocking::send`] and [`Blocking::receive`]; `timeout` is for both together.
    pub fn send_and_wait(
        &mut self,
        request: MessageRef<'_>,
        timeout: Duration,
    ) -> Result<Message, BlockingError> {
        let serial = request.get(SERIAL);
        self.send_and_take(request, timeout, |message| {
            let answers = match (&serial, message.get(SERIAL)) {
                (None, _) => true,
                (Some(ours), Some(theirs)) => *ours == theirs,
                (Some(_), None) => refuses(message, request.command(), request.service()),
            };
            answers.then(|| message.to_message())
        })
    }

    /// Sends a request, and hands what comes to `take`, until that gives something back.
    ///
    /// # Errors
    /// As [`send_and_wait`](Self::send_and_wait).
    pub fn send_and_take<R>(
        &mut self,
        request: MessageRef<'_>,
        timeout: Duration,
        mut take: impl FnMut(MessageRef<'_>) -> Option<R>,
    ) -> Result<R, BlockingError> {
        let end = Instant::now() + timeout.min(LONGEST);
        self.send(request, timeout)?;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let taken = self.receive(left, |line| match line {
                Ok(message) => take(message),
                Err(error) => {
                    log::warn!("{error}");
                    None
                }
            })?;
            if let Some(taken) = taken {
                return Ok(taken);
            }
        }
    }
}
