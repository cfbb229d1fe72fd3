//! `--adapter`: over which model each adapter is served.

use crate::model_source::{ModelGroup, ModelSource};
use anyhow::{Context, Result, anyhow, bail};
use checkpoint::adapter::{self, AdapterConfig};
use std::path::Path;

/// Adds the argument of `--adapter`, which is `NAME=FOLDER` or `NAME@MODEL=FOLDER`, to the group of the base model that it
/// names, or of the one that the adapter was trained over; to one of its own if that is not served.
///
/// # Errors
/// When it has no name, is no adapter, or names no model.
pub(super) fn add_adapter(groups: &mut Vec<ModelGroup>, argument: &str) -> Result<()> {
    let source = ModelSource::new(argument).map_err(|reason| anyhow!("--adapter: {reason}"))?;
    if !argument.starts_with(&format!("{}=", source.name)) {
        bail!(
            "`--adapter {argument}` has no name without a `/`; give `--adapter NAME=FOLDER` or `NAME@MODEL=FOLDER`"
        );
    }
    let ModelSource { name, location } = source;
    if !adapter::is_at(Path::new(&location)) {
        bail!(
            "`--adapter {argument}`: {location} is no adapter, which has adapter_config.json and no config.json; give `--model` for a checkpoint"
        );
    }
    let (name, model) = match name.split_once('@') {
        Some((name, model)) => (name.to_owned(), Some(model)),
        None => (name, None),
    };
    if name.is_empty() || model.is_some_and(str::is_empty) {
        bail!("`--adapter {argument}` lacks a name before or after `@`; give `--adapter NAME@MODEL=FOLDER`");
    }
    let at = match model {
        Some(model) => named(groups, model).with_context(|| format!("`--adapter {argument}`"))?,
        None => trained_over(groups, &location).with_context(|| format!("`--adapter {argument}`"))?,
    };
    groups[at].adapters.push(ModelSource { name, location });
    Ok(())
}

/// The group of the served model of that name.
fn named(groups: &[ModelGroup], model: &str) -> Result<usize> {
    let at = groups.iter().position(|group| group.is_base_served && group.base.name == model);
    at.ok_or_else(|| {
        let served = groups.iter().filter(|group| group.is_base_served);
        let names: Vec<&str> = served.map(|group| group.base.name.as_str()).collect();
        anyhow!("no `--model` is named `{model}`; the models are {}", names.join(", "))
    })
}

/// The group of the model that an adapter was trained over, which is added if there is none.
fn trained_over(groups: &mut Vec<ModelGroup>, folder: &str) -> Result<usize> {
    let folder = Path::new(folder);
    let location = AdapterConfig::read(folder)?.base_of(folder);
    if location.is_empty() {
        bail!(
            "adapter_config.json names no base model; give `--adapter NAME@MODEL=FOLDER` with the name of a `--model`"
        );
    }
    if let Some(at) = groups.iter().position(|group| is_same_place(&group.base.location, &location)) {
        return Ok(at);
    }
    if let Some(group) = groups.iter().find(|group| group.is_base_served) {
        tracing::warn!(
            "the adapter {} was trained over {location}, which is loaded as well because no `--model` names it; to use it \
             over {1}, give `--adapter NAME@{1}=FOLDER`",
            folder.display(),
            group.base.name
        );
    }
    let last = Path::new(&location).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let is_taken = last.is_empty()
        || groups.iter().any(|group| group.base.name == last)
        || groups.iter().flat_map(ModelGroup::served).any(|source| source.name == last);
    let name = if is_taken { location.clone() } else { last };
    let base = ModelSource { name, location };
    groups.push(ModelGroup { is_base_served: false, ..ModelGroup::alone(base) });
    Ok(groups.len() - 1)
}

/// Whether two locations are one: the same name, or the same folder or file.
fn is_same_place(one: &str, other: &str) -> bool {
    let place = |location: &str| Path::new(location).canonicalize().ok();
    one == other || place(one).is_some_and(|one| place(other) == Some(one))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn adapter_of(folder: &Path, name: &str, base: &str) -> String {
        let folder = folder.join(name);
        std::fs::create_dir(&folder).unwrap();
        let config = serde_json::json!({
            "peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "base_model_name_or_path": base,
        });
        std::fs::write(folder.join("adapter_config.json"), config.to_string()).unwrap();
        folder.to_string_lossy().into_owned()
    }

    #[test]
    fn an_adapter_joins_the_model_that_it_names_or_was_trained_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        std::fs::create_dir(path("base")).unwrap();
        let model = |argument: &str| ModelGroup::alone(ModelSource::new(argument).unwrap());
        let mut groups = vec![model(&format!("small={}/", path("base"))), model("other=owner/model")];
        let by_path = adapter_of(folder.path(), "by-path", &path("base"));
        let beside = adapter_of(folder.path(), "beside", "../base");
        let by_id = adapter_of(folder.path(), "by-id", "owner/model");
        let lone = adapter_of(folder.path(), "lone", "owner/third");
        for argument in [
            format!("a={by_path}"),
            format!("b={beside}"),
            format!("c={by_id}"),
            format!("d@small={lone}"),
            format!("e={lone}"),
            format!("f={lone}"),
        ] {
            add_adapter(&mut groups, &argument).unwrap();
        }
        let names =
            |group: &ModelGroup| group.served().map(|one| one.name.clone()).collect::<Vec<_>>().join(" ");
        let found: Vec<String> = groups.iter().map(names).collect();
        assert_eq!(found, ["small a b d", "other c", "e f"]);
        assert_eq!(
            (groups[2].base.name.as_str(), groups[2].base.location.as_str()),
            ("third", "owner/third")
        );
        let refused =
            |argument: &str| format!("{:#}", add_adapter(&mut groups.clone(), argument).unwrap_err());
        let nameless = adapter_of(folder.path(), "nameless", "");
        for (argument, expected) in [
            (format!("x@none={lone}"), "no `--model` is named `none`; the models are small, other"),
            (format!("x@third={lone}"), "no `--model` is named `third`"),
            (format!("x={nameless}"), "names no base model"),
            (format!("x={}", path("base")), "is no adapter"),
            (format!("@small={lone}"), "lacks a name before or after `@`"),
            (lone, "has no name"),
        ] {
            assert!(refused(&argument).contains(expected), "{}", refused(&argument));
        }
    }
}
