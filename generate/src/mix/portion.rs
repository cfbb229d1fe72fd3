//! A source of a mix with its counts, and the number of rows that the mix takes from it.

use super::order::Order;
use super::recipe::{MixRecipe, MixSource};
use super::rows::{RowFilters, SourceCounts, count, for_each};
use super::shuffle::Shuffle;
use super::source_location::SourceLocation;
use anyhow::{Result, bail};
use checkpoint::Tokenizer;
use std::path::PathBuf;

/// A source that was counted.
pub(super) struct Portion<'a> {
    pub(super) source: &'a MixSource,
    pub(super) folder: PathBuf,
    pub(super) counts: SourceCounts,
    /// Rows that the recipe asks for.
    pub(super) requested: usize,
    /// Rows that the mix takes.
    pub(super) taken: usize,
    /// Whether its rows are in the shuffle already: all of them are taken, so that they were read once.
    pub(super) is_read: bool,
}

impl Portion<'_> {
    /// Says that the source has fewer rows than the recipe asks for.
    pub(super) fn shortage(&self) -> String {
        format!(
            "{} asks for {} rows, {} has {} that pass",
            self.source.name, self.requested, self.source.data, self.counts.rows
        )
    }
}

/// Counts every source and decides how many rows the mix takes from it. Sources of which all rows are taken are read once:
/// their rows go into the shuffle.
///
/// # Errors
/// When sources have too few rows, unless `allow_fewer`.
pub(super) fn portions<'a>(
    recipe: &'a MixRecipe,
    rows: Option<usize>,
    (allow_fewer, seed): (bool, u64),
    tokenizer: Option<&Tokenizer>,
    shuffle: &mut Shuffle,
) -> Result<Vec<Portion<'a>>> {
    let mut counted = Vec::new();
    let takes_all = recipe.takes_all(rows);
    for source in &recipe.sources {
        let folder = SourceLocation::find(source)?.fetch(source)?;
        let filters = RowFilters { source, tokenizer, is_only_pass: true };
        let is_read = takes_all && source.count.is_none();
        let counts = match is_read {
            true => {
                let mut order = Order::new(seed, &source.name);
                for_each(&folder, &filters, |row| shuffle.push(order.next(0), &row))?
            }
            false => count(&folder, &filters)?,
        };
        terminal::message!("{}: {} rows available{}", source.name, counts.rows, counts.left_out());
        counted.push((folder, counts, is_read));
    }
    let available: Vec<usize> = counted.iter().map(|(_, counts, _)| counts.rows).collect();
    let requested = recipe.shares(&available, rows)?;
    let sources = recipe.sources.iter().zip(counted).zip(requested);
    let portions: Vec<Portion<'_>> = sources
        .map(|((source, (folder, counts, is_read)), requested)| {
            let has_enough = counts.rows >= requested || (source.repeat && counts.rows > 0);
            let taken = if has_enough { requested } else { counts.rows };
            Portion { source, folder, counts, requested, taken, is_read }
        })
        .collect();
    let short = portions.iter().filter(|portion| portion.taken < portion.requested);
    let short: Vec<String> = short.map(Portion::shortage).collect();
    if !short.is_empty() && !allow_fewer {
        bail!(
            "{}; set `repeat = true` for a source of the recipe, give `--allow-fewer`, or give a smaller `--rows`",
            short.join("; ")
        );
    }
    short.iter().for_each(|shortage| terminal::message!("warning: {shortage}"));
    Ok(portions)
}
