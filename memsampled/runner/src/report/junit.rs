//! `junit.xml`: what CI servers read. Valid against the schema that Jenkins' xUnit plugin checks
//! (`junit-10.xsd`), unless the extended profile is asked for.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::time::Duration;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event as Xml};

use memsample_input::{printable, rounded_size};

use super::collector::SuiteResult;
use crate::output::OutputTail;
use crate::results::wording;
use crate::results::{
    Abort, AttemptResults, BoundedBytes, EndResults, Memory, StepResult, SuiteOutcome, TestResults,
    Verdict,
};

/// The name of the file in the directory of results.
pub const FILE: &str = "junit.xml";
/// What the line begins with by which Jenkins and GitLab find a file.
const ATTACHMENT: &str = "[[ATTACHMENT|";
/// Bytes of each stream of a test that did not succeed: the end, where it says why.
const TAIL_BYTES: u64 = 16 << 10;
/// Bytes of streams in the whole file. GitLab refuses a file of 30 MiB.
const TAILS_BYTES: u64 = 16 << 20;

/// Which of the two dialects is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Valid against `junit-10.xsd`: what was measured is in `system-out` and in properties of the suite.
    #[default]
    Jenkins,
    /// Beside that with properties in each test case, which other readers know and that schema forbids.
    Extended,
}

/// Returns the document.
///
/// Reads the end of what tests and steps that did not succeed have written, from the directory of results. Their files
/// are named relative to `working_directory`, as CI servers look for them, if they are below it.
///
/// # Errors
///
/// None is known: it is written to memory.
pub fn xml(suite: &SuiteResult, profile: Profile, working_directory: &Path) -> io::Result<Vec<u8>> {
    let mut document = Document {
        writer: Writer::new_with_indent(Vec::new(), b' ', 2),
        directory: &suite.directory,
        working_directory,
        profile,
        tails_bytes: TAILS_BYTES,
    };
    document.suite(suite)?;
    let mut bytes = document.writer.into_inner();
    bytes.push(b'\n');
    Ok(bytes)
}

/// One `testcase`: a repetition of a test, with all its tries.
struct Case<'a> {
    name: String,
    verdict: Verdict,
    /// The last is what the case is about.
    attempts: Vec<&'a AttemptResults>,
}

/// How a case counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CaseKind {
    Success,
    Skipped,
    /// The test did something wrong.
    Failure,
    /// Something else prevented it from showing whether it does.
    Error,
}

impl CaseKind {
    fn of(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Passed | Verdict::Flaky => Self::Success,
            Verdict::Skipped => Self::Skipped,
            Verdict::Aborted | Verdict::NotStarted | Verdict::HostOutOfMemory => Self::Error,
            _ => Self::Failure,
        }
    }

    fn element(self, prefix: Option<&str>) -> Option<&'static str> {
        Some(match (self, prefix) {
            (Self::Success | Self::Skipped, _) => return None,
            (Self::Failure, None) => "failure",
            (Self::Failure, Some("flaky")) => "flakyFailure",
            (Self::Failure, Some(_)) => "rerunFailure",
            (Self::Error, None) => "error",
            (Self::Error, Some("flaky")) => "flakyError",
            (Self::Error, Some(_)) => "rerunError",
        })
    }
}

fn cases(tests: &[TestResults]) -> Vec<Case<'_>> {
    let mut cases = Vec::new();
    // Two cases of one name are one for GitLab. A test may have the name of a repetition of another.
    let mut names: HashSet<String> = tests.iter().map(|test| text(&test.name)).collect();
    for test in tests {
        for (repetition, (verdict, attempts)) in test.repetitions() {
            let name = match repetition {
                0 | 1 => test.name.clone(),
                repetition => {
                    let name = format!("{} [{repetition}]", test.name);
                    let others = (2_u32..).map(|number| format!("{name} ({number})"));
                    let free = |name: &String| names.insert(text(name));
                    std::iter::once(name.clone()).chain(others).find(free).unwrap_or(name)
                }
            };
            cases.push(Case { name, verdict, attempts });
        }
    }
    cases
}

struct Document<'a> {
    writer: Writer<Vec<u8>>,
    directory: &'a Path,
    working_directory: &'a Path,
    profile: Profile,
    /// Bytes of streams that may still be written.
    tails_bytes: u64,
}

