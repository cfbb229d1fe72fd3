//! A trained model that gives a text a score: a fastText file, a linear layer on an encoder's vectors, or an encoder that was
//! published with such a layer.

use super::head::Head;
use crate::fasttext::Model;
use anyhow::{Context, Result, bail, ensure};
use encoder::Encoder;
use rayon::prelude::*;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

/// The description of a classifier, in its folder.
pub(super) const DESCRIPTION: &str = "classifier.json";
/// The file of a linear layer.
pub(super) const HEAD: &str = "head.json";
/// The file of a fastText model.
pub(super) const MODEL: &str = "model.bin";

/// A model that scores texts.
pub(crate) enum Scorer {
    /// The probability of the label at this place.
    FastText(Box<Model>, usize),
    /// A linear layer on vectors.
    Linear(Arc<Encoder>, Head),
}

impl Scorer {
    /// Opens a model: a fastText file, a folder of `train-classifier`, or a checkpoint folder of a classifier of the BERT
    /// family with one output. `encoder` is what a linear layer was trained on, `label` the label of a fastText model.
    ///
    /// # Errors
    /// Names what is missing or does not belong together.
    pub(crate) fn open(path: &Path, encoder: Option<&Arc<Encoder>>, label: Option<&str>) -> Result<Self> {
        let place = path.display();
        if path.join(HEAD).is_file() {
            let head = Head::read(&path.join(HEAD))?;
            let encoder = encoder.with_context(|| {
                format!("{place} was trained on the vectors of an encoder; name its folder as `encoder`")
            })?;
            head.check(encoder).with_context(|| format!("{place}"))?;
            return Ok(Self::Linear(Arc::clone(encoder), head));
        }
        if path.join("config.json").is_file() {
            return Self::published(path);
        }
        let file = if path.is_dir() { path.join(MODEL) } else { path.to_owned() };
        let model = Model::open(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let own = own_label(path);
        let label = label.or(own.as_deref()).with_context(|| {
            let labels = model.labels().collect::<Vec<_>>().join(", ");
            format!("{place} needs a `label`; it has {labels}")
        })?;
        let Some(at) = model.labels().position(|known| known == label) else {
            let labels = model.labels().collect::<Vec<_>>().join(", ");
            bail!("{place} has no label `{label}`; it has {labels}");
        };
        Ok(Self::FastText(Box::new(model), at))
    }

    /// A checkpoint with a linear layer of its own, such as FineWeb-Edu's.
    fn published(path: &Path) -> Result<Self> {
        let encoder = Encoder::open(path)?;
        let layer = encoder.head().with_context(|| {
            format!(
                "{} is an encoder without a classifier's layer; train one with `smoltalk curate train-classifier --encoder`",
                path.display()
            )
        })?;
        ensure!(
            layer.bias.len() == 1,
            "{} has {} outputs; a classifier with one output is applied",
            path.display(),
            layer.bias.len()
        );
        let head = Head::of_layer(&encoder, &layer);
        Ok(Self::Linear(Arc::new(encoder), head))
    }

    /// The scores of texts. One that cannot be tokenized has an error of its own.
    pub(crate) fn scores(&self, texts: &[&str]) -> Vec<Result<f32>> {
        match self {
            Self::FastText(model, at) => texts.par_iter().map(|text| Ok(model.predict(text)[*at])).collect(),
            Self::Linear(encoder, head) => match encoder.encode(texts) {
                Ok(vectors) => {
                    vectors.chunks_exact(encoder.dim()).map(|vector| Ok(head.score(vector))).collect()
                }
                Err(error) if texts.len() == 1 => vec![Err(error)],
                Err(_) => texts.iter().flat_map(|text| self.scores(&[*text])).collect(),
            },
        }
    }
}

/// The label of a folder of `train-classifier`.
fn own_label(path: &Path) -> Option<String> {
    let text = std::fs::read(path.join(DESCRIPTION)).ok()?;
    let report: Value = serde_json::from_slice(&text).ok()?;
    report["label"].as_str().map(str::to_owned)
}
