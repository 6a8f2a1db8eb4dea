//! Descriptors that travel over a Unix stream, and who is at the other end.

use crate::bed::{Log, settle, until, until_empty};
use eventdispatcher::codec::Lines;
use eventdispatcher::{
    Communicator, Descriptors, PeerCredentials, UnixAddress, UnixBind, WithDescriptors, on_item, unix_pair,
};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use std::cell::RefCell;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::rc::Rc;

fn pipe_with(text: &str) -> OwnedFd {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(text.as_bytes()).unwrap();
    reader.into()
}

fn text_of(descriptor: OwnedFd) -> String {
    let mut text = String::new();
    File::from(descriptor).read_to_string(&mut text).unwrap();
    text
}

#[test]
fn descriptors_come_in_order_no_later_than_what_is_sent_after_them() {
    let folder = tempfile::tempdir().unwrap();
    let name = format!("passing of {}", folder.path().display());
    for bind in [UnixBind::new(folder.path().join("socket")), UnixBind::abstract_name(name)] {
        let communicator = Communicator::new().unwrap();
        let log = Log::default();
        let bound = bind.bind().unwrap();
        let address = bound.address().unwrap();
        let notes = log.clone();
        communicator
            .listen(bound, move |client| {
                let notes = notes.clone();
                let peer = client.credentials()?;
                assert_eq!((peer.pid, peer.uid), (std::process::id(), nix::unistd::getuid().as_raw()));
                client.map(WithDescriptors::new).serve(
                    Lines::new(),
                    on_item::<Lines, _>(move |line, cx| {
                        let descriptors = cx.about::<Descriptors>(cx.id()).ok_or("it carries none")?;
                        for n in 0..line.parse::<usize>()? {
                            let passed = descriptors.receive().ok_or(format!("{n} of {line}"))?;
                            let flags = fcntl(&passed, FcntlArg::F_GETFD)?;
                            assert!(FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC));
                            notes.say(text_of(passed));
                        }
                        notes.say(format!("line {line}"));
                        Ok(())
                    }),
                )?;
                Ok(())
            })
            .unwrap();
        let client = WithDescriptors::connect(&address).unwrap();
        let descriptors = client.descriptors();
        let id = communicator.stream(client, Lines::new(), log.probe::<Lines>("client")).unwrap();
        let mut expected = Vec::new();
        for (round, count) in [0, 1, 3, 0, 60].into_iter().enumerate() {
            for n in 0..count {
                let text = format!("{round}.{n}");
                descriptors.send(pipe_with(&text)).unwrap();
                expected.push(text);
            }
            communicator.send(id, &count.to_string()).unwrap();
            expected.push(format!("line {count}"));
            if round > 2 {
                settle(&communicator); // else several go together
            }
        }
        let got =
            || -> Vec<String> { log.all().into_iter().filter(|line| !line.starts_with("client")).collect() };
        until(&communicator, || got().len() == expected.len());
        assert_eq!(got(), expected);
        assert!(descriptors.receive().is_none());
    }
}

#[test]
fn who_is_sent_more_descriptors_than_it_takes_ends_the_connection() {
    let communicator = Communicator::new().unwrap();
    let log = Log::default();
    let (here, there) = unix_pair().unwrap();
    let here = WithDescriptors::new(here).most(3);
    let descriptors = here.descriptors();
    let id = communicator.stream(here, Lines::new(), log.probe::<Lines>("here")).unwrap();
    let there = WithDescriptors::new(there).most(2);
    communicator.stream(there, Lines::new(), log.probe::<Lines>("there")).unwrap();
    for n in 0..3 {
        descriptors.send(pipe_with(&n.to_string())).unwrap();
    }
    let full = descriptors.send(pipe_with("too many")).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::QuotaExceeded);
    assert_eq!(full.to_string(), "3 descriptors wait to be sent");
    communicator.send(id, "x").unwrap();
    until_empty(&communicator);
    assert!(log.has("there closed: Io(InvalidData)"), "{:?}", log.all());
}