impl Document<'_> {
    fn suite(&mut self, suite: &SuiteResult) -> io::Result<()> {
        let results = &suite.results;
        let cases = cases(&results.tests);
        let count = |kind| cases.iter().filter(|case| CaseKind::of(case.verdict) == kind).count();
        // If every test was skipped, the suite would look as if all had passed.
        let aborted = suite.aborted.filter(|_| results.outcome == SuiteOutcome::Aborted);
        let tests = (cases.len() + usize::from(aborted.is_some())).to_string();
        let errors = (count(CaseKind::Error) + usize::from(aborted.is_some())).to_string();
        let failures = count(CaseKind::Failure).to_string();
        let skipped = count(CaseKind::Skipped).to_string();
        let time = seconds(results.duration_ns);
        let name = text(&results.suite);
        self.writer.write_event(Xml::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
        let totals = [
            ("name", name.as_str()),
            ("tests", &tests),
            ("failures", &failures),
            ("errors", &errors),
            ("time", &time),
        ];
        self.open("testsuites", &totals)?;
        let timestamp = results.started.map(|started| {
            // Without a zone, since Jenkins reads it as UTC so and refuses some with one.
            started.strftime("%Y-%m-%dT%H:%M:%S").to_string()
        });
        let mut attributes = totals.to_vec();
        attributes.push(("skipped", &skipped));
        let host = results.origin.host.as_deref().map(text);
        attributes.extend(host.as_ref().map(|host| ("hostname", host.as_str())));
        attributes.extend(timestamp.as_ref().map(|timestamp| ("timestamp", timestamp.as_str())));
        self.open("testsuite", &attributes)?;
        self.suite_properties(suite, &cases)?;
        for case in &cases {
            self.case(&name, case)?;
        }
        let failed: Vec<&StepResult> =
            results.steps.iter().filter(|step| step.outcome != Verdict::Passed).collect();
        let mut told = self.steps(&failed);
        if let Some(aborted) = aborted {
            self.open("testcase", &[("name", "(the suite)"), ("classname", &name)])?;
            let setup = failed.iter().find(|_| aborted == Abort::Setup);
            let message = setup.map_or_else(|| wording::abort(aborted), |step| step.sentence());
            self.leaf("error", &[("type", "aborted"), ("message", &message)], &message)?;
            if let Some((lines, attached)) = told.take() {
                self.system_out(&lines, &attached)?;
            }
            self.close("testcase")?;
        }
        if let Some((lines, attached)) = told {
            self.system_out(&lines, &attached)?;
        }
        self.close("testsuite")?;
        self.close("testsuites")
    }

    fn suite_properties(&mut self, suite: &SuiteResult, cases: &[Case]) -> io::Result<()> {
        self.open("properties", &[])?;
        self.property("memsample_version", env!("CARGO_PKG_VERSION"))?;
        self.property("outcome", suite.results.outcome.word())?;
        if let Some(aborted) = suite.aborted {
            self.property("aborted", &wording::abort(aborted))?;
        }
        let origin = &suite.results.origin;
        for (name, value) in [("kernel", &origin.kernel), ("commit", &origin.commit)] {
            if let Some(value) = value {
                self.property(name, value)?;
            }
        }
        for (key, value) in &origin.labels {
            self.property(&format!("label {key}"), value)?;
        }
        for note in &suite.results.notes {
            self.property("note", note)?;
        }
        // In the other profile each case has its own.
        let cases = if self.profile == Profile::Jenkins { cases } else { &[] };
        for case in cases {
            let Some(ended) = case.attempts.last().map(|attempt| &attempt.ended) else { continue };
            for (key, value) in measured(ended) {
                self.property(&format!("{key} {}", case.name), &value)?;
            }
        }
        self.close("properties")
    }

    fn case(&mut self, classname: &str, case: &Case) -> io::Result<()> {
        let Some(result) = case.attempts.last().map(|attempt| &attempt.ended) else {
            return Ok(());
        };
        let time = seconds(result.duration_ns.unwrap_or(0));
        let name = text(&case.name);
        self.open("testcase", &[("name", &name), ("classname", classname), ("time", &time)])?;
        if self.profile == Profile::Extended {
            self.open("properties", &[])?;
            self.property("outcome", case.verdict.word())?;
            self.property("sandbox", result.sandbox.as_deref().unwrap_or_default())?;
            for (key, value) in measured(result) {
                self.property(key, &value)?;
            }
            self.close("properties")?;
        }
        let kind = CaseKind::of(case.verdict);
        let message = message(case.verdict, result);
        let attributes = [("type", case.verdict.word()), ("message", message.as_str())];
        match kind.element(None) {
            Some(element) => self.leaf(element, &attributes, &explanation(result))?,
            None if kind == CaseKind::Skipped => self.leaf("skipped", &attributes, "")?,
            None => {}
        }
        let prefix = if kind == CaseKind::Success { "flaky" } else { "rerun" };
        for earlier in case.attempts.iter().rev().skip(1).rev() {
            if let Some(element) = CaseKind::of(earlier.ended.outcome).element(Some(prefix)) {
                let message = earlier.failure();
                let verdict = earlier.ended.outcome.word();
                let attributes = [("type", verdict), ("message", message.as_str())];
                self.leaf(element, &attributes, &explanation(&earlier.ended))?;
            }
        }
        let is_told = matches!(kind, CaseKind::Failure | CaseKind::Error);
        let [stdout, stderr] =
            self.streams([result.stdout.as_deref(), result.stderr.as_deref()], is_told);
        let mut out = wording::memory_lines(result.memory.as_ref(), &result.roles);
        out.extend(wording::group_lines(result.group.as_ref()));
        out.extend(result.budgets.iter().map(wording::budget));
        out.extend(result.leaks.iter().map(wording::leak));
        out.extend(result.notes.iter().map(|note| format!("note: {note}")));
        out.extend(stdout);
        let files = [&result.stdout, &result.stderr].into_iter().flatten();
        let files = files.chain(&result.artifacts).chain(&result.kept).filter(|_| is_told);
        let attached: Vec<String> =
            files.filter_map(|path| self.attachment(Path::new(path))).collect();
        self.system_out(&out, &attached)?;
        if let Some(stderr) = stderr {
            self.leaf("system-err", &[], &stderr)?;
        }
        self.close("testcase")
    }

    /// Returns what is written of the two streams: the end for a test that did not succeed, as long as
    /// there is room, and where the whole is.
    fn streams(&mut self, paths: [Option<&str>; 2], is_told: bool) -> [Option<String>; 2] {
        let directory = self.directory;
        let [stdout, stderr] = paths;
        [("stdout", stdout), ("stderr", stderr)].map(|(name, path)| {
            let path = path?;
            let max_bytes = if is_told { TAIL_BYTES.min(self.tails_bytes) } else { 0 };
            let tail = OutputTail::read(&directory.join(path), max_bytes);
            let Some(tail) = tail else {
                // Of the error stream there is nothing to say then.
                return (name == "stdout").then(|| format!("{name}: {path}"));
            };
            self.tails_bytes = self.tails_bytes.saturating_sub(tail.text.len() as u64);
            let before = match tail.before_bytes {
                0 => String::new(),
                bytes => format!(", of which {} come before this", rounded_size(bytes)),
            };
            Some(format!("{name}: {path}{before}\n{}", tail.text.trim_end()))
        })
    }

    /// Returns what is told of steps of the suite that failed, and the lines by which their files are found.
    fn steps(&mut self, failed: &[&StepResult]) -> Option<(Vec<String>, Vec<String>)> {
        let (mut lines, mut attached) = (Vec::new(), Vec::new());
        for step in failed {
            lines.push(step.sentence());
            let paths = [&step.stdout, &step.stderr].map(|path| path.as_deref()?.to_str());
            lines.extend(self.streams(paths, true).into_iter().flatten());
            let files = paths.into_iter().flatten();
            attached.extend(files.filter_map(|path| self.attachment(Path::new(path))));
        }
        (!failed.is_empty()).then_some((lines, attached))
    }

    /// Writes lines, and behind them those by which CI servers find files.
    fn system_out(&mut self, lines: &[String], attached: &[String]) -> io::Result<()> {
        let mut content = text(&lines.join("\n"));
        for line in attached {
            content.push('\n');
            content.push_str(line);
        }
        let element = self.writer.create_element("system-out");
        if content.is_empty() {
            return element.write_empty().map(drop);
        }
        element.write_text_content(BytesText::new(&content)).map(drop)
    }

    /// Returns the line by which Jenkins and GitLab find a file that belongs to a test.
    fn attachment(&self, path: &Path) -> Option<String> {
        let path = self.directory.join(path);
        let path = path.strip_prefix(self.working_directory).unwrap_or(&path).to_str()?;
        let fits = !path.contains("]]") && !path.contains("[[") && !path.contains(is_forbidden);
        fits.then(|| format!("{ATTACHMENT}{path}]]"))
    }

    fn property(&mut self, name: &str, value: &str) -> io::Result<()> {
        let (name, value) = (text(name), text(value));
        let element = self.writer.create_element("property");
        element
            .with_attributes([("name", name.as_str()), ("value", value.as_str())])
            .write_empty()
            .map(drop)
    }

    /// Writes an element that holds text, or nothing.
    fn leaf(&mut self, name: &str, attributes: &[(&str, &str)], content: &str) -> io::Result<()> {
        let attributes: Vec<(&str, String)> =
            attributes.iter().map(|(name, value)| (*name, text(value))).collect();
        let attributes = attributes.iter().map(|(name, value)| (*name, value.as_str()));
        let element = self.writer.create_element(name).with_attributes(attributes);
        match text(content) {
            content if content.is_empty() => element.write_empty().map(drop),
            content => element.write_text_content(BytesText::new(&content)).map(drop),
        }
    }

    fn open(&mut self, name: &str, attributes: &[(&str, &str)]) -> io::Result<()> {
        let start = quick_xml::events::BytesStart::new(name);
        self.writer.write_event(Xml::Start(start.with_attributes(attributes.iter().copied())))
    }

    fn close(&mut self, name: &str) -> io::Result<()> {
        self.writer.write_event(Xml::End(quick_xml::events::BytesEnd::new(name)))
    }
}

