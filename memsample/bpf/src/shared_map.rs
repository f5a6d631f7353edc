//! Whether two processes have one memory map.

use std::io;

use crate::system_call::compare_memory;

/// Returns whether two processes have one memory map, as after `vfork` and `clone(CLONE_VM)`: then each of them shows all
/// memory of both. The numbers are those of any thread of each, in the pid namespace of the caller.
///
/// Two of which neither has memory (threads of the kernel, and who has ended) count as having the same.
/// Source: `mm` of both tasks, by kcmp(2) with `KCMP_VM` (Linux 3.5). It needs no BPF.
///
/// # Errors
///
/// `EPERM` where this process may not trace both, or a filter of system calls forbids it; `ESRCH` where one has ended and
/// was reaped; `ENOSYS` where the kernel was built without `CONFIG_KCMP`.
pub fn have_one_map(one: i32, other: i32) -> io::Result<bool> {
    compare_memory(one, other).map(|order| order == 0)
}
