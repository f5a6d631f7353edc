//! Begins a recording as the options of `memsample record` say.

use std::io;

use anyhow::bail;
use memsample::{Rate, RecordError, Recorder, RecorderOptions, SamplerOptions, Scope};
use memsample_config::Config;
use memsample_inherited::tell;

use super::args::{Events, RecordArgs};
use super::descriptors::DescriptorLimit;
use super::place::{self, numbered};

/// Begins the recording.
pub(super) fn start(args: &RecordArgs, descriptors: &DescriptorLimit) -> anyhow::Result<Recorder> {
    let mut sampler =
        SamplerOptions::default().proc_root(&args.proc).max_descriptors(descriptors.for_sampler());
    let config = Config::read(args.config.config.as_deref())?.redact(&args.config.redact);
    sampler = config.describe_recorded(sampler, args.cmdline.map(Into::into));
    if let Some(sweep) = args.sweep {
        sampler = sampler.sweep_by(sweep.into());
    }
    if let Some(sys) = &args.sys {
        sampler = sampler.sys_root(sys);
    }
    let mut options = RecorderOptions::new()
        .interval(args.interval)
        .detail(args.detail_interval)
        .events(args.events == Events::Auto)
        .cgroups(args.cgroup_interval)
        .sampler(sampler);
    if let Some(rate) = args.pss_interval {
        options = options.pss(rate);
    }
    if let Some(share) = args.pss_budget {
        options = if share > 0.0 { options.pss_budget(share) } else { options.pss(Rate::Off) };
    }
    if let Some(duration) = args.duration {
        options = options.duration(duration);
    }
    if let Some(pid) = args.pid {
        options = options.target(Scope::Tree { pid });
    }
    if let Some(cgroup) = &args.cgroup {
        options = options.target(Scope::Cgroup(cgroup.clone()));
    }
    if !args.command.is_empty() {
        options = options
            .command(args.command.iter().map(|it| it.to_string_lossy().into_owned()).collect());
    }
    if args.out.join(memsample::Recording::FILE).exists() {
        bail!(
            "`{}` is itself a recording: pass the directory above it to --out",
            args.out.display()
        );
    }
    let path = place::directory(&args.out, args.name.as_deref())?;
    // Another recorder may have started in the same second.
    for path in (1..).map(|number| numbered(path.clone(), number)) {
        match Recorder::start(&path, options.clone()) {
            Err(RecordError::Exists(_)) => {}
            outcome => return Ok(outcome?),
        }
    }
    bail!("no name is free in `{}`", args.out.display())
}

/// Makes the links to the newest recording lead to this one, and says which do not.
pub(super) fn link(args: &RecordArgs, recorder: &Recorder) {
    for (link, error) in place::link(&args.out, args.name.as_deref(), recorder.path()) {
        let (link, path) = (link.display(), recorder.path().display());
        let reason = match error.kind() {
            io::ErrorKind::AlreadyExists => "it is not a link, and was left as it is".to_owned(),
            _ => error.to_string(),
        };
        // Nobody is left to tell if this fails.
        tell(format!("warning: `{link}` does not lead to `{path}`: {reason}"));
    }
}
