//! What the values of options mean: sizes, times, paths and counts.

use std::time::Duration;

/// Default memory for keys and values of one of several models. The rest of the available memory is left to the weights
/// and to other programs.
pub(super) fn share_of_memory(available: Option<usize>, models: usize) -> usize {
    const MAX: usize = 4 << 30;
    available.map_or(MAX, |bytes| (bytes / 4 / models.max(1)).min(MAX))
}

/// A size such as `4GiB`, `512MB` or `1048576`.
pub(super) fn bytes(text: &str) -> Result<usize, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let unit: f64 = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "k" | "kib" => 1024.0,
        "m" | "mib" => 1024.0 * 1024.0,
        "g" | "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err(format!("`{text}` is not a size; give one such as 4GiB or 512MB")),
    };
    match text[..digits].parse::<f64>() {
        Ok(number) if number * unit >= 1.0 && number * unit < 9e15 => Ok((number * unit) as usize),
        _ => Err(format!("`{text}` is not a size; give one such as 4GiB or 512MB")),
    }
}

/// A size, or 0.
pub(super) fn bytes_or_none(text: &str) -> Result<usize, String> {
    if text == "0" { Ok(0) } else { bytes(text) }
}

pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.parse::<f64>().ok().filter(|seconds| (0.0..=1e9).contains(seconds));
    number
        .map(Duration::from_secs_f64)
        .ok_or_else(|| format!("`{text}` is not a number of seconds; give one from 0 to 1e9"))
}

/// A prefix of paths such as `/llm`, without a slash at the end.
pub(super) fn base_path(text: &str) -> Result<String, String> {
    let prefix = text.trim_end_matches('/');
    let is_path =
        prefix.starts_with('/') && !prefix.contains("//") && prefix.parse::<axum::http::Uri>().is_ok();
    is_path.then(|| prefix.to_owned()).ok_or_else(|| format!("`{text}` is not a path; give one such as /llm"))
}

pub(super) fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| format!("`{text}` is not an integer above 0"))
}
