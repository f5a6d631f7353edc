//! Paths in messages between the processes of a sandbox: any bytes, which a text of JSON cannot hold.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A path as a text where it is one, otherwise as its bytes.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Encoded {
    Text(PathBuf),
    Bytes(Vec<u8>),
}

impl From<&Path> for Encoded {
    fn from(path: &Path) -> Self {
        match path.to_str() {
            Some(_) => Self::Text(path.to_owned()),
            None => Self::Bytes(path.as_os_str().as_bytes().to_vec()),
        }
    }
}

impl From<Encoded> for PathBuf {
    fn from(encoded: Encoded) -> Self {
        match encoded {
            Encoded::Text(path) => path,
            Encoded::Bytes(bytes) => OsString::from_vec(bytes).into(),
        }
    }
}

pub(super) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    Encoded::from(path).serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    Encoded::deserialize(deserializer).map(PathBuf::from)
}

/// The same for a path that may be missing.
pub(super) mod optional {
    use super::*;

    pub(in super::super) fn serialize<S: Serializer>(
        path: &Option<PathBuf>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        path.as_deref().map(Encoded::from).serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<PathBuf>, D::Error> {
        Ok(Option::<Encoded>::deserialize(deserializer)?.map(PathBuf::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Paths {
        #[serde(with = "super")]
        one: PathBuf,
        #[serde(with = "super::optional")]
        other: Option<PathBuf>,
    }

    #[test]
    fn any_path_is_read_as_it_was_written() {
        let strange = PathBuf::from(OsString::from_vec(b"/a\xff\"\n".to_vec()));
        for other in [None, Some(PathBuf::from("/ä")), Some(strange.clone())] {
            let paths = Paths { one: strange.clone(), other };
            let json = serde_json::to_vec(&paths).unwrap();
            assert_eq!(serde_json::from_slice::<Paths>(&json).unwrap(), paths);
        }
    }
}
