//! Who may ask, and for what: whoever has a token, where tokens are wanted.

use std::fmt;
use std::path::Path;

use axum::http::{HeaderMap, header};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use memsample_input::{SecretFile, SecretFileError};
use subtle::ConstantTimeEq;

/// A token with fewer characters could be guessed.
const MIN_TOKEN: usize = 16;
/// A larger file holds something else.
const MAX_FILE: u64 = 1 << 20;

/// Why a file of tokens is refused.
#[derive(Debug)]
pub struct TokenError(String);

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TokenError {}

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// Read everything.
    Read,
    /// Also begin and close releases.
    Write,
}

/// What a request may do, as its token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// It has no token that is known.
    Unknown,
    /// Its token has expired.
    Expired,
    /// It may do this.
    Granted(Right),
}

struct Token {
    bytes: Vec<u8>,
    right: Right,
    /// From when on it is not good any more.
    until: Option<Timestamp>,
}

/// The tokens of those who may read or write. Without any, whoever asks by a name of this server may read: a page of
/// another one, to whose name somebody gave the address of this one, asks by that name.
#[derive(Default)]
pub struct Guard {
    tokens: Vec<Token>,
    hosts: Vec<String>,
}

impl Guard {
    /// Reads a file with a token on each line, followed by ` write` if who has it may write, and ` until TIME` if it
    /// expires: a date, which begins at midnight UTC, or a time such as `2026-12-31T18:00:00Z`. Empty lines and those
    /// that begin with `#` are nothing.
    ///
    /// # Errors
    ///
    /// It cannot be read, others may read it, it has no token, or one that could be guessed.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let refuse = |reason: &dyn fmt::Display| {
            TokenError(format!("the token file `{}` {reason}", path.display()))
        };
        let file = SecretFile::read(path, MAX_FILE).map_err(|error| match error {
            SecretFileError::Unreadable(error) => refuse(&format_args!("cannot be read: {error}")),
            SecretFileError::Open => refuse(&"must be readable by its owner alone: `chmod 600` it"),
            SecretFileError::TooLarge => refuse(&"is too large to be one"),
        })?;
        let text = String::from_utf8(file.bytes).map_err(|_| refuse(&"must be text in UTF-8"))?;
        let lines = text.lines().map(str::trim).zip(1..);
        let lines = lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
        // The line is not repeated: it has the token.
        let tokens: Result<Vec<_>, u32> = lines.map(|(line, at)| token(line).ok_or(at)).collect();
        let rule = "each line has a token of 16 printable characters or more, then ` write` if it may write, and \
                    ` until 2026-12-31` if it expires";
        let tokens =
            tokens.map_err(|line| refuse(&format_args!("is wrong in line {line}: {rule}")))?;
        if tokens.is_empty() {
            return Err(refuse(&format_args!("has no token: {rule}")));
        }
        Ok(Self { tokens, hosts: Vec::new() })
    }

    /// Lets requests by these names pass, such as that of a reverse proxy, beside the names of the loopback device.
    #[must_use]
    pub fn hosts(self, hosts: Vec<String>) -> Self {
        Self { hosts, ..self }
    }

    /// Returns whether a request asks for this server, and not for another one whose name leads here.
    #[must_use]
    pub fn is_asked(&self, headers: &HeaderMap) -> bool {
        if !self.tokens.is_empty() {
            return true;
        }
        let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else {
            return false;
        };
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        let name = name.trim_start_matches('[').trim_end_matches(']');
        let is_loopback = name.eq_ignore_ascii_case("localhost")
            || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        is_loopback || self.hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    /// Returns what a request may do: by `Authorization: Bearer TOKEN`, or, as browsers have it, by a password.
    #[must_use]
    pub fn access(&self, headers: &HeaderMap, now: Timestamp) -> Access {
        if self.tokens.is_empty() {
            return Access::Granted(Right::Read);
        }
        let given = headers.get(header::AUTHORIZATION).and_then(|given| {
            let given = given.as_bytes();
            match given.strip_prefix(b"Bearer ") {
                Some(token) => Some(token.trim_ascii().to_vec()),
                None => given.strip_prefix(b"Basic ").and_then(password),
            }
        });
        let Some(given) = given else { return Access::Unknown };
        // All are compared, so that the time says nothing.
        self.tokens.iter().fold(Access::Unknown, |access, token| {
            let of_token = match (bool::from(token.bytes.ct_eq(&given)), token.until) {
                (false, _) => Access::Unknown,
                (true, Some(until)) if until <= now => Access::Expired,
                (true, _) => Access::Granted(token.right),
            };
            access.max(of_token)
        })
    }
}

