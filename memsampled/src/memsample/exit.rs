//! The exit codes of the command. They are part of its interface: see docs/commands.md.

use std::fmt;

use memsample::{RecordError, is_disk_full};
use memsample_client::wire::End;
use memsample_inherited::{advice, tell};
#[cfg(feature = "devices")]
use memsample_remote::RemoteError;
use memsample_runner::plan::NoSuchTest;
use memsample_runner::run::RunError;
use memsample_runner::suite::SuiteError;

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExitCode(u8);

impl ExitCode {
    /// The command succeeded.
    pub(crate) const SUCCESS: Self = Self(0);
    /// Something failed; the message says what.
    pub(crate) const FAILURE: Self = Self(1);
    /// An argument is wrong. The parser of arguments uses the same code.
    pub(crate) const WRONG_USAGE: Self = Self(2);
    /// The disk or the quota was full. What was written before is kept.
    pub(crate) const DISK_FULL: Self = Self(4);
    /// The recording could not be written for another reason, or not be continued. What was written before is kept.
    pub(crate) const WRITE_FAILED: Self = Self(5);
    /// A test of the suite did not pass.
    pub(crate) const TESTS_FAILED: Self = Self(10);
    /// The suite was aborted by a signal, its timeout or its setup.
    pub(crate) const SUITE_ABORTED: Self = Self(11);
    /// The suite or the policy is invalid.
    pub(crate) const SUITE_INVALID: Self = Self(12);
    /// No test of the suite is selected.
    pub(crate) const NO_TESTS: Self = Self(13);
    /// A test got worse from the base to the head.
    pub(crate) const WORSE: Self = Self(20);
    /// Something leaks memory.
    pub(crate) const LEAKS: Self = Self(20);
    /// No test is known to have got worse, and some are suspect.
    pub(crate) const SUSPECTS: Self = Self(21);
    /// This program failed, and not the command that it was to run: as `env`, `timeout` and `docker` have it.
    pub(crate) const OWN_FAILURE: Self = Self(125);
    /// The command to record could not be executed.
    pub(crate) const COMMAND_NOT_EXECUTABLE: Self = Self(126);
    /// The command to record was not found.
    pub(crate) const COMMAND_NOT_FOUND: Self = Self(127);

    /// Returns the code of a recorded command: its own, or 128 and its signal.
    pub(crate) fn of_command(code: i32) -> Self {
        Self(u8::try_from(code).unwrap_or(u8::MAX))
    }

    /// Ends this program at once.
    pub(crate) fn exit(self) -> ! {
        std::process::exit(self.0.into())
    }

    /// Returns the worse of two codes: of a device that told nothing, nothing is known.
    #[cfg(feature = "devices")]
    pub(crate) fn or_worse(self, other: Self) -> Self {
        const ORDER: [ExitCode; 6] = [
            ExitCode::SUCCESS,
            ExitCode::TESTS_FAILED,
            ExitCode::NO_TESTS,
            ExitCode::SUITE_INVALID,
            ExitCode::SUITE_ABORTED,
            ExitCode::WRITE_FAILED,
        ];
        let rank = |code: Self| ORDER.iter().position(|it| *it == code).unwrap_or(ORDER.len());
        if rank(other) > rank(self) { other } else { self }
    }

    /// Returns this code, or another one in place of success: what was done counts more than how it was told.
    pub(crate) fn unless_success(self, other: Self) -> Self {
        if self == Self::SUCCESS { other } else { self }
    }

    /// Returns this code of what was done, also where it could not be told: that is an error only in place of success,
    /// and is said in any case.
    pub(crate) fn if_told(self, told: anyhow::Result<()>) -> anyhow::Result<Self> {
        match told {
            Err(error) if self == Self::SUCCESS => Err(error),
            Err(error) => {
                tell(format!("error: {error:#}"));
                Ok(self)
            }
            Ok(()) => Ok(self),
        }
    }

    /// The same of several things to be told: of more than one error the first is returned, and each other is said.
    pub(crate) fn if_both_told(
        self,
        told: anyhow::Result<()>,
        then: anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        match (told, then) {
            (Err(first), Err(then)) => {
                tell(format!("error: {then:#}"));
                self.if_told(Err(first))
            }
            (told, then) => self.if_told(told.and(then)),
        }
    }

    /// Returns the code for why a recording ended.
    pub(crate) fn of_end(end: Option<&End>) -> Self {
        match end {
            Some(End::DiskFull) => Self::DISK_FULL,
            Some(End::WriteFailed(_) | End::SamplingFailed(_)) => Self::WRITE_FAILED,
            _ => Self::SUCCESS,
        }
    }

    /// Returns the code for an error.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        if error.is::<SuiteError>() || error.is::<NoSuite>() {
            return Self::SUITE_INVALID;
        }
        if error.is::<Interrupted>() {
            return Self::SUITE_ABORTED;
        }
        if error.is::<WrongUsage>() {
            return Self::WRONG_USAGE;
        }
        if error.is::<NoTests>() || error.is::<NoSuchTest>() {
            return Self::NO_TESTS;
        }
        #[cfg(feature = "devices")]
        match error.downcast_ref() {
            Some(RemoteError::Stopped) => return Self::SUITE_ABORTED,
            Some(RemoteError::Here(_, error)) if is_disk_full(error) => return Self::DISK_FULL,
            _ => {}
        }
        // A file could not be written, whatever it was for.
        if error.chain().any(|cause| cause.downcast_ref().is_some_and(is_disk_full)) {
            return Self::DISK_FULL;
        }
        let record = match error.downcast_ref() {
            Some(RunError::Record(error)) => Some(error),
            _ => error.downcast_ref(),
        };
        match record {
            Some(RecordError::Options(_)) => Self::WRONG_USAGE,
            Some(RecordError::Close(..)) => Self::WRITE_FAILED,
            _ => Self::FAILURE,
        }
    }
}

impl From<ExitCode> for i32 {
    fn from(code: ExitCode) -> Self {
        code.0.into()
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.0)
    }
}

/// Returns an error with its causes, and with what to do about a limit that was reached.
pub(crate) fn with_advice(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    match advice(&text) {
        Some(advice) => format!("{text}; {advice}"),
        None => text,
    }
}

/// An argument is wrong, which only the command itself can tell, and not the parser of arguments.
#[derive(Debug)]
pub(crate) struct WrongUsage(pub(crate) String);

impl fmt::Display for WrongUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WrongUsage {}

/// A signal arrived before the first test.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted by a signal while the tests were being listed")
    }
}

impl std::error::Error for Interrupted {}

/// No suite is named, and there is none where one is looked for.
#[derive(Debug)]
pub(crate) struct NoSuite;

impl fmt::Display for NoSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "there is no `suite.toml` in this directory: give the path of a suite file, or of a directory in UTAH's \
             format",
        )
    }
}

impl std::error::Error for NoSuite {}

/// No test of the suite is selected, which is rarely intended.
#[derive(Debug)]
pub(crate) struct NoTests;

impl fmt::Display for NoTests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "no test of the suite is selected: check -k, --filter and --tag, and see --dry-run",
        )
    }
}

impl std::error::Error for NoTests {}
