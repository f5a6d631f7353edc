//! Who may ask, and for what: whoever has a token, where tokens are wanted.

use std::fmt;
use std::path::Path;

use axum::http::{HeaderMap, header};
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

/// The tokens of those who may read or write. Without any, whoever asks by a name of this server may read: a page of
/// another one, to whose name somebody gave the address of this one, asks by that name.
#[derive(Default)]
pub struct Guard {
    tokens: Vec<(Vec<u8>, Right)>,
    hosts: Vec<String>,
}

impl Guard {
    /// Reads a file with a token on each line, followed by ` write` if who has it may write; empty lines and those that
    /// begin with `#` are nothing.
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
        let lines =
            text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let tokens: Option<Vec<_>> = lines.map(token).collect();
        let tokens = tokens.filter(|tokens| !tokens.is_empty()).ok_or_else(|| {
            refuse(
                &"must hold tokens of 16 printable characters or more, one on each line, with ` write` after those \
                  that may write",
            )
        })?;
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
    pub fn right(&self, headers: &HeaderMap) -> Option<Right> {
        if self.tokens.is_empty() {
            return Some(Right::Read);
        }
        let given = headers.get(header::AUTHORIZATION)?;
        let given = given.as_bytes();
        let token = match given.strip_prefix(b"Bearer ") {
            Some(token) => Some(token.trim_ascii().to_vec()),
            None => given.strip_prefix(b"Basic ").and_then(password),
        };
        let token = token?;
        // All are compared, so that the time says nothing.
        self.tokens.iter().fold(None, |right, (known, of_known)| {
            right.max(bool::from(known.ct_eq(&token)).then_some(*of_known))
        })
    }
}

/// A token and what it allows, from a line of a file.
fn token(line: &str) -> Option<(Vec<u8>, Right)> {
    let (token, right) = match line.split_once(char::is_whitespace) {
        None => (line, Right::Read),
        Some((token, right)) if right.trim() == "write" => (token, Right::Write),
        Some(_) => return None,
    };
    let is_good = token.len() >= MIN_TOKEN && token.bytes().all(|byte| byte.is_ascii_graphic());
    is_good.then(|| (token.as_bytes().to_vec(), right))
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
