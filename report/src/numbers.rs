//! Numbers as people read them.

/// A number with up to four digits and a suffix: 2.31, 3e-4, 524.3k, 9.83M.
pub fn short(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        return "not a number".into();
    } else if size == 0.0 {
        return "0".into();
    } else if !(1e-3..1e12).contains(&size) {
        return exponent(value, 3);
    }
    let (scale, suffix) = scaled(size);
    let digits = (3 - (size / scale).log10().floor() as i32).max(0) as usize;
    signed(&trimmed(&format!("{:.digits$}", value / scale))) + suffix
}

/// A whole number with commas between thousands: 12,345,678.
pub fn separated(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share in percent. Only nothing is 0%, and only all is 100%; a dash where there is no whole.
pub fn percent(part: u64, whole: u64) -> String {
    let share = 100.0 * part as f64 / whole as f64;
    match part {
        _ if whole == 0 => "\u{2013}".to_owned(),
        0 => "0%".to_owned(),
        part if part == whole => "100%".to_owned(),
        _ if share < 0.05 => "<0.1%".to_owned(),
        _ if share >= 99.95 => ">99.9%".to_owned(),
        _ => format!("{share:.1}%"),
    }
}

/// The length of a bar, as an attribute of SVG: "33.33%".
pub fn width(part: u64, whole: u64) -> String {
    format!("{:.2}%", 100.0 * part as f64 / whole.max(1) as f64)
}

/// Seconds in the two largest units: 42 s, 3 min 5 s, 2 h 10 min, 1 d 4 h.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{} s", short(seconds)),
        60..3_600 => format!("{} min {} s", whole / 60, whole % 60),
        3_600..86_400 => format!("{} h {} min", whole / 3_600, whole / 60 % 60),
        _ => format!("{} d {} h", whole / 86_400, whole / 3_600 % 24),
    }
}

/// The scale of a number and its suffix.
pub(crate) fn scaled(size: f64) -> (f64, &'static str) {
    match size {
        1e9.. => (1e9, "G"),
        1e6.. => (1e6, "M"),
        1e4.. => (1e3, "k"),
        _ => (1.0, ""),
    }
}

pub(crate) fn exponent(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$e}");
    let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
    signed(&format!("{}e{power}", trimmed(digits)))
}

/// Without zeros at the end of a fraction.
pub(crate) fn trimmed(digits: &str) -> String {
    if !digits.contains('.') {
        return digits.into();
    }
    digits.trim_end_matches('0').trim_end_matches('.').into()
}

/// With a minus sign as wide as a digit.
pub(crate) fn signed(text: &str) -> String {
    text.strip_prefix('-').map_or_else(|| text.into(), |rest| format!("\u{2212}{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let written = [0.0, 2.31049, 3e-4, -12.3456, 524_288.0, 9_830_400.0, f64::NAN].map(short);
        assert_eq!(written, ["0", "2.31", "3e-4", "\u{2212}12.35", "524.3k", "9.83M", "not a number"]);
    }

    #[test]
    fn thousands_are_separated() {
        let written = [0, 999, 1000, 12_345_678].map(separated);
        assert_eq!(written, ["0", "999", "1,000", "12,345,678"]);
    }

    #[test]
    fn shares_round_to_nothing_or_all_only_when_they_are() {
        assert_eq!(percent(0, 0), "\u{2013}");
        assert_eq!([percent(0, 9), percent(9, 9), percent(1, 3)], ["0%", "100%", "33.3%"]);
        assert_eq!([percent(1, 1_000_000), percent(999_999, 1_000_000)], ["<0.1%", ">99.9%"]);
        assert_eq!([width(1, 3), width(0, 0)], ["33.33%", "0.00%"]);
    }

    #[test]
    fn durations_have_two_units() {
        let written = [4.25, 185.0, 7_800.0, 100_800.0].map(duration);
        assert_eq!(written, ["4.25 s", "3 min 5 s", "2 h 10 min", "1 d 4 h"]);
    }
}
