//! What becomes of a recording that was just closed.

use memsample::Recording;

use super::args::RecordArgs;

/// Puts the recording into a store, if it is to be.
#[cfg(feature = "lab")]
pub(super) fn push(args: &RecordArgs, recording: &Recording) -> anyhow::Result<()> {
    match &args.push {
        Some(store) => crate::store::push_after(store, recording.path()),
        None => Ok(()),
    }
}

/// This program knows no stores.
#[cfg(not(feature = "lab"))]
#[expect(clippy::unnecessary_wraps, reason = "as with the feature `lab`")]
pub(super) fn push(_: &RecordArgs, _: &Recording) -> anyhow::Result<()> {
    Ok(())
}
