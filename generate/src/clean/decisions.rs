//! Which rows are dropped and why, decided in three stages.

use super::compare::Compare;
use super::settings::MinHashSettings;
use super::survey::{RowText, Survey};
use crate::embed::Embedder;
use anyhow::{Result, bail};
use datasets::batch::batch;
use datasets::contamination::{Contamination, Method};
use datasets::duplicates::{Duplicate, find_duplicates};
use datasets::evaluation_set::EvaluationSet;
use datasets::nearest::{VectorError, duplicates, nearest_earlier};
use serde_json::{Value, json};

/// Texts that are embedded together.
const BATCH: usize = 256;

/// Why a row is not kept.
pub(super) struct RowDrop {
    pub(super) reason: &'static str,
    pub(super) detail: Value,
}

/// The decision about each row, with the figures of the stages.
pub(super) struct Decisions {
    /// `None` for a row that is kept.
    pub(super) dropped: Vec<Option<RowDrop>>,
    /// The report of decontamination, if that was requested.
    pub(super) contamination: Option<Value>,
    /// Rows without an embedding, with the reasons.
    pub(super) not_embedded: Vec<String>,
    /// The model of the embeddings.
    pub(super) embedder: Option<String>,
}

impl Decisions {
    /// Keeps every row.
    pub(super) fn keep_all(rows: usize) -> Self {
        let dropped = std::iter::repeat_with(|| None).take(rows).collect();
        Self { dropped, contamination: None, not_embedded: Vec::new(), embedder: None }
    }

    /// Whether a row is kept.
    pub(super) fn keeps(&self, row: usize) -> bool {
        self.dropped[row].is_none()
    }

    /// Drops rows that say nothing where a reply or a text should be.
    pub(super) fn drop_empty(&mut self, survey: &Survey) {
        for (row, name) in survey.rows.iter().enumerate().filter(|(_, name)| name.is_empty) {
            self.dropped[row] = Some(RowDrop { reason: "empty_reply", detail: json!({"id": name.id}) });
        }
    }

    /// Drops conversations without a reply where others have one: a model can learn nothing from them. Prompts alone are kept.
    pub(super) fn drop_without_reply(&mut self, survey: &Survey) {
        if survey.rows.iter().all(|name| name.has_no_reply) {
            return;
        }
        for (row, name) in survey.rows.iter().enumerate().filter(|(_, name)| name.has_no_reply) {
            self.dropped[row] = Some(RowDrop { reason: "no_reply", detail: json!({"id": name.id}) });
        }
    }

    /// Drops rows that contain a question of an evaluation set.
    pub(super) fn drop_contaminated(
        &mut self,
        survey: &Survey,
        sets: &[EvaluationSet],
        method: Method,
    ) -> Result<()> {
        let index = Contamination::new(sets, method);
        let (mut hits, mut candidates) = (Vec::new(), 0);
        let kept: Vec<bool> = (0..survey.rows.len()).map(|row| self.keeps(row)).collect();
        let dropped_before = kept.iter().filter(|kept| !**kept).count();
        let matches = |text: String| index.matches(&text);
        for found in survey.texts("decontaminating", |row| kept[row], RowText::Whole, matches)? {
            let (row, matches) = found?;
            candidates += usize::from(!matches.is_empty());
            let Some(worst) = matches.first().filter(|first| first.contaminated) else { continue };
            let detail =
                json!({"set": worst.set, "item": worst.item, "ngram": worst.ngram, "ratio": worst.ratio});
            self.dropped[row] = Some(RowDrop { reason: "contaminated", detail });
            let location = json!({"row": survey.location(row), "id": survey.rows[row].id});
            hits.extend(matches.iter().filter(|question| question.contaminated).map(|question| {
                let mut hit = location.clone();
                for field in ["set", "item", "ngram", "ratio"] {
                    hit[field] = json!(question)[field].clone();
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
            "rows_contaminated": self.dropped.iter().flatten().count() - dropped_before,
            "hits": hits,
        }));
        Ok(())
    }

    /// Drops near-duplicates by MinHash.
    pub(super) fn drop_near_duplicates(
        &mut self,
        survey: &Survey,
        settings: &MinHashSettings,
        compare: Compare,
    ) -> Result<()> {
        let rows: Vec<usize> = (0..survey.rows.len()).filter(|row| self.keeps(*row)).collect();
        let text = RowText::Compared(compare);
        let texts = survey.texts("near-duplicates", |row| self.keeps(row), text, |text| text)?;
        let threshold = Some(settings.similarity).filter(|threshold| *threshold > 0.0);
        let texts = texts.map(|text| text.map(|(_, text)| text));
        let duplicates = find_duplicates(texts, settings.parameters, threshold)?;
        self.drop_duplicates("near_duplicate", survey, &rows, &duplicates)
    }

    /// Drops rows whose embedding is similar to an earlier one.
    pub(super) fn drop_similar_embeddings(
        &mut self,
        survey: &Survey,
        embedder: &Embedder,
        distance: f64,
        compare: Compare,
    ) -> Result<()> {
        let text = RowText::Compared(compare);
        let mut texts = survey.texts("embedding", |row| self.keeps(row), text, |text| text)?.peekable();
        let (mut rows, mut refused) = (Vec::new(), Vec::new());
        let mut vectors = Vec::new().into_iter();
        // Each batch is embedded once the vectors before it were compared.
        let vectors = std::iter::from_fn(|| {
            loop {
                if let Some(vector) = vectors.next() {
                    return Some(Ok(vector));
                }
                texts.peek()?;
                let batch: Result<(Vec<usize>, Vec<String>)> = batch(&mut texts, BATCH).into_iter().collect();
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
                        Err(reason) => refused.push(format!("{}: {reason}", survey.location(row))),
                    }
                }
                vectors = usable.into_iter();
            }
        });
        let neighbors = nearest_earlier(vectors);
        drop(texts);
        let neighbors = neighbors.map_err(|error| name_row(error, survey, &rows))?;
        for refused in &refused {
            terminal::message!("warning: kept without an embedding: {refused}");
        }
        self.not_embedded = refused;
        self.embedder = Some(embedder.identity().to_owned());
        self.drop_duplicates("near_embedding", survey, &rows, &duplicates(&neighbors, distance))
    }

    fn drop_duplicates(
        &mut self,
        reason: &'static str,
        survey: &Survey,
        rows: &[usize],
        duplicates: &[Option<Duplicate>],
    ) -> Result<()> {
        if rows.len() != duplicates.len() {
            bail!("{} changed while it was read; run the same command again", survey.input.display());
        }
        for (row, duplicate) in rows.iter().zip(duplicates) {
            let Some(Duplicate { of, through, similarity }) = *duplicate else { continue };
            let (of, through) = (survey.location(rows[of]), survey.location(rows[through]));
            let detail = json!({"of": of, "through": through, "similarity": similarity});
            self.dropped[*row] = Some(RowDrop { reason, detail });
        }
        Ok(())
    }
}

/// Adds the row to the error of its vector.
fn name_row(error: anyhow::Error, survey: &Survey, rows: &[usize]) -> anyhow::Error {
    match error.downcast_ref::<VectorError>() {
        Some(VectorError::Width { number, .. } | VectorError::Direction { number }) => {
            let location = rows.get(*number).map(|row| survey.location(*row)).unwrap_or_default();
            error.context(format!("the embedding of {location} cannot be compared"))
        }
        None => error,
    }
}
