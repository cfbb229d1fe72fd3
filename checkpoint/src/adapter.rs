//! LoRA adapters in the layout of PEFT: `adapter_config.json`, and `adapter_model.safetensors` with two small matrices
//! for each linear layer that they change. What of PEFT's settings changes the arithmetic and is not known here is
//! refused by name, so that no adapter is applied in another way than it was trained.

use crate::ModelConfig;
use crate::error::{Error, read_to_string};
use serde_json::{Map, Value, json};
use std::path::Path;

mod matrices;

pub use matrices::{AdapterMatrices, LowRank};

/// The name of an adapter's configuration.
pub const CONFIG_FILE: &str = "adapter_config.json";
/// The name of an adapter's weights.
pub const WEIGHTS_FILE: &str = "adapter_model.safetensors";
/// The key, in the metadata of the weights, of the SHA-256 of the base model's weights.
pub const BASE_SHA256: &str = "base_sha256";
/// What PEFT puts before the name of each module.
const PREFIX: &str = "base_model.model.";

/// The kinds of linear layers that an adapter can change, in the order of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinearModule {
    /// Queries.
    Query,
    /// Keys.
    Key,
    /// Values.
    Value,
    /// The projection of attention's output.
    Output,
    /// The gate of the feed-forward block.
    Gate,
    /// Its projection up.
    Up,
    /// Its projection down.
    Down,
}

impl LinearModule {
    /// All kinds.
    pub const ALL: [Self; 7] =
        [Self::Query, Self::Key, Self::Value, Self::Output, Self::Gate, Self::Up, Self::Down];

    /// Returns its name in a checkpoint.
    pub fn name(self) -> &'static str {
        match self {
            Self::Query => "q_proj",
            Self::Key => "k_proj",
            Self::Value => "v_proj",
            Self::Output => "o_proj",
            Self::Gate => "gate_proj",
            Self::Up => "up_proj",
            Self::Down => "down_proj",
        }
    }

    /// Returns the kind of that name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|module| module.name() == name)
    }

    /// Returns the number of its outputs and of its inputs.
    pub fn shape(self, config: &ModelConfig) -> [usize; 2] {
        let (c, f) = (config.hidden_size, config.intermediate_size);
        let (queries, keys) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        match self {
            Self::Query => [queries, c],
            Self::Key | Self::Value => [keys, c],
            Self::Output => [c, queries],
            Self::Gate | Self::Up => [f, c],
            Self::Down => [c, f],
        }
    }

    /// Returns the name of the module of a layer, such as `model.layers.0.self_attn.q_proj`.
    pub fn path(self, layer: usize) -> String {
        let block = if self >= Self::Gate { "mlp" } else { "self_attn" };
        format!("model.layers.{layer}.{block}.{}", self.name())
    }

    /// Returns PEFT's name of the module's matrix A (`part` "A") or B.
    pub fn tensor(self, layer: usize, part: &str) -> String {
        format!("{PREFIX}{}.lora_{part}.weight", self.path(layer))
    }
}

/// What an adapter is: PEFT's `LoraConfig`, as far as it changes the arithmetic.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterConfig {
    /// The base model: a folder, a GGUF file or a hub id.
    pub base: String,
    /// Rows of A, columns of B.
    pub rank: usize,
    /// Numerator of the scale.
    pub alpha: f64,
    /// Share of the inputs that training sets to 0.
    pub dropout: f64,
    /// Whether the scale is alpha / sqrt(rank) (arXiv 2312.03732) instead of alpha / rank.
    pub rslora: bool,
    /// The kinds of layers that it changes.
    pub modules: Vec<LinearModule>,
}

impl AdapterConfig {
    /// Returns the factor of B A.
    pub fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        self.alpha / if self.rslora { rank.sqrt() } else { rank }
    }

    /// Returns the content of `adapter_config.json`.
    pub fn to_json(&self) -> Value {
        let alpha = if self.alpha.fract() == 0.0 { json!(self.alpha as i64) } else { json!(self.alpha) };
        let modules: Vec<&str> = self.modules.iter().map(|module| module.name()).collect();
        json!({
            "alpha_pattern": {},
            "auto_mapping": null,
            "base_model_name_or_path": self.base,
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
            "init_lora_weights": true,
            "layers_pattern": null,
            "layers_to_transform": null,
            "lora_alpha": alpha,
            "lora_dropout": self.dropout,
            "modules_to_save": null,
            "peft_type": "LORA",
            "r": self.rank,
            "rank_pattern": {},
            "revision": null,
            "target_modules": modules,
            "task_type": "CAUSAL_LM",
            "use_dora": false,
            "use_rslora": self.rslora,
        })
    }

    /// Reads the configuration in an adapter's folder.
    ///
    /// # Errors
    /// Names the setting that is missing, or that changes the arithmetic and is not known here.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(CONFIG_FILE);
        let invalid = |reason: String| Error::invalid(&path, reason);
        let value: Value = serde_json::from_str(&read_to_string(&path)?)
            .map_err(|error| invalid(format!("not JSON: {error}")))?;
        let fields = value.as_object().ok_or_else(|| invalid("is not an object".to_owned()))?;
        refuse_unknown(fields).map_err(invalid)?;
        let number = |name: &str| {
            let number = fields.get(name).and_then(Value::as_f64).filter(|number| number.is_finite());
            number.ok_or_else(|| invalid(format!("has no number `{name}`")))
        };
        let rank = fields.get("r").and_then(Value::as_u64).filter(|rank| *rank > 0);
        let base = fields.get("base_model_name_or_path").and_then(Value::as_str).unwrap_or_default();
        Ok(Self {
            base: base.to_owned(),
            rank: rank.ok_or_else(|| invalid("has no rank `r` of at least 1".to_owned()))? as usize,
            alpha: number("lora_alpha")?,
            dropout: fields.get("lora_dropout").and_then(Value::as_f64).unwrap_or_default(),
            rslora: fields.get("use_rslora").and_then(Value::as_bool).unwrap_or_default(),
            modules: modules(&value["target_modules"]),
        })
    }

    /// Returns where the base model is: its name as it is, or beside the adapter if it is a relative path that only
    /// exists from there.
    pub fn base_of(&self, folder: &Path) -> String {
        let beside = folder.join(&self.base);
        let is_beside = !self.base.is_empty() && !Path::new(&self.base).exists() && beside.exists();
        if is_beside { beside.to_string_lossy().into_owned() } else { self.base.clone() }
    }
}

