//! What a checkpoint that is made from another one carries on, besides what is trained: licenses and notices, the license that
//! the card names, named chat templates, and fields of `config.json` that are not this project's.
//!
//! The card itself is not carried on: it describes the parent. Files that follow from `tokenizer.json` (`vocab.json`,
//! `merges.txt`, `special_tokens_map.json`, `added_tokens.json`) are not either: with an added token they would be wrong.

use crate::links::is_inside;
use serde_json::{Map, Value};
use std::path::Path;

/// The folder of named templates, as transformers has it.
pub const TEMPLATES: &str = "additional_chat_templates";
/// The model card.
pub(crate) const CARD: &str = "README.md";
/// Fields of a card's front matter that name the license.
const LICENSE_FIELDS: [&str; 3] = ["license", "license_name", "license_link"];
/// Files that are larger are no license.
const MAX_BYTES: u64 = 1 << 20;
/// Fields of `config.json` that say how the parent's files were made, or name files that are not carried on.
const OF_PARENT_ONLY: [&str; 6] = [
    "_name_or_path",
    "auto_map",
    "compression_config",
    "dtype",
    "quantization_config",
    "transformers_version",
];

/// What is carried on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inherited {
    /// Licenses and notices: names and contents.
    pub licenses: Vec<(String, Vec<u8>)>,
    /// The license as the card names it: fields of its front matter, as they are written there.
    pub license: Vec<(String, String)>,
    /// Chat templates besides the default one: names and sources.
    pub templates: Vec<(String, String)>,
    /// The parent's `config.json`, without what is of the parent alone; empty if it has none.
    pub config: Map<String, Value>,
}

impl Inherited {
    /// Reads it from a checkpoint's folder; what cannot be read is left out.
    pub(crate) fn read(folder: &Path, tokenizer_config: &Map<String, Value>) -> Self {
        let text = |name: &str| {
            read_bounded(folder, &folder.join(name)).and_then(|bytes| String::from_utf8(bytes).ok())
        };
        let card = text(CARD).unwrap_or_default();
        let mut config: Map<String, Value> =
            text("config.json").and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        config.retain(|name, _| !OF_PARENT_ONLY.contains(&name.as_str()));
        Self {
            licenses: licenses(folder),
            license: license(&card),
            templates: templates(folder, tokenizer_config),
            config,
        }
    }

    /// That of a file which only names its license.
    pub(crate) fn of_license(license: Option<&str>) -> Self {
        let license =
            license.filter(|value| is_plain(value)).map(|value| ("license".to_owned(), value.to_owned()));
        Self { license: license.into_iter().collect(), ..Self::default() }
    }

    /// The same without templates, where another default one was given: the others are not of its format.
    #[must_use]
    pub(crate) fn without_templates(self) -> Self {
        Self { templates: Vec::new(), ..self }
    }
}

/// Whether a file's name is that of a license or a notice, such as `LICENSE`, `LICENSE.txt` or `USE_POLICY.md`.
pub fn is_license(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let is_text = matches!(name.split_once('.').map_or("", |(_, end)| end), "" | "md" | "txt");
    let begins = ["license", "licence", "notice", "use_policy", "copying"];
    is_text
        && begins.iter().any(|begin| {
            stem == *begin || stem.starts_with(&format!("{begin}_")) || stem.starts_with(&format!("{begin}-"))
        })
}

/// Reads a small file of a checkpoint's folder; `None` if it is behind a link that leaves the folder.
fn read_bounded(folder: &Path, path: &Path) -> Option<Vec<u8>> {
    let is_small = path.metadata().is_ok_and(|found| found.is_file() && found.len() <= MAX_BYTES);
    (is_small && is_inside(folder, path)).then(|| std::fs::read(path).ok()).flatten()
}

/// The names of a folder's files, in order.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn licenses(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let names = names(folder).into_iter().filter(|name| is_license(name));
    names.filter_map(|name| Some((name.clone(), read_bounded(folder, &folder.join(name))?))).collect()
}

/// The license fields of a card's front matter, which is YAML between two lines of three hyphens.
fn license(card: &str) -> Vec<(String, String)> {
    let Some(front) = card.strip_prefix("---\n").and_then(|rest| rest.split_once("\n---")) else {
        return Vec::new();
    };
    let fields = front.0.lines().filter_map(|line| line.split_once(':'));
    let fields = fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
    fields.filter(|(name, value)| LICENSE_FIELDS.contains(&name.as_str()) && is_plain(value)).collect()
}