/// Returns what was measured, with the keys of `results.json`.
fn measured(result: &EndResults) -> Vec<(&'static str, String)> {
    let mut measured = result.memory.as_ref().map(peaks).unwrap_or_default();
    let group = result.group.as_ref();
    let of_group = [
        ("group_peak_bytes", group.and_then(|group| group.group_peak_bytes)),
        ("group_peak_bytes_upper", group.and_then(|group| group.group_peak_bytes_upper)),
        ("shmem_peak_bytes", group.and_then(|group| group.shmem_peak_bytes)),
        ("shmem_peak_bytes_upper", group.and_then(|group| group.shmem_peak_bytes_upper)),
        ("group_cpu_ns", group.and_then(|group| group.group_cpu_ns)),
    ];
    measured
        .extend(of_group.into_iter().filter_map(|(key, value)| Some((key, value?.to_string()))));
    measured
}

/// Returns what is known of the peaks, with the keys of `results.json`.
fn peaks(memory: &Memory) -> Vec<(&'static str, String)> {
    let bounds = [
        ("rss_peak_bytes", "rss_peak_bytes_upper", memory.rss_peak()),
        ("anon_peak_bytes", "anon_peak_bytes_upper", memory.anon_peak()),
    ];
    let mut peaks = Vec::new();
    for (lower_key, upper_key, peak) in bounds {
        let Some(BoundedBytes { lower, upper }) = peak else { continue };
        peaks.push((lower_key, lower.to_string()));
        peaks.extend(upper.map(|bytes| (upper_key, bytes.to_string())));
    }
    let pss = [
        ("pss_peak_bytes", memory.pss_peak_bytes),
        ("pss_peak_bytes_upper", memory.pss_peak_bytes_upper),
        ("pss_peak_rss_bytes", memory.pss_peak_rss_bytes),
        ("pss_peak_covered_bytes", memory.pss_peak_covered_bytes),
        ("pss_peak_age_ms", memory.pss_peak_age_ms),
    ];
    peaks.extend(pss.into_iter().filter_map(|(key, value)| Some((key, value?.to_string()))));
    let growth = memory.growth_bytes_per_minute;
    peaks.extend(growth.map(|growth| ("growth_bytes_per_minute", growth.to_string())));
    peaks
}

