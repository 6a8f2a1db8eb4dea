//! Signals of the system. They reach the whole process, so each test has signals of its own.

mod bed;

use bed::{Log, assert_log, run, settle, until};
use eventdispatcher::{Communicator, Key, Signal};
use nix::sys::signal::{SigSet, Signal as Raise, kill, raise};
use nix::unistd::Pid;
use std::cell::Cell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

fn of(signal: Raise) -> Signal {
    Signal(signal as i32)
}

/// Writes down what comes.
#[track_caller]
fn watch(communicator: &Communicator, log: &Log, name: &'static str, signals: &[Raise]) -> Key {
    let log = log.clone();
    let call = move |signal, _: &Communicator| log.say(format!("{name} {signal}"));
    communicator.signals(signals.iter().copied().map(of), call).unwrap()
}

#[test]
fn a_signal_is_called_for_by_its_name() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let key = watch(&communicator, &log, "got", &[Raise::SIGUSR1, Raise::SIGHUP]);
    let info = communicator.connection(key).unwrap();
    assert_eq!((info.kind, communicator.len()), ("signals", 1));
    raise(Raise::SIGUSR1).unwrap();
    settle(&communicator);
    raise(Raise::SIGHUP).unwrap();
    settle(&communicator);
    // To the process, from another thread, while the loop waits.
    let sender = thread::spawn(|| kill(Pid::this(), Raise::SIGUSR1));
    until(&communicator, || log.len() == 3);
    sender.join().unwrap().unwrap();
    assert_log(&log, &["got SIGUSR1", "got SIGHUP", "got SIGUSR1"]);
}

#[test]
fn many_of_one_may_count_as_one_but_none_is_lost() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    watch(&communicator, &log, "got", &[Raise::SIGURG, Raise::SIGIO]);
    for _ in 0..1000 {
        raise(Raise::SIGURG).unwrap();
        raise(Raise::SIGIO).unwrap();
    }
    settle(&communicator);
    let urgent = log.count("got SIGURG");
    assert!((1..=1000).contains(&urgent) && log.count("got SIGIO") >= 1, "{:?}", log.all());
    log.take();
    settle(&communicator);
    assert_log(&log, &[]);
    raise(Raise::SIGURG).unwrap();
    settle(&communicator);
    assert_log(&log, &["got SIGURG"]);
}

#[test]
fn everybody_who_waits_for_a_signal_gets_it() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let first = watch(&communicator, &log, "first", &[Raise::SIGUSR2]);
    watch(&communicator, &log, "second", &[Raise::SIGUSR2, Raise::SIGWINCH]);
    watch(&communicator, &log, "other", &[Raise::SIGWINCH]);
    // In another loop, too.
    let (ready, is_ready) = std::sync::mpsc::channel();
    let elsewhere = thread::spawn(move || {
        let communicator = Communicator::new().unwrap();
        let log = Log::default();
        watch(&communicator, &log, "elsewhere", &[Raise::SIGUSR2]);
        ready.send(()).unwrap();
        until(&communicator, || log.len() > 0);
        log.take()
    });
    is_ready.recv().unwrap();
    raise(Raise::SIGUSR2).unwrap();
    settle(&communicator);
    let mut found = log.take();
    found.sort();
    assert_eq!(found, ["first SIGUSR2", "second SIGUSR2"]);
    assert_eq!(elsewhere.join().unwrap(), ["elsewhere SIGUSR2"]);

    // Who is gone gets nothing, and the signal does not get its effect back, which would be to end this process.
    communicator.remove(first);
    raise(Raise::SIGUSR2).unwrap();
    settle(&communicator);
    assert_log(&log, &["second SIGUSR2"]);
    communicator.close_all();
    run(&communicator);
    assert!(communicator.is_empty());
    raise(Raise::SIGUSR2).unwrap();
    assert_log(&log, &[]);
}

