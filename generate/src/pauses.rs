//! How long to wait before the next request: as long as the server asks, in a header or in words, or else longer with every
//! failure.

use reqwest::header::HeaderMap;
use std::time::Duration;

/// The longest pause that is believed.
const LONGEST: Duration = Duration::from_secs(300);

/// The pause that headers ask for: `retry-after-ms`, `retry-after` in seconds or as a date, or the time until a limit that
/// is used up is reset (`x-ratelimit-remaining-requests: 0`, `x-ratelimit-reset-requests: 6m0s`).
pub(crate) fn wanted_pause(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let number = |name: &str| text(name)?.trim().parse::<f64>().ok();
    if let Some(milliseconds) = number("retry-after-ms") {
        return seconds(milliseconds / 1e3);
    }
    if let Some(text) = text("retry-after") {
        let date = || {
            let date = chrono::DateTime::parse_from_rfc2822(text).ok()?;
            Some((date.with_timezone(&chrono::Utc) - chrono::Utc::now()).as_seconds_f64())
        };
        return number("retry-after").or_else(date).and_then(seconds);
    }
    let used_up = ["requests", "tokens"].into_iter().filter(|what| {
        number(&format!("x-ratelimit-remaining-{what}")).is_some_and(|remaining| remaining <= 0.0)
    });
    used_up.filter_map(|what| duration(text(&format!("x-ratelimit-reset-{what}"))?)).max()
}

/// The pause that a message asks for: "Please retry in 41.2s", `"retryDelay": "41s"`, "try again in 6m0s".
pub(crate) fn in_words(message: &str) -> Option<Duration> {
    let (_, rest) = ["retry in ", "\"retryDelay\": \"", "\"retryDelay\":\"", "try again in "]
        .iter()
        .find_map(|words| message.split_once(words))?;
    let end =
        rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '.').unwrap_or(rest.len());
    duration(rest[..end].trim_end_matches('.'))
}

/// A duration such as `6m0s`, `250ms`, `41.2s` or, without a unit, seconds.
fn duration(text: &str) -> Option<Duration> {
    let (mut rest, mut sum) = (text.trim(), 0.0);
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(rest.len());
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let unit_end = rest.find(|letter: char| letter.is_ascii_digit()).unwrap_or(rest.len());
        sum += number
            * match &rest[..unit_end] {
                "ms" => 1e-3,
                "" | "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "d" => 86_400.0,
                _ => return None,
            };
        rest = &rest[unit_end..];
    }
    seconds(sum)
}

fn seconds(seconds: f64) -> Option<Duration> {
    seconds.is_finite().then(|| Duration::from_secs_f64(seconds.clamp(0.0, LONGEST.as_secs_f64())))
}

/// Doubles from half a second to half a minute, with a jitter of a quarter that depends on the call's seed.
pub(crate) fn after_failures(failed: u32, seed: u64) -> Duration {
    let jitter = 0.75 + (seed >> 11) as f64 / (1u64 << 53) as f64 * 0.5;
    Duration::from_secs_f64((0.25 * 2f64.powi(failed as i32)).min(30.0) * jitter)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn pause(headers: &[(&'static str, &str)]) -> Option<f64> {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        wanted_pause(&headers.collect()).map(|pause| pause.as_secs_f64())
    }

    #[test]
    fn pauses_are_read_from_every_header_that_names_one() {
        assert_eq!(pause(&[("retry-after", "2")]), Some(2.0));
        assert_eq!(pause(&[("retry-after", "2"), ("retry-after-ms", "2500")]), Some(2.5));
        assert_eq!(pause(&[("retry-after", "1e9")]), Some(300.0));
        assert_eq!(pause(&[("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")]), Some(0.0));
        let reset = ("x-ratelimit-reset-requests", "1m3s");
        assert_eq!(pause(&[reset, ("x-ratelimit-remaining-requests", "0")]), Some(63.0));
        assert_eq!(pause(&[reset, ("x-ratelimit-remaining-requests", "7")]), None);
        assert_eq!(pause(&[]), None);
    }

    #[test]
    fn pauses_are_read_from_words() {
        let read = |words: &str| in_words(words).map(|pause| pause.as_secs_f64());
        assert_eq!(read("Quota exceeded. Please retry in 41.2s."), Some(41.2));
        assert_eq!(read("{\"retryDelay\": \"41s\"}"), Some(41.0));
        assert_eq!(read("Please try again in 120ms. Visit"), Some(0.12));
        assert_eq!((read("slow down"), read("retry in a while")), (None, None));
    }
}
