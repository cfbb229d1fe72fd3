//! `smoltalk mix --check`: whether every source is available with the rows that the recipe asks for.

use super::recipe::{MixRecipe, MixSource};
use super::rows::{RowFilters, count};
use super::source_location::SourceLocation;
use super::tokenizer::open_tokenizer;
use anyhow::Result;
use checkpoint::Tokenizer;
use std::path::Path;

/// Prints a line per source, without downloading data; returns the exit code, which is 1 if a source is missing.
pub(super) fn check(recipe: &MixRecipe, rows: Option<usize>) -> Result<u8> {
    let tokenizer = match recipe.tokenizer.as_deref() {
        Some(name) if Path::new(name).exists() => Some(open_tokenizer(name)?),
        _ => None,
    };
    let (mut locations, mut available) = (Vec::new(), Vec::new());
    for source in &recipe.sources {
        let located = locate(source, tokenizer.as_ref());
        available.push(located.as_ref().map_or(0, |(_, rows)| *rows));
        locations.push(located.map(|(location, _)| location));
    }
    let requested = recipe.shares(&available, rows)?;
    let mut missing = 0;
    for (index, (source, location)) in recipe.sources.iter().zip(locations).enumerate() {
        let line = state(source, location, available[index], requested[index]);
        missing += usize::from(line.is_err());
        let (state, text) = line.map_or_else(|text| ("missing", text), |text| ("found", text));
        terminal::results!("{state:8} {}: {}: {text}", source.name, source.data)?;
    }
    terminal::results!("{} of {} sources found", recipe.sources.len() - missing, recipe.sources.len())?;
    Ok(u8::from(missing > 0))
}

/// The location of a source and its number of rows; on the hub the number that the recipe asks for.
fn locate(source: &MixSource, tokenizer: Option<&Tokenizer>) -> Result<(SourceLocation, usize)> {
    let location = SourceLocation::find(source)?;
    let rows = match &location {
        SourceLocation::Local(path) => {
            count(path, &RowFilters { source, tokenizer, is_only_pass: true })?.rows
        }
        SourceLocation::Hub { .. } => source.count.unwrap_or_default(),
    };
    Ok((location, rows))
}

/// The text of a source's line; an error if something is missing.
fn state(
    source: &MixSource,
    location: Result<SourceLocation>,
    available: usize,
    requested: usize,
) -> Result<String, String> {
    match location {
        Err(error) => Err(format!("{error:#}")),
        Ok(SourceLocation::Hub { files, .. }) => {
            Ok(format!("{files} files on the hub; rows are counted after the download"))
        }
        Ok(SourceLocation::Local(_)) if available >= requested => {
            Ok(format!("{available} rows, {requested} requested"))
        }
        Ok(SourceLocation::Local(_)) if source.repeat && available > 0 => {
            Ok(format!("{available} rows, repeated to {requested}"))
        }
        Ok(SourceLocation::Local(_)) => Err(format!("{available} rows, {requested} requested")),
    }
}
