//! Which files of a Hugging Face dataset are read: those that the dataset card's front matter assigns to the default
//! configuration, as `datasets.load_dataset(folder)` selects them; of its splits `train`, if it has one. A caller may
//! name another configuration and another split.
//!
//! Without this, every row of a folder with one configuration for all rows and one for each subset would be read twice.

use crate::Error;
use files::small_file;
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

/// The part of a dataset to read; by default what `load_dataset` returns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Choice<'a> {
    /// A configuration of the dataset card.
    pub config: Option<&'a str>,
    /// One of its splits, or several with `+` between them, as in `datasets`.
    pub split: Option<&'a str>,
}

/// The files of a folder that are read, and those that no card and no name assigns to a split.
#[derive(Debug, Default)]
pub(crate) struct Chosen {
    pub(crate) files: Vec<PathBuf>,
    pub(crate) left_out: Vec<(PathBuf, String)>,
}

/// Those of all data files below a folder that its dataset card, or their names, assign to the configuration and split.
pub(crate) fn chosen(folder: &Path, files: Vec<PathBuf>, choice: Choice<'_>) -> Result<Chosen, Error> {
    let path = folder.join("README.md");
    let card = small_file::read(&path).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let name = |file: &PathBuf| -> String {
        let parts = file.strip_prefix(folder).unwrap_or(file).components();
        parts.map(|part| part.as_os_str().to_string_lossy().into_owned()).collect::<Vec<_>>().join("/")
    };
    let names: Vec<String> = files.iter().map(name).collect();
    let path = if card.is_some() { path } else { folder.to_owned() };
    let (wanted, nameless) =
        select(card.as_deref(), &names, choice).map_err(|reason| Error::NotData { path, reason })?;
    let mut chosen = Chosen::default();
    for (file, name) in files.into_iter().zip(names) {
        if wanted.contains(&name) {
            chosen.files.push(file);
        } else if nameless.contains(&name) {
            let reason = "its name says no split where the names of other files do; rename it, as in train-1.jsonl, or give \
                          the file by itself";
            chosen.left_out.push((file, reason.to_owned()));
        }
    }
    Ok(chosen)
}

/// Those of a dataset's file names that its dataset card, if it has one, selects.
///
/// # Errors
/// Lists the configurations or splits when the one named is not among them.
pub fn choose(card: Option<&str>, names: &[String], choice: Choice<'_>) -> Result<Vec<String>, String> {
    Ok(select(card, names, choice)?.0)
}

/// As [`choose`], with the names that say no split where others do.
fn select(
    card: Option<&str>,
    names: &[String],
    choice: Choice<'_>,
) -> Result<(Vec<String>, Vec<String>), String> {
    let front = card.and_then(front_matter).map(serde_saphyr::from_str::<Front>).transpose();
    let front = front.map_err(|error| format!("the front matter cannot be read: {error}"))?;
    let configs = front.map(|front| front.configs).unwrap_or_default();
    let config = match choice.config {
        None => default_config(&configs)?,
        Some(wanted) => Some(named_config(&configs, wanted)?),
    };
    let Some((name, data_files)) = config.and_then(|one| Some((&one.config_name, one.data_files.as_ref()?)))
    else {
        return crate::splits::by_name(names, choice.split);
    };
    let patterns = patterns(data_files, choice.split)?;
    let chosen: Vec<String> = names.iter().filter(|name| matches(name, &patterns)).cloned().collect();
    if chosen.is_empty() {
        return Err(format!("the configuration `{name}` names {patterns:?}; no file matches"));
    }
    Ok((chosen, Vec::new()))
}

fn named_config<'a>(configs: &'a [Config], wanted: &str) -> Result<&'a Config, String> {
    configs.iter().find(|config| config.config_name == wanted).ok_or_else(|| {
        let names: Vec<&str> = configs.iter().map(|config| config.config_name.as_str()).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        format!("has no configuration `{wanted}`; it has {names}")
    })
}

/// The text between the two lines of `---` with which a dataset card may start.
fn front_matter(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("---")?.trim_start_matches('\r').strip_prefix('\n')?;
    Some(&rest[..rest.find("\n---")?])
}

/// The configuration marked as default, the one named `default`, or the only one.
fn default_config(configs: &[Config]) -> Result<Option<&Config>, String> {
    let marked = configs.iter().find(|config| config.default);
    match marked.or_else(|| configs.iter().find(|config| config.config_name == "default")) {
        Some(config) => Ok(Some(config)),
        None if configs.len() <= 1 => Ok(configs.first()),
        None => {
            let names: Vec<&str> = configs.iter().map(|config| config.config_name.as_str()).collect();
            Err(format!(
                "has the configurations {}, none of which is the default; name one",
                names.join(", ")
            ))
        }
    }
}

