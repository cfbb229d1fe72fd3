//! One chart as inline SVG: axes with round ticks, lines thinned to what a screen can show, and beside the
//! drawing the same points as data for the page's hover read-out.

use serde_json::{Value, json};

/// Step and value; a value that is not finite is a gap in the line.
pub(super) type Point = (f64, f64);

/// Values under one key of the metrics.
pub(super) struct Line {
    /// The key, as the legend shows it.
    pub(super) label: String,
    /// In the order of their steps.
    pub(super) points: Vec<Point>,
    /// A smoothed line over the thin one whatever the values look like.
    pub(super) smoothed: bool,
    /// Each point gets a dot where there are few: evaluations are far apart.
    pub(super) dotted: bool,
}

/// Lines that share one pair of axes.
pub(super) struct Chart {
    /// For people.
    pub(super) title: String,
    /// Of the values; may be empty.
    pub(super) unit: &'static str,
    /// Drawn in this order, so that the last lies on top.
    pub(super) lines: Vec<Line>,
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 264.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = WIDTH - 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = HEIGHT - 30.0;
/// As many as page.css has; further lines use them again, dashed.
const COLOURS: usize = 8;
/// More dots than this run into each other.
const DOTS: usize = 60;
/// Fewer points than this need no smoothed line.
const SMOOTHED_FROM: usize = 20;

/// Ranges of steps and values, and where they fall in the drawing.
struct Axes {
    steps: (f64, f64),
    values: (f64, f64),
}

impl Axes {
    fn x(&self, step: f64) -> f64 {
        LEFT + (step - self.steps.0) / (self.steps.1 - self.steps.0) * (RIGHT - LEFT)
    }

    fn y(&self, value: f64) -> f64 {
        BOTTOM - (value - self.values.0) / (self.values.1 - self.values.0) * (BOTTOM - TOP)
    }

