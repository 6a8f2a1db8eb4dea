//! What the memory holds stays in it: passwords, tokens, the cache.

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// From now on this process leaves no core dump, wherever the system sends those, and other processes of its user can't look
/// into its memory. Who may trace every process still can.
///
/// To be called again after a change of user, which resets it.
pub(crate) fn keep_memory_private() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        log::warn!("core dumps of this process can't be prevented: {error}");
    }
}
