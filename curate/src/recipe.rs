//! A recipe: its stages in order, checked once when it is read. The formats are TOML, YAML and JSON; the recipes that are
//! published as papers and cards are built in, with what was never published of them.

use crate::Content;
use crate::rules::{C4, FineWeb, GopherQuality, GopherRepetition, Pii, RefinedWebLines};
use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The recipes that are built in, by name.
pub const BUILT_IN: [(&str, &str); 5] = [
    ("fineweb-edu", include_str!("../../datasets/recipes/curate/fineweb-edu.toml")),
    ("dclm", include_str!("../../datasets/recipes/curate/dclm.toml")),
    ("finemath", include_str!("../../datasets/recipes/curate/finemath.toml")),
    ("infiwebmath", include_str!("../../datasets/recipes/curate/infiwebmath.toml")),
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

/// A stage. Files are paths, or `$NAME` for one that the command names with `--file NAME=PATH`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Stage {
    /// HTML to text.
    Extract(Extract),
    /// Addresses by lists.
    Url(Url),
    /// The language by a fastText model.
    Language(Language),
    /// Gopher's quality rules.
    GopherQuality(GopherQuality),
    /// Gopher's repetition rules.
    GopherRepetition(GopherRepetition),
    /// C4's rules.
    C4(C4),
    /// FineWeb's rules.
    Fineweb(FineWeb),
    /// RefinedWeb's line rules.
    RefinedwebLines(RefinedWebLines),
    /// Pages with mathematics.
    Mathematics(Mathematics),
    /// A fastText classifier with a cut.
    Classifier(Classifier),
    /// Sampling by a score.
    Sample(Sample),
    /// Mail and IP addresses are replaced.
    Pii(Pii),
    /// Texts that occurred before.
    ExactDuplicates(ExactDuplicates),
    /// Near-duplicates by MinHash.
    NearDuplicates(NearDuplicates),
    /// Questions of evaluation sets.
    Decontaminate(Decontaminate),
}

/// Settings of `extract`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Extract {
    /// The main content of a page, without what is around it; false for all that is visible.
    pub main_content: bool,
    /// Characters of the text, at least.
    pub min_characters: usize,
}

impl Default for Extract {
    fn default() -> Self {
        Self { main_content: true, min_characters: 1 }
    }
}

impl Extract {
    pub(crate) fn content(&self) -> Content {
        if self.main_content { Content::Main } else { Content::All }
    }
}

/// Settings of `url`: files with one entry on a line; lines that begin with # are comments.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Url {
    /// Domains; what is below a domain is meant too.
    pub domains: Option<String>,
    /// Whole addresses.
    pub urls: Option<String>,
    /// Words: an address with one of them is dropped.
    pub words: Option<String>,
    /// Words of which two are needed.
    pub soft_words: Option<String>,
    /// Parts of words.
    pub subwords: Option<String>,
}

/// Settings of `language`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Language {
    /// The model.
    pub model: String,
    /// Labels that are kept; all where empty.
    #[serde(default)]
    pub keep: Vec<String>,
    /// Probability above which a page is kept.
    pub above: f64,
}

/// Settings of `mathematics`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mathematics {
    /// Formulas in the text, at least: between dollars or brackets, or environments.
    pub min_formulas: f64,
}

/// Settings of `classifier`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Classifier {
    /// The column of its score.
    pub name: String,
    /// The model.
    pub model: String,
    /// The label whose probability is the score.
    pub label: String,
    /// The cut: pages with at least this score are kept. Without one nothing is dropped.
    pub at_least: Option<f64>,
}

/// Settings of `sample`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// The column of the score.
    pub score: String,
    /// The share of pages that is kept below each score, in ascending order; above the last one all are.
    pub below: Vec<Below>,
    /// Draws follow from it and from the page's name.
    #[serde(default)]
    pub seed: u64,
}

/// A step of `sample`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Below {
    /// Scores below this.
    pub score: f64,
    /// The share that is kept, from 0 to 1.
    pub keep: f64,
}

/// Settings of `exact_duplicates`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExactDuplicates {}

/// Settings of `near_duplicates`; FineWeb's where nothing is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NearDuplicates {
    /// Words of a shingle.
    pub ngram: usize,
    /// Bands of a signature.
    pub bands: usize,
    /// Hashes of a band.
    pub rows_per_band: usize,
    /// Estimated similarity, at least; 0: a shared band suffices.
    pub similarity: f64,
}

impl Default for NearDuplicates {
    fn default() -> Self {
        Self { ngram: 5, bands: 14, rows_per_band: 8, similarity: 0.0 }
    }
}

/// Settings of `decontaminate`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decontaminate {
    /// Evaluation sets.
    pub sets: Vec<EvaluationFile>,
    /// Mathematical text: 13-grams and the longest common subsequence.
    #[serde(default)]
    pub math: bool,
}

/// An evaluation set of `decontaminate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationFile {
    /// Its name.
    pub name: String,
    /// Its file or folder.
    pub path: String,
    /// The column of its questions.
    pub column: Option<String>,
}

