use std::io::{self, Write};

use anyhow::Context;
use memsample::SamplerOptions;

use crate::args::ImportArgs;
use crate::exit::ExitCode;
use crate::{record, summary};
use memsample_config::Config;

/// Makes a recording of captures, and says what it holds.
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
    if args.json {
        summary::print_json(&recording)?;
    } else {
        write!(io::stdout(), "{}", summary::text(&recording, summary::LARGEST)?)?;
    }
    Ok(ExitCode::SUCCESS)
}
