//! A peer that is suddenly not there any more: no end, no reset, no answer. What finds that out, if it is set: probes of a silent
//! connection, a limit for what is sent and not acknowledged, and the loop's own timeouts.

mod bed;
#[path = "support/cable.rs"]
mod cable;

use bed::{Log, until};
use cable::Cable;
use eventdispatcher::codec::Lines;
use eventdispatcher::{Closed, Communicator, KeepAlive, TcpBind, TcpOptions, Timeouts};
use std::cell::RefCell;
use std::io::ErrorKind;
use std::process::{Child, Stdio};
use std::rc::Rc;
use std::time::Duration;

/// A program that connects, and reads for ever. It ends with this value.
struct Far(Child);

impl Far {
    fn connect(cable: &Cable, port: u16) -> Self {
        let mut shell = cable.program("bash");
        shell.args(["-c", &format!("exec cat <> /dev/tcp/{}/{port}", cable.here)]);
        Self(shell.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        // It has ended if its connection has.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn who_vanishes_is_noticed_by_what_was_set_for_it_and_by_nothing_else() {
    let Some(cable) = Cable::new() else { return };
    let second = Duration::from_secs(1);
    let probes = KeepAlive { idle: second, interval: second, probes: 2 };
    let none = TcpOptions::default;
    // What is set, whether something is sent all the time, and how it ends.
    let cases = [
        ("probes", TcpOptions { keep_alive: Some(probes), ..none() }, Timeouts::default(), false),
        ("user timeout", TcpOptions { user_timeout: Some(second), ..none() }, Timeouts::default(), true),
        ("silence", none(), Timeouts { read: Some(second * 2), ..Timeouts::default() }, true),
        ("nothing", none(), Timeouts::default(), false),
    ];
    let communicator = Communicator::new().unwrap();
    let (log, ends) = (Log::default(), Rc::new(RefCell::new(Vec::new())));
    let names = cases.each_ref().map(|(name, ..)| *name);
    let mut far = Vec::new();
    for (name, options, timeouts, talks) in cases {
        let bound = TcpBind::new((cable.here, 0).into()).options(options).bind().unwrap();
        let port = bound.address().port();
        let (log, ends) = (log.clone(), ends.clone());
        communicator
            .listen(bound, move |client| {
                let (noting, timeouts) = (ends.clone(), timeouts.clone());
                let probe = log.probe::<Lines>(name).on_connected(move |cx| {
                    cx.set_timeouts(cx.id(), timeouts.clone());
                    Ok(())
                });
                let probe = probe.on_closed(move |why, _| {
                    let timed_out = match why {
                        Closed::TimedOut(_) => true,
                        // The last thing that was heard of it may be that there is no way.
                        Closed::Io(error) => matches!(
                            error.kind(),
                            ErrorKind::TimedOut | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable
                        ),
                        _ => false,
                    };
                    noting.borrow_mut().push((name, timed_out, why.to_string()));
                });
                let communicator = client.communicator().clone();
                let id = client.serve(Lines::new(), probe)?;
                if talks {
                    // Fails once it has ended.
                    communicator.every(second / 10, move |communicator| drop(communicator.send(id, "x")));
                }
                Ok(())
            })
            .unwrap();
        far.push(Far::connect(&cable, port));
    }
    until(&communicator, || names.iter().all(|name| log.has(&format!("{name} connected"))));
    cable.cut();
    until(&communicator, || ends.borrow().len() == 3);
    let mut ends = ends.take();
    ends.sort();
    let found: Vec<_> = ends.iter().map(|(name, timed_out, _)| (*name, *timed_out)).collect();
    assert_eq!(found, [("probes", true), ("silence", true), ("user timeout", true)], "{ends:?}");
    drop(far);
}
