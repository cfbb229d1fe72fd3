//! The name of a repository on the hub, as a user types it, and the words that may become a part of a path.

use std::fmt;

/// What a repository contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Weights, a tokenizer and their settings.
    Model,
    /// Rows.
    Dataset,
}

impl Kind {
    /// `models` or `datasets`: the word of the API and of the cache's folders.
    pub(crate) fn plural(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
        }
    }

    /// What precedes the id in addresses of files.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Self::Model => "",
            Self::Dataset => "datasets/",
        }
    }
}

/// A repository on the hub: `owner/name`, or `owner/name@revision` for a branch, a tag or a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Id {
    owner: String,
    name: String,
    revision: Option<String>,
}

impl Id {
    /// Reads `owner/name` or `owner/name@revision`; `None` for a text that has another form.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, revision) = match text.split_once('@') {
            Some((name, revision)) => (name, Some(revision)),
            None => (text, None),
        };
        let (owner, name) = name.split_once('/')?;
        let is_valid = is_name(owner) && is_name(name) && revision.is_none_or(is_relative_path);
        is_valid.then(|| Self {
            owner: owner.to_owned(),
            name: name.to_owned(),
            revision: revision.map(str::to_owned),
        })
    }

    /// The owner: a user or an organization.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The name without its owner.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The branch, tag or commit; `main` where none is named.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }

    /// `owner/name`, without a revision.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.revision {
            Some(revision) => write!(formatter, "{}/{}@{revision}", self.owner, self.name),
            None => write!(formatter, "{}/{}", self.owner, self.name),
        }
    }
}

/// An owner's or a repository's name: letters, digits, `-`, `_` and `.`, the first one not a dot.
fn is_name(text: &str) -> bool {
    !text.starts_with('.') && is_word(text, "-_.")
}

/// A commit or a hash: a word that stays where a folder puts it.
pub(crate) fn is_plain_word(text: &str) -> bool {
    is_word(text, "-_")
}

fn is_word(text: &str, marks: &str) -> bool {
    (1..=128).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || marks.contains(c))
}

/// A path below a folder: no empty part, none that leads upward, no separator of another system, no control character.
pub(crate) fn is_relative_path(text: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && part.len() <= 255 && part != "." && part != "..";
    let is_strange = |c: char| c.is_control() || c == '\\' || c == ':';
    text.len() <= 1024 && text.split('/').all(is_part) && !text.contains(is_strange)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_an_owner_a_name_and_maybe_a_revision() {
        let id = Id::parse("HuggingFaceTB/SmolLM2-135M@v1.0").unwrap();
        assert_eq!((id.owner(), id.name(), id.revision()), ("HuggingFaceTB", "SmolLM2-135M", "v1.0"));
        assert_eq!(id.to_string(), "HuggingFaceTB/SmolLM2-135M@v1.0");
        let id = Id::parse("a/b@refs/pr/1").unwrap();
        assert_eq!((id.repository().as_str(), id.revision()), ("a/b", "refs/pr/1"));
        assert_eq!(Id::parse("a/b").unwrap().revision(), "main");
        for text in
            ["a", "a/b/c", "/b", "a/", "../b", "a/..", "a/b@", "a/b@../x", "a/b@/x", "a b/c", "a/b@x\\y"]
        {
            assert_eq!(Id::parse(text), None, "{text}");
        }
    }

    #[test]
    fn paths_that_leave_their_folder_are_told_from_others() {
        for text in ["config.json", "data/train-00000.parquet", "a b/c…d.json", "..a", ".gitattributes"] {
            assert!(is_relative_path(text), "{text}");
        }
        for text in ["", "/etc/passwd", "../a", "a/../b", "a//b", "a/", "./a", "C:\\x", "c:x", "a\nb", "a\\b"]
        {
            assert!(!is_relative_path(text), "{text}");
        }
        assert!(is_plain_word("0a1b") && !is_plain_word("") && !is_plain_word("a/b") && !is_plain_word(".."));
    }
}
