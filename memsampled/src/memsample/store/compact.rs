//! `memsample compact`: puts the small files of many runs into large ones.

use jiff::civil::Date;
use jiff::{Timestamp, tz::TimeZone};
use memsample_inherited::{print_text, tell};
use memsample_input::{count, rounded_size};
use memsample_store::Address;
use memsample_store::compact::{Days, compact};

use super::open::open;
use super::progress::Progress;
use crate::exit::ExitCode;

/// Put the tables of all runs of a suite and a day into large files
///
/// A query over a thousand runs then opens tens of files instead of thousands. Rows are copied as they are, and
/// `pull`, `list` and `verify` work as before. Run it when nobody queries by a glob: until the small files are gone, which
/// is its last step, a glob finds the rows of a day twice.
#[derive(clap::Args)]
pub(crate) struct CompactArgs {
    /// Store: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, file:///DIRECTORY or the path of a directory
    #[arg(value_name = "STORE")]
    store: Address,

    /// Compact only days before this one, in UTC [default: today]
    #[arg(long, value_name = "YYYY-MM-DD")]
    before: Option<Date>,
}

pub(crate) fn run(args: &CompactArgs) -> anyhow::Result<ExitCode> {
    let store = open(&args.store)?;
    let before = args.before.unwrap_or_else(|| Timestamp::now().to_zoned(TimeZone::UTC).date());
    let reading = Progress::new("copying", None);
    let compacted = compact(&store, Days::before(before), &|bytes| reading.add(bytes), &|| false)?;
    drop(reading);
    if compacted.unreadable > 0 {
        tell(format!(
            "note: {} cannot be read, and is left alone: `memsample verify` names what cannot be read",
            count(compacted.unreadable, "manifest")
        ));
    }
    if compacted.runs == 0 {
        print_text(format!(
            "nothing to put together: of no day before {before} are there small files of two runs of a suite\n"
        ));
        return Ok(ExitCode::SUCCESS);
    }
    print_text(format!(
        "{} of {} are in {} now, {}\n",
        count(compacted.files, "file"),
        count(compacted.runs, "run"),
        count(compacted.large_files, "large file"),
        rounded_size(compacted.bytes)
    ));
    Ok(ExitCode::SUCCESS)
}