    /// The pixel column that the step falls in.
    fn column(&self, step: f64) -> i64 {
        self.x(step).floor() as i64
    }
}

/// The figure; `steps` is the range of the whole run, so that charts beside each other line up.
pub(super) fn figure(chart: &Chart, steps: (f64, f64)) -> String {
    let averages: Vec<_> = chart.lines.iter().map(average).collect();
    let values = chart.lines.iter().flat_map(|line| &line.points).map(|point| point.1);
    let axes = Axes { steps: widened(steps), values: range(values) };
    let (mut legend, mut drawn, mut data) = (String::new(), String::new(), Vec::new());
    for (index, (line, average)) in chart.lines.iter().zip(&averages).enumerate() {
        let dashed = if index < COLOURS { "" } else { " dashed" };
        let class = format!("s{}{dashed}", index % COLOURS);
        let (label, last) = (escape(&line.label), line.points.last().map_or(f64::NAN, |point| point.1));
        legend.push_str(&format!(
            "<li class=\"{class}\"><svg viewBox=\"0 0 18 8\"><path class=\"line\" d=\"M1 4H17\"/></svg>{label} <b>{}</b></li>",
            number(last)
        ));
        let keep = thin(&line.points, |step| axes.column(step));
        drawn.push_str(&strokes(line, &keep, average.as_deref(), &axes, &class));
        data.push(json!({
            "label": line.label, "class": class, "points": readout(line, &keep, average.as_deref(), &axes),
        }));
    }
    let thin_lines = averages.iter().any(Option::is_some);
    let hint = if thin_lines { "<p class=\"hint\">thin: as logged; thick: smoothed</p>" } else { "" };
    let title = escape(&chart.title);
    let unit = if chart.unit.is_empty() { String::new() } else { format!(" <span>{}</span>", chart.unit) };
    format!(
        "<figure data-lines=\"{}\">\n<figcaption><h2>{title}{unit}</h2>{hint}<ul>{legend}</ul></figcaption>\n\
         <svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title} by step\">\n{}{drawn}</svg>\n</figure>\n",
        escape(&Value::from(data).to_string()),
        grid(&axes),
    )
}

/// Grid lines and tick labels.
fn grid(axes: &Axes) -> String {
    let (mut lines, mut labels) = (String::new(), String::new());
    let row = BOTTOM + 20.0;
    let (values, step) = ticks(axes.values, 5.0, 0.0);
    let largest = extent(values.iter().map(|value| value.abs())).1;
    for value in values {
        let (y, text) = (axes.y(value), tick_label(value, step, largest));
        lines.push_str(&format!("M{LEFT} {y:.1}H{RIGHT}"));
        labels.push_str(&format!(
            "<text class=\"value\" x=\"{}\" y=\"{:.1}\">{text}</text>",
            LEFT - 8.0,
            y + 4.0
        ));
    }
    let (steps, step) = ticks(axes.steps, 7.0, 1.0);
    let largest = extent(steps.iter().map(|step| step.abs())).1;
    for tick in steps {
        let (x, text) = (axes.x(tick), tick_label(tick, step, largest));
        labels.push_str(&format!("<text x=\"{x:.1}\" y=\"{row}\">{text}</text>"));
    }
    labels.push_str(&format!("<text class=\"value\" x=\"{}\" y=\"{row}\">step</text>", LEFT - 8.0));
    let zero = if axes.values.0 < 0.0 && axes.values.1 > 0.0 { axes.y(0.0) } else { BOTTOM };
    format!(
        "<path class=\"grid\" d=\"{lines}\"/><path class=\"zero\" d=\"M{LEFT} {zero:.1}H{RIGHT}\"/>{labels}\n"
    )
}

/// The line itself, thin under its smoothed one where it has one, and its dots.
fn strokes(line: &Line, keep: &[usize], average: Option<&[Point]>, axes: &Axes, class: &str) -> String {
    let weight = if average.is_some() { "thin" } else { "line" };
    let mut drawn =
        format!("<g class=\"{class}\"><path class=\"{weight}\" d=\"{}\"/>", path(&line.points, keep, axes));
    if let Some(points) = average {
        let keep = thin(points, |step| axes.column(step));
        drawn.push_str(&format!("<path class=\"line\" d=\"{}\"/>", path(points, &keep, axes)));
    }
    if line.dotted && line.points.len() <= DOTS {
        for (step, value) in line.points.iter().filter(|point| point.1.is_finite()) {
            drawn.push_str(&format!(
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.6\"/>",
                axes.x(*step),
                axes.y(*value)
            ));
        }
    }
    drawn.push_str("</g>\n");
    drawn
}

fn path(points: &[Point], keep: &[usize], axes: &Axes) -> String {
    let mut path = String::new();
    let mut joined = false;
    for (step, value) in keep.iter().map(|index| points[*index]) {
        if value.is_finite() {
            let (x, y) = (axes.x(step), axes.y(value));
            // `h0` leaves a dot where a point has gaps on both sides.
            path.push_str(&if joined { format!("L{x:.1} {y:.1}") } else { format!("M{x:.1} {y:.1}h0") });
        }
        joined = value.is_finite();
    }
    path
}

/// What the page reads out: place, step, value and, where there is one, smoothed value of the points drawn.
fn readout(line: &Line, keep: &[usize], average: Option<&[Point]>, axes: &Axes) -> Vec<Value> {
    let short = |value: f64, digits: usize| format!("{value:.digits$e}").parse::<f64>().unwrap_or(value);
    let place = |pixel: f64| (pixel * 10.0).round() / 10.0;
    let shown =
        keep.iter().map(|index| (*index, line.points[*index])).filter(|(_, point)| point.1.is_finite());
    shown
        .map(|(index, (step, value))| match average {
            Some(average) => json!([
                place(axes.x(step)),
                place(axes.y(value)),
                step,
                short(value, 5),
                short(average[index].1, 5)
            ]),
            None => json!([place(axes.x(step)), place(axes.y(value)), step, short(value, 5)]),
        })
        .collect()
}

/// Indices of the points to draw: the lowest and the highest of each pixel column, so that a spike stays
/// however many points there are, and the gaps between.
fn thin(points: &[Point], column: impl Fn(f64) -> i64) -> Vec<usize> {
    let mut keep = Vec::new();
    let mut extremes: Option<(i64, usize, usize)> = None;
    let flush = |keep: &mut Vec<usize>, extremes: Option<(i64, usize, usize)>| {
        let Some((_, low, high)) = extremes else { return };
        keep.push(low.min(high));
        if low != high {
            keep.push(low.max(high));
        }
    };
    for (index, (step, value)) in points.iter().enumerate() {
        let column = column(*step);
        if !value.is_finite() {
            flush(&mut keep, extremes.take());
            if keep.last().is_none_or(|last| points[*last].1.is_finite()) {
                keep.push(index);
            }
        } else if let Some((current, low, high)) = &mut extremes
            && *current == column
        {
            *low = if *value < points[*low].1 { index } else { *low };
            *high = if *value > points[*high].1 { index } else { *high };
        } else {
            flush(&mut keep, extremes.replace((column, index, index)));
        }
    }
    flush(&mut keep, extremes);
    keep
}

/// The line's running mean, where the line asks for one or is too jagged to be read without: each value
/// counts less the longer ago it was, over about a fortieth of the run.
fn average(line: &Line) -> Option<Vec<Point>> {
    let finite: Vec<f64> =
        line.points.iter().map(|point| point.1).filter(|value| value.is_finite()).collect();
    let way: f64 = finite.windows(2).map(|pair| (pair[1] - pair[0]).abs()).sum();
    let (low, high) = extent(finite.iter().copied());
    if line.dotted || finite.len() < SMOOTHED_FROM || !(line.smoothed || way > 6.0 * (high - low)) {
        return None;
    }
    let share = 2.0 / ((finite.len() as f64 / 40.0).clamp(4.0, 200.0) + 1.0);
    let (mut sum, mut weight) = (0.0, 0.0);
    let mut next = |value: f64| {
        if !value.is_finite() {
            return f64::NAN;
        }
        sum += share * (value - sum);
        // Divided by what the values so far weigh, or the first ones would be pulled to zero.
        weight += share * (1.0 - weight);
        sum / weight
    };
    Some(line.points.iter().map(|(step, value)| (*step, next(*value))).collect())
}

/// The values' range with air above and below, from zero where that costs little.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = extent(values.filter(|value| value.is_finite()));
    if low > high {
        return (0.0, 1.0);
    }
    let (low, high) = widened((low, high));
    let air = 0.06 * (high - low);
    if low >= 0.0 && low < 0.25 * high { (0.0, high + air) } else { (low - air, high + air) }
}

