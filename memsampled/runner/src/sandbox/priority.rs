//! A higher scheduling priority for what must not wait behind thousands of processes of a test.

use rustix::process::{getpriority_process, setpriority_process};

/// By how much the nice value is lowered: a thread then weighs as much as about thirty of a test.
const NICER_BY: i32 = 15;

/// The calling thread has a higher priority until this is dropped, where that is permitted; what it starts meanwhile
/// inherits it. Without permission nothing changes.
pub(crate) struct RaisedPriority {
    /// `None` where it was not raised.
    nice_before: Option<i32>,
}

impl RaisedPriority {
    pub(crate) fn raise() -> Self {
        let raise = || {
            let nice = getpriority_process(None).ok()?;
            setpriority_process(None, (nice - NICER_BY).max(-20)).ok()?;
            Some(nice)
        };
        Self { nice_before: raise() }
    }
}

impl Drop for RaisedPriority {
    fn drop(&mut self) {
        if let Some(nice) = self.nice_before {
            // To lower one's own priority is always permitted.
            let _ = setpriority_process(None, nice);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lasts_until_the_end_and_only_where_it_is_permitted() {
        let nice = || getpriority_process(None).unwrap();
        let before = nice();
        let raised = RaisedPriority::raise();
        let is_root = rustix::process::geteuid().is_root();
        assert!(nice() < before || !is_root || before == -20);
        // Nobody else has it.
        let of_child = std::thread::spawn(nice).join().unwrap();
        assert_eq!(of_child, nice());
        drop(raised);
        assert_eq!(nice(), before);
    }
}
