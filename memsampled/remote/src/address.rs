//! Where a device is: `ssh://[user@]host[:port][/directory]`.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::str::FromStr;

use percent_encoding::percent_decode_str;

/// A device, and the directory below which files may be put there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    text: String,
    user: Option<String>,
    host: String,
    port: Option<u16>,
    directory: Option<OsString>,
}

/// What is said of an address that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadAddress(&'static str);

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BadAddress {}

impl Address {
    /// Returns the host as it was typed: a name of the configuration of ssh, or an address.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    pub(crate) fn port(&self) -> Option<u16> {
        self.port
    }

    /// Returns the directory below which files may be put; `None` leaves it to the device.
    pub(crate) fn directory(&self) -> Option<&OsStr> {
        self.directory.as_deref()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let rest = text
            .strip_prefix("ssh://")
            .ok_or(BadAddress("a device is ssh://[user@]host[:port][/directory]"))?;
        let (place, directory) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, ""),
        };
        let (user, place) = match place.rsplit_once('@') {
            Some((user, place)) => (Some(decoded(user)?), place),
            None => (None, place),
        };
        let (host, port) = host_and_port(place)?;
        // What begins with a dash is an option to ssh.
        for name in [Some(host), user.as_deref()].into_iter().flatten() {
            if name.starts_with('-') {
                return Err(BadAddress("a host or a user cannot begin with `-`"));
            }
            if name.is_empty()
                || name.contains(|char: char| char.is_whitespace() || char.is_control())
            {
                return Err(BadAddress("a host or a user is empty or has blanks in it"));
            }
        }
        let directory: Vec<u8> = percent_decode_str(directory).collect();
        if directory.iter().any(|byte| byte.is_ascii_control()) {
            return Err(BadAddress("the directory has a control character in it"));
        }
        let directory =
            (directory.len() > 1).then(|| OsString::from_vec(directory)).or_else(|| root(rest));
        Ok(Self { text: text.to_owned(), user, host: host.to_owned(), port, directory })
    }
}

/// Returns the root directory if an address ends with `//`, as `/` alone says nothing.
fn root(rest: &str) -> Option<OsString> {
    rest.ends_with("//").then(|| OsStr::from_bytes(b"/").to_owned())
}

fn decoded(text: &str) -> Result<String, BadAddress> {
    let text = percent_decode_str(text).decode_utf8();
    text.map(Into::into).map_err(|_| BadAddress("the user is not UTF-8"))
}

fn host_and_port(place: &str) -> Result<(&str, Option<u16>), BadAddress> {
    let (host, port) = match place.strip_prefix('[') {
        // The colons are those of IPv6.
        Some(rest) => {
            let (host, rest) =
                rest.split_once(']').ok_or(BadAddress("there is no `]` behind `[`"))?;
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return Err(BadAddress("behind `]` stands a port or nothing")),
            }
        }
        None => match place.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let port = port.map(|port| port.parse().ok().filter(|&port: &u16| port > 0));
    match port {
        Some(None) => Err(BadAddress("a port is a number from 1 to 65535")),
        port => Ok((host, port.flatten())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn parts(text: &str) -> (Option<String>, String, Option<u16>, Option<OsString>) {
        let address: Address = text.parse().unwrap();
        (address.user, address.host, address.port, address.directory)
    }

    #[test]
    fn an_address_has_a_host_and_perhaps_more() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(parts("ssh://touch"), (None, "touch".into(), None, None));
        assert_eq!(parts("ssh://touch/"), (None, "touch".into(), None, None));
        assert_eq!(
            parts("ssh://root@10.0.0.1:2222/data/a%20b"),
            (some("root"), "10.0.0.1".into(), Some(2222), Some("/data/a b".into()))
        );
        assert_eq!(parts("ssh://[fe80::1%eth0]:22").1, "fe80::1%eth0");
        assert_eq!(parts("ssh://a%40b@host").0, some("a@b"));
    }

    #[test]
    fn what_could_be_an_option_or_says_nothing_is_refused() {
        for wrong in [
            "touch",
            "ssh://",
            "ssh:///tmp",
            "ssh://-oProxyCommand=x",
            "ssh://-l@host",
            "ssh://@host",
            "ssh://host:",
            "ssh://host:0",
            "ssh://host:99999",
            "ssh://host:x",
            "ssh://[::1",
            "ssh://a b",
            "ssh://[::1]x",
            "ssh://host/a%0Ab",
        ] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
    }
}
