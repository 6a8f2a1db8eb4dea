//! Does the hot paths of the library, a known number of times, for callgrind to count their instructions.
//!
//! `counts` prints the names of the paths; `counts PATH` does one and prints how many operations that were.

mod messages;
mod meter;
mod random;
mod server;
mod state;
mod timers;
mod turns;

use meter::Meter;
use std::process::ExitCode;

/// Why a path could not be measured.
pub(crate) type Failed = Box<dyn std::error::Error>;

/// What is done, and what it does.
type Path = (&'static str, fn(&mut Meter) -> Result<(), Failed>);

const PATHS: [Path; 24] = [
    ("state/set-fan-out-1", state::fan_out_1),
    ("state/set-fan-out-10", state::fan_out_10),
    ("state/store", state::store),
    ("state/retrieve", state::retrieve),
    ("server/set-one-at-a-time", server::one_signal),
    ("server/set-fan-out-1", server::fan_out_1),
    ("server/set-fan-out-10", server::fan_out_10),
    ("server/store", server::store),
    ("server/retrieve", server::retrieve),
    ("message/parse", messages::parse),
    ("message/get", messages::get),
    ("message/write", messages::write),
    ("message/decode", messages::decode_message),
    ("message/dispatch-10", messages::dispatch_10),
    ("message/dispatch-1000", messages::dispatch_1000),
    ("codec/line", messages::decode_line),
    ("codec/byte-line", messages::decode_byte_line),
    ("turn/1-of-1-ready", turns::one_of_1),
    ("turn/1-of-400-ready", turns::one_of_400),
    ("turn/400-of-400-ready", turns::all_of_400),
    ("timer/set", timers::set),
    ("timer/cancel", timers::cancel),
    ("timer/rearm", timers::rearm),
    ("timer/fire", timers::fire),
];

fn main() -> ExitCode {
    let Some(wanted) = std::env::args().nth(1) else {
        for (name, _) in PATHS {
            println!("{name}");
        }
        return ExitCode::SUCCESS;
    };
    let Some((name, path)) = PATHS.iter().find(|(name, _)| *name == wanted) else {
        eprintln!("counts: there is no path {wanted:?}");
        return ExitCode::from(2);
    };
    let mut meter = Meter::default();
    if let Err(error) = path(&mut meter) {
        eprintln!("counts: {name}: {error}");
        return ExitCode::FAILURE;
    }
    println!("{}", meter.operations());
    ExitCode::SUCCESS
}