/// The patterns of a split; by default those of `train`, or of the only split.
fn patterns(data_files: &DataFiles, split: Option<&str>) -> Result<Vec<String>, String> {
    let listed = |paths: &Paths| match paths.clone() {
        Paths::One(path) => vec![path],
        Paths::Many(paths) => paths,
    };
    match (data_files, split) {
        (DataFiles::Pattern(pattern), None | Some("train")) => Ok(vec![pattern.clone()]),
        (DataFiles::Patterns(patterns), None | Some("train")) => Ok(patterns.clone()),
        (DataFiles::Pattern(_) | DataFiles::Patterns(_), Some(split)) => {
            Err(format!("has no split `{split}`; it has train"))
        }
        (DataFiles::Splits(splits), _) => {
            let names: Vec<&str> = splits.iter().map(|one| one.split.as_str()).collect();
            let wanted = crate::splits::wanted(&names, split)?;
            let of_split = splits.iter().filter(|one| wanted.contains(&one.split.as_str()));
            Ok(of_split.flat_map(|one| listed(&one.path)).collect())
        }
    }
}

fn matches(name: &str, patterns: &[String]) -> bool {
    let options = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::new() };
    patterns
        .iter()
        .any(|pattern| glob::Pattern::new(pattern).is_ok_and(|pattern| pattern.matches_with(name, options)))
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
        let chosen = chosen(folder.path(), files, Choice::default())?;
        let name = |file: PathBuf| file.strip_prefix(folder.path()).unwrap().to_str().unwrap().to_owned();
        Ok(chosen.files.into_iter().map(name).collect())
    }

    #[test]
    fn a_card_selects_as_load_dataset_does() {
        let all = "- config_name: all\n  data_files:\n  - split: train\n    path: data/all/train-*\n  - split: test\n    path: data/all/test-*\n";
        let one = "- config_name: one\n  data_files: [\"data/one/*\"]\n";
        let of = |configs: &str| chosen_of(&format!("---\nlicense: mit\nconfigs:\n{configs}---\n\n# Card\n"));
        let marked = all.replace("all\n  data", "all\n  default: true\n  data");
        assert_eq!(of(&format!("{one}{marked}")).unwrap(), ["data/all/train-0.parquet"]);
        assert_eq!(of(one).unwrap(), ["data/one/train-0.parquet"]);
        assert_eq!(of("- config_name: one\n  data_files: \"**/*.parquet\"\n").unwrap().len(), 3);
        let reason = of(&format!("{one}{all}")).unwrap_err().to_string();
        assert!(reason.contains("configurations one, all, none of which is the default"), "{reason}");
        let reason = of("- config_name: one\n  data_files: \"none/*\"\n").unwrap_err().to_string();
        assert!(reason.contains("no file matches"), "{reason}");
    }

    #[test]
    fn names_decide_in_folders_whose_card_names_no_files() {
        for card in ["# No front matter\n", "---\nlicense: mit\n---\n", "---\nnever closed\n"] {
            let train = ["data/all/train-0.parquet", "data/one/train-0.parquet"];
            assert_eq!(chosen_of(card).unwrap(), train, "{card}");
        }
    }

    #[test]
    fn a_configuration_and_a_split_are_selected_by_name() {
        let card = "---\nconfigs:\n- config_name: all\n  data_files:\n  - split: train\n    path: data/all/train-*\n  - split: test\n    path: data/all/test-*\n- config_name: one\n  data_files: [\"data/one/*\"]\n---\n";
        let names: Vec<String> =
            ["data/all/train-0.parquet", "data/all/test-0.parquet", "data/one/train-0.parquet"]
                .map(str::to_owned)
                .into();
        let of = |card: Option<&str>, config: Option<&str>, split: Option<&str>| {
            choose(card, &names, Choice { config, split }).map(|names| names.join(" "))
        };
        assert_eq!(of(Some(card), Some("all"), None).unwrap(), "data/all/train-0.parquet");
        assert_eq!(of(Some(card), Some("all"), Some("test")).unwrap(), "data/all/test-0.parquet");
        let both = "data/all/train-0.parquet data/all/test-0.parquet";
        assert_eq!(of(Some(card), Some("all"), Some("train+test")).unwrap(), both);
        assert_eq!(of(Some(card), Some("one"), Some("train")).unwrap(), "data/one/train-0.parquet");
        assert_eq!(
            of(Some(card), Some("two"), None).unwrap_err(),
            "has no configuration `two`; it has all, one"
        );
        assert_eq!(
            of(Some(card), Some("all"), Some("dev")).unwrap_err(),
            "has no split `dev`; it has train, test"
        );
        assert_eq!(
            of(Some(card), Some("one"), Some("test")).unwrap_err(),
            "has no split `test`; it has train"
        );
        // Without a dataset card the names of files and folders decide.
        assert_eq!(of(None, None, Some("test")).unwrap(), "data/all/test-0.parquet");
        assert_eq!(
            of(None, None, Some("train")).unwrap(),
            "data/all/train-0.parquet data/one/train-0.parquet"
        );
        assert!(of(None, None, Some("dev")).unwrap_err().contains("has no split `dev`; it has train, test"));
        assert!(of(None, Some("all"), None).unwrap_err().ends_with("it has none"));
        let plain = ["a.jsonl".to_owned(), "test.jsonl".to_owned()];
        let train = Choice { config: None, split: Some("train") };
        assert_eq!(choose(None, &plain, train).unwrap_err(), "has no split `train`; it has test");
    }
}