#[test]
fn what_comes_while_it_is_off_is_kept() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let key = watch(&communicator, &log, "got", &[Raise::SIGALRM, Raise::SIGVTALRM]);
    communicator.enable(key, false);
    raise(Raise::SIGALRM).unwrap();
    settle(&communicator);
    raise(Raise::SIGVTALRM).unwrap();
    settle(&communicator);
    assert_log(&log, &[]);
    communicator.enable(key, true);
    settle(&communicator);
    let mut found = log.take();
    found.sort();
    assert_eq!(found, ["got SIGALRM", "got SIGVTALRM"]);
}

#[test]
fn a_call_may_take_itself_away_or_rest_in_the_middle() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    // One of two that wait is told, and then no more.
    for rests in [true, false] {
        let own = Rc::new(Cell::new(None));
        let key = communicator
            .signals([of(Raise::SIGQUIT), of(Raise::SIGPROF)], {
                let (log, own) = (log.clone(), own.clone());
                move |_, communicator| {
                    log.say("told");
                    let own: Key = own.get().unwrap();
                    if rests {
                        communicator.enable(own, false)
                    } else {
                        communicator.remove(own)
                    };
                }
            })
            .unwrap();
        own.set(Some(key));
        raise(Raise::SIGQUIT).unwrap();
        raise(Raise::SIGPROF).unwrap();
        settle(&communicator);
        assert_log(&log, &["told"]);
        assert_eq!(communicator.enable(key, true), rests);
        settle(&communicator);
        assert_log(&log, if rests { &["told"] } else { &[] });
        communicator.remove(key);
    }
}

#[test]
fn a_call_that_panics_ends_its_connection_only() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let key = communicator.signals([of(Raise::SIGXCPU)], |_, _| panic!("in a signal, as it should")).unwrap();
    watch(&communicator, &log, "other", &[Raise::SIGXCPU]);
    raise(Raise::SIGXCPU).unwrap();
    settle(&communicator);
    assert!(!communicator.is_alive(key));
    assert_log(&log, &["other SIGXCPU"]);
}

#[test]
fn a_signal_ends_a_wait() {
    // As in a daemon: nothing but a signal ends it.
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let call = {
        let log = log.clone();
        move |signal, communicator: &Communicator| {
            log.say(format!("{signal}"));
            communicator.close_all();
        }
    };
    communicator.signals([Signal::TERM, Signal::INT], call).unwrap();
    communicator.after(Duration::from_secs(3600), |_| ());
    let (begun, begins) = std::sync::mpsc::channel();
    communicator.after(Duration::ZERO, move |_| begun.send(()).unwrap());
    let sender = thread::spawn(move || {
        begins.recv().unwrap();
        kill(Pid::this(), Raise::SIGTERM)
    });
    run(&communicator);
    sender.join().unwrap().unwrap();
    assert_log(&log, &["SIGTERM"]);
}

#[test]
fn nothing_is_blocked_in_any_thread() {
    let blocks = || SigSet::thread_get_mask().unwrap().contains(Raise::SIGPWR);
    // A thread that was there first.
    let (go, goes) = std::sync::mpsc::channel::<()>();
    let earlier = thread::spawn(move || {
        goes.recv().unwrap();
        blocks()
    });
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    watch(&communicator, &log, "got", &[Raise::SIGPWR]);
    go.send(()).unwrap();
    let later = thread::spawn(blocks);
    assert_eq!((earlier.join().unwrap(), blocks(), later.join().unwrap()), (false, false, false));
    // Whichever thread it hits.
    thread::spawn(|| raise(Raise::SIGPWR)).join().unwrap().unwrap();
    settle(&communicator);
    assert_log(&log, &[&format!("got {}", of(Raise::SIGPWR))]);
}

