//! `memsample verify`: compares a store with its manifests.

use jiff::Timestamp;
use memsample_inherited::{print_text, tell};
use memsample_input::{count, printable, rounded_size};
use memsample_store::Address;
use memsample_store::verify::{Verified, verify};

use super::open::open;
use super::progress::Progress;
use crate::exit::ExitCode;

/// Read everything in a store, and compare it with its checksums
///
/// Exits with 1 if anything is damaged or missing.
#[derive(clap::Args)]
pub(crate) struct VerifyArgs {
    /// Store: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, file:///DIRECTORY or the path of a directory
    #[arg(value_name = "STORE")]
    store: Address,

    /// Verify only these runs
    #[arg(value_name = "RUN")]
    runs: Vec<String>,
}

pub(crate) fn run(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let store = open(&args.store)?;
    let reading = Progress::new("reading", None);
    let mut all = Verified::default();
    if args.runs.is_empty() {
        all = verify(&store, None, &|bytes| reading.add(bytes))?;
    }
    for run in &args.runs {
        let manifest = store.find(run)?;
        let one = verify(&store, Some(&manifest), &|bytes| reading.add(bytes))?;
        all.runs += one.runs;
        all.objects += one.objects;
        all.bytes += one.bytes;
        all.faults.extend(one.faults);
    }
    drop(reading);
    for fault in &all.faults {
        tell(format!("error: {}: {}", printable(&fault.run), printable(&fault.what)));
    }
    if !all.unnamed.is_empty() {
        let bytes = all.unnamed.iter().map(|(_, bytes, _)| bytes).sum();
        let oldest: Option<Timestamp> = all.unnamed.iter().map(|(.., modified)| *modified).min();
        let since = oldest.map_or(String::new(), |it| format!(", the oldest of {it}"));
        tell(format!(
            "note: {} of {} belong to no run{since}, but to pushes that go on or were killed; `memsample prune` removes \
             what is older than a day",
            count(all.unnamed.len() as u64, "object"),
            rounded_size(bytes)
        ));
    }
    print_text(format!(
        "{}, {}, {}: {}\n",
        count(all.runs, "run"),
        count(all.objects, "object"),
        rounded_size(all.bytes),
        match all.faults.len() as u64 {
            0 => "all as they were pushed".to_owned(),
            faults => format!("{} damaged or missing", count(faults, "object")),
        }
    ));
    Ok(if all.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
