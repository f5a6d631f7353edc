//! The scratch directory of an attempt: removed at the end, or kept for a person to look at.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use memsample_beneath::{HeldDirectory, remove_tree};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::sandbox::attempt_end::AttemptEnd;
use crate::sandbox::names::PROCESS_NAME;
use crate::sandbox::spec::{Keep, Spec};
use crate::sandbox::tool::GIVEN;

/// Bytes of an archive, at most.
const MAX_BYTES: u64 = 1 << 30;
/// How long an archive is made.
const MAX_TIME: Duration = Duration::from_secs(60);
/// Between two looks at whether the runner still wants it.
const PAUSE: Duration = Duration::from_millis(50);
/// Contents that are copied at once.
const PIECE_BYTES: usize = 64 * 1024;
/// What is kept of the messages of the program that makes it.
const MAX_WORDS: usize = 1000;

/// Removes the scratch directory, or keeps it as the specification says of a test that did not go well.
///
/// What is too large for an archive, or takes too long, is kept as a directory, which a note says.
pub(super) fn remove_scratch(spec: &Spec, end: &mut AttemptEnd, is_unwanted: impl FnMut() -> bool) {
    let expected = end
        .exit_code
        .is_some_and(|code| u8::try_from(code).is_ok_and(|code| spec.expect_exit.contains(&code)));
    let is_well = expected
        && !end.timed_out
        && !end.out_of_cpu_time
        && end.oom_kills.is_none_or(|kills| kills == 0)
        && end.left_over_processes.is_empty()
        && end.unlisted.is_none();
    if let Some(keep) = spec.keep_failed.filter(|_| !is_well && end.not_started.is_none()) {
        // What a person looks at holds nothing of ours.
        let _ = fs::remove_file(spec.scratch.join(PROCESS_NAME));
        let _ = fs::remove_dir(spec.scratch.join(GIVEN));
        // A sandbox without a file system of its own has nothing to keep.
        if fs::remove_dir(&spec.scratch).is_ok() {
            return;
        }
        let archived = match keep {
            Keep::Directory => None,
            Keep::Archive => archive(&spec.scratch, is_unwanted)
                .inspect_err(|why| {
                    end.notes.push(format!(
                        "its files are kept as a directory, not as an archive: {why}"
                    ))
                })
                .ok(),
        };
        let Some(archived) = archived else {
            end.kept = Some(spec.scratch.clone());
            return;
        };
        end.kept = Some(archived);
    }
    let removed =
        HeldDirectory::of_file(&spec.scratch).and_then(|(above, name)| remove_tree(&above, name));
    if let Err(error) = removed
        && error.kind() != io::ErrorKind::NotFound
    {
        end.notes.push(format!("`{}` could not be removed: {error}", spec.scratch.display()));
    }
}

/// Writes what is in a directory into an archive beside it, and returns its path.
///
/// It ends when it has [`MAX_BYTES`], after [`MAX_TIME`], or when the runner wants it no more: a test may have left
/// more than any disk takes.
fn archive(directory: &Path, is_unwanted: impl FnMut() -> bool) -> Result<PathBuf, String> {
    let path = directory.with_extension("tar.gz");
    let (above, name) = HeldDirectory::of_file(&path).map_err(|error| error.to_string())?;
    let file = above.create_file(name, 0o666).map_err(|error| error.to_string())?;
    let mut tar = Command::new("tar");
    // Where an overlay has a file removed is a device, and an attribute where it has a directory anew.
    tar.args(["--create", "--gzip", "--sparse", "--xattrs", "--xattrs-include=*", "--file"]);
    tar.arg("-").arg("--directory").arg(directory).arg(".");
    let written = copy_output(tar, file, Bounds::default(), is_unwanted);
    if written.is_err() {
        let _ = above.remove_file(name);
    }
    written.map(|()| path)
}

/// What an archive may cost.
struct Bounds {
    bytes: u64,
    time: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { bytes: MAX_BYTES, time: MAX_TIME }
    }
}

