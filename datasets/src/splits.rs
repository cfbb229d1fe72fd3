//! Splits by the names of folders and files, as `datasets.load_dataset(folder)` finds them where no dataset card assigns
//! files: first `data/SPLIT-00000-of-00001.*`, then folders, then files, by the same words.

/// The words of each split, and the order of splits.
const WORDS: [(&str, &[&str]); 3] = [
    ("train", &["train", "training"]),
    ("validation", &["validation", "valid", "dev", "val"]),
    ("test", &["test", "testing", "eval", "evaluation"]),
];

/// The names of the files that belong to a split (by default `train`, or the only one), and of those that belong to none.
///
/// # Errors
/// When there is no such split; lists those that there are.
pub(crate) fn by_name(names: &[String], split: Option<&str>) -> Result<(Vec<String>, Vec<String>), String> {
    let splits =
        [sharded, in_folder, in_file].into_iter().map(|of| names.iter().map(|name| of(name)).collect());
    let splits: Option<Vec<Option<String>>> =
        splits.into_iter().find(|splits: &Vec<Option<String>>| splits.iter().any(Option::is_some));
    // Where no name says a split, everything is `train`.
    let splits = splits.unwrap_or_else(|| vec![Some("train".to_owned()); names.len()]);
    let mut present: Vec<&str> = splits.iter().flatten().map(String::as_str).collect();
    present.sort_unstable_by_key(|name| {
        (WORDS.iter().position(|(known, _)| known == name).unwrap_or(WORDS.len()), *name)
    });
    present.dedup();
    if names.is_empty() {
        return Ok(Default::default());
    }
    if split.is_none() && !present.contains(&"train") && splits.iter().any(Option::is_none) {
        let all = present.join("+");
        return Err(format!(
            "has the splits {}, but no `train`, and files whose names say no split; name a split, as in `--split {all}`, \
             or give the files by themselves",
            present.join(", ")
        ));
    }
    let wanted = wanted(&present, split)?;
    let of = |is_in: &dyn Fn(&Option<String>) -> bool| -> Vec<String> {
        names.iter().zip(&splits).filter(|(_, split)| is_in(split)).map(|(name, _)| name.clone()).collect()
    };
    let chosen = of(&|split| split.as_deref().is_some_and(|split| wanted.contains(&split)));
    Ok((chosen, of(&Option::is_none)))
}

/// The splits that are read, of those that there are: those asked for; `train`; the only one.
///
/// # Errors
/// When one is not there, or when it is not clear which one is meant.
pub(crate) fn wanted<'a>(present: &[&'a str], split: Option<&'a str>) -> Result<Vec<&'a str>, String> {
    let wanted: Vec<&str> = match split {
        Some(split) => split.split('+').collect(),
        None if present.contains(&"train") => vec!["train"],
        None if present.len() == 1 => present.to_vec(),
        None => {
            let all = present.join("+");
            return Err(format!(
                "has the splits {}, but no `train`; name one or several, as in `--split {all}`",
                present.join(", ")
            ));
        }
    };
    match wanted.iter().find(|split| !present.contains(split)) {
        Some(unknown) => Err(format!("has no split `{unknown}`; it has {}", present.join(", "))),
        None => Ok(wanted),
    }
}

/// `data/SPLIT-00000-of-00001*.*`.
fn sharded(name: &str) -> Option<String> {
    let file = name.strip_prefix("data/").filter(|file| !file.contains('/'))?;
    let (start, rest) = file.split_once("-of-")?;
    let (split, index) = start.rsplit_once('-')?;
    let is_number = |text: &str| text.len() >= 5 && text.as_bytes()[..5].iter().all(u8::is_ascii_digit);
    let is_split = !split.is_empty() && split.chars().all(|c| c.is_alphanumeric() || c == '_');
    (is_split && index.len() == 5 && is_number(index) && is_number(rest) && rest.contains('.'))
        .then(|| split.to_owned())
}

