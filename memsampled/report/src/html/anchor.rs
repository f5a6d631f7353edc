//! Permanent links to tests: `#test=NAME`.

use memsample_input::printable;

/// Bytes of a name in a link; a longer name has the number of the test behind its beginning.
const MAX_BYTES: usize = 300;

/// Returns the name of the place of a test in the page. `index` is its position among the tests.
pub(super) fn id(test: &str, index: usize) -> String {
    let name = printable(test);
    if name.len() <= MAX_BYTES {
        return format!("test={name}");
    }
    format!("test={}…{index}", name.chars().take(MAX_BYTES / 4).collect::<String>())
}

/// Returns a link to a place in the page.
pub(super) fn link(id: &str) -> String {
    let mut link = "#".to_owned();
    for byte in id.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'=' | b'/' => {
                link.push(char::from(byte));
            }
            byte => link.push_str(&format!("%{byte:02X}")),
        }
    }
    link
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_says_which_test_it_is() {
        assert_eq!(link(&id("net/ping [1]", 0)), "#test=net/ping%20%5B1%5D");
        assert_eq!(id("a\nb", 0), "test=a\\nb");
        let long = "x".repeat(10_000);
        assert_ne!(id(&long, 1), id(&long, 2));
        assert!(id(&long, 1).len() < 100);
    }
}
