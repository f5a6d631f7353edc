//! A client of the daemon in Rust: records, marks a function, and says what it used.
//!
//!     memsampled &
//!     cargo run --package memsample-client --example mark_a_function
//!
//! The daemon is that of `$MEMSAMPLE_SOCKET`, or of the default socket.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use memsample::Recording;
use memsample::analysis::process_peaks;
use memsample_client::wire::{MarkKind, MarkRequest, Span, StartRequest};
use memsample_client::{Client, ClientError, SOCKET_VARIABLE, default_socket};

fn main() -> Result<(), Box<dyn Error>> {
    let socket = match std::env::var_os(SOCKET_VARIABLE) {
        Some(socket) => PathBuf::from(socket),
        None => default_socket()?,
    };
    record(&socket, &mut io::stdout().lock())
}

/// Records while the function runs, and writes what came of it.
pub(crate) fn record(socket: &Path, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let mut client = Client::connect(socket)?;
    let session = client.start(&StartRequest {
        name: Some("mark-a-function".to_owned()),
        interval: Some(Span(Duration::from_millis(10))),
        labels: BTreeMap::from([("language".to_owned(), "rust".to_owned())]),
        ..StartRequest::default()
    })?;
    let primes = marked(&mut client, &session.id, "primes_below", || primes_below(20_000_000))?;
    let stopped = client.stop(&session.id)?;

    let summary = &stopped.summary;
    writeln!(out, "found {primes} primes")?;
    writeln!(
        out,
        "{} ticks, {} samples of {} process images; {} late, {} dropped",
        summary.ticks, summary.samples, summary.processes, summary.late, summary.dropped,
    )?;
    let (recording, _) = Recording::open(stopped.recording.as_ref())?;
    let ours = i32::try_from(std::process::id())?;
    let peaks = process_peaks(&recording, usize::MAX, |_, _| true)?;
    let peak = peaks.iter().find(|peak| peak.pid == ours);
    if let Some((lower, upper)) = peak.and_then(|peak| Some((peak.lower?.bytes, peak.upper))) {
        let upper = upper.map(|bound| bound.bytes);
        match upper {
            Some(upper) => writeln!(out, "peak of this process: {lower} to {upper} bytes")?,
            None => writeln!(out, "peak of this process: at least {lower} bytes")?,
        }
    }
    writeln!(out, "{}", stopped.recording)?;
    Ok(())
}

/// Marks when a function begins and when it has returned.
fn marked<T>(
    client: &mut Client,
    session: &str,
    name: &str,
    function: impl FnOnce() -> T,
) -> Result<T, ClientError> {
    let mark = |kind| MarkRequest {
        kind,
        name: name.to_owned(),
        test: Some(name.to_owned()),
        ..MarkRequest::default()
    };
    client.mark(session, &mark(MarkKind::Begin))?;
    let result = function();
    client.mark(session, &mark(MarkKind::End))?;
    Ok(result)
}

/// Counts the primes below a number, with a byte of memory for each number.
fn primes_below(end: usize) -> usize {
    let mut is_prime = vec![true; end];
    is_prime.iter_mut().take(2).for_each(|is_prime| *is_prime = false);
    let mut factor = 2;
    while factor * factor < end {
        if is_prime.get(factor) == Some(&true) {
            let multiples = is_prime.iter_mut().skip(factor * factor).step_by(factor);
            multiples.for_each(|is_prime| *is_prime = false);
        }
        factor += 1;
    }
    is_prime.iter().filter(|is_prime| **is_prime).count()
}
