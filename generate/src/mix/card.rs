//! What a mix says of itself: the card with every source's counts, the manifest, and the lines for the user.

use super::recipe::Mix;
use super::rows::Kind;
use super::{Options, Portion};
use datasets::card::{Config, Front, card};
use datasets::write::Shard;
use serde_json::{Value, json};
use std::path::Path;

/// README.md.
pub(super) fn body(mix: &Mix, portions: &[Portion<'_>], seed: u64, kind: Kind) -> String {
    let rows = portions.iter().map(|portion| portion.taken).sum();
    let config = Config {
        name: "default".to_owned(),
        data_files: vec![("train".to_owned(), "data/default/train-*.parquet".to_owned())],
    };
    let front = Front {
        pretty_name: mix.name.clone(),
        languages: Vec::new(),
        tags: vec!["smoltalk".to_owned()],
        rows,
        configs: vec![config],
    };
    let mut text = format!(
        "# {}\n\nMixed by smoltalk {} with seed {seed}: {rows} {}.\n\n## Sources\n\n",
        mix.name,
        env!("CARGO_PKG_VERSION"),
        kind.name()
    );
    text.push_str("| source | data | asked for | to choose from | rows | left out |\n| --- | --- | --- | --- | --- | --- |\n");
    for portion in portions {
        text.push_str(&format!(
            "| {} | {} | {} | {} | {} | {} |\n",
            portion.source.name,
            data(portion),
            portion.asked,
            portion.counts.rows,
            portion.taken,
            portion.counts.left_out().trim_matches([' ', '(', ')'])
        ));
    }
    for portion in portions.iter().filter(|portion| portion.taken > portion.counts.rows) {
        text.push_str(&format!("\nRows of {} are repeated.\n", portion.source.name));
    }
    for portion in portions.iter().filter(|portion| portion.taken < portion.asked) {
        text.push_str(&format!("\nFewer than the recipe asks for: {}.\n", portion.shortage()));
    }
    card(&front, &text)
}

/// The source's place with its configuration and split.
fn data(portion: &Portion<'_>) -> String {
    let source = portion.source;
    let parts = [Some(&source.data), source.config.as_ref(), source.split.as_ref()];
    parts.into_iter().flatten().cloned().collect::<Vec<_>>().join(", ")
}

/// mix.json: the recipe as it was understood, what came of it, and the files.
pub(super) fn manifest(
    out: &Path,
    mix: &Mix,
    portions: &[Portion<'_>],
    options: &Options,
    shards: &[Shard],
) -> Value {
    let sources: Vec<Value> = portions
        .iter()
        .map(|portion| {
            json!({
                "name": portion.source.name, "asked": portion.asked, "available": portion.counts.rows,
                "rows": portion.taken, "filtered": portion.counts.filtered, "unwritten": portion.counts.unwritten
            })
        })
        .collect();
    let shards: Vec<Value> = shards.iter().map(|shard| shard.entry(out)).collect();
    json!({
        "program": concat!("smoltalk ", env!("CARGO_PKG_VERSION")), "recipe": mix, "seed": options.seed,
        "rows": options.rows, "sources": sources, "shards": shards
    })
}

/// What the user is told at the end.
pub(super) fn summary(out: &Path, portions: &[Portion<'_>]) -> String {
    let mut text = String::new();
    for portion in portions {
        let note = match portion.taken {
            taken if taken < portion.asked => format!(", {} asked for", portion.asked),
            taken if taken > portion.counts.rows => format!(", {} of them different", portion.counts.rows),
            _ => String::new(),
        };
        text.push_str(&format!("{}: {} rows{note}\n", portion.source.name, portion.taken));
    }
    let total: usize = portions.iter().map(|portion| portion.taken).sum();
    format!("{text}{total} rows written to {}", out.display())
}
