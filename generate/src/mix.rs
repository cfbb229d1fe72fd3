//! `smoltalk mix`: composes generated and external datasets into one shuffled dataset, as a recipe says.
//!
//! A source of which all rows are taken is read once. Any other is read twice: once to count the rows that pass its
//! filters, once to take the rows that the recipe asks for. Rows are selected while they are read, and what does not fit in
//! the memory of the shuffle is spilled, so memory does not grow with their number. The same seed gives the same bytes, on
//! any number of cores and with any memory.

mod card;
mod check;
mod order;
mod portion;
mod recipe;
mod rows;
mod shuffle;
mod source_location;
mod tokenizer;

use crate::install::install;
use anyhow::{Error, Result, anyhow, bail};
use checkpoint::Tokenizer;
use datasets::encoded::write_packed_shards;
use datasets::export::{FileFormat, write_json_files};
use datasets::packed;
use datasets::write::{ROWS_PER_SHARD, Shard};
use files::atomic::{self, NewFolder};
use files::output_folder::{FolderKind, OutputFolder};
use files::run_folder::NO_LOCK_HELP;
use order::Order;
use portion::{Portion, portions};
use recipe::MixRecipe;
use rows::{RowFilters, RowKind};
use serde_json::Value;
use shuffle::Shuffle;
use std::path::{Path, PathBuf};
use tokenizer::open_tokenizer;

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
    /// Memory for the rows that are shuffled, in MiB; what does not fit is spilled beside the dataset. By default a
    /// sixteenth of the memory that is available, from 64 to 128
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(16..))]
    memory: Option<u64>,
    /// Form of the dataset's files
    #[arg(long, value_enum, default_value_t)]
    format: FileFormat,
    #[arg(long, help = NO_LOCK_HELP)]
    no_lock: bool,
}

impl Options {
    /// Bytes of the shuffle's memory.
    fn memory(&self) -> usize {
        let share = || files::memory::available().unwrap_or_default() / 16;
        let bytes = self.memory.map(|mib| usize::try_from(mib << 20).unwrap_or(usize::MAX));
        bytes.unwrap_or_else(|| share().clamp(64 << 20, 128 << 20))
    }
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
    let folder = OutputFolder::open(out, &FOLDER, options.no_lock)?;
    let new = folder.new_result()?;
    let shuffle_folder = NewFolder::create(&out.join("shuffle"))?;
    let mut shuffle = Shuffle::create(shuffle_folder.path(), options.memory());
    let taking = (options.allow_fewer, options.seed);
    let portions = portions(&recipe, options.rows, taking, tokenizer.as_ref(), &mut shuffle)?;
    let kind = one_kind(&portions)?;
    take_rows(&portions, options.seed, tokenizer.as_ref(), &mut shuffle)?;
    let (shards, features) = write(new.path(), kind, options.format, shuffle)?;
    drop(shuffle_folder);
    let text = card::body(&recipe, &portions, options.seed, kind, (options.format, features));
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

/// Takes the rows of each source that was only counted, each with a number that determines its place in the order.
fn take_rows(
    portions: &[Portion<'_>],
    seed: u64,
    tokenizer: Option<&Tokenizer>,
    shuffle: &mut Shuffle,
) -> Result<()> {
    for portion in portions.iter().filter(|portion| portion.taken > 0 && !portion.is_read) {
        let filters = RowFilters { source: portion.source, tokenizer, is_only_pass: false };
        // Every row is taken `copies` times, and `remaining` of them once more.
        let (copies, mut remaining) =
            (portion.taken / portion.counts.rows, portion.taken % portion.counts.rows);
        let mut order = Order::new(seed, &portion.source.name);
        rows::for_each(&portion.folder, &filters, |row| {
            let unseen = portion.counts.rows.saturating_sub(order.seen());
            // Selection sampling (Knuth, The Art of Computer Programming, vol. 2, 3.4.2, algorithm S).
            let is_taken =
                remaining > 0 && u128::from(order.take()) * (unseen as u128) < (remaining as u128) << 64;
            remaining -= usize::from(is_taken);
            for copy in 0..copies + usize::from(is_taken) {
                shuffle.push(order.place(copy), &row)?;
            }
            order.advance();
            Ok(())
        })?;
        if order.seen() != portion.counts.rows {
            bail!("{} changed while it was read; run the same command again", portion.source.data);
        }
    }
    Ok(())
}

/// Writes the rows; returns the files, and the types of their columns where the files do not state them.
fn write(
    new: &Path,
    kind: RowKind,
    format: FileFormat,
    shuffle: Shuffle,
) -> Result<(Vec<Shard>, Option<Value>)> {
    let total = shuffle.rows();
    let folder = new.join("data/default");
    let rows = shuffle.in_order();
    if format == FileFormat::Parquet {
        let shards = write_packed_shards(&folder, "train", &kind.columns(), total, ROWS_PER_SHARD, rows)?;
        return Ok((shards, None));
    }
    let columns = kind.columns();
    let rows = rows.map(|row| packed::object(&columns, row?.as_ref()).map_err(Error::msg));
    let (files, columns) = write_json_files(&folder, "train", format, total, ROWS_PER_SHARD, rows)?;
    Ok((files, columns.features()))
}
