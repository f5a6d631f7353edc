//! `/proc/vmstat`: counters of the memory of the machine.

use serde::{Deserialize, Serialize};

use super::scan::{Tokens, next_line};
use crate::error::ParseError;

/// Counters of the memory manager since boot, from `/proc/vmstat`.
///
/// A counter that this kernel does not print is `None`.
/// Kernel source: `vmstat_text` in `mm/vmstat.c`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vmstat {
    /// Processes that the OOM killer killed, on the whole host (since 4.13).
    pub oom_kill: Option<u64>,
    /// Page faults of all kinds.
    pub pgfault: Option<u64>,
    /// Page faults that waited for I/O.
    pub pgmajfault: Option<u64>,
    /// Pages read from swap.
    pub pswpin: Option<u64>,
    /// Pages written to swap.
    pub pswpout: Option<u64>,
    /// Allocations that had to reclaim memory themselves, summed over the zones.
    pub allocstall: Option<u64>,
}

/// Parses the contents of `/proc/vmstat`.
///
/// # Errors
///
/// [`ParseError`] names a known counter whose value is not a number, or `pgfault` where the bytes
/// hold none and so are not a `vmstat` file.
pub fn parse_vmstat(bytes: &[u8]) -> Result<Vmstat, ParseError> {
    let mut vmstat = Vmstat::default();
    let mut rest = bytes;
    while let Some(line) = next_line(&mut rest) {
        let mut tokens = Tokens::new(line);
        let Some(key) = tokens.next() else { continue };
        match key {
            b"oom_kill" => vmstat.oom_kill = Some(tokens.number("oom_kill")?),
            b"pgfault" => vmstat.pgfault = Some(tokens.number("pgfault")?),
            b"pgmajfault" => vmstat.pgmajfault = Some(tokens.number("pgmajfault")?),
            b"pswpin" => vmstat.pswpin = Some(tokens.number("pswpin")?),
            b"pswpout" => vmstat.pswpout = Some(tokens.number("pswpout")?),
            key if key.starts_with(b"allocstall") => {
                let zone = tokens.number("allocstall")?;
                let sum = vmstat.allocstall.unwrap_or(0).checked_add(zone);
                vmstat.allocstall = Some(sum.ok_or(ParseError::out_of_range("allocstall"))?);
            }
            _ => {}
        }
    }
    if vmstat.pgfault.is_none() {
        return Err(ParseError::missing("pgfault"));
    }
    Ok(vmstat)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_summed_and_absent_counters_are_none() {
        let vmstat =
            parse_vmstat(b"allocstall_dma 1\nallocstall_normal 2\npgfault 30\nswap_ra 5\n")
                .unwrap();
        assert_eq!(vmstat, Vmstat { pgfault: Some(30), allocstall: Some(3), ..Vmstat::default() });
    }

    #[test]
    fn garbage_is_an_error() {
        assert_eq!(parse_vmstat(b""), Err(ParseError::missing("pgfault")));
        assert!(parse_vmstat(b"pgfault").is_err());
        assert!(parse_vmstat(b"pgfault 1\noom_kill -1").is_err());
    }
}
