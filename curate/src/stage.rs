//! Stages that look at one page: what each does to it, and whether it keeps it.

use crate::fasttext::Model;
use crate::fate::{Fate, cut, drop, excerpt};
use crate::html::{Unreadable, extract};
use crate::page::{Body, Page};
use crate::recipe::{Code, Extract, Language, Recipe, Sample, Stage};
use crate::rules::{Outcome, Text};
use crate::tokens::Counter;
use anyhow::{Context, Result};
use random::{fnv1a, splitmix};
use serde_json::{Map, Value, json};
use std::path::Path;

mod classifiers;
mod code;
mod mathematics;
pub(crate) mod url;

use classifiers::Classifiers;
use url::Lists;

/// A stage with what it reads loaded.
pub(crate) struct Ready {
    name: String,
    action: Action,
}

enum Action {
    Extract(Extract),
    Url(Lists),
    Language(Language, Box<Model>),
    Classifier(Classifiers),
    Code(Code),
    Tokens(Box<Counter>),
    Mathematics(f64),
    Sample(Sample),
    Rule(Box<Stage>),
}

impl Ready {
    /// Loads what a stage reads; `None` for a stage that looks at all pages together.
    ///
    /// # Errors
    /// Names the stage and the file.
    pub(crate) fn new(stage: &Stage) -> Result<Option<Self>> {
        let name = stage.name().to_owned();
        let open = |path: &str| {
            Model::open(Path::new(path)).with_context(|| format!("stage `{name}`: cannot read {path}"))
        };
        let action = match stage {
            _ if stage.is_global() => return Ok(None),
            Stage::Extract(extract) => Action::Extract(extract.clone()),
            Stage::Url(lists) => Action::Url(Lists::read(lists)?),
            Stage::Language(language) => Action::Language(language.clone(), Box::new(open(&language.model)?)),
            Stage::Classifier(classifier) => {
                Action::Classifier(Classifiers::open(classifier).with_context(|| format!("stage `{name}`"))?)
            }
            Stage::Code(code) => Action::Code(code.clone()),
            Stage::Tokens(tokens) => Action::Tokens(Box::new(Counter::open(&tokens.tokenizer)?)),
            Stage::Mathematics(mathematics) => Action::Mathematics(mathematics.min_formulas),
            Stage::Sample(sample) => Action::Sample(sample.clone()),
            rule => Action::Rule(Box::new(rule.clone())),
        };
        Ok(Some(Self { name, action }))
    }

    /// Whether it is faster with many pages at once.
    pub(crate) fn is_batched(&self) -> bool {
        matches!(self.action, Action::Classifier(_))
    }

    /// Applies the stage to pages; returns for each why it is dropped, if it is.
    pub(crate) fn apply_all(&self, pages: &mut [&mut Page]) -> Vec<Option<Fate>> {
        let fates: Vec<Option<Fate>> = match &self.action {
            Action::Classifier(classifiers) => classifiers.apply(pages),
            _ => pages.iter_mut().map(|page| self.apply(page)).collect(),
        };
        fates.into_iter().map(|fate| fate.map(|fate| Fate { stage: self.name.clone(), ..fate })).collect()
    }

    /// Applies the stage; returns why the page is dropped, if it is.
    pub(crate) fn apply(&self, page: &mut Page) -> Option<Fate> {
        let dropped = match &self.action {
            Action::Extract(settings) => apply_extract(settings, page),
            Action::Url(lists) => lists
                .check(page.url.as_deref().unwrap_or_default())
                .map(|(reason, found)| drop(reason, json!(found))),
            Action::Language(settings, model) => apply_language(settings, model, page),
            Action::Classifier(classifiers) => classifiers.apply(&mut [page]).pop().flatten(),
            Action::Code(settings) => code::apply(settings, page),
            Action::Tokens(counter) => counter.count(page),
            Action::Mathematics(least) => apply_mathematics(*least, page),
            Action::Sample(settings) => apply_sample(settings, page),
            Action::Rule(stage) => apply_rule(stage, page),
        };
        dropped.map(|fate| Fate { stage: self.name.clone(), ..fate })
    }
}

fn text(page: &Page) -> &str {
    match &page.body {
        Body::Text(text) => text,
        _ => "",
    }
}

fn apply_extract(settings: &Extract, page: &mut Page) -> Option<Fate> {
    if let Body::Html { bytes, charset } = &page.body {
        let html = crate::decode(bytes, charset.as_deref());
        match extract(&html, settings.content()) {
            Ok(found) => {
                page.title = found.title;
                page.values.insert("formulas_in_markup".to_owned(), json!(found.formulas));
                page.body = Body::Text(found.text);
            }
            Err(Unreadable::Nested) => return Some(drop("nested_too_deeply", json!(bytes.len()))),
            Err(Unreadable::Nodes) => return Some(drop("too_many_nodes", json!(bytes.len()))),
        }
    }
    if let Body::Unusable(reason, value) = &page.body {
        return Some(drop(reason, value.clone()));
    }
    let characters = crate::python::length(text(page));
    page.values.insert("characters".to_owned(), json!(characters));
    (characters < settings.min_characters)
        .then(|| cut("too_short", "characters", characters as f64, settings.min_characters as f64))
}

