//! The names of a split's files: whole, or in shards, compressed or not.

use crate::task::DataSet;

/// The extensions of data files, without those of compression.
const FORMATS: [&str; 4] = [".jsonl", ".parquet", ".json", ".ndjson"];

/// What the name of a split's file may be without its extension, the most certain first.
pub(super) fn stems(set: &DataSet) -> Vec<String> {
    let short = set.repository.rsplit('/').next().unwrap_or_default();
    let mut stems: Vec<String> = set.files.iter().map(|file| (*file).to_owned()).collect();
    stems.push(set.split.to_owned());
    let prefixes = [set.config, short].into_iter().filter(|prefix| !prefix.is_empty());
    stems.extend(
        prefixes.flat_map(|prefix| [format!("{prefix}-{}", set.split), format!("{prefix}_{}", set.split)]),
    );
    stems
}

/// Those of a folder's names that are `STEM.jsonl`, or the shards `STEM-00000-of-00002.parquet`, also compressed, in
/// order.
pub(super) fn split_names(mut names: Vec<String>, stem: &str) -> Vec<String> {
    names.retain(|name| {
        bare(name).is_some_and(|bare| {
            bare == stem || bare.strip_prefix(stem).is_some_and(|rest| shard(rest).is_some())
        })
    });
    names.sort();
    // The same rows in two formats, or as a whole and in shards, are there once.
    let Some(first) = names.first().cloned() else { return names };
    if first.contains("-of-") {
        names.retain(|name| extensions(name) == extensions(&first));
    } else {
        names.truncate(1);
    }
    names
}

/// How many shards there are of how many, where some are missing.
pub(super) fn incomplete(names: &[String]) -> Option<String> {
    let first = bare(names.first()?)?;
    let start = first[..first.rfind("-of-")?].rfind('-')?;
    let count = shard(&first[start..])?;
    (names.len() != count).then(|| format!("{} of {count} shards", names.len()))
}

/// A name without its extensions.
fn bare(name: &str) -> Option<&str> {
    let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(name);
    FORMATS.iter().find_map(|format| name.strip_suffix(format))
}

/// The extensions of a data file's name, that of compression included.
fn extensions(name: &str) -> Option<&str> {
    Some(&name[bare(name)?.len()..])
}

/// The number of shards, if the rest of a name is `-00000-of-00002`.
fn shard(rest: &str) -> Option<usize> {
    let (index, count) = rest.strip_prefix('-')?.split_once("-of-")?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number(index) && is_number(count) { count.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn missing_shards_are_noticed() {
        let all =
            names(&["test-00000-of-00002.parquet", "test-00001-of-00002.parquet", "test.md", "tests.jsonl"]);
        let found = split_names(all, "test");
        assert_eq!((found.len(), incomplete(&found)), (2, None));
        assert_eq!(incomplete(&found[..1]).as_deref(), Some("1 of 2 shards"));
        let whole = split_names(names(&["test.jsonl", "test.parquet"]), "test");
        assert_eq!((whole.len(), incomplete(&whole)), (1, None));
        let shard = |extension: &str| format!("test-00000-of-00001.{extension}");
        let twice = split_names(vec![shard("parquet"), shard("jsonl.gz")], "test");
        assert_eq!((twice.clone(), incomplete(&twice)), (vec![shard("jsonl.gz")], None));
    }
}
