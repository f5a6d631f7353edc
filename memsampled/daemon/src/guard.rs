//! What a request over TCP must show: any program of this machine can connect, and any web page can
//! make a browser do so.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use axum::http::{HeaderMap, header};
use memsample_input::{SecretFile, SecretFileError};
use subtle::ConstantTimeEq;

use super::failure::Failure;
use super::peer::Peer;
use memsample_client::wire::ErrorCode;

/// A token with fewer bytes could be guessed.
const MIN_TOKEN_BYTES: usize = 16;
/// A larger file holds something else.
const MAX_TOKEN_BYTES: u64 = 4096;

/// Checks requests that come over TCP.
pub(super) struct Guard {
    address: SocketAddr,
    token: Vec<u8>,
    owner: Peer,
}

impl Guard {
    /// Reads the token, whose file only its owner may read.
    pub(super) fn new(address: SocketAddr, token_file: &Path) -> io::Result<Self> {
        let refuse = |reason: &str| {
            Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("`{}` {reason}", token_file.display()),
            ))
        };
        let file = match SecretFile::read(token_file, MAX_TOKEN_BYTES) {
            Ok(file) => file,
            Err(SecretFileError::Unreadable(error)) => {
                let path = token_file.display();
                let what = format!("cannot read the token file `{path}`: {error}");
                return Err(io::Error::new(error.kind(), what));
            }
            Err(SecretFileError::Open) => {
                return refuse("must be a file that only its owner may read: `chmod 600` it");
            }
            Err(SecretFileError::TooLarge) => {
                return refuse("must hold a token of 4096 bytes at most");
            }
        };
        let token = file.bytes.trim_ascii().to_vec();
        if token.len() < MIN_TOKEN_BYTES || !token.iter().all(u8::is_ascii_graphic) {
            return refuse("must hold a token of 16 printable characters or more");
        }
        Ok(Self { address, token, owner: Peer { uid: file.uid, gid: file.gid, pid: None } })
    }

    /// Returns the address that it guards.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the user behind a request: the owner of the token.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<Peer, Failure> {
        let one = |name| {
            let mut values = headers.get_all(name).iter();
            values.next().filter(|_| values.next().is_none())
        };
        // A page of another site can have its own name point to 127.0.0.1, but not change `Host`.
        let host = one(header::HOST).and_then(|host| host.to_str().ok());
        if !host.is_some_and(|host| self.is_own_host(host)) {
            return Err(Failure::new(
                ErrorCode::Forbidden,
                format!("the header Host must name this daemon: http://{}", self.address),
            ));
        }
        if headers.contains_key(header::ORIGIN) {
            let origin = one(header::ORIGIN).and_then(|origin| origin.to_str().ok());
            let host = origin.and_then(|origin| origin.strip_prefix("http://"));
            if !host.is_some_and(|host| self.is_own_host(host)) {
                return Err(Failure::new(
                    ErrorCode::Forbidden,
                    "pages of other origins may not use this daemon",
                ));
            }
        }
        let shown = one(header::AUTHORIZATION).map(|value| value.as_bytes());
        let shown = shown.and_then(|value| {
            let (scheme, token) = value.split_at_checked(7)?;
            scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
        });
        match shown {
            // In constant time: how much of it is right must not show.
            Some(token) if bool::from(token.ct_eq(&self.token)) => Ok(self.owner),
            _ => Err(Failure::new(
                ErrorCode::Unauthorized,
                "show the token of the daemon: `Authorization: Bearer TOKEN`, from the file that --token-file \
                 names",
            )),
        }
    }

    fn is_own_host(&self, host: &str) -> bool {
        let own = self.address.to_string();
        let port = self.address.port();
        host == own || host == format!("localhost:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        Guard {
            address: "127.0.0.1:8021".parse().unwrap(),
            token: b"0123456789abcdef".to_vec(),
            owner: Peer { uid: 7, gid: 7, pid: None },
        }
    }

    #[track_caller]
    fn check(headers: &[(&'static str, &str)], expected: Result<u32, ErrorCode>) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let outcome = guard().check(&map).map(|peer| peer.uid).map_err(|failure| failure.code);
        assert_eq!(outcome, expected, "{headers:?}");
    }

    #[test]
    fn host_origin_and_token_must_all_be_right() {
        let host = ("host", "127.0.0.1:8021");
        let token = ("authorization", "Bearer 0123456789abcdef");
        check(&[host, token], Ok(7));
        check(&[("host", "localhost:8021"), ("authorization", "bearer 0123456789abcdef")], Ok(7));
        check(&[host, token, ("origin", "http://localhost:8021")], Ok(7));
        for wrong in
            ["evil.example", "127.0.0.1", "127.0.0.1:80", "127.0.0.1:8021.evil.example", ""]
        {
            check(&[("host", wrong), token], Err(ErrorCode::Forbidden));
        }
        check(&[token], Err(ErrorCode::Forbidden));
        check(&[host, host, token], Err(ErrorCode::Forbidden));
        for origin in ["http://evil.example", "null", "https://127.0.0.1:8021", ""] {
            check(&[host, token, ("origin", origin)], Err(ErrorCode::Forbidden));
        }
        for wrong in
            ["Bearer 0123456789abcdeX", "Bearer ", "Basic 0123456789abcdef", "0123456789abcdef", ""]
        {
            check(&[host, ("authorization", wrong)], Err(ErrorCode::Unauthorized));
        }
        check(&[host], Err(ErrorCode::Unauthorized));
        check(&[host, token, token], Err(ErrorCode::Unauthorized));
    }
}
