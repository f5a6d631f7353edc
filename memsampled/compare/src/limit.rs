//! `--fail-on`: how much worse a test may get.

use std::fmt;
use std::str::FromStr;

use memsample_input::{ByteSize, printable};

use crate::quantity::Quantity;

/// By how much a quantity may grow: `peak > 5%`, `pss_peak > 16MiB`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// Which quantity.
    pub quantity: Quantity,
    /// By how much it may grow.
    pub growth: Growth,
}

/// A growth from the base to the head.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Growth {
    /// In percent of the base.
    Percent(f64),
    /// In bytes.
    Bytes(u64),
}

impl Limit {
    /// Returns whether a growth is above the limit.
    pub(crate) fn is_exceeded(&self, percent: f64, bytes: f64) -> bool {
        match self.growth {
            Growth::Percent(limit) => percent > limit,
            Growth::Bytes(limit) => bytes > limit as f64,
        }
    }
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shown = printable(text);
        let form =
            || format!("`{shown}` is no limit: write it as `peak > 5%` or `pss_peak > 16MiB`");
        let (quantity, growth) = text.split_once('>').ok_or_else(form)?;
        let quantity = quantity.trim().parse()?;
        let growth = growth.trim();
        let growth = match growth.strip_suffix('%') {
            Some(number) => {
                let number = number.trim();
                let is_number = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
                let percent = number.parse().ok().filter(|_| is_number);
                Growth::Percent(percent.filter(|it: &f64| it.is_finite()).ok_or_else(form)?)
            }
            None => Growth::Bytes(
                ByteSize::parse(growth)
                    .map_err(|why| format!("`{}` is {why}, or 5%", printable(growth)))?
                    .0,
            ),
        };
        Ok(Self { quantity, growth })
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.growth {
            Growth::Percent(percent) => write!(f, "{} > {percent}%", self.quantity),
            Growth::Bytes(bytes) => write!(f, "{} > {}", self.quantity, ByteSize(bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_quantity_and_a_growth() {
        for (text, written) in [
            ("peak > 5%", "peak > 5%"),
            ("pss_peak>16MiB", "pss_peak > 16MiB"),
            (" anon_peak >  0.5 % ", "anon_peak > 0.5%"),
            ("rss_peak > 0%", "peak > 0%"),
        ] {
            assert_eq!(text.parse::<Limit>().unwrap().to_string(), written);
        }
        for wrong in [
            "",
            "peak",
            "peak > ",
            "peak > 5",
            "peak > -5%",
            "peak > %",
            "peak > NaN%",
            "time > 5%",
            "peak < 5%",
            "peak > inf%",
            "peak >= 5%",
        ] {
            assert!(wrong.parse::<Limit>().is_err(), "{wrong}");
        }
        let limit: Limit = "peak > 16B".parse().unwrap();
        assert!(!limit.is_exceeded(900.0, 16.0) && limit.is_exceeded(0.0, 16.5));
    }
}
