//! Log lines of the library on standard error.

use log::LevelFilter;

/// Shows what is at least as grave as `level`, or as the environment variable `variable` says, in the syntax of `RUST_LOG`.
pub(crate) fn start(variable: &str, level: LevelFilter) {
    let logger = env_logger::Builder::new().filter_level(level).parse_env(variable).try_init();
    // Nobody else sets a logger; if somebody did, there is one.
    drop(logger);
}
