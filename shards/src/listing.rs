//! What the folders of a run contain: shards that are done, and the latest claim of each shard.

use anyhow::{Context, Result};
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// The names in a folder, without those that begin with a dot: temporary files, and clocks.
pub(crate) fn names(folder: &Path) -> Result<HashSet<String>> {
    let read = || -> std::io::Result<HashSet<String>> {
        let names =
            std::fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        names.filter(|name| !name.as_ref().is_ok_and(|name| name.starts_with('.'))).collect()
    };
    read().with_context(|| format!("cannot read {}", folder.display()))
}

/// The highest epoch of the claims of each shard.
pub(crate) fn latest_claims(folder: &Path) -> Result<HashMap<String, u32>> {
    let mut latest: HashMap<String, u32> = HashMap::new();
    for name in names(folder)? {
        if let Some((unit, epoch)) = name.rsplit_once('.')
            && let Ok(epoch) = epoch.parse::<u32>()
        {
            let known = latest.entry(unit.to_owned()).or_default();
            *known = epoch.max(*known);
        }
    }
    Ok(latest)
}
