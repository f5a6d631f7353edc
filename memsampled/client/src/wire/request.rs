//! The reading of requests, and the checks that several of them share.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::error::Category;

use super::{ErrorCode, Span, is_name, limits};

/// What a client sends as a body.
pub trait Request: DeserializeOwned {
    /// Describes what is out of range.
    ///
    /// # Errors
    ///
    /// What to send instead.
    fn check(&self) -> Result<(), String>;
}

/// Why bytes are not a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// [`ErrorCode::MalformedJson`] or [`ErrorCode::InvalidRequest`].
    pub code: ErrorCode,
    /// What to send instead.
    pub message: String,
}

/// Reads a request from the bytes of a body. Any bytes are read or refused.
///
/// # Errors
///
/// The bytes are not JSON, or not such a request.
pub fn parse<R: Request>(body: &[u8]) -> Result<R, Refusal> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let request = object(&mut json).and_then(|request: R| json.end().map(|()| request));
    let request = request.map_err(|error| match error.classify() {
        Category::Data => Refusal { code: ErrorCode::InvalidRequest, message: error.to_string() },
        _ => Refusal {
            code: ErrorCode::MalformedJson,
            message: format!("the body is not JSON: {error}"),
        },
    })?;
    match request.check() {
        Ok(()) => Ok(request),
        Err(message) => Err(Refusal { code: ErrorCode::InvalidRequest, message }),
    }
}

/// Reads a value from an object alone. Otherwise serde also takes the values of a structure from an array, in
/// their order, which no client means.
pub(super) fn object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    struct Object<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }
    deserializer.deserialize_map(Object(PhantomData))
}

/// Checks what a recording is to be called, if anything.
pub(super) fn check_recording_name(name: Option<&str>) -> Result<(), String> {
    match name {
        Some(name) if !is_name(name) => Err(format!(
            "`name` cannot be the name of a recording: use up to {} letters, digits, dots, underscores \
             and hyphens, beginning with a letter or a digit",
            limits::NAME_BYTES
        )),
        _ => Ok(()),
    }
}

/// Checks a length of time, if there is one.
pub(super) fn check_span(key: &str, span: Option<Span>) -> Result<(), String> {
    let checked = span.map(Span::whole_millis).transpose();
    checked
        .map(drop)
        .map_err(|wrong| format!("`{key}` {wrong}: write a length of time such as 100ms"))
}

/// Checks how many labels there are, and how long.
pub(super) fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), String> {
    if labels.len() > limits::LABELS {
        return Err(format!("`labels` has more than {} entries", limits::LABELS));
    }
    for (key, value) in labels {
        check_length("the key of a label", key, 1, limits::LABEL_KEY_CHARACTERS)?;
        check_length("the value of a label", value, 0, limits::LABEL_VALUE_CHARACTERS)?;
    }
    Ok(())
}

/// Checks how long a text is, in characters.
pub(super) fn check_length(what: &str, text: &str, min: usize, max: usize) -> Result<(), String> {
    let length = text.chars().count();
    match length {
        length if length < min => Err(format!("{what} is empty")),
        length if length > max => {
            Err(format!("{what} has {length} characters, and may have at most {max}"))
        }
        _ => Ok(()),
    }
}
