//! Calls between the callbacks of a turn and its writes.

use super::handle::{Communicator, Corpse, TimerCall};
use std::fmt;

/// Names one call that was asked for with [`Communicator::before_writes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HookId(u64);

/// The calls of one communicator, the oldest first.
#[derive(Default)]
pub(super) struct Hooks {
    /// Each is away while it runs.
    calls: Vec<(HookId, Option<TimerCall>)>,
    made: u64,
}

/// # Before the writes of a turn
impl Communicator {
    /// Calls `call` in each turn, after all callbacks and before anything is written; several in the order in which they
    /// were added. The place to put down what happened before anybody hears of it: a journal, an audit log.
    ///
    /// As long as there is such a call, nothing leaves ahead of it: also a long queue, which is else written as soon as it
    /// is long, waits for the end of the turn, and the connection that filled its own is called again in the next one.
    ///
    /// What the call sends is written in the same turn; calls that are added by one are made from the next turn on. A call that panics is not made again. It does not keep the loop
    /// running, and goes when [`run`](Self::run) ends.
    ///
    /// ```
    /// use eventdispatcher::codec::Lines;
    /// use eventdispatcher::{Communicator, on_item, unix_pair};
    /// use std::{cell::RefCell, io::Write, rc::Rc};
    ///
    /// let (ours, mut theirs) = unix_pair()?;
    /// let communicator = Communicator::new()?;
    /// let journal = Rc::new(RefCell::new(Vec::new()));
    /// let said = Rc::new(RefCell::new(Vec::new()));
    ///
    /// let noting = said.clone();
    /// communicator.stream(ours, Lines::new(), on_item(move |line: &str, cx| {
    ///     noting.borrow_mut().push(line.to_owned());
    ///     cx.reply("noted")?;
    ///     cx.close();
    ///     Ok(())
    /// }))?;
    /// let kept = journal.clone();
    /// communicator.before_writes(move |_| kept.borrow_mut().append(&mut said.borrow_mut()));
    ///
    /// theirs.write_all(b"one\n")?;
    /// communicator.run()?;
    /// assert_eq!(*journal.borrow(), ["one"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn before_writes(&self, call: impl FnMut(&Communicator) + 'static) -> HookId {
        let hooks = &mut *self.0.hooks.borrow_mut();
        hooks.made += 1;
        let id = HookId(hooks.made);
        hooks.calls.push((id, Some(Box::new(call))));
        self.core(|core| core.holds_writes = true);
        id
    }

    /// Ends the calls of [`before_writes`](Self::before_writes), also from inside one. `false`: there was none.
    pub fn cancel_before_writes(&self, id: HookId) -> bool {
        let removed = {
            let hooks = &mut *self.0.hooks.borrow_mut();
            let at = hooks.calls.iter().position(|(other, _)| *other == id);
            let removed = at.map(|at| hooks.calls.remove(at).1);
            self.core(|core| core.holds_writes = !hooks.calls.is_empty());
            removed
        };
        if let Some(Some(call)) = removed {
            self.0.graveyard.borrow_mut().push_back(Corpse::Timer(call));
            self.bury();
            return true;
        }
        removed.is_some()
    }

    /// Makes the calls. Those that are added by one of them begin with the next turn.
    pub(super) fn call_hooks(&self) {
        let (mut last, made) = (HookId(0), self.0.hooks.borrow().made);
        loop {
            let next = {
                let hooks = &mut *self.0.hooks.borrow_mut();
                let next = hooks.calls.iter_mut().find(|(id, _)| id.0 > last.0 && id.0 <= made);
                next.and_then(|(id, call)| Some((*id, call.take()?)))
            };
            let Some((id, mut call)) = next else { return };
            last = id;
            let panicked = self.calling(|| call(self), "a call before the writes");
            let place = |hooks: &mut Hooks| {
                let place = hooks.calls.iter_mut().find(|(other, _)| *other == id);
                match place {
                    Some((_, place)) if !panicked => place.replace(call),
                    _ => Some(call),
                }
            };
            let over = place(&mut self.0.hooks.borrow_mut());
            if let Some(call) = over {
                self.cancel_before_writes(id);
                self.0.graveyard.borrow_mut().push_back(Corpse::Timer(call));
                self.bury();
            }
        }
    }

    /// Ends all of them.
    pub(super) fn clear_hooks(&self) {
        let calls = std::mem::take(&mut self.0.hooks.borrow_mut().calls);
        self.core(|core| core.holds_writes = false);
        let calls = calls.into_iter().filter_map(|(_, call)| call).map(Corpse::Timer);
        self.0.graveyard.borrow_mut().extend(calls);
        self.bury();
    }
}

