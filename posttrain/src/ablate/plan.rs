//! The plan of an ablation: a pretraining recipe, what varies, and its values. An arm has nothing but a name and its value,
//! so that two arms cannot differ in anything else.

use anyhow::{Context, Result, anyhow, bail, ensure};
use random::{mix, unit};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// The name of what varies by default: the weights of the sources.
pub(super) const MIXTURE: &str = "mixture";
/// Keys of a recipe that cannot vary: all arms have the seeds and the sources of the plan.
const FIXED: [&str; 3] = ["seed", "sources", "stages"];
/// The share of its domain in the mixtures of a swarm that have much of one.
const MUCH: f64 = 0.8;

/// An ablation.
#[derive(Debug)]
pub(super) struct Plan {
    /// The settings that all arms share.
    base: Table,
    /// The checkpoint that all arms start from; without one, the recipe's `init`.
    pub(super) model: Option<String>,
    /// [`MIXTURE`], or a setting.
    pub(super) vary: String,
    /// The stages whose mixture varies; all where none is named.
    stages: Vec<String>,
    pub(super) seeds: Vec<u64>,
    /// The first one is what the others are compared with.
    pub(super) arms: Vec<Arm>,
    /// What the held-out loss of each source counts; equally where nothing is given.
    pub(super) targets: BTreeMap<String, f64>,
    pub(super) tasks: Vec<String>,
    pub(super) tasks_data: Option<PathBuf>,
    pub(super) limit: Option<usize>,
}

/// An arm.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Arm {
    pub(super) name: String,
    pub(super) value: Value,
}

/// Mixtures that are drawn instead of listed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Swarm {
    /// The sources that are mixed.
    domains: Vec<String>,
    /// The number of mixtures.
    runs: usize,
    #[serde(default)]
    seed: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanFile {
    recipe: PathBuf,
    model: Option<String>,
    #[serde(default = "mixture")]
    vary: String,
    #[serde(default)]
    stages: Vec<String>,
    #[serde(default = "one_seed")]
    seeds: Vec<u64>,
    #[serde(default)]
    arm: Vec<Arm>,
    swarm: Option<Swarm>,
    #[serde(default)]
    targets: BTreeMap<String, f64>,
    #[serde(default)]
    tasks: Vec<String>,
    tasks_data: Option<PathBuf>,
    limit: Option<usize>,
}

fn mixture() -> String {
    MIXTURE.to_owned()
}

fn one_seed() -> Vec<u64> {
    vec![42]
}

