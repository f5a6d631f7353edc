//! How long to wait for another program.

use std::time::Duration;

/// With this variable tests say how long to wait, in milliseconds: beside many others a program answers late.
const FORCED: &str = "MEMSAMPLE_TEST_PATIENCE_MS";

/// Returns how long to wait for another program or for a disk: as long as is usual, unless a test says otherwise.
#[must_use]
pub fn patience(usual: Duration) -> Duration {
    let forced: Option<u64> = std::env::var(FORCED).ok().and_then(|millis| millis.parse().ok());
    forced.map_or(usual, Duration::from_millis)
}
