//! The axes of a chart: the ranges of steps and values, where they fall in the drawing, and round ticks.

use crate::numbers::{exponent, scaled, signed, trimmed};

pub(crate) const WIDTH: f64 = 640.0;
pub(crate) const HEIGHT: f64 = 264.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = WIDTH - 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = HEIGHT - 30.0;

/// Ranges of steps and values, and where they fall in the drawing.
pub(crate) struct Axes {
    pub(crate) steps: (f64, f64),
    pub(crate) values: (f64, f64),
}

impl Axes {
    /// Axes for these ranges, widened where a range is a single number.
    pub(crate) fn new(steps: (f64, f64), values: impl Iterator<Item = f64>) -> Self {
        Self { steps: widened(steps), values: range(values) }
    }

    pub(crate) fn x(&self, step: f64) -> f64 {
        LEFT + (step - self.steps.0) / (self.steps.1 - self.steps.0) * (RIGHT - LEFT)
    }

    /// A value outside of the range is drawn on the edge.
    pub(crate) fn y(&self, value: f64) -> f64 {
        let value = value.clamp(self.values.0, self.values.1);
        BOTTOM - (value - self.values.0) / (self.values.1 - self.values.0) * (BOTTOM - TOP)
    }

    /// The pixel column of a step.
    pub(crate) fn column(&self, step: f64) -> i64 {
        self.x(step).floor() as i64
    }

    /// A vertical line at a step, with its reason as escaped text; none for a step that is not in the range.
    pub(crate) fn mark(&self, step: f64, reason: &str) -> String {
        if step < self.steps.0 || step > self.steps.1 {
            return String::new();
        }
        format!(
            "<path class=\"event\" d=\"M{:.1} {TOP}V{BOTTOM}\"><title>{reason}</title></path>\n",
            self.x(step)
        )
    }

    /// Grid lines and tick labels.
    pub(crate) fn grid(&self) -> String {
        let (mut lines, mut labels) = (String::new(), String::new());
        let row = BOTTOM + 20.0;
        let (values, distance) = ticks(self.values, 5.0, 0.0);
        let largest = extent(values.iter().map(|value| value.abs())).1;
        for value in values {
            let (y, text) = (self.y(value), tick_label(value, distance, largest));
            lines.push_str(&format!("M{LEFT} {y:.1}H{RIGHT}"));
            labels.push_str(&format!(
                "<text class=\"value\" x=\"{}\" y=\"{:.1}\">{text}</text>",
                LEFT - 8.0,
                y + 4.0
            ));
        }
        let (steps, distance) = ticks(self.steps, 7.0, 1.0);
        let largest = extent(steps.iter().map(|step| step.abs())).1;
        for step in steps {
            let (x, text) = (self.x(step), tick_label(step, distance, largest));
            labels.push_str(&format!("<text x=\"{x:.1}\" y=\"{row}\">{text}</text>"));
        }
        labels.push_str(&format!("<text class=\"value\" x=\"{}\" y=\"{row}\">step</text>", LEFT - 8.0));
        let zero = if self.values.0 < 0.0 && self.values.1 > 0.0 { self.y(0.0) } else { BOTTOM };
        format!(
            "<path class=\"grid\" d=\"{lines}\"/><path class=\"zero\" d=\"M{LEFT} {zero:.1}H{RIGHT}\"/>{labels}\n"
        )
    }
}

/// Lowest and highest of some numbers, short of where their difference would overflow; reversed infinities of none.
pub(crate) fn extent(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let both = |(low, high): (f64, f64), value: f64| (low.min(value), high.max(value));
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), both);
    (low.clamp(-1e300, 1e300), high.clamp(-1e300, 1e300))
}

/// The range of the finite values with a margin above and below, from zero where that costs little.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = extent(values.filter(|value| value.is_finite()));
    if low > high {
        return (0.0, 1.0);
    }
    let (low, high) = widened((low, high));
    let margin = 0.06 * (high - low);
    if low >= 0.0 && low < 0.25 * high { (0.0, high + margin) } else { (low - margin, high + margin) }
}

/// Widens a range that is one value, or so narrow that arithmetic cannot tell its ends apart.
fn widened((low, high): (f64, f64)) -> (f64, f64) {
    let size = low.abs().max(high.abs());
    let half = if size == 0.0 { 1.0 } else { 0.1 * size };
    if high - low > 1e-9 * size { (low, high) } else { (low - half, high + half) }
}

/// Multiples of 1, 2 or 5 times a power of ten within the range, about `count` of them, at least `finest` apart; and the
/// distance between them.
fn ticks((low, high): (f64, f64), count: f64, finest: f64) -> (Vec<f64>, f64) {
    let wanted = ((high - low) / count).max(finest).max(f64::MIN_POSITIVE);
    let power = 10_f64.powf(wanted.log10().floor());
    let factor =
        [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= wanted * (1.0 - 1e-9)).unwrap_or(10.0);
    let distance = factor * power;
    let (first, last) = ((low / distance).ceil(), (high / distance + 1e-9).floor());
    let number = (last - first + 1.0).clamp(0.0, 50.0) as usize;
    ((0..number).map(|index| (first + index as f64) * distance).collect(), distance)
}

/// As many digits as distinguish this tick from the next one, all ticks of an axis in one unit.
fn tick_label(value: f64, distance: f64, largest: f64) -> String {
    if value.abs() < distance * 1e-6 {
        return "0".into();
    }
    let power = distance.log10().floor() as i32;
    if largest >= 1e12 || (distance < 1e-3 && largest < 1.0) {
        let digits = (value.abs().log10().floor() as i32 - power).clamp(0, 12) as usize;
        return exponent(value, digits);
    }
    let (scale, suffix) = scaled(largest);
    let digits = (scale.log10() as i32 - power).clamp(0, 12) as usize;
    signed(&trimmed(&format!("{:.digits$}", value / scale))) + suffix
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(range: (f64, f64), finest: f64) -> Vec<String> {
        let (values, distance) = ticks(range, 5.0, finest);
        let largest = extent(values.iter().map(|value| value.abs())).1;
        values.into_iter().map(|value| tick_label(value, distance, largest)).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels((0.0, 1.03), 0.0), ["0", "0.5", "1"]);
        assert_eq!(labels((0.93, 4.2), 0.0), ["1", "2", "3", "4"]);
        assert_eq!(labels((1.93, 2.44), 0.0), ["2", "2.2", "2.4"]);
        assert_eq!(labels((0.0, 3.1e-4), 0.0), ["0", "1e-4", "2e-4", "3e-4"]);
        assert_eq!(labels((-0.21, 0.32), 0.0), ["\u{2212}0.2", "0", "0.2"]);
        assert_eq!(labels((0.0, 16_000.0), 0.0), ["0", "5k", "10k", "15k"]);
        assert_eq!(labels((1.0, 3.0), 1.0), ["1", "2", "3"]);
        for odd in [(-1e300, 1e300), (1e15, 1e15 + 4.0), (0.0, 1e-300), (5.0, 5.0 + 1e-12)] {
            assert!(ticks(widened(odd), 5.0, 0.0).0.len() < 20, "{odd:?}");
        }
    }

    #[test]
    fn values_outside_of_the_range_are_drawn_on_its_edge() {
        let axes = Axes { steps: (0.0, 10.0), values: (0.0, 1.0) };
        assert_eq!([axes.y(9.0), axes.y(-9.0)], [TOP, BOTTOM]);
        assert_eq!([axes.x(0.0), axes.x(10.0)], [LEFT, RIGHT]);
    }
}
