//! `smoltalk mix`: a recipe of generated and external sets, made into one shuffled dataset.
//!
//! Every source is read twice: once to count what passes its filters, once to take what the recipe asks for. Rows
//! are chosen as they pass by and shuffled on disk, so memory does not grow with their number. The same seed gives
//! the same bytes.

mod card;
mod place;
mod recipe;
mod rows;
mod shuffle;

use self::place::Place;
use self::recipe::{Mix, Source};
use self::rows::{Counts, Filters, Kind};
use self::shuffle::Shuffle;
use crate::recipe::draw;
use anyhow::{Context, Result, anyhow, bail};
use datasets::write::{ROWS_PER_SHARD, Shard, remove, remove_others, write_atomic, write_shards};
use smollm::Tokenizer;
use std::path::{Path, PathBuf};

/// Bytes of rows that are sorted in memory at a time.
const SORTED_BYTES: u64 = 64 << 20;

/// What `smoltalk mix` was asked for.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// A TOML recipe; datasets/recipes holds those of SmolTalk
    recipe: PathBuf,
    /// The dataset's folder
    #[arg(long, required_unless_present = "check")]
    out: Option<PathBuf>,
    /// Decides which rows are taken of a source that has more, and their order
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Rows in all: counts keep their proportions, weights are shared out
    #[arg(long)]
    rows: Option<usize>,
    /// Takes all there is of a source that has fewer rows than the recipe asks for
    #[arg(long)]
    allow_fewer: bool,
    /// Writes nothing; says of every source whether it is there and has the rows asked for
    #[arg(long)]
    check: bool,
}

/// A source that was looked at.
struct Portion<'a> {
    source: &'a Source,
    folder: PathBuf,
    counts: Counts,
    /// Rows the recipe asks for.
    asked: usize,
    /// Rows the mix has of it.
    taken: usize,
}

/// Runs to the end; the number is the exit code.
///
/// # Errors
/// One line that names what is wrong and what to do.
pub fn run(options: &Options) -> Result<u8> {
    let mix = Mix::read(&options.recipe)?;
    let Some(out) = options.out.as_deref().filter(|_| !options.check) else {
        return check(&mix, options.rows);
    };
    refuse_others(out)?;
    let tokenizer = mix.tokenizer.as_deref().map(open_tokenizer).transpose()?;
    let portions = portions(&mix, options, tokenizer.as_ref())?;
    let kind = one_kind(&portions)?;
    std::fs::create_dir_all(out).with_context(|| format!("cannot create --out {}", out.display()))?;
    // Until the new one is written last, no manifest vouches for files of two mixes.
    remove(&out.join("mix.json"))?;
    let shuffle = shuffled(&portions, options.seed, out, tokenizer.as_ref())?;
    let shards = write(out, kind, shuffle)?;
    let text = card::body(&mix, &portions, options.seed, kind);
    write_atomic(&out.join("README.md"), text.as_bytes())?;
    let manifest = card::manifest(out, &mix, &portions, options, &shards);
    write_atomic(&out.join("mix.json"), serde_json::to_string_pretty(&manifest)?.as_bytes())?;
    println!("{}", card::summary(out, &portions));
    Ok(0)
}

/// A mix replaces a mix, and nothing else.
fn refuse_others(out: &Path) -> Result<()> {
    let others = ["store.sqlite", "run.json"].iter().any(|name| out.join(name).exists());
    let inside = std::fs::read_dir(out.join("data")).map(|entries| entries.flatten().collect::<Vec<_>>());
    if others || inside.is_ok_and(|entries| entries.iter().any(|entry| entry.file_name() != "default")) {
        bail!("--out {} holds another dataset; name a new folder", out.display());
    }
    Ok(())
}

fn open_tokenizer(name: &str) -> Result<Tokenizer> {
    let folder = smollm::checkpoint::tokenizer_folder(name)?;
    Ok(Tokenizer::open(&folder.join("tokenizer.json"))?)
}

/// Counts every source and decides how many rows it gives.
fn portions<'a>(mix: &'a Mix, options: &Options, tokenizer: Option<&Tokenizer>) -> Result<Vec<Portion<'a>>> {
    let mut counted = Vec::new();
    for source in &mix.sources {
        let folder = Place::of(source)?.folder(source)?;
        let counts = rows::count(&folder, &Filters { source, tokenizer })?;
        eprintln!("{}: {} rows to choose from{}", source.name, counts.rows, counts.left_out());
        counted.push((folder, counts));
    }
    let available: Vec<usize> = counted.iter().map(|(_, counts)| counts.rows).collect();
    let asked = mix.shares(&available, options.rows)?;
    let sources = mix.sources.iter().zip(counted).zip(asked);
    let portions: Vec<Portion<'_>> = sources
        .map(|((source, (folder, counts)), asked)| {
            let enough = counts.rows >= asked || (source.repeat && counts.rows > 0);
            let taken = if enough { asked } else { counts.rows };
            Portion { source, folder, counts, asked, taken }
        })
        .collect();
    let short: Vec<String> =
        portions.iter().filter(|portion| portion.taken < portion.asked).map(Portion::shortage).collect();
    match short.is_empty() {
        true => Ok(portions),
        false if options.allow_fewer => {
            short.iter().for_each(|shortage| eprintln!("warning: {shortage}"));
            Ok(portions)
        }
        false => bail!(
            "{}; say repeat = true of a source in the recipe, pass --allow-fewer, or ask for less with --rows",
            short.join("; ")
        ),
    }
}