impl Plan {
    /// Reads a plan. Its recipe's path is relative to the plan; the paths in the recipe are as in any recipe.
    ///
    /// # Errors
    /// Names the file and what is wrong in it.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let file: PlanFile =
            toml::from_str(&text).map_err(|error| anyhow!("{}: {}", path.display(), error.message()))?;
        let recipe = path.parent().unwrap_or(Path::new(".")).join(&file.recipe);
        let text =
            std::fs::read_to_string(&recipe).with_context(|| format!("cannot read {}", recipe.display()))?;
        let base: Table = text.parse().with_context(|| format!("{} is not TOML", recipe.display()))?;
        Self::new(base, file).with_context(|| path.display().to_string())
    }

    fn new(base: Table, file: PlanFile) -> Result<Self> {
        let PlanFile {
            model, vary, stages, seeds, mut arm, swarm, targets, tasks, tasks_data, limit, ..
        } = file;
        ensure!(!FIXED.contains(&vary.as_str()), "`vary = \"{vary}\"`: that is the same for all arms");
        if let Some(swarm) = swarm {
            ensure!(vary == MIXTURE, "a `[swarm]` draws mixtures; remove `vary = \"{vary}\"` or the swarm");
            arm.extend(swarm.arms()?);
        }
        ensure!(
            arm.len() >= 2,
            "there are {} arms; a comparison needs two `[[arm]]` or a `[swarm]`",
            arm.len()
        );
        let mut names = BTreeSet::new();
        for one in &arm {
            let is_plain =
                one.name.chars().all(|letter| letter.is_ascii_alphanumeric() || "._-".contains(letter));
            ensure!(
                is_plain && !one.name.is_empty() && !one.name.starts_with('.'),
                "the arm `{}` is not a name for a folder; use letters, digits, `.`, `_` and `-`",
                one.name
            );
            ensure!(names.insert(&one.name), "two arms are named `{}`", one.name);
            let same = arm.iter().find(|other| other.name != one.name && other.value == one.value);
            if let Some(same) = same {
                bail!("the arms `{}` and `{}` have the same value", one.name, same.name);
            }
        }
        ensure!(!seeds.is_empty(), "`seeds` is empty");
        ensure!(
            seeds.iter().collect::<BTreeSet<_>>().len() == seeds.len(),
            "a seed is given twice in `seeds`"
        );
        let plan = Self { base, model, vary, stages, seeds, arms: arm, targets, tasks, tasks_data, limit };
        plan.check_stages()?;
        plan.check_targets()?;
        Ok(plan)
    }

    fn check_stages(&self) -> Result<()> {
        if self.vary != MIXTURE {
            ensure!(
                self.stages.is_empty(),
                "`stages` says which mixtures vary; nothing but `{}` does",
                self.vary
            );
            return Ok(());
        }
        let names: Vec<&str> = self.stage_tables().filter_map(|stage| stage.get("name")?.as_str()).collect();
        ensure!(
            !names.is_empty(),
            "a mixture varies by stages, and the recipe has none; add `[[stages]]` with `name`, `tokens`, `phase` and \
             `mixture`"
        );
        if let Some(unknown) = self.stages.iter().find(|stage| !names.contains(&stage.as_str())) {
            bail!("the recipe has no stage `{unknown}`; it has {}", names.join(", "));
        }
        Ok(())
    }

    fn check_targets(&self) -> Result<()> {
        let sources: Vec<&str> = self.sources().collect();
        for (name, weight) in &self.targets {
            ensure!(
                sources.contains(&name.as_str()),
                "the target `{name}` is no source; there are {}",
                sources.join(", ")
            );
            ensure!(*weight > 0.0 && weight.is_finite(), "the weight of target `{name}` is not above 0");
        }
        Ok(())
    }

    fn stage_tables(&self) -> impl Iterator<Item = &Table> {
        let stages = self.base.get("stages").and_then(Value::as_array);
        stages.into_iter().flatten().filter_map(Value::as_table)
    }

    /// The names of the recipe's sources.
    fn sources(&self) -> impl Iterator<Item = &str> {
        let sources = self.base.get("sources").and_then(Value::as_array);
        sources.into_iter().flatten().filter_map(|source| source.get("name")?.as_str())
    }

    /// The recipe of an arm with a seed.
    ///
    /// # Errors
    /// When the value is no mixture.
    pub(super) fn recipe_of(&self, arm: &Arm, seed: u64) -> Result<Table> {
        let mut recipe = self.base.clone();
        recipe
            .insert("seed".to_owned(), Value::Integer(i64::try_from(seed).context("a seed is below 2^63")?));
        if self.vary != MIXTURE {
            recipe.insert(self.vary.clone(), arm.value.clone());
            return Ok(recipe);
        }
        self.weights(arm)?;
        let stages = recipe.get_mut("stages").and_then(Value::as_array_mut).into_iter().flatten();
        for stage in stages.filter_map(Value::as_table_mut) {
            let name = stage.get("name").and_then(Value::as_str).unwrap_or_default();
            if self.stages.is_empty() || self.stages.iter().any(|other| other == name) {
                stage.insert(MIXTURE.to_owned(), arm.value.clone());
            }
        }
        Ok(recipe)
    }

    /// The weights of an arm's mixture, which add up to 1; sources that are not in it have none.
    ///
    /// # Errors
    /// When it is no mixture.
    pub(super) fn weights(&self, arm: &Arm) -> Result<BTreeMap<String, f64>> {
        let refused =
            || format!("arm `{}`: its value is not a mixture such as {{ web = 60, code = 40 }}", arm.name);
        let table = arm.value.as_table().with_context(refused)?;
        let number =
            |value: &Value| value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64));
        let mut weights = BTreeMap::new();
        for (name, value) in table {
            let weight = number(value).filter(|weight| *weight >= 0.0 && weight.is_finite());
            weights.insert(name.clone(), weight.with_context(refused)?);
        }
        let sum: f64 = weights.values().sum();
        ensure!(sum > 0.0, "{}", refused());
        weights.values_mut().for_each(|weight| *weight /= sum);
        Ok(weights)
    }

    /// The part of a source's held-out loss in what is to be low; the parts add up to 1.
    pub(super) fn target(&self, source: &str, sources: usize) -> f64 {
        if self.targets.is_empty() {
            return 1.0 / sources as f64;
        }
        self.targets.get(source).copied().unwrap_or_default() / self.targets.values().sum::<f64>()
    }
}

