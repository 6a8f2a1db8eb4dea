//! What decoding costs: 1 MiB of short items, and items that arrive in many small pieces, where time
//! per byte must not grow with the length of the item.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use eventdispatcher::codec::{
    ByteLines, Codec, Decoded, Delimited, Delimiter, Frame, LengthPrefixed, Lines, Netstring, U16Be,
};

const MIB: usize = 1 << 20;
const ITEM: &str = "SET sensors.kitchen.temperature=21.5";

struct CrLf;

impl Delimiter for CrLf {
    const BYTES: &'static [u8] = b"\r\n";
}

/// At least 1 MiB of [`ITEM`] as `encode` writes it.
fn short_items(encode: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MIB + 64);
    while bytes.len() < MIB {
        encode(&mut bytes);
    }
    bytes
}

fn decode_all<C: Codec>(mut codec: C, mut input: &[u8]) -> usize {
    let mut items = 0;
    while !input.is_empty() {
        match codec.decode(input).expect("the bench encodes what it decodes") {
            Decoded::Item(item, used) => {
                black_box(item);
                items += 1;
                input = &input[used..];
            }
            Decoded::Skip(used) => input = &input[used..],
            Decoded::More => break,
        }
    }
    items
}

fn short(criterion: &mut Criterion) {
    fn bench<C: Codec>(
        criterion: &mut Criterion,
        name: &str,
        codec: impl Fn() -> C,
        encode: impl Fn(&mut Vec<u8>),
    ) {
        let bytes = short_items(encode);
        let mut group = criterion.benchmark_group("short items");
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(name, |b| b.iter(|| decode_all(codec(), black_box(&bytes))));
        group.finish();
    }
    let sent = "the item has no delimiter in it";
    bench(criterion, "lines", Lines::new, |out| Lines::encode(ITEM, out).expect(sent));
    bench(criterion, "byte lines", ByteLines::new, |out| {
        ByteLines::encode(ITEM.as_bytes(), out).expect(sent);
    });
    bench(criterion, "delimited by CR LF", Delimited::<CrLf>::new, |out| {
        Delimited::<CrLf>::encode(ITEM.as_bytes(), out).expect(sent);
    });
    bench(criterion, "netstrings", Netstring::new, |out| {
        Netstring::encode(ITEM.as_bytes(), out).expect(sent);
    });
    bench(criterion, "length-prefixed", LengthPrefixed::<U16Be>::new, |out| {
        let frame = Frame { header: U16Be, payload: ITEM.as_bytes() };
        LengthPrefixed::encode(frame, out).expect(sent);
    });
}

/// One item, looked at after each KiB of it.
fn decode_growing<C: Codec>(mut codec: C, input: &[u8]) -> usize {
    for end in (1024..input.len()).step_by(1024) {
        let early = codec.decode(&input[..end]).expect("the item is within the limit");
        assert!(matches!(early, Decoded::More), "an item in {end} of {} bytes", input.len());
    }
    decode_all(codec, input)
}

fn long(criterion: &mut Criterion) {
    fn bench<C: Codec>(criterion: &mut Criterion, name: &str, codec: impl Fn() -> C, end: &[u8]) {
        let mut group = criterion.benchmark_group(format!("one {name} in pieces of 1 KiB"));
        for kib in [64, 256, 1024] {
            let mut bytes = vec![b'x'; kib << 10];
            bytes.extend_from_slice(end);
            group.throughput(Throughput::Bytes(bytes.len() as u64));
            let id = BenchmarkId::from_parameter(format!("{kib} KiB"));
            group.bench_with_input(id, &bytes, |b, bytes| b.iter(|| decode_growing(codec(), bytes)));
        }
        group.finish();
    }
    bench(criterion, "line", Lines::new, b"\n");
    bench(criterion, "item delimited by CR LF", Delimited::<CrLf>::new, b"\r\n");
}

criterion_group!(benches, short, long);
criterion_main!(benches);
