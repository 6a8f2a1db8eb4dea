//! Code of others that panics.

use super::{Stage, open, settle};
use crate::codec::Lines;
use crate::communicator::{Closed, Communicator, Cx, Handler, HandlerResult, Limits, Timeout};
use crate::connections::wire::wire;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

#[test]
fn a_transport_that_panics_ends_its_own_connection_and_no_other() {
    let calls = [
        "read",
        "write",
        "flush",
        "source",
        "establish",
        "wants_write",
        "shutdown_write",
        "resets_on_close",
        "drop",
    ];
    for call in calls {
        for closes in [false, true] {
            let stage = open(|event, cx| Ok(cx.reply(event)?));
            let (ours, far) = wire();
            far.state().resets = true;
            let quiet = crate::on_item::<Lines, _>(|_, _| Ok(()));
            let bad = stage.communicator.stream(ours, Lines::new(), quiet).unwrap();
            far.state().panics_in = Some(call);
            far.send(&stage.communicator, bad, "x\n");
            let _ = stage.communicator.send(bad, "x");
            stage.settle();
            if closes {
                stage.communicator.close(bad);
                stage.settle();
            }
            far.end(&stage.communicator, bad);
            stage.communicator.shutdown_write(bad);
            stage.settle();
            stage.communicator.close(bad);
            stage.settle();
            assert_eq!(
                stage.communicator.len(),
                1,
                "{call} {closes}: {:?}",
                stage.communicator.connections()
            );
            assert!(far.state().closed, "{call} {closes}");
            stage.send("on\n");
            stage.settle();
            assert_eq!(stage.far.text(), "connected\non\n", "{call} {closes}");
        }
    }
}

#[test]
fn a_transport_that_panics_when_it_is_added_leaves_nothing_behind() {
    let communicator = Communicator::new().unwrap();
    let (ours, far) = wire();
    far.state().panics_in = Some("source");
    let quiet = crate::on_item::<Lines, _>(|_, _| Ok(()));
    let add = AssertUnwindSafe(|| communicator.stream(ours, Lines::new(), quiet));
    assert!(catch_unwind(add).is_err());
    assert!(communicator.is_empty() && far.state().closed);
}

#[test]
fn a_transport_that_panics_when_another_handler_sends_much_leaves_that_handler_alone() {
    let communicator = Communicator::new().unwrap();
    let (bad, bad_far) = wire();
    let bad = communicator.stream(bad, Lines::new(), crate::on_item::<Lines, _>(|_, _| Ok(()))).unwrap();
    settle(&communicator);
    bad_far.state().panics_in = Some("write");
    let (good, good_far) = wire();
    let much = "x".repeat(200 << 10);
    let relay = crate::on_item::<Lines, _>(move |_, cx| {
        cx.send(bad, &much)?; // so much that it is written at once
        assert!(!cx.is_alive(bad));
        Ok(cx.reply("sent")?)
    });
    let good = communicator.stream(good, Lines::new(), relay).unwrap();
    good_far.send(&communicator, good, "go\n");
    settle(&communicator);
    assert_eq!((good_far.text().as_str(), communicator.len()), ("sent\n", 1));
}

/// Panics where it is told to.
struct Faulty(&'static str);

impl Faulty {
    fn at(&self, what: &str) -> HandlerResult {
        assert!(self.0 != what, "the handler was told to panic in {what}");
        Ok(())
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = self.at("drop");
        }
    }
}

impl Handler<Lines> for Faulty {
    fn connected(&mut self, cx: &Cx<'_, Lines>) -> HandlerResult {
        cx.set_limits(cx.id(), Limits { high_water: 1, ..Limits::default() });
        cx.set_deadline(cx.id(), Some(Instant::now()));
        cx.reply("hello")?;
        self.at("connected")
    }
    fn message(&mut self, _: &str, _: &Cx<'_, Lines>) -> HandlerResult {
        self.at("message")
    }
    fn drained(&mut self, _: &Cx<'_, Lines>) -> HandlerResult {
        self.at("drained")
    }
    fn timeout(&mut self, _: Timeout, _: &Cx<'_, Lines>) -> HandlerResult {
        self.at("timeout")
    }
    fn eof(&mut self, _: &Cx<'_, Lines>) -> HandlerResult {
        self.at("eof")
    }
    fn closed(&mut self, _: &Closed, _: &Cx<'_, Lines>) {
        let _ = self.at("closed");
    }
}

#[test]
fn a_handler_that_panics_ends_its_own_connection_and_no_other() {
    for call in ["connected", "message", "drained", "timeout", "eof", "closed", "drop"] {
        let stage = open(|event, cx| Ok(cx.reply(event)?));
        let Stage { communicator, .. } = &stage;
        let (ours, far) = wire();
        far.put("x\n");
        let bad = communicator.stream(ours, Lines::new(), Faulty(call)).unwrap();
        stage.settle();
        far.end(communicator, bad);
        stage.settle();
        communicator.close(bad);
        stage.settle();
        assert_eq!(communicator.len(), 1, "{call}: {:?}", communicator.connections());
        assert!(far.state().closed, "{call}");
        stage.send("on\n");
        stage.settle();
        assert_eq!(stage.far.text(), "connected\non\n", "{call}");
    }
}
