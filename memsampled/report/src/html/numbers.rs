//! Numbers: rounded for people, exact for programs and for who points at them.

use maud::{Markup, html};
use memsample_input::rounded_size;
use memsample_runner::results::BoundedBytes;

use crate::wording::{UNKNOWN, bounds};

/// Shows a size; `key` is the name of the number for programs.
pub(super) fn size(key: &str, bytes: u64) -> Markup {
    html! { data value=(bytes) itemprop=(key) title={ (bytes) " bytes" } { (rounded_size(bytes)) } }
}

/// Shows a size that may not be known.
pub(super) fn known_size(key: &str, bytes: Option<u64>) -> Markup {
    match bytes {
        Some(bytes) => size(key, bytes),
        None => html! { (UNKNOWN) },
    }
}

/// Shows a size within its bounds.
pub(super) fn bounded(key: &str, bytes: Option<BoundedBytes>) -> Markup {
    let Some(known) = bytes else { return html! { (UNKNOWN) } };
    let exact = match known.upper {
        Some(upper) => format!("{} to {upper} bytes", known.lower),
        None => format!("at least {} bytes: no upper bound is known", known.lower),
    };
    html! { data value=(known.lower) itemprop=(key) title=(exact) { (bounds(bytes)) } }
}
