//! The thread that serves: it ends with an error where its runtime can only panic.

use std::any::Any;
use std::io;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};

use tokio::runtime::Runtime;

/// How the runtime says that it cannot wait for events any more.
const CANNOT_WAIT: &str = "unexpected error when polling the I/O driver: ";

/// Runs a future to its end, and ends the runtime without waiting for what other threads still do.
///
/// # Errors
///
/// The kernel refuses to tell of events, so that nothing can be waited for.
///
/// # Panics
///
/// The future panics.
pub(super) fn block_on<F: Future>(runtime: Runtime, future: F) -> io::Result<F::Output> {
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
        if refusal(info.payload()).is_none() {
            tell(info);
        }
    }));
    match panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(future))) {
        Ok(output) => {
            runtime.shutdown_background();
            Ok(output)
        }
        Err(payload) => {
            // It has lost what it needs to end in order, and would panic again.
            std::mem::forget(runtime);
            match refusal(&*payload) {
                Some(error) => Err(error),
                None => panic::resume_unwind(payload),
            }
        }
    }
}

/// Returns the error of the kernel for which the runtime has panicked, if that is why.
fn refusal(payload: &(dyn Any + Send)) -> Option<io::Error> {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let shown = text.or(payload.downcast_ref::<&str>().copied())?.strip_prefix(CANNOT_WAIT)?;
    // As the standard library shows it: `Os { code: 5, kind: Uncategorized, message: "Input/output error" }`.
    let code = shown.split_once("code: ").and_then(|(_, rest)| rest.split_once(','));
    let code = code.and_then(|(code, _)| code.parse().ok());
    Some(code.map_or_else(|| io::Error::other(shown.to_owned()), io::Error::from_raw_os_error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_kernel_is_told_from_other_faults() {
        let error = io::Error::from_raw_os_error(5);
        let said: Box<dyn Any + Send> = Box::new(format!("{CANNOT_WAIT}{error:?}"));
        assert_eq!(refusal(&*said).and_then(|error| error.raw_os_error()), Some(5));
        let other: Box<dyn Any + Send> = Box::new("index out of bounds");
        assert!(refusal(&*other).is_none());
    }
}
