//! How long a device that cannot be reached is tried again.

use std::time::{Duration, Instant};

/// How long a connection that was cut is tried again.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Since the cut, while the run is to go on.
    pub reconnect_for: Duration,
    /// Since the first signal, if that ends later: what is to be stopped must hear of it.
    pub stop_for: Duration,
}

impl Patience {
    /// Returns until when to try, after a cut and the first signal.
    pub(crate) fn until(self, cut: Instant, stopped: Option<Instant>) -> Instant {
        let until = cut + self.reconnect_for;
        stopped.map_or(until, |stopped| until.max(stopped + self.stop_for))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_makes_it_longer_and_never_shorter() {
        let cut = Instant::now();
        let after = |seconds| cut + Duration::from_secs(seconds);
        let patience =
            Patience { reconnect_for: Duration::from_secs(60), stop_for: Duration::from_secs(20) };
        assert_eq!(patience.until(cut, None), after(60));
        assert_eq!(patience.until(cut, Some(after(10))), after(60));
        assert_eq!(patience.until(cut, Some(after(50))), after(70));
    }
}