/// Whether a value is one plain word or a quoted text of one line, as licenses are named.
fn is_plain(value: &str) -> bool {
    !value.is_empty()
        && value.len() < 200
        && !value.starts_with(['[', '{', '|', '>', '&', '*'])
        && !value.contains(char::is_control)
}

/// The named templates of `tokenizer_config.json`, or of the folder for them, which wins as in transformers.
fn templates(folder: &Path, tokenizer_config: &Map<String, Value>) -> Vec<(String, String)> {
    let is_name = |name: &str| {
        !name.is_empty()
            && name != "default"
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
    };
    let inner = folder.join(TEMPLATES);
    let stored = names(&inner).into_iter().filter_map(|file| {
        let name = file.strip_suffix(".jinja").filter(|name| is_name(name))?;
        Some((name.to_owned(), String::from_utf8(read_bounded(folder, &inner.join(&file))?).ok()?))
    });
    let mut found: Vec<(String, String)> = stored.collect();
    let listed = tokenizer_config.get("chat_template").and_then(Value::as_array);
    for entry in listed.into_iter().flatten() {
        let name = entry["name"].as_str().filter(|name| is_name(name));
        if let (Some(name), Some(source)) = (name, entry["template"].as_str())
            && found.iter().all(|(known, _)| known != name)
        {
            found.push((name.to_owned(), source.to_owned()));
        }
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn licenses_are_known_by_their_names() {
        for name in
            ["LICENSE", "LICENSE.txt", "license.md", "LICENCE", "NOTICE", "USE_POLICY.md", "LICENSE-APACHE"]
        {
            assert!(is_license(name), "{name}");
        }
        for name in ["README.md", "license.safetensors", "licensee.txt", "tokenizer.json", "noticeable.md"] {
            assert!(!is_license(name), "{name}");
        }
    }

    #[test]
    fn a_folders_license_templates_and_fields_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("LICENSE", "Do as you like.");
        write(
            "README.md",
            "---\nlanguage: en\nlicense: other\nlicense_name: my-license\nlicense_link: LICENSE\ntags:\n- license: x\n---\n# A model\n\nlicense: mit\n",
        );
        write(
            "config.json",
            &json!({"hidden_size": 4, "custom": [1], "quantization_config": {}, "transformers_version": "4"})
                .to_string(),
        );
        std::fs::create_dir(folder.path().join(TEMPLATES)).unwrap();
        write("additional_chat_templates/rag.jinja", "stored");
        write("additional_chat_templates/x y.jinja", "no name");
        let tokenizer = json!({"chat_template": [
            {"name": "default", "template": "a"},
            {"name": "tool_use", "template": "listed"},
            {"name": "rag", "template": "listed"},
            {"name": "../up", "template": "no name"},
        ]});
        let found = Inherited::read(folder.path(), tokenizer.as_object().unwrap());
        assert_eq!(found.licenses, [("LICENSE".to_owned(), b"Do as you like.".to_vec())]);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            found.license,
            [pair("license", "other"), pair("license_name", "my-license"), pair("license_link", "LICENSE")]
        );
        assert_eq!(found.templates, [pair("rag", "stored"), pair("tool_use", "listed")]);
        assert_eq!(Value::Object(found.config), json!({"hidden_size": 4, "custom": [1]}));
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(Inherited::read(empty.path(), &Map::new()), Inherited::default());
    }
    /// What a link brings in would be written into every model that is trained from this one.
    #[cfg(unix)]
    #[test]
    fn links_that_leave_the_folder_are_left_out() {
        use std::os::unix::fs::symlink;
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("model");
        std::fs::create_dir_all(folder.join(TEMPLATES)).unwrap();
        let private = place.path().join("private");
        std::fs::write(&private, "---\nlicense: secret\n---\n").unwrap();
        std::fs::write(place.path().join("private.json"), "{\"token\": \"secret\"}").unwrap();
        std::fs::write(folder.join("TERMS"), "Do as you like.").unwrap();
        symlink(&private, folder.join("LICENSE")).unwrap();
        symlink("TERMS", folder.join("NOTICE")).unwrap();
        symlink(&private, folder.join("README.md")).unwrap();
        symlink("../private.json", folder.join("config.json")).unwrap();
        symlink(&private, folder.join(TEMPLATES).join("x.jinja")).unwrap();
        let found = Inherited::read(&folder, &Map::new());
        let licenses = vec![("NOTICE".to_owned(), b"Do as you like.".to_vec())];
        assert_eq!(found, Inherited { licenses, ..Inherited::default() });
    }
}
