//! Pipes, and a pair of descriptors as one transport.

use super::fd::Fd;
use super::transport::Transport;
use mio::event::Source;
use mio::{Interest, Registry, Token};
use std::io::{self, ErrorKind, Read, Write};

/// A pipe: what is written to the second comes out of the first. Both are close-on-exec.
///
/// # Errors
/// When no descriptor is left.
pub fn pipe() -> io::Result<(Fd, Fd)> {
    let (reader, writer) = io::pipe()?;
    Ok((Fd::new(reader)?, Fd::new(writer)?))
}

/// Two transports connected by two pipes, one for each direction. Unlike [`unix_pair`](crate::unix_pair) each
/// direction can be handed to another process as a plain pipe.
///
/// # Errors
/// When no descriptor is left.
///
/// ```
/// use eventdispatcher::{Communicator, codec::Lines, on_item, pipe_pair};
///
/// let communicator = Communicator::new()?;
/// let (here, there) = pipe_pair()?;
/// communicator.stream(there, Lines::new(), on_item::<Lines, _>(|line, cx| Ok(cx.reply(line)?)))?;
/// let id = communicator.stream(here, Lines::new(), on_item::<Lines, _>(|line, cx| {
///     assert_eq!(line, "echo");
///     cx.close();
///     Ok(())
/// }))?;
/// communicator.send(id, "echo")?;
/// communicator.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn pipe_pair() -> io::Result<(Duplex, Duplex)> {
    let (here, from_there) = pipe()?;
    let (there, from_here) = pipe()?;
    Ok((Duplex::new(here, from_here), Duplex::new(there, from_there)))
}

/// Two descriptors as one [`Transport`]: one to read, one to write. The standard input and output of this process, or of
/// a child.
#[derive(Debug)]
pub struct Duplex {
    input: Fd,
    /// Gone when this side has ended its direction, unless its owner has it, too.
    output: Option<Fd>,
    ended: bool,
    /// That nobody reads is no error.
    forgiving: bool,
}

impl Duplex {
    /// Reads from `input` and writes to `output`.
    pub fn new(input: Fd, output: Fd) -> Self {
        Self { input, output: Some(output), ended: false, forgiving: false }
    }

    /// The standard input and output of this process.
    ///
    /// # Errors
    /// As [`Fd::stdin`].
    pub fn stdio() -> io::Result<Self> {
        Ok(Self::new(Fd::stdin()?, Fd::stdout()?))
    }

    /// What is written when the reader has gone is thrown away, and reading goes on: a process that has
    /// closed its input may still have much to say.
    #[must_use]
    pub fn forgiving(mut self) -> Self {
        self.forgiving = true;
        self
    }
}

impl Read for Duplex {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.input.read(into)
    }
}

