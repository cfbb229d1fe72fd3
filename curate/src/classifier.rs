//! `smoltalk curate train-classifier`: a classifier of texts, measured on a tenth of them that it was not trained on. It is a
//! fastText model, or one linear layer on the vectors of a frozen sentence encoder.

mod examples;
mod head;
mod measure;
mod scorer;
mod solve;

#[cfg(test)]
mod tests;

pub use examples::Target;
pub use head::HeadKind;
pub(crate) use scorer::Scorer;

use crate::fasttext::{Training, train};
use crate::tokens::Counter;
use anyhow::{Context, Result, bail, ensure};
use encoder::Encoder;
use examples::{Example, Examples};
use files::atomic;
use files::output_folder::{FolderKind, OutputFolder};
use head::Head;
use measure::{Judged, Scale};
use random::{fnv1a, splitmix};
use scorer::{DESCRIPTION, HEAD, MODEL};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The folder of a classifier.
const FOLDER: FolderKind = FolderKind {
    program: "smoltalk curate train-classifier",
    description: DESCRIPTION,
    files: &[MODEL, HEAD],
    working: &[],
};
/// One text in so many is held out.
const HELD_OUT: u64 = 10;
/// Texts that are encoded together.
const BATCH: usize = 512;

/// What a classifier is trained on.
#[derive(Debug)]
pub struct ClassifierSettings {
    /// Rows with `text`.
    pub data: PathBuf,
    /// Folder of the model.
    pub out: PathBuf,
    /// What it learns.
    pub target: Target,
    /// How it is trained.
    pub kind: Kind,
    /// A tokenizer, to count what each cut keeps in tokens.
    pub tokenizer: Option<PathBuf>,
    /// Do not lock the folder.
    pub no_lock: bool,
}

/// The kind of a classifier.
#[derive(Debug)]
pub enum Kind {
    /// A fastText model.
    FastText(Training),
    /// A linear layer on an encoder's vectors.
    Encoder {
        /// The checkpoint folder of the encoder.
        folder: PathBuf,
        /// What the layer learns; by default scores, or where there is a label, its probability.
        head: Option<HeadKind>,
        /// The penalty on the squares of the weights.
        penalty: f64,
    },
}

