//! `smoltalk clean`: a dataset without near-duplicates and without questions of evaluation sets.
//!
//! What is written follows from the input and the options alone, so the same command gives the same bytes.

mod output;
mod survey;

use crate::embed::Embedder;
use anyhow::{Context, Result, bail};
use datasets::contamination::{Contamination, Method};
use datasets::duplicates::{Duplicate, find_duplicates};
use datasets::evaluation_set::EvaluationSet;
use datasets::near_duplicate::Parameters;
use datasets::nearest::{MAGPIE_DISTANCE, Unusable, duplicates, nearest_earlier};
use serde_json::{Value, json};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use survey::{Compare, Survey, whole_text};

/// Texts that are embedded at a time.
const EMBEDDED: usize = 256;

/// What `smoltalk clean` was asked for.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// A file or folder of rows, in any layout that is read
    input: PathBuf,
    /// The cleaned dataset's folder
    #[arg(long)]
    out: PathBuf,
    /// Drop near-duplicates by MinHash (the default)
    #[arg(long, overrides_with = "no_near_duplicates")]
    near_duplicates: bool,
    /// Keep near-duplicates
    #[arg(long)]
    no_near_duplicates: bool,
    /// Words of a shingle
    #[arg(long, default_value_t = nonzero(Parameters::FINEWEB.ngram))]
    ngram: NonZeroUsize,
    /// Bands of a signature; texts that share one are compared
    #[arg(long, default_value_t = nonzero(Parameters::FINEWEB.bands))]
    bands: NonZeroUsize,
    /// Hashes of a band
    #[arg(long, default_value_t = nonzero(Parameters::FINEWEB.rows_per_band))]
    rows_per_band: NonZeroUsize,
    /// Estimated Jaccard similarity from which texts count as alike; 0: a shared band is enough
    #[arg(long, default_value_t = 0.8, value_parser = share)]
    similarity: f64,
    /// What of two rows is compared
    #[arg(long, value_enum, default_value = "conversation")]
    compare: Compare,
    /// Also drop rows whose embeddings are near: http://host:port/v1#model, a checkpoint folder, or a hub id
    #[arg(long)]
    embeddings: Option<String>,
    /// Cosine distance up to which embeddings count as near
    #[arg(long, default_value_t = MAGPIE_DISTANCE, value_parser = share)]
    distance: f64,
    /// The environment variable that holds the endpoint's key
    #[arg(long)]
    api_key_env: Option<String>,
    /// Drop rows that hold questions of an evaluation set: [NAME=]PATH[#COLUMN]; ifeval, gsm8k, humaneval and mt-bench
    /// are known by name or by their fields
    #[arg(long, value_name = "NAME=PATH")]
    decontaminate: Vec<String>,
    /// Decontaminate mathematical text: 13-grams and the longest common subsequence instead of 10-grams and blocks
    #[arg(long, requires = "decontaminate")]
    math: bool,
    /// Leave rows out that cannot be read, and name them, instead of refusing
    #[arg(long)]
    skip_unreadable: bool,
}

/// Why a row is not kept.
struct Dropped {
    reason: &'static str,
    detail: Value,
}

/// What was decided about each row, and what was found on the way.
struct Decisions {
    dropped: Vec<Option<Dropped>>,
    /// Of decontamination, if it was asked for.
    contamination: Option<Value>,
    /// Rows without an embedding, and why.
    not_embedded: Vec<String>,
    /// What the embeddings came from.
    embedder: Option<String>,
}

/// Runs to the end; the number is the exit code.
///
/// # Errors
/// One line that names what is wrong and what to do.
pub fn run(options: &Options) -> Result<u8> {
    output::check(&options.input, &options.out)?;
    let sets = options.decontaminate.iter().map(|spec| evaluation_set(spec)).collect::<Result<Vec<_>>>()?;
    let open = |name: &String| Embedder::open(name, options.api_key_env.as_deref());
    let embedder = options.embeddings.as_ref().map(open).transpose()?;
    let survey = Survey::of(&options.input, options.skip_unreadable)?;
    for skipped in &survey.skipped {
        eprintln!("warning: skipped: {skipped}");
    }
    let mut decisions = Decisions::none(survey.rows.len());
    // Contaminated rows go first, so that none of them stands for a cluster of duplicates.
    if !sets.is_empty() {
        let method = if options.math { Method::Math } else { Method::Chat };
        decisions.contaminated(&survey, &sets, method)?;
    }
    if !options.no_near_duplicates {
        decisions.near_duplicates(&survey, options)?;
    }
    if let Some(embedder) = &embedder {
        decisions.near_embeddings(&survey, options, embedder)?;
    }
    println!("{}", output::write(&survey, options, &decisions)?);
    Ok(0)
}

impl Decisions {
    fn none(rows: usize) -> Self {
        let dropped = std::iter::repeat_with(|| None).take(rows).collect();
        Self { dropped, contamination: None, not_embedded: Vec::new(), embedder: None }
    }

    fn keeps(&self, row: usize) -> bool {
        self.dropped[row].is_none()
    }

