//! Whether two processes have one memory map.

use std::fs;
use std::io;

use crate::system_call::compare_memory;

/// Returns whether two processes have one memory map, as after `vfork` and `clone(CLONE_VM)`: then each of them shows all
/// memory of both. Of each it takes the number of a thread that has not ended, in the pid namespace of the caller.
///
/// Source: `mm` of both tasks, by kcmp(2) with `KCMP_VM` (Linux 3.5), and `/proc/PID/statm`. It needs no BPF.
///
/// # Errors
///
/// `EPERM` where this process may not trace both, or a filter of system calls forbids it; `ESRCH` where one has ended and
/// was reaped; `ENOSYS` where the kernel was built without `CONFIG_KCMP`; those of reading a file.
pub fn have_one_map(one: i32, other: i32) -> io::Result<bool> {
    if compare_memory(one, other)? != 0 {
        return Ok(false);
    }
    // Threads of the kernel and who has ended have no map, which is the same of all of them. Who has one now had it.
    let statm = fs::read(format!("/proc/{one}/statm"))?;
    Ok(statm.first().is_some_and(|&digit| digit != b'0'))
}
