//! Writes the seeds of the corpora that depend on the formats of the journal and of the tables:
//! `make fuzz-seeds`.
//!
//! A recorder reads a copy of the captured machine, in which processes grow, begin and end; its journal
//! is copied before it is closed, and its tables afterwards.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use memsample::{MarkKind, Rate, Recorder, RecorderOptions, Recording, SamplerOptions, Scope};
use memsample_fuzz::recording::TABLES;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

/// Seeds are small, so that a fuzzer changes what matters: this many ticks.
const TICKS: u64 = 60;
const INTERVAL: Duration = Duration::from_millis(25);

fn main() -> Result<(), Box<dyn Error>> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory = tempfile::tempdir()?;
    let tree = directory.path().join("proc");
    copy(&package.join("../memsample/tests/trees/idle"), &tree)?;
    let journal = record(&tree, &directory.path().join("run"))?;
    let blocks = memsample::fuzzing::journal(&journal);
    if blocks < 2 {
        return Err(format!("the journal has only {blocks} blocks").into());
    }
    let contents = memsample::fuzzing::contents_of_journal(&journal).ok_or("it cannot be read")?;
    let middle = journal.get(..journal.len() / 2).unwrap_or_default();
    let corpus = package.join("corpus");
    fs::write(corpus.join("journal/seed"), &journal)?;
    fs::write(corpus.join("journal/seed-cut-off"), middle)?;
    fs::write(corpus.join("journal_contents/seed"), contents)?;
    write_tables(package, &directory.path().join("run"))
}

/// Writes the tables of a recording, each behind its number: as they are, and without compression, since a
/// fuzzer hardly gets through that.
fn write_tables(package: &Path, run: &Path) -> Result<(), Box<dyn Error>> {
    let corpus = package.join("corpus/recording");
    let (recording, _) = Recording::open(run)?;
    let hostname = recording.manifest().provenance.machine.hostname.clone();
    let proc_root = recording.manifest().provenance.settings.proc_root.clone();
    let anonymous = |bytes: &[u8]| {
        // As long as before, since lengths stand in front of texts.
        let without = replace(bytes, hostname.as_bytes());
        replace(&without, proc_root.as_os_str().as_encoded_bytes())
    };
    for (number, name) in (0_u8..).zip(TABLES) {
        let seed = anonymous(&fs::read(run.join(format!("{name}.parquet")))?);
        fs::write(corpus.join(format!("seed-{name}")), [&[number], &*seed].concat())?;
        let known = memsample::schema::tables().into_iter().find(|table| table.name == name);
        let columns = known.map(|table| table.columns).unwrap_or_default();
        let columns: Vec<&str> = columns.iter().map(|column| column.name).collect();
        let batches: Result<Vec<_>, _> = recording.read_table(name, &columns).collect();
        let batches = batches?;
        let Some(first) = batches.first() else { continue };
        let properties = WriterProperties::builder().set_compression(Compression::UNCOMPRESSED);
        let mut plain = vec![number];
        let mut writer =
            ArrowWriter::try_new(&mut plain, first.schema(), Some(properties.build()))?;
        writer.write(&first.slice(0, first.num_rows().min(20)))?;
        writer.close()?;
        fs::write(corpus.join(format!("seed-plain-{name}")), plain)?;
    }
    fs::write(package.join("recording.json"), anonymous(&fs::read(run.join("recording.json"))?))?;
    Ok(())
}

/// Replaces a text by one of the same length that says nothing.
fn replace(bytes: &[u8], text: &[u8]) -> Vec<u8> {
    let mut replaced = bytes.to_vec();
    let mut at = 0;
    while let Some(place) = replaced.get_mut(at..at + text.len()) {
        if place == text {
            place.fill(b'x');
        }
        at += 1;
    }
    replaced
}

/// Records while the machine changes, and returns the journal as a recorder leaves it that is killed.
fn record(tree: &Path, run: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    let sampler = SamplerOptions::default().proc_root(tree);
    let options = RecorderOptions::new()
        .interval(INTERVAL)
        .pss(Rate::EveryTick)
        .cgroups(Rate::Off)
        .events(false)
        .sampler(sampler);
    let recorder = Recorder::start(run, options)?;
    recorder.assign(&Scope::Machine, "everything")?;
    recorder.mark(MarkKind::Begin, "growth", Some("everything"))?;
    // Process 30 is a copy of 10, and 26 ends. The last number of loadavg is the newest pid.
    let mut done = 0;
    while recorder.status().totals.ticks < TICKS {
        let ticks = recorder.status().totals.ticks;
        if ticks == done {
            std::thread::yield_now();
            continue;
        }
        done = ticks;
        let pages = 2000 + 10 * ticks;
        // Written over, since the sampler keeps it open.
        fs::write(tree.join("10/statm"), format!("{} {pages} 900 700 0 1500 0\n", pages + 4000))?;
        if ticks >= TICKS / 3 && !tree.join("30").exists() {
            copy(&tree.join("10"), &tree.join("30.new"))?;
            let stat = fs::read_to_string(tree.join("10/stat"))?;
            fs::write(tree.join("30.new/stat"), stat.replacen("10 ", "30 ", 1))?;
            fs::rename(tree.join("30.new"), tree.join("30"))?;
            fs::write(tree.join("loadavg"), "0.00 0.00 0.00 1/50 30\n")?;
            fs::remove_dir_all(tree.join("26"))?;
            recorder.mark(MarkKind::Point, "a process began and another ended", None)?;
        }
    }
    recorder.mark(MarkKind::End, "growth", Some("everything"))?;
    // Batches are appended twice a second.
    let path = run.join("journal/000000.log");
    let before = fs::metadata(&path)?.len();
    while fs::metadata(&path)?.len() == before && !recorder.is_finished() {
        std::thread::yield_now();
    }
    let journal = fs::read(path)?;
    recorder.stop()?;
    Ok(journal)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type()? {
            kind if kind.is_dir() => copy(&path, &to)?,
            kind if kind.is_symlink() => symlink(fs::read_link(path)?, to)?,
            _ => fs::write(to, fs::read(path)?)?,
        }
    }
    Ok(())
}
