//! Bars with error bars, as rows of HTML around small SVGs whose lengths are percentages: they fit any width.

use super::page::escape;
use crate::statistics::Estimate;

/// One bar.
pub(super) struct Bar {
    /// Whose it is.
    pub(super) name: String,
    /// Which colour, from 0.
    pub(super) colour: usize,
    pub(super) estimate: Estimate,
    /// The figure in words.
    pub(super) figure: String,
}

/// A card of bars from 0 to `highest`. A mark stands for what needs no model: its value, and what it is.
pub(super) fn card(title: &str, note: &str, bars: &[Bar], highest: f64, mark: Option<(f64, &str)>) -> String {
    let rows: String = bars.iter().map(|bar| row(bar, highest, mark)).collect();
    let said =
        mark.map_or_else(String::new, |(value, what)| format!("{}: {:.1}%", escape(what), 100.0 * value));
    let note =
        [escape(note), said].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ");
    format!("<div class=\"card\"><h3>{}</h3>\n{rows}<p class=\"note\">{note}</p></div>\n", escape(title))
}

fn row(bar: &Bar, highest: f64, mark: Option<(f64, &str)>) -> String {
    let at = |value: f64| (100.0 * value / highest).clamp(0.0, 100.0);
    let Estimate { value, standard_error } = bar.estimate;
    let mut drawn = String::from("<rect class=\"track\" width=\"100%\" height=\"100%\"/>");
    if value.is_finite() {
        drawn.push_str(&format!("<rect class=\"fill\" width=\"{:.2}%\" height=\"100%\"/>", at(value)));
    }
    if let Some((mark, _)) = mark.filter(|(mark, _)| mark.is_finite()) {
        drawn.push_str(&format!(
            "<line class=\"mark\" x1=\"{0:.2}%\" x2=\"{0:.2}%\" y1=\"0\" y2=\"100%\"/>",
            at(mark)
        ));
    }
    if value.is_finite() && standard_error.is_finite() {
        let (low, high) = (at(value - standard_error), at(value + standard_error));
        for (x1, x2, y1, y2) in [(low, high, 50, 50), (low, low, 25, 75), (high, high, 25, 75)] {
            drawn.push_str(&format!(
                "<line class=\"error\" x1=\"{x1:.2}%\" x2=\"{x2:.2}%\" y1=\"{y1}%\" y2=\"{y2}%\"/>"
            ));
        }
    }
    let (name, figure) = (escape(&bar.name), escape(&bar.figure));
    format!(
        "<div class=\"bar s{}\"><span>{name}</span><svg role=\"img\" aria-label=\"{name}: {figure}\">{drawn}</svg><b>{figure}</b></div>\n",
        bar.colour % 8
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_reaches_as_far_as_its_value() {
        let estimate = Estimate { value: 0.5, standard_error: 0.1 };
        let bar = Bar { name: "<b>".into(), colour: 9, estimate, figure: "50.0".into() };
        let drawn = row(&bar, 1.0, Some((0.2, "constant")));
        for part in [
            "class=\"bar s1\"",
            "width=\"50.00%\"",
            "x1=\"40.00%\" x2=\"60.00%\"",
            "x1=\"20.00%\"",
            "&lt;b&gt;",
        ] {
            assert!(drawn.contains(part), "{part} in {drawn}");
        }
        let unknown = Estimate { value: f64::NAN, standard_error: f64::NAN };
        assert!(!row(&Bar { estimate: unknown, ..bar }, 1.0, None).contains("NaN"));
    }
}