/// Lowest and highest, short of where their difference would overflow.
pub(super) fn extent(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let both = |(low, high): (f64, f64), value: f64| (low.min(value), high.max(value));
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), both);
    (low.clamp(-1e300, 1e300), high.clamp(-1e300, 1e300))
}

/// A range that is one value, or so narrow that arithmetic would not tell its ends apart, gets some width.
fn widened((low, high): (f64, f64)) -> (f64, f64) {
    let size = low.abs().max(high.abs());
    let half = if size == 0.0 { 1.0 } else { 0.1 * size };
    if high - low > 1e-9 * size { (low, high) } else { (low - half, high + half) }
}

/// Multiples of 1, 2 or 5 times a power of ten within the range, about `count`, at least `finest` apart; and
/// how far apart they are.
fn ticks((low, high): (f64, f64), count: f64, finest: f64) -> (Vec<f64>, f64) {
    let wanted = ((high - low) / count).max(finest).max(f64::MIN_POSITIVE);
    let power = 10_f64.powf(wanted.log10().floor());
    let nice = [1.0, 2.0, 5.0].into_iter().find(|nice| nice * power >= wanted * (1.0 - 1e-9)).unwrap_or(10.0);
    let step = nice * power;
    let (first, last) = ((low / step).ceil(), (high / step + 1e-9).floor());
    let number = (last - first + 1.0).clamp(0.0, 50.0) as usize;
    ((0..number).map(|index| (first + index as f64) * step).collect(), step)
}

