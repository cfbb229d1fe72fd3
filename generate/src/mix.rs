//! `smoltalk mix`: composes generated and external datasets into one shuffled dataset, as a recipe says.
//!
//! Every source is read twice: once to count the rows that pass its filters, once to take the rows that the recipe
//! asks for. Rows are selected while they are read and shuffled on disk, so memory does not grow with their number.
//! The same seed gives the same bytes.

mod card;
mod check;
mod portion;
mod recipe;
mod rows;
mod shuffle;
mod source_location;
mod tokenizer;

use crate::draw::draw;
use crate::install::install;
use anyhow::{Result, anyhow, bail};
use checkpoint::Tokenizer;
use datasets::export::{FileFormat, write_json_files};
use datasets::write::{ROWS_PER_SHARD, Shard, write_shards};
use files::atomic::{self, NewFolder};
use files::output_folder::{FolderKind, OutputFolder};
use files::run_folder::NO_LOCK_HELP;
use portion::{Portion, portions};
use recipe::MixRecipe;
use rows::{RowFilters, RowKind};
use shuffle::Shuffle;
use std::path::{Path, PathBuf};
use tokenizer::open_tokenizer;

/// Bytes of rows that are sorted in memory at a time.
const SORTED_BYTES: u64 = 64 << 20;

/// The folder of a mix.
pub(crate) const FOLDER: FolderKind =
    FolderKind { program: "smoltalk mix", description: "mix.json", files: &["README.md"], working: &[] };

/// Options of `smoltalk mix`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Recipe in TOML; datasets/recipes contains those of SmolTalk
    recipe: PathBuf,
    /// Folder of the dataset
    #[arg(long, required_unless_present = "check")]
    out: Option<PathBuf>,
    /// Random seed of the selection and the order of rows
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Total number of rows; counts keep their proportions, weights divide it
    #[arg(long)]
    rows: Option<usize>,
    /// Take all rows of a source that has fewer than the recipe asks for
    #[arg(long)]
    allow_fewer: bool,
    /// Write nothing; print for every source whether it is available with the rows that the recipe asks for
    #[arg(long)]
    check: bool,
    /// Form of the dataset's files
    #[arg(long, value_enum, default_value_t)]
    format: FileFormat,
    #[arg(long, help = NO_LOCK_HELP)]
    no_lock: bool,
}

/// Mixes the dataset; returns the exit code.
///
/// # Errors
/// One line that names what is wrong and what to do.
pub fn run(options: &Options) -> Result<u8> {
    let recipe = MixRecipe::read(&options.recipe)?;
    let Some(out) = options.out.as_deref().filter(|_| !options.check) else {
        return check::check(&recipe, options.rows);
    };
    OutputFolder::look(out, &FOLDER)?;
    let tokenizer = recipe.tokenizer.as_deref().map(open_tokenizer).transpose()?;
    let portions = portions(&recipe, options.rows, options.allow_fewer, tokenizer.as_ref())?;
    let kind = one_kind(&portions)?;
    let folder = OutputFolder::open(out, &FOLDER, options.no_lock)?;
    let new = folder.new_result()?;
    let shuffle_folder = NewFolder::create(&out.join("shuffle"))?;
    let shuffle = shuffled(&portions, options.seed, shuffle_folder.path(), tokenizer.as_ref())?;
    let shards = write(new.path(), kind, options.format, shuffle)?;
    drop(shuffle_folder);
    let text = card::body(&recipe, &portions, options.seed, (kind, options.format));
    atomic::write(&new.path().join("README.md"), text)?;
    let manifest = card::manifest(new.path(), &recipe, &portions, (options.seed, options.rows), &shards);
    atomic::write(&new.path().join("mix.json"), serde_json::to_string_pretty(&manifest)?)?;
    install(&folder, new, &shards)?;
    terminal::results!("{}", card::summary(out, &portions))?;
    Ok(0)
}

/// The kind of rows, which all sources share.
fn one_kind(portions: &[Portion<'_>]) -> Result<RowKind> {
    let mut used = portions.iter().filter(|portion| portion.taken > 0);
    let first =
        used.next().ok_or_else(|| anyhow!("the recipe asks for no rows; give `--rows` or counts above 0"))?;
    match used.find(|portion| portion.counts.kind != first.counts.kind) {
        Some(other) => bail!(
            "{} has {}, {} has {}; a dataset has one kind of rows, so mix them separately",
            first.source.name,
            first.counts.kind.name(),
            other.source.name,
            other.counts.kind.name()
        ),
        None => Ok(first.counts.kind),
    }
}

/// Takes the rows of each source, each with a number that determines its place in the order.
fn shuffled(
    portions: &[Portion<'_>],
    seed: u64,
    folder: &Path,
    tokenizer: Option<&Tokenizer>,
) -> Result<Shuffle> {
    let mut shuffle = Shuffle::create(folder, SORTED_BYTES);
    for portion in portions.iter().filter(|portion| portion.taken > 0) {
        let name = &portion.source.name;
        let filters = RowFilters { source: portion.source, tokenizer };
        // Every row is taken `copies` times, and `remaining` of them once more.
        let (copies, mut remaining) =
            (portion.taken / portion.counts.rows, portion.taken % portion.counts.rows);
        let mut seen = 0;
        rows::for_each(&portion.folder, &filters, |row| {
            let unseen = portion.counts.rows.saturating_sub(seen);
            // Selection sampling (Knuth, The Art of Computer Programming, vol. 2, 3.4.2, algorithm S).
            let drawn = u128::from(draw(&format!("{seed}/{name}/{seen}/take")));
            let is_taken = drawn * (unseen as u128) < (remaining as u128) << 64;
            remaining -= usize::from(is_taken);
            for copy in 0..copies + usize::from(is_taken) {
                shuffle.push(draw(&format!("{seed}/{name}/{seen}/{copy}")), &row)?;
            }
            seen += 1;
            Ok(())
        })?;
        if seen != portion.counts.rows {
            bail!("{} changed while it was read; run the same command again", portion.source.data);
        }
    }
    Ok(shuffle)
}

fn write(new: &Path, kind: RowKind, format: FileFormat, shuffle: Shuffle) -> Result<Vec<Shard>> {
    let total = shuffle.rows();
    let folder = new.join("data/default");
    let rows = shuffle.in_order()?.map(|row| anyhow::Ok(serde_json::from_slice(&row?)?));
    match format {
        FileFormat::Parquet => write_shards(&folder, "train", &kind.columns(), total, ROWS_PER_SHARD, rows),
        format => write_json_files(&folder, "train", format, total, ROWS_PER_SHARD, rows),
    }
}
