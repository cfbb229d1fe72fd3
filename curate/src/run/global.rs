//! Stages that look at all pages together: duplicates of pages and of their parts, domains, questions of evaluation sets. They
//! decide in the order of the pages; what is held in memory is hashes, signatures and counts, no texts.

mod decide;
mod domains;
mod parts;

#[cfg(test)]
mod tests;

use super::part::{Counts, NewPart, Part, Rows};
use crate::fate::Fate;
use crate::page::Page;
use crate::recipe::{Decontaminate, NearDuplicates, Stage};
use anyhow::Result;
use datasets::contamination::{Contamination, Method};
use datasets::duplicates::find_duplicates;
use datasets::evaluation_set::EvaluationSet;
use datasets::near_duplicate::Parameters;
use decide::Decide;
use serde_json::{Map, Value, json};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use terminal::Progress;
use xxhash_rust::xxh3::xxh3_128;

/// Applies a stage to what the pass before made of each of `parts` files.
pub(super) fn run(stage: &Stage, work: &Path, pass: usize, parts: usize) -> Result<()> {
    if (0..parts).all(|number| Part::new(work, pass, number).is_done()) {
        return Ok(());
    }
    let rows = || (0..parts).map(|number| Part::new(work, pass - 1, number).kept());
    let texts = || rows().flat_map(texts_of);
    let progress = Progress::new(stage.name(), "pages", None);
    let mut decide: Decide = match stage {
        Stage::NearDuplicates(settings) => near_duplicates(settings, texts())?,
        Stage::Decontaminate(settings) => contaminated(settings)?,
        Stage::LineDuplicates(settings) => parts::repeated(settings, parts::Unit::Line),
        Stage::ParagraphDuplicates(settings) => parts::repeated(settings, parts::Unit::Paragraph),
        Stage::Domains(settings) => domains::by_share(settings, rows())?,
        _ => exact_duplicates(),
    };
    let mut position = 0;
    for number in 0..parts {
        let part = Part::new(work, pass, number);
        let mut new = NewPart::create(&part)?;
        let mut counts = Counts::default();
        for row in Part::new(work, pass - 1, number).kept()? {
            let mut page = Page::from_object(row?);
            match decide(position, &mut page) {
                None => {
                    new.keep(&page.object())?;
                    counts.kept += 1;
                }
                Some((reason, value, limit)) => {
                    let fate = Fate {
                        stage: stage.name().to_owned(),
                        reason: reason.to_owned(),
                        value,
                        limit,
                        measure: page.values.contains_key(reason).then(|| reason.to_owned()),
                    };
                    new.drop(&page.dropped(&fate))?;
                    counts.dropped += 1;
                }
            }
            position += 1;
            progress.advance(1);
        }
        new.commit(&counts)?;
    }
    progress.finish();
    Ok(())
}

/// The names and texts of a part.
fn texts_of(rows: Result<Rows>) -> Box<dyn Iterator<Item = Result<(String, String)>>> {
    let named = |mut row: Map<String, Value>| {
        let mut take = |name: &str| match row.remove(name) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        (take("row"), take("text"))
    };
    match rows {
        Ok(rows) => Box::new(rows.map(move |row| row.map(named))),
        Err(error) => Box::new(std::iter::once(Err(error))),
    }
}

fn exact_duplicates() -> Decide {
    let mut known: HashMap<u128, String> = HashMap::new();
    Box::new(move |_, page| {
        let hash = xxh3_128(page.text().as_bytes());
        match known.get(&hash) {
            Some(first) => Some(("exact_duplicate", json!(first), Value::Null)),
            None => {
                known.insert(hash, page.row.clone());
                None
            }
        }
    })
}

fn near_duplicates(
    settings: &NearDuplicates,
    texts: impl Iterator<Item = Result<(String, String)>>,
) -> Result<Decide> {
    let NearDuplicates { ngram, bands, rows_per_band, similarity } = *settings;
    let threshold = Some(similarity).filter(|threshold| *threshold > 0.0);
    let parameters = Parameters { ngram, bands, rows_per_band };
    let found = find_duplicates(texts.map(|text| text.map(|(_, text)| text)), parameters, threshold)?;
    // Only pages that others are copies of are named.
    let firsts: HashSet<usize> = found.iter().flatten().map(|duplicate| duplicate.of).collect();
    let mut names: HashMap<usize, String> = HashMap::new();
    Ok(Box::new(move |position, page| {
        if firsts.contains(&position) {
            names.insert(position, page.row.clone());
        }
        let duplicate = found.get(position).copied().flatten()?;
        let of = names.get(&duplicate.of).cloned().unwrap_or_default();
        Some((
            "near_duplicate",
            json!(format!("{of} (similarity {:.2})", duplicate.similarity)),
            json!(threshold),
        ))
    }))
}

fn contaminated(settings: &Decontaminate) -> Result<Decide> {
    let read = |set: &crate::recipe::EvaluationFile| {
        EvaluationSet::read(Some(&set.name), Path::new(&set.path), set.column.as_deref())
    };
    let sets = settings.sets.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let method = if settings.math { Method::Math } else { Method::Chat };
    let index = Contamination::new(&sets, method);
    Ok(Box::new(move |_, page| {
        let worst = index.matches(page.text()).into_iter().next().filter(|found| found.contaminated)?;
        let limit = if method == Method::Math { 0.6 } else { 0.5 };
        Some((
            "contaminated",
            json!(format!(
                "{} {}, {:.2} of the question: {}",
                worst.set, worst.item, worst.ratio, worst.ngram
            )),
            json!(limit),
        ))
    }))
}
