//! The scratch directory of an attempt: removed at the end, or kept for a person to look at.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use memsample_beneath::{HeldDirectory, remove_tree};

use crate::sandbox::attempt_end::AttemptEnd;
use crate::sandbox::names::PROCESS_NAME;
use crate::sandbox::spec::{Keep, Spec};

/// Removes the scratch directory, or keeps it as the specification says of a test that did not go well.
pub(super) fn remove_scratch(spec: &Spec, end: &mut AttemptEnd) {
    let expected = end
        .exit_code
        .is_some_and(|code| u8::try_from(code).is_ok_and(|code| spec.expect_exit.contains(&code)));
    let is_well = expected
        && !end.timed_out
        && !end.out_of_cpu_time
        && end.oom_kills.is_none_or(|kills| kills == 0)
        && end.left_over_processes.is_empty();
    if let Some(keep) = spec.keep_failed.filter(|_| !is_well && end.not_started.is_none()) {
        // What a person looks at holds nothing of ours.
        let _ = fs::remove_file(spec.scratch.join(PROCESS_NAME));
        // A sandbox without a file system of its own has nothing to keep.
        if fs::remove_dir(&spec.scratch).is_ok() {
            return;
        }
        let archived = match keep {
            Keep::Directory => None,
            Keep::Archive => archive(&spec.scratch)
                .inspect_err(|why| end.notes.push(format!("its files are not archived: {why}")))
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
fn archive(directory: &Path) -> Result<PathBuf, String> {
    let path = directory.with_extension("tar.gz");
    let mut tar = Command::new("tar");
    // Where an overlay has a file removed is a device, and an attribute where it has a directory anew.
    tar.args(["--create", "--gzip", "--sparse", "--xattrs", "--xattrs-include=*", "--file"]);
    tar.arg("-").arg("--directory").arg(directory).arg(".");
    let file = File::create_new(&path).map_err(|error| error.to_string())?;
    // Its own is the runner's.
    tar.stdin(Stdio::null()).stdout(file);
    let why = match tar.output() {
        Ok(output) if output.status.success() => return Ok(path),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; "),
        Err(error) => format!("cannot run `tar`: {error}"),
    };
    let _ = fs::remove_file(&path);
    Err(why)
}
