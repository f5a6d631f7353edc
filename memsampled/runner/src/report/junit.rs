//! `junit.xml`: what CI servers read. Valid against the schema that Jenkins' xUnit plugin checks
//! (`junit-10.xsd`), unless the extended profile is asked for.

use std::io;
use std::path::Path;
use std::time::Duration;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event as Xml};

use memsample_input::{printable, rounded_size};

use super::collector::SuiteResult;
use super::output_tail::OutputTail;
use crate::results::wording;
use crate::results::{
    AttemptResults, BoundedBytes, EndResults, Memory, SuiteOutcome, TestResults, Verdict,
};

/// The name of the file in the directory of results.
pub const FILE: &str = "junit.xml";
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
/// Reads the end of what tests that did not succeed have written, from the directory of results.
///
/// # Errors
///
/// None is known: it is written to memory.
pub fn xml(suite: &SuiteResult, profile: Profile) -> io::Result<Vec<u8>> {
    let mut document = Document {
        writer: Writer::new_with_indent(Vec::new(), b' ', 2),
        directory: &suite.directory,
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
    for test in tests {
        for (repetition, (verdict, attempts)) in test.repetitions() {
            // Two cases of one name are one for GitLab.
            let name = match repetition {
                0 | 1 => test.name.clone(),
                repetition => format!("{} [{repetition}]", test.name),
            };
            cases.push(Case { name, verdict, attempts });
        }
    }
    cases
}

struct Document<'a> {
    writer: Writer<Vec<u8>>,
    directory: &'a Path,
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
        attributes.extend(timestamp.as_ref().map(|timestamp| ("timestamp", timestamp.as_str())));
        self.open("testsuite", &attributes)?;
        self.suite_properties(suite, &cases)?;
        for case in &cases {
            self.case(&name, case)?;
        }
        if let Some(aborted) = aborted {
            self.open("testcase", &[("name", "(the suite)"), ("classname", &name)])?;
            let message = wording::abort(aborted);
            self.leaf("error", &[("type", "aborted"), ("message", &message)], &message)?;
            self.close("testcase")?;
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
        for note in &suite.results.notes {
            self.property("note", note)?;
        }
        for case in cases {
            let memory = case.attempts.last().and_then(|attempt| attempt.ended.memory.as_ref());
            for (key, value) in memory.map(peaks).unwrap_or_default() {
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
            for (key, value) in result.memory.as_ref().map(peaks).unwrap_or_default() {
                self.property(key, &value)?;
            }
            self.close("properties")?;
        }
        let kind = CaseKind::of(case.verdict);
        let message = result.reason.as_deref().unwrap_or(case.verdict.word());
        let attributes = [("type", case.verdict.word()), ("message", message)];
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
        let [stdout, stderr] = self.streams(result, kind);
        let mut out = wording::memory_lines(result.memory.as_ref(), &result.roles);
        out.extend(result.budgets.iter().map(wording::budget));
        out.extend(result.notes.iter().map(|note| format!("note: {note}")));
        out.extend(stdout);
        if !matches!(kind, CaseKind::Success | CaseKind::Skipped) {
            let files = [&result.stdout, &result.stderr].into_iter().flatten();
            let files = files.chain(&result.artifacts).chain(&result.kept);
            out.extend(files.filter_map(|path| attachment(&self.directory.join(path))));
        }
        self.leaf("system-out", &[], &out.join("\n"))?;
        if let Some(stderr) = stderr {
            self.leaf("system-err", &[], &stderr)?;
        }
        self.close("testcase")
    }

    /// Returns what is written of the two streams: the end for a test that did not succeed, as long as
    /// there is room, and where the whole is.
    fn streams(&mut self, result: &EndResults, kind: CaseKind) -> [Option<String>; 2] {
        let directory = self.directory;
        [("stdout", &result.stdout), ("stderr", &result.stderr)].map(|(name, path)| {
            let path = path.as_ref()?;
            let max_bytes = match kind {
                CaseKind::Failure | CaseKind::Error => TAIL_BYTES.min(self.tails_bytes),
                CaseKind::Success | CaseKind::Skipped => 0,
            };
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
    let why = result.reason.as_ref().map_or(String::new(), |why| format!(": {why}"));
    let mut lines = vec![format!("{}{why}", result.outcome.word())];
    for left in &result.left_over_processes {
        let rss = left.rss_bytes.map_or("RSS unknown".to_owned(), rounded_size);
        let comm = printable(&left.comm);
        lines.push(format!("left behind: {comm} ({}), {rss}", left.pid));
    }
    lines.extend(wording::memory_lines(result.memory.as_ref(), &result.roles));
    lines.join("\n")
}

/// Returns the line by which Jenkins and GitLab find a file that belongs to a test.
fn attachment(path: &Path) -> Option<String> {
    let path = path.to_str()?;
    let fits = !path.contains("]]") && !path.contains(char::is_control);
    fits.then(|| format!("[[ATTACHMENT|{path}]]"))
}

/// Returns text with which XML can do something: what it forbids is replaced.
fn text(text: &str) -> String {
    let allowed = |char: char| match char {
        '\t' | '\n' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'.. => char,
        _ => char::REPLACEMENT_CHARACTER,
    };
    text.chars().map(allowed).collect()
}