/// Formats a length of time in seconds, with three digits behind the point.
fn seconds(nanoseconds: u64) -> String {
    format!("{:.3}", Duration::from_nanos(nanoseconds).as_secs_f64())
}

/// Says in a few lines what a person needs who sees only this.
fn explanation(result: &EndResults) -> String {
    let why = result.why().map_or(String::new(), |why| format!(": {why}"));
    let mut lines = vec![format!("{}{why}", result.outcome.word())];
    for left in &result.left_over_processes {
        let rss = left.rss_bytes.map_or("RSS unknown".to_owned(), rounded_size);
        let comm = printable(&left.comm);
        lines.push(format!("left behind: {comm} ({}), {rss}", left.pid));
    }
    lines.join("\n")
}

/// Returns the first thing that a reader sees of a test that did not succeed: the line of its output that says why, or
/// else what the runner knows.
fn message(verdict: Verdict, result: &EndResults) -> String {
    let line = result.message.clone().filter(|_| verdict == Verdict::Failed);
    line.or_else(|| result.why()).unwrap_or_else(|| verdict.word().to_owned())
}

/// Returns whether a character cannot be in the name of a file that a CI server shall find.
fn is_forbidden(char: char) -> bool {
    char.is_control() || is_no_xml(char)
}

fn is_no_xml(char: char) -> bool {
    !matches!(char, '\t' | '\n' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// Returns text with which XML can do something: what it forbids is replaced.
///
/// What a test prints, or is called, must not make a CI server publish a file of its machine.
fn text(text: &str) -> String {
    let allowed = |char| if is_no_xml(char) { char::REPLACEMENT_CHARACTER } else { char };
    let text: String = text.chars().map(allowed).collect();
    text.replace(ATTACHMENT, "[[ATTACHMENT :")
}