/// A token, what it allows and until when, from a line of a file.
fn token(line: &str) -> Option<Token> {
    let mut words = line.split_whitespace();
    let bytes = words.next()?;
    let is_good = bytes.len() >= MIN_TOKEN && bytes.bytes().all(|byte| byte.is_ascii_graphic());
    let mut token =
        is_good.then(|| Token { bytes: bytes.into(), right: Right::Read, until: None })?;
    while let Some(word) = words.next() {
        match word {
            "write" if token.right == Right::Read => token.right = Right::Write,
            "until" if token.until.is_none() => token.until = Some(time(words.next()?)?),
            _ => return None,
        }
    }
    Some(token)
}

fn time(word: &str) -> Option<Timestamp> {
    let midnight = |date: Date| date.to_zoned(TimeZone::UTC).ok().map(|it| it.timestamp());
    // A date with a time of day in no zone could be anybody's.
    word.parse().ok().or_else(|| midnight(Date::strptime("%Y-%m-%d", word).ok()?))
}

/// The password of basic authentication; the name of the user is nothing.
fn password(encoded: &[u8]) -> Option<Vec<u8>> {
    let decoded = base64(encoded.trim_ascii())?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    decoded.get(colon + 1..).map(<[u8]>::to_vec)
}

fn base64(encoded: &[u8]) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(encoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const READS: &str = "may-read-0123456789";
    const WRITES: &str = "may-write-0123456789";

    fn access(lines: &[String], given: &str, now: &str) -> Access {
        let tokens = lines.iter().map(|line| token(line).unwrap()).collect();
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, format!("Bearer {given}").parse().unwrap());
        Guard { tokens, hosts: Vec::new() }.access(&headers, now.parse().unwrap())
    }

    #[test]
    fn a_token_is_good_until_its_time() {
        let lines = [
            format!("{READS} until 2026-12-31"),
            format!("{WRITES} until 2026-12-31T18:00:00+02:00 write"),
        ];
        let cases = [
            (READS, "2026-12-30T23:59:59Z", Access::Granted(Right::Read)),
            (READS, "2026-12-31T00:00:00Z", Access::Expired),
            (WRITES, "2026-12-31T15:59:59Z", Access::Granted(Right::Write)),
            (WRITES, "2026-12-31T16:00:00Z", Access::Expired),
            ("neither-0123456789", "2027-01-01T00:00:00Z", Access::Unknown),
        ];
        for (given, now, expected) in cases {
            assert_eq!(access(&lines, given, now), expected, "{given} at {now}");
        }
        // One that was given anew is good again.
        let again = [format!("{READS} until 2020-01-01"), format!("{READS} write")];
        assert_eq!(access(&again, READS, "2026-01-01T00:00:00Z"), Access::Granted(Right::Write));
    }

    #[test]
    fn a_line_that_is_wrong_is_named_and_not_repeated() {
        use std::os::unix::fs::PermissionsExt as _;

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens");
        let refused = |text: &str| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            Guard::read(&path).err().unwrap().to_string()
        };
        let told = refused("# ours\n\n0123456789abcdef write\n0123456789abcdef admin\n");
        assert!(told.contains("is wrong in line 4: "), "{told}");
        assert!(!told.contains("0123456789abcdef"), "{told}");
        assert!(refused("# none\n").contains("has no token: "));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let lines = [
            "short",
            "0123456789abcdef admin",
            "0123456789abcdef until",
            "0123456789abcdef until tomorrow",
            "0123456789abcdef until 2026-12-31T18:00:00",
            "0123456789abcdef until 2026-12-31 until 2027-12-31",
            "0123456789abcdef write write",
        ];
        for line in lines {
            assert!(token(line).is_none(), "{line}");
        }
    }
}
