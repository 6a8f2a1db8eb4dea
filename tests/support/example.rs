//! Where the programs in `examples/` are.

use std::env;
use std::path::PathBuf;

/// Where cargo has put an example: beside the folder that this test is in.
pub(crate) fn example(name: &str) -> PathBuf {
    let test = env::current_exe().expect("a test knows where it is");
    let target = test.ancestors().nth(2).expect("tests are in target/…/deps");
    let path = target.join("examples").join(name);
    assert!(path.exists(), "{} is not there: `cargo build --examples` makes it", path.display());
    path
}
