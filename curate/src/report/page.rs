//! The report as one HTML file.

use super::{BINS, Measure, Report, Sample, Tally};
use report::html::{Tile, escape, note, panel, settings, tiles};
use report::numbers::{percent, separated, short};
use report::{Page, STYLE};
use serde_json::Value;
use std::collections::BTreeMap;

/// Domains and languages that are listed.
const LISTED: usize = 25;
/// Height of a histogram, in its own units.
const HEIGHT: f64 = 80.0;

const OWN_STYLE: &str = "
.histogram { display: block; width: 100%; height: 110px; }
.histogram .kept { fill: var(--s0); }
.histogram .gone { fill: var(--lost); }
.histogram .cut { stroke: var(--ink); stroke-width: 1; stroke-dasharray: 3 2; vector-effect: non-scaling-stroke; }
.sample { margin: 6px 0; font-size: 12.5px; }
.sample pre { max-height: 7em; overflow: auto; white-space: pre-wrap; margin: 2px 0; }
.kept-side { border-left: 3px solid var(--s0); padding-left: 8px; }
.gone-side { border-left: 3px solid var(--lost); padding-left: 8px; }
";

impl Report {
    /// The whole page.
    pub(crate) fn render(&self, manifest: &Value) -> String {
        let title = format!("Curated with {}", self.recipe);
        let mut body = format!("<header><h1>{}</h1>\n", escape(&title));
        for (name, text) in &self.notes {
            body.push_str(&note(&format!("{name}: {text}")));
        }
        body.push_str("</header>\n");
        body.push_str(&self.tiles(manifest));
        body.push_str("<h2>What each stage dropped</h2>\n");
        body.push_str(&self.funnel_table());
        body.push_str("<h2>Values and their cuts</h2>\n<div class=\"panels wide\">\n");
        for (name, measure) in &self.measures {
            body.push_str(&histogram(name, measure));
        }
        body.push_str("</div>\n<h2>Where pages come from</h2>\n<div class=\"panels wide\">\n");
        body.push_str(&tallies("Domains", &self.domains));
        body.push_str(&tallies("Languages", &self.languages));
        body.push_str("</div>\n");
        body.push_str(&losses(manifest));
        body.push_str(&settings("Recipe", &manifest["settings"]["recipe"]));
        Page { title: &title, styles: &[STYLE, OWN_STYLE], scripts: &[], body: &body }.render()
    }

    fn tiles(&self, manifest: &Value) -> String {
        let tile = |name, figure: u64, aside: String| Tile { name, figure: Some(separated(figure)), aside };
        let damaged = manifest["damaged_records"].as_u64().unwrap_or_default();
        let mut shown = vec![
            tile("pages", self.pages(), String::new()),
            tile("kept", self.kept, percent(self.kept, self.pages())),
            tile(
                "characters kept",
                self.characters,
                format!("{} a page", separated(self.characters / self.kept.max(1))),
            ),
            tile(
                "damaged records",
                damaged,
                format!(
                    "{} too large",
                    separated(manifest["records_too_large"].as_u64().unwrap_or_default())
                ),
            ),
        ];
        if let Some(tokens) = self.tokens() {
            let aside = format!("{} a page", separated(tokens / self.kept.max(1)));
            shown.insert(3, tile("tokens kept", tokens, aside));
        }
        tiles(&shown)
    }

    fn funnel_table(&self) -> String {
        let mut left = self.pages();
        let mut rows = String::new();
        for stage in &self.stages {
            let dropped: u64 = stage.reasons.values().sum();
            let before = left;
            left -= dropped;
            let reasons: Vec<String> = stage
                .reasons
                .iter()
                .map(|(reason, count)| format!("{} {}", escape(reason), separated(*count)))
                .collect();
            rows.push_str(&format!(
                "<tr><th scope=\"row\">{}</th><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td></tr>\n",
                escape(&stage.name),
                separated(dropped),
                percent(dropped, before),
                separated(left),
                reasons.join(", ")
            ));
        }
        format!(
            "<div class=\"panel table\"><table><thead><tr><th>stage</th><th class=\"n\">dropped</th><th class=\"n\">of those before it</th><th class=\"n\">left</th><th>reasons</th></tr></thead>\n<tbody>{rows}</tbody></table></div>\n"
        )
    }
}

