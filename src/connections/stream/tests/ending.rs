//! Closing, half-open, and lingering.

use super::{Stage, Witness, ok, open, settle, stage, staged};
use crate::codec::Lines;
use crate::communicator::{Communicator, SendError, Timeouts};
use std::cell::RefCell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

#[test]
fn what_was_queued_before_the_first_call_is_written_though_it_was_closed_by_then() {
    let Stage { communicator, id, far, events } = stage(ok);
    communicator.send(id, "too many clients").unwrap();
    assert!(communicator.close(id));
    settle(&communicator);
    assert_eq!(far.text(), "too many clients\n");
    assert!(far.state().shut && far.state().closed);
    assert_eq!(*events.borrow(), ["closed: closed by this program"]);
}

#[test]
fn a_connection_that_is_closed_while_it_is_connecting_is_let_go_in_the_same_turn() {
    let stage = staged(|far| far.state().connecting = true, ok);
    stage.settle();
    stage.communicator.send(stage.id, "never").unwrap();
    assert!(stage.communicator.close(stage.id));
    stage.communicator.turn(Some(Duration::ZERO)).unwrap();
    assert!(stage.gone());
    assert_eq!(stage.far.text(), "");
    assert_eq!(stage.seen(), ["closed: closed by this program"]);
}

#[test]
fn a_connection_that_is_closed_when_it_is_established_still_writes() {
    let stage = stage(|event, cx| {
        if event == "connected" {
            cx.reply("bye")?;
            cx.close();
        }
        Ok(())
    });
    stage.far.put("unread\n");
    stage.settle();
    assert_eq!(stage.seen(), ["connected", "closed: closed by this program"]);
    assert_eq!(stage.far.text(), "bye\n");
    assert!(stage.gone());
}

#[test]
fn this_direction_ends_once_behind_everything_and_then_it_closes() {
    let stage = open(ok);
    let Stage { communicator, id, far, .. } = &stage;
    far.state().room = 2;
    communicator.send(*id, "abc").unwrap();
    assert!(communicator.shutdown_write(*id));
    assert_eq!(communicator.send(*id, "more"), Err(SendError::Gone));
    stage.settle();
    assert_eq!((far.text().as_str(), far.state().shut), ("ab", false));
    assert!(communicator.close(*id));
    stage.settle();
    assert_eq!((far.text().as_str(), far.state().shut), ("ab", false));
    far.take(communicator, *id, 100);
    stage.settle();
    assert_eq!((far.text().as_str(), far.state().shut), ("abc\n", true));
    assert!(stage.gone());
}

#[test]
fn an_end_that_can_not_be_written_yet_is_written_later() {
    let stage = open(ok);
    let Stage { communicator, id, far, .. } = &stage;
    far.state().shut_error = Some(ErrorKind::WouldBlock);
    communicator.shutdown_write(*id);
    stage.settle();
    assert!(communicator.is_alive(*id) && !far.state().shut);
    far.state().shut_error = None;
    far.take(communicator, *id, 1);
    stage.settle();
    assert!(communicator.is_alive(*id) && far.state().shut);
}

#[test]
fn a_connection_whose_write_has_failed_does_not_linger() {
    let stage = open(ok);
    let Stage { communicator, id, far, .. } = &stage;
    communicator.read(*id, false);
    far.state().write_error = Some(ErrorKind::BrokenPipe);
    communicator.send(*id, "lost").unwrap();
    stage.settle();
    communicator.close(*id);
    stage.settle();
    assert_eq!(stage.seen(), ["closed: closed by this program"]);
    assert!(stage.gone());
}

#[test]
fn a_lingering_connection_throws_input_away_until_the_other_side_has_ended() {
    let stage = open(ok);
    let Stage { communicator, id, far, .. } = &stage;
    far.state().resets = true;
    communicator.send(*id, "bye").unwrap();
    communicator.close(*id);
    far.put(vec![b'x'; 1 << 20]);
    far.end(communicator, *id);
    stage.settle();
    assert_eq!(far.text(), "bye\n");
    assert!(stage.gone());
}

#[test]
fn two_sides_that_both_wait_for_the_other_to_read_do_not_wait_for_ever() {
    let stage = open(ok);
    let Stage { communicator, id, far, .. } = &stage;
    communicator.read(*id, false);
    far.state().room = 0;
    stage.send(&"x".repeat(1 << 20));
    communicator.send(*id, "bye").unwrap();
    stage.settle();
    communicator.close(*id);
    stage.settle();
    // The other side reads only when it has got rid of what it sent.
    assert!(far.state().input.is_empty(), "{} bytes were not thrown away", far.state().input.len());
    far.take(communicator, *id, 100);
    stage.settle();
    assert_eq!(far.text(), "bye\n");
    assert!(stage.gone());
}

#[test]
fn a_handler_is_let_go_when_it_was_told_of_the_end_though_the_connection_lingers() {
    let kept = Rc::new(());
    let held = kept.clone();
    let stage = open(move |_, _| {
        let _ = &held;
        Ok(())
    });
    let Stage { communicator, id, far, .. } = &stage;
    far.state().room = 0;
    communicator.send(*id, "waits").unwrap();
    communicator.close(*id);
    stage.settle();
    assert_eq!((Rc::strong_count(&kept), communicator.len()), (1, 1));
    far.take(communicator, *id, 100);
    stage.settle();
    assert!(stage.gone());
}

#[test]
fn lingering_has_an_end() {
    let stage = open(ok);
    let Stage { communicator, id, far, .. } = &stage;
    far.state().room = 3;
    communicator.send(*id, "never taken").unwrap();
    communicator.set_timeouts(*id, Timeouts { linger: Duration::from_millis(1), ..Timeouts::default() });
    communicator.close(*id);
    communicator.run().unwrap();
    assert!(stage.gone());
    assert_eq!(far.text(), "nev");
}

#[test]
fn closing_a_connection_that_the_kernel_still_connects_lets_go_of_it() {
    use nix::sys::socket::{Backlog, listen};

    // Nobody accepts, and only one may wait: the kernel does not answer the second.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listen(&listener, Backlog::new(0).unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let _first = std::net::TcpStream::connect(address).unwrap();
    let stream = mio::net::TcpStream::connect(address).unwrap();
    let port = format!(":{:04X} ", stream.local_addr().unwrap().port());
    let connecting = || {
        let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
        sockets.lines().any(|line| line.contains(&port) && line.split_whitespace().nth(3) == Some("02"))
    };

    let communicator = Communicator::new().unwrap();
    let events = Rc::new(RefCell::new(Vec::new()));
    let witness = Witness { events: events.clone(), act: ok };
    let id = communicator.stream(stream, Lines::new(), witness).unwrap();
    communicator.send(id, "never").unwrap();
    settle(&communicator);
    assert!(events.borrow().is_empty() && connecting());
    communicator.close(id);
    communicator.run().unwrap();
    assert_eq!(events.take(), ["closed: closed by this program"]);
    assert!(!connecting(), "the socket is still there");
}

#[test]
fn a_closed_connection_waits_for_the_bytes_that_its_transport_holds_back() {
    let stage = open(ok);
    stage.far.state().owes = true;
    stage.far.end(&stage.communicator, stage.id);
    stage.settle();
    assert_eq!(stage.seen(), ["eof"]);
    stage.communicator.close(stage.id);
    stage.settle();
    assert!(stage.far.state().shut && !stage.gone());
    stage.far.state().owes = false;
    stage.far.take(&stage.communicator, stage.id, 0);
    stage.settle();
    assert!(stage.gone());
}
