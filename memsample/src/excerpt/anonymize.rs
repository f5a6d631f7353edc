//! A recording without the names of its input.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::sync::Arc;

use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray};
use memsample_beneath::HeldDirectory;

use super::columns::replaced;
use super::draft::{Draft, check, table};
use super::error::ExcerptError;
use super::pseudonyms::Pseudonyms;
use crate::columns::{numbers, strings};
use crate::recording::{End, Manifest, NewTable, Recording, read_test_table};
use crate::schema::marks::MarkKind;
use crate::schema::{self, ColumnKind, Table};
use crate::scope::Scope;

/// Texts that are words of memsample.
const OWN_TEXTS: [&str; 4] = ["kind", "cgroup_version", "outcome", "rss_peak_source"];
/// Numbers that stand for users.
const USERS: [&str; 2] = ["uid", "real_uid"];
/// Labels of memsample's own marks, whose values are numbers.
const OWN_LABELS: [&str; 2] = ["exit_code", "reaped_max_rss_bytes"];
/// Names that memsample itself gives to the marks, and the test, around a command.
const OWN_NAMES: [&str; 2] = ["memsample session", "command"];

/// Makes a recording at `path`, which must not exist, in which every name of `recording` is a pseudonym: command names,
/// executables, arguments, roles, users, control groups, tests, marks, labels and the machine. Notes are left out.
/// Numbers, instants and process ids stay.
///
/// # Errors
///
/// The recording is still being written or damaged, something has the name, or the recording cannot be written. Nothing
/// is left behind then.
pub fn anonymize(
    recording: &Recording,
    pseudonyms: &mut Pseudonyms,
    path: &Path,
) -> Result<Recording, ExcerptError> {
    check(recording)?;
    let unread = |error| ExcerptError::Read(recording.path().to_owned(), error);
    let draft = Draft::begin(recording, path, |manifest| describe(manifest, pseudonyms))?;
    for schema in schema::tables() {
        let Some((schema, columns)) = table(schema.name) else { continue };
        let name = schema.name;
        let mut renaming = Renaming::new(&schema, pseudonyms, None);
        let mut output = draft.table(schema)?;
        for batch in recording.read_table(name, &columns) {
            let batch = batch.map_err(unread)?;
            let batch = renaming.batch(&batch).map_err(unread)?;
            output.write(&batch).map_err(draft.failed())?;
        }
        output.finish().map_err(draft.failed())?;
    }
    draft.finish()
}

/// Makes the tables about the tests of a run in the directory `to`, with pseudonyms in place of names. `recordings` has the
/// new `id` of each recording by the one before. A table that is not in `from` is left out.
///
/// # Errors
///
/// A table is damaged or cannot be written.
pub fn anonymize_test_tables(
    from: &Path,
    to: &Path,
    pseudonyms: &mut Pseudonyms,
    recordings: &HashMap<String, String>,
) -> Result<(), ExcerptError> {
    let unread = |error| ExcerptError::Read(from.to_owned(), error);
    let failed = ExcerptError::writing(to);
    let held = HeldDirectory::open(to).map_err(&failed)?;
    for schema in schema::result_tables() {
        let name = schema.name;
        if !from.join(format!("{name}.parquet")).try_exists().map_err(unread)? {
            continue;
        }
        let columns: Vec<_> = schema.columns.iter().map(|column| column.name).collect();
        let mut renaming = Renaming::new(&schema, pseudonyms, Some(recordings));
        let mut output = NewTable::create(&held, schema, None).map_err(&failed)?;
        for batch in read_test_table(from, name, &columns).map_err(unread)? {
            let batch = renaming.batch(&batch.map_err(unread)?).map_err(unread)?;
            output.write(&batch).map_err(&failed)?;
        }
        output.finish().map_err(&failed)?;
    }
    Ok(())
}

