//! Lines of the clacks protocol, as a server and as a client reads them, and the arithmetic of counters.
#![no_main]

use eventdispatcher::connections::clacks::client::{decode_value, encode_value};
use eventdispatcher::connections::clacks::{Command, Number, Operand, ServerLine, client_fields};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    match Command::parse(line) {
        Command::Unknown(all) => assert_eq!(all, line),
        Command::Set(pair) | Command::Store(pair) | Command::SetAndStore(pair) => {
            assert!(!pair.name.is_empty());
            assert!(line.ends_with(&[pair.name, b"=", pair.value].concat()));
        }
        Command::Increment(step) | Command::Decrement(step) => {
            assert!(!step.key.is_empty() && step.step != Some(b""));
            let step = step.step.map_or(Operand::ONE, Operand::step);
            let old = Operand::stored(line.rsplit(|byte| *byte == b'=').next().unwrap_or_default());
            for number in [Number::sum(old, step), Number::difference(old, step)] {
                check_number(number);
            }
        }
        Command::KeySync(sync) => {
            assert!(!sync.key.is_empty());
            assert!(line.ends_with(&[sync.key, b"=", sync.value].concat()));
        }
        Command::Overhead(overhead) => {
            assert!(!overhead.value.is_empty());
            // What is shown of the flags is read as the same.
            let again = [b"OVERHEAD ", overhead.flags.to_string().as_bytes(), b" ", overhead.value].concat();
            if !overhead.flags.to_string().is_empty() {
                assert_eq!(Command::parse(&again), Command::Overhead(overhead));
            }
        }
        _ => {}
    }
    match ServerLine::parse(line) {
        ServerLine::Unknown(all) => assert_eq!(all, line),
        ServerLine::Client(fields) => {
            for (name, value) in client_fields(fields) {
                assert!(name.len() + value.len() < fields.len());
            }
        }
        _ => {}
    }
    assert_eq!(decode_value(&encode_value(line)), line);
    check_number(Number::sum(Operand::stored(line), Operand::ZERO));
});

/// The text of a number counts as nearly the same number.
fn check_number(number: Number) {
    let text = number.text();
    let read = Operand::number(&text).unwrap_or_else(|| panic!("{number:?} is {text:?}"));
    let exact = match number {
        Number::Int(integer) => integer as f64,
        Number::Uint(integer) => integer as f64,
        Number::Float(double) => double,
    };
    let read = read.to_f64();
    let near = (read - exact).abs() <= exact.abs() * 1e-14;
    assert!(
        near || read == exact || (read.is_nan() && exact.is_nan()),
        "{number:?} is {text:?}, read as {read:?}"
    );
}
