//! Shares of a CPU as a person types them.

/// Parses `1%`, `off` (0) or `unlimited` (infinity).
pub(crate) fn parse(text: &str) -> Result<f64, String> {
    match text {
        "off" => return Ok(0.0),
        "unlimited" => return Ok(f64::INFINITY),
        _ => {}
    }
    let help = || format!("`{text}` is not a share: write it as `1%`, or `off`, or `unlimited`");
    let percent: f64 =
        text.strip_suffix('%').and_then(|number| number.parse().ok()).ok_or_else(help)?;
    match percent {
        0.01..=100.0 => Ok(percent / 100.0),
        _ => Err(format!("`{text}` is out of range: a share is from 0.01% to 100% of one CPU")),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_share_has_its_percent_sign() {
        assert_eq!(parse("1%"), Ok(0.01));
        assert_eq!(parse("0.5%"), Ok(0.005));
        assert_eq!(parse("off"), Ok(0.0));
        assert_eq!(parse("unlimited"), Ok(f64::INFINITY));
        for wrong in ["", "1", "%", "-1%", "101%", "nan%", "inf%", "1 %%", "one%"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
