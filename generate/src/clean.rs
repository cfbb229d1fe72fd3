//! `smoltalk clean`: drops near-duplicates and questions of evaluation sets from a dataset.
//!
//! The output depends on the input and the options alone, so the same command writes the same bytes.

mod compare;
mod decisions;
mod output;
mod settings;
mod survey;

#[cfg(test)]
mod tests;

use crate::embed::Embedder;
use crate::location::located;
use anyhow::{Context, Result};
use compare::Compare;
use datasets::ReadOptions;
use datasets::contamination::Method;
use datasets::evaluation_set::EvaluationSet;
use datasets::export::FileFormat;
use datasets::near_duplicate::Parameters;
use datasets::nearest::MAGPIE_DISTANCE;
use decisions::Decisions;
use files::run_folder::NO_LOCK_HELP;
use settings::{CleanSettings, MinHashSettings};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use survey::Survey;

/// Options of `smoltalk clean`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// File or folder of rows, in any supported layout, or a Hugging Face id
    input: PathBuf,
    /// Folder of the cleaned dataset
    #[arg(long)]
    out: PathBuf,
    /// Drop near-duplicates by MinHash (the default)
    #[arg(long, overrides_with = "no_near_duplicates")]
    near_duplicates: bool,
    /// Keep near-duplicates
    #[arg(long)]
    no_near_duplicates: bool,
    /// Number of words in a shingle (word n-gram)
    #[arg(long, default_value_t = nonzero(Parameters::FINEWEB.ngram))]
    ngram: NonZeroUsize,
    /// Number of bands in a MinHash signature; texts that share a band are compared
    #[arg(long, default_value_t = nonzero(Parameters::FINEWEB.bands))]
    bands: NonZeroUsize,
    /// Number of hashes in a band
    #[arg(long, default_value_t = nonzero(Parameters::FINEWEB.rows_per_band))]
    rows_per_band: NonZeroUsize,
    /// Estimated Jaccard similarity from which texts are near-duplicates; 0: a shared band suffices
    #[arg(long, default_value_t = 0.8, value_parser = share)]
    similarity: f64,
    /// Text of a row that is compared
    #[arg(long, value_enum, default_value = "conversation")]
    compare: Compare,
    /// Embedding model; also drop rows with similar embeddings: http://HOST:PORT/v1#MODEL, a checkpoint folder, or
    /// a Hugging Face id
    #[arg(long)]
    embeddings: Option<String>,
    /// Cosine distance up to which embeddings are similar
    #[arg(long, default_value_t = MAGPIE_DISTANCE, value_parser = share)]
    distance: f64,
    /// Environment variable that contains the API key of the embedding endpoint
    #[arg(long)]
    api_key_env: Option<String>,
    /// Evaluation set whose questions no kept row contains: [NAME=]PATH[#COLUMN]; ifeval, gsm8k, humaneval and
    /// mt-bench are recognized by name or by their fields
    #[arg(long, value_name = "NAME=PATH")]
    decontaminate: Vec<String>,
    /// Decontaminate mathematical text: 13-grams and the longest common subsequence instead of 10-grams and blocks
    #[arg(long, requires = "decontaminate")]
    math: bool,
    #[command(flatten)]
    reading: ReadOptions,
    /// Form of the dataset's files
    #[arg(long, value_enum, default_value_t)]
    format: FileFormat,
    #[arg(long, help = NO_LOCK_HELP)]
    no_lock: bool,
}

/// Cleans the dataset; returns the exit code.
///
/// # Errors
/// One line that names what is wrong and what to do.
pub fn run(options: &Options) -> Result<u8> {
    let settings = options.settings();
    let input = located(&options.input, &options.reading)?;
    output::check(&input, &settings.out)?;
    let sets = options.decontaminate.iter().map(|spec| evaluation_set(spec)).collect::<Result<Vec<_>>>()?;
    let open = |name: &String| Embedder::open(name, options.api_key_env.as_deref());
    let embedder = options.embeddings.as_ref().map(open).transpose()?;
    let mut survey = Survey::read(&input, &options.reading)?;
    if input != options.input {
        survey.name = options.input.display().to_string();
    }
    for skipped in &survey.skipped {
        terminal::message!("warning: skipped {skipped}");
    }
    let mut decisions = Decisions::keep_all(survey.rows.len());
    decisions.drop_empty(&survey);
    decisions.drop_without_reply(&survey);
    // Contaminated rows are dropped first, so that none of them represents a cluster of duplicates.
    if !sets.is_empty() {
        let method = if options.math { Method::Math } else { Method::Chat };
        decisions.drop_contaminated(&survey, &sets, method)?;
    }
    if let Some(near_duplicates) = &settings.near_duplicates {
        decisions.drop_near_duplicates(&survey, near_duplicates, settings.compare)?;
    }
    if let Some(embedder) = &embedder {
        decisions.drop_similar_embeddings(&survey, embedder, settings.distance, settings.compare)?;
    }
    terminal::results!("{}", output::write(&survey, &settings, &decisions)?)?;
    Ok(0)
}

impl Options {
    fn settings(&self) -> CleanSettings {
        let [ngram, bands, rows_per_band] =
            [self.ngram, self.bands, self.rows_per_band].map(NonZeroUsize::get);
        let near_duplicates = MinHashSettings {
            parameters: Parameters { ngram, bands, rows_per_band },
            similarity: self.similarity,
        };
        CleanSettings {
            out: self.out.clone(),
            no_lock: self.no_lock,
            format: self.format,
            near_duplicates: (!self.no_near_duplicates).then_some(near_duplicates),
            compare: self.compare,
            distance: self.distance,
        }
    }
}

/// Reads `[NAME=]PATH[#COLUMN]`.
fn evaluation_set(spec: &str) -> Result<EvaluationSet> {
    let (name, rest) = match spec.split_once('=') {
        Some((name, rest)) if !Path::new(spec).exists() => (Some(name), rest),
        _ => (None, spec),
    };
    let (path, column) = match rest.rsplit_once('#') {
        Some((path, column)) if !Path::new(rest).exists() => (path, Some(column)),
        _ => (rest, None),
    };
    EvaluationSet::read(name, Path::new(path), column).with_context(|| format!("`--decontaminate {spec}`"))
}

fn nonzero(value: usize) -> NonZeroUsize {
    NonZeroUsize::new(value).unwrap_or(NonZeroUsize::MIN)
}

/// Parses a number from 0 to 1.
fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("give a number from 0 to 1".to_owned()),
    }
}
