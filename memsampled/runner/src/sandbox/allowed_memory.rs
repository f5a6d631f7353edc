//! How much memory the control groups allow that we are in.

use std::path::Path;

use super::kernel_file;
use super::own_groups::own_directories;

/// What the control groups that we are in allow, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowed {
    /// The least of their limits.
    pub(crate) limit_bytes: u64,
    /// The least that is free below one of them; inactive page cache counts as free.
    pub(crate) free_bytes: u64,
}

/// Returns what the control groups allow that we are in; `None` where none has a limit.
pub(crate) fn allowed_memory() -> Option<Allowed> {
    let mut least: Option<Allowed> = None;
    // Where our own is not shown, the limit of what is mounted holds for it too, as far as a container goes.
    for (controller, own) in own_directories(|of, group| Some(of.nearest_directory(group))) {
        let files = match controller {
            Some("memory") => {
                ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "]
            }
            Some(_) => continue,
            None => ["memory.max", "memory.current", "inactive_file "],
        };
        for group in own.ancestors().take_while(|path| path.join("cgroup.procs").exists()) {
            let Some(allowed) = Allowed::of(group, files) else { continue };
            let before = least.unwrap_or(allowed);
            least = Some(Allowed {
                limit_bytes: allowed.limit_bytes.min(before.limit_bytes),
                free_bytes: allowed.free_bytes.min(before.free_bytes),
            });
        }
    }
    least
}

impl Allowed {
    /// Reads those of one group; `None` where it has no limit, of which version 2 says `max`.
    fn of(group: &Path, [limit, usage, cache]: [&str; 3]) -> Option<Self> {
        let text = |file: &str| kernel_file::text(group.join(file)).ok();
        let number = |file: &str| text(file)?.trim().parse::<u64>().ok();
        let (limit_bytes, usage) = (number(limit)?, number(usage)?);
        let stat = text("memory.stat").unwrap_or_default();
        let cache = stat.lines().find_map(|line| line.strip_prefix(cache)?.parse::<u64>().ok());
        let used = usage.saturating_sub(cache.unwrap_or(0));
        Some(Self { limit_bytes, free_bytes: limit_bytes.saturating_sub(used) })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_a_group_allows_is_its_limit_less_what_it_cannot_give_back() {
        let directory = tempfile::tempdir().unwrap();
        let files = ["memory.max", "memory.current", "inactive_file "];
        let write = |file: &str, text: &str| fs::write(directory.path().join(file), text).unwrap();
        write("memory.max", "max\n");
        write("memory.current", "300\n");
        write("memory.stat", "anon 200\nfile 100\ninactive_file 80\nactive_file 20\n");
        assert_eq!(Allowed::of(directory.path(), files), None);
        write("memory.max", "1000\n");
        let allowed = |free_bytes| Some(Allowed { limit_bytes: 1000, free_bytes });
        assert_eq!(Allowed::of(directory.path(), files), allowed(780));
        write("memory.current", "2000\n");
        assert_eq!(Allowed::of(directory.path(), files), allowed(0));
    }
}
