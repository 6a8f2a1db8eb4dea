//! Keeping the server's cache: the timers, the channels and the threads of a [`Keeper`].

use super::{Server, Service};
use crate::communicator::{Communicator, HookId, TimerId};
use crate::connections::clacks::persistence::keeper::{Keeper, Sync, Synced, Task};
use crate::connections::clacks::persistence::saver::{Done, Job};
use crate::connections::clacks::persistence::{Held, Persistence};
use crate::connections::clacks::store::Store;
use crate::connections::{FromThread, ToThread, ToThreadError};
use std::io;
use std::thread;
use std::time::Duration;

/// More messages than can ever be on their way.
const BOUND: usize = 64;

/// What keeps a server's cache.
pub(super) struct Keeping {
    keeper: Keeper,
    saver: ToThread<Job>,
    syncer: ToThread<Sync>,
    hook: Option<HookId>,
    timer: Option<(Duration, TimerId)>,
    /// Until the end of the process.
    _held: Option<Held>,
}

impl Server {
    /// Keeps the cache of this server as `persistence` says, which it was [loaded](Persistence::load) with: call this once
    /// it listens, so that two servers never write the same files. What is not yet in the file as a whole is written
    /// first. From then on nothing is sent before the changes of its turn stand in the journal, if there is one.
    ///
    /// When the server [stops](Self::stop) the cache is saved a last time; the loop runs until that is done.
    ///
    /// # Errors
    /// When the system gives no descriptor or thread. Files that can't be written are no error: they are tried again, and
    /// the log tells.
    pub fn keep(&self, communicator: &Communicator, persistence: Persistence) -> io::Result<()> {
        let (disk, mut saver, mut keeper, held) = persistence.into_parts();
        keeper.start(&mut saver, communicator.time(), self.0.borrow_mut().state.store_mut());
        let server = self.clone();
        let (to_saver, end) = communicator.channel(BOUND, move |event: FromThread<Done>, communicator| {
            if let FromThread::Message(done) = event {
                server.kept(communicator, |keeper, now, store| keeper.done(done, now, store));
            }
        })?;
        thread::Builder::new().name("clacks save".into()).spawn(move || {
            while let Some(job) = end.receive() {
                if let Some(done) = saver.work(job)
                    && end.send(done).is_err()
                {
                    return;
                }
            }
        })?;
        let server = self.clone();
        let (to_syncer, end) =
            communicator.channel(BOUND, move |event: FromThread<Synced>, communicator| {
                if let FromThread::Message(synced) = event {
                    server.kept(communicator, |keeper, now, store| keeper.synced(synced, now, store));
                }
            })?;
        thread::Builder::new().name("clacks sync".into()).spawn(move || {
            while let Some(sync) = end.receive() {
                let sync: Sync = sync;
                if end.send(sync.work(&*disk)).is_err() {
                    return;
                }
            }
        })?;
        let server = self.clone();
        let hook = keeper
            .has_journal()
            .then(|| communicator.before_writes(move |communicator| server.keep_turn(communicator)));
        let keeping = Keeping { keeper, saver: to_saver, syncer: to_syncer, hook, timer: None, _held: held };
        self.0.borrow_mut().keeping = Some(keeping);
        self.kept(communicator, |keeper, now, store| keeper.turn(now, store));
        Ok(())
    }

    /// Would changes of the cache be lost if the process ended now, because the disk can't be written to?
    pub fn is_losing_changes(&self) -> bool {
        self.0.borrow().keeping.as_ref().is_some_and(|keeping| keeping.keeper.is_in_trouble())
    }

    /// Has the last save failed? The persistence file then misses changes, which the journal has if they are not
    /// [lost](Self::is_losing_changes).
    pub fn is_file_behind(&self) -> bool {
        self.0.borrow().keeping.as_ref().is_some_and(|keeping| keeping.keeper.is_behind())
    }

    /// At the end of each turn.
    fn keep_turn(&self, communicator: &Communicator) {
        let service = &mut *self.0.borrow_mut();
        if service.state.store().has_changes() || service.is_unnoticed() {
            service.kept(self, communicator, |keeper, now, store| keeper.turn(now, store));
        }
    }

