//! `memsample list`: what is in a store.

use jiff::{SignedDuration, Timestamp};
use memsample_inherited::{print_text, tell};
use memsample_input::{printable, rounded_size, with_causes};
use memsample_store::{Address, Kind, Manifest};
use serde::Serialize;

use super::age;
use super::open::open;
use crate::exit::ExitCode;
use crate::json_output::JsonArgs;
use crate::plain_table::{align_right, lines, plain_table};

/// List the runs and recordings of a store, newest first
///
/// `memsample ls` lists the recordings on this machine.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    memsample list s3://lab/memory --suite nightly --since 7d\n  \
    memsample list /srv/lab --json | jq -r '.[] | select(.outcome != \"passed\").run'")]
pub(crate) struct ListArgs {
    /// Store: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, file:///DIRECTORY or the path of a directory
    #[arg(value_name = "STORE")]
    store: Address,

    /// List only runs of this project
    #[arg(long, value_name = "NAME")]
    project: Option<String>,

    /// List only runs of this suite
    #[arg(long, value_name = "NAME")]
    suite: Option<String>,

    /// List only runs of this machine
    #[arg(long, value_name = "NAME")]
    host: Option<String>,

    /// List only runs of this release
    #[arg(long, value_name = "NAME")]
    release: Option<String>,

    /// List only runs that began within this time, such as 7d
    #[arg(long, value_name = "AGE", value_parser = age::parse)]
    since: Option<SignedDuration>,

    #[command(flatten)]
    json: JsonArgs,
}

/// A row. Its keys are part of the interface: see docs/lab.md.
#[derive(Serialize)]
struct Row {
    run: String,
    kind: Kind,
    project: String,
    suite: String,
    host: String,
    release: Option<String>,
    started: Option<Timestamp>,
    outcome: Option<String>,
    tests: u64,
    bytes: u64,
    manifest: String,
}

impl From<Manifest> for Row {
    fn from(manifest: Manifest) -> Self {
        Self {
            manifest: manifest.partition().manifest(),
            bytes: manifest.bytes(),
            run: manifest.run,
            kind: manifest.kind,
            project: manifest.project,
            suite: manifest.suite,
            host: manifest.host,
            release: manifest.release,
            started: manifest.started,
            outcome: manifest.outcome,
            tests: manifest.counts.values().sum(),
        }
    }
}

pub(crate) fn run(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let store = open(&args.store)?;
    let now = Timestamp::now();
    let begin = args.since.and_then(|since| now.checked_sub(since).ok());
    let is = |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|it| it == value);
    let mut rows = Vec::new();
    let mut unreadable = Vec::new();
    store.manifests(|key, manifest| match manifest {
        Ok(manifest) => {
            let is_wanted = is(&args.project, &manifest.project)
                && is(&args.suite, &manifest.suite)
                && is(&args.host, &manifest.host)
                && is(&args.release, manifest.release.as_deref().unwrap_or(""))
                && begin.is_none_or(|begin| manifest.started.is_some_and(|it| it >= begin));
            if is_wanted {
                rows.push(Row::from(manifest));
            }
        }
        Err(error) => unreadable.push(format!("`{}`: {}", key.object, with_causes(&error))),
    })?;
    rows.sort_by(|a: &Row, b: &Row| (b.started, &b.run).cmp(&(a.started, &a.run)));
    for error in &unreadable {
        tell(format!("error: {error}"));
    }
    let code = if unreadable.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    args.json.write(|| Ok(serde_json::to_string(&rows)? + "\n"))?;
    if args.json.is_on_stdout() {
        return Ok(code);
    }
    if rows.is_empty() {
        tell(format!("no such run in `{}`", args.store));
        return Ok(code);
    }
    print_text(text(&rows));
    Ok(code)
}

fn text(rows: &[Row]) -> String {
    let mut table = plain_table();
    table.set_header([
        "STARTED (UTC)",
        "SUITE",
        "HOST",
        "RELEASE",
        "TESTS",
        "OUTCOME",
        "SIZE",
        "RUN",
    ]);
    for row in rows {
        table.add_row([
            row.started.map_or("-".to_owned(), |it| it.strftime("%Y-%m-%d %H:%M").to_string()),
            match row.kind {
                Kind::Run => printable(&row.suite),
                Kind::Recording => "-".to_owned(),
            },
            printable(&row.host),
            row.release.as_deref().map_or("-".to_owned(), printable),
            if row.kind == Kind::Run { row.tests.to_string() } else { "-".to_owned() },
            row.outcome.clone().unwrap_or_else(|| "-".to_owned()),
            rounded_size(row.bytes),
            printable(&row.run),
        ]);
    }
    align_right(&mut table, |column| column == 4 || column == 6);
    lines(&table)
}
