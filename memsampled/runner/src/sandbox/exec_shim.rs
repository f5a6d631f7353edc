//! The exec shim: a process that joins the test's control groups, waits until the recording knows it, and executes
//! the program.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, fchown, open};
use rustix::process;
use rustix::process::setsid;
use rustix::stdio::dup2_stdin;
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};

use super::channel::{Channel, inherited};
use super::kernel_file;
use super::protocol::{Exec, ShimMessage, ShimOrder};
use super::spec::User;

/// Added to the `oom_score_adj` of the runner, so that the OOM killer chooses the test first: as if it used half of all
/// memory more.
const OOM_SCORE_ABOVE_RUNNER: i32 = 500;

/// How long it waits before it tries again to report.
const REPORT_PAUSE: Duration = Duration::from_millis(100);

/// Runs until it becomes the program; returns only if it could not. `is_in_unified` says whether it has been started in
/// the control group of version 2.
pub(super) fn run(is_in_unified: bool) -> u8 {
    let channel = inherited();
    if let Err(reason) = wait_and_execute(&channel, is_in_unified) {
        report_failure(&channel, reason);
    }
    1
}

/// Reports that there is no program. To end without a word would be to say that it began: where nothing can be sent, this
/// waits for the supervisor to give it up.
fn report_failure(channel: &Channel<io::Stdin>, reason: String) {
    let message = ShimMessage::Failed(reason);
    while let Err(error) = channel.send(&message) {
        // The supervisor is gone; then nobody is left to report to.
        if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) {
            return;
        }
        std::thread::sleep(REPORT_PAUSE);
    }
}

fn wait_and_execute(channel: &Channel<io::Stdin>, is_in_unified: bool) -> Result<(), String> {
    let closed = || "the supervisor is gone".to_owned();
    let broken = |error: io::Error| error.to_string();
    let out_of_turn = || "an order came out of turn".to_owned();
    let join = channel.receive::<ShimOrder>().map_err(broken)?.ok_or_else(closed)?;
    let ShimOrder::Join { has_unified } = join.message else { return Err(out_of_turn()) };
    for group in join.descriptors.iter().skip(usize::from(has_unified && is_in_unified)) {
        // 0 stands for who writes: the thread in version 1, the process in version 2.
        rustix::io::write(group, b"0")
            .map_err(|error| format!("cannot join its control group: {error}"))?;
    }
    drop(join);
    channel.send(&ShimMessage::Ready).map_err(broken)?;
    match channel.receive::<ShimOrder>().map_err(broken)?.ok_or_else(closed)?.message {
        ShimOrder::Exec(exec) => Err(become_program(channel, &exec)),
        ShimOrder::Join { .. } => Err(out_of_turn()),
    }
}

/// Becomes the program. Returns why it could not.
fn become_program(channel: &Channel<io::Stdin>, exec: &Exec) -> String {
    let Some((program, arguments)) = exec.argv.split_first() else {
        return "there is no command".to_owned();
    };
    // A session of its own: no terminal, and a process group that ends with it.
    let _ = setsid();
    // Standard input becomes empty; the channel lives on in a copy that exec closes: then the
    // supervisor knows that it succeeded.
    let copy = match rustix::io::fcntl_dupfd_cloexec(channel, 3) {
        Ok(copy) => copy,
        Err(error) => return error.to_string(),
    };
    let opened = open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    if let Err(error) = opened.and_then(|null| dup2_stdin(&null)) {
        return format!("cannot open /dev/null: {error}");
    }
    default_signals();
    // Where `/proc` is not there or not ours to write, the kernel chooses as it does.
    let _ = raise_oom_score();
    let reason = match prepare(exec) {
        Err(reason) => reason,
        Ok(()) => {
            let mut command = Command::new(program);
            command.args(arguments).envs(&exec.env);
            if let Some(user) = &exec.user {
                let defaults = [
                    ("HOME", user.home.as_os_str()),
                    ("USER", user.name.as_ref()),
                    ("LOGNAME", user.name.as_ref()),
                ];
                command
                    .envs(defaults.into_iter().filter(|(name, _)| !exec.env.contains_key(*name)));
            }
            let error = command.exec();
            match error.kind() {
                io::ErrorKind::NotFound if !program.contains('/') => {
                    format!("`{program}` is not a command that can be found")
                }
                _ => format!("cannot execute `{program}`: {error}"),
            }
        }
    };
    // Let the answer go through the standard input again.
    let _ = dup2_stdin(&copy);
    reason
}

/// Resets signals that are ignored to their default, as a program expects: `nohup`, a CI server or lxc-execute may
/// have had a reason to ignore them, but the test has not.
fn default_signals() {
    let status = kernel_file::text("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    let ignored = (1..=64).filter(|signal| mask & (1 << (signal - 1)) != 0);
    for signal in ignored.filter(|signal| !signal_hook::consts::FORBIDDEN.contains(signal)) {
        // Exec gives a signal that has a handler its default back.
        let _ = signal_hook::flag::register(signal, Arc::default());
    }
}

/// Makes the OOM killer choose the test rather than its runner when the machine, or a control group of both, is out of
/// memory: the runner has to report what happened.
fn raise_oom_score() -> io::Result<()> {
    let file = "/proc/self/oom_score_adj";
    let inherited: i32 = kernel_file::text(file)?.trim().parse().map_err(io::Error::other)?;
    fs::write(file, inherited.saturating_add(OOM_SCORE_ABOVE_RUNNER).min(1000).to_string())
}

/// Gives the standard output and error to the user, who may then open them again, as `/dev/stderr` does.
fn own_streams(user: &User) {
    let (uid, gid) = (process::Uid::from_raw(user.uid), process::Gid::from_raw(user.gid));
    for stream in [rustix::stdio::stdout(), rustix::stdio::stderr()] {
        // Where a namespace does not allow it, what is open can still be written to.
        let _ = fchown(stream, Some(uid), Some(gid));
    }
}

/// Changes to the directory and to the user.
fn prepare(exec: &Exec) -> Result<(), String> {
    if let Some(user) = &exec.user {
        let gid = |gid| process::Gid::from_raw(gid);
        own_streams(user);
        let groups: Vec<_> = user.groups.iter().copied().map(gid).collect();
        set_thread_groups(&groups)
            .and_then(|()| set_thread_gid(gid(user.gid)))
            .and_then(|()| set_thread_uid(process::Uid::from_raw(user.uid)))
            .map_err(|error| format!("cannot become the user `{}`: {error}", user.name))?;
    }
    // As that user, who may have no right to enter it.
    process::chdir(&exec.cwd)
        .map_err(|error| format!("cannot change to `{}`: {error}", exec.cwd.display()))
}
