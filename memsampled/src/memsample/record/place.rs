//! Where a recording goes: its directory, and the links to the newest one.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::exit::WrongUsage;

/// The link to the newest recording of all.
const LATEST: &str = "latest";

/// Checks that a name is one directory below `--out`, and nowhere else.
pub(crate) fn file_name(name: &str) -> anyhow::Result<&str> {
    if name.is_empty()
        || name.starts_with(['.', '@'])
        || name.contains('/')
        || name.contains(char::is_control)
        || name == LATEST
    {
        return Err(WrongUsage(format!(
            "`{name}` cannot be the name of a recording: it must not be empty, begin with a dot or @, contain a slash or \
             a control character, or be `{LATEST}`"
        ))
        .into());
    }
    Ok(name)
}

/// Adds a number to a path, except to the first.
pub(crate) fn numbered(path: PathBuf, number: u32) -> PathBuf {
    match number {
        1 => path,
        number => {
            let mut path = path.into_os_string();
            path.push(format!("-{number}"));
            path.into()
        }
    }
}

/// Returns the directory of a new recording: its name and the time, or the time alone.
pub(super) fn directory(out: &Path, name: Option<&str>) -> anyhow::Result<PathBuf> {
    let time = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    Ok(out.join(match name {
        Some(name) => format!("{}-{time}", file_name(name)?),
        None => time,
    }))
}

/// Makes the links `latest` and, if it has a name, of that name lead to a recording. Returns those that could not
/// be made.
pub(super) fn link(out: &Path, name: Option<&str>, recording: &Path) -> Vec<(PathBuf, io::Error)> {
    let Some(target) = recording.file_name() else { return Vec::new() };
    let links = [Some(LATEST), name].into_iter().flatten().map(|name| out.join(name));
    links
        .filter_map(|link| Some((replace_link(&link, target.as_ref()).err()?, link)))
        .map(|(error, link)| (link, error))
        .collect()
}

/// Replaces a link in one step, so that it always leads to a recording. What is not a link is kept.
fn replace_link(link: &Path, target: &Path) -> io::Result<()> {
    match fs::symlink_metadata(link) {
        Ok(metadata) if !metadata.is_symlink() => return Err(io::ErrorKind::AlreadyExists.into()),
        _ => {}
    }
    let name = link.file_name().unwrap_or_default().to_string_lossy();
    let made = link.with_file_name(format!(".{name}.{}", std::process::id()));
    symlink(target, &made)?;
    fs::rename(&made, link).inspect_err(|_| {
        let _ = fs::remove_file(&made);
    })
}