/// Replaces the names in a manifest.
fn describe(manifest: &mut Manifest, pseudonyms: &mut Pseudonyms) {
    let provenance = &mut manifest.provenance;
    provenance.anonymized = true;
    provenance.labels = pseudonyms.labels(&provenance.labels, &[]);
    if let Some(cut) = &mut provenance.cut {
        cut.recording = pseudonyms.name(&cut.recording);
    }
    let machine = &mut provenance.machine;
    machine.hostname = pseudonyms.name(&machine.hostname);
    machine.kernel = pseudonyms.kernel(&machine.kernel);
    machine.boot_id = machine.boot_id.as_deref().map(|id| pseudonyms.boot(id));
    let settings = &mut provenance.settings;
    settings.proc_root = pseudonyms.name(&settings.proc_root.to_string_lossy()).into();
    if let Some(command) = &mut settings.command {
        *command = command.iter().map(|argument| pseudonyms.name(argument)).collect();
    }
    match &mut settings.target {
        Scope::Cgroup(path) => *path = pseudonyms.name(&path.to_string_lossy()).into(),
        Scope::Launched { group: Some(group), .. } => *group = pseudonyms.name(group),
        Scope::Machine | Scope::Tree { .. } | Scope::Launched { .. } => {}
    }
    let left_out = || "why is left out, since it may have names in it".to_owned();
    if let Some(End::WriteFailed(why) | End::SamplingFailed(why)) = &mut manifest.end {
        *why = left_out();
    }
    let notes = manifest.notes.len();
    manifest.notes = vec![match notes {
        0 => "names, arguments, paths and users are pseudonyms".to_owned(),
        notes => format!(
            "names, arguments, paths and users are pseudonyms. Left out, since they may have names in them: notes \
             about what was not measured ({notes}), which are in the original"
        ),
    }];
}

/// Replaces the names in the rows of a table.
struct Renaming<'a> {
    pseudonyms: &'a mut Pseudonyms,
    is_marks: bool,
    texts: Vec<&'static str>,
    users: Vec<&'static str>,
    /// The new ids of recordings; `None` of a table of a recording, where the column is written anew.
    recordings: Option<&'a HashMap<String, String>>,
}

impl<'a> Renaming<'a> {
    fn new(
        table: &Table,
        pseudonyms: &'a mut Pseudonyms,
        recordings: Option<&'a HashMap<String, String>>,
    ) -> Self {
        let texts = table.columns.iter().filter(|it| it.kind == ColumnKind::Text);
        let texts = texts.filter(|it| !OWN_TEXTS.contains(&it.name));
        let texts = texts.map(|it| it.name).collect();
        let users = table.columns.iter().map(|it| it.name).filter(|name| USERS.contains(name));
        let is_marks = table.name == "marks";
        Self { pseudonyms, is_marks, texts, users: users.collect(), recordings }
    }

    fn batch(&mut self, batch: &RecordBatch) -> io::Result<RecordBatch> {
        let mut changed: Vec<(&str, ArrayRef)> = Vec::new();
        for name in self.texts.clone() {
            if let Ok(column) = strings(batch, name) {
                changed.push((name, self.texts(batch, name, column)?));
            }
        }
        for name in self.users.clone() {
            if let Ok(column) = numbers::<Int64Type>(batch, name) {
                let users = column.iter().map(|uid| {
                    let uid = u32::try_from(uid?).unwrap_or(u32::MAX);
                    Some(i64::from(self.pseudonyms.user(uid)))
                });
                changed.push((name, Arc::new(users.collect::<Int64Array>())));
            }
        }
        replaced(batch, changed)
    }

    fn texts(
        &mut self,
        batch: &RecordBatch,
        name: &str,
        column: &StringArray,
    ) -> io::Result<ArrayRef> {
        let kinds = if self.is_marks { Some(strings(batch, "kind")?) } else { None };
        let tests = if self.is_marks { strings(batch, "test").ok() } else { None };
        // The rows of a process stand together, and are mostly equal.
        let mut last: Option<(&str, String)> = None;
        let mut renamed: Vec<Option<String>> = Vec::with_capacity(column.len());
        for row in 0..column.len() {
            let Some(text) = column.is_valid(row).then(|| column.value(row)) else {
                renamed.push(None);
                continue;
            };
            let kind = kinds.map(|kinds| kinds.value(row));
            let is_of_test = tests.is_some_and(|tests| tests.is_valid(row));
            if let Some((_, pseudonym)) =
                last.as_ref().filter(|(of, _)| kind.is_none() && *of == text)
            {
                renamed.push(Some(pseudonym.clone()));
                continue;
            }
            let pseudonym = self.text(name, text, kind, is_of_test);
            last = pseudonym.clone().map(|pseudonym| (text, pseudonym));
            renamed.push(pseudonym);
        }
        Ok(Arc::new(StringArray::from(renamed)))
    }

