//! `memsample import`: makes a recording of captures of another program.

use std::path::PathBuf;

use anyhow::Context;
use memsample::SamplerOptions;
use memsample_inherited::print_text;

use crate::config_args::{Cmdline, ConfigArgs};
use crate::exit::ExitCode;
use crate::json_output::JsonArgs;
use crate::{record, summary};
use memsample_config::Config;

/// Make a recording from captures that smemcap wrote
///
/// A capture is a tar, plain or compressed with gzip, with smaps, cmdline and stat of every process.
/// Several captures become one recording with a tick for each, at its time. A capture lacks high-water
/// marks, control groups and paths of executables, which are null in the recording, as is what an old
/// kernel does not say. If a file is damaged, truncated or not a capture, the import fails and leaves
/// nothing behind.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    memsample import --name before capture.tar\n  \
    memsample import --name night captures/*.tgz && memsample view recordings/night --by user")]
pub(crate) struct ImportArgs {
    /// Captures, in any order; those of the same second in that of their making
    #[arg(required = true, value_name = "CAPTURE")]
    pub(crate) captures: Vec<PathBuf>,

    /// Directory below which to create the recording
    #[arg(long, value_name = "DIR", default_value = "recordings")]
    pub(crate) out: PathBuf,

    /// Name of the recording [default: the file name of the first capture, up to its first dot]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// How much of the arguments of a process to record [default: full]
    #[arg(long, value_name = "WHAT", value_enum)]
    pub(crate) cmdline: Option<Cmdline>,

    #[command(flatten)]
    pub(crate) config: ConfigArgs,

    #[command(flatten)]
    pub(crate) json: JsonArgs,
}

/// Makes a recording from captures, and prints what it contains.
pub(crate) fn run(args: &ImportArgs) -> anyhow::Result<ExitCode> {
    let config = Config::read(args.config.config.as_deref())?.redact(&args.config.redact);
    let options = config.describe_recorded(SamplerOptions::default(), args.cmdline.map(Into::into));
    let name = match &args.name {
        Some(name) => name.clone(),
        None => {
            let first = args.captures.first().and_then(|path| path.file_name()?.to_str());
            let stem = first.and_then(|name| name.split('.').next());
            stem.context("the name of the first capture cannot be one: use --name")?.to_owned()
        }
    };
    let path = args.out.join(record::file_name(&name)?);
    let recording = memsample::import(&args.captures, &path, &options)?;
    args.json.write(|| summary::json(&recording))?;
    if !args.json.is_on_stdout() {
        print_text(summary::text(
            &recording,
            summary::LARGEST,
            crate::plain_table::terminal_width(),
        )?);
    }
    Ok(ExitCode::SUCCESS)
}
