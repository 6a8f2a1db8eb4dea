//! What is counted, and what is not.

/// Counts operations, while callgrind counts the instructions of [`measured_part`].
#[derive(Debug, Default)]
pub(crate) struct Meter {
    operations: u64,
}

impl Meter {
    /// Does `work`, which is that many operations. What is done outside of it is not counted.
    pub(crate) fn measure(&mut self, operations: usize, mut work: impl FnMut()) {
        self.operations += operations as u64;
        measured_part(&mut work);
    }

    pub(crate) fn operations(&self) -> u64 {
        self.operations
    }
}

/// callgrind is told to count from the call of this function to its end: `--toggle-collect='*measured_part*'`. No other function
/// may have its name in its own.
#[inline(never)]
fn measured_part(work: &mut dyn FnMut()) {
    work();
    // Or the call above is a jump, from which there is no end to see.
    std::hint::black_box(());
}
