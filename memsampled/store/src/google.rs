//! A bucket of Google Cloud Storage, with what its users set.

use std::env;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{ClientConfigKey, ClientOptions};
use serde_json::Value;

use crate::endpoint;
use crate::error::{ErrorKind, StoreError};

/// A file of credentials that is larger is none.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Where gcloud keeps what `gcloud auth application-default login` gave, in its directory.
const DEFAULT_FILE: &str = "application_default_credentials.json";

/// Returns what reaches a bucket by the settings of the environment, with `options` where it says nothing.
///
/// # Errors
///
/// A setting is wrong, or credentials cannot be read or are of a kind that is not supported.
pub(crate) fn builder(options: ClientOptions) -> Result<GoogleCloudStorageBuilder, StoreError> {
    let mut builder = GoogleCloudStorageBuilder::new().with_client_options(options);
    // Last, so that what the environment says of time limits and proxies holds.
    for (name, value) in env::vars_os() {
        let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else { continue };
        let key = name.starts_with("GOOGLE_").then(|| name.to_ascii_lowercase().parse());
        if let Some(Ok(key)) = key {
            builder = builder.with_config(key, value);
        }
    }
    let get = |builder: &GoogleCloudStorageBuilder, key| builder.get_config_value(&key);
    let mut variable = "GOOGLE_BASE_URL";
    // As Google's own libraries have it: a server of the kind, which asks for no credentials.
    let emulator = env::var("STORAGE_EMULATOR_HOST").ok().filter(|it| !it.is_empty());
    if let (None, Some(host)) = (get(&builder, GoogleConfigKey::BaseUrl), emulator) {
        variable = "STORAGE_EMULATOR_HOST";
        let url = if host.contains("://") { host } else { format!("http://{host}") };
        builder = builder.with_base_url(url.trim_end_matches('/')).with_skip_signature(true);
    }
    if let Some(url) = get(&builder, GoogleConfigKey::BaseUrl) {
        let allow_http = GoogleConfigKey::Client(ClientConfigKey::AllowHttp);
        let allowed = get(&builder, allow_http).is_some_and(|it| it.eq_ignore_ascii_case("true"));
        let allowed = endpoint::check(variable, &url, allowed, "GOOGLE_ALLOW_HTTP")?;
        builder = builder
            .with_base_url(url.trim_end_matches('/'))
            .with_config(allow_http, allowed.to_string());
    }
    let skips = get(&builder, GoogleConfigKey::SkipSignature);
    if skips.is_some_and(|it| it.eq_ignore_ascii_case("true")) {
        // object_store 0.14.2 asks for a token nevertheless when it writes.
        return Ok(builder.with_bearer_token(""));
    }
    credentials(builder)
}

/// Checks the credentials, as far as they are there to be looked at.
fn credentials(
    mut builder: GoogleCloudStorageBuilder,
) -> Result<GoogleCloudStorageBuilder, StoreError> {
    if builder.get_config_value(&GoogleConfigKey::BearerToken).is_some() {
        return Ok(builder);
    }
    if let Some(path) = builder.get_config_value(&GoogleConfigKey::ServiceAccount) {
        check("GOOGLE_SERVICE_ACCOUNT", &read(Path::new(&path))?, true)?;
    } else if let Some(key) = builder.get_config_value(&GoogleConfigKey::ServiceAccountKey) {
        check("GOOGLE_SERVICE_ACCOUNT_KEY", key.as_bytes(), true)?;
    } else if let Some(path) = builder.get_config_value(&GoogleConfigKey::ApplicationCredentials) {
        check(&path, &read(Path::new(&path))?, false)?;
    } else {
        let own = env::var_os("CLOUDSDK_CONFIG").map(PathBuf::from);
        let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".config/gcloud"));
        let path = own.or_else(home).map(|it| it.join(DEFAULT_FILE)).filter(|it| it.exists());
        if let Some(path) = path {
            let text = path.display().to_string();
            check(&text, &read(&path)?, false)?;
            builder = builder.with_application_credentials(text);
        }
    }
    Ok(builder)
}

fn read(path: &Path) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE_BYTES).read_to_end(&mut bytes));
    read.map(|_| bytes).map_err(|error| {
        let what = format!("cannot read the credentials in `{}`", path.display());
        StoreError::because(ErrorKind::Refused, what, error)
    })
}

/// Refuses what is no credentials, without a word of what is in it: it may be a secret.
fn check(place: &str, bytes: &[u8], is_service_account: bool) -> Result<(), StoreError> {
    let refused = |why: &str| StoreError::new(ErrorKind::Refused, format!("`{place}` {why}"));
    let Ok(Value::Object(found)) = serde_json::from_slice(bytes) else {
        return Err(refused("has no credentials: they are an object of JSON"));
    };
    let of = |key: &str| found.get(key).and_then(Value::as_str);
    let fields: &[&str] = match (of("type"), is_service_account) {
        (_, true) | (Some("service_account"), _) => {
            &["private_key", "private_key_id", "client_email"]
        }
        (Some("authorized_user"), _) => &["client_id", "client_secret", "refresh_token"],
        (Some("external_account" | "impersonated_service_account"), _) => {
            return Err(refused(
                "is of an account elsewhere or in another's place, which is not supported: put what \
                 `gcloud auth print-access-token` prints into GOOGLE_BEARER_TOKEN, which lasts an hour, or use a key of a \
                 service account",
            ));
        }
        _ => return Err(refused("has credentials of a kind that is not known")),
    };
    match fields.iter().find(|field| of(field).is_none()) {
        Some(field) => Err(refused(&format!("has no credentials: `{field}` is missing"))),
        None => Ok(()),
    }
}
