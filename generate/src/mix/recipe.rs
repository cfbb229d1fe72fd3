//! The recipe of a mix: its sources, how many rows of each, and which of them; checked once, when it is read.

use anyhow::{Context, Result, anyhow, bail};
use datasets::{NamedColumn, ReadOptions, RowLimits};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;

/// A checked recipe.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MixRecipe {
    /// The name of the dataset.
    pub(super) name: String,
    /// The folder, file or Hugging Face id of a tokenizer, for sources that count tokens.
    pub(super) tokenizer: Option<String>,
    /// Total number of rows; `--rows` takes precedence.
    pub(super) rows: Option<usize>,
    #[serde(rename = "source")]
    pub(super) sources: Vec<MixSource>,
}

/// One source of a mix.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MixSource {
    /// The value of the column `source` in its rows.
    pub(super) name: String,
    /// A file, a folder, or a Hugging Face id; paths are relative to the working directory.
    pub(super) data: String,
    /// A configuration of the dataset card.
    pub(super) config: Option<String>,
    /// One of its splits, or several: `train+test`.
    pub(super) split: Option<String>,
    /// Columns by name, as `prompt=question`.
    #[serde(default)]
    pub(super) columns: Vec<NamedColumn>,
    /// Whether rows that cannot be used are left out.
    #[serde(default)]
    pub(super) skip_invalid: bool,
    /// Maximum size of a row, in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_row_mib: Option<usize>,
    /// Maximum number of messages of a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_row_messages: Option<usize>,
    /// Number of rows; without a count and a weight all rows are taken.
    pub(super) count: Option<usize>,
    /// Its share of the rows, relative to the other weights.
    pub(super) weight: Option<f64>,
    /// Whether rows may be repeated if it has too few.
    #[serde(default)]
    pub(super) repeat: bool,
    /// Maximum number of words in all messages together.
    pub(super) maximum_words: Option<usize>,
    /// Minimum number of tokens in all messages together.
    pub(super) minimum_tokens: Option<usize>,
    /// Maximum number of tokens in all messages together.
    pub(super) maximum_tokens: Option<usize>,
    /// Maximum number of messages of the user.
    pub(super) maximum_turns: Option<usize>,
    /// Rows with one of these values in their own column `source` are not taken.
    #[serde(default)]
    pub(super) drop_sources: Vec<String>,
}

impl MixSource {
    /// How its rows are read.
    pub(super) fn reading(&self) -> ReadOptions {
        let limits = RowLimits::default();
        ReadOptions {
            limits: RowLimits {
                max_row_mib: self.max_row_mib.unwrap_or(limits.max_row_mib),
                max_row_messages: self.max_row_messages.unwrap_or(limits.max_row_messages),
            },
            columns: self.columns.clone(),
            config: self.config.clone(),
            split: self.split.clone(),
            skip_invalid: self.skip_invalid,
        }
    }

    /// What it is called in a card that others read: a Hugging Face id, or the name of the file or folder.
    pub(super) fn data_name(&self) -> String {
        let path = Path::new(&self.data);
        match path.file_name().filter(|_| path.exists()) {
            Some(name) => name.to_string_lossy().into_owned(),
            None => self.data.clone(),
        }
    }
}

impl MixRecipe {
    /// Reads and checks a recipe.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let recipe: Self = toml::from_str(&text).map_err(|error| {
            let line = 1 + text[..error.span().map_or(0, |span| span.start)].matches('\n').count();
            anyhow!("{}, line {line}: {}", path.display(), error.message())
        })?;
        recipe.check().with_context(|| path.display().to_string())?;
        Ok(recipe)
    }

    fn check(&self) -> Result<()> {
        if self.sources.is_empty() {
            bail!("the recipe has no `[[source]]`; add one");
        }
        let mut names = BTreeSet::new();
        for source in &self.sources {
            let name = &source.name;
            if !names.insert(name) {
                bail!("two sources are named `{name}`; rename one");
            }
            if let Some(weight) = source.weight.filter(|weight| !weight.is_finite() || *weight <= 0.0) {
                bail!("source `{name}`: `weight = {weight}` is not above 0; give a positive number");
            }
            let tokens = source.minimum_tokens.or(source.maximum_tokens);
            if tokens.is_some() && self.tokenizer.is_none() {
                bail!("source `{name}` counts tokens; set `tokenizer` at the top of the recipe");
            }
        }
        let weighted = self.sources.iter().filter(|source| source.weight.is_some()).count();
        if weighted > 0 && weighted < self.sources.len() {
            bail!("some sources have a weight and some have none; give every source a `weight`, or none");
        }
        match self.sources.iter().find(|source| source.weight.is_some() && source.count.is_some()) {
            Some(source) => bail!("source `{}` has both a `count` and a `weight`; remove one", source.name),
            None => Ok(()),
        }
    }

    /// Whether sources without a count are taken whole: no total is asked for, and no shares of one.
    pub(super) fn takes_all(&self, rows: Option<usize>) -> bool {
        rows.or(self.rows).is_none() && self.sources.iter().all(|source| source.weight.is_none())
    }

    /// Returns the number of rows of each source. `available` is the number that each has, `rows` the total that
    /// the user gave.
    pub(super) fn shares(&self, available: &[usize], rows: Option<usize>) -> Result<Vec<usize>> {
        let total = rows.or(self.rows);
        let count = |(source, available): (&MixSource, &usize)| source.count.unwrap_or(*available);
        let counts: Vec<usize> = self.sources.iter().zip(available).map(count).collect();
        if self.sources.iter().all(|source| source.weight.is_none()) {
            let shares: Vec<f64> = counts.iter().map(|count| *count as f64).collect();
            return Ok(total.map_or(counts, |total| apportioned(&shares, total)));
        }
        let Some(total) = total else {
            bail!("weights need a total number of rows; set `rows` in the recipe, or give `--rows`");
        };
        let weights: Vec<f64> = self.sources.iter().filter_map(|source| source.weight).collect();
        Ok(apportioned(&weights, total))
    }
}

