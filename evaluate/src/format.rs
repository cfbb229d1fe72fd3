//! Figures as text, the same in the table and in the report.

use crate::gains::Gain;
use crate::statistics::Estimate;

/// A share in percent with its standard error, such as "64.3 ± 0.8"; "-" if there is no value.
pub(crate) fn percent(estimate: Estimate) -> String {
    let Estimate { value, standard_error } = estimate;
    match (value.is_nan(), standard_error.is_nan()) {
        (true, _) => "-".to_owned(),
        (_, true) => format!("{:.1}", 100.0 * value),
        _ => format!("{:.1} \u{b1} {:.1}", 100.0 * value, 100.0 * standard_error),
    }
}

/// A number with its standard error; "-" if there is no value.
pub(crate) fn number(estimate: Estimate) -> String {
    let Estimate { value, standard_error } = estimate;
    match (value.is_nan(), standard_error.is_nan()) {
        (true, _) => "-".to_owned(),
        (_, true) => format!("{value:.3}"),
        _ => format!("{value:.3} \u{b1} {standard_error:.3}"),
    }
}

/// A gain in percentage points with its standard error.
pub(crate) fn points(gain: &Gain) -> String {
    let Estimate { value, standard_error } = gain.gain;
    let error = if standard_error.is_nan() {
        String::new()
    } else {
        format!(" \u{b1} {:.1}", 100.0 * standard_error)
    };
    format!("{:+.1}{error} points", 100.0 * value)
}

/// What a gain is measured on, with the modes of the two models where they differ: "questions (chat after 5-shot)".
pub(crate) fn measure(gain: &Gain) -> String {
    match gain.modes {
        Some((before, after)) if before != after => {
            format!("{} ({} after {})", gain.measure, after.name(), before.name())
        }
        _ => gain.measure.to_owned(),
    }
}
