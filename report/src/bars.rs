//! Horizontal bars with error bars: rows of HTML around small SVGs whose lengths are percentages, so they fit any width.

use crate::html::escape;

/// One bar.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// Its name.
    pub name: String,
    /// The class that colors it: one of [`series_class`], or one of the report's own that sets `--color`.
    pub class: String,
    /// Its length, between 0 and the highest; nothing is drawn for a value that is not finite.
    pub value: f64,
    /// The standard error of the value, drawn to both sides where it is finite.
    pub standard_error: Option<f64>,
    /// The value as text.
    pub figure: String,
}

/// The class of the color with this index; there are eight, used again.
pub fn series_class(index: usize) -> String {
    format!("s{}", index % 8)
}

/// Bars from 0 to `highest`, which is positive. `mark` is a dashed line across all of them, such as the value of chance.
pub fn bars(bars: &[Bar], highest: f64, mark: Option<f64>) -> String {
    bars.iter().map(|bar| row(bar, highest, mark)).collect()
}

fn row(bar: &Bar, highest: f64, mark: Option<f64>) -> String {
    let at = |value: f64| (100.0 * value / highest).clamp(0.0, 100.0);
    let mut drawn = String::from("<rect class=\"track\" width=\"100%\" height=\"100%\"/>");
    if bar.value.is_finite() {
        drawn.push_str(&format!("<rect class=\"fill\" width=\"{:.2}%\" height=\"100%\"/>", at(bar.value)));
    }
    if let Some(mark) = mark.filter(|mark| mark.is_finite()) {
        drawn.push_str(&format!(
            "<line class=\"mark\" x1=\"{0:.2}%\" x2=\"{0:.2}%\" y1=\"0\" y2=\"100%\"/>",
            at(mark)
        ));
    }
    if let Some(error) = bar.standard_error.filter(|error| bar.value.is_finite() && error.is_finite()) {
        let (low, high) = (at(bar.value - error), at(bar.value + error));
        for (x1, x2, y1, y2) in [(low, high, 50, 50), (low, low, 25, 75), (high, high, 25, 75)] {
            drawn.push_str(&format!(
                "<line class=\"error\" x1=\"{x1:.2}%\" x2=\"{x2:.2}%\" y1=\"{y1}%\" y2=\"{y2}%\"/>"
            ));
        }
    }
    let (name, figure) = (escape(&bar.name), escape(&bar.figure));
    format!(
        "<div class=\"bar {}\"><span>{name}</span><svg role=\"img\" aria-label=\"{name}: {figure}\">{drawn}</svg><b>{figure}</b></div>\n",
        escape(&bar.class)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_value() {
        let bar = Bar {
            name: "<b>".into(),
            class: series_class(9),
            value: 0.5,
            standard_error: Some(0.1),
            figure: "50.0".into(),
        };
        let drawn = bars(std::slice::from_ref(&bar), 1.0, Some(0.2));
        for part in [
            "class=\"bar s1\"",
            "width=\"50.00%\"",
            "x1=\"40.00%\" x2=\"60.00%\"",
            "x1=\"20.00%\"",
            "&lt;b&gt;",
        ] {
            assert!(drawn.contains(part), "{part} in {drawn}");
        }
        let unknown = Bar { value: f64::NAN, standard_error: Some(f64::NAN), ..bar };
        let drawn = bars(&[unknown], 1.0, None);
        assert!(!drawn.contains("NaN") && !drawn.contains("fill"), "{drawn}");
    }
}
