use super::*;
use crate::codec::Lines;
use crate::{Closed, Escalation, Signal};
use std::cell::Cell;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

fn shell(script: &str) -> Command {
    Command::new("sh").args(["-c", script])
}

/// Runs it to its end.
fn run(command: Command) -> Finished {
    let communicator = Communicator::new().unwrap();
    let end: Rc<RefCell<Option<Finished>>> = Rc::default();
    let place = end.clone();
    communicator.process(command, move |finished, _| *place.borrow_mut() = Some(finished)).unwrap();
    communicator.run().unwrap();
    end.take().expect("it has not ended")
}

#[derive(Clone, Default)]
struct Notes(Rc<RefCell<Vec<String>>>);

impl Handler<Lines> for Notes {
    fn message(&mut self, line: &str, _: &Cx<'_, Lines>) -> HandlerResult {
        self.0.borrow_mut().push(line.into());
        Ok(())
    }
    fn closed(&mut self, why: &Closed, _: &Cx<'_, Lines>) {
        self.0.borrow_mut().push(format!("closed: {why}"));
    }
}

#[test]
fn what_is_fed_and_captured_is_exact() {
    let much = "line\n".repeat(200_000);
    let cases = [
        (Command::new("cat").feed("abc"), "abc", "", 0),
        (Command::new("cat"), "", "", 0),
        (Command::new("cat").feed(much.clone()), much.as_str(), "", 0),
        (shell("cat; echo bad >&2; exit 7").feed("x"), "x", "bad\n", 7),
        (shell("printf %s \"$WORD\"").env("WORD", "a b"), "a b", "", 0),
        (Command::new("pwd").current_dir("/"), "/\n", "", 0),
        (Command::new("echo").arg("a  $b").arg("`c`"), "a  $b `c`\n", "", 0),
    ];
    for (command, output, errors, code) in cases {
        let text = format!("{command:?}");
        let finished = run(command.capture_output(1 << 24).capture_errors(1 << 20));
        assert!(finished.output == output.as_bytes(), "{text}: {} bytes", finished.output.len());
        assert_eq!(String::from_utf8_lossy(&finished.errors), errors, "{text}");
        assert_eq!((finished.code(), finished.cut), (Some(code), false), "{text}");
        assert_eq!(finished.success(), code == 0, "{text}");
    }
}

#[test]
fn what_nobody_reads_of_the_feed_is_no_error() {
    let finished = run(shell("head -c 3").feed(vec![b'x'; 1 << 20]).capture_output(10));
    assert_eq!(finished.output, b"xxx");
    assert!(finished.success());
}

#[test]
fn more_than_should_be_captured_is_thrown_away_and_said() {
    let finished = run(shell("yes | head -c 1000000").capture_output(5));
    assert_eq!((finished.output.as_slice(), finished.cut), (b"y\ny\ny".as_slice(), true));
    assert!(finished.success());
}

#[test]
fn a_chain_hands_on_and_tells_each_status() {
    let chain = shell("cat; echo one >&2; exit 3")
        .pipe(Command::new("sort"))
        .pipe(shell("uniq -c | tr -d ' '; echo three >&2"));
    let finished = run(chain.feed("b\na\nb\n").capture_output(100).capture_errors(100));
    assert_eq!(String::from_utf8_lossy(&finished.output), "1a\n2b\n");
    let mut errors: Vec<&[u8]> = finished.errors.split(|&byte| byte == b'\n').collect();
    errors.sort_unstable();
    assert_eq!(errors, [b"".as_slice(), b"one", b"three"]);
    let codes: Vec<_> = finished.statuses.iter().map(|status| status.as_ref().unwrap().code()).collect();
    assert_eq!(codes, [Some(3), Some(0), Some(0)]);
    assert!(!finished.success());
}

#[test]
fn a_program_that_can_not_be_started_is_named_and_the_others_are_killed() {
    let communicator = Communicator::new().unwrap();
    let chain = Command::new("cat").pipe(Command::new("/no/such/program")).feed("x").capture_output(9);
    let error = communicator.process(chain, |_, _| panic!("called")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("/no/such/program"), "{error}");
    assert!(communicator.is_empty());
}

#[test]
fn streams_have_codecs_and_handlers_and_the_process_ends_behind_them() {
    let (communicator, output, errors) = (Communicator::new().unwrap(), Notes::default(), Notes::default());
    let (seen, also) = (output.clone(), errors.clone());
    let command = shell("read word; echo $word $word; echo oh >&2")
        .feed("twice\n")
        .connect_output(Lines::new(), output)
        .connect_errors(Lines::new(), errors);
    communicator
        .process(command, move |finished, communicator| {
            assert!(finished.success());
            assert_eq!(communicator.len(), 1, "a stream is left");
            assert_eq!(*seen.0.borrow(), ["twice twice", "closed: ended by the other side"]);
            assert_eq!(*also.0.borrow(), ["oh", "closed: ended by the other side"]);
        })
        .unwrap();
    communicator.run().unwrap();
}

