//! `smoleval score`: models one after another, each asked everything the pocket world holds out for them, then a table
//! side by side. A model that was scored with the same inputs is not asked again.

mod asking;
mod conditions;
mod documents;
mod held_out;
mod pairs;
mod questions;
mod subject;

use crate::replies::Mode;
use crate::stored::{self, Scored};
use crate::table;
use anyhow::{Context, Result, bail};
use datasets::pocket::Kind;
use held_out::HeldOut;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use std::time::Instant;
use subject::Subject;

/// Raised whenever the same weights and files would give other replies or verdicts.
const VERSION: u32 = 1;

/// What `smoleval score` was asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// A checkpoint folder or a hub id, once for each model, in the order of the table
    #[arg(long, required = true, value_name = "[NAME=]DIR")]
    model: Vec<String>,
    /// What `smoltalk world` wrote
    #[arg(long)]
    world: PathBuf,
    /// The folder that gets NAME.json and NAME.replies.jsonl
    #[arg(long)]
    out: PathBuf,
    /// What to measure, comma-separated; by default all
    #[arg(long, value_enum, value_delimiter = ',')]
    parts: Vec<Part>,
    /// Kinds of questions, comma-separated; by default all
    #[arg(long, value_parser = kind, value_delimiter = ',')]
    kinds: Vec<Kind>,
    /// The most questions of a kind
    #[arg(long, default_value_t = 250)]
    per_kind: usize,
    /// How questions are put, 0, 5 or 0,5: in the chat template, or as text after five solved ones; by default in the
    /// template, and both ways for a model that has none
    #[arg(long, value_parser = mode, value_delimiter = ',')]
    shots: Vec<Mode>,
    /// The most rows of any kind or file: a quick look
    #[arg(long)]
    limit: Option<usize>,
    /// The most tokens of a reply
    #[arg(long, default_value_t = 128)]
    max_tokens: usize,
    /// Decides the five solved examples
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Score again what has been scored
    #[arg(long)]
    fresh: bool,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Part {
    /// Questions with one right answer
    Questions,
    /// Requests with verifiable conditions
    Requests,
    /// Preference pairs
    Pairs,
    /// Perplexity of documents
    Documents,
}

impl Part {
    const ALL: [Self; 4] = [Self::Questions, Self::Requests, Self::Pairs, Self::Documents];
}

fn kind(name: &str) -> Result<Kind, String> {
    let found = Kind::ALL.into_iter().find(|kind| kind.name() == name);
    found.ok_or_else(|| format!("kinds are {}", Kind::ALL.map(Kind::name).join(", ")))
}

fn mode(shots: &str) -> Result<Mode, String> {
    match shots {
        "0" => Ok(Mode::Chat),
        "5" => Ok(Mode::FiveShot),
        _ => Err("it is 0 or 5".to_owned()),
    }
}

/// Scores what is not scored, then prints the table.
///
/// # Errors
/// One line that names what is wrong and what to do.
pub(crate) fn run(options: &Options) -> Result<()> {
    let models = models(&options.model)?;
    let world = HeldOut::read(options)?;
    std::fs::create_dir_all(&options.out)
        .with_context(|| format!("cannot create --out {}", options.out.display()))?;
    let mut scored = Vec::new();
    for (name, place) in &models {
        scored.push(score(name, place, &world, options)?);
    }
    let names: Vec<String> = models.into_iter().map(|(name, _)| name).collect();
    stored::list(&options.out, &names)?;
    print!("{}", table::side_by_side(&scored));
    println!("written to {0}; a page of it: smoleval report {0} --out report.html", options.out.display());
    Ok(())
}

