//! The value of `time_limit`, as flags and recipes write it.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The exit code of a run that its time limit stopped, as that of `timeout`.
pub(crate) const EXIT_CODE: u8 = 124;

/// How long a process may train; no limit by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TimeLimit(Option<Duration>);

impl TimeLimit {
    /// Returns whether a process that has trained this long must stop.
    pub(crate) fn is_reached(self, trained: Duration) -> bool {
        self.0.is_some_and(|limit| trained >= limit)
    }
}

impl fmt::Display for TimeLimit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => formatter.write_str("none"),
            Some(limit) => write!(formatter, "{}s", limit.as_secs_f64()),
        }
    }
}

impl FromStr for TimeLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        let wrong = || format!("`{text}` is not a time; expected a number with a unit: 90s, 30min or 2h");
        let end = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
        let seconds = match &text[end..] {
            "s" => 1.0,
            "min" | "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        let number: f64 = text[..end].parse().map_err(|_| wrong())?;
        let limit = Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())?;
        if limit.is_zero() { Err(wrong()) } else { Ok(Self(Some(limit))) }
    }
}

impl Serialize for TimeLimit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TimeLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, seconds) in [("90s", 90), ("1.5min", 90), ("30m", 1800), ("2h", 7200)] {
            let limit: TimeLimit = text.parse().unwrap();
            assert_eq!(limit, TimeLimit(Some(Duration::from_secs(seconds))));
            assert_eq!(limit.to_string().parse(), Ok(limit));
            assert!(limit.is_reached(Duration::from_secs(seconds)) && !limit.is_reached(Duration::ZERO));
        }
        assert_eq!("none".parse(), Ok(TimeLimit::default()));
        for text in ["", "90", "-1s", "2 days", "0s", "nans"] {
            assert!(text.parse::<TimeLimit>().unwrap_err().contains("30min"), "{text}");
        }
    }
}
