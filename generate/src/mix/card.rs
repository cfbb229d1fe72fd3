//! The description of a mix: the dataset card with the counts of every source, the manifest, and the summary for
//! the user.

use super::portion::Portion;
use super::recipe::MixRecipe;
use super::rows::RowKind;
use datasets::card::{Config, FrontMatter, card, plain};
use datasets::export::FileFormat;
use datasets::write::Shard;
use serde_json::{Value, json};
use std::path::Path;

/// The text of `README.md`.
pub(super) fn body(
    recipe: &MixRecipe,
    portions: &[Portion<'_>],
    seed: u64,
    kind: RowKind,
    (format, features): (FileFormat, Option<Value>),
) -> String {
    let rows = portions.iter().map(|portion| portion.taken).sum();
    let config = Config {
        name: "default".to_owned(),
        data_files: vec![("train".to_owned(), format.pattern("data/default"))],
        features,
    };
    let front = FrontMatter {
        pretty_name: recipe.name.clone(),
        languages: Vec::new(),
        tags: vec!["smoltalk".to_owned()],
        rows,
        configs: vec![config],
    };
    let mut text = format!(
        "# {}\n\nMixed by smoltalk {} with seed {seed}: {rows} {}.\n\n## Sources\n\n",
        plain(&recipe.name),
        env!("CARGO_PKG_VERSION"),
        kind.name()
    );
    text.push_str("| source | data | requested | available | rows | left out |\n| --- | --- | --- | --- | --- | --- |\n");
    for portion in portions {
        text.push_str(&format!(
            "| {} | {} | {} | {} | {} | {} |\n",
            plain(&portion.source.name),
            plain(&data(portion)),
            portion.requested,
            portion.counts.rows,
            portion.taken,
            portion.counts.left_out().trim_matches([' ', '(', ')'])
        ));
    }
    for portion in portions.iter().filter(|portion| portion.taken > portion.counts.rows) {
        text.push_str(&format!("\nRows of {} are repeated.\n", plain(&portion.source.name)));
    }
    for portion in portions.iter().filter(|portion| portion.taken < portion.requested) {
        text.push_str(&format!("\nFewer rows than the recipe asks for: {}.\n", portion.shortage()));
    }
    card(&front, &text)
}

/// The location of a source with its configuration and split.
fn data(portion: &Portion<'_>) -> String {
    let source = portion.source;
    let parts = [Some(source.data_name()), source.config.clone(), source.split.clone()];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The content of `mix.json`: the recipe as it was read, the counts, and the files.
pub(super) fn manifest(
    out: &Path,
    recipe: &MixRecipe,
    portions: &[Portion<'_>],
    (seed, rows): (u64, Option<usize>),
    shards: &[Shard],
) -> Value {
    let sources: Vec<Value> = portions
        .iter()
        .map(|portion| {
            json!({
                "name": portion.source.name, "asked": portion.requested, "available": portion.counts.rows,
                "rows": portion.taken, "filtered": portion.counts.filtered, "unwritten": portion.counts.unwritten,
                "invalid": portion.counts.invalid
            })
        })
        .collect();
    // Where the data was on this machine is nobody else's business.
    let mut shown = json!(recipe);
    for (source, portion) in shown["source"].as_array_mut().into_iter().flatten().zip(portions) {
        source["data"] = portion.source.data_name().into();
    }
    let shards: Vec<Value> = shards.iter().map(|shard| shard.entry(out)).collect();
    json!({
        "program": concat!("smoltalk ", env!("CARGO_PKG_VERSION")), "recipe": shown, "seed": seed,
        "rows": rows, "sources": sources, "shards": shards
    })
}

/// What is printed at the end.
pub(super) fn summary(out: &Path, portions: &[Portion<'_>]) -> String {
    let mut text = String::new();
    for portion in portions {
        let note = match portion.taken {
            taken if taken < portion.requested => format!(", {} requested", portion.requested),
            taken if taken > portion.counts.rows => format!(", {} of them different", portion.counts.rows),
            _ => String::new(),
        };
        text.push_str(&format!("{}: {} rows{note}\n", portion.source.name, portion.taken));
    }
    let total: usize = portions.iter().map(|portion| portion.taken).sum();
    format!("{text}{total} rows written to {}", out.display())
}