    /// Without a journal, something has changed for the first time after a while.
    pub(super) fn notice_change(&self, communicator: &Communicator) {
        let service = &mut *self.0.borrow_mut();
        if service.is_unnoticed() {
            service.kept(self, communicator, |keeper, now, store| keeper.turn(now, store));
        }
    }

    /// It is time for something.
    fn keep_timer(&self, communicator: &Communicator) {
        let service = &mut *self.0.borrow_mut();
        if let Some(keeping) = &mut service.keeping {
            keeping.timer = None;
        }
        service.kept(self, communicator, |keeper, now, store| keeper.tick(now, store));
    }

    /// The server has stopped.
    pub(super) fn finish_keeping(&self, communicator: &Communicator) {
        self.kept(communicator, |keeper, now, store| keeper.finish(now, store));
    }

    fn kept(&self, communicator: &Communicator, call: impl FnOnce(&mut Keeper, Duration, &mut Store)) {
        self.0.borrow_mut().kept(self, communicator, call);
    }
}

impl Service {
    /// Has the cache changed, and nobody has thought of a time to save it?
    fn is_unnoticed(&self) -> bool {
        self.state.store().is_dirty()
            && self.keeping.as_ref().is_some_and(|keeping| !keeping.keeper.is_busy())
    }

    /// Is it so, and no journal looks at the end of the turn?
    pub(super) fn must_notice(&self) -> bool {
        self.keeping.as_ref().is_some_and(|keeping| keeping.hook.is_none()) && self.is_unnoticed()
    }

    /// Something happens in the keeper, and then what it asked for.
    fn kept(
        &mut self,
        server: &Server,
        communicator: &Communicator,
        call: impl FnOnce(&mut Keeper, Duration, &mut Store),
    ) {
        if let Some(keeping) = &mut self.keeping {
            call(&mut keeping.keeper, communicator.time(), self.state.store_mut());
            self.follow(server, communicator);
            self.side.kept = self.keeping.as_ref().map(|keeping| keeping.keeper.kept());
        }
    }

    /// Does what the keeper asks for.
    fn follow(&mut self, server: &Server, communicator: &Communicator) {
        let Some(keeping) = &mut self.keeping else { return };
        let (now, store) = (communicator.time(), self.state.store_mut());
        while let Some(task) = keeping.keeper.task() {
            let lost = |what| io::Error::other(format!("the thread that {what} has ended"));
            match task {
                Task::Save(job) => match keeping.saver.send(job) {
                    Ok(()) => {}
                    Err(ToThreadError::Full(_) | ToThreadError::Gone(_)) => {
                        keeping.keeper.save_lost(lost("writes it"), now, store);
                    }
                },
                Task::Sync(sync) => match keeping.syncer.send(sync) {
                    Ok(()) => {}
                    Err(ToThreadError::Full(sync) | ToThreadError::Gone(sync)) => {
                        keeping.keeper.synced(sync.lost(lost("synchronises it")), now, store);
                    }
                },
            }
        }
        if keeping.keeper.is_over() {
            keeping.end(communicator);
            if let Some(at_end) = self.at_end.take() {
                // Not while the server is in use.
                communicator.after(Duration::ZERO, at_end);
            }
            return;
        }
        let next = keeping.keeper.next();
        if keeping.timer.map(|(at, _)| at) != next {
            if let Some((_, timer)) = keeping.timer.take() {
                communicator.cancel(timer);
            }
            keeping.timer = next.map(|at| {
                let server = server.clone();
                let after = at.saturating_sub(now);
                let timer = communicator.after(after, move |communicator| server.keep_timer(communicator));
                (at, timer)
            });
        }
    }
}

impl Keeping {
    /// Nothing of it keeps the loop any more.
    fn end(&mut self, communicator: &Communicator) {
        if let Some((_, timer)) = self.timer.take() {
            communicator.cancel(timer);
        }
        if let Some(hook) = self.hook.take() {
            communicator.cancel_before_writes(hook);
        }
        for key in [self.saver.key(), self.syncer.key()] {
            communicator.remove(key);
        }
    }
}
