//! The report of a run that a person looks at: the funnel by stage and reason, histograms of what was measured with the cuts,
//! samples on both sides of each cut, domains and languages. It is filled in two rounds over the rows, because the range of
//! a histogram is known after the first; what it holds does not grow with them.

mod page;

use crate::fate::excerpt;
use crate::recipe::Recipe;
use crate::stage::url::host;
use crate::tokens;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Bars of a histogram.
const BINS: usize = 40;
/// Samples on each side of a cut.
const SAMPLES: usize = 3;
/// Domains and languages that are counted apart.
const NAMES: usize = 100_000;
/// Cuts of one measure that are drawn.
const CUTS: usize = 4;

/// What a report is made of.
#[derive(Debug, Default)]
pub(crate) struct Report {
    recipe: String,
    notes: Vec<(&'static str, String)>,
    /// In the order of the recipe.
    stages: Vec<StageCounts>,
    kept: u64,
    dropped: u64,
    characters: u64,
    /// Tokens of what is kept; `None` where no stage counts them.
    tokens: Option<u64>,
    domains: BTreeMap<String, Tally>,
    languages: BTreeMap<String, Tally>,
    measures: BTreeMap<String, Measure>,
}

#[derive(Debug, Default)]
struct StageCounts {
    name: String,
    reasons: BTreeMap<String, u64>,
}

/// Pages of a domain or a language.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    kept: u64,
    pages: u64,
}

/// A value that pages have.
#[derive(Debug)]
struct Measure {
    low: f64,
    high: f64,
    cuts: Vec<f64>,
    kept: Vec<u64>,
    dropped: Vec<u64>,
    /// Nearest to a cut: distance, value, row, what became of it, excerpt.
    samples: [Vec<Sample>; 2],
}

#[derive(Debug, Clone)]
struct Sample {
    distance: f64,
    value: f64,
    row: String,
    reason: String,
    excerpt: String,
}

impl Report {
    pub(crate) fn new(recipe: &Recipe) -> Self {
        let stages = recipe
            .stages
            .iter()
            .map(|stage| StageCounts { name: stage.name().to_owned(), ..StageCounts::default() });
        let notes = [
            ("source", &recipe.source),
            ("published", &recipe.published),
            ("not published", &recipe.not_published),
        ];
        Self {
            recipe: recipe.name.clone(),
            notes: notes
                .into_iter()
                .filter(|(_, text)| !text.is_empty())
                .map(|(name, text)| (name, text.clone()))
                .collect(),
            stages: stages.collect(),
            ..Self::default()
        }
    }

    /// Pages that were seen.
    pub(crate) fn pages(&self) -> u64 {
        self.kept + self.dropped
    }

    /// Tokens of the pages that are kept; `None` where no stage counts them.
    pub(crate) fn tokens(&self) -> Option<u64> {
        self.tokens
    }

    /// Counts a page that is kept.
    pub(crate) fn add_kept(&mut self, row: &Map<String, Value>) {
        self.kept += 1;
        self.characters +=
            row.get("text").and_then(Value::as_str).map_or(0, |text| crate::python::length(text) as u64);
        if let Some(tokens) = row.get(tokens::COLUMN).and_then(Value::as_u64) {
            *self.tokens.get_or_insert(0) += tokens;
        }
        self.add_names(row, row, true);
        self.add_range(row);
    }

    /// Counts a page that was dropped.
    pub(crate) fn add_dropped(&mut self, row: &Map<String, Value>) {
        self.dropped += 1;
        let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (stage, reason) = (text("stage"), text("reason"));
        if let Some(counts) = self.stages.iter_mut().find(|counts| counts.name == stage) {
            *counts.reasons.entry(reason).or_default() += 1;
        }
        let Some(Value::Object(values)) = row.get("values") else { return };
        self.add_names(row, values, false);
        self.add_range(values);
        let limit = row.get("limit").and_then(Value::as_f64);
        if let (Some(limit), Some(measure)) = (limit, self.measures.get_mut(&text("measure")))
            && !measure.cuts.contains(&limit)
            && measure.cuts.len() < CUTS
        {
            measure.cuts.push(limit);
            measure.cuts.sort_by(f64::total_cmp);
        }
    }