#[test]
fn a_connection_that_carries_none_closes_those_that_come() {
    let communicator = Communicator::new().unwrap();
    let log = Log::default();
    let (here, there) = unix_pair().unwrap();
    let here = WithDescriptors::new(here);
    let descriptors = here.descriptors();
    let id = communicator.stream(here, Lines::new(), log.probe::<Lines>("here")).unwrap();
    communicator.stream(there, Lines::new(), log.probe::<Lines>("there")).unwrap();
    let (reader, mut writer) = std::io::pipe().unwrap();
    descriptors.send(reader).unwrap();
    communicator.send(id, "x").unwrap();
    until(&communicator, || log.all().iter().any(|line| line.contains("there") && line.contains('x')));
    // Nobody has its other end.
    assert_eq!(writer.write_all(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
}

#[test]
fn a_handle_that_is_kept_keeps_nothing_open_that_can_not_be_sent_any_more() {
    let communicator = Communicator::new().unwrap();
    let (here, _there) = unix_pair().unwrap();
    let here = WithDescriptors::new(here);
    let descriptors = here.descriptors();
    let id = communicator.stream(here, Lines::new(), on_item::<Lines, _>(|_, _| Ok(()))).unwrap();
    let (reader, mut writer) = std::io::pipe().unwrap();
    descriptors.send(reader).unwrap();
    communicator.remove(id);
    assert_eq!(writer.write_all(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
}

#[test]
fn both_sides_know_who_the_other_is_while_they_talk() {
    let folder = tempfile::tempdir().unwrap();
    let communicator = Communicator::new().unwrap();
    let seen = Rc::new(RefCell::new(Vec::new()));
    let notes = seen.clone();
    let path = folder.path().join("socket");
    communicator
        .listen_unix(&path, move |client| {
            let notes = notes.clone();
            client.serve(
                Lines::new(),
                on_item::<Lines, _>(move |line, cx| {
                    notes.borrow_mut().push(*cx.about::<PeerCredentials>(cx.id()).ok_or("unknown")?);
                    Ok(cx.reply(line)?)
                }),
            )?;
            Ok(())
        })
        .unwrap();
    let notes = seen.clone();
    let talk = on_item::<Lines, _>(move |_, cx| {
        notes.borrow_mut().push(*cx.about::<PeerCredentials>(cx.id()).ok_or("unknown")?);
        cx.close_all();
        Ok(())
    });
    let address = UnixAddress::file(&path).unwrap();
    let id = communicator.connect_unix_to(&address, Lines::new(), talk).unwrap();
    assert_eq!(communicator.name(id).unwrap().as_ref(), path.to_str().unwrap());
    communicator.send(id, "who?").unwrap();
    until_empty(&communicator);
    assert_eq!(seen.borrow().len(), 2);
    for peer in &*seen.borrow() {
        let own = (std::process::id(), nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
        assert_eq!((peer.pid, peer.uid, peer.gid), own);
    }
}

#[test]
fn no_more_wait_to_be_sent_than_can_go_with_one_item() {
    let communicator = Communicator::new().unwrap();
    let (here, there) = unix_pair().unwrap();
    let (here, there) = (WithDescriptors::new(here).most(400), WithDescriptors::new(there).most(400));
    let descriptors = here.descriptors();
    let log = Log::default();
    let sender = communicator.stream(here, Lines::new(), on_item::<Lines, _>(|_, _| Ok(()))).unwrap();
    let notes = log.clone();
    let count = on_item::<Lines, _>(move |_, cx| {
        let received = cx.about::<Descriptors>(cx.id()).ok_or("it carries none")?;
        notes.say(std::iter::from_fn(|| received.receive()).count().to_string());
        Ok(())
    });
    communicator.stream(there, Lines::new(), count).unwrap();
    for round in 1..=2 {
        let send = || descriptors.send(File::open("/dev/null").unwrap());
        let sent = (0..300).take_while(|_| send().is_ok()).count();
        communicator.send(sender, "here they are").unwrap();
        until(&communicator, || log.len() == round);
        assert_eq!(log.all()[round - 1], sent.to_string());
    }
}
