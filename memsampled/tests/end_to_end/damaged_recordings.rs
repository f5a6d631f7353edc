//! Recordings whose tables hold values that no recorder writes: each command shows them or refuses them.

use std::cell::RefCell;
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use arrow_array::RecordBatch;
use memsample::schema::tables;
use parquet::arrow::ArrowWriter;
use proptest::prelude::*;

use crate::any_tables::any_rows;
use crate::command::{MEMSAMPLE, memsample};

/// What reads a recording, one command a line.
const READERS: &str = "\
summary r
summary r --json
peaks r
peaks r --json
report r --text
report r --markdown
report r -o r.html
leaks r
leaks r --json
explain r
explain r --json
view r
view r --by role
view r --by system
view r --at 0.5s
export r --to openmetrics
export r --to openmetrics --by process
export r --to gitlab
export r --to bencher
export r --to chrome
export r --to perfetto
export r --to csv
export r --to arrow -o r.arrow
export r --to jenkins-plot
cut r --from 0s --to 0.5s --out part
anonymize r --out anonymous
ls .";

fn write(path: &Path, batch: &RecordBatch) {
    let file = File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

/// Runs the readers, and returns how many refused.
fn read_all(directory: &Path) -> Result<usize, TestCaseError> {
    let mut refused = 0;
    for line in READERS.lines() {
        let mut arguments: Vec<&str> = line.split(' ').collect();
        // 2 GiB of memory and 60 s of CPU: what lies about its size costs neither.
        let limited = "ulimit -v 2097152; ulimit -t 60; exec \"$0\" \"$@\"";
        arguments.splice(0..0, ["-c", limited, MEMSAMPLE]);
        let output = Command::new("sh")
            .args(&arguments)
            .env("MEMSAMPLE_CONFIG", "")
            .current_dir(directory)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        prop_assert_eq!(output.status.signal(), None, "{}: {}", line, stderr);
        prop_assert!(matches!(output.status.code(), Some(0..=2 | 20..=22)), "{line}: {stderr}");
        prop_assert!(!stderr.contains("panicked"), "{line}: {stderr}");
        refused += usize::from(!output.status.success());
    }
    for name in ["part", "anonymous"] {
        let _ = std::fs::remove_dir_all(directory.join(name));
    }
    Ok(refused)
}

thread_local! {
    static RECORDED: RefCell<Option<tempfile::TempDir>> = const { RefCell::new(None) };
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4) })]
    #[test]
    fn any_values_are_shown_or_refused_slow(
        tables in tables().into_iter().map(any_rows).collect::<Vec<_>>(),
    ) {
        RECORDED.with_borrow_mut(|recorded| {
            let directory = recorded.get_or_insert_with(|| {
                let directory = tempfile::tempdir().unwrap();
                let record = ["record", "--out", ".", "--name", "r", "--interval", "100ms", "--", "sleep", "1"];
                let ended = memsample(directory.path(), &record);
                assert_eq!(ended.code, Some(0), "{}", ended.stderr);
                // Of what the recorder wrote, nothing is refused.
                assert_eq!(read_all(directory.path()).unwrap(), 0);
                directory
            });
            for (table, batch) in memsample::schema::tables().iter().zip(&tables) {
                write(&directory.path().join(format!("r/{}.parquet", table.name)), batch);
            }
            read_all(directory.path()).map(|_| ())
        })?;
    }
}