    fn add_names(&mut self, row: &Map<String, Value>, values: &Map<String, Value>, is_kept: bool) {
        let domain = row.get("url").and_then(Value::as_str).map(host);
        let language = values.get("language").and_then(Value::as_str).map(str::to_owned);
        for (tallies, name) in [(&mut self.domains, domain), (&mut self.languages, language)] {
            let Some(name) = name.filter(|name| tallies.len() < NAMES || tallies.contains_key(name)) else {
                continue;
            };
            let tally = tallies.entry(name).or_default();
            tally.pages += 1;
            tally.kept += u64::from(is_kept);
        }
    }

    fn add_range(&mut self, values: &Map<String, Value>) {
        for (name, value) in values {
            let Some(value) = value.as_f64().filter(|value| value.is_finite()) else { continue };
            match self.measures.get_mut(name) {
                Some(measure) => {
                    measure.low = measure.low.min(value);
                    measure.high = measure.high.max(value);
                }
                None => {
                    self.measures.insert(name.clone(), Measure::new(value));
                }
            }
        }
    }

    /// Ends the first round: only what decided about a page is drawn.
    pub(crate) fn measure(&mut self) {
        self.measures.retain(|_, measure| !measure.cuts.is_empty());
        for measure in self.measures.values_mut() {
            // A long tail says nothing; the last bar has all of it.
            let highest = measure.cuts.last().copied().unwrap_or(measure.high);
            if highest > 0.0 {
                measure.high = measure.high.min(4.0 * highest);
            }
        }
    }

    /// Draws a page that is kept.
    pub(crate) fn draw_kept(&mut self, row: &Map<String, Value>) {
        let text = row.get("text").and_then(Value::as_str).unwrap_or_default();
        self.draw(row, row, "", true, text);
    }

    /// Draws a page that was dropped.
    pub(crate) fn draw_dropped(&mut self, row: &Map<String, Value>) {
        let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default();
        let Some(Value::Object(values)) = row.get("values") else { return };
        self.draw(row, values, text("measure"), false, text("excerpt"));
    }

    fn draw(
        &mut self,
        row: &Map<String, Value>,
        values: &Map<String, Value>,
        decided: &str,
        is_kept: bool,
        text: &str,
    ) {
        for (name, value) in values {
            let (Some(value), Some(measure)) = (value.as_f64(), self.measures.get_mut(name)) else {
                continue;
            };
            let bin = measure.bin(value);
            let is_out = !is_kept && decided == name;
            if is_out {
                measure.dropped[bin] += 1;
            } else {
                measure.kept[bin] += 1;
            }
            // A page that something else dropped is no example of this cut.
            if !is_kept && !is_out {
                continue;
            }
            let distance = measure.cuts.iter().map(|cut| (cut - value).abs()).fold(f64::INFINITY, f64::min);
            let samples = &mut measure.samples[usize::from(is_out)];
            if samples.len() == SAMPLES && samples.last().is_some_and(|last| last.distance <= distance) {
                continue;
            }
            let name = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            samples.push(Sample {
                distance,
                value,
                row: name("row"),
                reason: name("reason"),
                excerpt: excerpt(text),
            });
            samples.sort_by(|one, other| one.distance.total_cmp(&other.distance));
            samples.truncate(SAMPLES);
        }
    }

    /// What each stage dropped, by reason, in the order of the recipe.
    pub(crate) fn funnel(&self) -> Value {
        let stages = self.stages.iter().map(|stage| {
            json!({"stage": stage.name, "dropped": stage.reasons.values().sum::<u64>(), "reasons": stage.reasons})
        });
        stages.collect()
    }
}

impl Measure {
    fn new(value: f64) -> Self {
        Self {
            low: value,
            high: value,
            cuts: Vec::new(),
            kept: vec![0; BINS],
            dropped: vec![0; BINS],
            samples: [Vec::new(), Vec::new()],
        }
    }

    fn bin(&self, value: f64) -> usize {
        let share = (value - self.low) / (self.high - self.low).max(f64::MIN_POSITIVE);
        ((share * BINS as f64) as usize).min(BINS - 1)
    }
}
