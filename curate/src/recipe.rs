//! A recipe: its stages in order, checked once when it is read. The formats are TOML, YAML and JSON; the recipes that are
//! published as papers and cards are built in, with what was never published of them.

mod settings;
mod stage;

#[cfg(test)]
mod tests;

pub use settings::{
    Below, Classifier, Code, Decontaminate, Domains, EvaluationFile, ExactDuplicates, Extract, Language,
    Mathematics, NearDuplicates, RepeatedParts, Sample, Tokens, Url,
};
pub use stage::Stage;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The recipes that are built in, by name.
pub const BUILT_IN: [(&str, &str); 7] = [
    ("fineweb-edu", include_str!("../../datasets/recipes/curate/fineweb-edu.toml")),
    ("dclm", include_str!("../../datasets/recipes/curate/dclm.toml")),
    ("finemath", include_str!("../../datasets/recipes/curate/finemath.toml")),
    ("finemath-domains", include_str!("../../datasets/recipes/curate/finemath-domains.toml")),
    ("infiwebmath", include_str!("../../datasets/recipes/curate/infiwebmath.toml")),
    ("stack-edu", include_str!("../../datasets/recipes/curate/stack-edu.toml")),
    ("smollm2-small-dclm", include_str!("../../datasets/recipes/curate/smollm2-small-dclm.toml")),
];

/// A checked recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Its name.
    pub name: String,
    /// Where it is described.
    #[serde(default)]
    pub source: String,
    /// Counts that were published.
    #[serde(default)]
    pub published: String,
    /// What was never published, or does not exist here, and what is done instead.
    #[serde(default)]
    pub not_published: String,
    /// The stages in their order.
    #[serde(rename = "stage")]
    pub stages: Vec<Stage>,
}

impl Recipe {
    /// Reads a recipe: the name of one that is built in, or a file. `files` names its files; `without` are stages that are
    /// left out.
    ///
    /// # Errors
    /// Names the recipe, the line, the stage or the file that is missing, and what to give.
    pub fn read(name: &str, files: &[(String, String)], without: &[String]) -> Result<Self> {
        let built_in = BUILT_IN.iter().find(|(known, _)| *known == name);
        let text = match built_in {
            Some((_, text)) => (*text).to_owned(),
            None if Path::new(name).exists() => {
                std::fs::read_to_string(name).with_context(|| format!("cannot read {name}"))?
            }
            None => bail!(
                "`{name}` is neither a file nor a recipe; the recipes are {}",
                BUILT_IN.map(|(name, _)| name).join(", ")
            ),
        };
        let extension =
            Path::new(name).extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
        let mut recipe: Self = match extension.as_deref().filter(|_| built_in.is_none()) {
            Some("json") => serde_json::from_str(&text).with_context(|| format!("recipe {name}"))?,
            Some("yaml" | "yml") => {
                serde_saphyr::from_str(&text).map_err(|error| anyhow!("recipe {name}: {error}"))?
            }
            _ => toml::from_str(&text).map_err(|error| {
                let line = 1 + text[..error.span().map_or(0, |span| span.start)].matches('\n').count();
                anyhow!("recipe {name}, line {line}: {}", error.message())
            })?,
        };
        for left_out in without {
            if !recipe.stages.iter().any(|stage| stage.name() == left_out) {
                bail!("`--without {left_out}`: recipe {name} has no such stage; it has {}", recipe.names());
            }
        }
        recipe.stages.retain(|stage| !without.iter().any(|name| name == stage.name()));
        recipe.check()?;
        recipe.resolve(files)?;
        Ok(recipe)
    }

    fn names(&self) -> String {
        self.stages.iter().map(Stage::name).collect::<Vec<_>>().join(", ")
    }

    fn check(&self) -> Result<()> {
        let name = &self.name;
        let extract = self.stages.iter().position(|stage| matches!(stage, Stage::Extract(_)));
        let text = self.stages.iter().position(Stage::needs_text).unwrap_or(usize::MAX);
        if extract.is_none_or(|extract| extract > text) {
            bail!("recipe {name}: no stage `extract` before the first one that needs text; begin with it");
        }
        let mut names: Vec<&str> = self.stages.iter().map(Stage::name).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            bail!("recipe {name}: stage `{}` is there twice; remove one", twice[0]);
        }
        self.stages.iter().try_for_each(|stage| self.check_stage(stage))
    }

    fn check_stage(&self, stage: &Stage) -> Result<()> {
        let name = &self.name;
        match stage {
            Stage::Sample(sample) => {
                self.needs_score("sample", &sample.score)?;
                ensure!(
                    sample.below.iter().all(|step| (0.0..=1.0).contains(&step.keep))
                        && sample.below.is_sorted_by(|one, other| one.score < other.score),
                    "recipe {name}: stage `sample` needs ascending scores, each with a share from 0 to 1"
                );
            }
            Stage::Domains(domains) => {
                self.needs_score("domains", &domains.score)?;
                ensure!(
                    (0.0..=1.0).contains(&domains.min_share)
                        && (domains.min_share > 0.0 || domains.min_pages > 0),
                    "recipe {name}: stage `domains` needs `min_share` from 0 to 1, or `min_pages`; `min_share` is {}",
                    domains.min_share
                );
            }
            Stage::NearDuplicates(near) => ensure!(
                near.ngram * near.bands * near.rows_per_band > 0,
                "recipe {name}: stage `near_duplicates`: ngram, bands and rows_per_band are at least 1"
            ),
            Stage::Classifier(classifier) => ensure!(
                classifier.by.is_some() || classifier.at_least_for.is_empty(),
                "recipe {name}: stage `{}`: `at_least_for` needs `by`, the column that its values are in",
                classifier.name
            ),
            _ => {}
        }
        Ok(())
    }

    fn needs_score(&self, stage: &str, score: &str) -> Result<()> {
        let gives =
            |known: &Stage| matches!(known, Stage::Classifier(classifier) if classifier.name == score);
        ensure!(
            self.stages.iter().any(gives),
            "recipe {}: stage `{stage}` needs the score `{score}`, which no stage `classifier` gives",
            self.name
        );
        Ok(())
    }

    /// Puts the files in that the command names.
    fn resolve(&mut self, files: &[(String, String)]) -> Result<()> {
        let mut used = Vec::new();
        for stage in &mut self.stages {
            let name = stage.name().to_owned();
            for file in stage.files() {
                if let Some(wanted) = file.strip_prefix('$').map(str::to_owned) {
                    let Some((_, path)) = files.iter().find(|(known, _)| *known == wanted) else {
                        bail!(
                            "stage `{name}` needs a file `{wanted}`; give `--file {wanted}=PATH`, or `--without {name}` to leave the stage out"
                        );
                    };
                    used.push(wanted);
                    file.clone_from(path);
                }
                if !Path::new(file).exists() {
                    bail!("stage `{name}` needs {file}, which does not exist");
                }
            }
        }
        match files.iter().find(|(name, _)| !used.contains(name)) {
            Some((unused, _)) => {
                bail!("`--file {unused}=...`: no stage of recipe {} needs a file of this name", self.name)
            }
            None => Ok(()),
        }
    }
}
