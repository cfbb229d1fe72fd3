//! Where the rows of a task are: a dataset of the Hugging Face hub, in any of the places where users have it.

/// A split of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataSet {
    /// The hub id, `owner/name`.
    pub repository: &'static str,
    /// The configuration, which is a folder of the repository; empty if it has none.
    pub config: &'static str,
    /// The split, which is the name of its files or the beginning of it.
    pub split: &'static str,
    /// Other names of the folder that people keep it in.
    pub folders: &'static [&'static str],
    /// Other names of the file, without `.jsonl`, `.parquet` and the like.
    pub files: &'static [&'static str],
    /// Only rows whose column has this value, where one file contains several subjects.
    pub only: Option<(&'static str, String)>,
    /// Only rows whose column is in this range, where one file contains several splits.
    pub numbers: Option<(&'static str, std::ops::RangeInclusive<u64>)>,
    /// Whether the hub has the repository. Otherwise its id is only a name for messages.
    pub is_on_hub: bool,
}

impl DataSet {
    /// A split of a dataset in the hub's layout.
    pub fn new(repository: &'static str, config: &'static str, split: &'static str) -> Self {
        let (folders, files) = (&[], &[]);
        Self { repository, config, split, folders, files, only: None, numbers: None, is_on_hub: true }
    }

    /// A file that the user has in one of these folders.
    pub fn local(
        name: &'static str,
        folders: &'static [&'static str],
        files: &'static [&'static str],
    ) -> Self {
        Self { folders, files, is_on_hub: false, ..Self::new(name, "", files[0]) }
    }

    /// The solved examples of a task of lm-evaluation-harness, in a file of this name.
    pub fn examples(files: &'static [&'static str]) -> Self {
        Self::local("the file of examples", &["fewshot"], files)
    }

    /// Another split of the same dataset.
    pub fn with_split(&self, split: &'static str) -> Self {
        Self { split, ..self.clone() }
    }

    /// Its name in messages.
    pub fn name(&self) -> String {
        match self.config {
            "" if !self.is_on_hub => format!("{}, `{}`", self.repository, self.split),
            "" => format!("{}, split `{}`", self.repository, self.split),
            config => format!("{} (`{config}`), split `{}`", self.repository, self.split),
        }
    }
}
