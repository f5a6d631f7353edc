//! What a server answered, as an error in one line that says what helps.

use std::error::Error;
use std::io;

use memsample_input::with_causes;
use object_store::Error as Of;
use serde_json::Value;

use crate::address::Address;
use crate::error::{ErrorKind, NO_CREDENTIALS, StoreError};

/// Codes by which servers say that a bucket is asked for in another region than its own.
const OTHER_REGION: [&str; 4] = [
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "PermanentRedirect",
    "TemporaryRedirect",
];
/// Returns the error of what was done with a store.
pub(crate) fn error_of(address: &Address, what: &str, error: object_store::Error) -> StoreError {
    if let Some(own) = own(&error) {
        return StoreError::new(own.kind(), with_causes(own));
    }
    let said = Said::by(&error);
    let is_bucket = !matches!(address, Address::Directory(_));
    let kind = match &error {
        Of::AlreadyExists { .. } | Of::Precondition { .. } => ErrorKind::Exists,
        _ if said.is_of_bucket() => ErrorKind::NoBucket,
        Of::NotFound { .. } => ErrorKind::NotFound,
        Of::PermissionDenied { .. } | Of::Unauthenticated { .. } => ErrorKind::Refused,
        _ if is_bucket && (said.refuses() || said.is_of_credentials()) => ErrorKind::Refused,
        _ if !is_bucket && is_local(&error) => ErrorKind::Local,
        _ => ErrorKind::Unavailable,
    };
    let advice = match (kind, address) {
        (ErrorKind::Refused, Address::S3 { .. }) if said.is_of_region() => {
            " (AWS_REGION or the profile names the region of the bucket)"
        }
        (ErrorKind::Refused, Address::S3 { .. }) => {
            " (credentials are those of AWS_ACCESS_KEY_ID, AWS_PROFILE, or of the role of the machine)"
        }
        (ErrorKind::Refused, Address::Google { .. }) => {
            " (credentials are those of GOOGLE_APPLICATION_CREDENTIALS, `gcloud auth application-default login`, or of \
             the account of the machine)"
        }
        _ => "",
    };
    StoreError::new(kind, format!("cannot {what}: {}{advice}", said.text()))
}

/// What the last cause of an error says: each one above repeats all below.
struct Said {
    status: Option<u16>,
    code: Option<String>,
    message: String,
}

impl Said {
    fn by(error: &object_store::Error) -> Self {
        let mut last: &(dyn Error + 'static) = error;
        while let Some(source) = last.source() {
            last = source;
        }
        let text = last.to_string();
        let status = text.split_once("status code: ");
        let status = status.and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
        let xml = |name: &str| {
            let (_, rest) = text.split_once(&format!("<{name}>"))?;
            rest.split_once(&format!("</{name}>")).map(|(found, _)| found.to_owned())
        };
        let json = || text.split_once('{').and_then(|(_, rest)| of_json(&format!("{{{rest}")));
        let first_line = || {
            let line = text.lines().next().unwrap_or_default().trim_end_matches(": ");
            line.replace("Server returned non-2xx status code:", "the server answered")
        };
        match (xml("Code"), xml("Details").or_else(|| xml("Message")), json()) {
            (Some(code), message, _) => {
                Self { status, code: Some(code), message: message.unwrap_or_default() }
            }
            (None, _, Some((code, message))) => Self { status, code: Some(code), message },
            _ => Self { status, code: None, message: first_line() },
        }
    }

    fn text(&self) -> String {
        let text = match (&self.code, self.message.as_str()) {
            (Some(code), "") => code.clone(),
            (Some(code), message) => format!("{code}: {message}"),
            (None, message) => message.to_owned(),
        };
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn has_code(&self, codes: &[&str]) -> bool {
        self.code.as_deref().is_some_and(|code| codes.contains(&code))
    }

    fn is_of_bucket(&self) -> bool {
        self.has_code(&["NoSuchBucket"])
    }

    fn is_of_region(&self) -> bool {
        self.has_code(&OTHER_REGION) || self.message.contains("redirect without LOCATION")
    }

    fn is_of_credentials(&self) -> bool {
        self.message.starts_with(NO_CREDENTIALS)
    }

    fn refuses(&self) -> bool {
        // 408 and 429 ask to come again.
        let status =
            self.status.is_some_and(|it| matches!(it, 300..=499) && it != 408 && it != 429);
        status || self.is_of_region()
    }
}

/// Reads an answer in JSON as Google gives it: that of a server of tokens, or of another.
fn of_json(text: &str) -> Option<(String, String)> {
    let value: Value = serde_json::from_str(text).ok()?;
    let of = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let error = value.get("error")?;
    match error {
        Value::String(code) => {
            Some((code.clone(), of(&value, "error_description").unwrap_or_default()))
        }
        error => {
            let code = of(error, "status").or_else(|| error.get("code").map(Value::to_string));
            Some((code?, of(error, "message").unwrap_or_default()))
        }
    }
}

/// Returns the error of this program that an answer has within it.
fn own(error: &object_store::Error) -> Option<&StoreError> {
    match error {
        Of::Generic { source, .. } => source.downcast_ref(),
        _ => None,
    }
}

/// Returns whether a file of this machine is what fails.
fn is_local(error: &object_store::Error) -> bool {
    let mut source: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = source {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.raw_os_error().is_some()) {
            return true;
        }
        source = error.source();
    }
    false
}
