//! How much a link lets through.

use std::fmt;
use std::str::FromStr;

/// Bits a second, written `64kbit`, `1mbit` or `2gbit`; no limit, written `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(pub Option<u64>);

/// Below this, not even a greeting gets through in time.
const LEAST: u64 = 8_000;
/// More than a machine passes between its own namespaces.
const MOST: u64 = 100_000_000_000;

const UNITS: [(&str, &str, u64); 3] =
    [("gbit", "Gbit/s", 1_000_000_000), ("mbit", "Mbit/s", 1_000_000), ("kbit", "kbit/s", 1_000)];

impl FromStr for Rate {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no whole number of kbit, mbit or gbit from 8kbit to 100gbit: write 64kbit, 1mbit or off"
            )
        };
        let lower = text.trim().to_ascii_lowercase();
        if lower == "off" {
            return Ok(Self(None));
        }
        let unit = UNITS.iter().find_map(|(unit, _, bits)| Some((lower.strip_suffix(unit)?, bits)));
        let (number, bits) = unit.ok_or_else(wrong)?;
        let number: u64 = number.trim_end().parse().map_err(|_| wrong())?;
        let rate = number.checked_mul(*bits).filter(|rate| (LEAST..=MOST).contains(rate));
        rate.map(|rate| Self(Some(rate))).ok_or_else(wrong)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(rate) = self.0 else { return f.write_str("no limit") };
        let whole = |(_, _, bits): &&(_, _, u64)| rate.is_multiple_of(*bits);
        match UNITS.iter().find(whole) {
            Some((_, unit, bits)) => write!(f, "{} {unit}", rate / bits),
            None => write!(f, "{rate} bit/s"),
        }
    }
}

/// Packets of a hundred that a link loses: `30%`, or `30`.
pub(super) fn percent(text: &str) -> Result<u8, String> {
    let number = text.trim().strip_suffix('%').unwrap_or(text.trim()).trim_end();
    let percent = number.parse().ok().filter(|percent| *percent <= 100);
    percent.ok_or_else(|| {
        format!("{text:?} is no share of packets: write a whole number from 0% to 100%")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_whole_numbers_with_a_unit() {
        for (text, bits, shown) in [
            ("64kbit", Some(64_000), "64 kbit/s"),
            (" 1Mbit ", Some(1_000_000), "1 Mbit/s"),
            ("1500 kbit", Some(1_500_000), "1500 kbit/s"),
            ("100gbit", Some(MOST), "100 Gbit/s"),
            ("8kbit", Some(LEAST), "8 kbit/s"),
            ("off", None, "no limit"),
        ] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!((rate.0, rate.to_string().as_str()), (bits, shown), "{text}");
        }
        for text in
            ["", "1", "1mb", "7kbit", "101gbit", "-1mbit", "1.5mbit", "99999999999999999gbit"]
        {
            let error = text.parse::<Rate>().unwrap_err();
            assert!(error.contains("write 64kbit"), "{error}");
        }
    }

    #[test]
    fn losses_are_whole_percents() {
        for (text, share) in [("30%", 30), ("0", 0), (" 100 % ", 100)] {
            assert_eq!(percent(text), Ok(share), "{text}");
        }
        for text in ["", "%", "101%", "-1%", "0.5%", "half"] {
            assert!(percent(text).is_err(), "{text}");
        }
    }
}
