//! One character that is as high as a share.

/// From the lowest to the highest.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// The same where only ASCII can be shown.
const ASCII: [char; 8] = ['_', '.', ':', '-', '=', '+', '*', '#'];

/// Returns the character that is as high as `share`, from 0 to 1: curves in one line are made of them.
#[must_use]
pub fn column_block(share: f64, utf8: bool) -> char {
    let levels = if utf8 { BLOCKS } else { ASCII };
    let last = levels.len() - 1;
    let level = (share.clamp(0.0, 1.0) * last as f64).round() as usize;
    levels.get(level).copied().unwrap_or(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_has_a_height() {
        let drawn = |utf8| [0.0, 0.5, 1.0, 2.0].map(|share| column_block(share, utf8));
        assert_eq!(drawn(true), ['▁', '▅', '█', '█']);
        assert_eq!(drawn(false), ['_', '=', '#', '#']);
        assert_eq!(column_block(f64::NAN, true), '▁');
    }
}
