//! The stage `classifier`: scores of many pages at once, by one model or by one for each value of a column.

use crate::classifier::Scorer;
use crate::fate::{Fate, cut, drop};
use crate::page::Page;
use crate::recipe::Classifier;
use anyhow::{Context, Result, bail};
use encoder::Encoder;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// The models of a stage.
pub(super) struct Classifiers {
    settings: Classifier,
    /// By value of the column, in lower case; by the empty text where one model scores all pages.
    models: BTreeMap<String, Scorer>,
}

impl Classifiers {
    /// Opens the models.
    ///
    /// # Errors
    /// Names the file and what is missing.
    pub(super) fn open(settings: &Classifier) -> Result<Self> {
        let encoder =
            settings.encoder.as_deref().map(|folder| Encoder::open(Path::new(folder)).map(Arc::new));
        let encoder = encoder.transpose()?;
        let open = |path: &Path| Scorer::open(path, encoder.as_ref(), settings.label.as_deref());
        let model = Path::new(&settings.model);
        let mut models = BTreeMap::new();
        if settings.by.is_none() {
            models.insert(String::new(), open(model)?);
            return Ok(Self { settings: settings.clone(), models });
        }
        let entries = std::fs::read_dir(model)
            .with_context(|| format!("cannot read the folder {}", model.display()))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.file_stem().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
            if !name.is_empty() && !name.starts_with('.') {
                models.insert(name, open(&path)?);
            }
        }
        if models.is_empty() {
            bail!("{} contains no model; give a folder with one model for each value", model.display());
        }
        Ok(Self { settings: settings.clone(), models })
    }

    /// Scores pages; returns for each why it is dropped, if it is.
    pub(super) fn apply(&self, pages: &mut [&mut Page]) -> Vec<Option<Fate>> {
        let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (at, page) in pages.iter().enumerate() {
            groups.entry(self.key(page)).or_default().push(at);
        }
        let mut fates: Vec<Option<Fate>> = vec![None; pages.len()];
        for (key, places) in groups {
            let Some(model) = self.models.get(&key) else {
                places.iter().for_each(|at| fates[*at] = Some(drop("no_classifier", json!(key))));
                continue;
            };
            let texts: Vec<&str> = places.iter().map(|at| pages[*at].text()).collect();
            let scores = model.scores(&texts);
            for (at, score) in places.iter().zip(scores) {
                fates[*at] = match score {
                    Ok(score) => self.decide(pages[*at], &key, f64::from(score)),
                    Err(reason) => Some(drop("not_scored", json!(format!("{reason:#}")))),
                };
            }
        }
        fates
    }

    /// The name of a page's model.
    fn key(&self, page: &Page) -> String {
        let column = self.settings.by.as_deref();
        let value = column.and_then(|column| page.values.get(column)).and_then(Value::as_str);
        value.unwrap_or_default().to_lowercase()
    }

    fn decide(&self, page: &mut Page, key: &str, score: f64) -> Option<Fate> {
        let Classifier { name, at_least, at_least_for, .. } = &self.settings;
        page.values.insert(name.clone(), json!(score));
        let other =
            at_least_for.iter().find(|(value, _)| value.to_lowercase() == key).map(|(_, limit)| *limit);
        let limit = other.or(*at_least)?;
        (score < limit).then(|| cut("score", name, score, limit))
    }
}