/// By a folder whose name is one of the words, or has it between marks, at its start or at its end.
fn in_folder(name: &str) -> Option<String> {
    let (folders, _) = name.rsplit_once('/')?;
    let has = |word: &str| folders.split('/').any(|folder| has_word(folder, word, true));
    WORDS.iter().find(|(_, words)| words.iter().any(|word| has(word))).map(|(split, _)| (*split).to_owned())
}

/// By a word in the file's name that a mark follows.
fn in_file(name: &str) -> Option<String> {
    let file = name.rsplit('/').next()?;
    let has = |word: &str| has_word(file, word, false);
    WORDS.iter().find(|(_, words)| words.iter().any(|word| has(word))).map(|(split, _)| (*split).to_owned())
}

/// Whether a name has the word between marks: at the start or after one; before one or, if that counts, at the end.
fn has_word(name: &str, word: &str, may_end: bool) -> bool {
    let is_mark = |c: char| matches!(c, '-' | '.' | '_' | ' ') || c.is_ascii_digit();
    name.match_indices(word).any(|(at, _)| {
        let (before, after) = (name[..at].chars().next_back(), name[at + word.len()..].chars().next());
        before.is_none_or(is_mark) && after.map_or(may_end, is_mark)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn chosen(names: &[&str], split: Option<&str>) -> Result<String, String> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        by_name(&names, split).map(|(chosen, none)| format!("{} | {}", chosen.join(" "), none.join(" ")))
    }

    /// What `load_dataset` of Python's datasets 5.2.0 does with these names.
    #[test]
    fn train_is_train_and_names_say_the_split() {
        let hub = ["data/test-00000-of-00001.parquet", "data/train-00000-of-00001.parquet", "extra.jsonl"];
        assert_eq!(chosen(&hub, None).unwrap(), "data/train-00000-of-00001.parquet | extra.jsonl");
        // Older uploads have a hash in their names.
        let hashed =
            ["data/test_gen-00000-of-00001-a6c9fb89.parquet", "data/train-00000-of-00001-b7d2.parquet"];
        assert_eq!(chosen(&hashed, Some("test_gen")).unwrap(), format!("{} | ", hashed[0]));
        let files = ["test.jsonl", "train.jsonl", "valid.jsonl"];
        assert_eq!(chosen(&files, None).unwrap(), "train.jsonl | ");
        assert_eq!(chosen(&files, Some("validation")).unwrap(), "valid.jsonl | ");
        assert_eq!(chosen(&files, Some("train+test")).unwrap(), "test.jsonl train.jsonl | ");
        let folders = ["my_train/a.jsonl", "test/b.jsonl", "val-1/c.jsonl"];
        assert_eq!(chosen(&folders, None).unwrap(), "my_train/a.jsonl | ");
        assert_eq!(chosen(&folders, Some("validation")).unwrap(), "val-1/c.jsonl | ");
        assert_eq!(
            chosen(&["constrained.jsonl", "contest.jsonl"], None).unwrap(),
            "constrained.jsonl contest.jsonl | "
        );
        assert_eq!(chosen(&["my.train.1.jsonl", "b.jsonl"], None).unwrap(), "my.train.1.jsonl | b.jsonl");
        assert_eq!(
            chosen(&["data/train_sft-00000-of-00002.parquet"], None).unwrap(),
            "data/train_sft-00000-of-00002.parquet | "
        );
        assert_eq!(chosen(&["dev.jsonl"], None).unwrap(), "dev.jsonl | ");
        // Rows to test on are not trained on because the others have no name.
        let reason = chosen(&["rows.jsonl", "test.jsonl"], None).unwrap_err();
        assert!(reason.contains("no `train`, and files whose names say no split"), "{reason}");
        let reason = chosen(&["dev.jsonl", "test.jsonl"], None).unwrap_err();
        assert!(reason.contains("has the splits validation, test, but no `train`"), "{reason}");
        assert!(chosen(&files, Some("dev")).unwrap_err().contains("it has train, validation, test"));
    }
}
