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
use crate::command::{MEMSAMPLE, memsample, shell};

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

/// Records in `r` below a new directory.
fn recorded() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let record = ["record", "--out", ".", "--name", "r", "--duration", "300ms"];
    let ended = memsample(directory.path(), &record);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    directory
}

#[test]
fn a_recording_that_lacks_a_file_is_refused_by_all_that_read_it() {
    let directory = recorded();
    let whole = directory.path().join("r");
    for table in ["ticks", "processes", "samples"] {
        let file = format!("{table}.parquet");
        // One that was lost, and one of several.
        for there in [None, Some(format!("{table}-0002.parquet"))] {
            let aside = directory.path().join("aside");
            std::fs::rename(whole.join(&file), &aside).unwrap();
            if let Some(there) = &there {
                std::fs::copy(&aside, whole.join(there)).unwrap();
            }
            for line in READERS.lines().filter(|line| !line.starts_with("ls")) {
                let arguments: Vec<&str> = line.split(' ').collect();
                let ended = memsample(directory.path(), &arguments);
                assert_eq!(ended.code, Some(1), "{table}: {line}: {}", ended.stderr);
                let why = format!("its file `{file}` is missing");
                assert!(ended.stderr.contains(&why), "{table}: {line}: {}", ended.stderr);
                assert_eq!(ended.stdout, "", "{table}: {line}");
            }
            if let Some(there) = &there {
                std::fs::remove_file(whole.join(there)).unwrap();
            }
            std::fs::rename(&aside, whole.join(&file)).unwrap();
        }
    }
    assert_eq!(memsample(directory.path(), &["summary", "r"]).code, Some(0));
}

#[test]
fn a_recording_that_lacks_the_last_file_of_a_table_is_refused_by_all_that_read_it() {
    for table in ["samples", "ticks", "marks", "cgroups"] {
        let directory = recorded();
        // As the recorder leaves a table that has become large.
        let path = directory.path().join("r/recording.json");
        let text = std::fs::read_to_string(&path).unwrap();
        let counted = text.replacen('{', &format!("{{\"files\": {{\"{table}\": 2}},"), 1);
        std::fs::write(&path, counted).unwrap();
        for line in READERS.lines().filter(|line| !line.starts_with("ls")) {
            let arguments: Vec<&str> = line.split(' ').collect();
            let ended = memsample(directory.path(), &arguments);
            let why = format!("it is not whole: its file `{table}-0002.parquet` is missing");
            assert_eq!(ended.code, Some(1), "{line}: {}", ended.stderr);
            assert!(ended.stderr.contains(&why), "{line}: {}", ended.stderr);
        }
        let [first, second] = ["", "-0002"].map(|number| format!("r/{table}{number}.parquet"));
        std::fs::copy(directory.path().join(first), directory.path().join(second)).unwrap();
        // What is made of it has one file of each table.
        for line in ["view r --at 0.1s", "cut r --from 0s --to 0.2s --out part", "summary part"] {
            let ended = memsample(directory.path(), &line.split(' ').collect::<Vec<_>>());
            assert_eq!(ended.code, Some(0), "{line}: {}", ended.stderr);
        }
    }
}

#[test]
fn a_table_of_another_recording_is_refused() {
    let (one, other) = (recorded(), recorded());
    let tables: [(&str, &[&str]); 2] =
        [("samples", &["view", "leaks"]), ("processes", &["view", "summary", "peaks"])];
    for (table, readers) in tables {
        let name = format!("r/{table}.parquet");
        let kept = std::fs::read(one.path().join(&name)).unwrap();
        std::fs::copy(other.path().join(&name), one.path().join(&name)).unwrap();
        for reader in readers {
            let ended = memsample(one.path(), &[*reader, "r"]);
            assert_eq!(ended.code, Some(1), "{reader}: {}", ended.stdout);
            let said = format!("/{table}.parquet` is damaged: it is of the recording ");
            assert!(ended.stderr.contains(&said), "{reader}: {}", ended.stderr);
        }
        std::fs::write(one.path().join(&name), kept).unwrap();
    }
    assert_eq!(memsample(one.path(), &["view", "r"]).code, Some(0));
}

#[test]
fn what_cannot_be_looked_at_is_not_listed_as_nothing() {
    let directory = recorded();
    let at = directory.path();
    let ended = memsample(at, &["ls", "absent"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("cannot list `absent`"), "{}", ended.stderr);
    // The link that is the name leads to it.
    let name = std::fs::read_link(at.join("r")).unwrap();
    let file = format!("./{}/recording.json", name.display());
    for call in ["openat", "statx,newfstatat"] {
        let ended = shell(
            at,
            &format!(
                "strace -f -qq -o /dev/null -P {file} -e trace={call} -e inject={call}:error=ESTALE \
                 $MEMSAMPLE ls . --json"
            ),
        );
        assert_eq!((ended.code, ended.stdout.trim()), (Some(0), "[]"), "{}", ended.stderr);
        assert!(ended.stderr.contains("there may be more recordings"), "{call}: {}", ended.stderr);
    }
}