impl Swarm {
    /// One mixture with much of each domain, one with equal weights, and the others drawn evenly from all mixtures.
    fn arms(&self) -> Result<Vec<Arm>> {
        let count = self.domains.len();
        ensure!(count >= 2, "a swarm needs at least two `domains`");
        ensure!(
            self.runs > count,
            "a swarm of {} runs is too small for {count} domains; give at least {}, better {}",
            self.runs,
            count + 1,
            3 * count
        );
        let weights = |index: usize| -> Vec<f64> {
            if index < count {
                return (0..count)
                    .map(|domain| if domain == index { MUCH } else { (1.0 - MUCH) / (count - 1) as f64 })
                    .collect();
            }
            if index == count {
                return vec![1.0 / count as f64; count];
            }
            // Exponential variates, normalized, are even on the simplex.
            let draw = |domain: usize| -(1.0 - unit(mix(self.seed, (index * count + domain) as u64))).ln();
            let draws: Vec<f64> = (0..count).map(draw).collect();
            let sum: f64 = draws.iter().sum();
            draws.into_iter().map(|draw| draw / sum).collect()
        };
        let arm = |index: usize| {
            let table = self.domains.iter().zip(weights(index)).map(|(name, weight)| {
                // Four digits, so that a recipe can be read.
                (name.clone(), Value::Float((weight * 1e4).round() / 1e4))
            });
            Arm { name: format!("mix-{:02}", index + 1), value: Value::Table(table.collect()) }
        };
        Ok((0..self.runs).map(arm).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECIPE: &str = "tokens = 10\nseed = 1\n[[sources]]\nname = \"a\"\npaths = []\n[[sources]]\nname = \"b\"\npaths = []\n\
        [[stages]]\nname = \"stable\"\nmixture = { a = 1 }\n[[stages]]\nname = \"decay\"\nmixture = { a = 1 }\n";

    fn plan(text: &str) -> Result<Plan> {
        let file: PlanFile = toml::from_str(&format!("recipe = \"r\"\n{text}"))?;
        Plan::new(RECIPE.parse()?, file)
    }

    fn refused(text: &str) -> String {
        format!("{:#}", plan(text).expect_err(text))
    }

    #[test]
    fn an_arm_changes_its_value_and_nothing_else() {
        let arms =
            "[[arm]]\nname = \"one\"\nvalue = { a = 3, b = 1 }\n[[arm]]\nname = \"two\"\nvalue = { b = 1 }\n";
        let plan = plan(&format!("seeds = [7]\nstages = [\"decay\"]\n{arms}")).expect("a plan");
        let recipe = plan.recipe_of(&plan.arms[0], 7).expect("a recipe");
        let mut expected: Table = RECIPE.parse().expect("TOML");
        expected["seed"] = Value::Integer(7);
        expected["stages"][1]["mixture"] = plan.arms[0].value.clone();
        assert_eq!(recipe, expected);
        assert_eq!(plan.weights(&plan.arms[0]).expect("weights")["a"], 0.75);
        let rates = "vary = \"learning_rate\"\n[[arm]]\nname = \"low\"\nvalue = 1e-4\n[[arm]]\nname = \"high\"\nvalue = 1e-3\n";
        let plan = self::plan(rates).expect("a plan");
        let recipe = plan.recipe_of(&plan.arms[1], 42).expect("a recipe");
        assert_eq!(recipe["learning_rate"], Value::Float(1e-3));
        assert_eq!(recipe["stages"], RECIPE.parse::<Table>().expect("TOML")["stages"]);
    }

    #[test]
    fn what_is_no_comparison_is_refused() {
        let arm = |name: &str, value: &str| format!("[[arm]]\nname = \"{name}\"\nvalue = {value}\n");
        let two = arm("x", "{ a = 1 }") + &arm("y", "{ b = 1 }");
        assert!(refused(&arm("x", "{ a = 1 }")).contains("there are 1 arms"));
        assert!(refused(&(arm("x", "1") + &arm("x", "2"))).contains("two arms are named `x`"));
        assert!(refused(&(arm("x", "{ a = 1 }") + &arm("y", "{ a = 1 }"))).contains("the same value"));
        assert!(refused(&(arm("../x", "1") + &arm("y", "2"))).contains("not a name for a folder"));
        assert!(refused(&format!("vary = \"seed\"\n{two}")).contains("the same for all arms"));
        assert!(
            refused(&format!("stages = [\"end\"]\n{two}")).contains("no stage `end`; it has stable, decay")
        );
        assert!(refused(&format!("seeds = [1, 1]\n{two}")).contains("given twice"));
        assert!(
            refused(&format!("targets = {{ c = 1 }}\n{two}")).contains("`c` is no source; there are a, b")
        );
        assert!(refused("[swarm]\ndomains = [\"a\", \"b\"]\nruns = 2\n").contains("too small"));
    }

    #[test]
    fn a_swarm_covers_the_mixtures() {
        let plan = plan("[swarm]\ndomains = [\"a\", \"b\"]\nruns = 6\n").expect("a plan");
        let weights: Vec<f64> =
            plan.arms.iter().map(|arm| plan.weights(arm).expect("weights")["a"]).collect();
        assert_eq!(plan.arms.len(), 6);
        assert!((weights[0] - 0.8).abs() < 1e-9 && (weights[1] - 0.2).abs() < 1e-9 && weights[2] == 0.5);
        assert!(weights[3..].iter().all(|weight| (0.0..=1.0).contains(weight)));
        assert!(weights[3] != weights[4]);
    }
}
