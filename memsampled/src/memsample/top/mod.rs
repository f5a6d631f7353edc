//! `memsample top`: a live screen of the memory of a machine, or of a recording.

mod session_feed;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use jiff::Timestamp;
use memsample::view::At;
use memsample::{Recording, SamplerOptions};
use memsample_config::Config;
use memsample_inherited::{is_ignored, is_utf8};
use memsample_top::{
    By, Choice, LiveSource, ReplaySource, SamplerFeed, SortBy, Source, Start, show,
};
use regex::Regex;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::config_args::ConfigArgs;
use crate::exit::ExitCode;
use crate::instant::parse_at;
use crate::record::descriptors::DescriptorLimit;
use crate::{duration, pattern, recording_path, summary};
use session_feed::SessionFeed;

/// Show the memory of this machine live, or replay a recording
///
/// Shows processes, roles, tests, control groups or users with RSS, PSS, USS, swap, peak, growth, and the last
/// minute of each; the memory and the pressure of the machine; and what this program costs itself. The keys are
/// listed by `?`: among others, the left arrow steps back in time, Space pauses, and `q` quits.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    memsample top --by role --sort pss\n  \
    memsample top --filter 'cargo|rustc'\n  \
    memsample top --session --by test\n  \
    memsample top @latest --at 12.5s")]
pub(crate) struct TopArgs {
    /// Directory or name of a recording, `@latest`, or the results of a run: see `memsample ls` [default: this
    /// machine, now]
    #[arg(value_name = "RECORDING")]
    recording: Option<PathBuf>,

    /// Show what a session of the daemon samples, instead of sampling as well [default: $MEMSAMPLE_SESSION, or the only
    /// session that is recording]
    #[arg(long, value_name = "ID", num_args = 0..=1, require_equals = true, conflicts_with = "recording")]
    session: Option<Option<String>>,

    /// Socket of the daemon [default: /run/memsampled/memsampled.sock as root, else
    /// $XDG_RUNTIME_DIR/memsampled.sock]
    #[arg(long, value_name = "PATH", env = memsample_client::SOCKET_VARIABLE)]
    socket: Option<PathBuf>,

    /// Instant of the recording to begin with: a time such as 2026-11-22T20:59:38.281Z, or the time since its first
    /// tick, such as 12.5s [default: the last tick]
    #[arg(long, value_name = "TIME", requires = "recording", value_parser = parse_at)]
    at: Option<At>,

    /// Time from one sample to the next; of a recording, how far to go on at a time
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = parse_interval)]
    interval: Duration,

    /// What to show one row for
    #[arg(long, value_name = "WHAT", default_value = "process")]
    by: By,

    /// Column to sort by, largest first
    #[arg(long, value_name = "COLUMN", default_value = "rss")]
    sort: SortBy,

    /// Show only processes whose command, role, test or control group matches
    #[arg(long, value_name = "REGEX", value_parser = pattern::parse)]
    filter: Option<Regex>,

    /// Share of one CPU for reading PSS
    #[arg(long, value_name = "SHARE", default_value_t = 0.01, value_parser = parse_share, conflicts_with_all = ["recording", "session"])]
    pss_budget: f64,

    #[command(flatten)]
    config: ConfigArgs,
}

/// The shortest interval: nobody sees more.
const MIN_INTERVAL: Duration = Duration::from_millis(50);

fn parse_share(text: &str) -> Result<f64, String> {
    (text.parse().ok())
        .filter(|share: &f64| *share > 0.0 && share.is_finite())
        .ok_or_else(|| "it is a share of one CPU above 0, such as 0.01".to_owned())
}

pub(crate) fn run(args: &TopArgs) -> anyhow::Result<ExitCode> {
    for (name, is_terminal) in
        [("stdin", io::stdin().is_terminal()), ("stdout", io::stdout().is_terminal())]
    {
        if !is_terminal {
            bail!(
                "{name} is not a terminal: use `memsample view`, which prints tables, CSV and JSON"
            );
        }
    }
    let stop = Arc::new(AtomicBool::new(false));
    // SIGHUP ends it at once: there is no terminal to put back.
    for signal in [SIGINT, SIGTERM].into_iter().filter(|&signal| !is_ignored(signal)) {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("cannot handle signals")?;
    }
    let choice = Choice {
        by: args.by,
        sort: args.sort,
        reverse: false,
        tree: false,
        filter: args.filter.clone(),
        except: args.recording.is_none().then(own_pid),
    };
    let start = Start {
        choice,
        interval: args.interval,
        utf8: is_utf8(),
        colors: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
    };
    show(source(args)?, start, &|| stop.load(Ordering::Relaxed))?;
    Ok(ExitCode::SUCCESS)
}

fn source(args: &TopArgs) -> anyhow::Result<Box<dyn Source>> {
    if let Some(named) = &args.session {
        let named =
            named.clone().or_else(|| std::env::var(memsample_client::SESSION_VARIABLE).ok());
        let feed = SessionFeed::new(args.socket.clone(), named.filter(|it| !it.is_empty()))?;
        return Ok(Box::new(LiveSource::new(feed)));
    }
    let Some(named) = &args.recording else {
        let config = Config::read(args.config.config.as_deref())?;
        let descriptors = DescriptorLimit::raise(Path::new("/proc"));
        let sampler = SamplerOptions::default().max_descriptors(descriptors.for_sampler());
        let sampler = config.redact(&args.config.redact).describe(sampler);
        let feed = SamplerFeed::new(sampler, args.pss_budget);
        return Ok(Box::new(LiveSource::new(feed.context("cannot sample this machine")?)));
    };
    let (recording, recovery) = recording_path::open(named)?;
    summary::note_recovery(recovery);
    let at = args.at.map(|at| instant(&recording, at)).transpose()?;
    let pace_ms = i64::try_from(args.interval.as_millis()).unwrap_or(i64::MAX);
    Ok(Box::new(ReplaySource::new(recording, at, pace_ms)?))
}

/// Returns the instant of a recording that is meant, which must be within it.
fn instant(recording: &Recording, at: At) -> anyhow::Result<Timestamp> {
    let (first, last) = recording.first_and_last_tick()?.context("the recording has no tick")?;
    let at = at.since(first).context("the instant is after the end of time")?;
    if at < first || at > last {
        bail!("{at:.3} is outside the recording, which goes from {first:.3} to {last:.3}");
    }
    Ok(at)
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = duration::parse(text)?;
    match interval < MIN_INTERVAL {
        true => Err(format!("the shortest interval is {} ms", MIN_INTERVAL.as_millis())),
        false => Ok(interval),
    }
}

fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}