fn histogram(name: &str, measure: &Measure) -> String {
    let highest = measure
        .kept
        .iter()
        .zip(&measure.dropped)
        .map(|(kept, dropped)| kept + dropped)
        .max()
        .unwrap_or(0)
        .max(1) as f64;
    let mut drawn = String::new();
    for (bin, (kept, dropped)) in measure.kept.iter().zip(&measure.dropped).enumerate() {
        // Square roots: a few pages beside many stay visible.
        let all = ((kept + dropped) as f64 / highest).sqrt() * HEIGHT;
        let gone = if kept + dropped == 0 { 0.0 } else { all * *dropped as f64 / (kept + dropped) as f64 };
        for (class, height, top) in [("kept", all - gone, HEIGHT - all), ("gone", gone, HEIGHT - gone)] {
            if height > 0.0 {
                drawn.push_str(&format!(
                    "<rect class=\"{class}\" x=\"{}\" y=\"{top:.2}\" width=\"9\" height=\"{height:.2}\"/>",
                    10 * bin
                ));
            }
        }
    }
    for cut in &measure.cuts {
        let x =
            10.0 * BINS as f64 * (cut - measure.low) / (measure.high - measure.low).max(f64::MIN_POSITIVE);
        if (0.0..=10.0 * BINS as f64).contains(&x) {
            drawn.push_str(&format!(
                "<line class=\"cut\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"0\" y2=\"{HEIGHT}\"/>"
            ));
        }
    }
    let cuts = measure.cuts.iter().map(|cut| short(*cut)).collect::<Vec<_>>().join(", ");
    let mut html = format!(
        "<svg class=\"histogram\" viewBox=\"0 0 {} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}\">{drawn}</svg>\n",
        10 * BINS,
        escape(name)
    );
    html.push_str(&note(&format!(
        "from {} to {} and above; cut at {cuts}; heights are square roots; what this value dropped is red",
        short(measure.low),
        short(measure.high)
    )));
    html.push_str("<details><summary>Pages beside the cut</summary>\n");
    for (side, samples) in ["kept", "gone"].iter().zip(&measure.samples) {
        samples.iter().for_each(|shown| html.push_str(&sample(side, shown)));
    }
    html.push_str("</details>\n");
    panel(name, &html)
}

fn sample(side: &str, sample: &Sample) -> String {
    let fate =
        if sample.reason.is_empty() { "kept".to_owned() } else { format!("dropped: {}", sample.reason) };
    format!(
        "<div class=\"sample {side}-side\"><b>{}</b> {} <span class=\"note\">{}</span><pre>{}</pre></div>\n",
        escape(&short(sample.value)),
        escape(&fate),
        escape(&sample.row),
        escape(&sample.excerpt)
    )
}

fn tallies(title: &str, tallies: &BTreeMap<String, Tally>) -> String {
    let mut sorted: Vec<(&String, &Tally)> = tallies.iter().collect();
    sorted.sort_by(|one, other| other.1.pages.cmp(&one.1.pages).then(one.0.cmp(other.0)));
    let rows: String = sorted
        .iter()
        .take(LISTED)
        .map(|(name, tally)| {
            format!(
                "<tr><th scope=\"row\">{}</th><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>\n",
                escape(name),
                separated(tally.pages),
                percent(tally.kept, tally.pages)
            )
        })
        .collect();
    let more = sorted.len().saturating_sub(LISTED);
    let more = if more > 0 { note(&format!("and {} more", separated(more as u64))) } else { String::new() };
    panel(
        title,
        &format!(
            "<table><thead><tr><th></th><th class=\"n\">pages</th><th class=\"n\">kept</th></tr></thead><tbody>{rows}</tbody></table>{more}"
        ),
    )
}

fn losses(manifest: &Value) -> String {
    let named: Vec<String> = manifest["losses"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(|loss| format!("<li>{}</li>", escape(loss)))
        .collect();
    if named.is_empty() {
        String::new()
    } else {
        format!("<ul class=\"warnings\">{}</ul>\n", named.join("\n"))
    }
}
