//! The files of the recipes: those compiled into the program, and a folder whose files replace them.

use anyhow::{Context, Result, ensure};
use include_dir::{Dir, include_dir};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

static BUILT_IN: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../prompts");

/// The source of the files of `prompts/TASK/`. A file of `--prompts DIR` replaces the built-in file with the same
/// path; all other built-in files remain.
#[derive(Debug, Clone, Default)]
pub struct Prompts {
    folder: Option<PathBuf>,
}

impl Prompts {
    /// The built-in prompts, with the files of a folder in place of those with the same paths.
    ///
    /// # Errors
    /// When the folder is missing, contains no folder of a task, or contains a folder that is not named for a task.
    pub fn open(folder: Option<&Path>) -> Result<Self> {
        let Some(folder) = folder else { return Ok(Self::default()) };
        let entries = std::fs::read_dir(folder)
            .with_context(|| format!("cannot read the folder `--prompts {}`", folder.display()))?;
        let names = entries.flatten().filter(|entry| entry.path().is_dir());
        let names: Vec<String> =
            names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        let known: Vec<&str> = BUILT_IN.dirs().filter_map(|folder| folder.path().to_str()).collect();
        ensure!(
            names.iter().any(|name| known.contains(&name.as_str())),
            "`--prompts {}` contains no folder of a task; create at least one of {}",
            folder.display(),
            known.join(", ")
        );
        if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
            anyhow::bail!(
                "`--prompts {}`: `{unknown}` is not a task; rename the folder to one of {}",
                folder.display(),
                known.join(", ")
            );
        }
        Ok(Self { folder: Some(folder.to_owned()) })
    }

    /// The prompts beside a recipe's file, and the name of its folder, which names its task.
    ///
    /// # Errors
    /// When the file is no `recipe.toml`, or its folder is a built-in task's.
    pub(crate) fn of_recipe(file: &Path) -> Result<(String, Self)> {
        let whole =
            file.canonicalize().with_context(|| format!("cannot read `--recipe {}`", file.display()))?;
        ensure!(
            whole.file_name().is_some_and(|name| name == "recipe.toml"),
            "`--recipe {}` is no recipe.toml; give the path of one",
            file.display()
        );
        let folder = whole.parent().unwrap_or(&whole);
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        ensure!(
            BUILT_IN.get_dir(&name).is_none(),
            "`--recipe {}`: `{name}` is a built-in task; name it and give `--prompts` for its folder, or rename the folder",
            file.display()
        );
        // As it was given, because the dataset card names it.
        let above = match file.parent().and_then(Path::parent) {
            Some(above) if above.as_os_str().is_empty() => Some(Path::new(".")),
            Some(above) => Some(above),
            None => folder.parent(),
        };
        Ok((name, Self { folder: above.map(Path::to_owned) }))
    }

    /// The folder whose files replace built-in ones.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// Whether a folder is given and has files for a task.
    pub(crate) fn replaces(&self, task: &str) -> bool {
        self.folder.as_ref().is_some_and(|folder| folder.join(task).is_dir())
    }

    /// The name of the prompts in messages: the folder, or `prompts` for the built-in ones.
    pub(crate) fn name(&self) -> String {
        self.folder.as_ref().map_or("prompts".to_owned(), |folder| folder.display().to_string())
    }

    /// Reads the files of a task, by their path below its folder.
    pub(crate) fn files(&self, task: &str) -> Result<BTreeMap<String, String>> {
        let mut files = BTreeMap::new();
        let mut folders: Vec<&Dir<'_>> = BUILT_IN.get_dir(task).into_iter().collect();
        while let Some(folder) = folders.pop() {
            folders.extend(folder.dirs());
            for file in folder.files() {
                let path = file.path().strip_prefix(task).unwrap_or(file.path()).display().to_string();
                let text = file
                    .contents_utf8()
                    .with_context(|| format!("prompts/{task}/{path} is not valid UTF-8"))?;
                files.insert(path, text.to_owned());
            }
        }
        if let Some(folder) = self.folder.as_ref().map(|folder| folder.join(task)).filter(|it| it.is_dir()) {
            read_folder(&folder, "", &mut files)?;
        }
        Ok(files)
    }
}

/// Adds the files of a folder, by their path with `/` between the parts.
fn read_folder(folder: &Path, below: &str, files: &mut BTreeMap<String, String>) -> Result<()> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("cannot read the folder {}", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read the folder {}", folder.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        let path = entry.path();
        if path.is_dir() {
            read_folder(&path, &format!("{below}{name}/"), files)?;
        } else {
            let text =
                std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            files.insert(format!("{below}{name}"), text);
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn a_folder_replaces_single_files_and_adds_others() {
        let folder = tempfile::tempdir().unwrap();
        let file = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        file("magpie-ultra/quality.jinja", "new");
        file("magpie-ultra/system/law.jinja", "added");
        let built_in = Prompts::default().files("magpie-ultra").unwrap();
        let files = Prompts::open(Some(folder.path())).unwrap().files("magpie-ultra").unwrap();
        assert_eq!((files["quality.jinja"].as_str(), files["system/law.jinja"].as_str()), ("new", "added"));
        assert_eq!(files.len(), built_in.len() + 1);
        assert_eq!(files["reward.jinja"], built_in["reward.jinja"]);
        file("magpie/quality.jinja", "a misspelled task");
        let error = Prompts::open(Some(folder.path())).unwrap_err().to_string();
        assert!(error.contains("`magpie` is not a task"), "{error}");
    }
}
