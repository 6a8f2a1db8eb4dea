//! A service that talks in messages, on a real loop, and a client that sends it anything. The first byte says in what pieces the
//! rest comes: whatever they are, the answers are the same, each is a message, and in the end nothing is left.
#![no_main]

use eventdispatcher::connections::messages::{Call, Dispatcher, Hooks, Service};
use eventdispatcher::dispatcher::definitions::Definitions;
use eventdispatcher::dispatcher::{Message, MessageRef, Messages};
use eventdispatcher::{Communicator, HandlerResult, unix_pair};
use libfuzzer_sys::fuzz_target;
use std::io::{ErrorKind, Read, Write};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

const INPUT_MAX: usize = 16 << 10;

static DEFINITIONS: LazyLock<Definitions> = LazyLock::new(|| {
    // As in every program whose main function is Rust's.
    signal_hook::flag::register(signal_hook::consts::SIGPIPE, Arc::default()).expect("a signal");
    Definitions::built_in()
});

#[derive(Default)]
struct Counter {
    count: u64,
}

impl Counter {
    fn add(&mut self, message: MessageRef<'_>, call: &mut Call<'_, Self>) -> HandlerResult {
        self.count = self.count.wrapping_add(message.value::<u64>("amount")?);
        call.answer(message, Message::build("SUM").with("count", self.count))
    }

    fn many(&mut self, message: MessageRef<'_>, call: &mut Call<'_, Self>) -> HandlerResult {
        for n in 0..3 {
            call.answer(message, Message::build("PART").with("number", n))?;
        }
        Ok(())
    }
}

impl Hooks for Counter {}

/// What comes back when the stream comes in such pieces.
fn answers(stream: &[u8], size: usize) -> Vec<String> {
    let mut dispatcher = Dispatcher::with_built_in().with_definitions(DEFINITIONS.clone());
    dispatcher.on("ADD", Counter::add).expect("it is new");
    dispatcher.on("MANY_*", Counter::many).expect("it is new");
    let service = Service::new(Counter::default(), dispatcher).shared();
    let communicator = Communicator::new().expect("a poll");
    let (ours, mut theirs) = unix_pair().expect("a pair");
    communicator.stream(ours, Messages::with_max(4096), service.clone()).expect("a connection");

    let mut got = Vec::new();
    let mut read = |theirs: &mut mio::net::UnixStream| {
        let mut bytes = [0; 4096];
        loop {
            match theirs.read(&mut bytes) {
                Ok(0) => return false,
                Ok(count) => got.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
    };
    let turn = || communicator.turn(Some(Duration::ZERO)).expect("a turn");
    'pieces: for mut piece in stream.chunks(size) {
        while !piece.is_empty() {
            match theirs.write(piece) {
                Ok(written) => piece = &piece[written..],
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(_) => break 'pieces, // the service has stopped
            }
            turn();
            if !read(&mut theirs) {
                break 'pieces;
            }
        }
    }
    let _ = theirs.shutdown(std::net::Shutdown::Write);
    let mut turns = 0;
    while !communicator.is_empty() {
        turn();
        read(&mut theirs);
        turns += 1;
        assert!(turns < 10_000, "it does not end: {:?}", communicator.connections());
    }
    read(&mut theirs);
    drop(theirs);
    let text = String::from_utf8_lossy(&got).into_owned();
    assert!(text.is_empty() || text.ends_with('\n'), "half a message: {text:?}");
    text.lines().map(str::to_owned).collect()
}

/// An answer, without what tells the time.
fn timeless(line: &str) -> Message {
    let message = MessageRef::parse(line.as_bytes()).unwrap_or_else(|error| panic!("{line:?}: {error}"));
    let mut message = message.to_message();
    message.remove("reply_timestamp");
    message
}

fuzz_target!(|input: &[u8]| {
    let [size, stream @ ..] = input else { return };
    let stream = &stream[..stream.len().min(INPUT_MAX)];
    let whole: Vec<Message> = answers(stream, usize::MAX).iter().map(|line| timeless(line)).collect();
    let pieces: Vec<Message> =
        answers(stream, usize::from(*size) + 1).iter().map(|line| timeless(line)).collect();
    assert_eq!(whole, pieces);
    let lines = stream.split(|byte| *byte == b'\n').count();
    assert!(whole.len() <= 3 * lines, "{} answers to {lines} lines", whole.len());
});
