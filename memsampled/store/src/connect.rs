//! Reaches a store, with the credentials that its users have anyway.

use std::path::Path;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;

use crate::address::Address;
use crate::error::{ErrorKind, StoreError};
use crate::parts::Parts;

/// The objects of a store, and what takes large ones in parts that a later push can go on with.
pub(crate) type Connected = (Arc<dyn ObjectStore>, Option<Parts>);

/// Returns the objects of a store, named from its root.
///
/// # Errors
///
/// The directory cannot be made, a setting of the environment is wrong, or this program was built without buckets.
pub(crate) fn connect(address: &Address) -> Result<Connected, StoreError> {
    match address {
        Address::Directory(path) => Ok((directory(path)?, None)),
        #[cfg(feature = "buckets")]
        Address::S3 { bucket, prefix } => buckets::s3(bucket, prefix),
        #[cfg(feature = "buckets")]
        Address::Google { bucket, prefix } => buckets::google(bucket, prefix),
        #[cfg(not(feature = "buckets"))]
        Address::S3 { .. } | Address::Google { .. } => Err(StoreError::new(
            ErrorKind::Address,
            format!(
                "`{address}` is a bucket, and this program was built without the feature `lab`"
            ),
        )),
    }
}

fn directory(path: &Path) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let named = |what: &str| format!("cannot {what} the store `{}`", path.display());
    std::fs::create_dir_all(path).map_err(|error| StoreError::local(named("make"), error))?;
    let opened = LocalFileSystem::new_with_prefix(path);
    let opened =
        opened.map_err(|error| StoreError::because(ErrorKind::Local, named("open"), error))?;
    // What is removed leaves no empty directories of partitions, and what was put survives a loss of power.
    Ok(Arc::new(opened.with_automatic_cleanup(true).with_fsync(true)))
}

#[cfg(feature = "buckets")]
mod buckets {
    use std::time::Duration;

    use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum};
    use object_store::multipart::MultipartStore;
    use object_store::path::Path;
    use object_store::prefix::PrefixStore;
    use object_store::{ClientConfigKey, ClientOptions, RetryConfig};

    use super::{Arc, Connected, ErrorKind, ObjectStore, Parts, StoreError};
    use crate::profile::Profile;
    use crate::reach::Reach;
    use crate::{endpoint, google as google_settings};

    /// How long a server may say nothing.
    const SILENCE: Duration = Duration::from_secs(20);
    /// How long one request may take, with its body.
    const REQUEST: Duration = Duration::from_secs(300);
    /// How long a request is repeated that a server refuses for now.
    const REPEATED: Duration = Duration::from_secs(60);

    fn client() -> ClientOptions {
        let options = ClientOptions::new().with_connect_timeout(Duration::from_secs(5));
        options.with_read_timeout(SILENCE).with_timeout(REQUEST)
    }

    fn retry() -> RetryConfig {
        // The time is what ends it: ten times, which is the default, are over after two seconds.
        RetryConfig { retry_timeout: REPEATED, max_retries: 1000, ..RetryConfig::default() }
    }

    fn below(prefix: &str, store: impl ObjectStore + MultipartStore + Clone) -> Connected {
        // Escaped as all other names are.
        let prefix = Path::from(prefix).to_string();
        let parts = Parts { bucket: Arc::new(store.clone()), prefix: prefix.clone() };
        let objects: Arc<dyn ObjectStore> = match prefix.as_str() {
            "" => Arc::new(store),
            prefix => Arc::new(PrefixStore::new(store, prefix)),
        };
        (objects, Some(parts))
    }

    fn wrong(error: object_store::Error) -> StoreError {
        StoreError::because(ErrorKind::Address, "cannot use the store", error)
    }

    pub(super) fn s3(bucket: &str, prefix: &str) -> Result<Connected, StoreError> {
        let profile = Profile::of_user()?;
        let mut builder = AmazonS3Builder::new().with_client_options(client());
        // Last, so that what the environment says of time limits and proxies holds.
        for (name, value) in std::env::vars_os() {
            let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else { continue };
            let key = name.starts_with("AWS_").then(|| name.to_ascii_lowercase().parse());
            if let Some(Ok(key)) = key {
                builder = builder.with_config(key, value);
            }
        }
        // The environment goes before the profile, as in all other clients.
        let given = |key: &AmazonS3ConfigKey| builder.get_config_value(key).is_some();
        let lacks_key = !given(&AmazonS3ConfigKey::AccessKeyId);
        let mut settings = Vec::new();
        if lacks_key {
            settings.push((AmazonS3ConfigKey::AccessKeyId, profile.access_key_id));
            settings.push((AmazonS3ConfigKey::SecretAccessKey, profile.secret_access_key));
            settings.push((AmazonS3ConfigKey::Token, profile.session_token));
        }
        let lacks_region =
            !given(&AmazonS3ConfigKey::Region) && !given(&AmazonS3ConfigKey::DefaultRegion);
        if lacks_region {
            settings.push((AmazonS3ConfigKey::Region, profile.region));
        }
        if !given(&AmazonS3ConfigKey::Endpoint) {
            settings.push((AmazonS3ConfigKey::Endpoint, profile.endpoint_url));
        }
        for (key, value) in settings {
            if let Some(value) = value {
                builder = builder.with_config(key, value);
            }
        }
        if let Some(url) = builder.get_config_value(&AmazonS3ConfigKey::Endpoint) {
            let allow_http = AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp);
            let allowed = builder.get_config_value(&allow_http);
            let allowed = allowed.is_some_and(|it| it.eq_ignore_ascii_case("true"));
            let allowed = endpoint::check("AWS_ENDPOINT_URL", &url, allowed, "AWS_ALLOW_HTTP")?;
            builder = builder.with_config(allow_http, allowed.to_string());
        }
        let store = builder
            .with_bucket_name(bucket)
            .with_checksum_algorithm(Checksum::SHA256)
            .with_retry(retry())
            .with_http_connector(Reach::default())
            .build()
            .map_err(wrong)?;
        Ok(below(prefix, store))
    }

    pub(super) fn google(bucket: &str, prefix: &str) -> Result<Connected, StoreError> {
        let store = google_settings::builder(client())?
            .with_bucket_name(bucket)
            .with_retry(retry())
            .with_http_connector(Reach::default())
            .build()
            .map_err(wrong)?;
        Ok(below(prefix, store))
    }
}