impl Stage {
    /// Its name in reports and in `--without`.
    pub fn name(&self) -> &str {
        match self {
            Self::Extract(_) => "extract",
            Self::Url(_) => "url",
            Self::Language(_) => "language",
            Self::GopherQuality(_) => "gopher_quality",
            Self::GopherRepetition(_) => "gopher_repetition",
            Self::C4(_) => "c4",
            Self::Fineweb(_) => "fineweb",
            Self::RefinedwebLines(_) => "refinedweb_lines",
            Self::Mathematics(_) => "mathematics",
            Self::Classifier(classifier) => &classifier.name,
            Self::Sample(_) => "sample",
            Self::Pii(_) => "pii",
            Self::ExactDuplicates(_) => "exact_duplicates",
            Self::NearDuplicates(_) => "near_duplicates",
            Self::Decontaminate(_) => "decontaminate",
        }
    }

    /// Whether it looks at all pages together.
    pub(crate) fn is_global(&self) -> bool {
        matches!(self, Self::ExactDuplicates(_) | Self::NearDuplicates(_) | Self::Decontaminate(_))
    }

    fn needs_text(&self) -> bool {
        !matches!(self, Self::Extract(_) | Self::Url(_))
    }

    /// The files that it reads.
    pub(crate) fn files(&mut self) -> Vec<&mut String> {
        match self {
            Self::Url(url) => {
                let Url { domains, urls, words, soft_words, subwords } = url;
                [domains, urls, words, soft_words, subwords].into_iter().flatten().collect()
            }
            Self::Language(language) => vec![&mut language.model],
            Self::Classifier(classifier) => vec![&mut classifier.model],
            Self::Decontaminate(decontaminate) => {
                decontaminate.sets.iter_mut().map(|set| &mut set.path).collect()
            }
            _ => Vec::new(),
        }
    }
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
        for stage in &self.stages {
            match stage {
                Stage::Sample(sample) => {
                    let is_known = |stage: &Stage| matches!(stage, Stage::Classifier(classifier) if classifier.name == sample.score);
                    if !self.stages.iter().any(is_known) {
                        bail!(
                            "recipe {name}: stage `sample` needs the score `{}`, which no stage `classifier` gives",
                            sample.score
                        );
                    }
                    if sample.below.iter().any(|step| !(0.0..=1.0).contains(&step.keep))
                        || !sample.below.is_sorted_by(|one, other| one.score < other.score)
                    {
                        bail!(
                            "recipe {name}: stage `sample` needs ascending scores, each with a share from 0 to 1"
                        );
                    }
                }
                Stage::NearDuplicates(near) if near.ngram * near.bands * near.rows_per_band == 0 => {
                    bail!(
                        "recipe {name}: stage `near_duplicates`: ngram, bands and rows_per_band are at least 1"
                    );
                }
                _ => {}
            }
        }
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn the_recipes_that_are_built_in_can_be_read() {
        for (name, text) in BUILT_IN {
            let recipe: Recipe = toml::from_str(text).unwrap();
            recipe.check().unwrap();
            assert_eq!(recipe.name, name);
            assert!(
                recipe.source.len() > 20 && recipe.published.len() > 20 && recipe.not_published.len() > 20,
                "{name}"
            );
            let missing = Recipe::read(name, &[], &[]).unwrap_err().to_string();
            assert!(missing.contains("; give `--file "), "{missing}");
        }
    }

    fn refused(text: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.toml");
        std::fs::write(&path, text).unwrap();
        format!("{:#}", Recipe::read(path.to_str().unwrap(), &[], &[]).unwrap_err())
    }

    #[test]
    fn faults_of_a_recipe_are_named() {
        let refuses = |stages: &str, part: &str| {
            let error = refused(&format!("name = \"a\"\n{stages}"));
            assert!(error.contains(part), "{error}");
        };
        refuses(
            "[[stage]]\nkind = \"extract\"\n[[stage]]\nkind = \"annotate\"\n",
            "unknown variant `annotate`, expected one of `extract`, `url`",
        );
        refuses("[[stage]]\nkind = \"extract\"\nmain = true\n", "unknown field `main`");
        refuses("[[stage]]\nkind = \"c4\"\n", "no stage `extract` before");
        refuses(
            "[[stage]]\nkind = \"extract\"\n[[stage]]\nkind = \"c4\"\n[[stage]]\nkind = \"c4\"\n",
            "`c4` is there twice",
        );
        refuses(
            "[[stage]]\nkind = \"extract\"\n[[stage]]\nkind = \"language\"\nmodel = \"no.ftz\"\nabove = 0.5\n",
            "needs no.ftz, which does not exist",
        );
        let error = Recipe::read("nowhere", &[], &[]).unwrap_err().to_string();
        assert!(error.contains("the recipes are fineweb-edu, dclm"), "{error}");
    }

    #[test]
    fn yaml_and_json_are_read_alike() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            Recipe::read(path.to_str().unwrap(), &[], &["pii".to_owned()]).unwrap()
        };
        let toml = write(
            "a.toml",
            "name = \"a\"\n[[stage]]\nkind = \"extract\"\n[[stage]]\nkind = \"c4\"\nkeep_braces = true\n[[stage]]\nkind = \"pii\"\n",
        );
        let yaml = write(
            "a.yaml",
            "name: a\nstage:\n  - kind: extract\n  - kind: c4\n    keep_braces: true\n  - kind: pii\n",
        );
        let json = write(
            "a.json",
            r#"{"name": "a", "stage": [{"kind": "extract"}, {"kind": "c4", "keep_braces": true}, {"kind": "pii"}]}"#,
        );
        assert_eq!(toml, yaml);
        assert_eq!(toml, json);
        assert_eq!(toml.stages.len(), 2);
    }
}
