//! What a command of `record` or `session` used: its processes as one test.

use std::fmt::Write as _;

use anyhow::Context;
use memsample::analysis::{
    LargestProcess, TestUsage, largest_processes_of_test, launched_command, test_usages,
};
use memsample::{Recording, Scope};
use memsample_input::{count, cut, printable, rounded_size};
use serde::Serialize;

/// The test to which the processes of a recorded command belong, and the name of its marks.
pub(crate) const COMMAND_TEST: &str = "command";

/// Characters of the command that a person sees.
const MAX_COMMAND_CHARS: usize = 48;
/// Characters of the name of a process.
const MAX_NAME_CHARS: usize = 16;

/// What a command and its descendants used. Its keys are part of the interface: see docs/commands.md.
#[derive(Debug, Serialize)]
pub(crate) struct CommandUsage {
    /// The command, as far as arguments are recorded.
    command: Option<CommandArguments>,
    exit_code: Option<i32>,
    seconds: f64,
    cpu_seconds: Option<f64>,
    /// Processes, and those of them that are known only by their exit record.
    processes: u64,
    unsampled: u64,
    /// The peak of the sum of the resident sets.
    rss_peak_lower_bytes: Option<u64>,
    rss_peak_upper_bytes: Option<u64>,
    /// The largest image without an upper bound, of which one leaves the peak without one.
    unbounded_image: Option<String>,
    unbounded_image_bytes: Option<u64>,
    /// The peak of the sum of PSS, as of a test: see docs/peaks.md.
    pss_peak_bytes: Option<u64>,
    /// The sum of the resident sets then, and the part of it that was read.
    pss_peak_rss_bytes: Option<u64>,
    pss_peak_covered_bytes: Option<u64>,
    /// The age of the oldest reading then.
    pss_peak_age_ms: Option<u64>,
    /// Why there is none.
    pss_missing: Option<String>,
    /// Whether the recording is limited to other processes.
    #[serde(skip)]
    is_elsewhere: bool,
    /// Its first process, and then the largest.
    #[serde(skip)]
    pub(crate) largest: Vec<LargestProcess>,
}

/// The arguments of a command as the recording has them.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum CommandArguments {
    /// Of `record`, one by one.
    Each(Vec<String>),
    /// Of `session`, with a space between them, as `processes.cmdline` has them.
    Joined(String),
}

impl CommandUsage {
    /// Returns what the command of a recording used, with its `top` largest processes; `None` if it has none.
    pub(crate) fn of(recording: &Recording, top: usize) -> anyhow::Result<Option<Self>> {
        const FAILED: &str = "cannot read what the command used";
        let manifest = recording.manifest();
        let Some(command) = manifest.provenance.settings.command.clone() else {
            let launched = launched_command(recording, top).context(FAILED)?;
            return Ok(launched.map(|launched| Self {
                exit_code: launched.exit_code,
                largest: launched.processes,
                ..Self::new(
                    recording,
                    launched.cmdline.map(CommandArguments::Joined),
                    launched.usage,
                )
            }));
        };
        let usages = test_usages(recording).context(FAILED)?;
        let Some(usage) = usages.into_iter().find(|usage| usage.test == COMMAND_TEST) else {
            return Ok(None);
        };
        let largest = largest_processes_of_test(recording, COMMAND_TEST, top).context(FAILED)?;
        let command = Some(CommandArguments::Each(command));
        Ok(Some(Self { largest, ..Self::new(recording, command, usage) }))
    }

    fn new(recording: &Recording, command: Option<CommandArguments>, usage: TestUsage) -> Self {
        let manifest = recording.manifest();
        let (pss, unbounded) = (usage.pss, usage.unbounded_image);
        Self {
            command,
            exit_code: manifest.command_exit_code,
            seconds: usage.end.duration_since(usage.begin).as_secs_f64(),
            cpu_seconds: usage.cpu_ns.map(|ns| ns as f64 / 1e9),
            processes: usage.processes,
            unsampled: usage.unsampled,
            rss_peak_lower_bytes: usage.rss.map(|rss| rss.lower.bytes),
            rss_peak_upper_bytes: usage.rss.and_then(|rss| rss.upper).map(|upper| upper.bytes),
            unbounded_image_bytes: unbounded.as_ref().map(|image| image.bytes),
            unbounded_image: unbounded.map(|image| image.comm),
            pss_peak_bytes: pss.map(|pss| pss.bytes),
            pss_peak_rss_bytes: pss.map(|pss| pss.rss_bytes),
            pss_peak_covered_bytes: pss.map(|pss| pss.covered_bytes),
            pss_peak_age_ms: pss.map(|pss| pss.age_ms),
            pss_missing: usage.pss_missing.map(|reason| reason.to_string()),
            is_elsewhere: manifest.provenance.settings.target != Scope::Machine,
            largest: Vec::new(),
        }
    }

