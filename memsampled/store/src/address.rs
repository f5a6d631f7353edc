//! Where a store is.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::{ErrorKind, StoreError};

/// Where a store is: `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`, `file:///DIRECTORY`, or the path of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A directory.
    Directory(PathBuf),
    /// A bucket of S3, or of what speaks its protocol (`AWS_ENDPOINT_URL`), and the prefix of all names in it.
    S3 {
        /// The bucket.
        bucket: String,
        /// Names begin with this; empty for all of the bucket.
        prefix: String,
    },
    /// A bucket of Google Cloud Storage.
    Google {
        /// The bucket.
        bucket: String,
        /// Names begin with this; empty for all of the bucket.
        prefix: String,
    },
}

/// What an address begins with, before `://`.
const SCHEMES: [&str; 6] = ["s3", "s3a", "gs", "file", "http", "https"];

impl FromStr for Address {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let wrong = |why: &str| {
            StoreError::new(
                ErrorKind::Address,
                format!(
                    "`{}` is no store: {why}; write s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or file:///DIRECTORY",
                    text.escape_debug()
                ),
            )
        };
        let Some((scheme, rest)) = text.split_once("://") else {
            return match text {
                "" => Err(wrong("it is empty")),
                // A typing error would make a directory of that name, which nobody looks for.
                path if SCHEMES.iter().any(|it| path.starts_with(&format!("{it}:"))) => Err(wrong(
                    "two slashes come behind the colon; `./` before the name of a directory",
                )),
                path => Ok(Self::Directory(PathBuf::from(path))),
            };
        };
        if rest.contains('@') {
            return Err(wrong("credentials do not belong into an address"));
        }
        let bucket = || {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let prefix = prefix.trim_matches('/').to_owned();
            if bucket.is_empty() {
                return Err(wrong("it names no bucket"));
            }
            if !bucket.bytes().all(|it| it.is_ascii_alphanumeric() || b".-_".contains(&it)) {
                return Err(wrong("the name of a bucket has letters, digits, `.`, `-` and `_`"));
            }
            if prefix.split('/').any(|part| part == "." || part == "..") {
                return Err(wrong("a prefix has no `.` or `..`"));
            }
            Ok((bucket.to_owned(), prefix))
        };
        match scheme {
            "file" if Path::new(rest).is_absolute() => Ok(Self::Directory(PathBuf::from(rest))),
            "file" => Err(wrong("the path behind file:// begins with a slash")),
            "s3" | "s3a" => bucket().map(|(bucket, prefix)| Self::S3 { bucket, prefix }),
            "gs" => bucket().map(|(bucket, prefix)| Self::Google { bucket, prefix }),
            _ => Err(wrong("its kind is not known")),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, bucket, prefix) = match self {
            Self::Directory(path) if path.is_absolute() => {
                return write!(f, "file://{}", path.display());
            }
            Self::Directory(path) => return path.display().fmt(f),
            Self::S3 { bucket, prefix } => ("s3", bucket, prefix),
            Self::Google { bucket, prefix } => ("gs", bucket, prefix),
        };
        write!(f, "{scheme}://{bucket}")?;
        if prefix.is_empty() { Ok(()) } else { write!(f, "/{prefix}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for text in ["s3://lab/a/b", "gs://lab", "file:///srv/lab"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!("lab".parse::<Address>().unwrap(), Address::Directory("lab".into()));
        assert_eq!("./s3:/a".parse::<Address>().unwrap().to_string(), "./s3:/a");
        assert_eq!("s3".parse::<Address>().unwrap().to_string(), "s3");
        assert_eq!("lab/a".parse::<Address>().unwrap().to_string(), "lab/a");
        for text in [
            "",
            "s3://",
            "s3:/lab/x",
            "gs:lab",
            "file:/srv",
            "ftp://x/y",
            "file://x",
            "s3://key:secret@lab",
            "s3://lab/../x",
            "s3://la b/x",
            "gs://lab?/x",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
