//! `memsample push`: puts runs and recordings into a store.

use std::path::{Path, PathBuf};

use anyhow::Context;
use memsample_inherited::{print_text, tell};
use memsample_input::{count, printable, rounded_size};
use memsample_store::{Address, Pushed, RunSource, SourceOptions, Store, push};
use serde::Serialize;

use super::progress::Progress;
use crate::exit::{ExitCode, with_advice};
use crate::json_output::JsonArgs;
use crate::recording_path;
use crate::run_or_recording::RunOrRecording;

/// Put runs and recordings into a store: a directory, or a bucket of S3 or Google
///
/// Sends the files, verified by checksum, and the manifest of each run last: until it is there, nobody sees
/// the run. A push that was killed continues where it was when it is given again. Credentials are
/// those that other clients use (AWS_PROFILE, AWS_ACCESS_KEY_ID, the role of the machine,
/// GOOGLE_APPLICATION_CREDENTIALS), AWS_ENDPOINT_URL leads to a server other than Amazon's. docs/lab.md describes
/// how a store is laid out and queried.
#[derive(clap::Args)]
#[command(override_usage = "memsample push [OPTIONS] <RUN>... <STORE>")]
#[command(after_help = "Examples:\n  \
    memsample push runs/nightly-20261129T010000Z s3://lab/memory\n  \
    memsample push --project kernel --release 6.18 runs/* file:///srv/lab\n  \
    memsample push @latest /srv/lab")]
pub(crate) struct PushArgs {
    /// Directories or names of runs or recordings, or @latest; and the store at the end: s3://BUCKET/PREFIX,
    /// gs://BUCKET/PREFIX, file:///DIRECTORY or the path of a directory
    #[arg(required = true, num_args = 2.., value_names = ["RUN", "STORE"])]
    runs_and_store: Vec<PathBuf>,

    /// What is tested [default: the label `project` of the run, else `default`]
    #[arg(long, value_name = "NAME")]
    project: Option<String>,

    /// Release that the runs are of [default: the label `release` of the run]
    #[arg(long, value_name = "NAME")]
    release: Option<String>,

    #[command(flatten)]
    json: JsonArgs,
}

/// What was pushed. Its keys are part of the interface: see docs/lab.md.
#[derive(Serialize)]
struct Row {
    directory: PathBuf,
    run: String,
    manifest: String,
    was_there: bool,
    sent_bytes: u64,
    found_bytes: u64,
    left_out: Vec<String>,
}

pub(crate) fn run(args: &PushArgs) -> anyhow::Result<ExitCode> {
    let Some((address, runs)) = args.runs_and_store.split_last() else {
        return Ok(ExitCode::WRONG_USAGE);
    };
    let address = address.to_str().context("the address of the store is not UTF-8")?;
    let address: Address = address.parse()?;
    let store = Store::open(&address)?;
    let options = SourceOptions { project: args.project.clone(), release: args.release.clone() };
    let mut code = ExitCode::SUCCESS;
    let mut rows = Vec::new();
    for named in runs {
        match directory_of(named)
            .and_then(|directory| Ok((one(&store, &directory, &options)?, directory)))
        {
            Ok(((pushed, left_out), directory)) => {
                if !args.json.is_on_stdout() {
                    print_text(line(&pushed));
                }
                rows.push(Row {
                    directory,
                    manifest: pushed.manifest.partition().manifest(),
                    run: pushed.manifest.run,
                    was_there: pushed.was_there,
                    sent_bytes: pushed.sent_bytes,
                    found_bytes: pushed.found_bytes,
                    left_out,
                });
            }
            Err(error) => {
                tell(format!("error: {}", with_advice(&error)));
                code = ExitCode::of(&error);
            }
        }
    }
    args.json.write(|| Ok(serde_json::to_string(&rows)? + "\n"))?;
    Ok(code)
}

/// Pushes what a command has just made, and says so on stderr.
pub(crate) fn push_after(address: &Address, directory: &Path) -> anyhow::Result<()> {
    let advice = || {
        let directory = directory.display();
        format!("cannot push; nothing is lost, do it later: memsample push {directory} {address}")
    };
    let store = Store::open(address).with_context(advice)?;
    let (pushed, _) = one(&store, directory, &SourceOptions::default()).with_context(advice)?;
    tell(format!("pushed: {} to {address}", pushed.manifest.run));
    Ok(())
}

fn one(
    store: &Store,
    directory: &Path,
    options: &SourceOptions,
) -> anyhow::Result<(Pushed, Vec<String>)> {
    let reading = Progress::new("reading", None);
    let source = RunSource::read(directory, options, &|bytes| reading.add(bytes))?;
    drop(reading);
    if !source.left_out.is_empty() {
        let named: Vec<String> =
            source.left_out.iter().take(3).map(|it| format!("`{}`", printable(it))).collect();
        tell(format!(
            "note: {} in `{}` not pushed, since it is no regular file or cannot be read: {}",
            count(source.left_out.len() as u64, "path"),
            directory.display(),
            named.join(", ")
        ));
    }
    let bytes = source.files.iter().map(|file| file.stored.bytes).sum();
    let sending = Progress::new("sending", Some(bytes));
    let pushed = push(store, &source, &|bytes| sending.add(bytes))?;
    Ok((pushed, source.left_out))
}

fn line(pushed: &Pushed) -> String {
    let Pushed { manifest, was_there, sent_bytes, found_bytes } = pushed;
    let run = printable(&manifest.run);
    match (was_there, found_bytes) {
        (true, _) => format!("{run}: was there\n"),
        (false, 0) => format!("{run}: {}\n", rounded_size(*sent_bytes)),
        (false, found) => format!(
            "{run}: {}, and {} from an earlier push\n",
            rounded_size(*sent_bytes),
            rounded_size(*found)
        ),
    }
}

/// Returns the directory of the run or the recording that a person means.
fn directory_of(named: &Path) -> anyhow::Result<PathBuf> {
    Ok(match RunOrRecording::find(named)? {
        RunOrRecording::Run(directory) => directory,
        RunOrRecording::Recording => recording_path::resolve(named)?,
    })
}