#[test]
fn last_words_come_though_the_program_has_closed_its_input() {
    struct Talks(Notes);
    impl Handler<Lines> for Talks {
        fn message(&mut self, line: &str, cx: &Cx<'_, Lines>) -> HandlerResult {
            cx.reply("nobody reads this")?;
            self.0.message(line, cx)
        }
    }
    let notes = Notes::default();
    let script = "exec <&-; echo closed; while ! [ -e \"$GO\" ]; do :; done; echo last";
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("go");
    let communicator = Communicator::new().unwrap();
    let command = shell(script).env("GO", &go).connect(Lines::new(), Talks(notes.clone()));
    let done = Rc::new(Cell::new(false));
    let noted = done.clone();
    communicator
        .process(command, move |finished, _| {
            assert!(finished.success());
            noted.set(true);
        })
        .unwrap();
    while notes.0.borrow().is_empty() {
        communicator.turn(None).unwrap();
    }
    communicator.turn(Some(Duration::ZERO)).unwrap(); // what is sent is refused in this one at the latest
    std::fs::write(go, "").unwrap();
    communicator.run().unwrap();
    assert_eq!(*notes.0.borrow(), ["closed", "last"]);
    assert!(done.get());
}

#[test]
fn stopping_goes_from_signal_to_signal_until_it_has_ended() {
    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(600);
    type Steps = &'static [(Signal, Duration)];
    let cases: [(&str, Steps, Signal); 3] = [
        ("", &[(Signal::INT, LONG), (Signal::KILL, LONG)], Signal::INT),
        ("trap '' INT;", &[(Signal::INT, SHORT), (Signal::TERM, LONG)], Signal::TERM),
        (
            "trap '' INT TERM;",
            &[(Signal::INT, SHORT), (Signal::TERM, SHORT), (Signal::KILL, LONG)],
            Signal::KILL,
        ),
    ];
    for (trap, steps, last) in cases {
        let communicator = Communicator::new().unwrap();
        let ready = Notes::default();
        let script = format!("{trap} echo ready; while :; do read x; done");
        let end = Rc::new(Cell::new(None));
        let noted = end.clone();
        let command = shell(&script)
            .connect_input(Lines::new(), Notes::default())
            .connect_output(Lines::new(), ready.clone());
        let process = communicator
            .process(command, move |mut finished, _| {
                noted.set(finished.statuses.remove(0).unwrap().signal());
            })
            .unwrap();
        while ready.0.borrow().is_empty() {
            communicator.turn(None).unwrap();
        }
        let since = Instant::now();
        assert!(process.stop(&communicator, &Escalation::new(steps.iter().copied())));
        communicator.run().unwrap();
        assert_eq!(end.get(), Some(last.0), "{trap}");
        assert!(since.elapsed() < LONG);
        assert!(!process.stop(&communicator, &Escalation::default()));
        assert_eq!(process.signal(Signal::TERM).unwrap_err().kind(), ErrorKind::NotFound);
    }
}

#[test]
fn what_a_group_has_left_behind_with_its_streams_is_stopped_too() {
    let communicator = Communicator::new().unwrap();
    let notes = Notes::default();
    // The one in the background does not hear of the first signal, and writes where its parent did.
    let script = "trap 'exit 7' TERM; (trap '' TERM; echo deaf; tail -f /dev/null) & wait";
    let command = shell(script).group().connect_output(Lines::new(), notes.clone());
    let code = Rc::new(Cell::new(None));
    let place = code.clone();
    let process = communicator.process(command, move |finished, _| place.set(finished.code())).unwrap();
    while notes.0.borrow().is_empty() {
        communicator.turn(None).unwrap();
    }
    let steps = Escalation::new([(Signal::TERM, Duration::from_millis(30)), (Signal::KILL, Duration::ZERO)]);
    assert!(process.stop(&communicator, &steps));
    communicator.run().unwrap();
    assert_eq!(code.get(), Some(7));
    assert!(process.pids().is_empty() && !process.stop(&communicator, &steps));
}

#[test]
fn a_group_is_stopped_as_a_whole() {
    let communicator = Communicator::new().unwrap();
    let output = Notes::default();
    // The grandchild keeps the output open.
    let command =
        shell("tail -f /dev/null & echo ready; wait").group().connect_input(Lines::new(), Notes::default());
    let command = command.connect_output(Lines::new(), output.clone());
    let process = communicator.process(command, |_, _| ()).unwrap();
    while output.0.borrow().is_empty() {
        communicator.turn(None).unwrap();
    }
    process.signal(Signal::KILL).unwrap();
    communicator.run().unwrap();
    assert_eq!(*output.0.borrow(), ["ready", "closed: ended by the other side"]);
}