fn score(name: &str, place: &str, world: &HeldOut, options: &Options) -> Result<Scored> {
    let begun = Instant::now();
    let subject = Subject::open(name, place)?;
    let modes = options.modes(&subject);
    let inputs = options.inputs(&subject, world, &modes)?;
    if let Some(earlier) = Scored::read(&options.out, name)?.filter(|_| !options.fresh) {
        let changed = changed(&earlier.inputs, &inputs);
        if changed.is_empty() {
            eprintln!("{name}: scored already (--fresh scores again)");
            return Ok(earlier);
        }
        eprintln!("{name}: scored earlier with another {}: scoring again", changed.join(", "));
    }
    for note in &subject.notes {
        eprintln!("{name}: {note}");
    }
    let mut replies = Vec::new();
    for mode in modes {
        replies.extend(questions::ask(&subject, &world.questions, mode, options)?);
    }
    replies.extend(conditions::ask(&subject, &world.requests, options.max_tokens)?);
    replies.extend(pairs::measure(&subject, &world.pairs)?);
    replies.extend(documents::measure(&subject, &world.documents)?);
    let scored = Scored {
        name: name.to_owned(),
        model: subject.about(place),
        inputs,
        notes: subject.notes,
        seconds: begun.elapsed().as_secs_f64(),
        replies,
    };
    scored.write(&options.out)?;
    Ok(scored)
}

/// Names with places; a place's last part is its name unless one is given.
fn models(given: &[String]) -> Result<Vec<(String, String)>> {
    let mut models: Vec<(String, String)> = Vec::new();
    for model in given {
        let (name, place) = match model.split_once('=') {
            Some((name, place)) => (name, place),
            None => (model.trim_end_matches('/').rsplit('/').next().unwrap_or_default(), model.as_str()),
        };
        stored::check_name(name)?;
        if models.iter().any(|(other, _)| other == name) {
            bail!("two models are called {name}: write --model NAME=DIR");
        }
        models.push((name.to_owned(), place.to_owned()));
    }
    Ok(models)
}

/// Inputs that differ, by name.
fn changed(earlier: &Map<String, Value>, now: &Map<String, Value>) -> Vec<String> {
    let mut names: Vec<&String> = earlier.keys().chain(now.keys()).collect();
    names.sort();
    names.dedup();
    names.retain(|name| earlier.get(*name) != now.get(*name));
    names.into_iter().cloned().collect()
}

impl Options {
    /// Whether a part is measured.
    fn measures(&self, part: Part) -> bool {
        self.parts.is_empty() || self.parts.contains(&part)
    }

    /// At most so many rows.
    fn most(&self, rows: usize) -> usize {
        rows.min(self.limit.unwrap_or(usize::MAX))
    }

    fn modes(&self, subject: &Subject) -> Vec<Mode> {
        let mut modes = match (self.shots.is_empty(), subject.own_template()) {
            (false, _) => self.shots.clone(),
            (true, true) => vec![Mode::Chat],
            (true, false) => vec![Mode::Chat, Mode::FiveShot],
        };
        modes.sort();
        modes.dedup();
        modes
    }

    /// All that decides the replies and the verdicts.
    fn inputs(&self, subject: &Subject, world: &HeldOut, modes: &[Mode]) -> Result<Map<String, Value>> {
        let parts: Vec<String> = Part::ALL
            .into_iter()
            .filter(|part| self.measures(*part))
            .map(|part| format!("{part:?}").to_lowercase())
            .collect();
        let kinds: Vec<&str> =
            Kind::ALL.into_iter().filter(|kind| self.kinds.contains(kind)).map(Kind::name).collect();
        let inputs = json!({
            "program": format!("{} {VERSION}", env!("CARGO_PKG_VERSION")),
            "model": subject.hashes()?,
            "world": world.files,
            "parts": parts,
            "kinds": kinds,
            "per_kind": self.most(self.per_kind),
            "limit": self.limit,
            "modes": modes,
            "max_tokens": self.max_tokens,
            "seed": self.seed,
        });
        Ok(inputs.as_object().cloned().unwrap_or_default())
    }
}

/// SHA-256 in hexadecimal.
fn sha256(bytes: impl AsRef<[u8]>) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