/// As many digits as tell this tick from the next, all ticks of an axis in one unit.
fn tick_label(value: f64, step: f64, largest: f64) -> String {
    if value.abs() < step * 1e-6 {
        return "0".into();
    }
    let power = step.log10().floor() as i32;
    if largest >= 1e12 || (step < 1e-3 && largest < 1.0) {
        let digits = (value.abs().log10().floor() as i32 - power).clamp(0, 12) as usize;
        return exponent(value, digits);
    }
    let (scale, suffix) = scaled(largest);
    let digits = (scale.log10() as i32 - power).clamp(0, 12) as usize;
    signed(&trimmed(&format!("{:.digits$}", value / scale))) + suffix
}

/// Four digits, for reading.
pub(super) fn number(value: f64) -> String {
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

fn scaled(size: f64) -> (f64, &'static str) {
    match size {
        1e9.. => (1e9, "G"),
        1e6.. => (1e6, "M"),
        1e4.. => (1e3, "k"),
        _ => (1.0, ""),
    }
}

fn exponent(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$e}");
    let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
    signed(&format!("{}e{power}", trimmed(digits)))
}

fn trimmed(digits: &str) -> String {
    if !digits.contains('.') {
        return digits.into();
    }
    digits.trim_end_matches('0').trim_end_matches('.').into()
}

/// With a minus sign as wide as a digit.
fn signed(text: &str) -> String {
    text.strip_prefix('-').map_or_else(|| text.into(), |rest| format!("\u{2212}{rest}"))
}

/// Text as HTML shows it, inside an element or a quoted attribute.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_spikes_and_gaps() {
        let mut points: Vec<Point> = (0..10_000).map(|step| (f64::from(step), f64::from(step % 7))).collect();
        points[5_003].1 = 900.0;
        points[7_777].1 = -900.0;
        points[2_500].1 = f64::NAN;
        points[2_501].1 = f64::NAN;
        let keep = thin(&points, |step| (step / 100.0) as i64);
        assert!(keep.len() <= 2 * 100 + 3, "{}", keep.len());
        assert!(keep.is_sorted_by(|one, next| one < next));
        assert!([5_003, 7_777, 2_500].iter().all(|index| keep.contains(index)));
        assert!(!keep.contains(&2_501), "one index stands for the whole gap");
        let few: Vec<Point> = vec![(1.0, 2.0), (2.0, f64::NAN), (3.0, 1.0)];
        assert_eq!(thin(&few, |step| step as i64), [0, 1, 2]);
        assert!(thin(&[], |step| step as i64).is_empty());
    }

    fn labels(range: (f64, f64), finest: f64) -> Vec<String> {
        let (values, step) = ticks(range, 5.0, finest);
        let largest = extent(values.iter().map(|value| value.abs())).1;
        values.into_iter().map(|value| tick_label(value, step, largest)).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels((0.0, 1.03), 0.0), ["0", "0.5", "1"]);
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
    fn numbers_are_short() {
        let written = [0.0, 2.31049, 3e-4, -12.3456, 524_288.0, 9_830_400.0, f64::NAN].map(number);
        assert_eq!(written, ["0", "2.31", "3e-4", "\u{2212}12.35", "524.3k", "9.83M", "not a number"]);
    }

    #[test]
    fn a_lone_point_and_a_gap_are_drawn() {
        let axes = Axes { steps: (0.0, 10.0), values: (0.0, 1.0) };
        let points = [(0.0, 0.0), (5.0, f64::NAN), (10.0, 1.0)];
        assert_eq!(path(&points, &[0, 1, 2], &axes), "M58.0 234.0h0M626.0 12.0h0");
    }

    #[test]
    fn nothing_breaks_out_of_a_figure() {
        let hostile = "</script>\"'><b>&";
        let line = Line { label: hostile.into(), points: vec![(1.0, 1.0)], smoothed: true, dotted: true };
        let drawn = figure(&Chart { title: hostile.into(), unit: "", lines: vec![line] }, (1.0, 1.0));
        assert!(!drawn.contains("<b>&") && !drawn.contains("</script>"), "{drawn}");
        assert!(drawn.contains("&lt;/script&gt;&quot;&#39;&gt;&lt;b&gt;&amp;"), "{drawn}");
    }
}
