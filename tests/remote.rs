//! What other threads may do.

mod bed;

use bed::{DEADLINE, Log, assert_log, has_ended, receive, run, settle, turn, unix, until};
use eventdispatcher::codec::{Lines, Raw};
use eventdispatcher::{Communicator, PostError, Remote, on_item, unix_stream};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(3600);

/// Runs `call` in another thread, beside nothing else.
fn elsewhere<R: Send + 'static>(call: impl FnOnce() -> R + Send + 'static) -> R {
    thread::spawn(call).join().unwrap()
}

/// Posts until there is room.
fn post(remote: &Remote, mut make: impl FnMut() -> Box<dyn FnOnce(&Communicator) + Send>) {
    let end = Instant::now() + DEADLINE;
    loop {
        match remote.post(make()) {
            Ok(()) => return,
            Err(PostError::Full) => assert!(Instant::now() < end, "it stays full"),
            Err(other) => panic!("{other}"),
        }
        thread::yield_now();
    }
}

#[test]
fn what_threads_post_runs_in_the_loop_each_in_its_order() {
    const THREADS: usize = 4;
    const POSTS: usize = 5000;
    let communicator = Communicator::new().unwrap();
    communicator.after(LONG, |_| ());
    let ran: Arc<Mutex<Vec<(usize, usize)>>> = Arc::default();
    let (here, strangers) = (thread::current().id(), Arc::new(AtomicUsize::new(0)));
    let start = Arc::new(Barrier::new(THREADS));
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            let remote = communicator.remote().unwrap();
            let (ran, start, strangers) = (ran.clone(), start.clone(), strangers.clone());
            thread::spawn(move || {
                start.wait();
                for n in 0..POSTS {
                    post(&remote, || {
                        let (ran, strangers) = (ran.clone(), strangers.clone());
                        Box::new(move |communicator| {
                            let mut ran = ran.lock().unwrap();
                            ran.push((number, n));
                            if thread::current().id() != here {
                                strangers.fetch_add(1, Ordering::Relaxed);
                            }
                            if ran.len() == THREADS * POSTS {
                                communicator.close_all();
                            }
                        })
                    });
                }
            })
        })
        .collect();
    run(&communicator);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let ran = ran.lock().unwrap();
    for number in 0..THREADS {
        let own: Vec<usize> = ran.iter().filter(|post| post.0 == number).map(|post| post.1).collect();
        assert!(own == Vec::from_iter(0..POSTS), "thread {number} is out of order");
    }
    assert_eq!(strangers.load(Ordering::Relaxed), 0);
}

#[test]
fn a_post_wakes_a_loop_that_waits() {
    // Each post comes when the one before it has run, so that each must wake the loop anew.
    let communicator = Communicator::new().unwrap();
    communicator.after(LONG, |_| ());
    let remote = communicator.remote().unwrap();
    let poster = thread::spawn(move || {
        for _ in 0..1000 {
            let (ran, has_run) = mpsc::channel();
            remote.post(move |_| ran.send(()).unwrap()).unwrap();
            has_run.recv_timeout(DEADLINE).unwrap();
        }
        remote.post(Communicator::close_all).unwrap();
    });
    run(&communicator);
    poster.join().unwrap();
}

#[test]
fn a_remote_does_not_keep_the_loop_running() {
    let communicator = Communicator::new().unwrap();
    let remote = communicator.remote().unwrap();
    run(&communicator);
    communicator.after(Duration::from_millis(5), |_| ());
    run(&communicator);
    // What is posted to a loop that does not run waits for one that does.
    let post = |communicator: &Communicator| {
        communicator.after(LONG, |_| ());
    };
    elsewhere(move || remote.post(post)).unwrap();
    run(&communicator);
    assert!(communicator.is_empty());
    turn(&communicator);
    assert!(!communicator.is_empty());
}

#[test]
fn an_item_may_be_sent_from_elsewhere() {
    let communicator = Communicator::new().unwrap();
    let (id, mut peer) = unix(&communicator, Lines::new(), on_item::<Lines, _>(|_, _| Ok(())));
    let remote = communicator.remote().unwrap();
    let refused = elsewhere(move || {
        remote.send(id, "one").unwrap();
        let refused = remote.send(id, "two\nlines");
        remote.send(id, "three").unwrap();
        refused
    });
    assert!(matches!(refused, Err(PostError::Encode(_))), "{refused:?}");
    assert_eq!(
        refused.unwrap_err().to_string(),
        "the item can't be encoded: a line can't contain a line feed"
    );
    assert_eq!(receive(&communicator, &mut peer, 10), b"one\nthree\n");

    // Whether it is still there can't be known there.
    communicator.remove(id);
    let remote = communicator.remote().unwrap();
    elsewhere(move || remote.send(id, "late")).unwrap();
    settle(&communicator);
    assert!(has_ended(&mut peer));
}