    /// Returns what takes the place of a text of a column; of a mark with its kind.
    fn text(
        &mut self,
        column: &str,
        text: &str,
        kind: Option<&str>,
        is_of_test: bool,
    ) -> Option<String> {
        let pseudonyms = &mut *self.pseudonyms;
        let of_caller = [MarkKind::Begin, MarkKind::End, MarkKind::Point].map(MarkKind::as_str);
        match (column, kind) {
            ("recording", _) => self.recordings?.get(text).cloned(),
            ("reason", _) => None,
            ("sandbox", _) => Some(pseudonyms.sandbox(text)),
            ("labels", _) => {
                let labels: BTreeMap<String, String> = serde_json::from_str(text).ok()?;
                serde_json::to_string(&pseudonyms.labels(&labels, &OWN_LABELS)).ok()
            }
            // How the marks around an attempt, and those of `memsample exec`, are known.
            ("name", Some(_)) if is_numbered(text) => Some(text.to_owned()),
            ("name" | "test", _) if OWN_NAMES.contains(&text) => Some(text.to_owned()),
            ("name", Some(kind)) if kind == MarkKind::OomKill.as_str() => {
                Some(victim(text, pseudonyms))
            }
            // Sentences of the recorder with a number in them.
            ("name", Some(kind)) if is_own_sentence(kind, text) => Some(text.to_owned()),
            ("name", Some(kind)) if is_of_test && of_caller.contains(&kind) => {
                Some(pseudonyms.test(text))
            }
            ("test" | "suite", _) => Some(pseudonyms.test(text)),
            _ => Some(pseudonyms.name(text)),
        }
    }
}

/// Returns whether a name is a word of memsample with numbers behind it, such as `attempt 1.2` and `exec 4711`.
fn is_numbered(text: &str) -> bool {
    let numbers = ["attempt ", "exec "].iter().find_map(|word| text.strip_prefix(word));
    numbers.is_some_and(|it| it.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
}

/// Returns whether the name of a mark is a sentence of the recorder, in which only a number differs.
fn is_own_sentence(kind: &str, text: &str) -> bool {
    let words: Vec<&str> = text.split(' ').collect();
    let is_number = |word: &&str| word.parse::<f64>().is_ok();
    let other: Vec<&str> = words.iter().copied().filter(|word| !is_number(word)).collect();
    match kind {
        "clock_step" => other.join(" ") == "the wall clock was set by ms",
        "suspend" => other.join(" ") == "the machine slept for ms",
        _ => false,
    }
}

/// Returns the name of the mark of an OOM kill, such as `stress (4711) of 512 MiB`, with a pseudonym for the process.
fn victim(text: &str, pseudonyms: &mut Pseudonyms) -> String {
    let (named, of) = match text.rsplit_once(" of ") {
        Some((named, of)) => (named, Some(of)),
        None => (text, None),
    };
    let size = of.and_then(|of| of.strip_suffix(" MiB")).filter(|it| it.parse::<u64>().is_ok());
    let process = named.rsplit_once(" (").and_then(|(comm, pid)| {
        let pid = pid.strip_suffix(')')?.parse::<u64>().ok()?;
        Some((comm, pid))
    });
    match (process, size, of) {
        (Some((comm, pid)), Some(size), _) => {
            format!("{} ({pid}) of {size} MiB", pseudonyms.name(comm))
        }
        (Some((comm, pid)), None, None) => format!("{} ({pid})", pseudonyms.name(comm)),
        _ => pseudonyms.name(text),
    }
}