impl Hooks {
    /// All calls, to be dropped.
    pub(super) fn take(&mut self) -> Vec<TimerCall> {
        self.calls.drain(..).filter_map(|(_, call)| call).collect()
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.calls.iter().map(|(id, _)| id)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Lines;
    use crate::communicator::{Id, on_item};
    use crate::unix_pair;
    use mio::net::UnixStream;
    use std::cell::{Cell, RefCell};
    use std::io::{ErrorKind, Read, Write};
    use std::rc::Rc;
    use std::time::Duration;

    /// How many bytes have arrived.
    fn arrived(from: &mut UnixStream) -> usize {
        let (mut all, mut bytes) = (0, vec![0; 1 << 20]);
        loop {
            match from.read(&mut bytes) {
                Ok(n) if n > 0 => all += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => {
                    assert!(
                        matches!(&other, Err(error) if error.kind() == ErrorKind::WouldBlock),
                        "{other:?}"
                    );
                    return all;
                }
            }
        }
    }

    fn silent(communicator: &Communicator) -> (Id<Lines>, UnixStream) {
        let (ours, theirs) = unix_pair().unwrap();
        (communicator.stream(ours, Lines::new(), on_item(|_: &str, _| Ok(()))).unwrap(), theirs)
    }

    #[test]
    fn nothing_leaves_before_the_call_however_much_there_is() {
        // What one is sent by another, and what it sends itself: both would else leave on the spot.
        for own in [false, true] {
            let communicator = Communicator::new().unwrap();
            let (other, theirs) = silent(&communicator);
            let (ours, mut asks) = unix_pair().unwrap();
            let count = Rc::new(Cell::new(0));
            let counting = count.clone();
            let answers = on_item(move |_: &str, cx| {
                counting.set(counting.get() + 1);
                let to = if own { cx.id() } else { other };
                cx.send(to, &"x".repeat(150_000))?;
                Ok(())
            });
            communicator.stream(ours, Lines::new(), answers).unwrap();
            asks.write_all(b"a\nb\n").unwrap();
            let reads = Rc::new(RefCell::new(if own { asks } else { theirs }));
            let (seen, looking, counted) = (Rc::new(RefCell::new(vec![])), reads.clone(), count.clone());
            let noting = seen.clone();
            communicator.before_writes(move |_| {
                noting.borrow_mut().push((counted.get(), arrived(&mut looking.borrow_mut())));
            });
            communicator.turn(None).unwrap();
            // Who fills its own queue makes a pause.
            assert_eq!(*seen.borrow(), [(if own { 1 } else { 2 }, 0)], "own {own}");
            let mut all = arrived(&mut reads.borrow_mut());
            assert!(all > 0, "own {own}: it is written after the call");
            while all < 300_002 {
                communicator.turn(Some(Duration::from_secs(20))).unwrap();
                all += arrived(&mut reads.borrow_mut());
                all += seen.borrow_mut().drain(..).map(|(_, bytes)| bytes).sum::<usize>();
            }
            assert_eq!((count.get(), all), (2, 300_002), "own {own}");
        }
    }

    #[test]
    fn calls_are_made_in_order_and_what_they_send_leaves_in_the_same_turn() {
        let communicator = Communicator::new().unwrap();
        let (to, mut theirs) = silent(&communicator);
        for word in ["one", "two"] {
            communicator.before_writes(move |communicator| communicator.send(to, word).unwrap());
        }
        communicator.turn(Some(Duration::ZERO)).unwrap();
        let mut got = [0; 8];
        theirs.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"one\ntwo\n");
    }

    #[test]
    fn a_call_can_end_itself_and_others() {
        let communicator = Communicator::new().unwrap();
        let count = Rc::new(Cell::new(0));
        let ids = Rc::new(RefCell::new(vec![]));
        for n in [1, 10, 100] {
            let (counting, among) = (count.clone(), ids.clone());
            let id = communicator.before_writes(move |communicator| {
                counting.set(counting.get() + n);
                if n == 10 {
                    for id in among.borrow_mut().drain(..) {
                        assert!(communicator.cancel_before_writes(id));
                        assert!(!communicator.cancel_before_writes(id));
                    }
                }
            });
            ids.borrow_mut().push(id);
        }
        communicator.turn(Some(Duration::ZERO)).unwrap();
        assert_eq!(count.get(), 11, "the last one is not called any more");
        communicator.turn(Some(Duration::ZERO)).unwrap();
        assert_eq!(count.get(), 11);
        assert!(!communicator.core(|core| core.holds_writes));
        assert_eq!(Rc::strong_count(&count), 1, "the calls are dropped");
    }

    #[test]
    fn a_call_that_panics_ends_and_the_others_go_on() {
        let communicator = Communicator::new().unwrap();
        let count = Rc::new(Cell::new(0));
        let counting = count.clone();
        communicator.before_writes(move |_| {
            counting.set(counting.get() + 1);
            panic!("on purpose");
        });
        let counting = count.clone();
        communicator.before_writes(move |_| counting.set(counting.get() + 10));
        for _ in 0..2 {
            communicator.turn(Some(Duration::ZERO)).unwrap();
        }
        assert_eq!(count.get(), 21);
    }

    #[test]
    fn calls_that_add_calls_do_not_hold_the_turn() {
        fn multiply(communicator: &Communicator, count: &Rc<Cell<usize>>) {
            let counting = count.clone();
            communicator.before_writes(move |communicator| {
                counting.set(counting.get() + 1);
                multiply(communicator, &counting);
            });
        }
        let communicator = Communicator::new().unwrap();
        let count = Rc::new(Cell::new(0));
        multiply(&communicator, &count);
        for expected in [1, 3, 7] {
            communicator.turn(Some(Duration::ZERO)).unwrap();
            assert_eq!(count.get(), expected);
        }
    }

    #[test]
    fn it_goes_with_the_run() {
        let communicator = Communicator::new().unwrap();
        let count = Rc::new(Cell::new(0));
        let counting = count.clone();
        communicator.before_writes(move |_| counting.set(counting.get() + 1));
        communicator.after(Duration::ZERO, |_| ());
        communicator.run().unwrap();
        assert!(count.get() > 0, "it is called in the last turn, too");
        assert_eq!(Rc::strong_count(&count), 1);
        assert!(!communicator.core(|core| core.holds_writes));
    }
}