/// A trained classifier, before it is written.
struct Trained {
    /// The file of the model, and its bytes.
    file: (&'static str, Vec<u8>),
    /// The scores of the texts that were held out.
    scores: Vec<f64>,
    /// For the report.
    training: Value,
}

/// Trains and measures a classifier; returns the table for the user.
///
/// # Errors
/// Names the file and the row that cannot be read, or says what is missing.
pub fn train_classifier(settings: &ClassifierSettings) -> Result<String> {
    OutputFolder::look(&settings.out, &FOLDER)?;
    let counter =
        settings.tokenizer.as_ref().map(|path| Counter::open(&path.to_string_lossy())).transpose()?;
    let Examples { examples, unlabeled } = Examples::read(&settings.data, &settings.target)?;
    let (held_out, training): (Vec<_>, Vec<_>) =
        examples.into_iter().partition(|example| splitmix(fnv1a(&example.text)).is_multiple_of(HELD_OUT));
    if let Some(label) = settings.target.label()
        && !training.iter().any(|example| example.label == label)
    {
        bail!("no text of {} has the label `{label}`; give another `--label`", settings.data.display());
    }
    let trained = match &settings.kind {
        Kind::FastText(training_settings) => {
            fast_text(&training, &held_out, &settings.target, training_settings)?
        }
        Kind::Encoder { folder, head, penalty } => {
            linear(&training, &held_out, &settings.target, (folder.as_path(), *head, *penalty))?
        }
    };
    let judged = judged(&held_out, &trained.scores, &settings.target, counter.as_ref())?;
    let scale = settings.target.label().map_or(Scale::Scores, |_| Scale::Label);
    let mut report = json!({
        "label": settings.target.label(),
        "texts": training.len(),
        "held_out": held_out.len(),
        "texts_without_label": unlabeled,
        "training": trained.training,
    });
    measure::report(&judged, scale, &mut report);
    write(settings, &report, trained.file)?;
    Ok(measure::table(&report))
}

/// Installs the folder of the model.
fn write(settings: &ClassifierSettings, report: &Value, (name, bytes): (&str, Vec<u8>)) -> Result<()> {
    let folder = OutputFolder::open(&settings.out, &FOLDER, settings.no_lock)?;
    let new = folder.new_result()?;
    atomic::write(&new.path().join(name), bytes)?;
    atomic::write(&new.path().join(DESCRIPTION), format!("{}\n", serde_json::to_string_pretty(report)?))?;
    folder.install(new, Map::new(), BTreeMap::new())?;
    Ok(())
}

fn fast_text(
    training: &[Example],
    held_out: &[Example],
    target: &Target,
    settings: &Training,
) -> Result<Trained> {
    let Some(label) = target.label() else {
        bail!(
            "a fastText model learns labels; give `--at-least`, the score from which a text has one, or `--encoder` to learn \
             scores"
        );
    };
    let pairs: Vec<(String, String)> =
        training.iter().map(|example| (example.text.clone(), example.label.clone())).collect();
    let model = train(&pairs, settings)?;
    let mut bytes = Vec::new();
    model.write(&mut bytes)?;
    let at = model.labels().position(|known| known == label).context("the model has lost its label")?;
    let scores = held_out.iter().map(|example| f64::from(model.predict(&example.text)[at])).collect();
    let Training { dim, epochs, learning_rate, word_ngrams, buckets, seed, .. } = *settings;
    let training = json!({
        "kind": "fasttext", "dim": dim, "epochs": epochs, "learning_rate": learning_rate, "word_ngrams": word_ngrams,
        "buckets": buckets, "seed": seed,
    });
    Ok(Trained { file: (MODEL, bytes), scores, training })
}

fn linear(
    training: &[Example],
    held_out: &[Example],
    target: &Target,
    (folder, head, penalty): (&Path, Option<HeadKind>, f64),
) -> Result<Trained> {
    let kind = head.unwrap_or(if target.label().is_some() { HeadKind::Logistic } else { HeadKind::Ridge });
    ensure!(
        kind == HeadKind::Ridge || target.label().is_some(),
        "`--head logistic` learns a label; give `--at-least`, the score from which a text has one"
    );
    let encoder = Arc::new(Encoder::open(folder)?);
    let vectors = encode(&encoder, training)?;
    let targets: Vec<f64> = training.iter().map(|example| example.target).collect();
    let head = Head::fit(kind, encoder.fingerprint(), &vectors, &targets, penalty)?;
    let bytes = serde_json::to_vec(&head)?;
    let scores = encode(&encoder, held_out)?;
    let scores = scores.chunks_exact(encoder.dim()).map(|vector| f64::from(head.score(vector))).collect();
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let training = json!({
        "kind": kind, "encoder": name, "encoder_fingerprint": encoder.fingerprint(), "dim": encoder.dim(),
        "max_tokens": encoder.max_tokens(), "penalty": penalty,
    });
    Ok(Trained { file: (HEAD, bytes), scores, training })
}

/// The vectors of all texts (texts, dim).
fn encode(encoder: &Encoder, examples: &[Example]) -> Result<Vec<f32>> {
    let progress = terminal::Progress::new("encoding", "texts", Some(examples.len() as u64));
    let mut vectors = Vec::with_capacity(examples.len() * encoder.dim());
    for batch in examples.chunks(BATCH) {
        let texts: Vec<&str> = batch.iter().map(|example| example.text.as_str()).collect();
        vectors.extend(encoder.encode(&texts)?);
        progress.advance(batch.len() as u64);
    }
    progress.finish();
    Ok(vectors)
}

fn judged(
    held_out: &[Example],
    scores: &[f64],
    target: &Target,
    counter: Option<&Counter>,
) -> Result<Vec<Judged>> {
    let judge = |(example, score): (&Example, &f64)| -> Result<Judged> {
        Ok(Judged {
            truth: target.label().map_or(example.target, |label| f64::from(u8::from(example.label == label))),
            score: *score,
            characters: crate::python::length(&example.text),
            tokens: counter.map(|counter| counter.tokens(&example.text)).transpose()?,
        })
    };
    held_out.iter().zip(scores).map(judge).collect()
}
