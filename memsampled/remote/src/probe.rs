//! What a device says of itself before anything is sent.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use memsample_input::rounded_size;

use crate::address::Address;
use crate::error::RemoteError;
use crate::payload::Payload;

/// What results need at least, in bytes.
const MIN_RESULTS_BYTES: u64 = 8 << 20;

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Probe {
    system: String,
    pub(crate) machine: String,
    lacks: Vec<String>,
    /// A directory that is not there, one that cannot be written to, and one whose files cannot be executed.
    absent: Option<String>,
    unwritable: Option<String>,
    unexecutable: Option<String>,
    /// Our own directory, which is there now.
    pub(crate) directory: Option<OsString>,
    free_bytes: Option<u64>,
}

impl Probe {
    /// Reads what the script prints. What precedes it, as of a login that greets, is passed over.
    pub(crate) fn read(output: &[u8]) -> Self {
        let mut probe = Self::default();
        for line in output.split(|&byte| byte == b'\n') {
            let Some(equals) = line.iter().position(|&byte| byte == b'=') else { continue };
            let (key, rest) = line.split_at(equals);
            let bytes = rest.get(1..).unwrap_or_default();
            let text = || String::from_utf8_lossy(bytes).into_owned();
            match key {
                b"system" => probe.system = text(),
                b"machine" => probe.machine = text(),
                b"lacks" => probe.lacks.push(text()),
                b"absent" => probe.absent = Some(text()),
                b"unwritable" => probe.unwritable = Some(text()),
                b"unexecutable" => probe.unexecutable = Some(text()),
                b"directory" => probe.directory = Some(OsString::from_vec(bytes.to_vec())),
                b"free" => probe.free_bytes = free_bytes(&text()),
                _ => {}
            }
        }
        probe
    }

    /// Returns why the device cannot run what is to be sent, and what to do.
    pub(crate) fn check(&self, address: &Address, payload: &Payload) -> Result<(), RemoteError> {
        let refused = |why: String| Err(RemoteError::Refused(why));
        if self.system.is_empty() {
            return refused(format!(
                "{address} did not answer as a POSIX shell does: the shell of the login has to run `sh -c`"
            ));
        }
        if self.system != "Linux" {
            return refused(format!("the device runs {}, and memsample needs Linux", self.system));
        }
        let program = payload.program_for(&self.machine)?;
        if !self.lacks.is_empty() {
            return refused(format!(
                "the device lacks {}: install busybox or coreutils, tar and util-linux there",
                self.lacks.join(", ")
            ));
        }
        let elsewhere = "name another directory: ssh://host/directory";
        if let Some(absent) = &self.absent {
            return refused(format!("cannot enter {absent} on the device; {elsewhere}"));
        }
        if let Some(unwritable) = &self.unwritable {
            return refused(format!("cannot write to {unwritable} on the device; {elsewhere}"));
        }
        let needed = payload.device_bytes(program).saturating_add(MIN_RESULTS_BYTES);
        if let Some(free) = self.free_bytes.filter(|&free| free < needed) {
            return refused(format!(
                "no room on the device: {} are free, and {} are needed; free some, or {elsewhere}",
                rounded_size(free),
                rounded_size(needed)
            ));
        }
        if let Some(unexecutable) = &self.unexecutable {
            return refused(format!(
                "cannot execute a file in {unexecutable} on the device, as where it is mounted noexec; {elsewhere}"
            ));
        }
        match self.directory {
            Some(_) => Ok(()),
            None => refused(format!("{address} did not answer in full")),
        }
    }
}

/// Reads the free bytes from a line of `df -Pk`: what stands before the percentage.
fn free_bytes(line: &str) -> Option<u64> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let percentage = words.iter().rposition(|word| word.ends_with('%') || *word == "-")?;
    let kibibytes: u64 = words.get(percentage.checked_sub(1)?)?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_room_is_read_whatever_the_names_are() {
        let line = "/dev/my disk 1000 10 990 1% /mnt/a b";
        assert_eq!(free_bytes(line), Some(990 * 1024));
        assert_eq!(free_bytes("tmpfs 1024 0 1024 0% /tmp"), Some(1 << 20));
        assert_eq!(free_bytes("df: no such thing"), None);
    }
}