/// Runs a command and writes its output into a file. Its standard input is the runner's, so it gets none.
fn copy_output(
    mut command: Command,
    mut file: File,
    bounds: Bounds,
    mut is_unwanted: impl FnMut() -> bool,
) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let cannot_run = |error: io::Error| format!("cannot run `{name}`: {error}");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(cannot_run)?;
    let streams = child.stdout.take().zip(child.stderr.take());
    let Some((mut stdout, mut stderr)) = streams else { return Err("it has no output".to_owned()) };
    let deadline = Instant::now() + bounds.time;
    let mut copy = || -> Result<String, String> {
        let mut words = Vec::new();
        let (mut bytes, mut looked) = (0, Instant::now());
        let (mut is_open, mut piece) = ([true, true], vec![0; PIECE_BYTES]);
        while is_open != [false, false] {
            let now = Instant::now();
            if now >= deadline {
                return Err(format!("it took longer than {} s", bounds.time.as_secs()));
            }
            if now >= looked + PAUSE {
                looked = now;
                if is_unwanted() {
                    return Err("the run was ended before it was whole".to_owned());
                }
            }
            let wanted = |is_open| if is_open { PollFlags::IN } else { PollFlags::empty() };
            let mut files = [
                PollFd::new(&stdout, wanted(is_open[0])),
                PollFd::new(&stderr, wanted(is_open[1])),
            ];
            let pause = Timespec { tv_sec: 0, tv_nsec: i64::from(PAUSE.subsec_nanos()) };
            match poll(&mut files, Some(&pause)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.to_string()),
            }
            let [out, err] = files.map(|file| !file.revents().is_empty());
            if out && is_open[0] {
                let length = stdout.read(&mut piece).map_err(|error| error.to_string())?;
                is_open[0] = length > 0;
                bytes += length as u64;
                if bytes > bounds.bytes {
                    return Err(format!("the archive has more than {} bytes", bounds.bytes));
                }
                file.write_all(piece.get(..length).unwrap_or_default())
                    .map_err(|error| error.to_string())?;
            }
            if err && is_open[1] {
                let length = stderr.read(&mut piece).map_err(|error| error.to_string())?;
                is_open[1] = length > 0;
                let left = MAX_WORDS.saturating_sub(words.len());
                words.extend(piece.iter().take(length.min(left)));
            }
        }
        Ok(String::from_utf8_lossy(&words).trim().replace('\n', "; "))
    };
    let words = copy();
    if words.is_err() {
        let _ = child.kill();
    }
    // It has closed its output or was killed.
    let status = child.wait().map_err(cannot_run)?;
    match words? {
        _ if status.success() => Ok(()),
        words if words.is_empty() => Err(format!("`{name}` ended with {status}")),
        words => Err(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a shell with small bounds, and returns what came of it and the length of the file.
    fn copied(script: &str, is_unwanted: bool) -> (Result<(), String>, u64) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("output");
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let bounds = Bounds { bytes: 100_000, time: Duration::from_secs(2) };
        let outcome = copy_output(command, File::create(&path).unwrap(), bounds, || is_unwanted);
        (outcome, fs::metadata(&path).unwrap().len())
    }

    #[test]
    fn an_archive_has_bounds_and_says_which_it_has_met() {
        assert_eq!(copied("head -c 100000 /dev/zero; echo fine >&2", false), (Ok(()), 100_000));
        let (outcome, bytes) = copied("exec cat /dev/zero", false);
        assert_eq!(outcome, Err("the archive has more than 100000 bytes".to_owned()));
        assert!(bytes <= 100_000, "{bytes}");
        let (outcome, _) = copied("exec sleep 100", false);
        assert_eq!(outcome, Err("it took longer than 2 s".to_owned()));
        let (outcome, _) = copied("exec sleep 100", true);
        assert_eq!(outcome, Err("the run was ended before it was whole".to_owned()));
    }

    #[test]
    fn why_there_is_no_archive_is_what_its_program_says() {
        assert_eq!(copied("echo a >&2; echo b >&2; exit 2", false).0, Err("a; b".to_owned()));
        // More than is kept of it stops nothing.
        let (outcome, _) = copied("head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 2", false);
        assert_eq!(outcome, Err("x".repeat(MAX_WORDS)));
        assert_eq!(copied("exit 3", false).0, Err("`sh` ended with exit status: 3".to_owned()));
    }
}
