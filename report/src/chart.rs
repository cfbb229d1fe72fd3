//! A line chart as inline SVG: axes with round ticks, lines thinned to what a screen can show, and the same points as
//! data for the read-out that [`SCRIPT`] shows under the pointer. The chart is complete without the script.

use crate::axes::{Axes, HEIGHT, WIDTH, extent};
use crate::html::escape;
use crate::numbers::short;
use serde_json::{Value, json};

/// The read-out under the pointer, for every chart of a page.
pub const SCRIPT: &str = include_str!("chart.js");

/// Step and value; a value that is not finite is a gap in the line.
pub type Point = (f64, f64);

/// A line of a chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Its name in the legend, such as the key of the metrics.
    pub label: String,
    /// In the order of their steps.
    pub points: Vec<Point>,
    /// Whether a smoothed line is drawn over it, however even the values are. A very uneven one is always smoothed.
    pub smoothed: bool,
    /// Whether each point is a dot where there are few, as for evaluations, which are far apart.
    pub dotted: bool,
}

/// Lines that share one pair of axes.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// The heading.
    pub title: String,
    /// The unit of the values; may be empty.
    pub unit: &'static str,
    /// Drawn in this order, so that the last one is on top.
    pub lines: Vec<Line>,
    /// Whether the values' axis fits what follows the first 3% of the steps: a loss falls so steeply at first that the
    /// rest would be a flat line. Higher values are drawn on the edge.
    pub skips_start: bool,
}

/// As many as the style has colors; further lines use them again, dashed.
const COLORS: usize = 8;
/// More dots than this overlap.
const DOTS: usize = 60;
/// Fewer points than this need no smoothed line.
const SMOOTHED_FROM: usize = 20;
/// The share of the steps that [`Chart::skips_start`] leaves out.
const START: f64 = 0.03;

impl Chart {
    /// The chart as a `<figure>`. `steps` is the range of the whole run, so that charts beside each other align.
    pub fn figure(&self, steps: (f64, f64)) -> String {
        self.marked(steps, &[])
    }

    /// The same with a vertical line at some steps, each with its reason.
    pub fn marked(&self, steps: (f64, f64), marks: &[(f64, String)]) -> String {
        let averages: Vec<_> = self.lines.iter().map(average).collect();
        let axes = Axes::new(steps, self.values_to_fit(steps));
        let (mut legend, mut drawn, mut data) = (String::new(), String::new(), Vec::new());
        for (index, (line, average)) in self.lines.iter().zip(&averages).enumerate() {
            let dashed = if index < COLORS { "" } else { " dashed" };
            let class = format!("s{}{dashed}", index % COLORS);
            legend.push_str(&legend_entry(line, &class));
            let keep = thin(&line.points, |step| axes.column(step));
            drawn.push_str(&strokes(line, &keep, average.as_deref(), &axes, &class));
            data.push(json!({
                "label": line.label, "class": class, "points": readout(line, &keep, average.as_deref(), &axes),
            }));
        }
        for (step, reason) in marks {
            drawn.push_str(&axes.mark(*step, &escape(reason)));
        }
        let has_thin_lines = averages.iter().any(Option::is_some);
        let hint = if has_thin_lines { "<p class=\"hint\">thin: as logged; thick: smoothed</p>" } else { "" };
        let title = escape(&self.title);
        let unit =
            if self.unit.is_empty() { String::new() } else { format!(" <span>{}</span>", escape(self.unit)) };
        format!(
            "<figure data-lines=\"{}\">\n<figcaption><h3>{title}{unit}</h3>{hint}<ul>{legend}</ul></figcaption>\n\
             <svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title} by step\">\n{}{drawn}</svg>\n</figure>\n",
            escape(&Value::from(data).to_string()),
            axes.grid(),
        )
    }

    /// The values that the axis must show.
    fn values_to_fit(&self, (first, last): (f64, f64)) -> impl Iterator<Item = f64> {
        let from = if self.skips_start { first + START * (last - first) } else { f64::NEG_INFINITY };
        let points = self.lines.iter().flat_map(|line| &line.points);
        points.filter(move |point| point.0 >= from).map(|point| point.1)
    }
}