#[test]
fn what_cannot_be_caught_is_an_error_that_names_it() {
    let communicator = Communicator::new().unwrap();
    for (signals, name) in [
        (&[Signal::TERM, of(Raise::SIGKILL)][..], "SIGKILL"),
        (&[of(Raise::SIGSTOP)], "SIGSTOP"),
        (&[of(Raise::SIGSEGV)], "SIGSEGV"),
        (&[of(Raise::SIGFPE)], "SIGFPE"),
        (&[of(Raise::SIGILL)], "SIGILL"),
        (&[Signal(0)], "signal 0"),
        (&[Signal(-1)], "signal -1"),
        (&[Signal(500)], "signal 500"),
    ] {
        let error = communicator.signals(signals.iter().copied(), |_, _| ()).unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string()),
            (ErrorKind::InvalidInput, format!("{name} can't be caught"))
        );
    }
    assert!(communicator.is_empty());
}

#[test]
fn the_sender_is_told() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let user = nix::unistd::getuid().as_raw();
    let told = log.clone();
    communicator
        .signals_from([of(Raise::SIGTTIN), of(Raise::SIGTTOU), Signal::CHLD], move |received, _| {
            told.say(received.to_string());
        })
        .unwrap();
    // The process itself, from a thread that ran before and knows nothing of it.
    raise(Raise::SIGTTIN).unwrap();
    settle(&communicator);
    assert_log(&log, &[&format!("SIGTTIN from process {} of user {user}", std::process::id())]);
    // Another process; its end tells of itself.
    let script = format!("kill -TTOU {}; exit 3", std::process::id());
    let mut child = std::process::Command::new("sh").args(["-c", &script]).spawn().unwrap();
    let from = |signal: &str| format!("{signal} from process {} of user {user}", child.id());
    until(&communicator, || log.len() == 2);
    let mut found = log.take();
    found.sort();
    assert_eq!(found, [from("SIGCHLD"), from("SIGTTOU")]);
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn what_nobody_has_sent_has_no_sender() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let told = log.clone();
    communicator
        .signals_from([of(Raise::SIGPIPE)], move |received, _| told.say(format!("{:?}", received.sender)))
        .unwrap();
    let (reader, mut writer) = std::io::pipe().unwrap();
    drop(reader);
    // The kernel says of this one that the process has sent it to itself: it has written.
    std::io::Write::write(&mut writer, b"x").unwrap_err();
    settle(&communicator);
    let own = format!("Some(Sender {{ pid: Some({}), uid: {} }})", std::process::id(), nix::unistd::getuid());
    assert_log(&log, &[&own]);
    // A timer of the kernel.
    let alarmed = log.clone();
    communicator
        .signals_from([of(Raise::SIGSYS)], move |received, _| alarmed.say(format!("{:?}", received.sender)))
        .unwrap();
    let mut timer = nix::sys::timer::Timer::new(
        nix::time::ClockId::CLOCK_MONOTONIC,
        nix::sys::signal::SigEvent::new(nix::sys::signal::SigevNotify::SigevSignal {
            signal: Raise::SIGSYS,
            si_value: 0,
        }),
    )
    .unwrap();
    let once = nix::sys::timer::Expiration::OneShot(Duration::from_millis(1).into());
    timer.set(once, nix::sys::timer::TimerSetTimeFlags::empty()).unwrap();
    until(&communicator, || log.len() > 0);
    assert_log(&log, &["None"]);
}

#[test]
fn up_to_five_of_one_are_told_one_by_one_and_at_least_one_of_each() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let told = log.clone();
    communicator
        .signals_from([of(Raise::SIGXFSZ), of(Raise::SIGTRAP)], move |received, _| {
            told.say(received.signal.to_string());
        })
        .unwrap();
    for _ in 0..5 {
        raise(Raise::SIGXFSZ).unwrap();
    }
    settle(&communicator);
    assert_log(&log, &["SIGXFSZ"; 5]);
    for _ in 0..100 {
        raise(Raise::SIGXFSZ).unwrap();
        raise(Raise::SIGTRAP).unwrap();
    }
    settle(&communicator);
    assert_eq!((log.count("SIGXFSZ"), log.count("SIGTRAP")), (5, 5));
}

#[test]
fn signals_have_names() {
    for (signal, name) in [(Signal::HUP, "SIGHUP"), (Signal::CHLD, "SIGCHLD"), (Signal(77), "signal 77")] {
        assert_eq!(signal.to_string(), name);
    }
}