    fn contaminated(&mut self, survey: &Survey, sets: &[EvaluationSet], method: Method) -> Result<()> {
        let index = Contamination::new(sets, method);
        let (mut hits, mut candidates) = (Vec::new(), 0);
        for text in survey.texts("decontaminating", |_| true, whole_text)? {
            let (row, text) = text?;
            let matches = index.matches(&text);
            candidates += usize::from(!matches.is_empty());
            let Some(worst) = matches.first().filter(|first| first.contaminated) else { continue };
            let detail =
                json!({"set": worst.set, "item": worst.item, "ngram": worst.ngram, "ratio": worst.ratio});
            self.dropped[row] = Some(Dropped { reason: "contaminated", detail });
            let named = json!({"row": survey.place(row), "id": survey.rows[row].id});
            hits.extend(matches.iter().filter(|found| found.contaminated).map(|found| {
                let mut hit = named.clone();
                for field in ["set", "item", "ngram", "ratio"] {
                    hit[field] = json!(found)[field].clone();
                }
                hit
            }));
        }
        let sets: Vec<Value> =
            sets.iter().map(|set| json!({"name": set.name, "questions": set.items.len()})).collect();
        self.contamination = Some(json!({
            "method": if method == Method::Math { "math" } else { "chat" },
            "sets": sets,
            "questions_shorter_than_an_ngram": index.too_short(),
            "rows": survey.rows.len(),
            "rows_sharing_an_ngram": candidates,
            "rows_contaminated": self.dropped.iter().flatten().count(),
            "hits": hits,
        }));
        Ok(())
    }

    fn near_duplicates(&mut self, survey: &Survey, options: &Options) -> Result<()> {
        let rows: Vec<usize> = (0..survey.rows.len()).filter(|row| self.keeps(*row)).collect();
        let texts =
            survey.texts("near-duplicates", |row| self.keeps(row), |row| options.compare.text(row))?;
        let threshold = Some(options.similarity).filter(|threshold| *threshold > 0.0);
        let texts = texts.map(|text| text.map(|(_, text)| text));
        let found = find_duplicates(texts, options.parameters(), threshold)?;
        self.drop_duplicates("near_duplicate", survey, &rows, &found)
    }

    fn near_embeddings(&mut self, survey: &Survey, options: &Options, embedder: &Embedder) -> Result<()> {
        let mut texts =
            survey.texts("embedding", |row| self.keeps(row), |row| options.compare.text(row))?.peekable();
        let (mut rows, mut refused) = (Vec::new(), Vec::new());
        let mut vectors = Vec::new().into_iter();
        // Embedded a batch at a time, while earlier ones are compared.
        let vectors = std::iter::from_fn(|| {
            loop {
                if let Some(vector) = vectors.next() {
                    return Some(Ok(vector));
                }
                texts.peek()?;
                let batch: Result<(Vec<usize>, Vec<String>)> = texts.by_ref().take(EMBEDDED).collect();
                let embedded = batch.and_then(|(numbers, texts)| Ok((numbers, embedder.embed(&texts)?)));
                let (numbers, embedded) = match embedded {
                    Ok(embedded) => embedded,
                    Err(error) => return Some(Err(error)),
                };
                let mut usable = Vec::new();
                for (row, vector) in numbers.into_iter().zip(embedded) {
                    match vector {
                        Ok(vector) => {
                            rows.push(row);
                            usable.push(vector);
                        }
                        Err(reason) => refused.push(format!("{}: {reason}", survey.place(row))),
                    }
                }
                vectors = usable.into_iter();
            }
        });
        let neighbours = nearest_earlier(vectors);
        drop(texts);
        let neighbours =
            neighbours.map_err(|error: anyhow::Error| match error.downcast_ref::<Unusable>() {
                Some(Unusable::Width { number, .. } | Unusable::Direction { number }) => {
                    let place = rows.get(*number).map(|row| survey.place(*row)).unwrap_or_default();
                    error.context(format!("the embedding of {place}"))
                }
                None => error,
            })?;
        for refused in &refused {
            eprintln!("warning: kept without an embedding: {refused}");
        }
        self.not_embedded = refused;
        self.embedder = Some(embedder.identity().to_owned());
        self.drop_duplicates("near_embedding", survey, &rows, &duplicates(&neighbours, options.distance))
    }

    fn drop_duplicates(
        &mut self,
        reason: &'static str,
        survey: &Survey,
        rows: &[usize],
        found: &[Option<Duplicate>],
    ) -> Result<()> {
        if rows.len() != found.len() {
            bail!("{} changed while it was read", survey.input.display());
        }
        for (row, duplicate) in rows.iter().zip(found) {
            let Some(Duplicate { of, through, similarity }) = *duplicate else { continue };
            let (of, through) = (survey.place(rows[of]), survey.place(rows[through]));
            let detail = json!({"of": of, "through": through, "similarity": similarity});
            self.dropped[*row] = Some(Dropped { reason, detail });
        }
        Ok(())
    }
}

impl Options {
    fn parameters(&self) -> Parameters {
        let [ngram, bands, rows_per_band] =
            [self.ngram, self.bands, self.rows_per_band].map(NonZeroUsize::get);
        Parameters { ngram, bands, rows_per_band }
    }
}

/// `[NAME=]PATH[#COLUMN]`.
fn evaluation_set(spec: &str) -> Result<EvaluationSet> {
    let (name, rest) = match spec.split_once('=') {
        Some((name, rest)) if !Path::new(spec).exists() => (Some(name), rest),
        _ => (None, spec),
    };
    let (path, column) = match rest.rsplit_once('#') {
        Some((path, column)) if !Path::new(rest).exists() => (path, Some(column)),
        _ => (rest, None),
    };
    EvaluationSet::read(name, Path::new(path), column).with_context(|| format!("--decontaminate {spec}"))
}

fn nonzero(value: usize) -> NonZeroUsize {
    NonZeroUsize::new(value).unwrap_or(NonZeroUsize::MIN)
}

/// A number from 0 to 1.
fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("expected a number from 0 to 1".to_owned()),
    }
}

#[cfg(test)]
mod tests;
