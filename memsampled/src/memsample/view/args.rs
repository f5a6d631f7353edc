//! The options of `memsample view`.

use std::path::PathBuf;

use clap::ValueEnum;
use memsample::view::{self, At};
use regex::Regex;

use crate::config_args::ConfigArgs;
use crate::instant::parse_at;
use crate::json_output::JsonArgs;
use crate::pattern;

/// Show the memory of every process, now or at an instant of a recording
///
/// Prints processes; sums over the processes of a user, control group or role; what processes map; or
/// the areas of the machine's memory. The largest come first. RSS counts shared pages in full for every
/// process, so only PSS adds up. Unknown values are `-`, in JSON null and in CSV empty; a sum that lacks a
/// process is marked with ≥.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    memsample view --by user --totals\n  \
    memsample view --columns pid,role,pss,command --sort rss --filter cargo\n  \
    memsample view --by mapping --filter '^python3' | head\n  \
    memsample view recordings/nightly --at 12.5s --by role\n  \
    memsample view --json | jq 'map(select(.pss_bytes > 100e6))'")]
pub(crate) struct ViewArgs {
    /// Directory or name of a recording, `@latest`, or the results of a run: see `memsample ls` [default: this
    /// machine, now]
    #[arg(value_name = "RECORDING")]
    pub(crate) recording: Option<PathBuf>,

    /// Instant of the recording: a time such as 2026-11-22T20:59:38.281Z, or the time since its first
    /// tick, such as 12.5s. Shows the last tick that is not later [default: the last tick]
    #[arg(long, value_name = "TIME", requires = "recording", value_parser = parse_at)]
    pub(crate) at: Option<At>,

    /// Show only what was read at that very tick. Otherwise PSS, USS and details that were not read at it are
    /// shown as they were last read, with their age
    #[arg(long, requires = "recording")]
    pub(crate) exact: bool,

    /// What to print one row for
    #[arg(long, value_name = "WHAT", default_value = "process")]
    pub(crate) by: By,

    /// Columns to print, separated by commas; an unknown name prints the list of columns
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) columns: Option<Vec<String>>,

    /// Column to sort by: numbers largest first, text from A to Z, unknown values last [default: pss,
    /// and rss for rows whose PSS is not known]
    #[arg(long, value_name = "COLUMN")]
    pub(crate) sort: Option<String>,

    /// Reverse the order
    #[arg(long)]
    pub(crate) reverse: bool,

    /// Show only processes whose name or command line matches; this program is left out
    #[arg(long, value_name = "REGEX", value_parser = pattern::parse)]
    pub(crate) filter: Option<Regex>,

    /// Show only processes of this user, by name or number
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,

    /// Print a last row with the sums
    #[arg(long, conflicts_with_all = ["json", "csv"])]
    pub(crate) totals: bool,

    /// Print sizes as shares of the machine's memory, and swap as shares of its swap space
    #[arg(long, conflicts_with_all = ["json", "csv", "bytes"])]
    pub(crate) percent: bool,

    /// Print sizes in bytes, as JSON and CSV always do
    #[arg(long)]
    pub(crate) bytes: bool,

    #[command(flatten)]
    pub(crate) json: JsonArgs,

    /// Print comma-separated values
    #[arg(long, conflicts_with = "json")]
    pub(crate) csv: bool,

    #[command(flatten)]
    pub(crate) config: ConfigArgs,

    /// Read another /proc tree: a mount elsewhere, or a captured copy
    #[arg(long, value_name = "ROOT", default_value = "/proc", conflicts_with = "recording")]
    pub(crate) proc: PathBuf,
}

/// What a row stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// One process
    Process,
    /// All processes of a user
    User,
    /// A file, or other memory with one name, that processes map
    Mapping,
    /// An area of the machine's memory
    System,
    /// All processes of a control group
    Cgroup,
    /// All processes that do the same: one program, one script, one crate that is compiled
    Role,
}

impl From<By> for view::By {
    fn from(by: By) -> Self {
        match by {
            By::Process => Self::Process,
            By::User => Self::User,
            By::Mapping => Self::Mapping,
            By::System => Self::System,
            By::Cgroup => Self::Cgroup,
            By::Role => Self::Role,
        }
    }
}