fn apply_language(settings: &Language, model: &Model, page: &mut Page) -> Option<Fate> {
    let Some((label, score)) = model.best(text(page)) else {
        return Some(drop("unknown_language", Value::Null));
    };
    // Of the languages that are kept, the most likely one decides, as in datatrove.
    let label = label.to_owned();
    let score = if settings.keep.is_empty() {
        score
    } else {
        let kept = model
            .labels()
            .zip(model.predict(text(page)))
            .filter(|(label, _)| settings.keep.iter().any(|keep| keep == label));
        kept.map(|(_, score)| score).fold(0.0, f32::max)
    };
    let score = f64::from(score);
    page.values.insert("language".to_owned(), json!(label));
    page.values.insert("language_score".to_owned(), json!(score));
    (score <= settings.above).then(|| cut("language", "language_score", score, settings.above))
}

fn apply_mathematics(least: f64, page: &mut Page) -> Option<Fate> {
    let formulas = mathematics::formulas(text(page)) as f64;
    page.values.insert("formulas".to_owned(), json!(formulas));
    (formulas < least).then(|| cut("too_few_formulas", "formulas", formulas, least))
}

fn apply_sample(settings: &Sample, page: &mut Page) -> Option<Fate> {
    let score = page.values.get(&settings.score).and_then(Value::as_f64)?;
    let step = settings.below.iter().find(|step| score < step.score)?;
    let draw = splitmix(fnv1a(&page.row) ^ splitmix(settings.seed));
    // 53 bits are what a float holds.
    let draw = (draw >> 11) as f64 / (1_u64 << 53) as f64;
    (draw >= step.keep).then(|| cut("sampled_out", &settings.score, score, step.score))
}

fn apply_rule(stage: &Stage, page: &mut Page) -> Option<Fate> {
    let Outcome { values, dropped, text: changed } = {
        let text = Text::new(text(page));
        match stage {
            Stage::GopherQuality(rule) => rule.apply(&text),
            Stage::GopherRepetition(rule) => rule.apply(&text),
            Stage::C4(rule) => rule.apply(&text),
            Stage::Fineweb(rule) => rule.apply(&text),
            Stage::RefinedwebLines(rule) => rule.apply(&text),
            Stage::Pii(rule) => rule.apply(&text),
            _ => Outcome::default(),
        }
    };
    let measure = values.last().map(|(name, _)| (*name).to_owned());
    page.values.extend(values.into_iter().map(|(name, value)| (name.to_owned(), json!(value))));
    if let Some(changed) = changed {
        page.body = Body::Text(changed);
    }
    dropped.map(|dropped| {
        let is_measured = page.values.get(measure.as_deref().unwrap_or_default()).and_then(Value::as_f64)
            == Some(dropped.value);
        Fate {
            measure: measure.filter(|_| is_measured),
            ..cut(&dropped.reason, "", dropped.value, dropped.limit)
        }
    })
}

/// All stages of a recipe that look at one page, by their place.
pub(crate) fn ready(recipe: &Recipe) -> Result<Vec<Option<Ready>>> {
    recipe.stages.iter().map(Ready::new).collect()
}

impl Page {
    /// Its text; empty before it is extracted.
    pub(crate) fn text(&self) -> &str {
        text(self)
    }

    /// About the memory that it takes.
    pub(crate) fn bytes(&self) -> usize {
        match &self.body {
            Body::Html { bytes, .. } => bytes.len(),
            Body::Text(text) => text.len(),
            Body::Unusable(..) => 0,
        }
    }

    /// As it is stored between passes and in the dataset.
    pub(crate) fn object(&self) -> Map<String, Value> {
        let mut object = Map::new();
        object.insert("text".to_owned(), json!(text(self)));
        object.insert("row".to_owned(), json!(self.row));
        object.insert("url".to_owned(), json!(self.url));
        object.insert("date".to_owned(), json!(self.date));
        object.insert("title".to_owned(), json!(self.title));
        object.extend(self.values.clone());
        object
    }

    /// Reads what [`Page::object`] made.
    pub(crate) fn from_object(mut object: Map<String, Value>) -> Self {
        let mut take = |name: &str| match object.shift_remove(name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let body = Body::Text(take("text").unwrap_or_default());
        let (row, url, date, title) = (take("row"), take("url"), take("date"), take("title"));
        Self {
            row: row.unwrap_or_default(),
            url,
            date,
            title: title.unwrap_or_default(),
            body,
            values: object,
        }
    }

    /// As it is stored when it is dropped.
    pub(crate) fn dropped(&self, fate: &Fate) -> Map<String, Value> {
        let mut object = Map::new();
        object.insert("row".to_owned(), json!(self.row));
        object.insert("url".to_owned(), json!(self.url));
        object.insert("stage".to_owned(), json!(fate.stage));
        object.insert("reason".to_owned(), json!(fate.reason));
        object.insert("value".to_owned(), fate.value.clone());
        object.insert("limit".to_owned(), fate.limit.clone());
        object.insert("measure".to_owned(), json!(fate.measure));
        object.insert("title".to_owned(), json!(self.title));
        object.insert("excerpt".to_owned(), json!(excerpt(text(self))));
        object.insert("values".to_owned(), Value::Object(self.values.clone()));
        object
    }
}