#[test]
fn stops_and_continuations_are_told() {
    let communicator = Communicator::new().unwrap();
    let changes: Rc<RefCell<Vec<Change>>> = Rc::default();
    let noted = changes.clone();
    let command = Command::new("cat").connect(Lines::new(), Notes::default());
    let command = command.on_change(move |change, _| noted.borrow_mut().push(change));
    let process = communicator.process(command, |_, _| ()).unwrap();
    let pid = process.pids()[0];
    for (count, signal) in [(1, Signal::STOP), (2, Signal::CONT), (3, Signal::STOP), (4, Signal::CONT)] {
        process.signal(signal).unwrap();
        while changes.borrow().len() < count {
            communicator.turn(None).unwrap();
        }
    }
    let (stopped, continued) = (Change::Stopped { pid, signal: Signal::STOP }, Change::Continued { pid });
    assert_eq!(*changes.borrow(), [stopped, continued, stopped, continued]);
    process.signal(Signal::TERM).unwrap();
    communicator.run().unwrap();
    assert_eq!(changes.borrow().len(), 4);
}

#[test]
fn one_whose_connection_is_removed_goes_on_or_is_killed_as_it_was_said() {
    for kill in [false, true] {
        let communicator = Communicator::new().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        let (input, mut talk) = io::pipe().unwrap();
        let mut cat = std::process::Command::new("cat");
        cat.stdin(input).stdout(writer);
        let process = if kill {
            drop(cat);
            let command = Command::new("cat").kill().connect(Lines::new(), Notes::default());
            communicator.process(command, |_, _| panic!("called")).unwrap()
        } else {
            let child = cat.spawn().unwrap();
            drop(cat);
            communicator.child(child, |_, _| panic!("called")).unwrap()
        };
        let pid = process.pids()[0];
        communicator.remove(process.key());
        assert!(process.pids().is_empty());
        if kill {
            communicator.run().unwrap(); // until its streams have ended
        } else {
            std::io::Write::write_all(&mut talk, b"still here").unwrap();
            drop(talk);
            let mut text = String::new();
            std::io::Read::read_to_string(&mut reader, &mut text).unwrap();
            assert_eq!(text, "still here");
        }
        // It is reaped by and by, with whatever is done next.
        let gone = || !Path::new(&format!("/proc/{pid}")).exists();
        while !gone() {
            run(Command::new("true"));
        }
    }
}

#[test]
fn nobody_is_told_of_the_end_of_one_whose_connection_was_closed() {
    for kill in [false, true] {
        let communicator = Communicator::new().unwrap();
        let (input, talk) = io::pipe().unwrap();
        let done = Rc::new(Cell::new(false));
        let noted = done.clone();
        let process = if kill {
            let command = Command::new("sleep").arg("600").kill();
            communicator.process(command, move |_, _| noted.set(true)).unwrap()
        } else {
            let child = std::process::Command::new("cat").stdin(input).spawn().unwrap();
            communicator.child(child, move |_, _| noted.set(true)).unwrap()
        };
        let pid = process.pids()[0];
        communicator.close_all();
        communicator.run().unwrap();
        drop(talk); // the end of the one that goes on
        while Path::new(&format!("/proc/{pid}")).exists() {
            run(Command::new("true"));
        }
        assert!(!done.get());
        assert_eq!(Rc::strong_count(&done), 1, "what was to be called is dropped");
    }
}

#[test]
fn one_that_is_to_be_killed_does_not_outlive_its_loop() {
    let communicator = Communicator::new().unwrap();
    let command = Command::new("sleep").arg("60").kill();
    let process = communicator.process(command, |_, _| panic!("called")).unwrap();
    let pid = process.pids()[0];
    drop(communicator); // somebody still holds the process
    assert_eq!(process.signal(Signal::CONT).unwrap_err().kind(), io::ErrorKind::NotFound);
    while Path::new(&format!("/proc/{pid}")).exists() {
        run(Command::new("true"));
    }
}

#[test]
fn children_of_others_are_left_alone() {
    let mut theirs = std::process::Command::new("sh").args(["-c", "exit 5"]).spawn().unwrap();
    for _ in 0..3 {
        run(Command::new("true").on_change(|_, _| ()));
    }
    assert_eq!(theirs.wait().unwrap().code(), Some(5));
}

#[test]
fn one_that_somebody_else_has_reaped_is_an_error_and_ends() {
    let communicator = Communicator::new().unwrap();
    let child = std::process::Command::new("true").spawn().unwrap();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    let failed = Rc::new(Cell::new(false));
    let noted = failed.clone();
    communicator.child(child, move |status, _| noted.set(status.is_err())).unwrap();
    nix::sys::wait::waitpid(pid, None).unwrap();
    communicator.run().unwrap();
    assert!(failed.get());
}