#[test]
fn a_large_item_from_elsewhere_arrives_whole() {
    let communicator = Communicator::new().unwrap();
    let (id, mut peer) = unix(&communicator, Raw, on_item::<Raw, _>(|_, _| Ok(())));
    settle(&communicator);
    let remote = communicator.remote().unwrap();
    elsewhere(move || remote.send(id, &vec![7; 3 << 20])).unwrap();
    let got = receive(&communicator, &mut peer, 3 << 20);
    assert!(got.len() == 3 << 20 && got.iter().all(|byte| *byte == 7));
}

#[test]
fn so_many_posts_wait_and_no_more() {
    let communicator = Communicator::new().unwrap();
    let remote = communicator.remote().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let posts = {
        let count = count.clone();
        move || {
            let posted = (0..10_000).take_while(|_| {
                let count = count.clone();
                let post = move |_: &Communicator| {
                    count.fetch_add(1, Ordering::Relaxed);
                };
                remote.post(post).is_ok()
            });
            (posted.count(), remote.post(|_| ()))
        }
    };
    let (posted, refused) = elsewhere(posts.clone());
    assert_eq!(posted, 4096);
    assert!(matches!(refused, Err(PostError::Full)), "{refused:?}");
    assert_eq!(refused.unwrap_err().to_string(), "4096 posts wait already");
    until(&communicator, || count.load(Ordering::Relaxed) == 4096);
    settle(&communicator);
    assert_eq!(elsewhere(posts).0, 4096, "and as many again");
    // Full is full for the loop's own thread, too, and for what is sent.
    let (id, _peer) = unix(&communicator, Lines::new(), on_item::<Lines, _>(|_, _| Ok(())));
    assert!(matches!(communicator.remote().unwrap().send(id, "x"), Err(PostError::Full)));
    until(&communicator, || count.load(Ordering::Relaxed) == 8192);
}

#[test]
fn a_communicator_that_is_gone_takes_no_posts() {
    let communicator = Communicator::new().unwrap();
    let remote = communicator.remote().unwrap();
    let held = Arc::new(());
    let never_runs = held.clone();
    remote.post(move |_| drop(never_runs)).unwrap();
    drop(communicator);
    assert_eq!(Arc::strong_count(&held), 1, "what was posted is dropped");
    let refused = elsewhere(move || remote.post(|_| ()));
    assert!(matches!(refused, Err(PostError::Gone)), "{refused:?}");
}

#[test]
fn a_post_that_panics_ends_nothing() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let (id, mut peer) = unix(&communicator, Lines::new(), log.probe(""));
    let remote = communicator.remote().unwrap();
    elsewhere(move || {
        remote.post(|_| panic!("in a post, as it should")).unwrap();
        remote.send(id, "after it").unwrap();
    });
    assert_eq!(receive(&communicator, &mut peer, 9), b"after it\n");
    assert_log(&log, &["connected"]);
}

#[test]
fn a_post_may_post() {
    let communicator = Communicator::new().unwrap();
    communicator.after(LONG, |_| ());
    fn again(remote: Remote, left: usize) -> Result<(), PostError> {
        let next = remote.clone();
        remote.post(move |communicator| {
            // It runs in the next turn: a post that always posts keeps nobody waiting.
            if left == 0 { communicator.close_all() } else { again(next, left - 1).unwrap() }
        })
    }
    let remote = communicator.remote().unwrap();
    elsewhere(move || again(remote, 100)).unwrap();
    for _ in 0..100 {
        turn(&communicator);
        assert!(!communicator.is_empty(), "one a turn");
    }
    run(&communicator);
}

#[test]
fn a_loop_may_be_stopped_from_elsewhere() {
    let communicator = Communicator::new().unwrap();
    let (_, mut peer) = unix(&communicator, Lines::new(), Log::default().probe(""));
    communicator.after(LONG, |_| ());
    let remote = communicator.remote().unwrap();
    let stops = thread::spawn(move || remote.post(Communicator::stop));
    run(&communicator);
    stops.join().unwrap().unwrap();
    assert!(communicator.is_empty());
    assert!(has_ended(&mut peer));
}

#[test]
fn a_post_may_add_what_the_loop_then_runs() {
    let communicator = Communicator::new().unwrap();
    let remote = communicator.remote().unwrap();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let (heard, hears) = mpsc::channel();
    let post = move |communicator: &Communicator| {
        let handler = on_item::<Lines, _>(move |line: &str, _| Ok(heard.send(line.to_string())?));
        communicator.stream(unix_stream(ours).unwrap(), Lines::new(), handler).unwrap();
    };
    elsewhere(move || remote.post(post)).unwrap();
    turn(&communicator);
    theirs.write_all(b"hello\n").unwrap();
    drop(theirs);
    run(&communicator);
    assert_eq!(hears.try_recv().unwrap(), "hello");
}