fn legend_entry(line: &Line, class: &str) -> String {
    let last = line.points.last().map_or(f64::NAN, |point| point.1);
    format!(
        "<li class=\"{class}\"><svg viewBox=\"0 0 18 8\"><path class=\"line\" d=\"M1 4H17\"/></svg>{} <b>{}</b></li>",
        escape(&line.label),
        short(last)
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
    let mut is_joined = false;
    for (step, value) in keep.iter().map(|index| points[*index]) {
        if value.is_finite() {
            let (x, y) = (axes.x(step), axes.y(value));
            // `h0` draws a dot where a point has gaps on both sides.
            path.push_str(&if is_joined { format!("L{x:.1} {y:.1}") } else { format!("M{x:.1} {y:.1}h0") });
        }
        is_joined = value.is_finite();
    }
    path
}

/// The data of the read-out: x, y, step, value and, where there is one, smoothed value of the points drawn.
fn readout(line: &Line, keep: &[usize], average: Option<&[Point]>, axes: &Axes) -> Vec<Value> {
    let rounded = |value: f64| format!("{value:.5e}").parse::<f64>().unwrap_or(value);
    let tenths = |pixel: f64| (pixel * 10.0).round() / 10.0;
    let shown =
        keep.iter().map(|index| (*index, line.points[*index])).filter(|(_, point)| point.1.is_finite());
    shown
        .map(|(index, (step, value))| {
            let (x, y) = (tenths(axes.x(step)), tenths(axes.y(value)));
            match average {
                Some(average) => json!([x, y, step, rounded(value), rounded(average[index].1)]),
                None => json!([x, y, step, rounded(value)]),
            }
        })
        .collect()
}

/// Indices of the points to draw: the lowest and the highest of each pixel column, so that a spike stays however many
/// points there are, and one index for each gap.
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

/// The exponential moving average of a line, over about a fortieth of the run, corrected for its start as in Adam
/// (Kingma and Ba 2015); `None` where the line asks for none and is readable without.
fn average(line: &Line) -> Option<Vec<Point>> {
    let finite: Vec<f64> =
        line.points.iter().map(|point| point.1).filter(|value| value.is_finite()).collect();
    let distance: f64 = finite.windows(2).map(|pair| (pair[1] - pair[0]).abs()).sum();
    let (low, high) = extent(finite.iter().copied());
    let is_uneven = distance > 6.0 * (high - low);
    if line.dotted || finite.len() < SMOOTHED_FROM || !(line.smoothed || is_uneven) {
        return None;
    }
    let share = 2.0 / ((finite.len() as f64 / 40.0).clamp(4.0, 200.0) + 1.0);
    let (mut sum, mut weight) = (0.0, 0.0);
    let mut next = |value: f64| {
        if !value.is_finite() {
            return f64::NAN;
        }
        sum += share * (value - sum);
        weight += share * (1.0 - weight);
        sum / weight
    };
    Some(line.points.iter().map(|(step, value)| (*step, next(*value))).collect())
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

    #[test]
    fn a_lone_point_and_a_gap_are_drawn() {
        let axes = Axes { steps: (0.0, 10.0), values: (0.0, 1.0) };
        let points = [(0.0, 0.0), (5.0, f64::NAN), (10.0, 1.0)];
        assert_eq!(path(&points, &[0, 1, 2], &axes), "M58.0 234.0h0M626.0 12.0h0");
    }

    fn line(points: Vec<Point>) -> Line {
        Line { label: "loss".into(), points, smoothed: true, dotted: false }
    }

    #[test]
    fn a_constant_line_is_drawn_and_its_average_is_itself() {
        let constant = line((0..10_000).map(|step| (f64::from(step), 2.0)).collect());
        let averaged = average(&constant).expect("smoothed");
        assert!(averaged.iter().all(|point| (point.1 - 2.0).abs() < 1e-9));
        let chart = Chart { title: "Loss".into(), unit: "nats", lines: vec![constant], skips_start: false };
        let drawn = chart.figure((0.0, 9_999.0));
        assert!(!drawn.contains("NaN") && drawn.contains("loss <b>2</b>"), "{drawn}");
        for points in [vec![(1.0, 1.0)], Vec::new()] {
            let chart = Chart { lines: vec![line(points)], ..chart.clone() };
            assert!(!chart.figure((1.0, 1.0)).contains("NaN"));
        }
    }

    #[test]
    fn a_steep_start_can_be_left_out_of_the_range() {
        let points = (0..=100).map(|step| (f64::from(step), if step < 2 { 1_000.0 } else { 1.0 })).collect();
        let chart = Chart { title: String::new(), unit: "", lines: vec![line(points)], skips_start: true };
        let highest = |chart: &Chart| Axes::new((0.0, 100.0), chart.values_to_fit((0.0, 100.0))).values.1;
        assert!(highest(&chart) < 2.0);
        assert!(highest(&Chart { skips_start: false, ..chart }) > 1_000.0);
    }

    #[test]
    fn nothing_breaks_out_of_a_figure() {
        let hostile = "</script>\"'><b>&";
        let line = Line { label: hostile.into(), points: vec![(1.0, 1.0)], smoothed: true, dotted: true };
        let chart = Chart { title: hostile.into(), unit: "", lines: vec![line], skips_start: false };
        let drawn = chart.figure((1.0, 1.0));
        assert!(!drawn.contains("<b>&") && !drawn.contains("</script>"), "{drawn}");
        assert!(drawn.contains("&lt;/script&gt;&quot;&#39;&gt;&lt;b&gt;&amp;"), "{drawn}");
    }
}
