//! What a command used that was run beside a recording, by the marks of who ran it.

use std::collections::{BTreeMap, HashMap};
use std::io;

use super::largest::{LargestProcess, largest_of};
use super::reaped::reaped_label;
use super::span_marks::{SpanMark, label_of, span_marks};
use super::test_membership::images_launched_by;
use super::test_spans::TestSpan;
use super::test_sums::usages_of;
use super::test_usage::TestUsage;
use crate::recording::{ImageRow, Recording};

/// The name of the marks that `memsample session` sets around its command, about itself. They have no test: tests may
/// run within the command.
pub const COMMAND_MARK: &str = "memsample session";

/// The label of the mark at the end with the exit code of the command.
const EXIT_CODE_LABEL: &str = "exit_code";

/// A command that was run beside a recording, and what it used with all its descendants.
#[derive(Clone, Debug, PartialEq)]
pub struct LaunchedCommand {
    /// Its arguments as `processes.cmdline` has them; `None` where they are not recorded.
    pub cmdline: Option<String>,
    /// Its exit code; `None` where who ran it was killed before.
    pub exit_code: Option<i32>,
    /// What its processes used together.
    pub usage: TestUsage,
    /// Its first process and then the largest.
    pub processes: Vec<LargestProcess>,
}

/// Returns the labels of the mark at the end of a command: its exit code, and what its processes had at most if that is
/// known, `ru_maxrss` of `getrusage(RUSAGE_CHILDREN)` in bytes.
#[must_use]
pub fn command_labels(exit_code: i32, max_rss_bytes: Option<u64>) -> BTreeMap<String, String> {
    let mut labels = max_rss_bytes.map(reaped_label).unwrap_or_default();
    labels.insert(EXIT_CODE_LABEL.to_owned(), exit_code.to_string());
    labels
}

/// Returns the command between the marks named [`COMMAND_MARK`], the first if there are several, with its `top` largest
/// processes; `None` if there is none.
///
/// # Errors
///
/// A table cannot be read.
pub fn launched_command(recording: &Recording, top: usize) -> io::Result<Option<LaunchedCommand>> {
    let Some(marks) = CommandMarks::read(recording)? else { return Ok(None) };
    let CommandMarks { launcher, span, exit_code } = marks;
    let end_ns = span.end.map(|(_, end_ns)| end_ns);
    let images = images_launched_by(recording, launcher, (span.begin_ns, end_ns), COMMAND_MARK)?;
    let first = images.counted.iter().filter(|row| row.cmdline.is_some());
    let first = first.min_by_key(|row: &&ImageRow| (row.start_ns, row.pid, row.exec));
    let cmdline = first.and_then(|row| row.cmdline.clone());
    let processes = largest_of(recording, images.counted.clone(), top)?;
    let spans = HashMap::from([(COMMAND_MARK.to_owned(), vec![span])]);
    let usage = usages_of(recording, &spans, images)?.into_iter().next();
    Ok(usage.map(|usage| LaunchedCommand { cmdline, exit_code, usage, processes }))
}

/// What the marks of a command say.
#[derive(Clone, Debug, PartialEq, Eq)]
struct CommandMarks {
    launcher: i32,
    span: TestSpan,
    exit_code: Option<i32>,
}

impl CommandMarks {
    fn read(recording: &Recording) -> io::Result<Option<Self>> {
        let mut found: Option<Self> = None;
        let is_of_command = |mark: &SpanMark| mark.test.is_none() && mark.name == COMMAND_MARK;
        for mark in span_marks(recording)?.filter(is_of_command) {
            let Some(launcher) = mark.pid else { continue };
            let SpanMark { ts_ms, boot_ns, begins, name, labels, .. } = mark;
            match &mut found {
                None if begins => {
                    let span = TestSpan { name, begin_ms: ts_ms, begin_ns: boot_ns, end: None };
                    found = Some(Self { launcher, span, exit_code: None });
                }
                Some(open) if !begins && launcher == open.launcher && open.span.end.is_none() => {
                    open.span.end = Some((ts_ms, boot_ns));
                    open.exit_code = labels.as_deref().and_then(exit_code);
                }
                _ => {}
            }
        }
        Ok(found)
    }
}

fn exit_code(labels: &str) -> Option<i32> {
    label_of(labels, EXIT_CODE_LABEL)?.parse().ok()
}
