//! Moments as RFC 3339, in UTC, with milliseconds.

use jiff::Timestamp;
use serde::{Serialize, Serializer};

/// A moment, in milliseconds since the Unix epoch. The clock in a record's id reaches beyond the
/// year 9999, which RFC 3339 does not: what lies there is shown as its last millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(pub(super) u64);

impl Moment {
    /// This moment by the clock of this machine.
    pub(super) fn now() -> Self {
        Self(u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default())
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no time: write it like 2025-05-01T09:30:00Z");
        let moment: Timestamp = text.parse().map_err(|_| wrong())?;
        u64::try_from(moment.as_millisecond()).map(Self).map_err(|_| wrong())
    }
}

impl From<ocm_record::Time> for Moment {
    fn from(time: ocm_record::Time) -> Self {
        Self(time.millis())
    }
}

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let moment = i64::try_from(self.0).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        write!(f, "{:.3}", moment.unwrap_or(Timestamp::MAX))
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_utc_with_milliseconds() {
        assert_eq!(Moment(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Moment(1_746_091_800_120).to_string(), "2025-05-01T09:30:00.120Z");
        assert_eq!(Moment::parse("2025-05-01T11:30:00.12+02:00"), Ok(Moment(1_746_091_800_120)));
        assert!(Moment((1 << 48) - 1).to_string().starts_with("9999-12-3"));
        for wrong in ["", "yesterday", "2025-05-01", "1969-12-31T23:59:59Z"] {
            assert!(Moment::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
