//! What a device is asked to do, as scripts of a POSIX shell with the tools of busybox.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

pub(crate) const PROBE: &str = include_str!("scripts/probe.sh");
pub(crate) const SIZE: &str = include_str!("scripts/size.sh");
pub(crate) const RECEIVE: &str = include_str!("scripts/receive.sh");
pub(crate) const DISCARD: &str = include_str!("scripts/discard.sh");
pub(crate) const UNPACK: &str = include_str!("scripts/unpack.sh");
pub(crate) const VERSION: &str = include_str!("scripts/version.sh");
pub(crate) const START: &str = include_str!("scripts/start.sh");
pub(crate) const FOLLOW: &str = include_str!("scripts/follow.sh");
pub(crate) const STOP: &str = include_str!("scripts/stop.sh");
pub(crate) const PACK: &str = include_str!("scripts/pack.sh");
pub(crate) const FETCH: &str = include_str!("scripts/fetch.sh");
pub(crate) const REMOVE: &str = include_str!("scripts/remove.sh");

/// What a script prints first: a login may greet before.
pub(crate) const BEGIN: &[u8] = b"memsample begins\n";

/// Returns the line by which the shell of a login runs a script with arguments of any bytes.
pub(crate) fn line(script: &str, arguments: &[&OsStr]) -> OsString {
    let mut line = b"exec sh -c ".to_vec();
    quote(&[b"echo memsample begins\n", script.as_bytes()].concat(), &mut line);
    for argument in [OsStr::new("memsample")].iter().chain(arguments) {
        line.push(b' ');
        quote(argument.as_bytes(), &mut line);
    }
    OsString::from_vec(line)
}

fn quote(word: &[u8], line: &mut Vec<u8>) {
    line.push(b'\'');
    for &byte in word {
        match byte {
            b'\'' => line.extend_from_slice(b"'\\''"),
            byte => line.push(byte),
        }
    }
    line.push(b'\'');
}