impl Write for Duplex {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.output {
            Some(output) if !self.ended => match output.write(bytes) {
                Err(error) if self.forgiving && error.kind() == ErrorKind::BrokenPipe => Ok(bytes.len()),
                written => written,
            },
            _ => Err(ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Both at once, under one token.
impl Source for Duplex {
    fn register(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.input.register(registry, token, Interest::READABLE)?;
        match &mut self.output {
            Some(output) => output.register(registry, token, interest),
            None => Ok(()),
        }
    }
    fn reregister(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        match &mut self.output {
            Some(output) => output.reregister(registry, token, interest),
            None => Ok(()),
        }
    }
    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        let output = self.output.as_mut().map_or(Ok(()), |output| output.deregister(registry));
        self.input.deregister(registry).and(output)
    }
}

impl Transport for Duplex {
    fn source(&mut self) -> Option<&mut dyn Source> {
        Some(self)
    }
    fn kind(&self) -> &'static str {
        "pipes"
    }
    fn waiting(&self) -> Option<usize> {
        self.input.waiting()
    }
    fn loses_what_has_no_room(&self) -> bool {
        self.input.loses_what_has_no_room()
    }
    fn shutdown_write(&mut self) -> io::Result<()> {
        let Some(output) = self.output.as_mut().filter(|_| !self.ended) else { return Ok(()) };
        self.ended = true;
        let ended = output.shutdown_write();
        if !output.is_shared() {
            self.output = None; // else it is taken out of the poll in the end
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Lines, Raw};
    use crate::{Closed, Communicator, Cx, Handler, HandlerResult, Id, on_item};
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::time::{Duration, Instant};

    #[derive(Clone, Default)]
    struct Notes {
        seen: Rc<RefCell<Vec<String>>>,
        half_open: bool,
    }

    impl Handler<Lines> for Notes {
        fn message(&mut self, line: &str, _: &Cx<'_, Lines>) -> HandlerResult {
            self.seen.borrow_mut().push(line.into());
            Ok(())
        }
        fn eof(&mut self, cx: &Cx<'_, Lines>) -> HandlerResult {
            self.seen.borrow_mut().push("eof".into());
            if self.half_open {
                cx.reply("after the end")?;
            }
            cx.close();
            Ok(())
        }
        fn closed(&mut self, why: &Closed, _: &Cx<'_, Lines>) {
            self.seen.borrow_mut().push(format!("closed: {why}"));
        }
    }

    fn stage<T: Transport>(transport: T) -> (Communicator, Id<Lines>, Notes) {
        let (communicator, notes) = (Communicator::new().unwrap(), Notes::default());
        let id = communicator.stream(transport, Lines::new(), notes.clone()).unwrap();
        (communicator, id, notes)
    }

    #[test]
    fn a_writer_hears_that_its_reader_has_gone() {
        let (reader, writer) = pipe().unwrap();
        let (communicator, _, notes) = stage(writer);
        communicator.after(std::time::Duration::ZERO, |_| drop(reader));
        communicator.run().unwrap();
        assert_eq!(*notes.seen.borrow(), ["eof", "closed: closed by this program"]);
    }

    #[test]
    fn what_is_queued_when_the_reader_goes_is_an_error() {
        let (reader, writer) = pipe().unwrap();
        let (communicator, id, notes) = stage(writer);
        communicator.turn(Some(std::time::Duration::ZERO)).unwrap();
        communicator.send(id, &"x".repeat(100_000)).unwrap(); // more than a pipe holds
        communicator.turn(Some(std::time::Duration::ZERO)).unwrap();
        assert!(communicator.queued_bytes(id) > 0);
        drop(reader);
        communicator.run().unwrap();
        assert_eq!(notes.seen.borrow().len(), 1);
        assert!(
            notes.seen.borrow()[0].to_lowercase().starts_with("closed: failed: broken pipe"),
            "{:?}",
            notes.seen
        );
    }

    #[test]
    fn a_writer_ends_when_its_only_direction_is_ended_and_everything_arrives() {
        let (reader, writer) = pipe().unwrap();
        let (communicator, id, notes) = stage(writer);
        let got = Rc::new(RefCell::new(0));
        let count = got.clone();
        communicator
            .stream(
                reader,
                Raw,
                on_item::<Raw, _>(move |bytes, _| {
                    *count.borrow_mut() += bytes.len();
                    Ok(())
                }),
            )
            .unwrap();
        communicator.send(id, &"x".repeat(1 << 20)).unwrap();
        communicator.shutdown_write(id);
        communicator.run().unwrap();
        assert_eq!(*got.borrow(), (1 << 20) + 1);
        assert_eq!(*notes.seen.borrow(), ["eof", "closed: closed by this program"]);
    }

    #[test]
    fn each_direction_of_a_pair_ends_alone() {
        let (here, there) = pipe_pair().unwrap();
        let (communicator, id, notes) = stage(here);
        let other = Notes { half_open: true, ..Notes::default() };
        communicator.stream(there, Lines::new(), other.clone()).unwrap();
        communicator.send(id, "last").unwrap();
        communicator.shutdown_write(id);
        communicator.run().unwrap();
        assert_eq!(*other.seen.borrow(), ["last", "eof", "closed: closed by this program"]);
        assert_eq!(*notes.seen.borrow(), ["after the end", "eof", "closed: closed by this program"]);
    }

    #[test]
    fn a_forgiving_pair_goes_on_reading_when_nobody_reads_what_it_writes() {
        for forgiving in [false, true] {
            let (reader, mut writer) = io::pipe().unwrap();
            let (gone, output) = pipe().unwrap();
            drop(gone);
            let pair = Duplex::new(Fd::new(reader).unwrap(), output);
            let (communicator, id, notes) = stage(if forgiving { pair.forgiving() } else { pair });
            communicator.turn(Some(std::time::Duration::ZERO)).unwrap();
            communicator.send(id, "nobody reads this").unwrap();
            communicator.turn(Some(std::time::Duration::ZERO)).unwrap();
            communicator.turn(Some(std::time::Duration::ZERO)).unwrap();
            assert_eq!(communicator.is_alive(id), forgiving);
            let _ = writer.write_all(b"still here\n");
            drop(writer);
            communicator.run().unwrap();
            if forgiving {
                assert_eq!(*notes.seen.borrow(), ["still here", "eof", "closed: closed by this program"]);
            }
        }
    }

    #[test]
    fn a_lent_socket_in_both_places_is_taken_out_of_the_poll() {
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let communicator = Communicator::new().unwrap();
        for _ in 0..2 {
            let both = Duplex::new(Fd::borrow(&ours).unwrap(), Fd::borrow(&ours).unwrap());
            let id = communicator.stream(both, Raw, on_item::<Raw, _>(|_, _| Ok(()))).unwrap();
            communicator.turn(Some(Duration::ZERO)).unwrap();
            assert!(communicator.shutdown_write(id));
            communicator.turn(Some(Duration::ZERO)).unwrap();
            assert!(communicator.remove(id));
            communicator.turn(Some(Duration::ZERO)).unwrap();
        }
        // Nobody is woken for what comes then.
        theirs.write_all(b"x").unwrap();
        let (start, time) = (Instant::now(), Duration::from_millis(50));
        communicator.after(time, |_| ());
        communicator.turn(Some(Duration::from_secs(10))).unwrap();
        assert!(start.elapsed() >= time, "woken after {:?}", start.elapsed());
    }
}
