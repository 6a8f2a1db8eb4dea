//! How many threads may work. The only test in its process, for the limit is the whole process's.

mod bed;

use bed::{Log, assert_log, settle, until};
use eventdispatcher::{Communicator, set_most_threads};
use std::io::ErrorKind;
use std::sync::mpsc;

#[test]
fn no_more_threads_work_than_may() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    set_most_threads(2);
    let start = |what: &'static str| {
        let (go, goes) = mpsc::channel::<()>();
        let log = log.clone();
        let started = communicator.thread(
            move || {
                let _ = goes.recv(); // until the other end is dropped
                assert!(what != "panics", "in a thread, as it should");
            },
            move |worked, communicator| {
                log.say(format!("{what} {}", worked.is_ok()));
                if what == "begins another" {
                    // Its own place is free by now.
                    let log = log.clone();
                    communicator.thread(|| (), move |_, _| log.say("another")).unwrap();
                }
            },
        );
        started.map(|key| (key, go))
    };
    let (_, one) = start("panics").unwrap();
    let (removed, other) = start("removed").unwrap();
    let refused = start("refused").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ResourceBusy);
    assert_eq!(refused.to_string(), "2 threads work already, which is the limit");
    // One that nobody waits for any more still works.
    communicator.remove(removed);
    assert!(start("refused").is_err());
    assert_eq!(communicator.len(), 1);
    // One that panics has ended, too.
    drop(one);
    until(&communicator, || log.len() == 1);
    assert_log(&log, &["panics false"]);
    let (_, begins) = start("begins another").unwrap();
    assert!(start("refused").is_err());
    drop(begins);
    until(&communicator, || log.len() == 2);
    assert_log(&log, &["begins another true", "another"]);
    drop(other);
    until(&communicator, || start("free").is_ok_and(|(key, _)| communicator.remove(key)));
    settle(&communicator);
    assert!(communicator.is_empty());
}
