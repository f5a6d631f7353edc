//! A recording of which one file is not what its recorder wrote.

use std::cell::OnceCell;
use std::fs;
use std::path::{Path, PathBuf};

use memsample::view::{At, By, View, ViewError, ViewOptions};
use memsample::{Recording, analysis};
use tempfile::TempDir;

/// The tables of a recording: the first byte of an input says which of their files the others are.
pub const TABLES: [&str; 7] =
    ["samples", "processes", "ticks", "system", "exits", "cgroups", "marks"];

/// Set in the first byte: the recorder died, so the recording is put together first.
pub const CRASHED: u8 = 0x80;

/// A recording that is there once for each thread, with the files of the seeds.
struct Scratch {
    directory: TempDir,
    files: Vec<(PathBuf, Vec<u8>)>,
    manifests: [String; 2],
}

thread_local! {
    static SCRATCH: OnceCell<Scratch> = const { OnceCell::new() };
}

impl Scratch {
    fn new() -> Self {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
        let directory = tempfile::tempdir().expect("a directory for temporary files");
        let read = |table: &str| {
            let path = corpus.join(format!("recording/seed-{table}"));
            let seed =
                fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let file = directory.path().join(format!("run/{table}.parquet"));
            (file, seed.get(1..).unwrap_or_default().to_vec())
        };
        let files = TABLES.iter().map(|table| read(table)).collect();
        let closed = include_str!("../recording.json").to_owned();
        let crashed = closed.replacen("\"closed\"", "\"recording\"", 1);
        Self { files, manifests: [closed, crashed], directory }
    }

    /// Puts the recording on disk, with another file of one table.
    fn write(&self, table: usize, bytes: &[u8], crashed: bool) -> PathBuf {
        let run = self.directory.path().join("run");
        let _ = fs::remove_dir_all(&run);
        fs::create_dir(&run).expect("a directory for a recording");
        let manifest = self.manifests.get(usize::from(crashed)).expect("there are two");
        fs::write(run.join("recording.json"), manifest).expect("a file");
        for (index, (path, file)) in self.files.iter().enumerate() {
            let file = if index == table { bytes } else { file };
            fs::write(path, file).expect("a file");
        }
        run
    }
}

/// Reads a recording by everything that reads one: rows, or an error.
pub fn recording(bytes: &[u8]) {
    let Some((&which, bytes)) = bytes.split_first() else { return };
    let table = usize::from(which & !CRASHED) % TABLES.len();
    SCRATCH.with(|scratch| {
        let scratch = scratch.get_or_init(Scratch::new);
        let run = scratch.write(table, bytes, which & CRASHED != 0);
        if let Ok((recording, _)) = Recording::open(&run) {
            read_all(&recording);
        }
    });
}

fn read_all(recording: &Recording) {
    for table in memsample::schema::tables() {
        let columns: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
        let batches = recording.read_table(table.name, &columns);
        // After an error there are no more.
        let _ = batches.map(|batch| batch.map(|batch| batch.num_rows())).collect::<Vec<_>>();
    }
    let _ = recording.last_known_pss();
    let first = recording.first_and_last_tick().ok().flatten().map(|(first, _)| At::Time(first));
    for at in [None, first] {
        for by in [By::Process, By::Role, By::User, By::System] {
            let view = View::recorded(recording, at, &ViewOptions::new(by), &|_| None);
            if let Err(error) = view {
                check_error(&error);
            }
        }
    }
    let _ = analysis::largest_processes(recording, 5);
    let _ = analysis::process_peaks(recording, 5, |_, _| true);
    let _ = analysis::role_peaks(recording, 5, |_| true);
    let _ = analysis::test_peaks(recording, 5, |_| true);
    let _ = analysis::test_usages(recording);
}

fn check_error(error: &ViewError) {
    assert!(!error.to_string().is_empty());
}
