//! The profile of a user of S3: `~/.aws/credentials` and `~/.aws/config`, as all clients of S3 read them.

use std::env;
use std::path::PathBuf;

use ini::Ini;

use crate::error::{ErrorKind, StoreError};

/// What a profile says. It is not printed: it has secrets.
#[derive(Default)]
pub(crate) struct Profile {
    pub(crate) access_key_id: Option<String>,
    pub(crate) secret_access_key: Option<String>,
    pub(crate) session_token: Option<String>,
    pub(crate) region: Option<String>,
    pub(crate) endpoint_url: Option<String>,
}

impl Profile {
    /// Returns the profile that `AWS_PROFILE` names, or the default one.
    ///
    /// # Errors
    ///
    /// The profile that is named is in neither file, a file cannot be read, or it gets its credentials in a way that is
    /// not supported.
    pub(crate) fn of_user() -> Result<Self, StoreError> {
        let named = env::var("AWS_PROFILE").ok().filter(|name| !name.is_empty());
        let name = named.as_deref().unwrap_or("default");
        let credentials = file("AWS_SHARED_CREDENTIALS_FILE", "credentials")?;
        let config = file("AWS_CONFIG_FILE", "config")?;
        let section = if name == "default" { name.to_owned() } else { format!("profile {name}") };
        let in_credentials = credentials.as_ref().and_then(|file| file.section(Some(name)));
        let in_config = config.as_ref().and_then(|file| file.section(Some(section.as_str())));
        if named.is_some() && in_credentials.is_none() && in_config.is_none() {
            return Err(StoreError::new(
                ErrorKind::Refused,
                format!(
                    "AWS_PROFILE names `{name}`, which is in neither of the files credentials and config"
                ),
            ));
        }
        let get = |key: &str| {
            let value = in_credentials.and_then(|section| section.get(key));
            value.or_else(|| in_config.and_then(|section| section.get(key))).map(str::to_owned)
        };
        let profile = Self {
            access_key_id: get("aws_access_key_id"),
            secret_access_key: get("aws_secret_access_key"),
            session_token: get("aws_session_token"),
            region: get("region"),
            endpoint_url: get("endpoint_url"),
        };
        let elsewhere = ["credential_process", "sso_session", "sso_start_url", "role_arn"];
        let unsupported = elsewhere.iter().find(|key| get(key).is_some());
        if let (Some(key), None, true) = (unsupported, &profile.access_key_id, named.is_some()) {
            return Err(StoreError::new(
                ErrorKind::Refused,
                format!(
                    "the profile `{name}` has its credentials by `{key}`, which is not supported: \
                     `aws configure export-credentials --profile {name} --format env` prints variables that are"
                ),
            ));
        }
        Ok(profile)
    }
}

fn file(variable: &str, name: &str) -> Result<Option<Ini>, StoreError> {
    let path = match env::var_os(variable) {
        Some(path) => PathBuf::from(path),
        None => match env::var_os("HOME") {
            Some(home) => PathBuf::from(home).join(".aws").join(name),
            None => return Ok(None),
        },
    };
    if !path.exists() {
        return Ok(None);
    }
    // What is wrong in it is not printed: a line of it may be a secret.
    Ini::load_from_file(&path).map(Some).map_err(|_| {
        StoreError::new(
            ErrorKind::Refused,
            format!("`{}` cannot be read as a file of profiles", path.display()),
        )
    })
}
