//! Which files of a Hugging Face dataset folder a reader gets: those the card's front matter names for the default
//! configuration, as `datasets.load_dataset(folder)` chooses; of its splits `train`, where it has one.
//!
//! Without this, a folder with one configuration for all rows and one for each subset would give every row twice.

use crate::Error;
use serde::Deserialize;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
struct Front {
    #[serde(default)]
    configs: Vec<Config>,
}

#[derive(Deserialize)]
struct Config {
    config_name: String,
    #[serde(default)]
    default: bool,
    data_files: Option<DataFiles>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum DataFiles {
    Pattern(String),
    Patterns(Vec<String>),
    Splits(Vec<Split>),
}

#[derive(Deserialize)]
struct Split {
    split: String,
    path: Paths,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Paths {
    One(String),
    Many(Vec<String>),
}

/// Of all data files below a folder, those its card chooses; all of them where no card names any.
pub(crate) fn chosen(folder: &Path, files: Vec<PathBuf>) -> Result<Vec<PathBuf>, Error> {
    let card = folder.join("README.md");
    let Ok(text) = std::fs::read_to_string(&card) else { return Ok(files) };
    let refused = |reason: String| Error::NotData { path: card.clone(), reason };
    let Some(front) = front_matter(&text) else { return Ok(files) };
    let front: Front =
        serde_saphyr::from_str(front).map_err(|error| refused(format!("its front matter: {error}")))?;
    let Some(config) = default_config(&front.configs).map_err(&refused)? else { return Ok(files) };
    let Some(data_files) = &config.data_files else { return Ok(files) };
    let patterns = patterns(data_files);
    let chosen: Vec<PathBuf> = files.into_iter().filter(|file| matches(folder, file, &patterns)).collect();
    if chosen.is_empty() {
        let name = &config.config_name;
        return Err(refused(format!(
            "its configuration {name:?} names {patterns:?}, and no such file is here"
        )));
    }
    Ok(chosen)
}

/// What stands between the two lines of `---` that a card may begin with.
fn front_matter(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("---")?.trim_start_matches('\r').strip_prefix('\n')?;
    Some(&rest[..rest.find("\n---")?])
}

/// The one marked default, the one called so, or the only one.
fn default_config(configs: &[Config]) -> Result<Option<&Config>, String> {
    let marked = configs.iter().find(|config| config.default);
    match marked.or_else(|| configs.iter().find(|config| config.config_name == "default")) {
        Some(config) => Ok(Some(config)),
        None if configs.len() <= 1 => Ok(configs.first()),
        None => {
            let names: Vec<&str> = configs.iter().map(|config| config.config_name.as_str()).collect();
            Err(format!(
                "it has the configurations {}, none of them the default: name the files of one",
                names.join(", ")
            ))
        }
    }
}

fn patterns(data_files: &DataFiles) -> Vec<String> {
    let listed = |paths: &Paths| match paths.clone() {
        Paths::One(path) => vec![path],
        Paths::Many(paths) => paths,
    };
    match data_files {
        DataFiles::Pattern(pattern) => vec![pattern.clone()],
        DataFiles::Patterns(patterns) => patterns.clone(),
        DataFiles::Splits(splits) => {
            let train = splits.iter().any(|split| split.split == "train");
            splits
                .iter()
                .filter(|split| !train || split.split == "train")
                .flat_map(|split| listed(&split.path))
                .collect()
        }
    }
}

fn matches(folder: &Path, file: &Path, patterns: &[String]) -> bool {
    let options = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::new() };
    let Ok(name) = file.strip_prefix(folder) else { return false };
    patterns.iter().any(|pattern| {
        glob::Pattern::new(pattern).is_ok_and(|pattern| pattern.matches_path_with(name, options))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn chosen_of(card: &str) -> Result<Vec<String>, Error> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("README.md"), card).unwrap();
        let names = [
            "data/all/train-0.parquet",
            "data/all/test-0.parquet",
            "data/one/train-0.parquet",
            "dropped.jsonl",
        ];
        let files = names.iter().map(|name| folder.path().join(name)).collect();
        let chosen = chosen(folder.path(), files)?;
        let name = |file: PathBuf| file.strip_prefix(folder.path()).unwrap().to_str().unwrap().to_owned();
        Ok(chosen.into_iter().map(name).collect())
    }

    #[test]
    fn a_card_chooses_as_load_dataset_does() {
        let all = "- config_name: all\n  data_files:\n  - split: train\n    path: data/all/train-*\n  - split: test\n    path: data/all/test-*\n";
        let one = "- config_name: one\n  data_files: [\"data/one/*\"]\n";
        let of = |configs: &str| chosen_of(&format!("---\nlicense: mit\nconfigs:\n{configs}---\n\n# Card\n"));
        let marked = all.replace("all\n  data", "all\n  default: true\n  data");
        assert_eq!(of(&format!("{one}{marked}")).unwrap(), ["data/all/train-0.parquet"]);
        assert_eq!(of(one).unwrap(), ["data/one/train-0.parquet"]);
        assert_eq!(of("- config_name: one\n  data_files: \"**/*.parquet\"\n").unwrap().len(), 3);
        let reason = of(&format!("{one}{all}")).unwrap_err().to_string();
        assert!(reason.contains("configurations one, all, none of them the default"), "{reason}");
        let reason = of("- config_name: one\n  data_files: \"none/*\"\n").unwrap_err().to_string();
        assert!(reason.contains("no such file is here"), "{reason}");
    }

    #[test]
    fn other_folders_give_all_their_files() {
        for card in ["# No front matter\n", "---\nlicense: mit\n---\n", "---\nnever closed\n"] {
            assert_eq!(chosen_of(card).unwrap().len(), 4, "{card}");
        }
    }
}
