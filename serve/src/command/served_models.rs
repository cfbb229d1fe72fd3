//! Which models the command line names: `--model`, `--adapter`, `--encoder`, `--models` and `--alias`, checked against one
//! another before anything is loaded.

use super::adapters::add_adapter;
use crate::model_folder::scan;
use crate::model_source::{ModelGroup, ModelSource};
use anyhow::{Context, Result, anyhow, bail};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// The models to serve.
#[derive(Debug)]
pub(super) struct ServedModels {
    /// Models that are loaded at the start, with their adapters.
    pub(super) groups: Vec<ModelGroup>,
    /// Sentence encoders.
    pub(super) encoders: Vec<ModelSource>,
    pub(super) folder: Option<ServedFolder>,
    /// Other names, and the models' own.
    pub(super) aliases: BTreeMap<String, String>,
}

/// A folder of models that are loaded on demand.
#[derive(Debug)]
pub(super) struct ServedFolder {
    pub(super) path: PathBuf,
    /// Time without requests after which a model is unloaded; `None` is never.
    pub(super) unload_after: Option<Duration>,
}

impl ServedModels {
    /// # Errors
    /// When there is no model, two have one name, the folder cannot be read, or an alias has no model.
    pub(super) fn new(
        models: &[String],
        adapters: &[String],
        encoders: &[String],
        folder: Option<ServedFolder>,
        aliases: &[String],
    ) -> Result<Self> {
        if models.is_empty() && adapters.is_empty() && encoders.is_empty() && folder.is_none() {
            bail!(
                "no model to serve; give `--model` a checkpoint folder, a GGUF file or a Hugging Face id, such as \
                 `--model HuggingFaceTB/SmolLM2-135M-Instruct`, or `--models` a folder of models"
            );
        }
        let source =
            |argument: &String| ModelSource::new(argument).map_err(|reason| anyhow!("--encoder: {reason}"));
        let encoders = encoders.iter().map(source).collect::<Result<_>>()?;
        let mut served =
            Self { groups: groups(models, adapters)?, encoders, folder, aliases: BTreeMap::new() };
        refuse_equal_names(&served)?;
        let sources = served.groups.iter().flat_map(ModelGroup::served).chain(&served.encoders);
        let mut names: Vec<String> = sources.map(|source| source.name.clone()).collect();
        for found in served.of_folder()? {
            if names.contains(&found.name) {
                bail!(
                    "two models are named `{}`; give that of `--model` another name with `--model NAME=FOLDER`",
                    found.name
                );
            }
            names.push(found.name);
        }
        for alias in aliases {
            let (name, model) = served.alias(alias, &names)?;
            served.aliases.insert(name, model);
        }
        Ok(served)
    }

    /// The models that the folder has now.
    fn of_folder(&self) -> Result<Vec<ModelSource>> {
        let Some(folder) = &self.folder else { return Ok(Vec::new()) };
        let found = scan(&folder.path);
        let found = found.with_context(|| format!("cannot read {} (`--models`)", folder.path.display()))?;
        if found.is_empty() {
            let path = folder.path.display();
            tracing::warn!("{path} (`--models`) has no model yet: no checkpoint folder and no GGUF file");
        }
        Ok(found.into_values().map(|found| found.source).collect())
    }

    /// All models, for `--check`.
    pub(super) fn of_check(&self) -> Vec<ModelGroup> {
        let of_folder = self.of_folder().unwrap_or_default().into_iter().map(ModelGroup::alone);
        self.groups.iter().cloned().chain(of_folder).collect()
    }

    fn alias(&self, argument: &str, names: &[String]) -> Result<(String, String)> {
        let (name, model) = argument
            .split_once('=')
            .filter(|(name, _)| {
                !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control())
            })
            .ok_or_else(|| anyhow!("`--alias {argument}` is not `NAME=MODEL`; give a name without spaces"))?;
        if names.iter().any(|other| other == name) || self.aliases.contains_key(name) {
            bail!("`--alias {argument}`: there is a model named `{name}` already; give another name");
        }
        if !names.iter().any(|other| other == model) {
            bail!("`--alias {argument}`: no model is named `{model}`; the models are {}", names.join(", "));
        }
        Ok((name.to_owned(), model.to_owned()))
    }
}

fn groups(models: &[String], adapters: &[String]) -> Result<Vec<ModelGroup>> {
    let mut groups: Vec<ModelGroup> = Vec::new();
    for argument in models {
        let source = ModelSource::new(argument).map_err(|reason| anyhow!("--model: {reason}"))?;
        groups.push(ModelGroup::alone(source));
    }
    for argument in adapters {
        add_adapter(&mut groups, argument)?;
    }
    Ok(groups)
}

fn refuse_equal_names(served: &ServedModels) -> Result<()> {
    let sources: Vec<&ModelSource> =
        served.groups.iter().flat_map(ModelGroup::served).chain(&served.encoders).collect();
    for (index, source) in sources.iter().enumerate() {
        if sources[..index].iter().any(|other| other.name == source.name) {
            bail!(
                "two models are named `{0}`; give one another name with `NAME={1}`",
                source.name,
                source.location
            );
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn new(models: &[&str], folder: Option<PathBuf>, aliases: &[&str]) -> Result<ServedModels> {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let folder = folder.map(|path| ServedFolder { path, unload_after: None });
        ServedModels::new(&owned(models), &[], &[], folder, &owned(aliases))
    }

    #[test]
    fn aliases_and_folders_are_checked_before_anything_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("small.gguf"), "").unwrap();
        let path = || Some(folder.path().to_owned());
        let served = new(&["a/b"], path(), &["gpt-4o=small", "x=b"]).unwrap();
        assert_eq!(served.aliases["gpt-4o"], "small");
        let names: Vec<String> = served.of_check().into_iter().map(|group| group.base.name).collect();
        assert_eq!(names, ["b", "small"]);
        for (models, aliases, expected) in [
            (&["small=a/b"][..], &[][..], "two models are named `small`"),
            (&[], &["small=small"], "there is a model named `small`"),
            (&[], &["x=small", "x=small"], "there is a model named `x`"),
            (&[], &["x=large"], "no model is named `large`; the models are small"),
            (&[], &["x"], "not `NAME=MODEL`"),
            (&[], &["a b=small"], "without spaces"),
        ] {
            let error = new(models, path(), aliases).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let missing = format!("{:#}", new(&[], Some(folder.path().join("nothing")), &[]).unwrap_err());
        assert!(missing.contains("nothing (`--models`)"), "{missing}");
    }
}