/// Divides a total into whole rows by the largest remainder method; among equal remainders the first one comes first.
fn apportioned(shares: &[f64], total: usize) -> Vec<usize> {
    let sum: f64 = shares.iter().sum();
    if sum == 0.0 {
        return vec![0; shares.len()];
    }
    let exact: Vec<f64> = shares.iter().map(|share| share / sum * total as f64).collect();
    let mut whole: Vec<usize> = exact.iter().map(|rows| rows.floor() as usize).collect();
    let missing = total.saturating_sub(whole.iter().sum());
    let mut order: Vec<usize> = (0..shares.len()).collect();
    order.sort_by(|one, other| exact[*other].fract().total_cmp(&exact[*one].fract()));
    order.into_iter().take(missing).for_each(|index| whole[index] += 1);
    whole
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn shares_are_whole_rows_that_add_up() {
        assert_eq!(apportioned(&[1.0, 1.0, 1.0], 10), [4, 3, 3]);
        assert_eq!(apportioned(&[0.5, 0.3, 0.2], 10), [5, 3, 2]);
        assert_eq!(apportioned(&[431_000.0, 56_200.0, 2_380.0], 1000).iter().sum::<usize>(), 1000);
        assert_eq!(apportioned(&[0.0, 0.0], 5), [0, 0]);
    }

    #[test]
    fn contradictory_recipes_are_refused() {
        let refused = |sources: &str, expected: &str| {
            let recipe: MixRecipe = toml::from_str(&format!("name = \"m\"\n{sources}")).unwrap();
            let error = recipe.check().and_then(|()| recipe.shares(&[1, 1], None).map(drop)).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        };
        let source =
            |name: &str, more: &str| format!("[[source]]\nname = \"{name}\"\ndata = \"d\"\n{more}\n");
        refused("source = []", "no `[[source]]`");
        refused(&[source("a", ""), source("a", "")].concat(), "two sources are named `a`");
        refused(&source("a", "weight = 0.0"), "not above 0");
        refused(
            &[source("a", "weight = 1.0"), source("b", "count = 3")].concat(),
            "give every source a `weight`",
        );
        refused(&source("a", "weight = 1.0\ncount = 3"), "both a `count` and a `weight`");
        refused(&source("a", "maximum_tokens = 3"), "set `tokenizer`");
        refused(&[source("a", "weight = 1.0"), source("b", "weight = 2.0")].concat(), "--rows");
    }

    /// The recipes of the project can be read, and their counts are the published ones.
    #[test]
    fn the_recipes_of_the_project_have_the_published_counts() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../datasets/recipes");
        let sum = |name: &str| {
            let recipe = MixRecipe::read(&folder.join(name)).unwrap();
            let sum: usize = recipe.sources.iter().map(|source| source.count.unwrap()).sum();
            (recipe.sources.len(), sum)
        };
        // Table 9 of arXiv:2502.02737 gives rounded counts, whose sum the paper rounds to 1.1M.
        assert_eq!(sum("smoltalk.toml"), (13, 1_098_610));
        assert_eq!(sum("smol-smoltalk.toml"), (9, 460_341));
        let is_recipe =
            |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().path().is_file().then_some(());
        assert_eq!(std::fs::read_dir(folder).unwrap().filter_map(is_recipe).count(), 2);
    }
}
