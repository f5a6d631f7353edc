//! A badge: one word about a suite or a test, as a picture for other pages.

use maud::html;

/// How a badge is coloured: its text says the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shade {
    Good,
    Bad,
    Plain,
}

/// The width of a character of 11 pixels, about: the text is fitted into what it gets.
const CHARACTER: usize = 7;
/// The longest text of a side, in characters.
const MAX_TEXT: usize = 60;

/// Returns the picture of a badge.
pub(crate) fn badge(label: &str, value: &str, shade: Shade) -> String {
    let (label, value) = (shortened(label), shortened(value));
    let width = |text: &str| text.chars().count() * CHARACTER + 12;
    let (left, right) = (width(&label), width(&value));
    let fill = match shade {
        Shade::Good => "#196c2e",
        Shade::Bad => "#a40e26",
        Shade::Plain => "#0b5cad",
    };
    let all = left + right;
    let drawn = html! {
        svg xmlns="http://www.w3.org/2000/svg" width=(all) height="20" viewBox={ "0 0 " (all) " 20" } role="img" aria-label={ (label) ": " (value) } {
            title { (label) ": " (value) }
            rect width=(all) height="20" rx="3" fill="#444" {}
            path d={ "M" (left) " 0h" (right.saturating_sub(3)) "a3 3 0 0 1 3 3v14a3 3 0 0 1-3 3h-" (right.saturating_sub(3)) "z" } fill=(fill) {}
            g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" {
                text x="6" y="14" textLength=(left - 12) lengthAdjust="spacingAndGlyphs" { (label) }
                text x=(left + 6) y="14" textLength=(right - 12) lengthAdjust="spacingAndGlyphs" { (value) }
            }
        }
    };
    drawn.into_string()
}

fn shortened(text: &str) -> String {
    memsample_input::shortened(&memsample_input::printable(text), MAX_TEXT)
}
