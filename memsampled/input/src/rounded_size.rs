//! Sizes for people to read.

use bytesize::ByteSize;

/// Formats a number of bytes, rounded to one digit behind the point: `1.5 MiB`.
#[must_use]
pub fn rounded_size(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_rounded_in_its_largest_unit() {
        for (bytes, text) in
            [(0, "0 B"), (1023, "1023 B"), (1536 << 10, "1.5 MiB"), (1 << 40, "1.0 TiB")]
        {
            assert_eq!(rounded_size(bytes), text);
        }
    }
}
