//! How long it takes to read a message, to write it, and to find what is to be done with it.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use eventdispatcher::codec::Codec;
use eventdispatcher::dispatcher::definitions::Definitions;
use eventdispatcher::dispatcher::{Entry, Message, MessageRef, Messages, Table};

/// 83 bytes, four parameters, sender and receiver.
const TEXT: &[u8] = b"<remote:firewall jungle:watchdog/CONNECT neighbor=db;race=true;speed=1078;version=1";

fn text(c: &mut Criterion) {
    let mut group = c.benchmark_group("text");
    group.throughput(Throughput::Elements(1));
    group.bench_function("parse", |b| b.iter(|| MessageRef::parse(black_box(TEXT)).unwrap()));
    let message = MessageRef::parse(TEXT).unwrap();
    group.bench_function("get", |b| b.iter(|| black_box(message).get(black_box("speed"))));
    group.bench_function("to_message", |b| b.iter(|| black_box(message).to_message()));
    let owned = message.to_message();
    let mut out = Vec::with_capacity(256);
    group.bench_function("write", |b| {
        b.iter(|| {
            out.clear();
            black_box(&owned).view().write_text(&mut out).unwrap();
        });
    });
    group.bench_function("pass_on", |b| {
        b.iter(|| {
            out.clear();
            black_box(message).write_text(&mut out).unwrap();
        });
    });
    group.bench_function("build", |b| {
        b.iter(|| {
            Message::build(black_box("CONNECT"))
                .sent_from("remote", "firewall")
                .server("jungle")
                .service("watchdog")
                .with("neighbor", "web")
                .with("race", true)
                .with("speed", 1078)
                .with("version", 1)
                .finish()
                .unwrap()
        });
    });
    let line = [TEXT, b"\n"].concat();
    let mut codec = Messages::new();
    group.bench_function("decode", |b| b.iter(|| codec.decode(black_box(&line)).is_ok()));
    group.finish();
}

fn long(c: &mut Criterion) {
    const LENGTH: usize = 1 << 20;
    let mut group = c.benchmark_group("one MiB");
    group.throughput(Throughput::Bytes(LENGTH as u64));
    for (name, pattern) in [("plain", &b"a"[..]), ("quoted", b"a;bcdefgh"), ("escaped", b"\\")] {
        let value: Vec<u8> = pattern.iter().copied().cycle().take(LENGTH).collect();
        let message = Message::build("X").with("a", &value).finish().unwrap();
        let text = message.view().to_text().unwrap();
        let mut out = Vec::with_capacity(text.len());
        group.bench_function(format!("write {name}"), |b| {
            b.iter(|| {
                out.clear();
                message.view().write_text(&mut out).unwrap();
            });
        });
        group.bench_function(format!("read {name}"), |b| {
            b.iter(|| MessageRef::parse(&text).unwrap().get("a").map(|value| value.len()));
        });
    }
    group.finish();
}

fn json(c: &mut Criterion) {
    let mut group = c.benchmark_group("json");
    group.throughput(Throughput::Elements(1));
    let message = MessageRef::parse(TEXT).unwrap().to_message();
    let json = message.view().to_json().unwrap();
    group.bench_function("read", |b| b.iter(|| Message::from_json(black_box(json.as_bytes())).unwrap()));
    let mut out = String::with_capacity(256);
    group.bench_function("write", |b| {
        b.iter(|| {
            out.clear();
            black_box(&message).view().write_json(&mut out).unwrap();
        });
    });
    group.finish();
}

fn table(c: &mut Criterion) {
    let mut group = c.benchmark_group("table");
    group.throughput(Throughput::Elements(1));
    let message = MessageRef::parse(b"COMMAND_7 a=1").unwrap();
    let event = MessageRef::parse(b"EVENT17 a=1").unwrap();
    for entries in [10, 100, 1000] {
        let mut table = Table::new();
        for number in 0..entries {
            table.add(Entry::new(format!("COMMAND_{number}").parse().unwrap(), number)).unwrap();
        }
        group.bench_function(format!("{entries} commands"), |b| b.iter(|| first(&mut table, message)));
        table.add(Entry::new("EVENT<number>".parse().unwrap(), 0)).unwrap();
        group.bench_function(format!("a pattern behind {entries} commands"), |b| {
            b.iter(|| first(&mut table, event))
        });
        let mut table = Table::new();
        for number in 0..entries {
            table.add(Entry::new(format!("COMMAND_X{number}_*").parse().unwrap(), number)).unwrap();
        }
        table.add(Entry::new("COMMAND_7".parse().unwrap(), 0)).unwrap();
        group.bench_function(format!("a command behind {entries} patterns"), |b| {
            b.iter(|| first(&mut table, message))
        });
    }
    group.finish();
}

fn first(table: &mut Table<i32>, message: MessageRef<'_>) -> Option<i32> {
    let mut cursor = table.cursor();
    table.next(&mut cursor, black_box(message)).map(|hit| *hit.action)
}

fn check(c: &mut Criterion) {
    let definitions = Definitions::built_in();
    let message = MessageRef::parse(b"ALIVE serial=7;timestamp=1700000000.5").unwrap();
    c.bench_function("check ALIVE", |b| b.iter(|| definitions.check(black_box(message)).is_ok()));
}

criterion_group!(benches, text, long, json, table, check);
criterion_main!(benches);
