//! Has the dashboard served, by `memsample serve` in a process of its own.
//!
//! The memory of the daemon is locked and spared by the OOM killer, and its threads are those that sample. The dashboard
//! has none of this: it runs at a lower priority, is the first to be killed, and ends with the daemon.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use memsample_config::DashboardSettings;

use super::state::State;

/// The directory of its index, in that of the recordings.
const CACHE: &str = ".dashboard";
/// How long to wait before it is begun again: the first time, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// One that served as long had no wrong options.
const SERVED: Duration = Duration::from_secs(60);

/// Begins the dashboard if there shall be one, and again whenever it ends.
///
/// # Errors
///
/// The program that serves it is not there, or there can be no other thread.
pub(super) fn start(state: &Arc<State>) -> io::Result<()> {
    let options = state.options();
    let Some(settings) = options.dashboard.clone() else { return Ok(()) };
    let program = program()?;
    let arguments = arguments(&settings, &options.socket, state.recordings.path());
    let cache = state.recordings.path().join(CACHE);
    let state = Arc::clone(state);
    let thread = std::thread::Builder::new().name("memsampled-dash".to_owned());
    // The thread lives as long as the daemon, which the kernel tells the dashboard the end of.
    thread.spawn(move || serve(&state, &program, &arguments, &cache)).map(drop)
}

/// Finds `memsample`, which is installed beside the daemon.
fn program() -> io::Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name("memsample");
    match program.is_file() {
        true => Ok(program),
        false => Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("`{}` is missing, which serves it: install both programs", program.display()),
        )),
    }
}

fn arguments(settings: &DashboardSettings, socket: &Path, recordings: &Path) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["serve".into()];
    let mut add = |name: &str, value: OsString| arguments.extend([name.into(), value]);
    add("--beside", std::process::id().to_string().into());
    add("--listen", settings.listen.to_string().into());
    add("--runs", settings.runs.clone().map_or_else(|| recordings.into(), OsString::from));
    add("--daemon", socket.into());
    if let Some(file) = &settings.token_file {
        add("--token-file", file.into());
    }
    if let Some(prefix) = &settings.prefix {
        add("--prefix", prefix.into());
    }
    for host in &settings.hosts {
        add("--host", host.into());
    }
    if let Some(file) = &settings.fleet {
        add("--fleet", file.into());
    }
    arguments
}

fn serve(state: &State, program: &Path, arguments: &[OsString], cache: &Path) {
    let mut pause = PAUSE.0;
    while !state.is_ending() {
        let begun = Instant::now();
        let ended = serve_once(program, arguments, cache);
        if state.is_ending() {
            return;
        }
        if begun.elapsed() >= SERVED {
            pause = PAUSE.0;
        }
        let how = match ended {
            Ok(Some(status)) => status.to_string(),
            Ok(None) => "how is not known".to_owned(),
            Err(error) => format!("it could not be begun: {error}"),
        };
        tracing::error!("the dashboard ended ({how}): it begins again in {pause:?}");
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSE.1);
    }
}

fn serve_once(
    program: &Path,
    arguments: &[OsString],
    cache: &Path,
) -> io::Result<Option<ExitStatus>> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    // A service has no home, and the directory of the recordings is writable.
    command.env("XDG_CACHE_HOME", cache);
    let mut child = command.spawn()?;
    match child.wait() {
        Ok(status) => Ok(Some(status)),
        // As PID 1 the daemon has reaped it already.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::CHILD.raw_os_error()) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_is_that_of_the_daemon() {
        let mut settings = DashboardSettings::new("127.0.0.1:8080".parse().unwrap());
        let of = |settings: &DashboardSettings| {
            let arguments = arguments(settings, Path::new("/s"), Path::new("/recordings"));
            let texts = arguments.into_iter().skip(3).map(|it| it.into_string().unwrap());
            texts.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of(&settings), "--listen 127.0.0.1:8080 --runs /recordings --daemon /s");
        settings.runs = Some("s3://lab/memory".to_owned());
        settings.prefix = Some("/memory".to_owned());
        settings.hosts = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(
            of(&settings),
            "--listen 127.0.0.1:8080 --runs s3://lab/memory --daemon /s --prefix /memory --host a --host b"
        );
    }
}
