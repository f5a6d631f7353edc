//! The encoding of text, which the locale tells.

use std::borrow::Cow;
use std::sync::OnceLock;

use memsample_input::ascii;

/// Returns whether text is encoded in UTF-8 here: it is unless the locale says otherwise.
#[must_use]
pub fn is_utf8() -> bool {
    static IS_UTF8: OnceLock<bool> = OnceLock::new();
    *IS_UTF8.get_or_init(|| {
        let variables = ["LC_ALL", "LC_CTYPE", "LANG"].map(std::env::var_os);
        let locale = variables.into_iter().flatten().find(|value| !value.is_empty());
        locale.is_none_or(|locale| {
            let locale = locale.to_string_lossy().to_lowercase();
            locale.contains("utf-8") || locale.contains("utf8")
        })
    })
}

/// Returns a text for people as it can be shown here: in ASCII where the locale names another encoding than UTF-8.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    match is_utf8() || text.is_ascii() {
        true => Cow::Borrowed(text),
        false => Cow::Owned(ascii(text)),
    }
}
