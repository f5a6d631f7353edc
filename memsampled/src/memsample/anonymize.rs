//! `memsample anonymize`: a recording or a run without names.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use memsample::{ExcerptError, Pseudonyms, Recording, anonymize_test_tables};
use memsample_beneath::{NewDirectory, read_regular};
use memsample_inherited::{print_text, tell};
use memsample_input::{count, printable};
use memsample_runner::report::{SuiteResult, junit};
use memsample_runner::results::{Abort, FILE};

use crate::exit::ExitCode;
use crate::known_recordings::recordings_of_run;
use crate::recording_path;
use crate::run_or_recording::{RunOrRecording, ended_results};
use crate::summary::note_recovery;

/// A key, or a list of programs, is not larger.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Make a recording or a run that has no names, to share it
///
/// Command names, executables, arguments, roles, users, control groups, tests, marks, labels and the machine become
/// pseudonyms, such as x14e757259417: the same name has the same pseudonym everywhere. Paths keep their depth and the
/// directories that every system has, such as /usr/bin. Outputs, artifacts, reasons and notes are left out, also of
/// junit.xml. Numbers, times, process ids and verdicts stay: whoever knows them finds them again. docs/share.md says
/// what can be told from the result.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    memsample anonymize runs/nightly --out shared\n  \
    head -c 32 /dev/urandom > key && memsample anonymize @latest --key-file key --out shared")]
pub(crate) struct AnonymizeArgs {
    /// Directory or name of a recording or a run, or @latest
    #[arg(value_name = "RECORDING|RUN", default_value = "@latest")]
    run: PathBuf,

    /// Directory to make, which must not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Key of at least 16 bytes, so that several recordings have the same pseudonyms. Keep it: who has it can find out
    /// what a pseudonym stands for [default: a random one, which is not kept]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,

    /// Names of tests and suites, and tags, stay as they are
    #[arg(long)]
    keep_tests: bool,

    /// Words that stay as they are, one a line, such as sh and python3
    #[arg(long, value_name = "FILE")]
    keep_programs: Option<PathBuf>,
}

pub(crate) fn run(args: &AnonymizeArgs) -> anyhow::Result<ExitCode> {
    let mut pseudonyms = pseudonyms(args)?;
    let what = match RunOrRecording::find(&args.run)? {
        RunOrRecording::Run(directory) => of_run(&directory, &args.out, &mut pseudonyms)?,
        RunOrRecording::Recording => {
            let (recording, recovery) = recording_path::open(&args.run)?;
            note_recovery(recovery);
            memsample::anonymize(&recording, &mut pseudonyms, &args.out)?;
            "a recording".to_owned()
        }
    };
    let key = match args.key_file {
        Some(_) => "under the key",
        None => "under a random key, which was not kept",
    };
    let out = args.out.display().to_string();
    print_text(format!("{}: {what}, with pseudonyms {key}\n", printable(&out)));
    Ok(ExitCode::SUCCESS)
}

fn pseudonyms(args: &AnonymizeArgs) -> anyhow::Result<Pseudonyms> {
    let pseudonyms = match &args.key_file {
        None => Pseudonyms::random()?,
        Some(path) => {
            let name = || format!("--key-file `{}`", printable(&path.display().to_string()));
            let key = read_regular(path, MAX_FILE_BYTES).with_context(name)?;
            Pseudonyms::with_key(&key).with_context(name)?
        }
    };
    let mut kept = BTreeSet::new();
    if let Some(path) = &args.keep_programs {
        let name = || format!("--keep-programs `{}`", printable(&path.display().to_string()));
        let text = read_regular(path, MAX_FILE_BYTES).with_context(name)?;
        let text = String::from_utf8(text).with_context(name)?;
        kept.extend(text.lines().map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned));
        if let Some(word) = kept.iter().find(|word| word.contains(['/', ' ', '='])) {
            bail!("{}: `{}` is no single word: write the name alone", name(), printable(word));
        }
    }
    Ok(pseudonyms.keep(kept).keep_tests(args.keep_tests))
}

/// Makes a run of the results, the tables and the recordings of a run.
fn of_run(directory: &Path, out: &Path, pseudonyms: &mut Pseudonyms) -> anyhow::Result<String> {
    let results = ended_results(directory)?;
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => ExcerptError::Exists(out.to_owned()),
        _ => ExcerptError::Write(out.to_owned(), error),
    };
    let new = NewDirectory::create(out).map_err(failed)?;
    let mut ids = HashMap::new();
    let parts = recordings_of_run(directory);
    for part in &parts {
        let Some(name) = part.file_name() else { continue };
        let (recording, recovery) = Recording::open(part)?;
        note_recovery(recovery);
        let made = memsample::anonymize(&recording, pseudonyms, &new.path().join(name))?;
        let id = |recording: &Recording| recording.manifest().provenance.id.clone();
        ids.insert(id(&recording), id(&made));
    }
    if parts.is_empty() {
        tell("note: the run has no recording: its results alone are made anonymous");
    }
    anonymize_test_tables(directory, new.path(), pseudonyms, &ids)?;
    let results = results.anonymized(pseudonyms);
    results.write(&new.path().join(FILE)).map_err(failed)?;
    // What CI servers read is made of the results again: the file of the run has the outputs of its tests.
    let aborted = results.aborted.and_then(|cause| Abort::of(cause, results.abort_signal));
    let suite = SuiteResult { directory: new.path().to_owned(), aborted, results };
    let junit = junit::xml(&suite, junit::Profile::default(), new.path()).map_err(failed)?;
    fs::write(new.path().join(junit::FILE), junit).map_err(failed)?;
    new.finish().map_err(failed)?;
    Ok(format!("a run with {}", count(suite.results.tests.len() as u64, "test")))
}
