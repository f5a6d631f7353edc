//! The server of a bucket, as a user names it: `AWS_ENDPOINT_URL` and the like.

use std::net::IpAddr;

use reqwest::Url;

use crate::error::{ErrorKind, StoreError};

/// Checks the address of a server, and returns whether it may be used without encryption: on this machine, or where
/// the user allows it.
///
/// # Errors
///
/// It is none, or is not encrypted where it has to be.
pub(crate) fn check(
    variable: &str,
    endpoint: &str,
    http_is_allowed: bool,
    allowed_by: &str,
) -> Result<bool, StoreError> {
    let wrong = |why: &str| StoreError::new(ErrorKind::Address, format!("{variable}: {why}"));
    // It is not printed before it is known to have no password in it.
    let url = Url::parse(endpoint).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let Some(url) = url else {
        return Err(wrong("write the address of a server, such as https://minio.lab:9000"));
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("credentials do not belong into an address"));
    }
    if url.scheme() == "https" {
        return Ok(http_is_allowed);
    }
    if !http_is_allowed && !is_loopback(&url) {
        return Err(wrong(&format!(
            "{url} is not encrypted: write https://, or set {allowed_by}=true if you trust the network"
        )));
    }
    Ok(true)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|it| it.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(endpoint: &str, allowed: bool) -> Result<bool, String> {
        check("V", endpoint, allowed, "A").map_err(|error| error.to_string())
    }

    #[test]
    fn only_what_stays_on_this_machine_is_not_encrypted() {
        for local in ["http://127.0.0.1:9000", "http://localhost", "http://[::1]:80/"] {
            assert_eq!(checked(local, false), Ok(true), "{local}");
        }
        assert_eq!(checked("https://minio.lab", false), Ok(false));
        assert_eq!(checked("http://minio.lab", true), Ok(true));
        for elsewhere in ["http://minio.lab:9000", "http://127.example.com", "http://10.0.0.1"] {
            assert!(
                checked(elsewhere, false).unwrap_err().contains("not encrypted"),
                "{elsewhere}"
            );
        }
    }

    #[test]
    fn what_is_no_address_is_not_repeated() {
        for wrong in ["minio.lab:9000", "minio", "", "ftp://minio", "https://key:secret@minio.lab"]
        {
            let error = checked(wrong, true).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