    /// Returns the lines that a person reads.
    pub(crate) fn text(&self) -> String {
        let command = match &self.command {
            Some(CommandArguments::Each(arguments)) => {
                shlex::try_join(arguments.iter().map(String::as_str))
                    .unwrap_or_else(|_| arguments.join(" "))
            }
            Some(CommandArguments::Joined(line)) => line.clone(),
            // It ended before anybody could read them, or they are left out.
            None => match self.largest.first() {
                Some(first) => format!("{} (its arguments are not known)", first.comm),
                None => "its arguments are not known".to_owned(),
            },
        };
        let mut text = format!("command: {}\n", printable(&cut(&command, MAX_COMMAND_CHARS)));
        let code = match self.exit_code {
            Some(code @ 129..) => format!("exit code {code} (signal {})", code - 128),
            Some(code) => format!("exit code {code}"),
            None => "exit code not known".to_owned(),
        };
        // Writing to a string cannot fail.
        let _ = write!(text, "{code} after {:.2} s", self.seconds);
        if self.processes == 0 {
            let why = match self.is_elsewhere {
                true => "the recording is limited to others",
                false => "none lived at a tick, and the kernel reported no exit of one",
            };
            let _ = writeln!(text, "; its processes were not recorded: {why}");
            return text;
        }
        if let Some(seconds) = self.cpu_seconds {
            let _ = write!(text, ", {seconds:.2} s of CPU");
        }
        let _ = write!(text, "\n{}", count(self.processes, "process"));
        if self.unsampled > 0 {
            let _ = write!(text, ", {} of them too short-lived to be sampled", self.unsampled);
        }
        let _ = writeln!(text, "\npeak RSS {} together", self.peak());
        if let Some((comm, bytes)) = self.unbounded() {
            let comm = printable(&cut(comm, MAX_NAME_CHARS));
            let _ = match bytes {
                0 => writeln!(
                    text,
                    "  ≥: at least; what ran before `{comm}` in the same process was never looked at"
                ),
                bytes => writeln!(
                    text,
                    "  ≥: at least; nothing bounds `{comm}`, of which {} were seen",
                    rounded_size(bytes)
                ),
            };
        }
        let _ = writeln!(text, "peak PSS {}", self.pss());
        text
    }

    fn peak(&self) -> String {
        match (
            self.rss_peak_lower_bytes.map(rounded_size),
            self.rss_peak_upper_bytes.map(rounded_size),
        ) {
            (Some(lower), Some(upper)) if lower == upper => lower,
            (Some(lower), Some(upper)) => format!("{lower} to {upper}"),
            (Some(lower), None) => format!("≥{lower}"),
            (None, _) => "-".to_owned(),
        }
    }

    /// Returns the image that leaves the peak without an upper bound.
    fn unbounded(&self) -> Option<(&str, u64)> {
        self.unbounded_image.as_deref().zip(self.unbounded_image_bytes)
    }

    fn pss(&self) -> String {
        match (self.pss_peak_bytes, self.pss_peak_rss_bytes, self.pss_peak_age_ms) {
            (Some(bytes), Some(rss_bytes), Some(age_ms)) => {
                let (bytes, rss) = (rounded_size(bytes), rounded_size(rss_bytes));
                match age_ms {
                    0 => format!("{bytes} at an RSS of {rss}"),
                    _ => format!(
                        "{bytes} at an RSS of {rss} (read up to {:.1} s before)",
                        age_ms as f64 / 1000.0
                    ),
                }
            }
            _ => format!("-: {}", self.pss_missing.as_deref().unwrap_or("it is not known")),
        }
    }
}