/// Returns whether a folder contains an adapter and no checkpoint.
pub fn is_at(folder: &Path) -> bool {
    folder.join(CONFIG_FILE).is_file() && !folder.join("config.json").is_file()
}

/// The kinds that `target_modules` names; it may be a pattern, and then the tensors alone say what is changed.
fn modules(value: &Value) -> Vec<LinearModule> {
    let names = value.as_array().into_iter().flatten().filter_map(Value::as_str);
    // PEFT writes whole paths where there are many.
    let names = names.filter_map(|name| name.rsplit('.').next());
    let mut modules: Vec<LinearModule> = names.filter_map(LinearModule::of_name).collect();
    if value == "all-linear" {
        modules = LinearModule::ALL.to_vec();
    }
    modules.sort_unstable();
    modules.dedup();
    modules
}

/// Refuses the settings that change the arithmetic and are not known here.
fn refuse_unknown(fields: &Map<String, Value>) -> Result<(), String> {
    let kind = fields.get("peft_type").and_then(Value::as_str).unwrap_or_default();
    if kind != "LORA" {
        return Err(format!("`peft_type` is {kind:?}; only \"LORA\" can be used: merge it with PEFT"));
    }
    let is_empty = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::String(text) => text == "none",
        _ => false,
    };
    let names = [
        "bias",
        "use_dora",
        "fan_in_fan_out",
        "lora_bias",
        "modules_to_save",
        "rank_pattern",
        "alpha_pattern",
        "trainable_token_indices",
        "target_parameters",
        "alora_invocation_tokens",
        "layer_replication",
        "use_qalora",
        "use_bdlora",
        "arrow_config",
        "kasa_config",
        "velora_config",
    ];
    // These begin with other base weights than those of the base model's files.
    let changes_base = |text: &str| {
        ["pissa", "olora", "corda", "loftq", "lora_ga"].iter().any(|start| text.starts_with(start))
    };
    if let Some(text) =
        fields.get("init_lora_weights").and_then(Value::as_str).filter(|text| changes_base(text))
    {
        return Err(format!(
            "`init_lora_weights` is {text:?}, which changes the base model; convert the adapter with PEFT's `path_initial_model_for_weight_conversion`"
        ));
    }
    for name in names {
        if let Some(value) = fields.get(name).filter(|value| !is_empty(value)) {
            return Err(format!(
                "`{name}` is {value}, which is not supported; merge the adapter with PEFT's `merge_and_unload`"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn config() -> AdapterConfig {
        AdapterConfig {
            base: "owner/name".to_owned(),
            rank: 16,
            alpha: 32.0,
            dropout: 0.05,
            rslora: false,
            modules: vec![LinearModule::Query, LinearModule::Down],
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        for rslora in [false, true] {
            let config = AdapterConfig { rslora, ..config() };
            std::fs::write(folder.path().join(CONFIG_FILE), config.to_json().to_string()).unwrap();
            assert_eq!(AdapterConfig::read(folder.path()).unwrap(), config);
            assert_eq!(config.scale(), if rslora { 8.0 } else { 2.0 });
        }
    }

    #[test]
    fn other_arithmetic_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        for (name, value) in [
            ("use_dora", json!(true)),
            ("bias", json!("all")),
            ("modules_to_save", json!(["lm_head"])),
            ("rank_pattern", json!({"q_proj": 8})),
            ("peft_type", json!("IA3")),
            ("init_lora_weights", json!("pissa_niter_4")),
            ("r", json!(0)),
            ("lora_alpha", json!(null)),
        ] {
            let mut fields = config().to_json();
            fields[name] = value;
            std::fs::write(folder.path().join(CONFIG_FILE), fields.to_string()).unwrap();
            let error = AdapterConfig::read(folder.path()).unwrap_err().to_string();
            assert!(error.contains(&format!("`{name}`")), "{error}");
        }
    }

    #[test]
    fn a_relative_base_is_looked_for_beside_the_adapter_too() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("base")).unwrap();
        let adapter = folder.path().join("adapter");
        std::fs::create_dir(&adapter).unwrap();
        let beside = AdapterConfig { base: "../base".to_owned(), ..config() };
        assert_eq!(Path::new(&beside.base_of(&adapter)), adapter.join("../base"));
        assert_eq!(config().base_of(&adapter), "owner/name");
        // No name is no folder.
        assert_eq!(AdapterConfig { base: String::new(), ..config() }.base_of(&adapter), "");
    }
}
