use super::definitions::Problem;
use super::message::Message;
use super::view::MessageRef;

/// Commands, and what is said about a message, are cut to so many characters in an answer: it should fit
/// a UDP datagram.
const COMMAND_MAX: usize = 128;
const MESSAGE_MAX: usize = 400;

/// The answer to a message that is not as its definition says: `INVALID command=…;message=…`.
///
/// It is addressed as [`Builder::answer_to`](super::Builder::answer_to) does. Nothing if `request` is an INVALID or
/// UNKNOWN itself: two services would answer each other for ever.
///
/// ```
/// use eventdispatcher::dispatcher::{MessageRef, definitions::Definitions, invalid_answer};
///
/// let request = MessageRef::parse(b"<web:cart ALIVE serial=")?;
/// let problems = Definitions::built_in().check(request).unwrap_err();
/// let answer = invalid_answer(request, &problems).unwrap();
/// assert_eq!(answer.view().to_text()?, b"web:cart/INVALID command=ALIVE;message=serial is empty");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn invalid_answer(request: MessageRef<'_>, problems: &[Problem]) -> Option<Message> {
    let said: Vec<_> = problems.iter().map(Problem::to_string).collect();
    complaint("INVALID", request, &[("message", cut(&said.join(", "), MESSAGE_MAX))])
}

/// The answer to a message whose command means nothing here: `UNKNOWN command=…`. Addressed as
/// [`invalid_answer`], and nothing where that is nothing.
#[must_use]
pub fn unknown_answer(request: MessageRef<'_>) -> Option<Message> {
    complaint("UNKNOWN", request, &[])
}

/// The answer where the right one has more than `limit` bytes, which is all that the transport takes: an INVALID that says so.
pub(crate) fn too_long_answer(request: MessageRef<'_>, limit: usize) -> Option<Message> {
    complaint("INVALID", request, &[("message", format!("the answer has more than {limit} bytes"))])
}

fn complaint(command: &str, request: MessageRef<'_>, parameters: &[(&str, String)]) -> Option<Message> {
    if matches!(request.command(), "INVALID" | "UNKNOWN") {
        return None;
    }
    let mut answer = Message::build(command).with("command", cut(request.command(), COMMAND_MAX));
    for (name, value) in parameters {
        answer = answer.with(name, value.as_str());
    }
    answer.answer_to(request).finish().ok()
}

fn cut(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        None => text.to_owned(),
        Some((end, _)) => text[..end].to_owned() + "…",
    }
}

#[cfg(test)]
mod tests {
    use super::super::ValueError;
    use super::super::definitions::ProblemFault;
    use super::*;

    fn text(answer: Option<Message>) -> Option<String> {
        Some(String::from_utf8(answer?.view().to_text().unwrap()).unwrap())
    }

    fn answer(request: &str, problems: &[Problem]) -> Option<String> {
        text(invalid_answer(MessageRef::parse(request.as_bytes()).unwrap(), problems))
    }

    fn unknown(request: &str) -> Option<String> {
        text(unknown_answer(MessageRef::parse(request.as_bytes()).unwrap()))
    }

    #[test]
    fn a_sender_is_told_what_is_wrong() {
        let problems = [
            Problem::new("serial", ProblemFault::Empty),
            Problem::new("timestamp", ProblemFault::Value(ValueError::new("a time", 2))),
        ];
        let check = |request: &str, expected: Option<&str>| {
            assert_eq!(answer(request, &problems).as_deref(), expected, "{request}");
        };
        let said = "command=ALIVE;message=serial is empty, timestamp is not a time: see byte 2";
        check("ALIVE", Some(&format!("INVALID {said}")));
        check("<web:cart a:b/ALIVE", Some(&format!("web:cart/INVALID {said}")));
        check("<:cart ALIVE", Some(&format!("cart/INVALID {said}")));
        // By its serial it finds what it has asked.
        check("<:cart ALIVE serial=7", Some(&format!("cart/INVALID {said};serial=7")));
        check(&format!("ALIVE serial={}", "7".repeat(129)), Some(&format!("INVALID {said}")));
        // Senders that can't be written as a destination.
        check("<web: ALIVE", Some(&format!("INVALID {said}")));
        check("<web-1:cart ALIVE", Some(&format!("INVALID {said}")));
        check("<web:cart.1 ALIVE", Some(&format!("INVALID {said}")));
        check("<*:* ALIVE", Some(&format!("INVALID {said}")));
    }

    #[test]
    fn a_sender_is_told_that_its_command_means_nothing() {
        assert_eq!(unknown("FOO a=1").as_deref(), Some("UNKNOWN command=FOO"));
        assert_eq!(unknown("<web:cart foo").as_deref(), Some("web:cart/UNKNOWN command=foo"));
        assert_eq!(unknown("FOO serial=7").as_deref(), Some("UNKNOWN command=FOO;serial=7"));
        // A serial that can't be written.
        assert_eq!(unknown("FOO serial=7\0;a=").as_deref(), Some("UNKNOWN command=FOO"));
    }

    #[test]
    fn two_services_do_not_answer_each_other_for_ever() {
        let problems = [Problem::new("command", ProblemFault::Empty)];
        assert_eq!(answer("INVALID command=", &problems), None);
        assert_eq!(answer("UNKNOWN command=", &problems), None);
        assert_eq!(unknown("INVALID command=X"), None);
        assert_eq!(unknown("UNKNOWN command=X"), None);
    }

    #[test]
    fn an_answer_fits_a_datagram_whatever_was_asked() {
        let name = "n".repeat(1000);
        let problems = vec![Problem::new(&name, ProblemFault::Unknown); 16];
        let request = format!("<:{} {} serial={}", "s".repeat(60), "é".repeat(500), "\\\\".repeat(128));
        let answer = answer(&request, &problems).unwrap();
        assert!(answer.len() < super::super::DATAGRAM_MAX_UDP, "{} bytes", answer.len());
    }
}