impl Portion<'_> {
    fn shortage(&self) -> String {
        format!(
            "{} asks for {} rows, {} has {} that pass",
            self.source.name, self.asked, self.source.data, self.counts.rows
        )
    }
}

/// The kind of rows that all sources have.
fn one_kind(portions: &[Portion<'_>]) -> Result<Kind> {
    let mut given = portions.iter().filter(|portion| portion.taken > 0);
    let first = given.next().ok_or_else(|| anyhow!("the recipe asks for no row"))?;
    match given.find(|portion| portion.counts.kind != first.counts.kind) {
        Some(other) => bail!(
            "{} has {}, {} has {}; a dataset has one kind of rows: mix them apart",
            first.source.name,
            first.counts.kind.name(),
            other.source.name,
            other.counts.kind.name()
        ),
        None => Ok(first.counts.kind),
    }
}

/// Takes each source's rows, each row under a number that places it in the order.
fn shuffled(
    portions: &[Portion<'_>],
    seed: u64,
    out: &Path,
    tokenizer: Option<&Tokenizer>,
) -> Result<Shuffle> {
    let mut shuffle = Shuffle::create(&out.join(".shuffle"), SORTED_BYTES)?;
    for portion in portions.iter().filter(|portion| portion.taken > 0) {
        let name = &portion.source.name;
        let filters = Filters { source: portion.source, tokenizer };
        let (whole, rest) = (portion.taken / portion.counts.rows, portion.taken % portion.counts.rows);
        let (mut seen, mut left) = (0, rest);
        rows::each(&portion.folder, &filters, |row| {
            let waiting = portion.counts.rows.saturating_sub(seen);
            // Selection sampling (Knuth, The Art of Computer Programming, vol. 2, 3.4.2, algorithm S).
            let drawn = u128::from(draw(&format!("{seed}/{name}/{seen}/take")));
            let once_more = drawn * (waiting as u128) < (left as u128) << 64;
            left -= usize::from(once_more);
            for copy in 0..whole + usize::from(once_more) {
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

fn write(out: &Path, kind: Kind, shuffle: Shuffle) -> Result<Vec<Shard>> {
    let folder = out.join("data/default");
    let total = shuffle.rows();
    let rows = shuffle.in_order()?.map(|row| Ok(serde_json::from_slice(&row?)?));
    let written =
        write_shards::<anyhow::Error>(&folder, "train", &kind.columns(), total, ROWS_PER_SHARD, rows)?;
    std::fs::remove_dir_all(out.join(".shuffle")).context("cannot remove the shuffle's files")?;
    remove_others(&folder, &written)?;
    Ok(written)
}

/// Says what there is and what is missing, without fetching anything; the exit code is 1 where something is.
fn check(mix: &Mix, rows: Option<usize>) -> Result<u8> {
    let tokenizer = match mix.tokenizer.as_deref() {
        Some(name) if Path::new(name).exists() => Some(open_tokenizer(name)?),
        _ => None,
    };
    let mut available = Vec::new();
    let mut found: Vec<Result<Place>> = Vec::new();
    for source in &mix.sources {
        let place = Place::of(source);
        let counts = match &place {
            Ok(Place::Folder(folder)) => {
                rows::count(folder, &Filters { source, tokenizer: tokenizer.as_ref() })
            }
            Ok(Place::Hub { .. }) => Ok(Counts::unknown(source.count.unwrap_or_default())),
            Err(_) => Ok(Counts::default()),
        };
        let (place, count) = match counts {
            Ok(counts) => (place, counts.rows),
            Err(error) => (Err(error), 0),
        };
        available.push(count);
        found.push(place);
    }
    let asked = mix.shares(&available, rows)?;
    let mut missing = 0;
    for (((source, place), available), asked) in mix.sources.iter().zip(found).zip(available).zip(asked) {
        let line = match place {
            Err(error) => Err(format!("{error:#}")),
            Ok(Place::Hub { files, .. }) => Ok(format!("{files} files on the hub, counted once fetched")),
            Ok(Place::Folder(_)) if available >= asked => Ok(format!("{available} rows, {asked} asked for")),
            Ok(Place::Folder(_)) if source.repeat && available > 0 => {
                Ok(format!("{available} rows, repeated to {asked}"))
            }
            Ok(Place::Folder(_)) => Err(format!("{available} rows, {asked} asked for")),
        };
        missing += usize::from(line.is_err());
        let (mark, text) = line.map_or_else(|text| ("missing", text), |text| ("there", text));
        println!("{mark:8} {}: {}: {text}", source.name, source.data);
    }
    println!("{} of {} sources are there", mix.sources.len() - missing, mix.sources.len());
    Ok(u8::from(missing > 0))
}
