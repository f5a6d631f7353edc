//! Work that waits, beside the thread that serves.

use std::fmt;
use std::io;

use tokio::sync::oneshot;

/// Why work was not done.
#[derive(Debug)]
pub(super) enum NotDone {
    /// There can be no other thread: the limit of the user, of the control group or of memory is reached.
    NoThread(io::Error),
    /// The work has panicked, and has said so.
    Panicked,
}

impl fmt::Display for NotDone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoThread(error) => write!(f, "the daemon can have no other thread: {error}"),
            Self::Panicked => f.write_str("the work was not finished"),
        }
    }
}

/// Does work in a thread of its own, and waits for what it returns. It is finished also if nobody waits any more.
///
/// The pool of tokio would panic where the kernel gives it no thread.
pub(super) async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NotDone> {
    let (done, is_done) = oneshot::channel();
    let thread = std::thread::Builder::new().name("memsampled-work".to_owned());
    let spawned = thread.spawn(move || {
        // Nobody waits any more if this fails.
        let _ = done.send(work());
    });
    spawned.map_err(NotDone::NoThread)?;
    is_done.await.map_err(|_| NotDone::Panicked)
}
