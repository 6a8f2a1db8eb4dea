//! Connections and listeners that are held to a rate.

mod bed;

use bed::{Log, assert_log, receive_all, run, settle, tcp, turn, unix, until};
use eventdispatcher::codec::{Lines, Raw};
use eventdispatcher::{Communicator, Rate, Rates, Timeouts, on_item};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const HOUR: Duration = Duration::from_secs(3600);

fn output(amount: u64, interval: Duration) -> Rates {
    Rates { output: Some(Rate { amount, interval }), accept: None }
}

#[test]
fn output_leaves_no_faster_than_its_rate_and_all_of_it() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let (id, mut peer) = tcp(&communicator, Raw, log.probe(""));
    assert!(communicator.set_rates(id, output(100_000, Duration::from_millis(100))));
    let (begun, turns) = (Instant::now(), communicator.turn_number());
    let content: Vec<u8> = (0..400_000).map(|n: u32| n as u8).collect();
    for piece in content.chunks(30_000) {
        communicator.send(id, piece).unwrap();
    }
    communicator.close(id); // lingers, at its rate
    let reader = std::thread::spawn(move || {
        let mut got = Vec::new();
        std::io::Read::read_to_end(&mut peer, &mut got).unwrap();
        (got, begun.elapsed())
    });
    run(&communicator);
    let (got, took) = reader.join().unwrap();
    assert!(got == content, "{} bytes came", got.len());
    assert!(took >= Duration::from_millis(300), "100 000 at once, and the rest took {took:?}");
    let turns = communicator.turn_number() - turns;
    assert!(turns < 200, "{turns} turns for 48 pieces or so");
}

#[test]
fn only_what_is_held_to_a_rate_waits() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let (slow, mut slow_peer) = unix(&communicator, Raw, log.probe("slow").quiet());
    let (free, mut free_peer) = unix(&communicator, Raw, log.probe("free").quiet());
    communicator.set_rates(slow, output(1000, HOUR));
    for id in [slow, free] {
        communicator.send(id, &[b'x'; 5000]).unwrap();
        communicator.shutdown_write(id);
    }
    assert_eq!(receive_all(&communicator, &mut free_peer).len(), 5000);
    settle(&communicator);
    assert_eq!(communicator.queued_bytes(slow), 4000);
    assert!(communicator.connection(slow).unwrap().stalled_since.is_none(), "the other side is not to blame");
    // What is read is not held up.
    std::io::Write::write_all(&mut slow_peer, b"hello").unwrap();
    until(&communicator, || communicator.connection(slow).unwrap().bytes_in == 5);
    // A longer one, and none, counts from now on.
    communicator.set_rates(slow, output(1500, HOUR));
    settle(&communicator);
    assert_eq!(communicator.queued_bytes(slow), 4000, "what was used is used");
    communicator.set_rates(slow, Rates::default());
    assert_eq!(receive_all(&communicator, &mut slow_peer).len(), 5000);
}

#[test]
fn a_rate_set_in_a_callback_holds_for_what_is_sent_there() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let handler = log.probe("").on_connected(|cx| {
        cx.set_rates(cx.id(), output(100, HOUR));
        cx.set_priority(cx.id(), 7);
        // So much that it would be written on the spot.
        Ok(cx.reply(&[b'x'; 200_000][..])?)
    });
    let (id, mut peer) = unix(&communicator, Raw, handler);
    settle(&communicator);
    assert_eq!(communicator.queued_bytes(id), 199_900);
    communicator.enable(id, false);
    settle(&communicator);
    assert_eq!(communicator.wait_hint().map(|wait| wait > Duration::from_secs(60)), Some(true));
    // When lingering is over the rest is dropped, whatever the rate.
    communicator.set_timeouts(id, Timeouts { linger: Duration::from_millis(20), ..Timeouts::default() });
    communicator.close(id);
    assert_eq!(receive_all(&communicator, &mut peer).len(), 100);
    assert_log(&log, &["connected", "closed: Local"]);
    // Removed, it takes its wait with it.
    let (id, _peer) = unix(&communicator, Raw, on_item::<Raw, _>(|_, _| Ok(())));
    communicator.set_rates(id, output(1, HOUR));
    communicator.send(id, b"more than one").unwrap();
    settle(&communicator);
    assert!(communicator.wait_hint().is_some());
    communicator.remove(id);
    assert_eq!(communicator.wait_hint(), None);
}

#[test]
fn clients_are_accepted_no_faster_than_the_rate() {
    let communicator = Communicator::new().unwrap();
    let listening = communicator
        .listen_tcp("127.0.0.1:0".parse().unwrap(), |client| {
            client.serve(Lines::new(), on_item::<Lines, _>(|_, _| Ok(())))?;
            Ok(())
        })
        .unwrap();
    let accept = |amount, interval| Rates { output: None, accept: Some(Rate { amount, interval }) };
    assert!(communicator.set_rates(listening, accept(3, Duration::from_millis(150))));
    let begun = Instant::now();
    let clients: Vec<TcpStream> = (0..9).map(|_| TcpStream::connect(listening.address()).unwrap()).collect();
    let turns = communicator.turn_number();
    until(&communicator, || communicator.len() == 1 + 9);
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(300), "three at once, and six more took {took:?}");
    assert!(communicator.turn_number() - turns < 2000);
    // With a limit of clients, too, both hold.
    communicator.set_rates(listening, accept(1, HOUR));
    communicator.set_most_clients(listening, 10);
    let late = [(); 2].map(|()| TcpStream::connect(listening.address()).unwrap());
    for _ in 0..10 {
        turn(&communicator);
    }
    assert!(communicator.len() <= 1 + 9 + 1);
    communicator.set_rates(listening, Rates::default());
    until(&communicator, || communicator.len() == 1 + 10);
    drop(clients);
    until(&communicator, || communicator.len() == 1 + 2);
    drop(late);
    communicator.remove(listening);
    assert!(!communicator.set_rates(listening, Rates::default()));
}
