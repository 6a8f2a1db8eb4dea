//! Values of the cache as clients encode them: whatever comes is one or is refused, and comes back as it was.
#![no_main]

use eventdispatcher::connections::clacks::client::{Structure, Value};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(value) = Value::of_wire(input) {
        let wire = value.to_wire().expect("what was read is not too deep");
        assert!(!wire.contains(&b'\n') || input.contains(&b'\n'));
        assert_eq!(Value::of_wire(&wire).expect("what is written can be read"), value);
    }
    let bytes = Value::from(input);
    assert_eq!(Value::of_wire(&bytes.to_wire().expect("bytes can be written")).unwrap(), bytes);
    if let Ok(structure) = Structure::from_yaml(input) {
        let yaml = structure.to_yaml().expect("what was read is not too deep");
        assert_eq!(Structure::from_yaml(&yaml), Ok(structure));
    }
});
